"""One history from one seed: the real turn, a store, a fake engine, a fake clock, and everything that can go wrong.

Each step lets time pass, lets some messages through, takes a turn and commits it, unless the server dies. After each
turn the invariants hold; now and then, and whenever a server comes back, what was loaded and what was in memory must
come to the same. At the end everything is healed, and every job must end.
"""

from random import Random
from typing import Any

from tests.sim import trainers
from tests.sim.clients import (
    ENVIRONMENTS,
    HOME,
    MEMORY,
    SEATS,
    TICKETS,
    VCPUS,
    Clients,
    arn,
    create_seats,
    opening,
    queues,
)
from tests.sim.comparing import assert_same
from tests.sim.engine import FakeEngine, Order
from tests.sim.oracle import Oracle
from tests.sim.quotas import Quotas
from tests.sim.revisions import Revisions
from tests.sim.stores import SimStore, like
from tests.sim.trainers import WHERE as SERVICES
from tests.sim.trainers import Trainers
from tests.sim.units import Units

from batchery.core.changes import Change
from batchery.core.check import check
from batchery.core.fits import fits_of
from batchery.core.instances import pool_of, pools_of
from batchery.core.keys import Ref
from batchery.core.lanes import demand_of, lane_of
from batchery.core.messages import (
    Ack,
    Cancel,
    Capacities,
    Command,
    DeleteConsumable,
    Effect,
    Kill,
    Launch,
    NeedFacts,
    Submit,
    SubmitService,
    Terminate,
    UpdateConsumable,
    UpdateEnvironment,
    Withdraw,
)
from batchery.core.model import ENABLED, UPDATING, Capacity, Dirty, Policy, Site, World
from batchery.core.owed import owed
from batchery.core.quotas import never
from batchery.core.status import RUNNABLE
from batchery.core.step import forget, next_alarm, turn
from batchery.store.store import CommitFailed

START = 1_700_000_000_000
STEPS = 90


class Simulation:
    """``run`` raises AssertionError if anything is not as it must be."""

    def __init__(self, seed: int, store: SimStore) -> None:
        self.random = Random(seed)
        self.store = store
        self.queueing = self.random.random() < 0.5
        strict = self.random.random() < 0.1
        self.policy = Policy(strict_head=strict, submitted_for=self.random.choice((0, 0, 0, 5_000)))
        self.capacity = Capacity(MEMORY, 2, True, self.random.choice((0, 3)) if self.queueing else 0)
        self.engine = FakeEngine(self.random, self.queueing, self.capacity)
        self.clients = Clients(self.random)
        self.oracle = Oracle()
        self.units = Units()
        self.trainers = Trainers(self.random) if seed % 2 == 0 else None  # every other history has service jobs
        self.quotas, self.revisions = Quotas(strict), Revisions()
        self.true_now = self.engine.now = START
        self.now = START  # the server's clock
        self.faults = True
        self.inbox: list[tuple[Command, bool]] = []  # and whether a client waits for the answer
        self.effects: list[Effect] = []  # on their way to the engine
        self.reports: list[Command] = []  # on their way to the server
        self.counts: dict[str, int] = {}
        self._lead()

    def run(self) -> dict[str, int]:
        """The whole history; how often each thing happened."""
        self._settle(opening())
        self._settle(queues())
        if self.trainers is not None:
            for made in (trainers.opening(), trainers.queues(), trainers.shares()):
                self._settle(made)
        for _ in range(STEPS):
            self._step()
        self._heal()
        return self.counts

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _chance(self, odds: float) -> bool:
        return self.faults and self.random.random() < odds

    # ------------------------------------------------------------------------------------------------- one step

    def _step(self) -> None:
        self._pass_time(self.random.choice((0, 1, 5, 100, 1_000, 10_000, 61_000)))
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 6))):
            if self.trainers is not None and self.random.random() < 0.6:
                self.inbox += [(wish, True) for wish in self.trainers.wishes()]
            else:
                self.inbox.append((self.clients.wish(), True))
        self._mishaps()
        self._turn()
        self.oracle.judge(self.engine.truth)

    def _pass_time(self, ms: int) -> None:
        self.true_now += ms
        self.now += ms
        self.engine.advance(self.true_now)
        self._carry()

    def _mishaps(self) -> None:
        if self._chance(0.03):
            self._count("clock jump")
            self.now += self.random.choice((1, 30_000, 4_000_000))
        if self._chance(0.03):
            self.engine.skew = self.random.choice((-3_600_000, -5, 0, 5, 3_600_000))
        if self._chance(0.03):
            self._count("engine restart")
            self.engine.restart()
            self._reconnect()
        if self._chance(0.05):
            self._reconnect()
        if self._chance(0.03):
            self.engine.hand_back()
        if self._chance(0.02):
            self.engine.lose_host()
        if self._chance(0.04):
            self._count("second leader")
            self._usurped()
        if self._chance(0.08):
            self._compare(self.store.load())

    # ------------------------------------------------------------------------------------------------ messages

    def _carry(self) -> None:
        """Let messages through: late, in another order, twice, or never."""
        if self._chance(0.1):
            self.random.shuffle(self.effects)
        while self.effects and not self._chance(0.1):
            self._tell(self.effects.pop(0))
        self.reports += self.engine.said
        self.engine.said = []
        if self._chance(0.05):
            self.random.shuffle(self.reports)
        while self.reports and not self._chance(0.1):
            report = self.reports.pop(0)
            if self._chance(0.03):
                self._count("lost report")
                continue
            self.inbox.append((report, False))
            if self._chance(0.05):
                self.reports.append(report)

    def _tell(self, effect: Effect) -> None:
        if isinstance(effect, Launch):
            live = self.world.live.get(effect.key)
            if live is not None:  # the dispatcher makes the order from what World says now
                shape = self.world.jobs[effect.key.job].shape
                pool = pool_of(self.world.environments[live.environment], shape.unit)
                slowness = 30 if shape.instances else 1  # so that there is something to preempt
                self.engine.launch(Order(effect.key, live.resources, pool, shape.timeout, slowness))
        elif isinstance(effect, Kill):
            self.engine.kill(effect.key)
        elif isinstance(effect, Withdraw):
            self.engine.withdraw(effect.key)
        elif isinstance(effect, Ack):
            self.engine.ack(effect.key)

    # -------------------------------------------------------------------------------------------------- turns

    def _turn(self, commands: list[tuple[Command, bool]] | None = None) -> list[Any]:
        """One turn and its commit, or a crash."""
        if commands is None:
            some = self.random.choice((1, 3, 100)) if self.faults else 1_000
            commands, self.inbox = self.inbox[:some], self.inbox[some:]
        spent = (lambda: self.random.random() < 0.3) if self._chance(0.3) else (lambda: False)
        asked = [command for command, _ in commands]
        changes, answers, effects = turn(self.world, asked, self.now, spent)
        self._count("turn")
        check(self.world)
        if self._chance(0.03):
            self._count("crash before the commit")
            self._crash()
            return []
        if not self._commit(changes):
            return []
        self.oracle.note(changes)
        self.units.note(changes, self.engine.truth)
        self.quotas.note(changes)
        self.revisions.note(changes)
        check(self.world)
        if self._chance(0.03):
            self._count("crash after the commit")
            self._crash_after_commit()
            return []
        forget(self.world)
        self.effects += effects
        for (command, client), answer in zip(commands, answers, strict=True):
            if client:
                self._answered(command, answer.error)
        return answers

    def _commit(self, changes: list[Change]) -> bool:
        dirty, self.world.dirty = self.world.dirty, Dirty()
        self.store.failing = self._chance(0.02)
        try:
            self.store.commit(self.epoch, dirty, changes)
        except CommitFailed:
            self._count("failed commit")
            self.store.failing = False
            self._lead()  # a step-down is a load, as after a crash
            return False
        return True

    def _answered(self, command: Command, error: Exception | None) -> None:
        if isinstance(error, NeedFacts):
            assert isinstance(command, Submit)
            found = self.store.ghosts(error.jobs)
            missing = tuple(job for job in error.jobs if job not in found)
            members = {name: getattr(command, name) for name in command.__struct_fields__}
            again = Submit(**{**members, "facts": tuple(found.values()), "no_facts": missing})
            self.inbox.append((again, True))
        elif error is None and isinstance(command, Submit):
            self._count("submit")
            self.oracle.promise(command)
            self.clients.known[command.id] = command.size
        elif error is None and isinstance(command, SubmitService) and self.trainers is not None:
            self._count("submit of a service job")
            self.oracle.promise(command)
            self.trainers.known.append(command.id)
        elif error is None:
            self._count(type(command).__name__)

    # -------------------------------------------------------------------------------- leaders come and go

    def _lead(self) -> None:
        """Load a World and bring the engine and it to agree."""
        self.epoch = self.store.lead()
        self.world = self.store.load()
        check(self.world)
        self.world.policy = self.policy
        self.inbox = [(command, client) for command, client in self.inbox if client and self.random.random() < 0.5]
        self._reconnect()

    def _reconnect(self) -> None:
        """What was on its way is gone; the engine is asked what it has, is told what it is owed, and says it again."""
        self._count("survey")
        self.effects, self.reports, self.engine.said = [], [], []
        effects, reports = owed(self.world, self.engine.survey(), self.now, "this-host")
        self.effects = effects
        self.engine.reconnect()
        self.inbox = [entry for entry in self.inbox if entry[1]]
        self.inbox += [(Capacities(self.capacity), False), *((report, False) for report in reports)]

    def _crash(self) -> None:
        self.store.restart()
        self._lead()

    def _crash_after_commit(self) -> None:
        before = self.world
        self.store.restart()
        self._lead()
        forget(before)
        self._same(before, self.store.load())

    def _usurped(self) -> None:
        """Somebody else takes over while this leader still has a turn to commit: that commit must fail."""
        old_world, old_epoch = self.world, self.epoch
        changes, _, _ = turn(old_world, [command for command, _ in self.inbox], self.now)
        self.store.restart()
        self._lead()
        if self.epoch != old_epoch:
            try:
                self.store.commit(old_epoch, old_world.dirty, changes)
            except CommitFailed:
                return
            raise AssertionError("a leader that was replaced has committed")

    # ------------------------------------------------------------------------------------------------ comparing

    def _compare(self, loaded: World) -> None:
        """What is in memory, drained, is what was loaded, drained. The turn is the leader's own next one."""
        self._count("comparison")
        like(loaded, self.world)
        epoch = self.epoch
        faults, self.faults = self.faults, False
        self.world.schedule_wanted = True  # as after a load: what a fair share's order says changes with time
        self._turn([])
        self.faults = faults
        assert epoch == self.epoch
        turn(loaded, [], self.now)
        loaded.dirty = Dirty()
        forget(loaded)
        assert_same(self.world, loaded)

    def _same(self, before: World, loaded: World) -> None:
        like(loaded, before)
        for world in (before, loaded):
            world.schedule_wanted = True
            turn(world, [], self.now)
            world.dirty = Dirty()
            forget(world)
        assert_same(before, loaded)

    # ------------------------------------------------------------------------------------------------- the end

    def _settle(self, commands: list[Command]) -> None:
        """Without faults, until nothing is due."""
        faults, self.faults = self.faults, False
        for answer in self._turn([(command, False) for command in commands]):
            assert answer.error is None, answer.error
        self._turn()
        for environment in self.world.environments.values():
            self.engine.limits |= pools_of(environment)
        self.faults = faults

    def _heal(self) -> None:
        """Nothing goes wrong any more: what can never run is cancelled, and everything else must end."""
        self.faults = False
        self.engine.skew = 0
        self._reconnect()
        self._turn()
        for _ in range(100):  # until whatever was in transition is VALID, and may be updated
            if all(environment.status != UPDATING for environment in self.world.environments.values()):
                break
            self._pass_time(5_000)
            self._turn()
        for name in ENVIRONMENTS:
            where = arn("compute-environment", name)
            self.inbox.append((UpdateEnvironment(where, state=ENABLED, max_vcpus=VCPUS), False))
        for where in SERVICES.values() if self.trainers is not None else ():
            self.inbox.append((UpdateEnvironment(where, state=ENABLED), False))
        self.inbox.append((DeleteConsumable(SEATS), False))
        self.inbox.append((create_seats(), False))  # REPLENISHABLE: of the other kind there might never be enough
        self.inbox.append((UpdateConsumable(SEATS, "SET", 4), False))
        self.inbox.append((UpdateConsumable(TICKETS, "ADD", 10_000), False))
        for _ in range(400):
            self._pass_time(self.random.choice((100, 5_000, 61_000)) * (10 if self.trainers is not None else 1))
            self._turn()
            self.oracle.judge(self.engine.truth)
            if not any(job.closed is None for job in self.world.jobs.values()) and not self.inbox:
                break
            self._cancel_misfits()
        self._over()

    def _cancel_misfits(self) -> None:
        for job in self.world.jobs.values():
            if job.closed is None and job.asked is None and RUNNABLE in job.status:
                queue, ref, words = self.world.queues[job.queue], Ref(job.id, None), "it can never run"
                if never(self.world, queue, lane_of(job)) or not fits_of(self.world, queue, demand_of(job.shape)):
                    end = Terminate(HOME, ref, words, service=True) if job.service else Cancel(HOME, ref, words)
                    self.inbox.append((end, False))

    def _over(self) -> None:
        for _ in range(3):
            self._pass_time(1)
            self._turn()
        world = self.world
        waiting = [job.id for job in world.jobs.values() if job.closed is None]
        assert not waiting, f"healed, and these have not ended: {waiting}"
        assert world.jobs == {}, "what has ended leaves World"
        assert (world.live, world.pools, world.sites) == ({}, {}, {"": Site(self.capacity)}), "all room is free"
        assert (world.locked, world.promised) == ({}, {}), "and so are all units"
        assert not world.due, "nothing is due"
        assert next_alarm(world, self.now) is None or world.alarms, "only stale alarms are left"
        assert not self.engine.runs, f"the engine may forget everything: {self.engine.runs}"
        self.oracle.judge_end(self.engine.truth, self.store.ends())
        self.units.judge_end(self.engine.truth)
        self.quotas.judge_end(self.store.preempted())
        self.counts["preemption"] = sum(self.quotas.preempted.values())
