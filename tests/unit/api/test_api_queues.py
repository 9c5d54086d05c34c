"""Job queues over the API."""

from typing import Any

import pytest

from batchery.core.messages import CreateQueue, UpdateQueue
from batchery.core.model import CREATING, DELETING, Realm

ACCOUNT = "arn:aws:batch:us-east-1:123456789012"


def environment(desk: Any, name: str, resources: dict[str, Any], **members: Any) -> str:
    made = desk.call(
        "CreateComputeEnvironment",
        computeEnvironmentName=name,
        type="MANAGED",
        computeResources=resources,
        **members,
    )
    return made["computeEnvironmentArn"]


def order(*names: str) -> list[dict[str, Any]]:
    return [{"order": number, "computeEnvironment": name} for number, name in enumerate(names, 1)]


def queue(desk: Any, name: str = "q", envs: tuple[str, ...] = ("e",), **members: Any) -> dict[str, Any]:
    given = {"priority": 1, "computeEnvironmentOrder": order(*envs), **members}
    return desk.call("CreateJobQueue", jobQueueName=name, **given)


def described(desk: Any, *names: str) -> list[dict[str, Any]]:
    return desk.call("DescribeJobQueues", jobQueues=list(names))["jobQueues"]


@pytest.fixture
def env(desk: Any, fargate: dict[str, Any]) -> str:
    return environment(desk, "e", fargate)


def test_a_queue_made_with_a_name_shows_the_arn_of_its_environment(desk: Any, env: str) -> None:
    arn = f"{ACCOUNT}:job-queue/q"
    assert queue(desk, tags={"team": "blue"}) == {"jobQueueName": "q", "jobQueueArn": arn}
    assert desk.allowed == [arn, arn, env]
    assert described(desk, "q") == [
        {
            "jobQueueName": "q",
            "jobQueueArn": arn,
            "state": "ENABLED",
            "status": "VALID",
            "statusReason": "JobQueue Healthy",
            "priority": 1,
            "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": env}],
            "jobQueueType": "ECS_FARGATE",
            "tags": {"team": "blue"},
        }
    ]


def test_environments_are_tried_in_ascending_order_and_numbers_are_kept(
    desk: Any, env: str, fargate: dict[str, Any]
) -> None:
    other = environment(desk, "other", fargate)
    wanted = [{"order": 30, "computeEnvironment": "e"}, {"order": 7, "computeEnvironment": other}]
    queue(desk, computeEnvironmentOrder=wanted)
    assert described(desk, "q")[0]["computeEnvironmentOrder"] == [
        {"order": 7, "computeEnvironment": other},
        {"order": 30, "computeEnvironment": env},
    ]


@pytest.mark.parametrize("name", ["a b", "q" * 129, "q/1", "ü", "q\n"])
def test_names(desk: Any, env: str, name: str) -> None:
    text = desk.refused("CreateJobQueue", jobQueueName=name, priority=1, computeEnvironmentOrder=order("e"))
    assert "Job Queue name should match a valid pattern." in text
    assert text.startswith("Error executing request, Exception : ")
    assert text.endswith(", RequestId: req-1")


@pytest.mark.parametrize(
    ("member", "value", "text"),
    [
        ("priority", -1, "priority must be at least 0"),
        ("computeEnvironmentOrder", [], "At least one compute environment is required"),
        (
            "computeEnvironmentOrder",
            order("e", "e2", "e3", "e4"),
            "Only 3 environments are allowed in job queue request.",
        ),
        ("computeEnvironmentOrder", order("e", "e"), "Duplicate ComputeEnvironments within order list."),
        (
            "computeEnvironmentOrder",
            [{"order": 1, "computeEnvironment": "e"}, {"order": 1, "computeEnvironment": "e2"}],
            "Duplicate ComputeEnvironment order values.",
        ),
        (
            "computeEnvironmentOrder",
            order("nowhere"),
            "Compute Environments must be created and valid before attaching them to a job queue.",
        ),
        ("tags", {"aws:x": "y"}, "reserved: aws:x"),
        (
            "schedulingPolicyArn",
            f"{ACCOUNT}:scheduling-policy/p",
            f"SchedulingPolicy {ACCOUNT}:scheduling-policy/p not found.",
        ),
        ("schedulingPolicyArn", f"{ACCOUNT}:job-queue/p", "Only scheduling policy Arn can be allowed."),
        (
            "serviceEnvironmentOrder",
            [{"order": 1, "serviceEnvironment": "s"}],
            "The jobQueueType provided is ECS, which is incompatible with the provided serviceEnvironmentOrder.",
        ),
        (
            "jobStateTimeLimitActions",
            [{"reason": "x", "state": "RUNNABLE", "maxTimeSeconds": 600, "action": "CANCEL"}],
            "reason of jobStateTimeLimitActions must be one of",
        ),
        ("jobQueueType", "EKS", "EKS job queue type must have EKS compute environment."),
        ("jobQueueType", "SAGEMAKER_TRAINING", "queues of type SAGEMAKER_TRAINING must have serviceEnvironmentOrder."),
        ("jobQueueType", "ECS", "ECS can not have compute environments of kind FARGATE"),
    ],
)
def test_what_a_new_queue_may_not_be(desk: Any, env: str, member: str, value: Any, text: str) -> None:
    given = {"priority": 1, "computeEnvironmentOrder": order("e"), member: value}
    assert text in desk.refused("CreateJobQueue", jobQueueName="q", **given)
    assert described(desk, "q") == []


def test_the_same_environment_by_name_and_by_arn_is_a_duplicate(desk: Any, env: str) -> None:
    text = desk.refused("CreateJobQueue", jobQueueName="q", priority=1, computeEnvironmentOrder=order("e", env))
    assert "Duplicate ComputeEnvironments" in text


def test_fargate_and_ec2_do_not_mix(desk: Any, env: str, ec2: dict[str, Any]) -> None:
    environment(desk, "e2", ec2)
    wanted = order("e", "e2")
    text = desk.refused("CreateJobQueue", jobQueueName="q", priority=1, computeEnvironmentOrder=wanted)
    assert text.startswith("All attached Compute Environments must be of types [EC2, SPOT]")


def test_spot_does_not_come_before_on_demand_on_managed_instances(desk: Any, managed_instances: Any) -> None:
    environment(desk, "spot", managed_instances({"capacityOptionType": "SPOT"}))
    environment(desk, "demand", managed_instances({"capacityOptionType": "ON_DEMAND"}))
    queue(desk, "good", ("demand", "spot"))
    assert described(desk, "good")[0]["jobQueueType"] == "ECS_MANAGED_INSTANCES"
    given = {"priority": 1, "computeEnvironmentOrder": order("spot", "demand")}
    assert "must not come before" in desk.refused("CreateJobQueue", jobQueueName="bad", **given)


def test_a_name_is_taken_once(desk: Any, env: str) -> None:
    queue(desk)
    given = {"jobQueueName": "q", "priority": 1, "computeEnvironmentOrder": order("e")}
    assert desk.refused("CreateJobQueue", **given) == "Object already exists"


def test_the_limit_of_the_settings_goes_with_the_command(desk: Any, env: str) -> None:
    queue(desk)
    assert isinstance(desk.service.commands[-1], CreateQueue)
    assert desk.service.commands[-1].limit == desk.service.config.limits.queues == 50


@pytest.mark.parametrize("ref", ["q", f"{ACCOUNT}:job-queue/q"])
def test_an_update_changes_what_it_names(desk: Any, env: str, ref: str) -> None:
    queue(desk, priority=5)
    answer = desk.call("UpdateJobQueue", jobQueue=ref, state="DISABLED")
    assert answer == {"jobQueueName": "q", "jobQueueArn": f"{ACCOUNT}:job-queue/q"}
    assert desk.service.commands[-1] == UpdateQueue(f"{ACCOUNT}:job-queue/q", state="DISABLED")
    (shown,) = described(desk, ref)
    assert (shown["state"], shown["status"], shown["priority"]) == ("DISABLED", "VALID", 5)


def test_an_update_replaces_the_whole_order(desk: Any, env: str, fargate: dict[str, Any]) -> None:
    other = environment(desk, "other", fargate)
    queue(desk)
    desk.call("UpdateJobQueue", jobQueue="q", computeEnvironmentOrder=order("other"), priority=9)
    (shown,) = described(desk, "q")
    assert shown["computeEnvironmentOrder"] == [{"order": 1, "computeEnvironment": other}]
    assert shown["priority"] == 9


@pytest.mark.parametrize("ref", ["nope", f"{ACCOUNT}:job-queue/nope", "arn:aws:batch:eu-west-1:1:job-queue/q"])
def test_an_unknown_queue(desk: Any, env: str, ref: str) -> None:
    queue(desk)
    assert desk.refused("UpdateJobQueue", jobQueue=ref, priority=2) == f"{ref} does not exist"
    assert desk.call("DeleteJobQueue", jobQueue=ref) == {}
    assert described(desk, ref) == []


def test_an_update_is_held_to_the_same_rules(desk: Any, env: str) -> None:
    queue(desk)
    assert "at least 0" in desk.refused("UpdateJobQueue", jobQueue="q", priority=-2)
    assert "At least one" in desk.refused("UpdateJobQueue", jobQueue="q", computeEnvironmentOrder=[])
    assert "FIFO job queue" in desk.refused(
        "UpdateJobQueue", jobQueue="q", schedulingPolicyArn=f"{ACCOUNT}:scheduling-policy/p"
    )


def test_a_queue_is_deleted_after_it_was_disabled(desk: Any, env: str) -> None:
    queue(desk, tags={"a": "b"})
    assert "must be DISABLED" in desk.refused("DeleteJobQueue", jobQueue="q")
    desk.call("UpdateJobQueue", jobQueue="q", state="DISABLED")
    assert desk.call("DeleteJobQueue", jobQueue="q") == {}
    assert described(desk, "q") == []
    queue(desk)
    assert described(desk, "q")[0]["tags"] == {}


@pytest.mark.parametrize("status", [CREATING, DELETING])
def test_a_queue_in_transition_shows_it_and_is_left_alone(desk: Any, env: str, status: str) -> None:
    queue(desk, state="DISABLED")
    desk.world.queues[f"{ACCOUNT}:job-queue/q"].status = status
    (shown,) = described(desk, "q")
    assert (shown["status"], shown["statusReason"]) == (status, "JobQueue Healthy")
    assert desk.refused("DeleteJobQueue", jobQueue="q") == "Cannot delete, resource is being modified"


def test_describing_by_name_leaves_out_what_is_not_there(desk: Any, env: str) -> None:
    for name in ("b", "a"):
        queue(desk, name)
    shown = described(desk, "nope", "b", f"{ACCOUNT}:job-queue/a", "b")
    assert [item["jobQueueName"] for item in shown] == ["b", "a"]


def test_describing_all_in_pages(desk: Any, env: str) -> None:
    for name in ("c", "a", "b"):
        queue(desk, name)
    first = desk.call("DescribeJobQueues", maxResults=2)
    assert [item["jobQueueName"] for item in first["jobQueues"]] == ["a", "b"]
    second = desk.call("DescribeJobQueues", maxResults=2, nextToken=first["nextToken"])
    assert [item["jobQueueName"] for item in second["jobQueues"]] == ["c"]
    assert "nextToken" not in second
    assert len(desk.call("DescribeJobQueues", jobQueues=[])["jobQueues"]) == 3


def test_what_a_description_may_not_ask(desk: Any, env: str) -> None:
    for name in ("a", "b"):
        queue(desk, name)
    both = desk.refused("DescribeJobQueues", jobQueues=["a"], maxResults=1)
    assert both.startswith("Error executing request, Exception : JobQueues and MaxResults cannot both be set")
    assert "JobQueues and NextToken" in desk.refused("DescribeJobQueues", jobQueues=["a"], nextToken="t")
    assert "supported is 100" in desk.refused("DescribeJobQueues", jobQueues=["a"] * 101)
    for size in (0, 101):
        assert "between 1 and 100" in desk.refused("DescribeJobQueues", maxResults=size)
    assert "nextToken" in desk.refused("DescribeJobQueues", nextToken="garbage")
    token = desk.call("DescribeJobQueues", maxResults=1)["nextToken"]
    assert "nextToken" in desk.refused("DescribeComputeEnvironments", nextToken=token)
    assert "nextToken" in desk.refused("DescribeJobQueues", Realm("123456789012", "eu-west-1"), nextToken=token)


def test_queues_of_another_realm_are_not_seen(desk: Any, env: str) -> None:
    queue(desk)
    away = Realm("210987654321", "us-east-1")
    assert desk.call("DescribeJobQueues", away)["jobQueues"] == []
    assert desk.call("DescribeJobQueues", away, jobQueues=["q", f"{ACCOUNT}:job-queue/q"])["jobQueues"] == []
    assert desk.refused("UpdateJobQueue", away, jobQueue=f"{ACCOUNT}:job-queue/q").endswith("does not exist")
