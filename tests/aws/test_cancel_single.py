"""CancelJob and TerminateJob of single jobs, in every state, over the wire, on real processes."""

from collections.abc import Callable
from typing import Any

import pytest
from wire_pipeline import Ask, Pipeline, Server, until

ASKS = [Ask("cancel"), Ask("terminate")]
both = pytest.mark.parametrize("ask", ASKS, ids=str)


@both
def test_submitted_becomes_failed_at_once(ask: Ask, own_server: Callable[..., Server], tmp_path: Any) -> None:
    pipeline = Pipeline(own_server("kill_grace = 2\nsubmitted_for = 600000"), tmp_path)
    job = pipeline.submit(pipeline.queue(), pipeline.definition(["true"]))
    assert pipeline.status(job) == "SUBMITTED"
    ask(pipeline, job, "not this one")
    ask.check(pipeline.job(job), "not this one")


@both
def test_pending_waits_for_its_dependency_and_then_fails(ask: Ask, pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    queue = pipeline.queue()
    first = pipeline.submit(queue, pipeline.waiting(gate))
    job = pipeline.submit(queue, pipeline.definition(["true"]), dependsOn=[{"jobId": first}])
    pipeline.wait(first, "RUNNING")
    assert pipeline.status(job) == "PENDING"
    ask(pipeline, job, "changed my mind")
    seen = pipeline.job(job)
    assert seen["status"] == "PENDING"
    assert seen["statusReason"] == "changed my mind"
    assert seen[ask.flag] is True
    assert "stoppedAt" not in seen
    gate.touch()
    pipeline.wait(first, "SUCCEEDED")
    ask.check(pipeline.wait(job, "FAILED"), "changed my mind")


@both
def test_pending_waits_for_all_dependencies_even_if_one_has_failed(ask: Ask, pipeline: Pipeline) -> None:
    gates = pipeline.gate(), pipeline.gate()
    queue = pipeline.queue()
    fails = pipeline.submit(queue, pipeline.waiting(gates[0], "exit 3"))
    runs = pipeline.submit(queue, pipeline.waiting(gates[1]))
    job = pipeline.submit(queue, pipeline.definition(["true"]), dependsOn=[{"jobId": fails}, {"jobId": runs}])
    ask(pipeline, job, "my reason")
    gates[0].touch()
    pipeline.wait(fails, "FAILED")
    seen = pipeline.job(job)
    assert seen["status"] == "PENDING"
    assert seen[ask.flag] is True
    gates[1].touch()
    pipeline.wait(runs, "SUCCEEDED")
    ask.check(pipeline.wait(job, "FAILED"), "my reason")


@both
def test_runnable_becomes_failed_at_once(ask: Ask, pipeline: Pipeline) -> None:
    job = pipeline.submit(pipeline.queue(state="DISABLED"), pipeline.definition(["true"]))
    pipeline.wait(job, "RUNNABLE")
    ask(pipeline, job, "too late")
    ask.check(pipeline.job(job), "too late")


@both
def test_runnable_again_after_a_failed_attempt(ask: Ask, pipeline: Pipeline) -> None:
    """A job between two attempts is RUNNABLE: it ends, and its attempt stays."""
    gate = pipeline.gate()
    queue = pipeline.queue(vcpus=1)
    job = pipeline.submit(queue, pipeline.waiting(gate, "exit 1"), retryStrategy={"attempts": 3})
    pipeline.wait(job, "RUNNING")
    pipeline.batch.update_compute_environment(computeEnvironment=queue, state="DISABLED")
    gate.touch()
    until(lambda: pipeline.job(job)["attempts"], "the first attempt has ended")
    pipeline.wait(job, "RUNNABLE")
    ask(pipeline, job, "enough")
    seen = pipeline.job(job)
    ask.check(seen, "enough", attempts=1)
    assert seen["attempts"][0]["container"]["exitCode"] == 1


def test_cancel_of_a_starting_job_leaves_no_trace(pipeline: Pipeline) -> None:
    gate, starting = pipeline.gate(), pipeline.gate()
    job = _starting(pipeline, gate, starting)
    assert pipeline.batch.cancel_job(jobId=job, reason="no") is not None
    _no_trace(pipeline.job(job), "STARTING")
    starting.touch()
    gate.touch()
    _no_trace(pipeline.wait(job, "SUCCEEDED"), "SUCCEEDED")


def test_terminate_of_a_starting_job_stops_it(pipeline: Pipeline) -> None:
    gate, starting = pipeline.gate(), pipeline.gate()
    job = _starting(pipeline, gate, starting)
    pipeline.batch.terminate_job(jobId=job, reason="stop")
    seen = pipeline.wait(job, "FAILED")
    Ask("terminate").check(seen, "stop", attempts=1)
    assert "exitCode" not in seen["container"]
    assert "startedAt" not in seen
    assert not _started(pipeline, gate, job)


def test_cancel_of_a_running_job_leaves_no_trace_and_retries_go_on(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    then = '[ "$AWS_BATCH_JOB_ATTEMPT" = 2 ]'
    job = pipeline.submit(pipeline.queue(), pipeline.waiting(gate, then), retryStrategy={"attempts": 2})
    pipeline.wait(job, "RUNNING")
    pipeline.batch.cancel_job(jobId=job, reason="no")
    _no_trace(pipeline.job(job), "RUNNING")
    gate.touch()
    seen = pipeline.wait(job, "SUCCEEDED")
    _no_trace(seen, "SUCCEEDED")
    assert [a["container"]["exitCode"] for a in seen["attempts"]] == [1, 0]


def test_terminate_of_a_running_job_ends_it_by_sigterm(pipeline: Pipeline) -> None:
    job = pipeline.submit(pipeline.queue(), pipeline.waiting(pipeline.gate()), retryStrategy={"attempts": 3})
    pipeline.wait(job, "RUNNING")
    pipeline.batch.terminate_job(jobId=job, reason="stop it")
    assert pipeline.job(job)["isTerminated"] is True
    seen = pipeline.wait(job, "FAILED")
    Ask("terminate").check(seen, "stop it", attempts=1)
    assert seen["container"]["exitCode"] == 143
    assert seen["attempts"][0]["statusReason"] == "stop it"
    assert seen["createdAt"] <= seen["startedAt"] <= seen["stoppedAt"]


def test_terminate_of_a_running_job_that_ignores_sigterm_ends_it_by_sigkill(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    script = f'trap "" TERM; : > "{gate}.up"; while [ ! -e "{gate}" ]; do sleep 0.02; done'
    job = pipeline.submit(pipeline.queue(), pipeline.definition(["sh", "-c", script]))
    until(lambda: gate.with_name(gate.name + ".up").exists(), "the trap is set")
    pipeline.batch.terminate_job(jobId=job, reason="stop it")
    assert pipeline.wait(job, "FAILED")["container"]["exitCode"] == 137


def test_terminate_of_a_running_job_that_exits_with_0_on_sigterm_still_fails(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    script = f'trap "exit 0" TERM; : > "{gate}.up"; while [ ! -e "{gate}" ]; do sleep 0.02; done'
    job = pipeline.submit(pipeline.queue(), pipeline.definition(["sh", "-c", script]))
    until(lambda: gate.with_name(gate.name + ".up").exists(), "the trap is set")
    pipeline.batch.terminate_job(jobId=job, reason="stop it")
    seen = pipeline.wait(job, "FAILED")
    assert seen["statusReason"] == "stop it"
    assert seen["container"]["exitCode"] == 0


@both
@pytest.mark.parametrize(("then", "status"), [("exit 0", "SUCCEEDED"), ("exit 4", "FAILED")])
def test_an_ended_job_does_not_change(ask: Ask, then: str, status: str, pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    gate.touch()
    job = pipeline.submit(pipeline.queue(), pipeline.waiting(gate, then))
    before = pipeline.wait(job, status)
    ask(pipeline, job, "after the fact")
    assert pipeline.job(job) == before
    _no_trace(before, status)


@both
def test_the_first_reason_stands(ask: Ask, pipeline: Pipeline) -> None:
    job = pipeline.submit(pipeline.queue(state="DISABLED"), pipeline.definition(["true"]))
    pipeline.wait(job, "RUNNABLE")
    ask(pipeline, job, "first")
    ask(pipeline, job, "second")
    ask.check(pipeline.job(job), "first")


@both
@pytest.mark.parametrize("ref", ["no-such-job", "0b1a2c3d-0000-4000-8000-000000000000", "x:99", "x#1", "a b"])
def test_an_unknown_id_is_a_success(ask: Ask, ref: str, pipeline: Pipeline) -> None:
    ask(pipeline, ref, "whatever")


def test_dependents_of_a_cancelled_job_fail_transitively(pipeline: Pipeline) -> None:
    queue = pipeline.queue(state="DISABLED")
    definition = pipeline.definition(["true"])
    first = pipeline.submit(queue, definition)
    second = pipeline.submit(queue, definition, dependsOn=[{"jobId": first}])
    third = pipeline.submit(queue, definition, dependsOn=[{"jobId": second}])
    pipeline.wait(first, "RUNNABLE")
    pipeline.batch.cancel_job(jobId=first, reason="no need")
    for job in (second, third):
        seen = pipeline.wait(job, "FAILED")
        assert seen["statusReason"] == "Dependent Job failed"
        assert seen["attempts"] == []
        _no_flags(seen)


def _starting(pipeline: Pipeline, gate: Any, starting: Any) -> str:
    overrides = {"environment": [{"name": "STARTING_GATE", "value": str(starting)}]}
    job = pipeline.submit(pipeline.queue(), pipeline.waiting(gate), containerOverrides=overrides)
    pipeline.wait(job, "STARTING")
    until(lambda: starting.with_name(starting.name + ".reached").exists(), "the prolog runs")
    return job


def _started(pipeline: Pipeline, gate: Any, job: str) -> bool:
    return bool(gate.with_name(f"{gate.name}.{job}.started").exists())


def _no_flags(seen: dict[str, Any]) -> None:
    assert "isCancelled" not in seen
    assert "isTerminated" not in seen


def _no_trace(seen: dict[str, Any], status: str) -> None:
    assert seen["status"] == status
    _no_flags(seen)
    assert seen.get("statusReason") in (None, "Essential container in task exited")
