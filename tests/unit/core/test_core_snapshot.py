"""The front of a queue in dispatch order, since when each has its place, and what the queue uses."""

from collections.abc import Callable
from typing import Any

from tests.unit.core.building import Batch, arn

from batchery.core.model import Queue
from batchery.core.query import front, use
from batchery.core.snapshot import dispatch_order

Make = Callable[..., Batch]


def refs(batch: Batch, queue: str = "", **how: Any) -> list[str]:
    return [each.ref for each in front(batch.world, queue or batch.main, batch.now, **how)]


def test_fifo_goes_by_age_over_all_classes_and_children_are_told_one_by_one(batches: Make) -> None:
    batch = batches(vcpus=1)
    batch.submit()
    first = batch.submit(memory=9)
    array = batch.submit(size=3)
    gang = batch.submit(nodes=2, vcpus=0.25)
    last = batch.submit()
    expected = [first, *(f"{array}:{index}" for index in range(3)), gang, last]
    assert refs(batch) == expected
    assert refs(batch, limit=2) == expected[:2]
    lanes = {lane: list(heap) for lane, heap in batch.world.lanes[batch.main].items()}
    assert refs(batch) == expected
    assert lanes == batch.world.lanes[batch.main], "looking changes nothing"


def test_it_is_the_order_in_which_they_are_placed(batches: Make) -> None:
    batch = batches()
    small = batch.environment("small", 6)
    queue = batch.queue("shared", small, policy=batch.policy(weights={"a": 1.0, "b": 3.0}))
    batch.close("small")
    for number in range(24):
        batch.submit(queue=queue, share="abc"[number % 3], priority=number % 2)
    wanted = refs(batch, queue)
    assert sorted(wanted) == sorted(job for job in batch.jobs if batch.jobs[job].queue == queue)
    batch.reopen("small")
    placed = [change.key.job for change in batch.changes if type(change).__name__ == "Placed"]
    assert placed == wanted[:6]


def test_places_change_when_somebody_leaves_or_comes_back(batches: Make) -> None:
    batch = batches(vcpus=1)
    first = batch.submit(attempts=2)
    batch.tick(5)
    second, third = batch.submit(), batch.submit()

    def since() -> list[int]:
        return [each.since - start for each in front(batch.world, batch.main, batch.now)]

    start = batch.now
    assert since() == [0, 0]
    batch.tick(10)
    batch.cancel(second)
    assert since() == [10]
    batch.tick(10)
    batch.exits(first, 1)
    assert batch.code(first) == "OFFERED"
    assert since() == [20], "it came back to its old place, ahead of the other, and left again"
    assert refs(batch) == [third]


def test_who_waited_for_others_has_its_place_since_they_ended(batches: Make) -> None:
    batch = batches(vcpus=1)
    other = batch.queue("other", batch.environment("other"))
    needed = batch.submit(queue=other)
    batch.submit()
    waits = batch.submit(after=[needed])
    array = batch.submit(size=2, sequential=True)
    batch.tick(7)
    batch.exits(needed)
    told = {each.ref: each.since for each in front(batch.world, batch.main, batch.now)}
    assert told == {waits: batch.now, f"{array}:0": batch.now - 7}


def test_use_counts_what_runs(batches: Make) -> None:
    batch = batches()
    queue = batch.queue("shared", batch.environment("small", 8), policy=batch.policy())
    jobs = [batch.submit(queue=queue, share=share, vcpus=size) for share, size in (("a", 1), ("b", 2), ("a", 0.5))]
    plain = batch.submit()
    batch.runs(jobs[0], jobs[1], plain)
    batch.starts(jobs[2])
    found = use(batch.world, queue)
    assert (found.unit, found.vcpus, found.shares) == ("VCPU", 3_500, [("b", 2_000), ("a", 1_500)])
    assert use(batch.world, batch.main).shares == []


def test_an_empty_queue_has_no_front(batch: Batch) -> None:
    bare = batch.queue("bare", arn("compute-environment", "main"))
    assert refs(batch, bare) == []
    assert list(dispatch_order(batch.world, Queue("x", "x", batch.world.queues[bare].realm, 1, ()), batch.now)) == []
