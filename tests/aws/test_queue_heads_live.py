"""What stands at the head of a queue: GetJobQueueSnapshot, jobStateTimeLimitActions, and what `batchery why` says.

Sources: API_GetJobQueueSnapshot, API_JobStateTimeLimitAction; user guide, "Jobs stuck in a RUNNABLE status".
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_fairshare_live import fair_queue, policy, queue_detail, refused
from wire_pipeline import Pipeline, Server, until

from batchery.client import Client

MAX_RESOURCE = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"


def asking(**resources: int) -> dict[str, Any]:
    requirements = [{"type": kind, "value": str(value)} for kind, value in resources.items()]
    return {"containerOverrides": {"resourceRequirements": requirements}}


def front(pipeline: Pipeline, queue: str) -> list[str]:
    """Ids at the front of the queue."""
    found = pipeline.batch.get_job_queue_snapshot(jobQueue=queue)["frontOfQueue"]
    times = [job["earliestTimeAtPosition"] for job in found["jobs"]]
    assert all(0 < at <= found["lastUpdatedAt"] for at in times)
    return [job["jobArn"].rpartition("/")[2] for job in found["jobs"]]


def why(pipeline: Pipeline, job: str) -> list[str]:
    with Client(pipeline.server.url) as client:
        return list(dict(client.own("why", job=job))["lines"])


# -------------------------------------------------------------------------------------------------------- snapshot


def test_the_front_of_a_fifo_queue(pipeline: Pipeline) -> None:
    queue = pipeline.queue(vcpus=1)
    gate = pipeline.gate()
    runs = pipeline.submit(queue, pipeline.waiting(gate))
    pipeline.wait(runs, "RUNNING")
    definition = pipeline.definition(["true"])
    first = pipeline.submit(queue, definition, **asking(MEMORY=20))
    array = pipeline.submit(queue, definition, arrayProperties={"size": 2}, **asking(MEMORY=21))
    last = pipeline.submit(queue, definition, **asking(MEMORY=20))
    pipeline.wait(last, "RUNNABLE")
    assert front(pipeline, queue) == [first, f"{array}:0", f"{array}:1", last]
    arn = queue_detail(pipeline, queue)["jobQueueArn"]
    seen = pipeline.batch.get_job_queue_snapshot(jobQueue=arn)
    assert seen["queueUtilization"]["totalCapacityUsage"] == [{"capacityUnit": "VCPU", "quantity": 1.0}]
    assert "fairshareUtilization" not in seen["queueUtilization"]
    before = {job["jobArn"]: job["earliestTimeAtPosition"] for job in seen["frontOfQueue"]["jobs"]}
    pipeline.batch.cancel_job(jobId=first, reason="no")
    after = pipeline.batch.get_job_queue_snapshot(jobQueue=queue)["frontOfQueue"]["jobs"]
    assert [job["jobArn"] for job in after] == list(before)[1:]
    assert all(job["earliestTimeAtPosition"] >= before[job["jobArn"]] for job in after)
    gate.touch()
    pipeline.wait(last, "SUCCEEDED")
    assert front(pipeline, queue) == []
    assert refused(pipeline.batch.get_job_queue_snapshot, jobQueue="none") == "none does not exist"


def test_a_hundred_are_shown(pipeline: Pipeline) -> None:
    queue = pipeline.queue(vcpus=1, state="DISABLED")
    array = pipeline.submit(queue, pipeline.definition(["true"]), arrayProperties={"size": 150})
    until(lambda: pipeline.counts(array) == {"RUNNABLE": 150}, "all are ready")
    assert front(pipeline, queue) == [f"{array}:{index}" for index in range(100)]
    pipeline.batch.terminate_job(jobId=array, reason="enough")


def test_the_front_of_a_fair_queue_and_its_shares(pipeline: Pipeline) -> None:
    """The one that used least for its weight is first, and so they really run."""
    queue, _ = fair_queue(pipeline, 3, policy(pipeline, {"b": 2.0}))
    gates = [pipeline.gate() for _ in range(3)]
    busy = [
        pipeline.submit(
            queue, pipeline.waiting(gate, schedulingPriority=1), shareIdentifier=share, **asking(VCPU=vcpus)
        )
        for gate, share, vcpus in zip(gates, "aba", (1, 1, 1), strict=True)
    ]
    for job in busy:
        pipeline.wait(job, "RUNNING")
    used = pipeline.batch.get_job_queue_snapshot(jobQueue=queue)["queueUtilization"]
    assert used["totalCapacityUsage"] == [{"capacityUnit": "VCPU", "quantity": 3.0}]
    assert used["fairshareUtilization"] == {
        "activeShareCount": 2,
        "topCapacityUtilization": [
            {"shareIdentifier": "a", "capacityUsage": [{"capacityUnit": "VCPU", "quantity": 2.0}]},
            {"shareIdentifier": "b", "capacityUsage": [{"capacityUnit": "VCPU", "quantity": 1.0}]},
        ],
    }
    trace = pipeline.folder / "trace"
    note = pipeline.definition(["sh", "-c", f"echo $AWS_BATCH_JOB_ID >>{trace}"], schedulingPriority=1)
    jobs = [
        pipeline.submit(queue, note, shareIdentifier=share, schedulingPriorityOverride=priority, **asking(MEMORY=33))
        for share, priority in (("c", 1), ("c", 5))
    ]
    pipeline.wait(jobs[1], "RUNNABLE")
    assert front(pipeline, queue) == jobs[::-1]
    assert why(pipeline, jobs[0])[0].startswith("It is number 2 of those ready")
    gates[1].touch()
    for job in jobs:
        pipeline.wait(job, "SUCCEEDED")
    assert trace.read_text().split() == jobs[::-1]
    for gate in gates:
        gate.touch()


def test_the_window_of_usage_is_the_policy_s(pipeline: Pipeline) -> None:
    """What a share has used fades over shareDecaySeconds; `batchery why` tells both."""
    rule = policy(pipeline, shareDecaySeconds=7200)
    queue, environment = fair_queue(pipeline, 1, rule)
    definition = pipeline.definition(["sleep", "0.5"], schedulingPriority=1)
    pipeline.wait(pipeline.submit(queue, definition, shareIdentifier="a"), "SUCCEEDED")
    pipeline.set_environment(environment, state="DISABLED")
    job = pipeline.submit(queue, definition, shareIdentifier="a")
    pipeline.wait(job, "RUNNABLE")
    (line,) = [line for line in why(pipeline, job) if line.startswith("Its share a has used")]
    assert "fading over 7200 s" in line
    assert 0.4 < float(line.split()[5]) < 60
    pipeline.batch.update_scheduling_policy(arn=rule, fairsharePolicy={"shareDecaySeconds": 3600})
    assert any("fading over 3600 s" in line for line in why(pipeline, job))


# ----------------------------------------------------------------------------------------------------- time limits


@pytest.fixture
def hasty(own_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Of a server where a time limit may be a second."""
    monkeypatch.setenv("BATCHERY_LIMITS_STATE_SECONDS", "1")
    return Pipeline(own_server(), tmp_path)


def limited_queue(pipeline: Pipeline, vcpus: int, **action: Any) -> str:
    limit = {"reason": MAX_RESOURCE, "state": "RUNNABLE", "maxTimeSeconds": 1, "action": "CANCEL"} | action
    name = pipeline.new_environment(vcpus)
    order = [{"order": 1, "computeEnvironment": name}]
    pipeline.batch.create_job_queue(
        jobQueueName=name, priority=1, computeEnvironmentOrder=order, jobStateTimeLimitActions=[limit]
    )
    until(lambda: queue_detail(pipeline, name)["status"] == "VALID", "the queue is VALID")
    assert queue_detail(pipeline, name)["jobStateTimeLimitActions"] == [limit]
    return name


def test_a_job_that_is_blocked_at_the_head_is_cancelled(hasty: Pipeline) -> None:
    queue = limited_queue(hasty, 1)
    definition = hasty.definition(["true"])
    huge = hasty.submit(queue, definition, **asking(VCPU=2))
    done = hasty.wait(hasty.submit(queue, definition), "SUCCEEDED")
    assert done["status"] == "SUCCEEDED", "nothing is held up meanwhile"
    seen = hasty.wait(huge, "FAILED")
    assert seen["statusReason"] == f"Canceled by JobStateTimeLimit action due to reason: {MAX_RESOURCE}"
    assert seen["isCancelled"] is True
    assert seen["stoppedAt"] - seen["createdAt"] >= 1000


def test_the_time_goes_on_over_a_crash(own_server: Callable[..., Server], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("BATCHERY_LIMITS_STATE_SECONDS", "1")
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    queue = limited_queue(pipeline, 1, maxTimeSeconds=3)
    huge = pipeline.submit(queue, pipeline.definition(["true"]), **asking(VCPU=2))
    pipeline.wait(huge, "RUNNABLE")
    until(lambda: pipeline.job(huge).get("statusReason", "").startswith(MAX_RESOURCE), "it is known to be blocked")
    server.kill()
    server.start()
    seen = Pipeline(server, tmp_path).wait(huge, "FAILED")
    assert seen["statusReason"].startswith("Canceled by JobStateTimeLimit action")


def test_actions_are_replaced_as_a_whole(hasty: Pipeline) -> None:
    queue = limited_queue(hasty, 1, maxTimeSeconds=3600)
    huge = hasty.submit(queue, hasty.definition(["true"]), **asking(VCPU=2))
    hasty.wait(huge, "RUNNABLE")
    action = {"reason": MAX_RESOURCE, "state": "RUNNABLE", "maxTimeSeconds": 1, "action": "CANCEL"}
    hasty.batch.update_job_queue(jobQueue=queue, jobStateTimeLimitActions=[action])
    hasty.wait(huge, "FAILED")
    until(lambda: queue_detail(hasty, queue)["status"] == "VALID", "the queue is VALID")
    hasty.batch.update_job_queue(jobQueue=queue, jobStateTimeLimitActions=[])
    assert "jobStateTimeLimitActions" not in queue_detail(hasty, queue)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"reason": "because"}, "reason of jobStateTimeLimitActions must be one of CAPACITY"),
        ({"maxTimeSeconds": 599}, "maxTimeSeconds must be between 600 and 86400"),
        ({"maxTimeSeconds": 86_401}, "maxTimeSeconds must be between 600 and 86400"),
        ({"action": "TERMINATE"}, "Invalid job action. Valid job actions: [CANCEL]"),
    ],
)
def test_what_an_action_may_not_say(pipeline: Pipeline, action: dict[str, Any], words: str) -> None:
    limit = {"reason": MAX_RESOURCE, "state": "RUNNABLE", "maxTimeSeconds": 600, "action": "CANCEL"} | action
    asked = {
        "jobQueueName": "bad-limits",
        "priority": 1,
        "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "default"}],
    }
    assert words in refused(pipeline.batch.create_job_queue, **asked, jobStateTimeLimitActions=[limit])
