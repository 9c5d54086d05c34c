"""Lanes: where jobs stand, what becomes of stale entries, walking one without touching it."""

from msgspec.structs import replace
from tests.unit.core.building import HOME, Batch

from batchery.core.lanes import entry_of, fresh, in_order, lane_of, ready
from batchery.core.model import Demand, Entry, Lane, Resources
from batchery.core.named import REPLENISHABLE, Consumable

LANE = Lane("", Demand(Resources(1_000, 256)))


def standing(batch: Batch) -> tuple[Lane, list[Entry]]:
    ((lane, heap),) = batch.world.lanes[batch.main].items()
    return lane, heap


def full(count: int) -> tuple[Batch, list[str]]:
    batch = Batch(vcpus=1)
    batch.submit()
    return batch, [batch.submit() for _ in range(count)]


def test_jobs_alike_stand_in_one_lane_by_age() -> None:
    batch, jobs = full(5)
    lane, heap = standing(batch)
    assert lane == LANE
    assert [job.id for job in in_order(batch.world, heap)] == jobs
    assert sorted(entry.job for entry in heap) == jobs, "walking takes nothing away"


def test_what_differs_in_its_demand_stands_in_another() -> None:
    batch, _ = full(1)
    batch.submit(memory=300)
    batch.world.consumables["licence"] = Consumable("licence", "licence", HOME, REPLENISHABLE, 1)
    batch.world.stocked[HOME] = [("licence", "licence")]
    batch.submit(consumables=(("licence", 1),))
    batch.submit(nodes=2)
    assert len(batch.world.lanes[batch.main]) == 4


def test_stale_entries_are_passed_over_and_dropped_at_the_head() -> None:
    batch, jobs = full(4)
    _, heap = standing(batch)
    ended = [batch.jobs[jobs[0]], batch.jobs[jobs[2]]]
    batch.cancel(jobs[0])
    batch.cancel(jobs[2])
    heap.insert(0, entry_of(ended[0]))
    heap.append(entry_of(ended[1]))
    heap.sort()
    assert [job.id for job in in_order(batch.world, heap)] == [jobs[1], jobs[3]]
    assert fresh(batch.world, heap) == entry_of(batch.jobs[jobs[1]])
    assert heap[0].job == jobs[1]
    heap.clear()
    assert list(in_order(batch.world, heap)) == []
    assert fresh(batch.world, heap) is None
    batch.world.lanes[batch.main] = {}
    for job in (jobs[1], jobs[3]):
        ready(batch.world, batch.jobs[job])


def test_the_same_job_twice_counts_once() -> None:
    batch, jobs = full(3)
    _, heap = standing(batch)
    ready(batch.world, batch.jobs[jobs[2]])
    ready(batch.world, batch.jobs[jobs[0]])
    assert len(heap) == 4, "at the head it is seen to be there"
    assert [job.id for job in in_order(batch.world, heap)] == jobs
    heap[:] = sorted([entry_of(batch.jobs[jobs[0]])] * 2 + heap)
    assert fresh(batch.world, heap) == entry_of(batch.jobs[jobs[0]])
    assert heap.count(heap[0]) == 1


def test_an_entry_with_another_priority_is_stale() -> None:
    batch, jobs = full(2)
    job = batch.jobs[jobs[0]]
    lane, heap = standing(batch)
    job.share = "a"
    assert lane_of(job) == Lane("a", lane.demand)
    job.shape = replace(job.shape, priority=7)
    assert entry_of(job) == Entry(-7, job.seq, job.id)
    assert fresh(batch.world, heap) == entry_of(batch.jobs[jobs[1]])
    ready(batch.world, job)
    assert [other.id for other in in_order(batch.world, [entry_of(job)])] == [job.id]
