"""Options of sbatch as properties of a job, for slurmrestd. Pure.

The user writes `options` as sbatch takes them. slurmrestd takes properties instead, older versions in sbatch's own
notation, newer ones in their own types. What has no property, or is Batchery's to say, is refused by name.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple


class CannotSay(ValueError):
    """An option that slurmrestd cannot be given; the text names it."""


class Property(NamedTuple):
    """Where an option goes. ``old``: up to v0.0.38; ``new``: since v0.0.39, its value made by ``value``."""

    old: str
    new: str
    value: Callable[[str], Any] = str


def number(value: int) -> dict[str, Any]:
    """A number since v0.0.39, where it may also be unset or infinite."""
    return {"set": True, "infinite": False, "number": value}


def minutes(text: str) -> int:
    """Slurm's notations of a time limit: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S. Raises ValueError."""
    days, dash, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if len(parts) > 3 or min(parts) < 0 or (dash and int(days) < 0):
        raise ValueError(text)
    if dash:
        hours, mins, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, mins, seconds = parts
    else:
        hours, mins, seconds = 0, *(*parts, 0)[:2]
    return int(days or 0) * 1440 + hours * 60 + mins + (1 if seconds else 0)


def _gres(text: str) -> str:
    return ",".join(f"gres/{one.removeprefix('gres:').removeprefix('gres/')}" for one in text.split(","))


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _nodes(text: str) -> list[str]:
    """Names with commas in their brackets stay whole: ``n[1,3],m2``."""
    return [word for word in re.split(r",(?![^\[]*\])", text) if word]


def _shared(text: str) -> list[str]:
    return ["none" if text == "exclusive" else text]


PROPERTIES: Final = {
    "account": Property("account", "account"),
    "batch": Property("batch_features", "batch_features"),
    "bb": Property("burst_buffer", "burst_buffer"),
    "cluster-constraint": Property("cluster_constraint", "cluster_constraint"),
    "constraint": Property("constraints", "constraints"),
    "cores-per-socket": Property("cores_per_socket", "cores_per_socket", int),
    "dependency": Property("dependency", "dependency"),
    "exclude": Property("exclude_nodes", "excluded_nodes", _nodes),
    "exclusive": Property("exclusive", "shared", _shared),
    "gres": Property("gres", "tres_per_node", _gres),
    "licenses": Property("licenses", "licenses"),
    "mail-type": Property("mail_type", "mail_type", lambda text: [word.upper() for word in _words(text)]),
    "mail-user": Property("mail_user", "mail_user"),
    "mcs-label": Property("mcs_label", "mcs_label"),
    "mincpus": Property("minimum_cpus_per_node", "minimum_cpus_per_node", int),
    "nice": Property("nice", "nice", int),
    "nodelist": Property("nodelist", "required_nodes", _nodes),
    "oversubscribe": Property("exclusive", "shared", _shared),
    "partition": Property("partition", "partition"),
    "prefer": Property("", "prefer"),
    "qos": Property("qos", "qos"),
    "reservation": Property("reservation", "reservation"),
    "sockets-per-node": Property("sockets_per_node", "sockets_per_node", int),
    "threads-per-core": Property("threads_per_core", "threads_per_core", int),
    "time": Property("time_limit", "time_limit", lambda text: number(minutes(text))),
    "wckey": Property("wckey", "wckey"),
}
#: What those mean that are given without a value.
_ALONE: Final = {"exclusive": "exclusive", "oversubscribe": "oversubscribe", "nice": "100"}
_SHORT: Final = {
    "A": "account",
    "C": "constraint",
    "L": "licenses",
    "d": "dependency",
    "p": "partition",
    "q": "qos",
    "s": "oversubscribe",
    "t": "time",
    "w": "nodelist",
    "x": "exclude",
}


def properties(options: Sequence[str], new: bool) -> dict[str, Any]:
    """The properties of these options; the last of the same wins. ``new``: since v0.0.39. Raises CannotSay."""
    found: dict[str, Any] = {}
    for name, text in _pairs(options):
        known = PROPERTIES.get(name)
        key = (known.new if new else known.old) if known else ""
        if known is None or not key:
            raise CannotSay(f"slurmrestd cannot be given --{name}")
        try:
            found[key] = known.value(text) if new else text
        except ValueError:
            raise CannotSay(f"--{name} cannot be {text!r}") from None
    return found


def _pairs(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and value, in any of the notations: ``--x=1``, ``--x 1``, ``-x1``, ``-x 1``."""
    rest = list(options)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, given, text = word[2:].partition("=")
        else:
            name, text = _SHORT.get(word[1:2], ""), word[2:]
            given = text
            if not word.startswith("-") or not name:
                raise CannotSay(f"slurmrestd cannot be given {word!r}")
        if not given:
            if name in _ALONE:
                text = _ALONE[name]
            elif rest and name in PROPERTIES:
                text = rest.pop(0)
            elif name in PROPERTIES:
                raise CannotSay(f"--{name} needs a value")
        yield name, text
