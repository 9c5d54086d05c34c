"""RegisterJobDefinition, DeregisterJobDefinition and DescribeJobDefinitions."""

from typing import Any

import pytest

from batchery.api.call import ApiError
from batchery.api.policy import parse
from batchery.core.model import Realm

AWAY = Realm("123456789012", "eu-west-1")
START = "arn:aws:batch:us-east-1:123456789012:job-definition"
PLAIN: dict[str, Any] = {
    "image": "busybox",
    "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
}


def found(jobs: Any, **members: Any) -> list[str]:
    """``name:revision`` of what is described."""
    answer = jobs.call("DescribeJobDefinitions", **members)
    return [item["jobDefinitionArn"].partition("/")[2] for item in answer["jobDefinitions"]]


def test_revisions_go_up_and_are_never_given_twice(jobs: Any) -> None:
    asked = {"jobDefinitionName": "x", "type": "container", "containerProperties": PLAIN}
    for revision in (1, 2):
        assert jobs.call("RegisterJobDefinition", **asked) == {
            "jobDefinitionName": "x",
            "jobDefinitionArn": f"{START}/x:{revision}",
            "revision": revision,
        }
    for revision in (1, 2):
        assert jobs.call("DeregisterJobDefinition", jobDefinition=f"x:{revision}") == {}
    assert jobs.call("RegisterJobDefinition", **asked)["revision"] == 3
    jobs.service.reload()
    assert jobs.call("RegisterJobDefinition", **asked)["revision"] == 4


def test_what_is_shown_is_what_was_registered_and_empty_lists(jobs: Any) -> None:
    jobs.call("RegisterJobDefinition", jobDefinitionName="x", type="container", containerProperties=PLAIN)
    (shown,) = jobs.call("DescribeJobDefinitions", jobDefinitions=["x:1"])["jobDefinitions"]
    assert shown == {
        "jobDefinitionName": "x",
        "jobDefinitionArn": f"{START}/x:1",
        "revision": 1,
        "status": "ACTIVE",
        "type": "container",
        "parameters": {},
        "containerProperties": {
            **PLAIN,
            "command": [],
            "volumes": [],
            "environment": [],
            "mountPoints": [],
            "ulimits": [],
            "secrets": [],
        },
        "tags": {},
        "containerOrchestrationType": "ECS",
    }


def test_everything_that_was_given_is_given_back(jobs: Any) -> None:
    container = {
        **PLAIN,
        "command": ["a"],
        "jobRoleArn": "arn:aws:iam::1:role/x",
        "volumes": [{"name": "v", "host": {"sourcePath": "/x"}}],
        "mountPoints": [{"sourceVolume": "v", "containerPath": "/y", "readOnly": True}],
        "privileged": False,
        "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}],
        "user": "me",
        "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g"}},
        "linuxParameters": {"swappiness": 3},
    }
    members = {
        "parameters": {"a": "b"},
        "retryStrategy": {"attempts": 3, "evaluateOnExit": [{"action": "EXIT", "onReason": "*"}]},
        "timeout": {"attemptDurationSeconds": 60},
        "propagateTags": True,
        "platformCapabilities": ["EC2"],
        "tags": {"k": "v"},
    }
    jobs.call(
        "RegisterJobDefinition", jobDefinitionName="x", type="container", containerProperties=container, **members
    )
    (shown,) = jobs.call("DescribeJobDefinitions", jobDefinitionName="x")["jobDefinitions"]
    given = shown["containerProperties"]
    assert given["logConfiguration"] == {**container["logConfiguration"], "secretOptions": []}
    assert given["linuxParameters"] == {"devices": [], "tmpfs": [], "swappiness": 3}
    for name, value in container.items():
        if name not in ("logConfiguration", "linuxParameters"):
            assert given[name] == value
    assert shown["retryStrategy"] == {"attempts": 3, "evaluateOnExit": [{"onReason": "*", "action": "exit"}]}
    for name in ("parameters", "timeout", "propagateTags", "platformCapabilities", "tags"):
        assert shown[name] == members[name]


def test_deregistered_ones_are_inactive(jobs: Any) -> None:
    jobs.register("x")
    arn = jobs.register("x")
    jobs.call("DeregisterJobDefinition", jobDefinition=arn)
    assert found(jobs, jobDefinitionName="x") == ["x:2", "x:1"]
    assert found(jobs, jobDefinitionName="x", status="ACTIVE") == ["x:1"]
    assert found(jobs, status="INACTIVE") == ["x:2"]
    (shown,) = jobs.call("DescribeJobDefinitions", jobDefinitions=["x:2"])["jobDefinitions"]
    assert shown["status"] == "INACTIVE"


@pytest.mark.parametrize(
    "name", ["d:1", "d:7", "nope:1", f"{START}/d:7", "arn:aws:batch:eu-west-1:123456789012:job-definition/d:1"]
)
def test_deregistering_what_is_not_there_is_a_success(jobs: Any, name: str) -> None:
    for _ in range(2):
        assert jobs.call("DeregisterJobDefinition", jobDefinition=name) == {}
    assert found(jobs, status="ACTIVE") == ([] if name == "d:1" else ["d:1"])


def test_what_deregistering_refuses(jobs: Any) -> None:
    assert "A revision must be given" in jobs.refused("DeregisterJobDefinition", jobDefinition="d")
    assert "is not supported pattern" in jobs.refused("DeregisterJobDefinition", jobDefinition="d:x")


def test_by_name_newest_revision_first(jobs: Any) -> None:
    for name in ("b", "a", "b", "c"):
        jobs.register(name)
    assert found(jobs) == ["a:1", "b:2", "b:1", "c:1", "d:1"]
    assert found(jobs, jobDefinitions=["b", f"{START}/a:1", "c:9", "nope", "a:1", "no good", "b:1"]) == [
        "a:1",
        "b:2",
        "b:1",
    ]
    assert found(jobs, jobDefinitions=["arn:aws:batch:eu-west-1:123456789012:job-definition/a:1"]) == []
    assert found(jobs, jobDefinitionName="nope") == []
    assert jobs.call("DescribeJobDefinitions", AWAY) == {"jobDefinitions": []}


def test_pages(jobs: Any) -> None:
    for _ in range(4):
        jobs.register("x")
    pages, token = [], None
    while True:
        answer = jobs.call("DescribeJobDefinitions", maxResults=2, **({"nextToken": token} if token else {}))
        pages.append([item["revision"] for item in answer["jobDefinitions"]])
        token = answer.get("nextToken")
        if token is None:
            break
        last = token
    assert pages == [[1, 4], [3, 2], [1]]
    assert "nextToken is not valid" in jobs.refused("DescribeJobDefinitions", status="ACTIVE", nextToken=last)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"jobDefinitions": ["d"], "maxResults": 1}, "JobDefinitions and MaxResults cannot both be set"),
        ({"jobDefinitions": ["d"], "status": "ACTIVE"}, "JobDefinitions and Status cannot both be set"),
        ({"jobDefinitions": ["d"], "jobDefinitionName": "d"}, "JobDefinitions and JobDefinitionName cannot both"),
        ({"jobDefinitions": ["d"] * 101}, "Maximum number"),
        ({"maxResults": 0}, "between 1 and 100"),
        ({"maxResults": 101}, "between 1 and 100"),
        ({"status": "active"}, "ACTIVE or INACTIVE"),
        ({"nextToken": "x"}, "nextToken is not valid"),
    ],
)
def test_what_describing_refuses(jobs: Any, members: dict[str, Any], words: str) -> None:
    assert words in jobs.refused("DescribeJobDefinitions", **members)


def test_refusals_of_register_change_nothing(jobs: Any) -> None:
    asked = {"jobDefinitionName": "x", "type": "container", "containerProperties": {"image": "busybox"}}
    assert jobs.refused("RegisterJobDefinition", **asked) == (
        "Error executing request, Exception : vCPU is not provided., RequestId: req-1"
    )
    tagged = {**asked, "containerProperties": PLAIN, "tags": {"AWS:x": ""}}
    assert "begin with aws:" in jobs.refused("RegisterJobDefinition", **tagged)
    later = {**asked, "containerProperties": PLAIN, "schedulingPriority": 10_000}
    assert "Scheduling priority must be between 0 and 9999." in jobs.refused("RegisterJobDefinition", **later)
    assert found(jobs) == ["d:1"]


def test_permissions(jobs: Any) -> None:
    jobs.policy = parse({"Statement": [{"Effect": "Allow", "Action": "batch:*", "Resource": f"{START}/mine*"}]})
    jobs.register("mine")
    with pytest.raises(ApiError, match="batch:RegisterJobDefinition"):
        jobs.register("yours")
    with pytest.raises(ApiError, match="batch:DeregisterJobDefinition"):
        jobs.call("DeregisterJobDefinition", jobDefinition="d:1")
    jobs.policy = parse({"Statement": [{"Effect": "Allow", "NotAction": "batch:TagResource", "Resource": "*"}]})
    with pytest.raises(ApiError, match="batch:TagResource"):
        jobs.register("x", tags={"a": "b"})
