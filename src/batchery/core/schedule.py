"""Who runs next, and where: a plan made from World, once per turn.

Theory of operation
-------------------
Queues go by priority; those of one priority take turns by the age of their heads, so that no stream of younger jobs
in one of them keeps an older job of another waiting. Within a queue its policy says which *lane* is next (orders.py);
a lane holds the tasks of one resource class (lanes.py), so a class is passed over as a whole and nothing is ever
scanned.

For the first task of the next lane:

* If it asks for more of a consumable resource than is left, its class stands aside: others pass it, but what it asks
  for is kept from those behind it, so that no stream of smaller wishes keeps it waiting. (If there could never be
  enough, nothing is kept.)
* Environments that could take it when empty are its *fits*. With none it can never run: its class stands aside and
  says so (a `Blocked` fact), or, with `strict_head`, blocks the queue as AWS's does.
* The first fit, in the queue's order, that is enabled, valid, open to it and has room takes it.
* Otherwise it waits at the head: no task behind it may pass it in any environment that it waits for, nor in
  another that draws on the same pool of vCPUs. If memory or GPUs of the engine there are what it lacks, nothing
  passes it at that engine. Nor may anybody behind it take the consumable resources it asks for. So no task that fits
  an empty environment waits for ever.

Claiming ahead: where tasks of this class take well under a second, a few beyond capacity are handed to the engine,
which holds them in order and begins each the moment there is room, without waiting for a commit. They stay OFFERED,
so CancelJob gets them back, and what *runs* never exceeds capacity. What holds consumable resources is never claimed
ahead: it would hold them without using them.

Cost: proportional to placements plus the number of lanes, whatever the number of jobs queued.
"""

from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

from msgspec.structs import replace

from batchery.core import sites
from batchery.core.changes import Change, Placed, QueueSet
from batchery.core.fits import fits_of, misfit, usable
from batchery.core.index import granted_nodes
from batchery.core.instances import pool_of, units_of
from batchery.core.lanes import fresh
from batchery.core.model import (
    DELETING,
    AttemptKey,
    Blocked,
    Demand,
    Entry,
    Environment,
    Job,
    Lane,
    Queue,
    World,
)
from batchery.core.orders import order_of
from batchery.core.preemption import preempted
from batchery.core.queue import NO_CAPACITY, about
from batchery.core.quotas import QuotaOrder
from batchery.core.room import Room, needed
from batchery.core.status import RUNNABLE

#: Of a head that fits, where the machines and not the environment's maxvCpus are what is short.
SHORT: Final = f"{NO_CAPACITY} - Service cannot fulfill the capacity requested for instance type [host]"

BLOCKED_SHOWN: Final = 16  #: resource classes of a queue that are told to stand aside, at most


def schedule(world: World, now: int) -> list[Change]:
    """The placements to make now, and the blocked facts that changed."""
    if not sites.spoken(world):
        return []
    room = Room(world)
    changes: list[Change] = []
    queues = (world.queues.get(arn) for arn in world.lanes)
    plans = [_Plan(world, q, room, now, changes) for q in queues if q is not None and q.status != DELETING]
    turns = [(-plan.queue.priority, age, plan.queue.arn, plan) for plan in plans if (age := plan.age()) is not None]
    heapify(turns)
    while turns:
        rank, _, arn, plan = turns[0]
        plan.step()
        age = plan.age()
        if age is not None:
            heapreplace(turns, (rank, age, arn, plan))
        else:
            heappop(turns)
    for plan in plans:
        plan.finish()
    return changes


class _Plan:
    """The placements of one queue: its lanes in the order of its policy, and what became of those seen so far."""

    def __init__(self, world: World, queue: Queue, room: Room, now: int, changes: list[Change]) -> None:
        self.world, self.queue, self.room, self.now, self.changes = world, queue, room, now, changes
        self.aside: list[tuple[Job, int, str]] = []
        self.spent = False  # the policy leaves no more to this queue now: it waits for itself, and holds up nobody else
        self.cursors: dict[str, int] = {}  # job id -> index from which its tasks are not planned yet
        self.short: tuple[Job, int] | None = None  # the head, if it waits for the machines themselves
        self.planned: dict[Lane, list[Entry]] = {}  # entries with nothing left to plan
        self.lanes = world.lanes[queue.arn]
        heads = {lane: fresh(world, heap) for lane, heap in self.lanes.items()}
        found = {lane: entry for lane, entry in heads.items() if entry is not None}
        for lane in heads.keys() - found.keys():
            del self.lanes[lane]
        self.order = order_of(world, queue, found, now)
        self.fits = {demand: fits_of(world, queue, demand) for demand in {lane.demand for lane in found}}
        #: Nobody here stands aside or waits for units: once nothing more has room, nobody need be looked at any more.
        self.alike = all(self.fits.values()) and not any(demand.consumables for demand in self.fits)

    def age(self) -> int | None:
        """The age (seq) of what is next; None if nothing is."""
        first = self.order.head()
        return None if first is None else first[0].seq

    def step(self) -> None:
        """Plan the next task, or pass over its lane."""
        first = self.order.head()
        assert first is not None
        entry, lane = first
        job = self.world.jobs[entry.job]
        number = self._next(job)
        if number < 0:  # all of this job's ready tasks are planned: the lane's next job
            heap = self.lanes[lane]
            self.planned.setdefault(lane, []).append(heappop(heap))
            self.order.moved(lane, fresh(self.world, heap))
        elif not self.fits[lane.demand] or self.order.never(lane):
            words = misfit(self.world, self.queue, lane.demand) or self.order.never(lane)
            self._stand_aside(job, number, words)
        elif self.spent or not self.order.allows(lane.demand.resources.vcpus):
            self.spent = True
            self.order.drop()
        elif not self.room.units.enough(lane.demand.consumables):
            self._wait_for_units(lane.demand)
        elif not self._place(job, number, lane.demand):
            self.order.clear() if self.alike and self._shut() else self.order.drop()

    def _shut(self) -> bool:
        """No environment of this queue takes anything more in this turn."""
        mine = [self.world.environments[arn] for _, arn in self.queue.order]
        return not any(self.room.open_to(one, unit) for one in mine for unit in units_of(one))

    def finish(self) -> None:
        """Put back what was taken from the lanes to look behind it; tell who stands aside."""
        for lane, entries in self.planned.items():
            for entry in entries:
                heappush(self.lanes[lane], entry)
        if isinstance(self.order, QuotaOrder):
            self.changes += preempted(self.order, self.room, self.now)
        self._tell_short()
        self._tell_blocked()

    def _next(self, job: Job) -> int:
        """The next ready task of a job that is not planned yet, or -1."""
        return job.status.find(RUNNABLE, self.cursors.get(job.id, 0))

    def _stand_aside(self, job: Job, number: int, words: str) -> None:
        """The lane is passed over, and does not hold back those behind it; ``words``: why, if that can be told."""
        if words and len(self.aside) < BLOCKED_SHOWN:
            self.aside.append((job, number, words))
        if self.world.policy.strict_head and words:
            self.order.clear()
        else:
            self.order.drop()

    def _wait_for_units(self, demand: Demand) -> None:
        """The lane is passed over until somebody gives units back; what it asks for is kept from those behind it."""
        somewhere = any(usable(environment) for environment in self.fits[demand])
        if somewhere and self.room.units.could_ever(demand.consumables):
            self.room.units.take(demand.consumables)
        self.order.drop()

    def _place(self, job: Job, number: int, demand: Demand) -> bool:
        """Place one task, or close what it waits for to those behind it. False: its whole class waits."""
        room = self.room
        unit = demand.unit
        open_to_it = [environment for environment in self.fits[demand] if room.open_to(environment, unit)]
        hosts = []
        for environment in open_to_it:
            free = room.at(environment)
            lacking = room.lacks(environment, needed(free.capacity, demand), unit)
            if not lacking:
                self._put(job, number, environment, demand)
                return True
            if lacking != "vCPU":
                hosts.append(free)
        for environment in open_to_it:
            if not demand.consumables and not demand.nodes and room.may_hold(environment, demand.resources):
                self._put(job, number, environment, demand)
                return True
        if open_to_it:
            room.units.take(demand.consumables)
        room.closed.update(pool_of(environment, unit) for environment in open_to_it)
        for free in hosts:
            free.full = True
        if open_to_it and len(hosts) == len(open_to_it) and self.short is None:
            self.short = (job, number)
        return False

    def _put(self, job: Job, number: int, environment: Environment, demand: Demand) -> None:
        capacity = self.room.at(environment).capacity
        need = needed(capacity, demand)
        nodes = granted_nodes(capacity, job.shape.gang) if job.gang else (need,)
        for index, node in enumerate(nodes, number):
            task = job.tasks.get(index)
            key = AttemptKey(job.id, index, (task.serial if task else 0) + 1)
            self.changes.append(Placed(key, environment.arn, node, self.now))
        self.cursors[job.id] = number + len(nodes)
        self.room.take(environment, need, demand.unit)
        self.room.units.take(demand.consumables)
        self.order.placed(need.vcpus)

    def _tell_short(self) -> None:
        """Who waits at the head for the machines: a hint, and a fact only where one of the queue's actions is about it,
        since heads come and go with every placement."""
        self.world.short.pop(self.queue.arn, None)
        if self.short is not None:
            job, number = self.short
            self.world.short[self.queue.arn] = (job.id, number)
            if about(self.queue.limits, NO_CAPACITY):
                self.aside.append((job, number, SHORT))

    def _tell_blocked(self) -> None:
        """Change the queue's blocked facts where the head, or its reason, is another now."""
        before = {(b.job, b.index, b.reason): b for b in self.queue.blocked}
        told = tuple(
            before.get((job.id, number, words)) or Blocked(job.id, number, words, self.now)
            for job, number, words in self.aside
        )
        if told != self.queue.blocked:
            self.changes.append(QueueSet(replace(self.queue, blocked=told)))
