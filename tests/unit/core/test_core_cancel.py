"""CancelJob, cell by cell: every state and kind of job (API_CancelJob; AWS Batch user guide, "Array jobs")."""

from collections.abc import Callable

import pytest
from tests.unit.core.building import HOME, Batch

from batchery.core.keys import Ref
from batchery.core.messages import Cancel, Many, Terminate
from batchery.core.model import Realm


@pytest.fixture
def waiting(batches: Callable[..., Batch]) -> Batch:
    """Submits are looked at only after a minute, so jobs stay SUBMITTED."""
    return batches(submitted_for=60_000)


# ------------------------------------------------------------------------------------------------------ SUBMITTED


def test_a_submitted_job_fails_at_once_with_the_callers_words(waiting: Batch) -> None:
    job = waiting.submit()
    assert waiting.shown(job) == "SUBMITTED"
    waiting.cancel(job, "changed my mind")
    assert waiting.end(job) == ("FAILED", "changed my mind")
    assert waiting.flags(job) == "cancelled"


def test_a_submitted_array_fails_with_all_its_children(waiting: Batch) -> None:
    array = waiting.submit(size=3)
    waiting.cancel(array, "no")
    assert waiting.children(array) == ["FAILED"] * 3
    assert waiting.end(array) == waiting.end(f"{array}:1") == ("FAILED", "no")


def test_a_submitted_child_fails_alone_and_its_siblings_go_on(waiting: Batch) -> None:
    array = waiting.submit(size=3)
    waiting.cancel(f"{array}:1", "not this one")
    assert waiting.children(array) == ["SUBMITTED", "FAILED", "SUBMITTED"]
    waiting.tick(60_000)
    waiting.exits(f"{array}:0")
    waiting.exits(f"{array}:2")
    assert waiting.end(f"{array}:1") == ("FAILED", "not this one")
    assert waiting.end(array) == ("FAILED", "Array Child Job failed")
    assert waiting.flags(array) == ""
    assert waiting.flags(f"{array}:1") == "cancelled"


def test_what_was_cancelled_before_it_was_looked_at_never_runs(waiting: Batch) -> None:
    job, other = waiting.submit(), waiting.submit()
    waiting.cancel(job)
    waiting.tick(60_000)
    assert waiting.code(job) == "FAILED"
    assert waiting.code(other) == "OFFERED"


# -------------------------------------------------------------------------------------------------------- PENDING


def test_a_pending_job_shows_the_cancel_at_once_and_fails_when_its_dependency_ends(batch: Batch) -> None:
    first = batch.submit()
    then = batch.submit(after=[first])
    batch.runs(first)
    batch.cancel(then, "not needed")
    assert (batch.code(then), batch.shown(then), batch.flags(then)) == ("CLOSING", "PENDING", "cancelled")
    batch.exits(first)
    assert batch.end(then) == ("FAILED", "not needed")


def test_a_pending_job_waits_for_all_its_dependencies_even_when_one_has_failed(batch: Batch) -> None:
    """CLOSING | WAIT | BROKEN stays as it is."""
    bad, slow = batch.submit(), batch.submit()
    then = batch.submit(after=[bad, slow])
    batch.runs(bad, slow)
    batch.cancel(then, "not needed")
    batch.exits(bad, 1)
    assert batch.code(then) == "CLOSING"
    batch.exits(slow)
    assert batch.end(then) == ("FAILED", "not needed")


def test_without_a_cancel_the_first_failed_dependency_decides(batch: Batch) -> None:
    bad, slow = batch.submit(), batch.submit()
    then = batch.submit(after=[bad, slow])
    batch.exits(bad, 1)
    assert batch.end(then) == ("FAILED", "Dependent Job failed")
    assert batch.code(slow) == "OFFERED"


def test_a_pending_array_waits_as_a_whole(batch: Batch) -> None:
    first = batch.submit()
    array = batch.submit(size=3, after=[first])
    batch.cancel(array, "stop")
    assert batch.children(array) == ["PENDING"] * 3
    assert batch.flags(array) == "cancelled"
    batch.exits(first)
    assert batch.end(array) == batch.end(f"{array}:2") == ("FAILED", "stop")


def test_a_pending_child_waits_alone(batch: Batch) -> None:
    first = batch.submit()
    array = batch.submit(size=2, after=[first])
    batch.cancel(f"{array}:0", "stop")
    assert batch.code(f"{array}:0") == "CLOSING"
    assert batch.code(f"{array}:1") == "PENDING"
    batch.exits(first)
    assert batch.end(f"{array}:0") == ("FAILED", "stop")
    assert batch.code(f"{array}:1") == "OFFERED"


def test_a_cancelled_job_is_never_made_runnable_by_dependencies_that_succeed(batch: Batch) -> None:
    first = batch.submit()
    then = batch.submit(after=[first])
    batch.cancel(then)
    batch.exits(first)
    assert "Readied" not in batch.moved()
    assert batch.shown(then) == "FAILED"


# ------------------------------------------------------------------------------------------ PENDING, array parents


def test_a_cancelled_parent_fails_the_children_that_have_not_begun_and_lets_the_others_run_on(batch: Batch) -> None:
    batch.close()
    array = batch.submit(size=4)
    batch.reopen()
    batch.runs(f"{array}:0")
    batch.starts(f"{array}:1")
    batch.cancel(array, "enough")
    assert batch.children(array) == ["RUNNING", "STARTING", "RUNNABLE", "RUNNABLE"]  # the engine is asked
    batch.gives_back(f"{array}:2")
    batch.gives_back(f"{array}:3")
    assert batch.children(array) == ["RUNNING", "STARTING", "FAILED", "FAILED"]
    assert batch.shown(array) == "PENDING"
    batch.exits(f"{array}:0")
    batch.exits(f"{array}:1")
    assert batch.children(array) == ["SUCCEEDED", "SUCCEEDED", "FAILED", "FAILED"]
    assert batch.end(array) == ("FAILED", "enough")


def test_a_cancelled_parent_is_failed_even_if_every_child_was_running_and_succeeds(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.runs(f"{array}:0", f"{array}:1")
    batch.cancel(array, "too late for the children")
    assert batch.told() == []
    batch.exits(f"{array}:0")
    batch.exits(f"{array}:1")
    assert batch.end(f"{array}:0")[0] == "SUCCEEDED"
    assert batch.end(array) == ("FAILED", "too late for the children")


def test_children_of_a_cancelled_parent_are_not_retried(batch: Batch) -> None:
    array = batch.submit(size=2, attempts=5)
    batch.runs(f"{array}:0", f"{array}:1")
    batch.cancel(array)
    batch.exits(f"{array}:0", 1)
    assert batch.end(f"{array}:0") == ("FAILED", "Essential container in task exited")
    batch.exits(f"{array}:1")


def test_the_order_within_a_cancelled_array_is_no_dependency(batch: Batch) -> None:
    array = batch.submit(size=3, sequential=True)
    batch.runs(f"{array}:0")
    batch.cancel(array, "stop")
    assert batch.children(array) == ["RUNNING", "FAILED", "FAILED"]
    batch.exits(f"{array}:0")
    assert batch.end(array) == ("FAILED", "stop")


# ------------------------------------------------------------------------------------------------------- RUNNABLE


def test_a_runnable_job_fails_at_once(batch: Batch) -> None:
    batch.close()
    job = batch.submit()
    assert batch.shown(job) == "RUNNABLE"
    batch.cancel(job, "not now")
    assert batch.end(job) == ("FAILED", "not now")


def test_a_runnable_child_fails_alone(batch: Batch) -> None:
    batch.close()
    array = batch.submit(size=2)
    batch.cancel(f"{array}:1", "not this")
    assert batch.children(array) == ["RUNNABLE", "FAILED"]
    assert batch.shown(array) == "PENDING"
    batch.reopen()
    batch.exits(f"{array}:0")
    assert batch.end(array) == ("FAILED", "Array Child Job failed")


def test_the_head_of_the_queue_being_cancelled_lets_those_behind_it_go(batch: Batch) -> None:
    big = batch.submit(vcpus=40)
    batch.runs(big)
    waits = batch.submit(vcpus=40)
    small = batch.submit(vcpus=1)
    assert (batch.code(waits), batch.code(small)) == ("RUNNABLE", "RUNNABLE")
    batch.cancel(waits)
    assert batch.code(small) == "OFFERED"


# ----------------------------------------------------------------------------- STARTING, RUNNING, ended, unknown


@pytest.mark.parametrize("how", ["starts", "runs"])
def test_what_has_begun_is_not_cancelled_and_no_trace_is_left(batch: Batch, how: str) -> None:
    job = batch.submit(attempts=2)
    getattr(batch, how)(job)
    batch.cancel(job)
    assert batch.changes == []
    batch.exits(job, 1)
    assert batch.flags(job) == ""
    batch.exits(job)
    assert batch.end(job) == ("SUCCEEDED", "Essential container in task exited")


@pytest.mark.parametrize("how", ["starts", "runs"])
def test_a_child_that_has_begun_is_not_cancelled(batch: Batch, how: str) -> None:
    array = batch.submit(size=2)
    getattr(batch, how)(f"{array}:1")
    batch.cancel(f"{array}:1")
    assert batch.changes == []
    batch.exits(f"{array}:0")
    batch.exits(f"{array}:1")
    assert batch.end(array)[0] == "SUCCEEDED"


@pytest.mark.parametrize("code", [0, 1])
def test_what_has_ended_stays_as_it_is(batch: Batch, code: int) -> None:
    job = batch.submit()
    batch.exits(job, code)
    before = batch.end(job)
    batch.cancel(job)
    batch.terminate(job)
    assert batch.changes == []
    assert batch.end(job) == before


def test_an_ended_child_of_an_open_array_stays_as_it_is(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.exits(f"{array}:0")
    batch.cancel(f"{array}:0")
    batch.terminate(f"{array}:0")
    assert batch.changes == []
    batch.exits(f"{array}:1")
    assert batch.end(array)[0] == "SUCCEEDED"


@pytest.mark.parametrize("ref", ["nobody", "nobody:3", "job1:7", "job1:-1", "job1:x", "job2:0", ""])
def test_an_id_that_names_nothing_open_is_a_success(batch: Batch, ref: str) -> None:
    batch.submit("job1", size=2)
    batch.submit("job2")
    batch.cancel(ref)
    assert batch.changes == []
    batch.terminate(ref)
    assert batch.changes == []


def test_an_id_of_another_realm_does_not_exist(batch: Batch) -> None:
    job = batch.submit()
    away = Realm(HOME.account, "eu-west-1")
    batch.send(Cancel(away, Ref(job, None), "x"), Terminate(away, Ref(job, None), "x"))
    assert batch.changes == []


def test_a_second_cancel_changes_nothing(batch: Batch) -> None:
    first = batch.submit()
    then = batch.submit(after=[first])
    array = batch.submit(size=2, after=[first])
    batch.cancel(then, "first")
    batch.cancel(array, "first")
    batch.cancel(then, "second")
    assert batch.changes == []
    batch.cancel(array, "second")
    assert batch.changes == []
    batch.cancel(f"{array}:0", "second")
    assert batch.changes == []
    batch.exits(first)
    assert batch.end(then) == batch.end(array) == batch.end(f"{array}:0") == ("FAILED", "first")


def test_a_child_cancelled_first_keeps_its_own_words_when_its_parent_is_cancelled_too(batch: Batch) -> None:
    first = batch.submit()
    array = batch.submit(size=4, after=[first])
    batch.cancel(f"{array}:1", "the child's")
    batch.cancel(f"{array}:2", "the child's")
    batch.cancel(array, "the parent's")
    batch.exits(first)
    own, parents = ("FAILED", "the child's"), ("FAILED", "the parent's")
    assert [batch.end(f"{array}:{index}") for index in range(4)] == [parents, own, own, parents]
    assert batch.end(array) == parents


def test_a_bulk_cancel_is_one_turn_and_reports_per_job(batch: Batch) -> None:
    batch.close()
    one, two = batch.submit(), batch.submit()
    answer = batch.send(Many(tuple(Cancel(HOME, Ref(job, None), "all of it") for job in (one, "nobody", two))))
    assert answer == [[None, None, None]]
    assert batch.end(one) == batch.end(two) == ("FAILED", "all of it")


def test_a_dependent_of_a_cancelled_job_fails(batch: Batch) -> None:
    batch.close()
    first = batch.submit()
    second = batch.submit(after=[first])
    third = batch.submit(after=[second])
    batch.cancel(first, "mine")
    assert batch.end(second) == batch.end(third) == ("FAILED", "Dependent Job failed")
