"""Whom the jobs of a quota-managed queue preempt, once a turn has placed what could be (quotas.py).

Theory of operation
-------------------
An entitled job for which there is no room takes borrowed instances back: attempts of shares that use more than their
limits are preempted, of the share farthest beyond its limit first, then the lowest priority, then the latest to begin.
With inSharePreemption a job may also preempt attempts of its own share with a lower priority, for its share's limits
as well as for room. Nothing is preempted in vain: only in an environment that takes new jobs, only if it makes all the
room that is missing, and none of those chosen could be spared. What is being ended for whatever cause counts as coming
free, less what older entitled jobs will take of it.

A preempted attempt is RUNNABLE again and used none of its job's attempts (retry.py). Source: user guide, "Preemption".
Decision 196.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from batchery.core import index, sites
from batchery.core.changes import Change, Doomed
from batchery.core.fits import could_ever
from batchery.core.index import granted
from batchery.core.instances import most_of, pool_of
from batchery.core.model import PREEMPTED, Attempt, Environment, Lane
from batchery.core.owed import to_be_killed
from batchery.core.quotas import Place, QuotaOrder
from batchery.core.room import Room

CROSS: Final = "PREEMPTION_IN_PROGRESS: Cross-share preemption triggered to reclaim borrowed capacity"
IN_SHARE: Final = "PREEMPTION_IN_PROGRESS: In-share preemption triggered by a job with a higher scheduling priority"


def preempted(order: QuotaOrder, room: Room, now: int) -> list[Change]:
    """Whom the heads that are left preempt. ``room``: what the plan has left."""
    return _Preemption(order, room).plan(now)


class _Victim(NamedTuple):
    attempt: Attempt
    words: str


class _Preemption:
    """What there is once everything that is being ended has ended, less what older heads will take: ``used`` of each
    share and type, ``taken`` of each pool, ``memory`` and ``gpus`` free of each engine."""

    def __init__(self, order: QuotaOrder, room: Room) -> None:
        self.order, self.world = order, order.world
        self.used, self.taken = dict(order.used), dict(room.pools)
        self.memory = {name: free.memory for name, free in room.sites.items()}
        self.gpus = {name: free.gpus for name, free in room.sites.items()}
        self.claimed: set[Place] = set()
        self.mine: dict[Place, list[Attempt]] = {}
        for attempt in self.world.live.values():
            if to_be_killed(self.world, attempt):
                self._leaves(attempt)
            elif self.world.jobs[attempt.key.job].queue == order.queue.arn:
                self.mine.setdefault(self._place(attempt), []).append(attempt)

    def _place(self, attempt: Attempt) -> Place:
        job = self.world.jobs[attempt.key.job]
        return job.share, job.shape.unit

    def _leaves(self, attempt: Attempt) -> None:
        need, site = attempt.resources, self.world.site_of[attempt.environment]
        if self.world.jobs[attempt.key.job].queue == self.order.queue.arn:
            self.used[self._place(attempt)] -= need.vcpus
        self.taken[index.pool(self.world, attempt)] -= need.vcpus
        self.memory[site] += need.memory
        self.gpus[site] += need.gpus

    def plan(self, now: int) -> list[Change]:
        order, victims = self.order, list[_Victim]()
        fronts = [front for place in order.lines if (front := order.front(place)) is not None]
        for entry, lane in sorted(fronts, key=lambda front: front[0].seq):
            fits = [one for one in order.environments if not could_ever(self.world, one, lane.demand)]
            ways = [(one, way) for one in fits if (way := self._victims(one, lane, -entry.rank)) is not None]
            where, chosen = min(ways, key=lambda one: len(one[1]), default=(fits[0] if fits else None, []))
            for victim in chosen:
                self.mine[self._place(victim.attempt)].remove(victim.attempt)
                self._leaves(victim.attempt)
            if where is not None and self._over(lane) <= 0:  # what comes free is its own
                self._claim(where, lane, bool(chosen))
            victims += chosen
        kept = [victim for victim in reversed(victims) if not self._spared(victim)][::-1]
        return [Doomed(victim.attempt.key, PREEMPTED, now, victim.words) for victim in kept]

    def _claim(self, environment: Environment, lane: Lane, hosted: bool) -> None:
        place, pool = (lane.share, lane.demand.unit), pool_of(environment, lane.demand.unit)
        self.claimed.add(place)
        self.used[place] = self.used.get(place, 0) + lane.demand.resources.vcpus
        self.taken[pool] = self.taken.get(pool, 0) + lane.demand.resources.vcpus
        if hosted:
            site = self.world.site_of[environment.arn]
            need = granted(sites.of(self.world, environment.arn).capacity, lane.demand.resources)
            self.memory[site] -= need.memory
            self.gpus[site] -= need.gpus

    def _spared(self, victim: _Victim) -> bool:
        """Whether all have what they claimed without this victim, which then goes on: larger ones came after it."""
        need, place = victim.attempt.resources, self._place(victim.attempt)
        environment = self.world.environments[victim.attempt.environment]
        pool, site = pool_of(environment, place[1]), self.world.site_of[environment.arn]
        over = self.used[place] + need.vcpus - self.order.limit(place) if place in self.claimed else 0
        short = self.taken[pool] + need.vcpus - most_of(environment, place[1])
        queues = sites.of(self.world, environment.arn).capacity.queues
        hosts = queues or (need.memory <= self.memory[site] and need.gpus <= self.gpus[site])
        if over > 0 or short > 0 or not hosts:
            return False
        self.used[place] += need.vcpus
        self.taken[pool] += need.vcpus
        self.memory[site] -= need.memory
        self.gpus[site] -= need.gpus
        return True

    def _over(self, lane: Lane) -> int:
        """How far beyond its share's limit a task of this lane would go."""
        place = (lane.share, lane.demand.unit)
        return self.used.get(place, 0) + lane.demand.resources.vcpus - self.order.limit(place)

    def _victims(self, environment: Environment, lane: Lane, priority: int) -> list[_Victim] | None:
        """Those who make the room that is missing in an environment, none if it comes by itself; None if that cannot
        be. Some may be spared in the end (`_spared`)."""
        place, pool = (lane.share, lane.demand.unit), pool_of(environment, lane.demand.unit)
        over = self._over(lane)
        short = lane.demand.resources.vcpus + self.taken.get(pool, 0) - most_of(environment, lane.demand.unit)
        mine = [one for one in self.mine.get(place, []) if index.pool(self.world, one) == pool]
        lower = iter(self._lower(mine, priority) if self.order.quotas[place[0]].in_share else [])
        found: list[_Victim] = []
        while over > 0 and (attempt := next(lower, None)) is not None:
            found.append(_Victim(attempt, IN_SHARE))
            over, short = over - attempt.resources.vcpus, short - attempt.resources.vcpus
        if over > 0:
            return None
        for words, attempts in ((CROSS, self._borrowers(place, pool)), (IN_SHARE, lower)):
            while short > 0 and (attempt := next(attempts, None)) is not None:
                found.append(_Victim(attempt, words))
                over -= attempt.resources.vcpus * (words == IN_SHARE)
                short -= attempt.resources.vcpus
        if short > 0:
            return None
        return found if self._hosted(environment, lane, found) else None

    def _hosted(self, environment: Environment, lane: Lane, victims: list[_Victim]) -> bool:
        """Whether the engine has the memory and GPUs too."""
        site, capacity = self.world.site_of[environment.arn], sites.of(self.world, environment.arn).capacity
        if capacity.queues or not victims:
            return True
        need = granted(capacity, lane.demand.resources)
        freed = [victim.attempt for victim in victims if self.world.site_of[victim.attempt.environment] == site]
        memory = self.memory[site] + sum(one.resources.memory for one in freed)
        return need.memory <= memory and need.gpus <= self.gpus[site] + sum(one.resources.gpus for one in freed)

    def _by_worth(self, attempts: list[Attempt]) -> list[Attempt]:
        """The lowest priority first, then the latest to begin."""
        return sorted(attempts, key=lambda one: (self.world.jobs[one.key.job].shape.priority, -one.placed, one.key))

    def _borrowers(self, place: Place, pool: str) -> Iterator[Attempt]:
        """Attempts of other shares that use more than their limits, until they do no more."""
        beyond = {
            other: self.used[other] - self.order.limit(other)
            for other in self.mine
            if other[1] == place[1] and other != place
        }
        left = {
            other: self._by_worth([one for one in self.mine[other] if index.pool(self.world, one) == pool])
            for other in beyond
        }
        while (most := max(((size, other) for other, size in beyond.items() if left[other]), default=None)) is not None:
            size, other = most
            if size <= 0:
                return
            victim = left[other].pop(0)
            beyond[other] -= victim.resources.vcpus
            yield victim

    def _lower(self, attempts: list[Attempt], priority: int) -> list[Attempt]:
        """Those of a share with a lower priority."""
        return [one for one in self._by_worth(attempts) if self.world.jobs[one.key.job].shape.priority < priority]
