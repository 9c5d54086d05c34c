"""TerminateJob, cell by cell, and what it does after a CancelJob (API_TerminateJob)."""

import pytest
from tests.unit.core.building import Batch

from batchery.core.messages import Stop
from batchery.core.model import EXIT, HOST, START_FAILED, TIMEOUT


def test_what_waits_is_terminated_as_it_is_cancelled(batch: Batch) -> None:
    batch.close()
    job = batch.submit()
    batch.terminate(job, "stop")
    assert batch.end(job) == ("FAILED", "stop")
    assert batch.flags(job) == "terminated"


def test_a_pending_job_waits_for_its_dependencies(batch: Batch) -> None:
    first = batch.submit()
    then = batch.submit(after=[first])
    batch.terminate(then, "stop")
    assert (batch.code(then), batch.flags(then)) == ("CLOSING", "terminated")
    batch.exits(first)
    assert batch.end(then) == ("FAILED", "stop")


def test_a_running_job_is_killed_and_fails_when_it_is_gone(batch: Batch) -> None:
    job = batch.submit(attempts=3)
    batch.runs(job)
    batch.terminate(job, "stop")
    assert batch.told() == [f"Kill {job}:0:1"]
    assert (batch.shown(job), batch.flags(job)) == ("RUNNING", "terminated")
    batch.killed(job)
    assert batch.end(job) == ("FAILED", "stop")
    assert batch.world.live == {}


def test_a_starting_job_is_killed(batch: Batch) -> None:
    job = batch.submit()
    batch.starts(job)
    batch.terminate(job, "stop")
    batch.killed(job, ran=False)
    assert batch.end(job) == ("FAILED", "stop")


@pytest.mark.parametrize("cause", [EXIT, HOST, START_FAILED, TIMEOUT])
def test_an_end_after_the_request_is_the_requests(batch: Batch, cause: str) -> None:
    """Also a container that exits 0 on SIGTERM."""
    job = batch.submit(attempts=3)
    batch.runs(job)
    batch.terminate(job, "stop")
    batch.exits(job, 0, cause=cause)
    assert batch.end(job) == ("FAILED", "stop")


def test_a_container_that_had_exited_before_the_request_keeps_its_result(batch: Batch) -> None:
    job = batch.submit()
    batch.runs(job)
    was = batch.now
    batch.tick(1_000)
    batch.terminate(job)
    batch.exits(job, 0, at=was + 500)
    assert batch.end(job)[0] == "SUCCEEDED"


def test_but_it_is_not_retried(batch: Batch) -> None:
    job = batch.submit(attempts=3)
    batch.runs(job)
    was = batch.now
    batch.tick(1_000)
    batch.terminate(job)
    batch.exits(job, 1, at=was + 500)
    assert batch.end(job) == ("FAILED", "Essential container in task exited")


def test_an_array_is_terminated_with_all_its_children(batch: Batch) -> None:
    array = batch.submit(size=3, vcpus=30)
    batch.runs(f"{array}:0")
    assert batch.children(array) == ["RUNNING", "RUNNABLE", "RUNNABLE"]
    assert batch.code(f"{array}:1") == "OFFERED"
    batch.terminate(array, "stop")
    assert batch.told() == [f"Kill {array}:0:1", f"Kill {array}:1:1"]
    assert batch.children(array) == ["RUNNING", "RUNNABLE", "FAILED"]
    batch.gives_back(f"{array}:1")
    batch.killed(f"{array}:0")
    assert batch.end(array) == batch.end(f"{array}:0") == batch.end(f"{array}:1") == ("FAILED", "stop")


def test_a_child_is_terminated_alone(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.runs(f"{array}:0", f"{array}:1")
    batch.terminate(f"{array}:1", "this one")
    assert batch.told() == [f"Kill {array}:1:1"]
    batch.killed(f"{array}:1")
    batch.exits(f"{array}:0")
    assert batch.end(f"{array}:1") == ("FAILED", "this one")
    assert batch.end(array) == ("FAILED", "Array Child Job failed")


def test_terminate_after_cancel_still_ends_what_runs(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.runs(f"{array}:0", f"{array}:1")
    batch.cancel(array, "first")
    assert batch.told() == []
    batch.terminate(array, "second")
    assert batch.told() == [f"Kill {array}:0:1", f"Kill {array}:1:1"]
    assert batch.flags(array) == "cancelled terminated"
    batch.killed(f"{array}:0")
    batch.killed(f"{array}:1")
    assert batch.end(array) == batch.end(f"{array}:0") == ("FAILED", "first")


def test_a_child_terminated_after_its_parent_was_cancelled_ends_with_the_parents_words(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.runs(f"{array}:0", f"{array}:1")
    batch.cancel(array, "first")
    batch.terminate(f"{array}:1", "second")
    batch.terminate(f"{array}:1", "third")
    assert batch.changes == []
    batch.killed(f"{array}:1")
    assert batch.end(f"{array}:1") == ("FAILED", "first")
    batch.exits(f"{array}:0")


def test_a_child_terminated_before_its_parent_was_keeps_its_words_and_its_moment(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.runs(f"{array}:0", f"{array}:1")
    batch.terminate(f"{array}:1", "the child's")
    batch.tick(10)
    exited = batch.now
    batch.tick(10)
    batch.terminate(array, "the parent's")
    batch.exits(f"{array}:1", 0, at=exited)
    assert batch.end(f"{array}:1") == ("FAILED", "the child's")
    batch.killed(f"{array}:0")
    assert batch.end(array) == batch.end(f"{array}:0") == ("FAILED", "the parent's")


def test_a_second_terminate_changes_nothing(batch: Batch) -> None:
    job = batch.submit()
    batch.runs(job)
    batch.terminate(job, "first")
    batch.terminate(job, "second")
    assert batch.changes == []
    batch.killed(job)
    assert batch.end(job) == ("FAILED", "first")


def test_stop_terminates_every_open_job_and_counts_them(batch: Batch) -> None:
    running = batch.submit()
    batch.runs(running)
    waits = batch.submit(after=[running])
    assert batch.send(Stop("the server is going away")) == [2]
    batch.killed(running)
    assert batch.end(running) == batch.end(waits) == ("FAILED", "the server is going away")
    assert batch.send(Stop("again")) == [0]


def test_stop_leaves_alone_what_has_ended_and_is_still_needed(batch: Batch) -> None:
    first = batch.submit()
    then = batch.submit(after=[first])
    batch.exits(first)
    batch.runs(then)
    assert batch.send(Stop("going away")) == [1]
    batch.killed(then)
    assert batch.end(first)[0] == "SUCCEEDED"


def test_a_kill_nobody_asked_for_is_a_failure_without_a_retry(batch: Batch) -> None:
    job = batch.submit(attempts=3)
    batch.runs(job)
    batch.killed(job)
    assert batch.end(job) == ("FAILED", "Terminated")
