"""Fair share: usage, weights, priorities, reservation; and that shares get what their weights promise."""

from collections import Counter
from collections.abc import Callable
from math import exp
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.building import Batch, arn, fair
from tests.unit.core.test_core_order import calls_of_a_turn
from tests.unit.core.test_core_rebuild import loaded

from batchery.core.changes import Placed
from batchery.core.check import check, check_capacity
from batchery.core.fairshare import usage_at, weight_of, window_of
from batchery.core.lanes import fresh
from batchery.core.messages import ContainerEnd, Exited, Started, UpdatePolicy
from batchery.core.model import EXIT, Dirty, Lane
from batchery.core.orders import order_of
from batchery.core.shares import Usage
from batchery.core.step import turn

Make = Callable[..., Batch]
WINDOW = 600_000


def shop(batches: Make, vcpus: float = 1, weights: dict[str, float] | None = None, **policy: Any) -> tuple[Batch, str]:
    """A fair-share queue on an environment of its own."""
    batch = batches(vcpus=64)
    rule = batch.policy(weights=weights, **policy)
    return batch, batch.queue("shared", batch.environment("small", vcpus), policy=rule)


def usage(batch: Batch, queue: str, share: str) -> Usage:
    return batch.world.shares[queue][share]


def placed(batch: Batch) -> list[str]:
    return [change.key.job for change in batch.changes if isinstance(change, Placed)]


def shut(batch: Batch) -> None:
    batch.close("small")


# ----------------------------------------------------------------------------------------------------------- order


def test_a_turn_is_dealt_out_among_the_shares(batches: Make) -> None:
    batch, queue = shop(batches, 7, {"b": 3.0, "c": 3.0})
    shut(batch)
    jobs = [batch.submit(f"{share}{n}", queue=queue, share=share) for share in "abc" for n in range(7)]
    batch.reopen("small")
    assert sorted(Counter(job[0] for job in placed(batch)).items()) == [("a", 5), ("b", 1), ("c", 1)]
    assert len(jobs) == 21


def test_the_share_that_used_less_goes_first(batches: Make) -> None:
    batch, queue = shop(batches)
    first = batch.submit(queue=queue, share="a")
    batch.runs(first)
    again, other = batch.submit(queue=queue, share="a"), batch.submit(queue=queue, share="b")
    batch.tick(10_000)
    batch.exits(first)
    assert placed(batch) == [other]
    batch.runs(other)
    batch.tick(11_000)
    batch.exits(other)
    assert placed(batch) == [again]


def test_usage_fades(batches: Make) -> None:
    batch, queue = shop(batches)
    first = batch.submit(queue=queue, share="a")
    batch.runs(first)
    batch.tick(100_000)
    batch.exits(first)
    second = batch.submit(queue=queue, share="b")
    batch.runs(second)
    batch.tick(90_000)
    a, b = batch.submit(queue=queue, share="a"), batch.submit(queue=queue, share="b")
    batch.exits(second)
    assert placed(batch) == [a], "a used more, but that was before"
    assert batch.code(b) == "RUNNABLE"


def test_in_a_share_priority_goes_before_age(batches: Make) -> None:
    batch, queue = shop(batches)
    runs = batch.submit(queue=queue, share="a")
    low = batch.submit(queue=queue, share="a", priority=1)
    low_too = batch.submit(queue=queue, share="a", priority=1, memory=9)
    high = batch.submit(queue=queue, share="a", priority=9)
    order = []
    for ending in (runs, high, low):
        batch.exits(ending)
        order += placed(batch)
    assert order == [high, low, low_too]


def test_the_head_is_not_passed_by_a_smaller_job_of_another_share(batches: Make) -> None:
    batch, queue = shop(batches, 4)
    runs = batch.submit(queue=queue, share="a", vcpus=3)
    big, small = batch.submit(queue=queue, share="b", vcpus=4), batch.submit(queue=queue, share="a")
    assert batch.code(small) == "RUNNABLE"
    batch.exits(runs)
    assert placed(batch) == [big]


def test_a_class_that_can_never_fit_stands_aside_and_its_share_goes_on(batches: Make) -> None:
    batch, queue = shop(batches, 2)
    shut(batch)
    huge = batch.submit(queue=queue, share="a", vcpus=9)
    small, alone = batch.submit(queue=queue, share="a"), batch.submit(queue=queue, share="b", vcpus=9)
    batch.reopen("small")
    assert placed(batch) == [small]
    assert [fact.job for fact in batch.world.queues[queue].blocked] == [huge, alone]


def test_children_of_an_array_are_dealt_out_like_jobs(batches: Make) -> None:
    batch, queue = shop(batches, 4)
    shut(batch)
    one, two = (batch.submit(queue=queue, share=share, size=5) for share in "ab")
    after = batch.submit(queue=queue, share="a")
    batch.reopen("small")
    assert Counter(placed(batch)) == {one: 2, two: 2}
    for index in range(2):
        batch.exits(f"{one}:{index}")
        batch.exits(f"{two}:{index}")
    for ref in (f"{one}:2", f"{one}:3", f"{two}:2", f"{two}:3"):
        batch.exits(ref)
    assert [batch.code(ref) for ref in (f"{one}:4", f"{two}:4", after)] == ["OFFERED"] * 3


@pytest.mark.parametrize("named", [{"team*": 2.0, "x": 3.0}, {"team1": 2.0, "x": 3.0}])
def test_weights_are_of_a_name_or_of_a_prefix(named: dict[str, float]) -> None:
    policy = fair(weights=named)
    assert [weight_of(policy, share) for share in ("team1", "x", "tea")] == [2.0, 3.0, 1.0]


def test_a_queue_without_policy_goes_by_age_alone(batch: Batch) -> None:
    batch.close()
    low, high = batch.submit(priority=1), batch.submit(priority=9)
    batch.reopen()
    assert placed(batch) == [low, high]


def test_the_order_can_be_cleared(batches: Make) -> None:
    batch, queue = shop(batches)
    shut(batch)
    batch.submit(queue=queue, share="a")
    batch.submit(queue=queue, share="b")
    world = batch.world
    heads = {lane: fresh(world, heap) for lane, heap in world.lanes[queue].items()}
    order = order_of(world, world.queues[queue], {lane: e for lane, e in heads.items() if e}, batch.now)
    first = order.head()
    assert first is not None
    assert isinstance(first[1], Lane)
    order.clear()
    assert order.head() is None


# ----------------------------------------------------------------------------------------------------------- usage


def test_what_runs_counts_as_it_runs(batches: Make) -> None:
    batch, queue = shop(batches, 4)
    job = batch.submit(queue=queue, share="a", vcpus=2)
    batch.runs(job)
    mine = usage(batch, queue, "a")
    assert (mine.spent, mine.held, mine.running, mine.open) == (0, 2_000, 2_000, 1)
    at = batch.now + 60_000
    assert usage_at(mine, WINDOW, at) == pytest.approx(2_000 * WINDOW * (1 - exp(-0.1)))
    assert usage_at(mine, WINDOW, at + 10**9) == pytest.approx(2_000 * WINDOW), "a vCPU counts for a window at most"
    batch.tick(60_000)
    batch.exits(job)
    assert mine == Usage(round(2_000 * WINDOW * (1 - exp(-0.1))), batch.now)


def test_late_reports_are_put_right(batches: Make) -> None:
    batch, queue = shop(batches, 4)
    other = batch.submit(queue=queue, share="a")
    job = batch.submit(queue=queue, share="a")
    start = batch.now
    batch.tick(50_000)
    batch.runs(other)
    batch.send(Started(batch.key(job), start + 10_000))
    mine = usage(batch, queue, "a")
    assert mine.at == batch.now
    assert mine.spent == pytest.approx(1_000 * WINDOW * (1 - exp(-40_000 / WINDOW)), abs=1)
    batch.tick(100_000)
    batch.exits(other)
    batch.send(Exited(batch.key(job), start + 60_000, EXIT, start + 10_000, (ContainerEnd("x", 0),)))
    long, short = 1_000 * WINDOW * (1 - exp(-100_000 / WINDOW)), 1_000 * WINDOW * (1 - exp(-50_000 / WINDOW))
    assert mine.spent == pytest.approx(long + short * exp(-90_000 / WINDOW), rel=1e-4)
    assert (mine.held, mine.running, mine.open) == (0, 0, 0)


def test_a_start_that_was_never_reported_counts_with_the_end(batches: Make) -> None:
    batch, queue = shop(batches)
    job = batch.submit(queue=queue, share="a")
    batch.tick(30_000)
    batch.send(Exited(batch.key(job), batch.now, EXIT, batch.now - 20_000, (ContainerEnd("x", 0),)))
    assert usage(batch, queue, "a").spent == pytest.approx(1_000 * WINDOW * (1 - exp(-20_000 / WINDOW)), abs=2)


def test_what_never_ran_costs_nothing(batches: Make) -> None:
    batch, queue = shop(batches)
    job = batch.submit(queue=queue, share="a")
    batch.tick(5_000)
    batch.hands_back(job)
    batch.exits(job)
    assert usage(batch, queue, "a").spent == 0


def test_an_end_that_undoes_more_than_was_spent_leaves_nothing(batches: Make) -> None:
    batch, queue = shop(batches)
    job = batch.submit(queue=queue, share="a")
    batch.runs(job)
    began = batch.now
    batch.tick(10**7)
    batch.send(Exited(batch.key(job), began, EXIT, began, (ContainerEnd("x", 0),)))
    assert usage(batch, queue, "a").spent == pytest.approx(0, abs=1)


def test_usage_survives_a_reload(batches: Make) -> None:
    batch, queue = shop(batches, 3)
    jobs = [batch.submit(queue=queue, share=share) for share in "abab"]
    batch.runs(jobs[0], jobs[1])
    batch.tick(7_000)
    batch.exits(jobs[0])
    world = loaded(batch)
    assert world.shares == batch.world.shares
    world.sites[""].capacity, world.pace = batch.capacity, dict(batch.world.pace)
    turn(world, [], batch.now)
    assert world.shares == batch.world.shares


def test_usage_of_a_queue_that_is_deleted_goes_with_it(batches: Make) -> None:
    batch, queue = shop(batches)
    batch.submit(queue=queue, share="a")
    batch.delete_queue(queue)
    key = next(iter(batch.world.live))
    batch.send(Exited(key, batch.now, "TERMINATED"))
    assert queue not in batch.world.queues
    assert queue not in batch.world.shares


def test_a_queue_without_a_policy_has_the_least_window(batch: Batch) -> None:
    assert window_of(batch.world, batch.main) == WINDOW


# ----------------------------------------------------------------------------------------------------- reservation


def test_the_reservation_keeps_room_for_shares_to_come(batches: Make) -> None:
    batch, queue = shop(batches, 8, reservation=50)
    first = [batch.submit(queue=queue, share="a") for _ in range(8)]
    assert sum(batch.code(job) == "OFFERED" for job in first) == 4, "half of it with one active share"
    second = [batch.submit(queue=queue, share="b") for _ in range(8)]
    assert sum(batch.code(job) == "OFFERED" for job in first + second) == 6, "a quarter with two"
    third = [batch.submit(queue=queue, share="c") for _ in range(8)]
    assert sum(batch.code(job) == "OFFERED" for job in third) == 1, "an eighth with three"


def test_the_reservation_never_stops_a_queue(batches: Make) -> None:
    batch, queue = shop(batches, 2, reservation=99)
    jobs = [batch.submit(queue=queue, share="a") for _ in range(2)]
    assert [batch.code(job) for job in jobs] == ["OFFERED", "RUNNABLE"]
    batch.exits(jobs[0])
    assert batch.code(jobs[1]) == "OFFERED"


def test_the_reservation_binds_only_its_own_queue(batches: Make) -> None:
    batch, queue = shop(batches, 4, reservation=50)
    for _ in range(4):
        batch.submit(queue=queue, share="a")
    other = batch.queue("other", arn("compute-environment", "small"))
    assert [batch.code(batch.submit(queue=other)) for _ in range(3)] == ["OFFERED", "OFFERED", "RUNNABLE"]


def test_a_policy_that_changes_acts_at_once(batches: Make) -> None:
    batch, queue = shop(batches, 4, reservation=75)
    jobs = [batch.submit(queue=queue, share="a") for _ in range(4)]
    assert batch.code(jobs[1]) == "RUNNABLE"
    batch.send(UpdatePolicy(fair()))
    assert [batch.code(job) for job in jobs] == ["OFFERED"] * 4


# ------------------------------------------------------------------------------------------------------ properties


def worked(batch: Batch, queue: str, lasts: Callable[[str], int], jobs: int) -> Counter[str]:
    """Every share always has jobs waiting; ``jobs`` of them are run. vCPU-ms by share."""
    served: Counter[str] = Counter()
    shares = "abc"
    waiting: Counter[str] = Counter()
    ends: dict[str, int] = {}
    done = 0
    while done < jobs:
        commands: list[Any] = []
        for key, attempt in list(batch.world.live.items()):
            if not attempt.started:
                ends[key.job] = batch.now + lasts(key.job[0])
                commands.append(Started(key, batch.now))
            elif ends[key.job] <= batch.now:
                commands.append(Exited(key, batch.now, EXIT, attempt.started, (ContainerEnd("x", 0),)))
                served[key.job[0]] += attempt.resources.vcpus * (batch.now - attempt.started)
                done += 1
                waiting[key.job[0]] -= 1
        for share in shares:
            while waiting[share] < 60:
                waiting[share] += 1
                order = batch.order(f"{share}-{batch.made}", queue=queue)
                commands.append(replace(order, share=share))
        turn(batch.world, commands, batch.now)
        batch.world.dirty.attempts.clear()
        batch.now += 100
    return served


@pytest.mark.parametrize("slots", [1, 7, 40])
@pytest.mark.parametrize("last", [300, 20_000])
def test_shares_get_time_inversely_to_their_weights(slots: int, last: int) -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 4.0}
    batch, queue = shop(Batch, slots, weights)
    served = worked(batch, queue, lambda share: last, 2_000)
    parts = {share: served[share] * weights[share] for share in "abc"}
    fairly = sum(served.values()) / sum(1 / weight for weight in weights.values())
    for share, part in parts.items():
        assert part == pytest.approx(fairly, rel=0.05), f"{share}: {parts}"


def test_time_is_shared_and_not_the_number_of_jobs() -> None:
    """A share of long jobs gets no more than one of short ones."""
    batch, queue = shop(Batch, 6)
    served = worked(batch, queue, lambda share: {"a": 2_000, "b": 500, "c": 1_000}[share], 3_000)
    fairly = sum(served.values()) / 3
    assert all(part == pytest.approx(fairly, rel=0.05) for part in served.values()), served


@pytest.mark.parametrize("seed", range(6))
def test_nobody_starves_and_nothing_is_over_committed(seed: int) -> None:
    """Jobs of every size, weight and priority: each one that was there is placed though others keep coming."""
    random = Random(seed)
    batch, queue = shop(Batch, 4, {"a": 0.1, "b": 20.0}, reservation=random.choice((0, 50, 99)))
    ours = [
        batch.submit(queue=queue, share=random.choice("abc"), vcpus=random.choice((1, 2, 4)), priority=5)
        for _ in range(12)
    ]
    for _ in range(1_000):
        if all(batch.code(job) != "RUNNABLE" for job in ours):
            return
        batch.now += 20_000
        commands: list[Any] = [
            Exited(key, batch.now, EXIT, attempt.placed, (ContainerEnd("x", 0),))
            for key, attempt in batch.world.live.items()
        ]
        some = [batch.order(queue=queue, share="a", vcpus=random.choice((1, 2)), priority=5) for _ in range(3)]
        turn(batch.world, commands + some, batch.now)
        batch.world.dirty = Dirty()
        check_capacity(batch.world)
        if random.random() < 0.01:
            check(batch.world)
    raise AssertionError("some still wait: " + str([batch.code(job) for job in ours]))


def test_a_placement_costs_the_same_however_many_jobs_are_queued() -> None:
    costs = []
    for queued in (200, 20_000):
        batch, queue = shop(Batch, 1)
        first = batch.submit(queue=queue, share="a")
        batch.runs(first)
        orders = [batch.order(queue=queue, share="abcd"[number % 4], vcpus=1 + number % 3) for number in range(queued)]
        turn(batch.world, orders, batch.now)
        end = Exited(batch.key(first), batch.now, EXIT, batch.now, (ContainerEnd("x", 0),))
        costs.append(calls_of_a_turn(batch, end))
        assert batch.world.sites[""].offered == 1
    assert costs[1] <= costs[0] * 1.1
