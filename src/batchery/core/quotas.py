"""Quota shares: virtual queues below a queue of service jobs, each with instances of its own that it may lend.

Theory of operation
-------------------
For each instance type a share has a limit, and what it uses is the sum over its live attempts. A job that stays within
its share's limit is *entitled*; one that goes beyond *borrows*, which only shares with LEND_AND_BORROW may, up to
borrowLimit percent more, and only of what is idle: free instances less those that shares with RESERVE keep to
themselves. Entitled jobs come first, by age; then borrowers, by age (idleResourceAssignmentStrategy FIFO). Within a
share the first by priority and age goes first, and nothing of the share and type passes it, so none starves; but a job
larger than its share could ever have stands aside and says so, or, with `strict_head`, blocks its share.

An entitled job for which there is no room takes back what others have borrowed: preemption.py.

Sources: user guide, "Quota shares" and "Jobs stuck in a RUNNABLE status" of service jobs;
API_QuotaShareResourceSharingConfiguration. Decision 196.
"""

from typing import Final

from batchery.core.fits import misfit, usable
from batchery.core.instances import most_of, pool_of
from batchery.core.model import Entry, Lane, Queue, World
from batchery.core.queue import QUOTA_LIMIT
from batchery.core.shares import BORROW, RESERVE, QuotaShare

# statusReason of a job larger than its share could ever have.
TOO_LARGE_FOR_SHARE: Final = f"{QUOTA_LIMIT} - Job requirements exceed quota share capacity limits."
TOO_LARGE_TO_BORROW: Final = f"{QUOTA_LIMIT} - Job requirements exceed quota share capacity limits and borrow limits."
NOT_BORROWABLE: Final = f"{QUOTA_LIMIT} - Job requires borrowing that exceeds all configured borrowable capacity."

Place = tuple[str, str]  # (share, instance type)


def quotas_of(world: World, queue: str) -> dict[str, QuotaShare]:
    """The quota shares of a queue (ARN), by name."""
    return {one.name: one for one in world.quotas.values() if one.queue == queue}


def quota_of(world: World, queue: Queue, share: str) -> QuotaShare | None:
    """A quota share of a queue by name; None in any other queue."""
    return world.quotas.get(f"{queue.arn}/quota-share/{share}")


def use_of(world: World, queue: str) -> dict[Place, int]:
    """Thousandths of instances that the live attempts of each share hold, by type."""
    found: dict[Place, int] = {}
    for attempt in world.live.values():
        job = world.jobs[attempt.key.job]
        if job.queue == queue and job.share:
            found[job.share, job.shape.unit] = found.get((job.share, job.shape.unit), 0) + attempt.resources.vcpus
    return found


def limit_of(quota: QuotaShare, unit: str) -> int:
    """What a share may use of a type without borrowing."""
    return dict(quota.limits).get(unit, 0)


def most_borrowed(quota: QuotaShare, unit: str) -> int | None:
    """What a share may use at most with what it borrows; None for all there is."""
    limit = limit_of(quota, unit)
    if quota.strategy != BORROW:
        return limit
    return None if quota.borrow < 0 else limit + limit * quota.borrow // 100


def beyond(world: World, queue: Queue, lane: Lane) -> str:
    """AWS's words for jobs larger than their quota share could ever have; "" if it could, and in any other queue."""
    quota = quota_of(world, queue, lane.share)
    need, unit = lane.demand.resources.vcpus, lane.demand.unit
    if quota is None or need <= limit_of(quota, unit):
        return ""
    if quota.strategy != BORROW:
        return TOO_LARGE_FOR_SHARE
    most = most_borrowed(quota, unit)
    if most is not None and need > most:
        return TOO_LARGE_TO_BORROW
    others = (one for one in quotas_of(world, queue.arn).values() if one.strategy == RESERVE)
    there = sum(most_of(world.environments[arn], unit) for _, arn in queue.order)
    return NOT_BORROWABLE if need > there - sum(limit_of(one, unit) for one in others) else ""


def never(world: World, queue: Queue, lane: Lane) -> str:
    """AWS's words for jobs that can never run, as their queue and its environments are; "" if they can."""
    return misfit(world, queue, lane.demand) or beyond(world, queue, lane)


class QuotaOrder:
    """An `orders.Order`: entitled jobs by age, then borrowers by age. Heads that may not be placed are kept back."""

    def __init__(self, world: World, queue: Queue, heads: dict[Lane, Entry], now: int) -> None:
        self.world, self.queue = world, queue
        self.quotas, self.used = quotas_of(world, queue.arn), use_of(world, queue.arn)
        self.lines: dict[Place, dict[Lane, Entry]] = {}
        for lane, entry in heads.items():
            self.lines.setdefault((lane.share, lane.demand.unit), {})[lane] = entry
        self.hopeless = {lane: words for lane in heads if (words := never(world, queue, lane))}
        self.untold = {lane: heads[lane] for lane in self.hopeless}
        self.waiting: dict[Place, tuple[Entry, Lane]] = {}  # heads that found no room
        self.shut: set[str] = set()  # types that the oldest borrower waits for
        self.environments = [one for _, arn in queue.order if usable(one := world.environments[arn])]
        self.free = {unit: self._free(unit) for _, unit in self.lines}
        self.next: tuple[Entry, Lane] | None = None
        self.over = False
        self.taken = False  # the next one was placed, and stands until `moved`

    def _free(self, unit: str) -> int:
        return sum(most_of(one, unit) - self.world.pools.get(pool_of(one, unit), 0) for one in self.environments)

    def limit(self, place: Place) -> int:
        return limit_of(self.quotas[place[0]], place[1])

    def entitled(self, place: Place, need: int) -> bool:
        return self.used.get(place, 0) + need <= self.limit(place)

    def may_borrow(self, place: Place, need: int) -> bool:
        """Whether the share's own limits let it."""
        most = most_borrowed(self.quotas[place[0]], place[1])
        quota = self.quotas[place[0]]
        return quota.strategy == BORROW and (most is None or self.used.get(place, 0) + need <= most)

    def idle(self, place: Place) -> int:
        """What is free and kept by nobody else."""
        kept = [
            max(self.limit((name, place[1])) - self.used.get((name, place[1]), 0), 0)
            for name, quota in self.quotas.items()
            if quota.strategy == RESERVE and name != place[0]
        ]
        return self.free[place[1]] - sum(kept)

    def front(self, place: Place) -> tuple[Entry, Lane] | None:
        """The first of a share and type, unless it can never run: then the first behind it, or, with `strict_head`,
        nobody."""
        line = sorted((entry, lane) for lane, entry in self.lines[place].items())
        if self.world.policy.strict_head:
            line = line[:1]
        return next((one for one in line if one[1] not in self.hopeless), None)

    def head(self) -> tuple[Entry, Lane] | None:
        if self.taken:
            return self.next
        own = [(entry.seq, entry, lane) for lane, entry in self.untold.items()]
        borrowing: list[tuple[int, Entry, Lane]] = []
        for place in self.lines:
            first = None if self.over or place in self.waiting else self.front(place)
            if first is None:
                continue
            entry, lane = first
            need = lane.demand.resources.vcpus
            if self.entitled(place, need):
                own.append((entry.seq, entry, lane))
            elif place[1] not in self.shut and self.may_borrow(place, need):
                borrowing.append((entry.seq, entry, lane))
        if own:
            self.next = min(own)[1:]
            return self.next
        for _, entry, lane in sorted(borrowing):
            place = (lane.share, lane.demand.unit)
            if place[1] in self.shut:
                continue
            if self.idle(place) >= lane.demand.resources.vcpus:
                self.next = (entry, lane)
                return self.next
            self.shut.add(place[1])
        self.next = None
        return None

    def never(self, lane: Lane) -> str:
        return self.hopeless.get(lane, "")

    def allows(self, vcpus: int) -> bool:
        return True

    def placed(self, vcpus: int) -> None:
        assert self.next is not None
        lane = self.next[1]
        place = (lane.share, lane.demand.unit)
        self.used[place] = self.used.get(place, 0) + vcpus
        self.free[place[1]] -= vcpus
        self.taken = True

    def moved(self, lane: Lane, entry: Entry | None) -> None:
        self.taken = False
        line = self.lines[lane.share, lane.demand.unit]
        if entry is None:
            del line[lane]
        else:
            line[lane] = entry

    def drop(self) -> None:
        assert self.next is not None
        lane = self.next[1]
        if self.untold.pop(lane, None) is None:
            self.waiting[lane.share, lane.demand.unit] = self.next

    def clear(self) -> None:
        """Nobody is placed any more, but heads stay known: they may preempt. One that can never run blocks its own
        share alone (`front`)."""
        assert self.next is not None
        self.over = self.untold.pop(self.next[1], None) is None
