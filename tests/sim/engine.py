"""A fake engine: it keeps the rules of the port, on a fake clock, and refuses to be told nonsense.

Two temperaments. *prompt*: whatever it is given begins at once, so the server alone must keep within capacity.
*queueing*: orders wait in a queue of its own, begin when there is room and when it pleases, and the server may hand
over some ahead. Like a real agent it outlives the server; a restart of it forgets what was held and may lose what ran.
"""

from dataclasses import dataclass, field
from random import Random

from batchery.core.messages import Exited, Lost, Report, Started, Starting
from batchery.core.model import (
    EXIT,
    NO_CAPACITY,
    START_FAILED,
    TERMINATED,
    TIMEOUT,
    WITHDRAWN,
    AttemptKey,
    Capacity,
    ContainerEnd,
    Resources,
)
from batchery.core.owed import ENDED, HELD, RUNS, STARTING

GRACE = 30_000  # ms between SIGTERM and SIGKILL


@dataclass
class Order:
    """What the server asks for, as far as a fake engine cares."""

    key: AttemptKey
    resources: Resources
    pool: str
    timeout: int
    slowness: int = 1  # how many times as long as others it runs


@dataclass
class Run:
    """One attempt that the engine knows."""

    order: Order
    state: str = HELD
    ready: int = 0  # when it may begin at the earliest
    started: int = 0
    ends: int = 0  # when its containers end by themselves
    code: int | None = 0
    cause: str = EXIT
    timeout: int = 0  # 0: the engine cannot keep time limits
    killed: bool = False
    end: Report | None = None


@dataclass
class Truth:
    """What really happened, for the oracle: nothing here is forgotten."""

    begun: dict[AttemptKey, int] = field(default_factory=dict)
    ended: dict[AttemptKey, Report] = field(default_factory=dict)
    alive: dict[tuple[str, int], AttemptKey] = field(default_factory=dict)


class FakeEngine:
    """``said`` collects the reports that are to go to the server."""

    def __init__(self, random: Random, queueing: bool, capacity: Capacity) -> None:
        self.random, self.queueing, self.capacity = random, queueing, capacity
        self.now = 0
        self.skew = 0  # its clock against the true one, ms
        self.epoch = 0
        self.runs: dict[AttemptKey, Run] = {}
        self.refused: set[AttemptKey] = set()  # killed or withdrawn before they came
        self.limits: dict[str, int] = {}  # the most vCPUs that a pool ever had
        self.truth = Truth()
        self.said: list[Report] = []

    # ---------------------------------------------------------------------------------------- what it is told

    def launch(self, order: Order) -> None:
        key = order.key
        run = self.runs.get(key)
        if run is not None:
            self._repeat(run)
        elif key in self.refused:
            self.said.append(Exited(key, self._at(), WITHDRAWN))
        elif key in self.truth.begun:  # noted, and no trace of it is left
            self.said.append(Lost(key, self._at(), "gone"))
        else:
            delay = self.random.choice((0, 0, 200, 3_000)) if self.queueing else 0
            run = self.runs[key] = Run(order, ready=self.now + delay)
            self._plan(run)
            self._begin_what_may()

    def _plan(self, run: Run) -> None:
        """How it will go. Pure luck, but the same luck for the same seed."""
        chance = self.random.random()
        run.code = 0 if chance < 0.75 else self.random.choice((1, 3, 137))
        if chance > 0.97:
            run.cause, run.code = START_FAILED, None
        if run.order.timeout and self.random.random() < 0.7:
            run.timeout = run.order.timeout

    def kill(self, key: AttemptKey) -> None:
        run = self.runs.get(key)
        if run is None:
            self.refused.add(key)
        elif run.state == HELD:
            self._end(run, Exited(key, self._at(), WITHDRAWN))
        elif run.end is None and not run.killed:
            run.killed = True
            run.ends = min(run.ends, self.now + self.random.choice((1, 500, GRACE)))
            run.cause, run.code = TERMINATED, self.random.choice((143, 137, 0))

    def withdraw(self, key: AttemptKey) -> None:
        run = self.runs.get(key)
        if run is None:
            self.refused.add(key)
        elif run.state == HELD:
            self._end(run, Exited(key, self._at(), WITHDRAWN))
        else:
            self._repeat(run)

    def ack(self, key: AttemptKey) -> None:
        run = self.runs.get(key)
        if run is not None and run.state == ENDED:
            del self.runs[key]

    def survey(self) -> dict[AttemptKey, str]:
        return {key: run.state for key, run in self.runs.items()}

    def reconnect(self) -> None:
        """A new connection: everything not acknowledged is said again."""
        for run in list(self.runs.values()):
            self._repeat(run)

    # ---------------------------------------------------------------------------------------- what happens to it

    def advance(self, now: int) -> None:
        """Time passes: what is over ends, in its order, and what waits may begin."""
        while True:
            going = [run for run in self.runs.values() if run.state in (STARTING, RUNS)]
            first = min(
                (run for run in going if run.ends <= now), key=lambda run: (run.ends, run.order.key), default=None
            )
            if first is None:
                break
            self.now = max(self.now, first.ends)
            self._over(first)
            self._begin_what_may()
        self.now = now
        self._begin_what_may()

    def restart(self) -> None:
        """The agent is killed and started again: what was held is forgotten, some of what ran is gone."""
        for key, run in list(self.runs.items()):
            gone = run.state in (STARTING, RUNS) and self.random.random() < 0.4
            if run.state == HELD or gone:
                del self.runs[key]
            if gone:
                self.truth.alive.pop(key[:2], None)

    def hand_back(self) -> None:
        """It has no room for one of those that it holds after all."""
        held = [run for run in self.runs.values() if run.state == HELD]
        if held:
            run = self.random.choice(held)
            self._end(run, Exited(run.order.key, self._at(), NO_CAPACITY))

    def lose_host(self) -> None:
        going = [run for run in self.runs.values() if run.state in (STARTING, RUNS)]
        if going:
            run = self.random.choice(going)
            self._end(run, Lost(run.order.key, self._at(), "i-0abc"))

    # ---------------------------------------------------------------------------------------------------- within

    def _at(self) -> int:
        return max(1, self.now + self.skew)

    def _begin_what_may(self) -> None:
        waiting: set[str] = set()
        for run in list(self.runs.values()):
            if run.state != HELD or run.order.pool in waiting:
                continue
            if self.queueing and (run.ready > self.now or not self._room(run.order)):
                waiting.add(run.order.pool)
                continue
            self._begin(run)

    def _room(self, order: Order) -> bool:
        going = [run.order for run in self.runs.values() if run.state in (STARTING, RUNS)]
        vcpus = sum(other.resources.vcpus for other in going if other.pool == order.pool)
        memory = sum(other.resources.memory for other in going)
        fits = vcpus + order.resources.vcpus <= self.limits[order.pool]
        return fits and memory + order.resources.memory <= self.capacity.memory

    def _begin(self, run: Run) -> None:
        key = run.order.key
        assert self._room(run.order), f"{key}: what runs exceeds what there is"
        assert key not in self.truth.begun, f"{key}: an attempt runs twice"
        assert key[:2] not in self.truth.alive, f"{key}: its task is alive already as {self.truth.alive[key[:2]]}"
        self.truth.begun[key] = self.now
        self.truth.alive[key[:2]] = key
        run.started = self.now
        takes = self.random.choice((1, 20, 20, 300, 2_000, 2_000, 30_000, 100_000))
        run.ends = self.now + takes * run.order.slowness
        if run.timeout and run.ends > self.now + run.timeout:
            run.ends, run.cause, run.code = self.now + run.timeout, TIMEOUT, 137
        run.state = STARTING if run.cause == START_FAILED else RUNS
        if run.state == STARTING or self.random.random() < 0.5:
            self.said.append(Starting(key, self._at()))
        if run.state == RUNS:
            self.said.append(Started(key, self._at(), "10.0.0.1"))

    def _over(self, run: Run) -> None:
        started = 0 if run.state == STARTING else max(1, run.started + self.skew)
        ends = (ContainerEnd("default", run.code if started else None),)
        self._end(run, Exited(run.order.key, self._at(), run.cause, started, ends, cpu_ms=7, peak_mib=3))

    def _end(self, run: Run, report: Report) -> None:
        key = run.order.key
        if run.state in (STARTING, RUNS):
            self.truth.alive.pop(key[:2])
        run.state, run.end = ENDED, report
        self.truth.ended[key] = report
        self.said.append(report)

    def _repeat(self, run: Run) -> None:
        if run.end is not None:
            self.said.append(run.end)
        elif run.state == RUNS:
            self.said.append(Started(run.order.key, self._at(), "10.0.0.1"))
        elif run.state == STARTING:
            self.said.append(Starting(run.order.key, self._at()))
