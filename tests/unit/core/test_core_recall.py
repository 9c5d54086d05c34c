"""CancelJob of what an engine has and has not begun: it is asked back, and whoever comes first wins (decision 003)."""

import pytest
from tests.unit.core.building import Batch


def test_an_offered_job_is_asked_back_and_fails_when_the_engine_gives_it(batch: Batch) -> None:
    job = batch.submit()
    batch.cancel(job, "give it back")
    assert batch.told() == [f"Withdraw {job}:0:1"]
    assert (batch.shown(job), batch.flags(job)) == ("RUNNABLE", "cancelled")
    batch.gives_back(job)
    assert batch.end(job) == ("FAILED", "give it back")
    assert batch.flags(job) == "cancelled"
    assert batch.told() == [f"Ack {job}:0:1"]


def test_a_start_that_wins_stands_and_leaves_no_trace_of_the_cancel(batch: Batch) -> None:
    job = batch.submit(attempts=2)
    batch.cancel(job)
    batch.runs(job)
    assert (batch.shown(job), batch.flags(job)) == ("RUNNING", "")
    batch.exits(job, 1)
    assert batch.code(job) == "OFFERED", "retries go on"


def test_an_exit_that_wins_stands_too(batch: Batch) -> None:
    job = batch.submit()
    batch.cancel(job)
    batch.exits(job, 0)
    assert batch.end(job)[0] == "SUCCEEDED"
    assert batch.flags(job) == ""


def test_a_failed_exit_that_wins_is_retried_as_if_nobody_had_asked(batch: Batch) -> None:
    job = batch.submit(attempts=2)
    batch.cancel(job)
    batch.exits(job, 1)
    assert batch.code(job) == "OFFERED"
    assert batch.key(job).serial == 2


def test_a_task_handed_back_while_it_was_asked_back_is_cancelled(batch: Batch) -> None:
    job = batch.submit(attempts=3)
    batch.cancel(job, "no")
    batch.hands_back(job)
    assert batch.end(job) == ("FAILED", "no")


@pytest.mark.parametrize("how", ["loses", "fails_to_start"])
def test_what_never_ran_is_not_retried_when_it_was_asked_back(batch: Batch, how: str) -> None:
    job = batch.submit(attempts=3)
    batch.cancel(job, "no")
    getattr(batch, how)(job)
    assert batch.end(job) == ("FAILED", "no")
    assert batch.flags(job) == "cancelled"


def test_an_offered_child_is_asked_back_alone(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.cancel(f"{array}:1", "this one")
    assert batch.told() == [f"Withdraw {array}:1:1"]
    batch.gives_back(f"{array}:1")
    assert batch.end(f"{array}:1") == ("FAILED", "this one")
    assert batch.flags(array) == ""
    batch.exits(f"{array}:0")


def test_asking_twice_asks_the_engine_once_and_the_first_words_stand(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.cancel(f"{array}:1", "first")
    batch.cancel(f"{array}:1", "second")
    assert batch.changes == []
    batch.cancel(array, "third")
    assert batch.told() == [f"Withdraw {array}:0:1"]
    batch.gives_back(f"{array}:0")
    batch.gives_back(f"{array}:1")
    assert batch.end(f"{array}:0") == ("FAILED", "third")
    assert batch.end(f"{array}:1") == ("FAILED", "first")
    assert batch.end(array) == ("FAILED", "third")


def test_a_terminate_after_the_recall_adds_its_flag_to_the_first_words(batch: Batch) -> None:
    job = batch.submit()
    batch.cancel(job, "first")
    batch.terminate(job, "second")
    assert batch.told() == [f"Kill {job}:0:1"]
    batch.gives_back(job)
    assert batch.end(job) == ("FAILED", "first")
    assert batch.flags(job) == "cancelled terminated"


def test_a_kill_of_what_was_asked_back_ends_with_the_first_words(batch: Batch) -> None:
    job = batch.submit()
    batch.cancel(job, "first")
    batch.terminate(job, "second")
    batch.killed(job, ran=False)
    assert batch.end(job) == ("FAILED", "first")
    assert batch.flags(job) == "cancelled terminated"
