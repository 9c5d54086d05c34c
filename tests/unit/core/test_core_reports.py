"""What engines report: late, twice, stale, out of order; and what they are owed after a load."""

import pytest
from tests.unit.core.building import START, Batch, arn, members

from batchery.core.messages import (
    Ack,
    Capacities,
    ContainerEnd,
    Exited,
    Kill,
    Launch,
    Lost,
    NeedFacts,
    Started,
    Starting,
    Submit,
    Withdraw,
)
from batchery.core.model import DISABLED, EXIT, WITHDRAWN, AttemptKey, Capacity
from batchery.core.owed import ENDED, HELD, RUNS, STARTING, owed
from batchery.core.query import alive


def test_reports_said_twice_change_nothing(batch: Batch) -> None:
    job = batch.submit()
    key = batch.key(job)
    batch.starts(job)
    batch.starts(job)
    assert batch.changes == []
    batch.runs(job)
    batch.runs(job)
    batch.starts(job)
    assert batch.changes == []
    batch.exits(job)
    end = batch.end(job)
    batch.send(Exited(key, batch.now, EXIT, batch.now, (ContainerEnd("x", 1),)))
    assert batch.changes == []
    assert batch.told() == [f"Ack {key}"], "said again, it is acknowledged again"
    assert batch.end(job) == end


def test_reports_of_an_earlier_placement_are_dropped(batch: Batch) -> None:
    job = batch.submit(attempts=2)
    old = batch.key(job)
    batch.exits(job, 1)
    for stale in (
        Starting(old, batch.now),
        Started(old, batch.now),
        Exited(old, batch.now, EXIT),
        Lost(old, batch.now),
    ):
        batch.send(stale)
        assert batch.changes == []
    assert batch.code(job) == "OFFERED"


def test_reports_of_nobody_are_dropped(batch: Batch) -> None:
    nobody = AttemptKey("nobody", 0, 1)
    batch.send(Starting(nobody, 1), Started(nobody, 1), Exited(nobody, 1, EXIT), Lost(nobody, 1))
    assert batch.changes == []
    assert batch.told() == [f"Ack {nobody}", f"Ack {nobody}"]


def test_a_start_that_was_never_heard_of_is_read_from_the_end(batch: Batch) -> None:
    job = batch.submit()
    live = batch.attempt(job)
    batch.tick(500)
    ends = (ContainerEnd("x", 0),)
    batch.send(Exited(live.key, START + 400, EXIT, START + 100, ends, cpu_ms=7, peak_mib=9))
    assert (live.started, live.stopped, live.cpu_ms, live.peak_mib) == (START + 100, START + 400, 7, 9)


def test_times_are_held_between_what_came_before_and_now(batch: Batch) -> None:
    job = batch.submit()
    live = batch.attempt(job)
    batch.tick(10)
    batch.send(Starting(live.key, 5))
    assert live.starting == live.placed
    batch.send(Started(live.key, batch.now + 99_999))
    assert live.started == batch.now
    batch.send(Exited(live.key, 17, EXIT, live.started, (ContainerEnd("x", 0),)))
    assert live.stopped == live.started


def test_an_attempt_that_never_ran_has_no_start(batch: Batch) -> None:
    job = batch.submit()
    live = batch.attempt(job)
    batch.fails_to_start(job)
    assert (live.started, live.exit_code) == (0, None)
    assert live.reason.startswith("CannotStartContainerError")


def test_the_address_and_the_log_of_an_attempt(batch: Batch) -> None:
    job = batch.submit(log_group="/mine", log_prefix="work/default")
    live = batch.attempt(job)
    batch.send(Started(live.key, batch.now, "10.1.2.3"))
    assert live.address == "10.1.2.3"
    assert live.log_group == "/mine"
    assert live.log_stream.startswith("work/default/")
    assert alive(batch.world, [live.key, AttemptKey(job, 0, 9)]) == {live.key}


def test_a_capacity_that_is_the_same_changes_nothing(batch: Batch) -> None:
    batch.send(Capacities(batch.capacity))
    assert batch.changes == []
    batch.orderly = False
    batch.send(Capacities(Capacity(1)))
    assert batch.world.sites[""].capacity == Capacity(1)


def test_facts_are_asked_for_once_and_only_for_what_world_has_not(batch: Batch) -> None:
    here, gone = batch.submit(), batch.submit()
    batch.exits(gone)
    with pytest.raises(NeedFacts) as wanted:
        batch.send(batch.order(after=[here, gone, "nobody"]))
    assert wanted.value.jobs == (gone, "nobody")


def test_two_that_bring_the_same_facts_in_one_turn(batch: Batch) -> None:
    gone = batch.submit()
    batch.exits(gone)
    one, two = (Submit(**{**members(batch.order(after=[gone])), "facts": (batch.jobs[gone],)}) for _ in range(2))
    batch.send(one, two)
    assert batch.world.jobs[gone].needed_by == 2
    assert batch.jobs[gone].needed_by == 0, "what a command brings is copied"
    assert (batch.code(one.id), batch.code(two.id)) == ("OFFERED", "OFFERED")


def test_a_dependency_that_ends_while_its_facts_are_read(batch: Batch) -> None:
    first = batch.submit()
    order = batch.order(after=[first])
    batch.exits(first, 1)
    assert batch.send_order(order) == order.id
    assert batch.end(order.id) == ("FAILED", "Dependent Job failed")


# ------------------------------------------------------------------------------------------------------------ owed


@pytest.fixture
def many(batch: Batch) -> Batch:
    """Six jobs, each in another state, by name."""
    for name in ("offered", "asked", "killed", "starting", "running", "late"):
        batch.submit(name, timeout=60_000)
    batch.cancel("asked")
    batch.terminate("killed")
    batch.starts("starting")
    batch.runs("running", "late")
    batch.tick(30_000)
    return batch


def test_what_the_engine_knows_is_adopted(many: Batch) -> None:
    survey = {key: HELD if key.job != "running" else RUNS for key in many.world.live}
    effects, reports = owed(many.world, survey, many.now)
    assert effects == [Withdraw(AttemptKey("asked", 0, 1)), Kill(AttemptKey("killed", 0, 1))]
    assert reports == []


def test_what_the_engine_does_not_know_is_launched_ended_or_lost(many: Batch) -> None:
    effects, reports = owed(many.world, {}, many.now, "here")
    assert effects == [Launch(AttemptKey(name, 0, 1)) for name in ("offered", "starting")]
    assert reports == [
        Exited(AttemptKey("asked", 0, 1), many.now, WITHDRAWN),
        Exited(AttemptKey("killed", 0, 1), many.now, WITHDRAWN),
        Lost(AttemptKey("running", 0, 1), many.now, "here"),
        Lost(AttemptKey("late", 0, 1), many.now, "here"),
    ]
    many.send(*reports)
    assert many.end("asked") == ("FAILED", "cancelled")
    assert many.end("killed") == ("FAILED", "terminated")
    assert many.end("running") == ("FAILED", "Host EC2 (instance here) terminated.")


def test_what_is_over_time_is_killed(many: Batch) -> None:
    many.tick(60_000)
    key = AttemptKey("late", 0, 1)
    assert Kill(key) in owed(many.world, {key: RUNS}, many.now)[0]


def test_what_world_does_not_know_is_ended_or_acknowledged(batch: Batch) -> None:
    old, gone = AttemptKey("old", 0, 1), AttemptKey("gone", 0, 1)
    assert owed(batch.world, {old: STARTING, gone: ENDED}, batch.now) == ([Kill(old), Ack(gone)], [])


def test_what_has_ended_is_left_for_its_report(batch: Batch) -> None:
    key = batch.key(batch.submit())
    assert owed(batch.world, {key: ENDED}, batch.now) == ([], [])


def test_nothing_begins_in_an_environment_that_was_disabled_meanwhile(batch: Batch) -> None:
    held, gone = batch.submit(), batch.submit()
    batch.world.environments[arn("compute-environment", "main")].state = DISABLED  # and the engine forgot one
    survey = {batch.key(held): HELD}
    effects, reports = owed(batch.world, survey, batch.now)
    assert effects == [Withdraw(batch.key(held))]
    assert reports == [Exited(batch.key(gone), batch.now, WITHDRAWN)]
    batch.orderly = False
    batch.send(*reports)
    assert batch.code(gone) == "RUNNABLE"
    assert batch.jobs[gone].tasks[0].used == 0
