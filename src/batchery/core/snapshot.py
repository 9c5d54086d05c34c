"""What stands at the front of a queue, in the order in which it would be dispatched, and what the queue uses.

Pure reads over World. The order is the queue's own (orders.py), asked as if there were room for everybody and all could
be placed now; lanes are walked from their heads, so the cost grows with how many are told and not with how many wait.
"""

from collections.abc import Iterator

from msgspec import Struct

from batchery.core.lanes import entry_of, in_order
from batchery.core.model import SEQUENTIAL, Entry, Job, Lane, Queue, World
from batchery.core.orders import unbounded_order_of
from batchery.core.status import RUNNABLE, RUNNING, STARTING


class Front(Struct, frozen=True):
    """A job (or child, or gang as a whole) that waits, and since when it has had its place, as far as is known (ms)."""

    ref: str
    since: int


class QueueUse(Struct, frozen=True):
    """vCPUs, thousandths, of what is STARTING and RUNNING; ``shares`` by share, the greatest first."""

    unit: str  # "VCPU", or "cpu" on EKS
    vcpus: int
    shares: list[tuple[str, int]]


def dispatch_order(world: World, queue: Queue, now: int) -> Iterator[tuple[Job, int]]:
    """The ready tasks of a queue, the next one first; a gang once, by its first node."""
    walks = {lane: _tasks(world, lane, heap) for lane, heap in world.lanes.get(queue.arn, {}).items()}
    at = {lane: next(walk, None) for lane, walk in walks.items()}
    order = unbounded_order_of(world, queue, {lane: task[0] for lane, task in at.items() if task is not None}, now)
    while (head := order.head()) is not None:
        entry, lane = head
        task = at[lane]
        if task is None or task[0] != entry:
            order.moved(lane, None if task is None else task[0])
            continue
        yield task[1], task[2]
        at[lane] = next(walks[lane], None)
        order.placed(lane.demand.resources.vcpus)


def _tasks(world: World, lane: Lane, heap: list[Entry]) -> Iterator[tuple[Entry, Job, int]]:
    for job in in_order(world, heap):
        at = job.status.find(RUNNABLE)
        while at >= 0:
            yield entry_of(job), job, at
            at = -1 if job.gang else job.status.find(RUNNABLE, at + 1)


def front(world: World, arn: str, now: int, limit: int = 100) -> list[Front]:
    """The first ones of a queue (ARN)."""
    queue = world.queues[arn]
    moved = world.moved.get(arn, 0)
    found: list[Front] = []
    for job, number in dispatch_order(world, queue, now):
        found.append(Front(_ref(job, number), max(_ready_since(world, job), moved)))
        if len(found) >= limit:
            break
    return found


def front_by_share(world: World, arn: str) -> dict[str, Front]:
    """The first RUNNABLE job of each share of a queue (ARN)."""
    first: dict[str, tuple[Entry, Job]] = {}
    for lane, heap in world.lanes.get(arn, {}).items():
        for job in in_order(world, heap):
            entry = entry_of(job)
            if lane.share not in first or entry < first[lane.share][0]:
                first[lane.share] = (entry, job)
            break
    moved = world.moved.get(arn, 0)
    return {share: Front(job.id, max(_ready_since(world, job), moved)) for share, (_, job) in sorted(first.items())}


def _ref(job: Job, number: int) -> str:
    return f"{job.id}:{number}" if job.size and not job.gang else job.id


def _ready_since(world: World, job: Job) -> int:
    """When its last dependency ended, so far as jobs as a whole are meant; else when it was submitted."""
    ends = (world.jobs[need.job].closed for need in job.needs if need.kind != SEQUENTIAL)
    return max((end.at for end in ends if end is not None), default=job.created)


def use(world: World, arn: str, unit: str) -> QueueUse:
    """What runs of a queue (ARN)."""
    shares: dict[str, int] = {}
    for attempt in world.live.values():
        job = world.jobs[attempt.key.job]
        if job.queue == arn and attempt.code in (STARTING, RUNNING):
            shares[job.share] = shares.get(job.share, 0) + attempt.resources.vcpus
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return QueueUse(unit, sum(shares.values()), [(share, vcpus) for share, vcpus in ranked if share])


def instances_used(world: World, arn: str) -> dict[tuple[str, str], int]:
    """Instances that a queue (ARN) of service jobs uses, by share and type: of what was handed over, begun or not."""
    found: dict[tuple[str, str], int] = {}
    for attempt in world.live.values():
        job = world.jobs[attempt.key.job]
        for unit, count in job.shape.instances if job.queue == arn else ():
            found[job.share, unit] = found.get((job.share, unit), 0) + count
    return found
