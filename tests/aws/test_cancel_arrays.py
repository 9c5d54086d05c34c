"""CancelJob and TerminateJob of array parents and children, in every state, over the wire, on real processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wire_pipeline import Ask, Pipeline, Server, until

ASKS = [Ask("cancel"), Ask("terminate")]
both = pytest.mark.parametrize("ask", ASKS, ids=str)


def array(size: int) -> dict[str, Any]:
    return {"arrayProperties": {"size": size}}


def summary(pipeline: Pipeline, job: str) -> dict[str, int]:
    counts = pipeline.job(job)["arrayProperties"]["statusSummary"]
    assert set(counts) == {"SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"}
    return {status: count for status, count in counts.items() if count}


# --------------------------------------------------------------------------------------------------------- parents


@both
def test_parent_submitted(ask: Ask, own_server: Callable[..., Server], tmp_path: Path) -> None:
    pipeline = Pipeline(own_server("kill_grace = 2\nsubmitted_for = 600000"), tmp_path)
    job = pipeline.submit(pipeline.queue(), pipeline.definition(["true"]), **array(3))
    assert summary(pipeline, job) == {"SUBMITTED": 3}
    ask(pipeline, job, "not these")
    ask.check(pipeline.wait(job, "FAILED"), "not these")
    for index in range(3):
        child = pipeline.job(f"{job}:{index}")
        assert (child["status"], child["statusReason"]) == ("FAILED", "not these")


@both
def test_parent_pending_on_a_dependency_waits_for_it(ask: Ask, pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    queue = pipeline.queue()
    first = pipeline.submit(queue, pipeline.waiting(gate))
    job = pipeline.submit(queue, pipeline.definition(["true"]), dependsOn=[{"jobId": first}], **array(4))
    pipeline.wait(first, "RUNNING")
    ask(pipeline, job, "as a whole")
    seen = pipeline.job(job)
    assert (seen["status"], seen[ask.flag], seen["statusReason"]) == ("PENDING", True, "as a whole")
    assert summary(pipeline, job) == {"PENDING": 4}
    gate.touch()
    ask.check(pipeline.wait(job, "FAILED"), "as a whole")
    assert summary(pipeline, job) == {"FAILED": 4}


def test_cancel_of_a_parent_with_running_children_lets_them_finish(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    job = pipeline.submit(pipeline.queue(vcpus=2), pipeline.waiting(gate), **array(6))
    until(lambda: summary(pipeline, job) == {"RUNNING": 2, "RUNNABLE": 4}, "two children run")
    pipeline.batch.cancel_job(jobId=job, reason="enough")
    # a child that the engine holds ready is asked back first
    until(lambda: summary(pipeline, job) == {"RUNNING": 2, "FAILED": 4}, "those not begun have ended")
    seen = pipeline.job(job)
    assert (seen["status"], seen["isCancelled"], seen["statusReason"]) == ("PENDING", True, "enough")
    gate.touch()
    Ask("cancel").check(pipeline.wait(job, "FAILED"), "enough")
    assert summary(pipeline, job) == {"SUCCEEDED": 2, "FAILED": 4}
    started = sorted(path.name for path in pipeline.folder.glob(f"{gate.name}.*.started"))
    assert started == [f"{gate.name}.{job}:{index}.started" for index in (0, 1)]


def test_cancel_of_a_parent_all_of_whose_children_run_and_succeed_fails_it(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    job = pipeline.submit(pipeline.queue(vcpus=3), pipeline.waiting(gate), **array(3))
    until(lambda: summary(pipeline, job) == {"RUNNING": 3}, "all children run")
    pipeline.batch.cancel_job(jobId=job, reason="all the same")
    gate.touch()
    Ask("cancel").check(pipeline.wait(job, "FAILED"), "all the same")
    assert summary(pipeline, job) == {"SUCCEEDED": 3}


def test_children_of_a_cancelled_parent_are_not_retried(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    retry = {"retryStrategy": {"attempts": 5}}
    job = pipeline.submit(pipeline.queue(vcpus=2), pipeline.waiting(gate, "exit 1"), **array(2), **retry)
    until(lambda: summary(pipeline, job) == {"RUNNING": 2}, "all children run")
    pipeline.batch.cancel_job(jobId=job, reason="enough")
    gate.touch()
    Ask("cancel").check(pipeline.wait(job, "FAILED"), "enough")
    assert len(pipeline.job(f"{job}:0")["attempts"]) == 1


def test_terminate_of_a_parent_stops_running_children(pipeline: Pipeline) -> None:
    job = pipeline.submit(pipeline.queue(vcpus=2), pipeline.waiting(pipeline.gate()), **array(5))
    until(lambda: summary(pipeline, job) == {"RUNNING": 2, "RUNNABLE": 3}, "two children run")
    pipeline.batch.terminate_job(jobId=job, reason="stop")
    Ask("terminate").check(pipeline.wait(job, "FAILED"), "stop")
    assert summary(pipeline, job) == {"FAILED": 5}
    running, waiting = pipeline.job(f"{job}:0"), pipeline.job(f"{job}:4")
    assert (running["statusReason"], running["container"]["exitCode"]) == ("stop", 143)
    assert (waiting["statusReason"], waiting["attempts"]) == ("stop", [])


def test_terminate_after_cancel_still_ends_what_runs(pipeline: Pipeline) -> None:
    job = pipeline.submit(pipeline.queue(vcpus=1), pipeline.waiting(pipeline.gate()), **array(3))
    until(lambda: summary(pipeline, job) == {"RUNNING": 1, "RUNNABLE": 2}, "one child runs")
    pipeline.batch.cancel_job(jobId=job, reason="first words")
    pipeline.batch.terminate_job(jobId=job, reason="second words")
    seen = pipeline.wait(job, "FAILED")
    assert (seen["statusReason"], seen["isCancelled"], seen["isTerminated"]) == ("first words", True, True)
    assert summary(pipeline, job) == {"FAILED": 3}


@both
def test_an_ended_parent_does_not_change(ask: Ask, pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    gate.touch()
    job = pipeline.submit(pipeline.queue(), pipeline.waiting(gate), **array(2))
    before = pipeline.wait(job, "SUCCEEDED")
    ask(pipeline, job, "after the fact")
    assert pipeline.job(job) == before
    assert ask.flag not in before


@both
def test_a_sequential_parent_ends_its_waiting_children_at_once(ask: Ask, pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    order = {"dependsOn": [{"type": "SEQUENTIAL"}]}
    job = pipeline.submit(pipeline.queue(), pipeline.waiting(gate), **array(3), **order)
    until(lambda: summary(pipeline, job) == {"RUNNING": 1, "PENDING": 2}, "the first child runs")
    ask(pipeline, job, "no more")
    until(lambda: summary(pipeline, job).get("FAILED", 0) >= 2, "those that wait have ended")
    gate.touch()
    ask.check(pipeline.wait(job, "FAILED"), "no more")


@both
def test_n_to_n_children_wait_for_their_partners(ask: Ask, pipeline: Pipeline) -> None:
    gates = pipeline.gate(), pipeline.gate()
    queue = pipeline.queue(vcpus=2)
    script = f'g="{gates[0]}"; [ $AWS_BATCH_JOB_ARRAY_INDEX = 0 ] || g="{gates[1]}"; '
    script += 'while [ ! -e "$g" ]; do sleep 0.02; done'
    first = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]), **array(2))
    pairs = {"dependsOn": [{"jobId": first, "type": "N_TO_N"}]}
    job = pipeline.submit(queue, pipeline.definition(["true"]), **array(2), **pairs)
    until(lambda: summary(pipeline, first) == {"RUNNING": 2}, "both run")
    ask(pipeline, job, "no pairs")
    assert summary(pipeline, job) == {"PENDING": 2}
    gates[0].touch()
    until(lambda: summary(pipeline, job) == {"PENDING": 1, "FAILED": 1}, "the first partner has ended")
    assert pipeline.status(f"{job}:0") == "FAILED"
    gates[1].touch()
    ask.check(pipeline.wait(job, "FAILED"), "no pairs")


# -------------------------------------------------------------------------------------------------------- children


@both
def test_child_submitted(ask: Ask, own_server: Callable[..., Server], tmp_path: Path) -> None:
    pipeline = Pipeline(own_server("kill_grace = 2\nsubmitted_for = 600000"), tmp_path)
    job = pipeline.submit(pipeline.queue(), pipeline.definition(["true"]), **array(3))
    ask(pipeline, f"{job}:1", "this one")
    ask.check(pipeline.job(f"{job}:1"), "this one")
    assert summary(pipeline, job) == {"SUBMITTED": 2, "FAILED": 1}


@both
def test_child_pending_waits_for_its_dependency(ask: Ask, pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    queue = pipeline.queue()
    first = pipeline.submit(queue, pipeline.waiting(gate))
    job = pipeline.submit(queue, pipeline.definition(["true"]), dependsOn=[{"jobId": first}], **array(3))
    pipeline.wait(first, "RUNNING")
    ask(pipeline, f"{job}:1", "this one")
    seen = pipeline.job(f"{job}:1")
    assert (seen["status"], seen[ask.flag], seen["statusReason"]) == ("PENDING", True, "this one")
    assert ask.flag not in pipeline.job(f"{job}:0")
    assert ask.flag not in pipeline.job(job)
    gate.touch()
    seen = pipeline.wait(job, "FAILED")
    assert seen["statusReason"] == "Array Child Job failed"
    assert ask.flag not in seen
    ask.check(pipeline.job(f"{job}:1"), "this one")
    assert summary(pipeline, job) == {"SUCCEEDED": 2, "FAILED": 1}


@both
def test_child_runnable_fails_and_its_siblings_go_on(ask: Ask, pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    job = pipeline.submit(pipeline.queue(vcpus=1), pipeline.waiting(gate), **array(3))
    until(lambda: summary(pipeline, job) == {"RUNNING": 1, "RUNNABLE": 2}, "one child runs")
    ask(pipeline, f"{job}:2", "this one")
    # a child that the engine holds ready is asked back first
    ask.check(pipeline.wait(f"{job}:2", "FAILED"), "this one")
    gate.touch()
    seen = pipeline.wait(job, "FAILED")
    assert seen["statusReason"] == "Array Child Job failed"
    assert summary(pipeline, job) == {"SUCCEEDED": 2, "FAILED": 1}


def test_cancel_of_a_starting_child_has_no_effect(pipeline: Pipeline) -> None:
    job, starting = _starting_child(pipeline)
    pipeline.batch.cancel_job(jobId=f"{job}:0", reason="no")
    assert "isCancelled" not in pipeline.job(f"{job}:0")
    starting.touch()
    assert "isCancelled" not in pipeline.wait(f"{job}:0", "SUCCEEDED")


def test_terminate_of_a_starting_child_stops_it(pipeline: Pipeline) -> None:
    job, starting = _starting_child(pipeline)
    pipeline.batch.terminate_job(jobId=f"{job}:0", reason="stop")
    Ask("terminate").check(pipeline.wait(f"{job}:0", "FAILED"), "stop", attempts=1)
    starting.touch()
    assert pipeline.wait(job, "FAILED")["statusReason"] == "Array Child Job failed"


def test_cancel_of_a_running_child_has_no_effect(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    job = pipeline.submit(pipeline.queue(), pipeline.waiting(gate), **array(2))
    pipeline.wait(f"{job}:1", "RUNNING")
    pipeline.batch.cancel_job(jobId=f"{job}:1", reason="no")
    seen = pipeline.job(f"{job}:1")
    assert seen["status"] == "RUNNING"
    assert "isCancelled" not in seen
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")


def test_terminate_of_a_running_child_stops_it_alone(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    job = pipeline.submit(pipeline.queue(), pipeline.waiting(gate), **array(3))
    until(lambda: summary(pipeline, job) == {"RUNNING": 3}, "all children run")
    pipeline.batch.terminate_job(jobId=f"{job}:1", reason="this one")
    seen = pipeline.wait(f"{job}:1", "FAILED")
    Ask("terminate").check(seen, "this one", attempts=1)
    assert seen["container"]["exitCode"] == 143
    assert summary(pipeline, job) == {"RUNNING": 2, "FAILED": 1}
    gate.touch()
    assert pipeline.wait(job, "FAILED")["statusReason"] == "Array Child Job failed"


@both
def test_an_ended_child_does_not_change(ask: Ask, pipeline: Pipeline) -> None:
    gates = pipeline.gate(), pipeline.gate()
    script = f'g="{gates[0]}"; [ $AWS_BATCH_JOB_ARRAY_INDEX = 0 ] || g="{gates[1]}"; '
    script += 'while [ ! -e "$g" ]; do sleep 0.02; done'
    job = pipeline.submit(pipeline.queue(), pipeline.definition(["sh", "-c", script]), **array(2))
    gates[0].touch()
    before = pipeline.wait(f"{job}:0", "SUCCEEDED")
    ask(pipeline, f"{job}:0", "after the fact")
    assert pipeline.job(f"{job}:0") == before
    gates[1].touch()
    pipeline.wait(job, "SUCCEEDED")


@both
def test_an_index_outside_the_array_is_a_success_without_effect(ask: Ask, pipeline: Pipeline) -> None:
    job = pipeline.submit(pipeline.queue(state="DISABLED"), pipeline.definition(["true"]), **array(2))
    ask(pipeline, f"{job}:2", "nobody")
    ask(pipeline, f"{job}:01", "nobody")
    until(lambda: summary(pipeline, job) == {"RUNNABLE": 2}, "both wait")


def _starting_child(pipeline: Pipeline) -> tuple[str, Path]:
    starting, gate = pipeline.gate(), pipeline.gate()
    gate.touch()
    overrides = {"environment": [{"name": "STARTING_GATE", "value": str(starting)}]}
    job = pipeline.submit(pipeline.queue(), pipeline.waiting(gate), containerOverrides=overrides, **array(2))
    pipeline.wait(f"{job}:0", "STARTING")
    return job, starting
