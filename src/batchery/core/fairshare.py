"""Fair share: what each share of a queue has used, and which one is next.

Theory of operation
-------------------
A share's usage is the vCPU-time of its jobs, fading over the policy's window: a vCPU that has run for long counts for
one window, and what ended a window ago for a third of what it did (exponential decay with the window as its time
constant). Running jobs count as they run. It is kept up to date lazily: `Usage.spent` is as of `Usage.at`, and what
has happened since follows from the vCPUs that run, so one event of a share costs the same however much of it runs, and
time passing costs nothing. A report that comes late is put right by what it changes between its time and ``at``.

The next share is the one with the least ``weight x (usage + held x quantum)``. The second term is what the placements
of this turn, and what has just begun, will cost: without it one share would take a whole turn. The quantum is what a
task of the queue took lately. Half of what its next task will cost is added (but never more than doubles the rank):
served at the middle of each step, and not at its foot, a share with few tasks is not favoured by the rounding. Within a
share, jobs go by priority, then by age.

So shares that always have jobs waiting get vCPU-time inversely to their weights, and no share waits for ever: usage of
those that run grows, that of one that waits fades.

computeReservation: with N active shares (jobs not ended, or something used within the window), the policy keeps
``(computeReservation / 100) ** N`` of the queue's vCPUs for shares that are not active yet. A queue that holds nothing
may always place one task, or a high reservation would stop it.

Sources: API_FairsharePolicy, API_ShareAttributes; user guide, "Fair-share scheduling". Decision 190.
"""

from heapq import heapify, heappop, heapreplace
from math import exp
from typing import Final

from msgspec import Struct

from batchery.core.changes import AttemptEnded
from batchery.core.instances import pools_of
from batchery.core.model import Attempt, Entry, Job, Lane, Queue, World
from batchery.core.shares import LEAST_WINDOW, SchedulingPolicy, Usage
from batchery.core.status import RUNNING

QUANTUM: Final = 1_000  #: where no task of the queue's classes was timed yet, ms
LEAST_QUANTUM: Final = 100  #: ms

# ----------------------------------------------------------------------------------------------------------- usage


def window_of(world: World, queue: str) -> int:
    """Over how many ms the usage of a queue's (ARN) shares fades."""
    policy = world.policies.get(world.queues[queue].policy)
    return policy.window if policy is not None else LEAST_WINDOW


def _integral(window: int, ms: int) -> float:
    """What one vCPU counts for after running so long, ms."""
    return window * (1.0 - exp(-ms / window))


def usage_at(usage: Usage, window: int, now: int) -> float:
    """Thousandths of a vCPU times ms, as of now."""
    gap = max(now - usage.at, 0)
    return usage.spent * exp(-gap / window) + usage.running * _integral(window, gap)


def _advance(usage: Usage, window: int, at: int) -> None:
    if at > usage.at:
        usage.spent, usage.at = round(usage_at(usage, window, at)), at


def _of(world: World, job: Job) -> Usage:
    return world.shares[job.queue][job.share]


def _write(world: World, job: Job, usage: Usage) -> None:
    world.dirty.shares[job.queue, job.share] = usage


def joined(world: World, job: Job) -> None:
    """A job of a share came to be."""
    shares = world.shares.setdefault(job.queue, {})
    usage = shares.get(job.share)
    if usage is None:
        usage = shares[job.share] = Usage(at=job.created)
        _write(world, job, usage)
    usage.open += 1


def left(world: World, job: Job, at: int) -> None:
    """A job of a share ended. With its last one the share begins to become inactive."""
    usage = _of(world, job)
    usage.open -= 1
    if not usage.open:
        _advance(usage, window_of(world, job.queue), at)
        _write(world, job, usage)


def held(world: World, job: Job, attempt: Attempt) -> None:
    """A placement of a share's job was made."""
    _of(world, job).held += attempt.resources.vcpus


def began(world: World, job: Job, attempt: Attempt) -> None:
    """An attempt runs since ``attempt.started``."""
    usage, window, vcpus = _of(world, job), window_of(world, job.queue), attempt.resources.vcpus
    _advance(usage, window, attempt.started)
    usage.spent += round(vcpus * _integral(window, usage.at - attempt.started))
    usage.running += vcpus
    _write(world, job, usage)


def ended(world: World, job: Job, attempt: Attempt, end: AttemptEnded) -> None:
    """An attempt, which is as it was before its end, is over."""
    usage, window, vcpus = _of(world, job), window_of(world, job.queue), attempt.resources.vcpus
    usage.held -= vcpus
    _advance(usage, window, end.at)
    late = _integral(window, usage.at - end.at)  # counted as running though it was over
    if attempt.code == RUNNING:
        usage.spent = max(usage.spent - round(vcpus * late), 0)
        usage.running -= vcpus
    elif end.started:  # its start was never reported
        usage.spent += round(vcpus * (_integral(window, usage.at - end.started) - late))
    _write(world, job, usage)


def is_active(usage: Usage, window: int, now: int) -> bool:
    """Jobs of the share have not ended, or it used something within the window."""
    return usage.open > 0 or now <= usage.at + window


def active_shares(world: World, queue: str, now: int) -> list[str]:
    """The active shares of a queue (ARN)."""
    window = window_of(world, queue)
    return [share for share, usage in world.shares.get(queue, {}).items() if is_active(usage, window, now)]


def rebuild_shares(world: World) -> None:
    """Make what is derived of each share anew."""
    for shares in world.shares.values():
        for usage in shares.values():
            usage.held = usage.running = usage.open = 0
    for job in world.jobs.values():
        if job.share and job.closed is None:
            world.shares.setdefault(job.queue, {}).setdefault(job.share, Usage(at=job.created)).open += 1
    for attempt in world.live.values():
        job = world.jobs[attempt.key.job]
        if job.share:
            usage = _of(world, job)
            usage.held += attempt.resources.vcpus
            usage.running += attempt.resources.vcpus if attempt.code == RUNNING else 0


# ----------------------------------------------------------------------------------------------------------- order


def weight_of(policy: SchedulingPolicy, share: str) -> float:
    """A share's weightFactor: its own entry, else that of a prefix (entries do not overlap), else 1."""
    for name, weight in policy.weights:
        if share == name or (name.endswith("*") and share.startswith(name[:-1])):
            return weight
    return 1.0


def reserved(policy: SchedulingPolicy, active: int) -> float:
    """The part of the vCPUs that is kept for shares that are not active."""
    return (policy.reservation / 100) ** max(active, 1) if policy.reservation else 0.0


def budget(world: World, queue: Queue, policy: SchedulingPolicy, now: int) -> int:
    """How many thousandths of a vCPU the active shares of a queue may hold together."""
    pools: dict[str, int] = {}
    for _, arn in queue.order:
        environment = world.environments[arn]
        for pool, most in pools_of(environment).items():
            pools[pool] = max(pools.get(pool, 0), most)
    return int(sum(pools.values()) * (1.0 - reserved(policy, len(active_shares(world, queue.arn, now)))))


class _Line(Struct, order=False):
    """One share: the heads of its lanes as a heap, its weight, and what it used and holds (vCPU thousandths x ms)."""

    heads: list[tuple[Entry, Lane]]
    weight: float
    cost: float


class FairShare:
    """An `orders.Order`: the share that has used least for its weight, then priority, then age."""

    def __init__(self, world: World, queue: Queue, heads: dict[Lane, Entry], now: int) -> None:
        policy, usage = world.policies[queue.policy], world.shares.get(queue.arn, {})
        classes = {lane.demand.resources for lane in heads}
        paces = [pace for site in world.sites for asked in classes if (pace := world.pace.get((site, asked)))]
        self._quantum = min(max(max(paces, default=QUANTUM), LEAST_QUANTUM), policy.window)
        self._held = sum(each.held for each in usage.values())
        self._budget = budget(world, queue, policy, now) if policy.reservation else None
        lines: dict[str, list[tuple[Entry, Lane]]] = {}
        for lane, entry in heads.items():
            lines.setdefault(lane.share, []).append((entry, lane))
        self._heap = [
            self._ranked(
                _Line(
                    heads=sorted(line),
                    weight=weight_of(policy, share),
                    cost=usage_at(usage[share], policy.window, now) + usage[share].held * self._quantum,
                )
            )
            for share, line in lines.items()
        ]
        heapify(self._heap)

    def _ranked(self, line: "_Line") -> tuple[float, int, "_Line"]:
        entry, lane = line.heads[0]
        next_one = lane.demand.resources.vcpus * self._quantum / 2
        return line.weight * (line.cost + min(next_one, line.cost)), entry.seq, line

    def _again(self, line: "_Line") -> None:
        heapreplace(self._heap, self._ranked(line))

    def head(self) -> tuple[Entry, Lane] | None:
        return self._heap[0][2].heads[0] if self._heap else None

    def never(self, lane: Lane) -> str:
        return ""

    def allows(self, vcpus: int) -> bool:
        return self._budget is None or not self._held or self._held + vcpus <= self._budget

    def placed(self, vcpus: int) -> None:
        line = self._heap[0][2]
        self._held += vcpus
        line.cost += vcpus * self._quantum
        self._again(line)

    def moved(self, lane: Lane, entry: Entry | None) -> None:
        if entry is None:
            self.drop()
            return
        line = self._heap[0][2]
        heapreplace(line.heads, (entry, lane))
        self._again(line)

    def drop(self) -> None:
        line = self._heap[0][2]
        heappop(line.heads)
        if line.heads:
            self._again(line)
        else:
            heappop(self._heap)

    def clear(self) -> None:
        self._heap.clear()
