"""dependsOn over the wire: of plain jobs, whole arrays and single children; met, broken, and unknown.

Source: AWS Batch user guide, "Job dependencies"; API_JobDependency.
"""

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for the tests of this file; each leaves it empty."""
    return Pipeline(server, tmp_path_factory.mktemp("queue")).queue(vcpus=8)


def on(*jobs: str) -> dict[str, Any]:
    return {"dependsOn": [{"jobId": job} for job in jobs]}


def test_all_of_twenty_have_to_succeed(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    last = pipeline.submit(queue, pipeline.waiting(gate))
    quick = pipeline.definition(["true"])
    others = [pipeline.submit(queue, quick) for _ in range(19)]
    job = pipeline.submit(queue, quick, **on(*others, last))
    for other in others:
        pipeline.wait(other, "SUCCEEDED")
    assert pipeline.status(job) == "PENDING"
    gate.touch()
    seen = pipeline.wait(job, "SUCCEEDED")
    assert seen["dependsOn"] == [{"jobId": other} for other in (*others, last)]
    assert seen["startedAt"] >= pipeline.job(last)["stoppedAt"]


def test_a_child_can_be_waited_for(pipeline: Pipeline, queue: str) -> None:
    """`parent:1` alone: its siblings still run when the dependent does."""
    gate = pipeline.gate()
    script = f'test "$AWS_BATCH_JOB_ARRAY_INDEX" = 1 || while [ ! -e "{gate}" ]; do sleep 0.02; done'
    parent = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]), arrayProperties={"size": 3})
    after = pipeline.submit(queue, pipeline.definition(["true"]), **on(f"{parent}:1"))
    whole = pipeline.submit(queue, pipeline.definition(["true"]), **on(parent))
    pipeline.wait(after, "SUCCEEDED")
    assert pipeline.counts(parent) == {"SUCCEEDED": 1, "RUNNING": 2}
    assert pipeline.status(whole) == "PENDING"
    gate.touch()
    pipeline.wait(whole, "SUCCEEDED")
    assert pipeline.status(parent) == "SUCCEEDED"


def test_a_failed_child_fails_only_who_waits_for_it(pipeline: Pipeline, queue: str) -> None:
    script = 'test "$AWS_BATCH_JOB_ARRAY_INDEX" = 0'
    parent = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]), arrayProperties={"size": 2})
    quick = pipeline.definition(["true"])
    good, bad, whole = (pipeline.submit(queue, quick, **on(ref)) for ref in (f"{parent}:0", f"{parent}:1", parent))
    pipeline.wait(good, "SUCCEEDED")
    for job in (bad, whole):
        assert pipeline.wait(job, "FAILED")["statusReason"] == "Dependent Job failed"


def test_one_that_has_succeeded_already_is_met(pipeline: Pipeline, queue: str) -> None:
    quick = pipeline.definition(["true"])
    done = pipeline.submit(queue, quick)
    array = pipeline.submit(queue, quick, arrayProperties={"size": 2})
    pipeline.wait(done, "SUCCEEDED")
    pipeline.wait(array, "SUCCEEDED")
    pipeline.wait(pipeline.submit(queue, quick, **on(done, array, f"{array}:1")), "SUCCEEDED")


def test_one_that_has_failed_already_fails_the_dependent(pipeline: Pipeline, queue: str) -> None:
    failed = pipeline.submit(queue, pipeline.definition(["false"]))
    pipeline.wait(failed, "FAILED")
    gate = pipeline.gate()
    job = pipeline.submit(queue, pipeline.waiting(gate), **on(failed))
    seen = pipeline.wait(job, "FAILED")
    assert (seen["statusReason"], seen["attempts"]) == ("Dependent Job failed", [])
    assert seen["stoppedAt"] >= seen["createdAt"]
    assert "startedAt" not in seen
    assert not {"isCancelled", "isTerminated"} & set(seen)
    assert not {"exitCode", "logStreamName"} & set(seen["container"])
    assert list(pipeline.folder.glob(f"{gate.name}.*")) == []


def test_a_child_of_an_ended_array_counts_by_itself(pipeline: Pipeline, queue: str) -> None:
    script = 'test "$AWS_BATCH_JOB_ARRAY_INDEX" = 0'
    parent = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]), arrayProperties={"size": 2})
    pipeline.wait(parent, "FAILED")
    quick = pipeline.definition(["true"])
    pipeline.wait(pipeline.submit(queue, quick, **on(f"{parent}:0")), "SUCCEEDED")
    pipeline.wait(pipeline.submit(queue, quick, **on(f"{parent}:1")), "FAILED")


def test_an_unknown_or_forgotten_job_is_refused(pipeline: Pipeline, queue: str) -> None:
    """AWS is silent; a job that could never start would be worse. Jobs that were forgotten are unknown."""
    quick = pipeline.definition(["true"])
    array = pipeline.submit(queue, quick, arrayProperties={"size": 2})
    before = listed(pipeline, queue)
    for ref in (str(uuid.uuid4()), f"{uuid.uuid4()}:0", f"{array}:2", "no id at all"):
        with pytest.raises(ClientError) as caught:
            pipeline.submit(queue, quick, **on(array, ref))
        assert caught.value.response["Error"]["Code"] == "ClientException"
        assert ref in caught.value.response["Error"]["Message"]
    assert listed(pipeline, queue) == before
    pipeline.wait(array, "SUCCEEDED")


def listed(pipeline: Pipeline, queue: str) -> list[str]:
    """Every job of the queue."""
    pages = pipeline.batch.get_paginator("list_jobs").paginate(
        jobQueue=queue, filters=[{"name": "JOB_NAME", "values": ["*"]}]
    )
    return [job["jobId"] for page in pages for job in page["jobSummaryList"]]


def test_a_job_that_is_retried_has_not_failed_yet(pipeline: Pipeline, queue: str) -> None:
    script = 'test "$AWS_BATCH_JOB_ATTEMPT" = 3'
    first = pipeline.submit(queue, pipeline.definition(["sh", "-c", script], retryStrategy={"attempts": 3}))
    job = pipeline.submit(queue, pipeline.definition(["true"]), **on(first))
    pipeline.wait(job, "SUCCEEDED")
    assert len(pipeline.job(first)["attempts"]) == 3


def test_failure_goes_down_a_chain_and_across_queues(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    other = pipeline.queue(vcpus=1)
    first = pipeline.submit(queue, pipeline.waiting(gate, "exit 1"))
    quick = pipeline.definition(["true"])
    second = pipeline.submit(other, quick, **on(first))
    third = pipeline.submit(queue, quick, arrayProperties={"size": 2}, **on(second))
    fourth = pipeline.submit(other, quick, **on(f"{third}:1"))
    until(lambda: pipeline.status(fourth) == "PENDING", "they wait")
    gate.touch()
    for job in (second, fourth, f"{third}:0"):
        seen = pipeline.wait(job, "FAILED")
        assert (seen["statusReason"], seen["attempts"]) == ("Dependent Job failed", [])
    pipeline.wait(third, "FAILED")


def test_only_jobs_that_wait_for_others_are_pending(pipeline: Pipeline) -> None:
    """A plain job without dependencies goes from SUBMITTED to RUNNABLE."""
    queue = pipeline.queue(vcpus=1, state="DISABLED")
    quick = pipeline.definition(["true"])
    job = pipeline.submit(queue, quick)
    dependent = pipeline.submit(queue, quick, **on(job))
    pipeline.wait(dependent, "PENDING")
    assert pipeline.status(job) == "RUNNABLE"
    pipeline.set_environment(queue, state="ENABLED")
    pipeline.wait(dependent, "SUCCEEDED")


def test_a_plain_dependency_may_say_sequential(pipeline: Pipeline, queue: str) -> None:
    """Seen in the wild: `type` SEQUENTIAL with a jobId is a plain dependency, and shown as it was sent."""
    quick = pipeline.definition(["true"])
    first = pipeline.submit(queue, quick)
    job = pipeline.submit(queue, quick, dependsOn=[{"jobId": first, "type": "SEQUENTIAL"}])
    assert pipeline.wait(job, "SUCCEEDED")["dependsOn"] == [{"jobId": first, "type": "SEQUENTIAL"}]
