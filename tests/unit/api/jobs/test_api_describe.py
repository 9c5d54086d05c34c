"""DescribeJobs: what is shown of a job in each state, of arrays, and of what ended long ago."""

import re
from typing import Any

import pytest

from batchery.core.model import WITHDRAWN

START = "arn:aws:batch:us-east-1:123456789012"
WAITING_KEYS = [
    "jobArn",
    "jobName",
    "jobId",
    "jobQueue",
    "status",
    "attempts",
    "createdAt",
    "dependsOn",
    "jobDefinition",
    "parameters",
    "container",
    "tags",
    "propagateTags",
    "platformCapabilities",
    "eksAttempts",
]


def test_a_job_that_waits(jobs: Any) -> None:
    job = jobs.submit()
    seen = jobs.job(job)
    assert list(seen) == WAITING_KEYS
    assert seen == {
        "jobArn": f"{START}:job/{job}",
        "jobName": "j",
        "jobId": job,
        "jobQueue": f"{START}:job-queue/default",
        "status": "RUNNABLE",
        "attempts": [],
        "createdAt": jobs.service.clock,
        "dependsOn": [],
        "jobDefinition": f"{START}:job-definition/d:1",
        "parameters": {},
        "container": {
            "image": "busybox",
            "command": ["true"],
            "volumes": [],
            "environment": [],
            "mountPoints": [],
            "ulimits": [],
            "networkInterfaces": [],
            "resourceRequirements": [{"value": "1", "type": "VCPU"}, {"value": "64", "type": "MEMORY"}],
            "secrets": [],
        },
        "tags": {},
        "propagateTags": False,
        "platformCapabilities": [],
        "eksAttempts": [],
    }


def test_what_was_asked_for_is_shown_as_it_came_out(jobs: Any) -> None:
    jobs.register(
        "full",
        {
            "command": ["echo", "Ref::what"],
            "environment": [{"name": "A", "value": "1"}],
            "user": "me",
            "privileged": True,
            "linuxParameters": {"initProcessEnabled": True},
            "logConfiguration": {"logDriver": "awslogs"},
        },
        parameters={"what": "nothing", "other": "o"},
        retryStrategy={"attempts": 2},
        timeout={"attemptDurationSeconds": 60},
        platformCapabilities=["EC2"],
    )
    first = jobs.submit()
    job = jobs.submit(
        jobDefinition="full",
        parameters={"what": "this"},
        dependsOn=[{"jobId": first, "type": "SEQUENTIAL"}],
        containerOverrides={"environment": [{"name": "B", "value": "2"}]},
        tags={"k": "v"},
        propagateTags=True,
    )
    seen = jobs.job(job)
    assert seen["status"] == "PENDING"
    assert seen["parameters"] == {"what": "this", "other": "o"}
    assert seen["retryStrategy"] == {"attempts": 2, "evaluateOnExit": []}
    assert seen["timeout"] == {"attemptDurationSeconds": 60}
    assert seen["dependsOn"] == [{"jobId": first, "type": "SEQUENTIAL"}]
    assert (seen["tags"], seen["propagateTags"], seen["platformCapabilities"]) == ({"k": "v"}, True, ["EC2"])
    container = seen["container"]
    assert container["command"] == ["echo", "this"]
    assert container["environment"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert (container["user"], container["privileged"]) == ("me", True)
    assert container["linuxParameters"] == {"devices": [], "initProcessEnabled": True, "tmpfs": []}
    assert container["logConfiguration"] == {"logDriver": "awslogs", "options": {}, "secretOptions": []}
    assert "vcpus" not in container


def test_deprecated_members_are_shown_where_they_were_used(jobs: Any) -> None:
    jobs.register("old", {"resourceRequirements": None, "vcpus": 2, "memory": 64})
    container = jobs.job(jobs.submit(jobDefinition="old"))["container"]
    assert (container["vcpus"], container["memory"], container["resourceRequirements"]) == (2, 64, [])


def test_the_life_of_a_job(jobs: Any) -> None:
    job = jobs.submit()
    created = jobs.service.clock
    jobs.later()
    jobs.starting(job)
    seen = jobs.job(job)
    assert seen["status"] == "STARTING"
    container = seen["container"]
    cluster = r"AWSBatch-default-[0-9a-f-]{36}"
    assert re.fullmatch(rf"arn:aws:ecs:us-east-1:123456789012:task/{cluster}/[0-9a-f]{{32}}", container["taskArn"])
    assert re.fullmatch(
        rf"arn:aws:ecs:us-east-1:123456789012:container-instance/{cluster}/[0-9a-f]{{32}}",
        container["containerInstanceArn"],
    )
    assert "logStreamName" not in container
    assert "startedAt" not in seen

    started = jobs.later()
    jobs.start(job)
    seen = jobs.job(job)
    task = container["taskArn"].rpartition("/")[2]
    assert (seen["status"], seen["startedAt"], seen["attempts"]) == ("RUNNING", started, [])
    assert seen["container"]["logStreamName"] == f"d/default/{task}"
    assert "stoppedAt" not in seen

    stopped = jobs.later()
    jobs.finish(job, 0)
    seen = jobs.job(job)
    assert (seen["status"], seen["createdAt"], seen["startedAt"], seen["stoppedAt"]) == (
        "SUCCEEDED",
        created,
        started,
        stopped,
    )
    assert seen["statusReason"] == "Essential container in task exited"
    (attempt,) = seen["attempts"]
    assert attempt == {
        "container": {
            "containerInstanceArn": container["containerInstanceArn"],
            "taskArn": container["taskArn"],
            "exitCode": 0,
            "logStreamName": f"d/default/{task}",
            "networkInterfaces": [],
        },
        "startedAt": started,
        "stoppedAt": stopped,
        "statusReason": "Essential container in task exited",
    }
    for name, value in attempt["container"].items():
        assert seen["container"][name] == value


def test_between_attempts_and_after_the_last(jobs: Any) -> None:
    job = jobs.submit(retryStrategy={"attempts": 2})
    jobs.run(job, 3, "first words")
    seen = jobs.job(job)
    assert (seen["status"], len(seen["attempts"])) == ("RUNNABLE", 1)
    assert "startedAt" not in seen
    assert "stoppedAt" not in seen
    assert "statusReason" not in seen
    assert (seen["container"]["exitCode"], seen["container"]["reason"]) == (3, "first words")

    jobs.start(job)
    seen = jobs.job(job)
    assert (seen["status"], len(seen["attempts"])) == ("RUNNING", 1)
    assert "exitCode" not in seen["container"]
    assert seen["container"]["taskArn"] != seen["attempts"][0]["container"]["taskArn"]

    jobs.finish(job, 4)
    seen = jobs.job(job)
    assert [attempt["container"]["exitCode"] for attempt in seen["attempts"]] == [3, 4]
    assert (seen["status"], seen["container"]["exitCode"]) == ("FAILED", 4)
    assert seen["startedAt"] == seen["attempts"][1]["startedAt"]


def test_an_attempt_that_never_ran(jobs: Any) -> None:
    job = jobs.submit()
    jobs.later()
    jobs.not_started(job, "CannotStartContainerError: no such command")
    seen = jobs.job(job)
    (attempt,) = seen["attempts"]
    assert (seen["status"], seen["statusReason"]) == ("FAILED", "Task failed to start")
    assert attempt["statusReason"] == "Task failed to start"
    assert attempt["container"]["reason"] == "CannotStartContainerError: no such command"
    for name in ("exitCode", "logStreamName"):
        assert name not in attempt["container"]
        assert name not in seen["container"]
    assert "startedAt" not in attempt
    assert "startedAt" not in seen
    assert attempt["stoppedAt"] == seen["stoppedAt"]


def test_a_placement_that_was_handed_back_is_no_attempt(jobs: Any) -> None:
    job = jobs.submit()
    jobs.call("CancelJob", jobId=job, reason="Back")
    assert jobs.job(job)["isCancelled"] is True
    jobs.finish(job, None, "", WITHDRAWN)
    seen = jobs.job(job)
    assert (seen["status"], seen["statusReason"], seen["isCancelled"]) == ("FAILED", "Back", True)
    assert seen["attempts"] == []
    assert "taskArn" not in seen["container"]


def test_a_lost_host(jobs: Any) -> None:
    job = jobs.submit()
    jobs.start(job)
    jobs.lose(job, "i-42")
    seen = jobs.job(job)
    assert (seen["status"], seen["statusReason"]) == ("FAILED", "Host EC2 (instance i-42) terminated.")


def test_an_array_from_its_parent_and_its_children(jobs: Any) -> None:
    array = jobs.array(3, tags={"k": "v"})
    created = jobs.service.clock
    jobs.start(f"{array}:0")
    jobs.later()
    jobs.finish(f"{array}:0")
    now = jobs.later()
    jobs.run(f"{array}:1", 7)
    parent, zero, one, two = jobs.describe(array, f"{array}:0", f"{array}:1", f"{array}:2")
    assert parent["status"] == "PENDING"
    counts = dict.fromkeys(("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"), 0)
    assert parent["arrayProperties"] == {
        "statusSummary": counts | {"RUNNABLE": 1, "SUCCEEDED": 1, "FAILED": 1},
        "statusSummaryLastUpdatedAt": jobs.service.clock,
        "size": 3,
    }
    assert (parent["attempts"], parent["tags"]) == ([], {"k": "v"})
    assert "taskArn" not in parent["container"]
    assert zero["jobArn"] == f"{START}:job/{array}:0"
    assert zero["arrayProperties"] == {"statusSummary": {}, "index": 0}
    assert (zero["status"], zero["tags"], zero["createdAt"]) == ("SUCCEEDED", {}, created)
    assert zero["stoppedAt"] == created + 1000
    assert (one["status"], one["container"]["exitCode"]) == ("FAILED", 7)
    assert one["stoppedAt"] == now + 1000
    assert (two["status"], two["attempts"]) == ("RUNNABLE", [])

    jobs.run(f"{array}:2")
    parent, zero, one, two = jobs.describe(array, f"{array}:0", f"{array}:1", f"{array}:2")
    assert array not in jobs.service.world.jobs
    assert (parent["status"], parent["statusReason"]) == ("FAILED", "Array Child Job failed")
    assert parent["arrayProperties"]["statusSummary"] == counts | {"SUCCEEDED": 2, "FAILED": 1}
    assert parent["arrayProperties"]["statusSummaryLastUpdatedAt"] == parent["stoppedAt"]
    assert "startedAt" not in parent
    assert [child["status"] for child in (zero, one, two)] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert [len(child["attempts"]) for child in (zero, one, two)] == [1, 1, 1]
    assert one["container"]["exitCode"] == 7


def test_children_with_several_attempts(jobs: Any) -> None:
    array = jobs.array(2, retryStrategy={"attempts": 3})
    jobs.run(f"{array}:0", 1)
    jobs.run(f"{array}:0", 2)
    jobs.start(f"{array}:0")
    child = jobs.job(f"{array}:0")
    assert [attempt["container"]["exitCode"] for attempt in child["attempts"]] == [1, 2]
    assert child["status"] == "RUNNING"
    jobs.finish(f"{array}:0", 3)
    child = jobs.job(f"{array}:0")
    assert [attempt["container"]["exitCode"] for attempt in child["attempts"]] == [1, 2, 3]


def test_flags_of_the_children_of_a_cancelled_array(jobs: Any) -> None:
    array = jobs.array(8)
    jobs.start(f"{array}:0")
    jobs.start(f"{array}:1")
    jobs.run(f"{array}:2")
    jobs.later()
    jobs.call("CancelJob", jobId=f"{array}:7", reason="This one")
    jobs.call("CancelJob", jobId=array, reason="All of it")

    def flags(index: int) -> tuple[str, bool, str]:
        child = jobs.job(f"{array}:{index}")
        assert "isTerminated" not in child
        return child["status"], "isCancelled" in child, child.get("statusReason", "")

    def judged() -> None:
        assert flags(2) == ("SUCCEEDED", False, "Essential container in task exited")
        assert flags(6) == ("FAILED", True, "All of it")
        assert flags(7) == ("FAILED", True, "This one")

    judged()
    assert flags(0) == ("RUNNING", False, "")
    assert jobs.job(array)["isCancelled"] is True
    for index in (3, 4, 5):  # placed and not begun: the engine gives them back
        if jobs.status(f"{array}:{index}") == ["RUNNABLE"]:
            jobs.finish(f"{array}:{index}", None, "", WITHDRAWN)
    jobs.finish(f"{array}:0")
    jobs.call("TerminateJob", jobId=array, reason="Now")
    child = jobs.job(f"{array}:1")
    assert (child["status"], child["isTerminated"]) == ("RUNNING", True)
    assert "isCancelled" not in child
    jobs.finish(f"{array}:1", 143)
    parent = jobs.job(array)
    assert (parent["status"], parent["isCancelled"], parent["isTerminated"]) == ("FAILED", True, True)
    assert parent["statusReason"] == "All of it"
    assert flags(0) == ("SUCCEEDED", False, "Essential container in task exited")
    assert jobs.job(f"{array}:6")["isCancelled"] is True
    assert flags(7) == ("FAILED", True, "This one")


def test_order_of_the_request_each_once_unknown_ones_left_out(jobs: Any) -> None:
    a, b = jobs.submit(), jobs.submit()
    array = jobs.array(2)
    jobs.run(a)
    asked = [b, "nonsense", f"{array}:1", a, b, f"{array}:2", f"{b}:0", f"{a}:0", array, f"{array}:x"]
    assert [job["jobId"] for job in jobs.describe(*asked)] == [b, f"{array}:1", a, array]
    jobs.run(f"{array}:0")
    jobs.run(f"{array}:1")
    assert [job["jobId"] for job in jobs.describe(*asked)] == [b, f"{array}:1", a, array]
    assert jobs.describe() == []
    assert jobs.describe("nonsense") == []


def test_at_most_a_hundred(jobs: Any) -> None:
    assert jobs.describe(*map(str, range(100))) == []
    assert jobs.refused("DescribeJobs", jobs=list(map(str, range(101)))) == (
        "Error executing request, Exception : Maximum number of jobs supported is  100 ., RequestId: req-1"
    )


@pytest.mark.parametrize("restart", [False, True])
def test_a_definition_stays_as_long_as_jobs_refer_to_it(jobs: Any, restart: bool) -> None:
    job = jobs.submit()
    jobs.call("DeregisterJobDefinition", jobDefinition="d:1")
    jobs.run(job)
    if restart:
        jobs.service.reload()
    assert jobs.job(job)["container"]["image"] == "busybox"


def test_jobs_of_a_deleted_queue(jobs: Any) -> None:
    waiting = [jobs.submit() for _ in range(5)][-1]
    jobs.delete_queue()
    seen = jobs.job(waiting)
    assert (seen["status"], seen["statusReason"]) == ("FAILED", "JobQueue deleted")
    assert "isCancelled" not in seen
    assert "isTerminated" not in seen


def test_fargate_has_a_platform_version_and_no_instance(jobs: Any) -> None:
    from msgspec.structs import replace

    from batchery.core.model import Environment

    world = jobs.service.world
    (arn,) = world.environments
    environment: Environment = world.environments[arn]
    world.environments[arn] = replace(environment, kind="FARGATE")
    jobs.register(
        "f",
        {
            "executionRoleArn": "x",
            "resourceRequirements": [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "512"}],
        },
        platformCapabilities=["FARGATE"],
    )
    job = jobs.submit(jobDefinition="f")
    jobs.run(job)
    seen = jobs.job(job)
    assert seen["container"]["fargatePlatformConfiguration"] == {"platformVersion": "LATEST"}
    assert "taskArn" in seen["container"]
    assert "containerInstanceArn" not in seen["container"]
    assert "containerInstanceArn" not in seen["attempts"][0]["container"]
