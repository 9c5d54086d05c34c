"""TagResource, UntagResource, ListTagsForResource, and the check that creators share."""

import asyncio
from typing import Any

import pytest

from batchery.core.messages import EnsureRealm, Register, Submit
from batchery.core.model import Realm, Resources, Shape
from batchery.store.store import JobRow

HOME = Realm("123456789012", "us-east-1")
ACCOUNT = "arn:aws:batch:us-east-1:123456789012"
QUEUE = f"{ACCOUNT}:job-queue/default"
JOB = "3f2a1b00-0000-4000-8000-000000000001"


@pytest.fixture
def stocked(desk: Any, ready_made: EnsureRealm) -> Any:
    """A desk with one resource of each kind that can be tagged."""
    asyncio.run(desk.service.submit(ready_made))
    asyncio.run(desk.service.submit(Register(HOME, "d", f"{ACCOUNT}:job-definition/d", "{}")))
    row = JobRow(JOB, 1, *HOME, QUEUE, "j", "d", 1, 0, "", "[]", 0, "", 5, "", 9, 1000, -1)
    desk.service.reads.rows[JOB] = row
    return desk


TAGGABLE = [
    QUEUE,
    f"{ACCOUNT}:compute-environment/default",
    f"{ACCOUNT}:job-definition/d:1",
    f"{ACCOUNT}:job/{JOB}",
]


@pytest.mark.parametrize("arn", TAGGABLE)
def test_tags_are_added_overwritten_listed_and_removed(stocked: Any, arn: str) -> None:
    assert stocked.call("ListTagsForResource", resourceArn=arn) == {"tags": {}}
    assert stocked.call("TagResource", resourceArn=arn, tags={"a": "1", "b": "2"}) == {}
    assert stocked.allowed == [arn]
    stocked.call("TagResource", resourceArn=arn, tags={"b": "", "Ç:/= +-@._": "ß"})
    assert stocked.call("ListTagsForResource", resourceArn=arn) == {"tags": {"a": "1", "b": "", "Ç:/= +-@._": "ß"}}
    assert stocked.call("UntagResource", resourceArn=arn, tagKeys=["a", "never there"]) == {}
    assert stocked.call("ListTagsForResource", resourceArn=arn) == {"tags": {"b": "", "Ç:/= +-@._": "ß"}}


@pytest.mark.parametrize(
    ("arn", "text"),
    [
        (f"{ACCOUNT}:job-queue/nope", "does not exist"),
        (f"{ACCOUNT}:compute-environment/nope", "does not exist"),
        (f"{ACCOUNT}:job-definition/d:2", "does not exist"),
        (f"{ACCOUNT}:job-definition/d", "does not exist"),
        (f"{ACCOUNT}:job/nope", "does not exist"),
        (f"{ACCOUNT}:job/{JOB}:0", "not supported on child jobs"),
        (f"{ACCOUNT}:something/x", "does not exist"),
        ("arn:aws:batch:eu-west-1:123456789012:job-queue/default", "does not exist"),
        ("arn:aws:s3:::bucket/key", "not the ARN of an AWS Batch resource"),
        ("default", "not the ARN of an AWS Batch resource"),
        (f"{ACCOUNT}:scheduling-policy/p", "does not exist"),
        (f"{ACCOUNT}:job-queue/default/quota-share/s", "does not exist"),
    ],
)
def test_what_has_no_tags(stocked: Any, arn: str, text: str) -> None:
    assert text in stocked.refused("ListTagsForResource", resourceArn=arn)
    assert text in stocked.refused("TagResource", resourceArn=arn, tags={"a": "b"})
    assert text in stocked.refused("UntagResource", resourceArn=arn, tagKeys=["a"])
    assert stocked.service.reads.tagged == {}


def test_an_open_job_has_tags_too(stocked: Any) -> None:
    shape = Shape(Resources(1000, 64))
    definition = f"{ACCOUNT}:job-definition/d:1"
    asyncio.run(stocked.service.submit(Submit(HOME, "0pen", "j", QUEUE, definition, shape, "{}")))
    arn = f"{ACCOUNT}:job/0pen"
    stocked.call("TagResource", resourceArn=arn, tags={"a": "b"})
    assert stocked.call("ListTagsForResource", resourceArn=arn) == {"tags": {"a": "b"}}


def test_a_job_of_another_realm_is_not_there(stocked: Any) -> None:
    away = Realm("210987654321", "us-east-1")
    arn = f"arn:aws:batch:us-east-1:210987654321:job/{JOB}"
    assert "does not exist" in stocked.refused("ListTagsForResource", away, resourceArn=arn)


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        ({}, "At least one tag"),
        ({"aws:a": "b"}, "reserved: aws:a"),
        ({"AWS:a": "b"}, "reserved: AWS:a"),
        ({"a#": "b"}, "Tag keys must be"),
        ({"a": "b\n"}, "The value of tag a"),
        ({"a\n": "b"}, "Tag keys must be"),
    ],
)
def test_tags_that_are_not_to_be(stocked: Any, tags: dict[str, str], text: str) -> None:
    assert text in stocked.refused("TagResource", resourceArn=QUEUE, tags=tags)
    assert stocked.service.reads.tagged == {}


def test_fifty_at_most_with_those_already_there(stocked: Any) -> None:
    stocked.call("TagResource", resourceArn=QUEUE, tags={f"k{n}": "v" for n in range(50)})
    stocked.call("TagResource", resourceArn=QUEUE, tags={"k0": "other"})
    assert "at most 50" in stocked.refused("TagResource", resourceArn=QUEUE, tags={"one more": ""})


def test_reserved_tags_cannot_be_removed(stocked: Any) -> None:
    assert "reserved" in stocked.refused("UntagResource", resourceArn=QUEUE, tagKeys=["aws:cloudformation"])
