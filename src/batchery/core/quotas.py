"""Quota shares: virtual queues below a queue of service jobs, each with instances of its own that it may lend.

Theory of operation
-------------------
For each instance type a share has a limit, and what it uses is the sum over its live attempts. A job that stays within
its share's limit is *entitled*; one that goes beyond *borrows*, which only shares with LEND_AND_BORROW may, up to
borrowLimit percent more, and only of what is idle: free instances less those that shares with RESERVE keep to
themselves. Entitled jobs come first, by age; then borrowers, by age (idleResourceAssignmentStrategy FIFO). Within a
share the first by priority and age goes first, and nothing of the share and type passes it, so none starves; but a job
larger than its share could ever have stands aside.

An entitled job for which there is no room takes borrowed instances back: attempts of shares that use more than their
limits are preempted, of the share farthest beyond its limit first, then the lowest priority, then the latest to begin.
With inSharePreemption a job may also preempt attempts of its own share with a lower priority. Nothing is preempted in
vain: only if it makes the room that is missing. What is being preempted counts as coming free.

A preempted attempt is RUNNABLE again and used none of its job's attempts (retry.py). Sources: user guide, "Quota
shares" and "Preemption"; API_QuotaShareResourceSharingConfiguration. Decision 196.
"""

from collections.abc import Iterator
from typing import Final

from batchery.core.changes import Change, Doomed
from batchery.core.instances import most_of, pool_of
from batchery.core.model import NO_CAUSE, PREEMPTED, Attempt, Entry, Lane, Queue, World
from batchery.core.owed import to_be_killed
from batchery.core.shares import BORROW, RESERVE, QuotaShare

CROSS: Final = "PREEMPTION_IN_PROGRESS: Cross-share preemption triggered to reclaim borrowed capacity"
IN_SHARE: Final = "PREEMPTION_IN_PROGRESS: In-share preemption triggered by a job with a higher scheduling priority"

Place = tuple[str, str]  # (share, instance type)


def quotas_of(world: World, queue: str) -> dict[str, QuotaShare]:
    """The quota shares of a queue (ARN), by name."""
    return {one.name: one for one in world.quotas.values() if one.queue == queue}


def use_of(world: World, queue: str) -> dict[Place, int]:
    """Thousandths of instances that the live attempts of each share hold, by type."""
    found: dict[Place, int] = {}
    for attempt in world.live.values():
        job = world.jobs[attempt.key.job]
        if job.queue == queue and job.share:
            found[job.share, job.shape.unit] = found.get((job.share, job.shape.unit), 0) + attempt.resources.vcpus
    return found


def most_borrowed(quota: QuotaShare, unit: str) -> int | None:
    """What a share may use at most with what it borrows; None for all there is."""
    limit = dict(quota.limits).get(unit, 0)
    if quota.strategy != BORROW:
        return limit
    return None if quota.borrow < 0 else limit + limit * quota.borrow // 100


class QuotaOrder:
    """An `orders.Order`: entitled jobs by age, then borrowers by age. Heads that may not be placed are kept back."""

    def __init__(self, world: World, queue: Queue, heads: dict[Lane, Entry], now: int) -> None:
        self.world, self.queue = world, queue
        self.quotas, self.used = quotas_of(world, queue.arn), use_of(world, queue.arn)
        self.lines: dict[Place, dict[Lane, Entry]] = {}
        for lane, entry in heads.items():
            self.lines.setdefault((lane.share, lane.demand.unit), {})[lane] = entry
        self.waiting: dict[Place, tuple[Entry, Lane]] = {}  # heads that found no room
        self.shut: set[str] = set()  # types that the oldest borrower waits for
        environments = [world.environments[arn] for _, arn in queue.order]
        self.all = {unit: sum(most_of(one, unit) for one in environments) for _, unit in self.lines}
        self.free = {
            unit: most - sum(world.pools.get(pool_of(one, unit), 0) for one in environments)
            for unit, most in self.all.items()
        }
        self.next: tuple[Entry, Lane] | None = None
        self.over = False
        self.taken = False  # the next one was placed, and stands until `moved`

    def limit(self, place: Place) -> int:
        return dict(self.quotas[place[0]].limits).get(place[1], 0)

    def entitled(self, place: Place, need: int) -> bool:
        return self.used.get(place, 0) + need <= self.limit(place)

    def ever(self, place: Place, need: int) -> bool:
        most = most_borrowed(self.quotas[place[0]], place[1])
        return need <= (self.all[place[1]] if most is None else min(most, self.all[place[1]]))

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
        """The first of a share and type that it could ever have."""
        found = ((entry, lane) for lane, entry in self.lines[place].items())
        return min((one for one in found if self.ever(place, one[1].demand.resources.vcpus)), default=None)

    def head(self) -> tuple[Entry, Lane] | None:
        if self.taken:
            return self.next
        own: list[tuple[int, Entry, Lane]] = []
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
        self.waiting[lane.share, lane.demand.unit] = self.next

    def clear(self) -> None:
        """Its heads stay known: they may preempt."""
        self.over = True


def preempted(order: QuotaOrder, now: int) -> list[Change]:
    """Whom the heads that are left preempt, once a turn has placed what could be."""
    return _Preemption(order, now).plan()


class _Preemption:
    """``coming``: instances that are free or become so, less what older heads will take of them."""

    def __init__(self, order: QuotaOrder, now: int) -> None:
        self.order, self.world, self.now = order, order.world, now
        self.used = dict(order.used)
        self.coming = dict(order.free)
        self.mine: dict[Place, list[Attempt]] = {}
        for attempt in self.world.live.values():
            job = self.world.jobs[attempt.key.job]
            if job.queue != order.queue.arn:
                continue
            place = (job.share, job.shape.unit)
            if to_be_killed(self.world, attempt):
                self._leaves(place, attempt)
            elif attempt.doom == NO_CAUSE:
                self.mine.setdefault(place, []).append(attempt)

    def _leaves(self, place: Place, attempt: Attempt) -> None:
        self.used[place] -= attempt.resources.vcpus
        self.coming[place[1]] = self.coming.get(place[1], 0) + attempt.resources.vcpus

    def plan(self) -> list[Change]:
        order, changes = self.order, list[Change]()
        fronts = [(front, place) for place in order.lines if (front := order.front(place)) is not None]
        for (entry, lane), place in sorted(fronts, key=lambda one: one[0][0].seq):
            need = lane.demand.resources.vcpus
            victims = self._victims(place, need, -entry.rank)
            for victim, words in victims:
                owner = (self.world.jobs[victim.key.job].share, place[1])
                self.mine[owner].remove(victim)
                self._leaves(owner, victim)
                changes.append(Doomed(victim.key, PREEMPTED, self.now, words))
            if self.used.get(place, 0) + need <= order.limit(place):  # what comes free is its own
                self.coming[place[1]] -= need
                self.used[place] = self.used.get(place, 0) + need
        return changes

    def _victims(self, place: Place, need: int, priority: int) -> list[tuple[Attempt, str]]:
        """As few as make the room that is missing; none if that cannot be."""
        over = self.used.get(place, 0) + need - self.order.limit(place)
        short = need - self.coming[place[1]]
        found: list[tuple[Attempt, str]] = []
        if over <= 0 < short:
            for victim in self._borrowers(place):
                if short <= 0:
                    break
                found.append((victim, CROSS))
                short -= victim.resources.vcpus
        if (over > 0 or short > 0) and self.order.quotas[place[0]].in_share:
            for victim in self._lower(place, priority):
                if over <= 0 and short <= 0:
                    break
                found.append((victim, IN_SHARE))
                over, short = over - victim.resources.vcpus, short - victim.resources.vcpus
        return found if over <= 0 and short <= 0 else []

    def _by_worth(self, attempts: list[Attempt]) -> list[Attempt]:
        """The lowest priority first, then the latest to begin."""
        return sorted(attempts, key=lambda one: (self.world.jobs[one.key.job].shape.priority, -one.placed, one.key))

    def _borrowers(self, place: Place) -> Iterator[Attempt]:
        """Attempts of other shares that use more than their limits, until they do no more."""
        beyond = {
            other: self.used[other] - self.order.limit(other)
            for other in self.mine
            if other[1] == place[1] and other != place
        }
        left = {other: self._by_worth(self.mine[other]) for other in beyond}
        while (most := max(((size, other) for other, size in beyond.items() if left[other]), default=None)) is not None:
            size, other = most
            if size <= 0:
                return
            victim = left[other].pop(0)
            beyond[other] -= victim.resources.vcpus
            yield victim

    def _lower(self, place: Place, priority: int) -> Iterator[Attempt]:
        for attempt in self._by_worth(self.mine.get(place, [])):
            if self.world.jobs[attempt.key.job].shape.priority < priority:
                yield attempt
