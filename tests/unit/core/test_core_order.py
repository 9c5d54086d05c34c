"""Properties of the schedule: strict order, nothing over-committed, nobody starved, and a cost that does not grow."""

import sys
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.core.building import Batch, arn

from batchery.core.changes import Placed
from batchery.core.fits import fits_of, usable
from batchery.core.lanes import demand_of
from batchery.core.messages import Exited
from batchery.core.model import EXIT, AttemptKey, ContainerEnd, World
from batchery.core.schedule import schedule
from batchery.core.status import RUNNABLE
from batchery.core.step import turn

HOST = 1_000
SIZES = st.sampled_from([(1, 100), (2, 100), (4, 100), (1, 400), (1, 1_000), (3, 600), (9, 100), (1, 4_000)])


class Shop:
    """Three queues on three environments, two of which share a pool and all of which share a host."""

    def __init__(self, strict: bool, clamp: bool) -> None:
        self.batch = Batch(vcpus=4, memory=HOST, clamp=clamp, strict_head=strict)
        main = arn("compute-environment", "main")
        one, two = (self.batch.environment(name, 4, pool="shared") for name in ("one", "two"))
        self.queues = [
            self.batch.main,
            self.batch.queue("second", one, main),
            self.batch.queue("third", two),
            self.batch.queue("urgent", main, two, priority=5),
        ]

    def submit(self, queue: int, size: tuple[int, int]) -> str:
        return self.batch.submit(queue=self.queues[queue], vcpus=size[0], memory=size[1])

    def finish(self, which: int) -> None:
        keys = list(self.batch.world.live)
        if keys:
            key = keys[which % len(keys)]
            self.batch.send(Exited(key, self.batch.now, EXIT, self.batch.now, (ContainerEnd("x", 0),)))


def passed(world: World, placed: list[Placed]) -> list[str]:
    """Every job that waits though something younger of its queue, or something after it in the order of queues, took
    what it waits for."""
    wrong = []
    for job in world.jobs.values():
        if job.closed is not None or RUNNABLE not in job.status:
            continue
        queue = world.queues[job.queue]
        fits = {e.pool for e in fits_of(world, queue, demand_of(job.shape)) if usable(e)}
        for change in placed:
            other = world.jobs[change.key.job]
            rank = (-world.queues[other.queue].priority, other.seq)
            pool = world.environments[change.environment].pool
            if pool in fits and rank > (-queue.priority, job.seq):
                wrong.append(f"{other.id} passed {job.id}")
    return wrong


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 3), SIZES),
        st.tuples(st.just("finish"), st.integers(0, 50), st.none()),
    ),
    min_size=10,
    max_size=40,
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.booleans())
def test_order_is_strict_and_nothing_is_over_committed(steps: list[Any], clamp: bool) -> None:
    shop = Shop(strict=False, clamp=clamp)
    for what, number, size in steps:
        shop.submit(number, size) if what == "submit" else shop.finish(number)
        placed = [change for change in shop.batch.changes if isinstance(change, Placed)]
        assert passed(shop.batch.world, placed) == []
    assert schedule(shop.batch.world, shop.batch.now) == [], "a turn places all that can be placed"


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.integers(0, 3), SIZES, st.lists(st.tuples(st.integers(0, 2), SIZES), min_size=1, max_size=6))
def test_no_job_that_fits_an_empty_environment_waits_for_ever(
    steps: list[Any], queue: int, size: tuple[int, int], stream: list[tuple[int, tuple[int, int]]]
) -> None:
    """Whatever was there before, and however many younger jobs keep coming to queues that are not more urgent."""
    shop = Shop(strict=False, clamp=True)
    for what, number, how in steps:
        shop.submit(number, how) if what == "submit" else shop.finish(number)
    ours = shop.submit(queue, size)
    job = shop.batch.jobs[ours]
    if not fits_of(shop.batch.world, shop.batch.world.queues[job.queue], demand_of(job.shape)):
        return
    before = sum(other.seq < job.seq for other in shop.batch.world.jobs.values())
    for round_ in range(2 * before + 10):
        if shop.batch.code(ours) != "RUNNABLE":
            return
        shop.submit(*stream[round_ % len(stream)])
        shop.finish(0)  # the oldest placement ends: every task takes a finite time
    raise AssertionError(f"{ours} still waits after every older job could have ended")


# ------------------------------------------------------------------------------------------------------------ cost


def calls_of_a_turn(batch: Batch, command: Exited) -> int:
    """Calls, of Python and of C functions, that one turn makes."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        turn(batch.world, [command], batch.now)
    finally:
        sys.setprofile(None)
    return count


def test_a_placement_costs_the_same_however_many_jobs_are_queued() -> None:
    costs = []
    for queued in (200, 20_000):
        batch = Batch(vcpus=1)
        first = batch.submit()
        batch.runs(first)
        turn(batch.world, [batch.order(vcpus=1 + number % 3) for number in range(queued)], batch.now)
        end = Exited(AttemptKey(first, 0, 1), batch.now, EXIT, batch.now, (ContainerEnd("x", 0),))
        costs.append(calls_of_a_turn(batch, end))
        assert batch.world.sites[""].offered == 1
    assert costs[1] <= costs[0] * 1.1
