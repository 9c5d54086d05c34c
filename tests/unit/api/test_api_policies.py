"""Scheduling policies over the API."""

from typing import Any

import pytest
from tests.unit.api.test_api_queues import environment, queue

from batchery.core.messages import CreatePolicy, UpdatePolicy
from batchery.core.model import Realm
from batchery.core.shares import FAIR, QUOTA

ARN = "arn:aws:batch:us-east-1:123456789012:scheduling-policy/p"
FULL = {
    "shareDecaySeconds": 3600,
    "computeReservation": 25,
    "shareDistribution": [
        {"shareIdentifier": "A", "weightFactor": 0.5},
        {"shareIdentifier": "B*", "weightFactor": 3.0},
        {"shareIdentifier": "C"},
    ],
}

PATTERN = "ShareIdentifier name should match a valid pattern."


def make(desk: Any, name: str = "p", **members: Any) -> dict[str, Any]:
    return desk.call("CreateSchedulingPolicy", name=name, **members)


def described(desk: Any, *arns: str) -> list[dict[str, Any]]:
    return desk.call("DescribeSchedulingPolicies", arns=list(arns))["schedulingPolicies"]


def test_a_policy_reads_back_as_it_was_sent(desk: Any) -> None:
    assert make(desk, fairsharePolicy=FULL, tags={"a": "b"}) == {"name": "p", "arn": ARN}
    assert desk.allowed == [ARN, ARN]
    assert described(desk, ARN) == [{"name": "p", "arn": ARN, "fairsharePolicy": FULL, "tags": {"a": "b"}}]
    (command,) = [c for c in desk.service.commands if isinstance(c, CreatePolicy)]
    policy = command.policy
    assert (policy.kind, policy.window, policy.reservation) == (FAIR, 3_600_000, 25)
    assert policy.weights == (("A", 0.5), ("B*", 3.0), ("C", 1.0))


@pytest.mark.parametrize(("sent", "window"), [(None, 600_000), (0, 600_000), (10, 600_000), (601, 601_000)])
def test_the_least_window_is_ten_minutes(desk: Any, sent: int | None, window: int) -> None:
    make(desk, fairsharePolicy={} if sent is None else {"shareDecaySeconds": sent})
    assert desk.world.policies[ARN].window == window


def test_without_a_kind_it_is_fair_share_and_nothing_is_invented(desk: Any) -> None:
    make(desk)
    assert desk.world.policies[ARN].kind == FAIR
    assert described(desk, ARN) == [{"name": "p", "arn": ARN, "tags": {}}]


def test_a_quota_share_policy_is_kept(desk: Any) -> None:
    sent = {"idleResourceAssignmentStrategy": "FIFO"}
    make(desk, quotaSharePolicy=sent)
    assert desk.world.policies[ARN].kind == QUOTA
    assert described(desk, ARN)[0]["quotaSharePolicy"] == sent
    assert "but not both." in desk.refused(
        "CreateSchedulingPolicy", name="q", quotaSharePolicy=sent, fairsharePolicy={}
    )
    assert "can not be changed" in desk.refused("UpdateSchedulingPolicy", arn=ARN, fairsharePolicy=FULL)


def test_an_update_replaces_the_policy_as_a_whole(desk: Any) -> None:
    make(desk, fairsharePolicy=FULL)
    assert desk.call("UpdateSchedulingPolicy", arn=ARN, fairsharePolicy={"computeReservation": 5}) == {}
    assert described(desk, ARN)[0]["fairsharePolicy"] == {"computeReservation": 5}
    desk.call("UpdateSchedulingPolicy", arn=ARN)
    assert described(desk, ARN)[0]["fairsharePolicy"] == {"computeReservation": 5}
    assert isinstance(desk.service.commands[-1], UpdatePolicy)
    other = ARN + "x"
    assert desk.refused("UpdateSchedulingPolicy", arn=other, fairsharePolicy={}) == f"{other} does not exist"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"shareDecaySeconds": -1}, "shareDecaySeconds must be between 0 and 604800"),
        ({"shareDecaySeconds": 604_801}, "shareDecaySeconds must be between 0 and 604800"),
        ({"computeReservation": 100}, "computeReservation must be between 0 and 99"),
        ({"shareDistribution": [{"shareIdentifier": "a b"}]}, PATTERN),
        ({"shareDistribution": [{"shareIdentifier": "a*b"}]}, PATTERN),
        ({"shareDistribution": [{"shareIdentifier": "a" * 256}]}, PATTERN),
        (
            {"shareDistribution": [{"shareIdentifier": "a", "weightFactor": 0.00009}]},
            "Weight factor should be between 0.0001 and 999.9999.",
        ),
        (
            {"shareDistribution": [{"shareIdentifier": "a", "weightFactor": 1000}]},
            "Weight factor should be between 0.0001 and 999.9999.",
        ),
        (
            {"shareDistribution": [{"shareIdentifier": f"a{n}"} for n in range(501)]},
            "ShareDistribution size cannot be greater than 500.",
        ),
        (
            {"shareDistribution": [{"shareIdentifier": "a"}, {"shareIdentifier": "a"}]},
            "two or more identical shareIdentifiers.",
        ),
        (
            {"shareDistribution": [{"shareIdentifier": "UserA1"}, {"shareIdentifier": "UserA*"}]},
            "UserA1 matches another",
        ),
        ({"shareDistribution": [{"shareIdentifier": "User*"}, {"shareIdentifier": "UserA*"}]}, "identifier User*."),
        ({"shareDistribution": [{"shareIdentifier": "User"}, {"shareIdentifier": "User*"}]}, "User matches another"),
    ],
)
def test_what_a_policy_may_not_say(desk: Any, policy: dict[str, Any], words: str) -> None:
    assert words in desk.refused("CreateSchedulingPolicy", name="p", fairsharePolicy=policy)
    assert described(desk, ARN) == []


def test_names_that_only_look_alike_do_not_overlap(desk: Any) -> None:
    names = ["User", "User-a_1", "UserA*", "UserB1", "UserB10", "user*"]
    make(desk, fairsharePolicy={"shareDistribution": [{"shareIdentifier": name} for name in names]})


@pytest.mark.parametrize("name", ["a b", "q" * 129, "q/1"])
def test_names(desk: Any, name: str) -> None:
    assert "valid pattern" in desk.refused("CreateSchedulingPolicy", name=name)


def test_a_policy_in_use_stays(desk: Any, fargate: dict[str, Any]) -> None:
    make(desk)
    environment(desk, "e", fargate)
    queue(desk, schedulingPolicyArn=ARN)
    assert desk.call("DescribeJobQueues")["jobQueues"][0]["schedulingPolicyArn"] == ARN
    assert "JobQueue relationship" in desk.refused("DeleteSchedulingPolicy", arn=ARN)
    make(desk, "q")
    desk.call("UpdateJobQueue", jobQueue="q", schedulingPolicyArn=ARN[:-1] + "q")
    assert desk.call("DescribeJobQueues")["jobQueues"][0]["schedulingPolicyArn"] == ARN[:-1] + "q"
    assert desk.call("DeleteSchedulingPolicy", arn=ARN) == {}
    assert desk.call("DeleteSchedulingPolicy", arn=ARN) == {}
    assert described(desk, ARN) == []


def test_lists_are_paged_by_name(desk: Any) -> None:
    for name in "cab":
        make(desk, name)
    make(desk, "z", realm=Realm("123456789012", "eu-west-1"))
    first = desk.call("ListSchedulingPolicies", maxResults=2)
    rest = desk.call("ListSchedulingPolicies", maxResults=2, nextToken=first["nextToken"])
    found = first["schedulingPolicies"] + rest["schedulingPolicies"]
    assert [item["arn"][-1] for item in found] == ["a", "b", "c"]
    assert "nextToken" not in rest
    assert "between 1 and 100" in desk.refused("ListSchedulingPolicies", maxResults=0)


def test_a_hundred_are_described_at_most(desk: Any) -> None:
    assert "is 100" in desk.refused("DescribeSchedulingPolicies", arns=[f"{ARN}{n}" for n in range(101)])


def test_a_policy_has_tags(desk: Any) -> None:
    make(desk)
    desk.call("TagResource", resourceArn=ARN, tags={"x": "y"})
    assert desk.call("ListTagsForResource", resourceArn=ARN) == {"tags": {"x": "y"}}
    assert "does not exist" in desk.refused("ListTagsForResource", resourceArn=ARN + "x")
