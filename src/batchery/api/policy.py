"""IAM policy documents: may this key do this on that resource.

Effect, Action, NotAction, Resource and NotResource count, with ``*`` and ``?``: an explicit deny wins, then an allow,
else the call is denied. What is not understood (conditions, principals, policy variables) is refused when the key is
made, never ignored. Source: IAM user guide, "Policy evaluation logic" and "IAM JSON policy elements reference".
"""

import re
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

ALLOW: Final = "allow"
DENY: Final = "deny"  # by a statement
NOTHING: Final = "nothing"  # no statement allows it

_DOCUMENT: Final = {"Version", "Id", "Statement"}
_STATEMENT: Final = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource"}
_VERSIONS: Final = ("2012-10-17", "2008-10-17")


class PolicyError(ValueError):
    """The document cannot be used; the text is a sentence that says why."""


class Statement(Struct, frozen=True):
    """One statement. ``except_actions``: ``actions`` came as NotAction; the same for resources."""

    allow: bool
    actions: tuple[str, ...]  # lower case
    resources: tuple[str, ...]
    except_actions: bool = False
    except_resources: bool = False

    def covers(self, action: str, resource: str) -> bool:
        """``action`` in lower case."""
        return (
            any(matches(pattern, action) for pattern in self.actions) is not self.except_actions
            and any(matches(pattern, resource) for pattern in self.resources) is not self.except_resources
        )


class Policy(Struct, frozen=True):
    """A policy document, understood."""

    statements: tuple[Statement, ...]

    def decide(self, action: str, resource: str) -> str:
        """ALLOW, DENY or NOTHING. Actions are compared without case, resources with it, as IAM does."""
        verdict, action = NOTHING, action.lower()
        for statement in self.statements:
            if statement.covers(action, resource):
                if not statement.allow:
                    return DENY
                verdict = ALLOW
        return verdict


def parse(document: Any) -> Policy:
    """A policy from a decoded JSON document. Raises PolicyError."""
    if not isinstance(document, dict):
        raise PolicyError("A policy document is a JSON object with a Statement.")
    if unknown := sorted(document.keys() - _DOCUMENT):
        raise PolicyError(f"{unknown[0]} is not a member of a policy document that Batchery understands.")
    if document.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise PolicyError(f"Version must be {_VERSIONS[0]}.")
    statements = document.get("Statement")
    statements = statements if isinstance(statements, list) else [statements]
    if not statements or not all(isinstance(statement, dict) for statement in statements):
        raise PolicyError("Statement must be a statement or a list of statements.")
    return Policy(tuple(_statement(statement) for statement in statements))


def _statement(source: dict[str, Any]) -> Statement:
    if "Condition" in source:
        raise PolicyError(
            "Condition is not supported yet: leave it out, or the key would be allowed more than it says."
        )
    if "Principal" in source or "NotPrincipal" in source:
        raise PolicyError("Principal belongs to policies of resources; the policy of a key applies to that key.")
    if unknown := sorted(source.keys() - _STATEMENT):
        raise PolicyError(f"{unknown[0]} is not a member of a statement that Batchery understands.")
    if source.get("Effect") not in ("Allow", "Deny"):
        raise PolicyError("Effect of a statement must be Allow or Deny.")
    actions, except_actions = _one_of(source, "Action", "NotAction")
    resources, except_resources = _one_of(source, "Resource", "NotResource")
    for action in actions:
        if action != "*" and not re.fullmatch(r"[A-Za-z0-9*?-]+:[A-Za-z0-9*?_-]+", action):
            raise PolicyError(f"{action!r} is not an action such as batch:SubmitJob.")
    for resource in resources:
        if "${" in resource:
            raise PolicyError(f"{resource!r} has a policy variable; they are not supported yet.")
        if resource != "*" and not resource.startswith(("arn:", "*")):
            raise PolicyError(f"{resource!r} is not an ARN, nor a pattern of ARNs.")
    lowered = tuple(action.lower() for action in actions)
    return Statement(source["Effect"] == "Allow", lowered, tuple(resources), except_actions, except_resources)


def _one_of(source: dict[str, Any], name: str, negated: str) -> tuple[list[str], bool]:
    if (name in source) is (negated in source):
        raise PolicyError(f"A statement needs either {name} or {negated}.")
    key = name if name in source else negated
    values = source[key] if isinstance(source[key], list) else [source[key]]
    if not values or not all(isinstance(value, str) and value for value in values):
        raise PolicyError(f"{key} must be a string or a list of strings.")
    return values, key == negated


def matches(pattern: str, text: str) -> bool:
    """``*`` stands for any run of characters (none included), ``?`` for one. Time is linear in ``text`` for each
    piece between stars, whatever a caller puts into an id."""
    if pattern == "*":
        return True
    first, *rest = pattern.split("*")
    if not rest:
        return len(text) == len(first) and _piece(first).match(text) is not None
    middle, last = rest[:-1], rest[-1]
    if len(text) < len(first) + len(last) or not _piece(first).match(text):
        return False
    end = len(text) - len(last)
    if not _piece(last).match(text, end):
        return False
    at = len(first)
    for piece in middle:
        found = _piece(piece).search(text, at, end)
        if found is None:
            return False
        at = found.end()
    return True


@lru_cache(maxsize=1024)
def _piece(piece: str) -> re.Pattern[str]:
    return re.compile("".join("." if sign == "?" else re.escape(sign) for sign in piece), re.DOTALL)
