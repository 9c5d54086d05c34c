"""Retries, evaluateOnExit and time limits (AWS Batch user guide, "Automated job retries", "Job timeouts")."""

import pytest
from tests.unit.core.building import Batch

from batchery.core.index import ALARM_SLACK
from batchery.core.messages import Exited, Started
from batchery.core.model import EXIT, NO_CAUSE, PREEMPTED, TIMEOUT, UPDATE, AttemptKey, ContainerEnd, Rule
from batchery.core.retry import matches
from batchery.core.step import next_alarm

EXITED = "Essential container in task exited"


def ends(job: Batch, ref: str, code: int | None = 1, reason: str = "", cause: str = EXIT) -> str:
    """The attempt fails so; what became of the task: "again", or "FAILED"."""
    live = job.attempt(ref)
    job.send(Exited(live.key, job.now, cause, live.started or live.placed, (ContainerEnd("default", code, reason),)))
    return "again" if job.code(ref) == "OFFERED" else job.shown(ref)


def test_one_attempt_is_the_default(batch: Batch) -> None:
    assert ends(batch, batch.submit()) == "FAILED"


def test_attempts_are_the_total_of_all_tries(batch: Batch) -> None:
    job = batch.submit(attempts=3)
    assert [ends(batch, job) for _ in range(3)] == ["again", "again", "FAILED"]
    assert batch.end(job) == ("FAILED", EXITED)
    assert batch.jobs[job].tasks[0].used == 3


def test_a_retry_goes_straight_to_runnable_with_a_new_placement(batch: Batch) -> None:
    job = batch.submit(attempts=2)
    first = batch.attempt(job)
    batch.close()
    batch.exits(job, 1)
    assert batch.shown(job) == "RUNNABLE"
    batch.reopen()
    second = batch.attempt(job)
    assert second.key == AttemptKey(job, 0, 2)
    assert (second.used, first.used) == (1, 0)
    assert first.log_stream != second.log_stream


def test_a_retried_job_keeps_its_place_before_younger_ones(batch: Batch) -> None:
    old = batch.submit(vcpus=64, attempts=2)
    young = batch.submit(vcpus=64)
    batch.exits(old, 1)
    assert batch.code(old) == "OFFERED"
    assert batch.code(young) == "RUNNABLE"


def test_success_is_exit_code_0_of_every_container(batch: Batch) -> None:
    job = batch.submit()
    live = batch.attempt(job)
    batch.send(Exited(live.key, batch.now, EXIT, live.placed, (ContainerEnd("a", 0), ContainerEnd("b", 3, "boom"))))
    assert batch.end(job) == ("FAILED", EXITED)
    assert (live.exit_code, live.reason) == (3, "boom")


SEVERAL = (("main", "/aws/batch/job", "def/main"), ("log", "/aws/batch/job", "def/log"))


@pytest.mark.parametrize(
    ("ends", "code", "reason"),
    [
        ((ContainerEnd("log", 7, decides=False), ContainerEnd("main", 0)), 0, ""),
        ((ContainerEnd("log", 0, decides=False), ContainerEnd("main", 4, "boom")), 4, "boom"),
        ((ContainerEnd("main", 3), ContainerEnd("other", 143)), 3, ""),  # the first to fail, not what it took along
        ((ContainerEnd("main", 0), ContainerEnd("other", 143)), 143, ""),
        ((ContainerEnd("main", 0), ContainerEnd("never")), None, ""),
    ],
)
def test_those_that_decide_are_judged_in_the_order_of_their_ends(
    batch: Batch, ends: tuple[ContainerEnd, ...], code: int | None, reason: str
) -> None:
    job = batch.submit(streams=SEVERAL)
    live = batch.attempt(job)
    batch.send(Exited(live.key, batch.now, EXIT, live.placed, ends))
    assert batch.end(job) == ("SUCCEEDED" if code == 0 else "FAILED", EXITED)
    assert (live.exit_code, live.reason, live.containers) == (code, reason, ends)


def test_how_a_single_container_ended_is_not_said_twice(batch: Batch) -> None:
    job = batch.submit()
    live = batch.attempt(job)
    batch.exits(job, 0)
    assert (live.exit_code, live.containers) == (0, ())


def test_an_end_of_no_container_at_all_is_no_success(batch: Batch) -> None:
    job = batch.submit()
    batch.send(Exited(batch.key(job), batch.now, EXIT))
    assert batch.end(job)[0] == "FAILED"


# ------------------------------------------------------------------------------------------------- evaluateOnExit

TABLE = [
    # rules, exit code, container reason, -> what becomes of it
    ([], 1, "", "again"),
    ([("EXIT", None, None, "1")], 1, "", "FAILED"),
    ([("EXIT", None, None, "1")], 2, "", "again"),  # no match retries
    ([("EXIT", None, None, "1*")], 137, "", "FAILED"),
    ([("EXIT", None, None, "1*")], 3, "", "again"),
    ([("EXIT", None, None, "*")], None, "", "FAILED"),  # * matches a missing exit code
    ([("EXIT", None, None, "1*")], None, "", "again"),  # but a digit does not
    ([("EXIT", None, "*", None)], 1, "", "FAILED"),  # * matches a missing reason
    ([("EXIT", None, "OutOfMemory*", None)], 137, "OutOfMemoryError: killed", "FAILED"),
    ([("EXIT", None, "outofmemory*", None)], 137, "OutOfMemoryError: killed", "again"),  # case counts
    ([("EXIT", None, "OutOf*Error", None)], 137, "OutOfMemoryError", "again"),  # only a final * is special
    ([("EXIT", None, "OutOf*Error", None)], 137, "OutOf*Error", "FAILED"),
    ([("EXIT", EXITED, None, None)], 1, "", "FAILED"),
    ([("EXIT", "Essential", None, None)], 1, "", "again"),  # exact without *
    ([("EXIT", "Essential*", None, "2")], 1, "", "again"),  # every condition must match
    ([("EXIT", "Essential*", "", "1")], 1, "", "FAILED"),
    ([("RETRY", None, None, "1"), ("EXIT", None, "*", None)], 1, "", "again"),  # the first match decides
    ([("RETRY", None, None, "2"), ("EXIT", None, "*", None)], 1, "", "FAILED"),
    ([("EXIT", None, None, None)], 1, "", "FAILED"),  # an empty entry matches all
]


@pytest.mark.parametrize(("rules", "code", "reason", "what"), TABLE)
def test_evaluate_on_exit(batch: Batch, rules: list[tuple[str, ...]], code: int, reason: str, what: str) -> None:
    job = batch.submit(attempts=2, rules=rules)
    assert ends(batch, job, code, reason) == what


def test_retry_never_extends_past_the_attempts(batch: Batch) -> None:
    job = batch.submit(attempts=2, rules=[("RETRY", None, None, "*")])
    assert [ends(batch, job) for _ in range(2)] == ["again", "FAILED"]


def test_a_start_failure_uses_an_attempt_and_is_tried_again_like_any_other(batch: Batch) -> None:
    job = batch.submit(attempts=3, rules=[("EXIT", None, "CannotPull*", None)])
    batch.fails_to_start(job, "CannotStartContainerError: no such file")
    assert batch.key(job).serial == 2
    batch.fails_to_start(job, "CannotPullContainerError: unauthorized")
    assert batch.end(job) == ("FAILED", "Task failed to start")
    assert batch.jobs[job].tasks[0].used == 2


def test_the_loss_of_a_host_says_so_in_the_words_that_patterns_look_for(batch: Batch) -> None:
    rules = [("RETRY", "Host EC2*", None, None), ("EXIT", None, "*", None)]
    job = batch.submit(attempts=3, rules=rules)
    batch.runs(job)
    live = batch.attempt(job)
    batch.loses(job, "i-0abc")
    assert live.status_reason == "Host EC2 (instance i-0abc) terminated."
    assert batch.key(job).serial == 2
    assert ends(batch, job) == "FAILED"


def test_a_host_without_a_name(batch: Batch) -> None:
    job = batch.submit()
    batch.loses(job, "")
    assert batch.end(job) == ("FAILED", "Host EC2 (instance unknown) terminated.")


def test_an_update_of_the_infrastructure_is_judged_by_the_rules(batch: Batch) -> None:
    job = batch.submit(attempts=2)
    assert ends(batch, job, cause=UPDATE) == "again"


@pytest.mark.parametrize("how", ["hands_back", "gives_back"])
def test_a_placement_that_never_began_uses_no_attempt(batch: Batch, how: str) -> None:
    job = batch.submit(attempts=1)
    for serial in (1, 2, 3):
        assert batch.key(job).serial == serial
        getattr(batch, how)(job)
    assert batch.attempt(job).used == 0
    assert ends(batch, job) == "FAILED"


def test_a_preempted_attempt_does_not_count(batch: Batch) -> None:
    job = batch.submit(attempts=1)
    assert ends(batch, job, cause=PREEMPTED) == "again"
    assert batch.attempt(job).used == 0


def test_children_are_tried_again_each_by_itself(batch: Batch) -> None:
    array = batch.submit(size=2, attempts=2)
    batch.exits(f"{array}:0", 1)
    assert (batch.attempt(f"{array}:0").used, batch.attempt(f"{array}:1").used) == (1, 0)
    batch.exits(f"{array}:1", 0)
    batch.exits(f"{array}:0", 0)
    assert batch.end(array)[0] == "SUCCEEDED"


def test_an_entry_without_conditions_matches_everything() -> None:
    assert matches(Rule("EXIT"), "", "", None)


# ------------------------------------------------------------------------------------------------------ time limits


def test_a_time_limit_counts_from_the_start_of_the_attempt(batch: Batch) -> None:
    job = batch.submit(timeout=60_000)
    batch.tick(500_000)
    batch.runs(job)
    ring = batch.now + 60_000 + ALARM_SLACK
    assert next_alarm(batch.world, batch.now) == ring
    batch.tick(ring - batch.now - 1)
    assert batch.told() == []
    batch.tick(1)
    assert batch.told() == [f"Kill {job}:0:1"]
    assert batch.attempt(job).doom == TIMEOUT
    batch.killed(job, 137)
    assert batch.end(job) == ("FAILED", "Job attempt duration exceeded timeout")


def test_a_timed_out_job_is_never_tried_again(batch: Batch) -> None:
    job = batch.submit(timeout=60_000, attempts=5, rules=[("RETRY", None, None, "*")])
    batch.runs(job)
    assert ends(batch, job, 137, cause=TIMEOUT) == "FAILED"
    assert batch.end(job) == ("FAILED", "Job attempt duration exceeded timeout")


def test_each_attempt_has_the_whole_time(batch: Batch) -> None:
    job = batch.submit(timeout=60_000, attempts=2)
    batch.runs(job)
    batch.tick(50_000)
    batch.exits(job, 1)
    batch.runs(job)
    batch.tick(50_000)
    assert batch.told() == []
    batch.tick(11_000)
    assert batch.told() == [f"Kill {job}:0:2"]


def test_an_exit_that_beats_the_kill_stands(batch: Batch) -> None:
    job = batch.submit(timeout=60_000, attempts=2)
    batch.runs(job)
    batch.tick(61_000)
    batch.exits(job, 0)
    assert batch.end(job) == ("SUCCEEDED", EXITED)


def test_what_is_being_terminated_does_not_time_out_as_well(batch: Batch) -> None:
    job = batch.submit(timeout=60_000)
    batch.runs(job)
    batch.terminate(job, "stop")
    batch.tick(61_000)
    assert batch.told() == []
    assert batch.attempt(job).doom == NO_CAUSE
    batch.killed(job)
    assert batch.end(job) == ("FAILED", "stop")


def test_a_time_out_stands_against_a_later_termination(batch: Batch) -> None:
    job = batch.submit(timeout=60_000)
    batch.runs(job)
    batch.tick(61_000)
    batch.terminate(job, "stop")
    batch.killed(job)
    assert batch.end(job) == ("FAILED", "Job attempt duration exceeded timeout")
    assert batch.flags(job) == "terminated"


def test_an_alarm_of_an_attempt_that_is_over_does_nothing(batch: Batch) -> None:
    job = batch.submit(timeout=60_000)
    batch.runs(job)
    batch.exits(job)
    batch.tick(100_000)
    assert batch.changes == []


def test_the_parent_of_an_array_has_no_time_limit(batch: Batch) -> None:
    array = batch.submit(size=2, timeout=60_000)
    batch.runs(f"{array}:0")
    batch.tick(61_000)
    assert batch.told() == [f"Kill {array}:0:1"]
    batch.send(Started(batch.key(f"{array}:1"), batch.now))
    batch.tick(30_000)
    assert batch.told() == []
