"""SubmitJob: what it answers, what it refuses in which words, and what it hands to the core."""

import uuid
from typing import Any

import pytest
from msgspec.structs import replace

from batchery.api.call import ApiError
from batchery.api.policy import parse
from batchery.core.messages import UpdateQueue
from batchery.core.model import DELETING, INVALID, Realm

AWAY = Realm("123456789012", "eu-west-1")
START = "arn:aws:batch:us-east-1:123456789012"


def test_the_answer(jobs: Any) -> None:
    answer = jobs.call("SubmitJob", jobName="j", jobQueue="default", jobDefinition="d")
    job = answer["jobId"]
    assert str(uuid.UUID(job)) == job
    assert answer == {"jobArn": f"{START}:job/{job}", "jobName": "j", "jobId": job}
    assert jobs.allowed == [f"{START}:job-definition/d:1", f"{START}:job-queue/default"]


@pytest.mark.parametrize("queue", ["default", f"{START}:job-queue/default"])
@pytest.mark.parametrize("definition", ["d", "d:1", f"{START}:job-definition/d", f"{START}:job-definition/d:1"])
def test_names_and_arns(jobs: Any, queue: str, definition: str) -> None:
    job = jobs.job(jobs.submit(jobQueue=queue, jobDefinition=definition))
    assert (job["jobQueue"], job["jobDefinition"]) == (f"{START}:job-queue/default", f"{START}:job-definition/d:1")


def test_a_bare_name_is_the_highest_active_revision(jobs: Any) -> None:
    jobs.register()
    jobs.register()
    assert jobs.job(jobs.submit())["jobDefinition"].endswith(":job-definition/d:3")
    jobs.call("DeregisterJobDefinition", jobDefinition="d:3")
    assert jobs.job(jobs.submit())["jobDefinition"].endswith(":job-definition/d:2")
    assert jobs.refused("SubmitJob", jobName="j", jobQueue="default", jobDefinition="d:3") == (
        "JobDefinition name d:3 does not exist or is not in ACTIVE status"
    )


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"jobQueue": "nope"}, "JobQueue nope not found."),
        (
            {"jobQueue": "arn:aws:batch:eu-west-1:123456789012:job-queue/default"},
            "JobQueue arn:aws:batch:eu-west-1:123456789012:job-queue/default not found.",
        ),
        ({"jobDefinition": "nope"}, "JobDefinition name nope does not exist or is not in ACTIVE status"),
        ({"jobDefinition": "d:7"}, "JobDefinition name d:7 does not exist or is not in ACTIVE status"),
        ({"jobDefinition": f"{START}:job-definition/d:7"}, f"JobDefinition {START}:job-definition/d:7 not found."),
        (
            {"jobDefinition": "arn:aws:batch:eu-west-1:123456789012:job-definition/d:1"},
            "JobDefinition arn:aws:batch:eu-west-1:123456789012:job-definition/d:1 not found.",
        ),
        ({"jobDefinition": "d:latest"}, "Provided name d:latest is not supported pattern[a-zA-Z_0-9-]{1,128}"),
        (
            {"shareIdentifier": "a"},
            "Job with shareIdentifier or schedulingPriority can onlybe submitted to job queue with fair share "
            "scheduling policy.",
        ),
        (
            {"schedulingPriorityOverride": 1},
            "Job with shareIdentifier or schedulingPriority can onlybe submitted to job queue with fair share "
            "scheduling policy.",
        ),
        (
            {"jobName": "a b"},
            "Error executing request, Exception : Job name should match valid pattern, RequestId: req-1",
        ),
        (
            {"dependsOn": [{"jobId": str(i)} for i in range(21)]},
            "Error executing request, Exception : Job cannot have more than 20 dependencies, RequestId: req-1",
        ),
        (
            {"parameters": {"a": "x" * 31_000}},
            "Error executing request, Exception : Job size must be less than 30 KiB, got 31 KiB, RequestId: req-1",
        ),
        (
            {"tags": {"aws:x": "1"}},
            "Error executing request, Exception : Tag keys that begin with aws: are reserved: aws:x, RequestId: req-1",
        ),
        (
            {"nodeOverrides": {"numNodes": 2}},
            "nodeOverrides does not match the kind of the job definition",
        ),
    ],
)
def test_refusals(jobs: Any, members: dict[str, Any], message: str) -> None:
    asked = {"jobName": "j", "jobQueue": "default", "jobDefinition": "d", **members}
    assert jobs.refused("SubmitJob", **asked) == message


def test_a_queue_that_takes_no_jobs(jobs: Any) -> None:
    jobs.disable_queue()
    assert "Job queue default is not ENABLED" in jobs.refused(
        "SubmitJob", jobName="j", jobQueue="default", jobDefinition="d"
    )
    world = jobs.service.world
    queue = world.queues[jobs.queue_arn]
    world.queues[jobs.queue_arn] = replace(queue, state="ENABLED", status=INVALID)
    assert "Job queue default is not VALID" in jobs.refused(
        "SubmitJob", jobName="j", jobQueue="default", jobDefinition="d"
    )
    world.queues[jobs.queue_arn] = replace(queue, status=DELETING)
    assert jobs.refused("SubmitJob", jobName="j", jobQueue="default", jobDefinition="d") == (
        "JobQueue default not found."
    )


def test_a_definition_for_fargate_needs_a_queue_of_fargate(jobs: Any) -> None:
    jobs.register(
        "f",
        {
            "executionRoleArn": "x",
            "resourceRequirements": [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "512"}],
        },
        platformCapabilities=["FARGATE"],
    )
    assert jobs.refused("SubmitJob", jobName="j", jobQueue="default", jobDefinition="f") == (
        "Job Queue is attached to Compute Environment that can not run Jobs with capability FARGATE."
    )


def test_a_missing_parameter_and_a_host_without_containers(jobs: Any) -> None:
    jobs.register("p", {"command": ["Ref::x"]})
    assert jobs.refused("SubmitJob", jobName="j", jobQueue="default", jobDefinition="p") == (
        "Unable to substitute value. No parameter found for reference x"
    )
    jobs.register(
        "m",
        {
            "volumes": [{"name": "v", "host": {"sourcePath": "/a"}}],
            "mountPoints": [{"sourceVolume": "v", "containerPath": "/b"}],
        },
    )
    assert jobs.refused("SubmitJob", jobName="j", jobQueue="default", jobDefinition="m").startswith(
        "Jobs run as host processes"
    )


def test_unknown_dependencies_are_looked_for_in_the_store_and_refused(jobs: Any) -> None:
    ended = jobs.submit()
    jobs.run(ended)
    assert ended not in jobs.service.world.jobs
    follower = jobs.submit(dependsOn=[{"jobId": ended}])
    assert jobs.status(follower) == ["RUNNABLE"]
    for unknown in (str(uuid.uuid4()), "nonsense", f"{ended}:0", "p#0", f"{ended}:x"):
        text = jobs.refused(
            "SubmitJob", jobName="j", jobQueue="default", jobDefinition="d", dependsOn=[{"jobId": unknown}]
        )
        assert f"Job {unknown} in dependsOn does not exist" in text


def test_a_dependency_that_has_failed_long_ago(jobs: Any) -> None:
    ended = jobs.submit()
    jobs.run(ended, 1)
    other = jobs.submit()
    jobs.run(other)
    follower = jobs.submit(dependsOn=[{"jobId": ended}, {"jobId": other}])
    job = jobs.job(follower)
    assert (job["status"], job["statusReason"], job["attempts"]) == ("FAILED", "Dependent Job failed", [])
    assert "startedAt" not in job
    assert job["stoppedAt"] == job["createdAt"]


def test_overrides_too_long_are_accepted_and_fail_later(jobs: Any) -> None:
    long = {"environment": [{"name": "A", "value": "x" * 9000}]}
    job = jobs.job(jobs.submit(containerOverrides=long))
    assert (job["status"], job["statusReason"]) == ("FAILED", "Container Overrides length must be at most 8192")
    assert job["attempts"] == []


def test_too_many_tags_together_are_accepted_and_fail_later(jobs: Any) -> None:
    jobs.register("t", tags={f"a{i}": "" for i in range(30)}, propagateTags=True)
    own = {f"b{i}": "" for i in range(30)}
    job = jobs.job(jobs.submit(jobDefinition="t", tags=own))
    assert job["status"] == "FAILED"
    assert "at most 50 together" in job["statusReason"]
    assert jobs.job(jobs.submit(jobDefinition="t", tags=own, propagateTags=False))["status"] == "RUNNABLE"
    assert jobs.job(jobs.submit(jobDefinition="t", tags={"a0": "x"}))["status"] == "RUNNABLE"


def test_empty_array_properties_are_a_plain_job(jobs: Any) -> None:
    job = jobs.job(jobs.submit(arrayProperties={}))
    assert "arrayProperties" not in job
    assert job["status"] == "RUNNABLE"


def test_permission_is_asked_for_definition_and_queue(jobs: Any) -> None:
    jobs.policy = parse(
        {
            "Statement": [
                {"Effect": "Allow", "Action": "batch:*", "Resource": "*"},
                {"Effect": "Deny", "Action": "batch:SubmitJob", "Resource": "*:job-queue/default"},
            ]
        }
    )
    with pytest.raises(ApiError) as caught:
        jobs.submit()
    assert (caught.value.status, caught.value.code) == (403, "AccessDeniedException")
    assert f"perform: batch:SubmitJob on resource: {jobs.queue_arn}" in caught.value.message


def test_tagging_at_creation_needs_its_own_permission(jobs: Any) -> None:
    jobs.policy = parse(
        {
            "Statement": [
                {"Effect": "Allow", "NotAction": "batch:TagResource", "Resource": "*"},
            ]
        }
    )
    assert jobs.status(jobs.submit()) == ["RUNNABLE"]
    with pytest.raises(ApiError, match="batch:TagResource"):
        jobs.submit(tags={"a": "b"})


def test_jobs_of_another_realm_are_not_there(jobs: Any) -> None:
    job = jobs.submit()
    assert jobs.call("DescribeJobs", AWAY, jobs=[job]) == {"jobs": []}
    assert jobs.refused("SubmitJob", AWAY, jobName="j", jobQueue="default", jobDefinition="d") == (
        "JobQueue default not found."
    )


def test_the_core_has_the_last_word(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that is disabled between the handler's look and the commit."""
    service = jobs.service
    real = service.submit

    async def slow(command: Any, note: Any = None) -> Any:
        service.turn(UpdateQueue(jobs.queue_arn, state="DISABLED"))
        return await real(command, note)

    monkeypatch.setattr(service, "submit", slow)
    with pytest.raises(ApiError, match="is not ENABLED"):
        jobs.submit()
