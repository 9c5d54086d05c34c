"""Lanes: who stands in line where. Kept by `apply`, made anew by `rebuild`, walked by the scheduler and by snapshots.

A queue has one lane for each resource class, and in a fair-share queue for each share and class: a heap of the jobs
that have RUNNABLE tasks, by priority and age. So one look at the heads of the lanes tells what may be next; a class
that can never fit, or must wait, is passed over as a whole, and nobody is ever scanned.

Entries may be stale: a job ends, or its priority changes, while it stands in the middle of a heap. Whoever meets a
stale entry at a head drops it (`fresh`).
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from batchery.core.model import Demand, Entry, Job, Lane, Shape, World
from batchery.core.status import RUNNABLE


def demand_of(shape: Shape) -> Demand:
    """The resource class of a job's tasks."""
    return Demand(shape.resources, shape.consumables, shape.gang, shape.unit)


def lane_of(job: Job) -> Lane:
    """Where in its queue a job stands."""
    return Lane(job.share, demand_of(job.shape))


def entry_of(job: Job) -> Entry:
    """The job's place in its lane."""
    return Entry(-job.shape.priority if job.share else 0, job.seq, job.id)


def ready(world: World, job: Job) -> None:
    """The job has RUNNABLE tasks: it stands in its lane."""
    lane = world.lanes.setdefault(job.queue, {}).setdefault(lane_of(job), [])
    entry = entry_of(job)
    if not lane or lane[0] != entry:
        heappush(lane, entry)


def move(world: World, job: Job, before: Entry) -> None:
    """The job stands in its lane at another place now. Costs a look at the whole lane, which is done by hand only."""
    lane = world.lanes[job.queue][lane_of(job)]
    lane[:] = [entry for entry in lane if entry != before] + [entry_of(job)]
    heapify(lane)


def fresh(world: World, heap: list[Entry]) -> Entry | None:
    """The head of a lane, after stale entries have been dropped from it; None if nothing is left."""
    while heap:
        if _stands(world, heap[0]) and heap[0] not in heap[1:3]:  # there: the same job twice
            return heap[0]
        heappop(heap)
    return None


def _stands(world: World, entry: Entry) -> bool:
    """Whether a job still waits where this entry says."""
    job = world.jobs.get(entry.job)
    if job is None or job.closed is not None or RUNNABLE not in job.status:
        return False
    return entry.rank == (-job.shape.priority if job.share else 0)  # its share and what it asks for never change


def rebuild_lanes(world: World) -> None:
    """Make all lanes anew, sorted once."""
    world.lanes = {}
    for job in world.jobs.values():
        if job.closed is None and RUNNABLE in job.status:
            world.lanes.setdefault(job.queue, {}).setdefault(lane_of(job), []).append(entry_of(job))
    for lanes in world.lanes.values():
        for heap in lanes.values():
            heapify(heap)


def in_order(world: World, heap: list[Entry]) -> Iterator[Job]:
    """The jobs of a lane from its head on, without touching it: cost grows with how many are taken, not with how many
    stand there."""
    front = [(heap[0], 0)] if heap else []
    last: Entry | None = None
    while front:
        entry, at = heappop(front)
        for below in (2 * at + 1, 2 * at + 2):
            if below < len(heap):
                heappush(front, (heap[below], below))
        if entry != last and _stands(world, entry):
            yield world.jobs[entry.job]
        last = entry
