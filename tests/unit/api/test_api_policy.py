"""IAM policy documents: what they allow, and what is refused when they are read."""

import time
from typing import Any

import pytest

from batchery.api.policy import ALLOW, DENY, NOTHING, PolicyError, matches, parse

QUEUE = "arn:aws:batch:us-east-1:123456789012:job-queue/default"
JOB = "arn:aws:batch:us-east-1:123456789012:job/a1b2"


def statement(effect: str = "Allow", action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def decide(statements: Any, action: str = "batch:CancelJob", resource: str = JOB) -> str:
    return parse({"Version": "2012-10-17", "Statement": statements}).decide(action, resource)


@pytest.mark.parametrize(
    ("statements", "verdict"),
    [
        (statement(), ALLOW),
        ([statement()], ALLOW),
        (statement(action="batch:*"), ALLOW),
        (statement(action="BATCH:canceljob"), ALLOW),
        (statement(action="batch:Cancel*"), ALLOW),
        (statement(action="batch:CancelJo?"), ALLOW),
        (statement(action="batch:Cancel?"), NOTHING),
        (statement(action=["batch:SubmitJob", "batch:CancelJob"]), ALLOW),
        (statement(action="batch:SubmitJob"), NOTHING),
        (statement(action="logs:*"), NOTHING),
        (statement(resource="arn:aws:batch:*:*:job/*"), ALLOW),
        (statement(resource="arn:aws:batch:*:*:JOB/*"), NOTHING),
        (statement(resource=[QUEUE, JOB]), ALLOW),
        (statement(resource=QUEUE), NOTHING),
        ([statement(), statement("Deny", "batch:CancelJob")], DENY),
        ([statement("Deny", "batch:CancelJob"), statement()], DENY),
        ([statement(), statement("Deny", "batch:TerminateJob")], ALLOW),
        ({"Effect": "Allow", "NotAction": "batch:Delete*", "Resource": "*"}, ALLOW),
        ({"Effect": "Allow", "NotAction": ["batch:Delete*", "batch:Cancel*"], "Resource": "*"}, NOTHING),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:batch:*:*:job/*"}, NOTHING),
        ({"Effect": "Allow", "Action": "*", "NotResource": QUEUE}, ALLOW),
        ([statement(), {"Effect": "Deny", "NotAction": "batch:Cancel*", "Resource": "*"}], ALLOW),
        ([statement(), {"Effect": "Deny", "Action": "*", "NotResource": QUEUE}], DENY),
    ],
)
def test_deny_then_allow_else_denied(statements: Any, verdict: str) -> None:
    assert decide(statements) == verdict


def test_an_operation_on_everything_needs_every_resource() -> None:
    assert decide(statement(action="batch:ListJobs"), "batch:ListJobs", "*") == ALLOW
    assert decide(statement(action="batch:ListJobs", resource=QUEUE), "batch:ListJobs", "*") == NOTHING


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "JSON object"),
        ({}, "Statement must be"),
        ({"Statement": []}, "Statement must be"),
        ({"Statement": ["x"]}, "Statement must be"),
        ({"Version": "2020", "Statement": statement()}, "Version must be"),
        ({"Statement": statement(), "Other": 1}, "Other is not a member"),
        ({"Statement": statement(Condition={})}, "Condition is not supported"),
        ({"Statement": statement(Principal="*")}, "Principal belongs"),
        ({"Statement": statement(NotPrincipal="*")}, "Principal belongs"),
        ({"Statement": statement(Extra="*")}, "Extra is not a member"),
        ({"Statement": statement("allow")}, "Effect of a statement"),
        ({"Statement": {"Effect": "Allow", "Resource": "*"}}, "either Action or NotAction"),
        ({"Statement": statement(NotAction="*")}, "either Action or NotAction"),
        ({"Statement": {"Effect": "Allow", "Action": "*"}}, "either Resource or NotResource"),
        ({"Statement": statement(action=[])}, "Action must be a string"),
        ({"Statement": statement(action=[1])}, "Action must be a string"),
        ({"Statement": statement(action="SubmitJob")}, "is not an action"),
        ({"Statement": statement(resource="queue")}, "is not an ARN"),
        ({"Statement": statement(resource="arn:aws:batch:::job/${aws:username}")}, "policy variable"),
    ],
)
def test_what_is_not_understood_is_refused(document: Any, sentence: str) -> None:
    with pytest.raises(PolicyError, match=sentence):
        parse(document)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "", True),
        ("", "", True),
        ("a", "ab", False),
        ("a*", "a", True),
        ("*a", "ba", True),
        ("*a", "ab", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "acb", False),
        ("a**c", "ac", True),
        ("a?c", "a/c", True),
        ("a?c", "ac", False),
        ("?*?", "a", False),
        ("?*?", "ab", True),
        ("*b?*", "abbc", True),
        ("*[x]*", "a[x]b", True),
        ("*[x]*", "axb", False),
        ("a*ab*b", "ab", False),
        ("a\nb*", "a\nbc", True),
        ("a?b", "a\nb", True),
    ],
)
def test_wildcards(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected


def test_a_long_id_cannot_hold_the_server() -> None:
    start = time.process_time()
    assert not matches("*a*a*a*a*a*a*b", "a" * 200_000)
    assert time.process_time() - start < 1
