"""An engine in memory that does what it is told: for tests, users' own included.

No process, no clock, no task of its own: everything happens inside the calls, in order, and is deterministic.

    engine = FakeEngine(lambda order: Script(exit_code=3))       # every job ends at once, with 3
    engine = FakeEngine(lambda order: Script(ends=False))        # every job runs until engine.finish(key)
    engine = FakeEngine(mode="queue")                            # every job waits for engine.begin(key), as in Slurm
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Literal

from msgspec import Struct

from batchery.core.messages import Exited, Lost, Report, Started
from batchery.core.model import EXIT, START_FAILED, TERMINATED, TIMEOUT, WITHDRAWN, AttemptKey, Capacity, ContainerEnd
from batchery.engines.engine import Order, Survey
from batchery.engines.room import Room, Share
from batchery.engines.wire import Task, task_of


class Script(Struct, frozen=True):
    """What one attempt is to do."""

    exit_code: int = 0
    reason: str = ""
    ends: bool = True  #: at once; else it runs until `finish`, `lose`, `time_out` or a kill
    start_error: str = ""  #: it cannot be started, for this reason
    term: int | None = 143  #: exit code when killed; None: it goes on until `finish`


class _Run(Struct):
    name: str  # of its container
    share: Share
    started: int
    cause: str = ""  # why it was killed


class FakeEngine:
    """Mode "at once": what has room begins when it is launched. Mode "queue": it also waits for `begin`."""

    name = "fake"

    def __init__(
        self,
        script: Callable[[Order], Script] | None = None,
        *,
        mode: Literal["at once", "queue"] = "at once",
        memory: int = 1 << 20,
        gpus: int = 0,
        ahead: int = 0,
        clock: Callable[[], int] = lambda: 1,
    ) -> None:
        self.script = script or (lambda order: Script())
        self.mode = mode
        self.clock = clock
        self.orders: dict[AttemptKey, Order] = {}  #: every order ever taken
        self.begun: list[AttemptKey] = []  #: in the order they began; a key that is there twice ran twice
        self._capacity = Capacity(memory, gpus, True, ahead)
        self._room = Room(memory, gpus)
        self._waiting: dict[AttemptKey, Task] = {}  # mode "queue"
        self._running: dict[AttemptKey, _Run] = {}
        self._ended: dict[AttemptKey, Report] = {}
        self._over: set[AttemptKey] = set()  # acknowledged
        self._refused: set[AttemptKey] = set()
        self._inbox: list[Report] = []
        self._arrived = asyncio.Event()
        self._closed = False

    async def start(self) -> None:
        """As a new server would find it: everything that is not acknowledged is reported again."""
        self._closed = False
        self.repeat()

    async def close(self) -> None:
        self._closed = True
        self._arrived.set()

    def capacity(self) -> Capacity:
        return self._capacity

    def facts(self) -> dict[str, str]:
        return {"engine": self.name, "mode": self.mode}

    # ---------------------------------------------------------------------------------------------- effects

    async def launch(self, orders: list[Order]) -> None:
        for order in orders:
            key = order.key
            if key in self._running or key in self._ended:
                self._repeat(key)
            elif key in self._refused:
                self._end(Exited(key, self.clock(), WITHDRAWN))
            elif key not in self._over and key not in self._waiting and key not in self._room.held:
                self.orders[key] = order
                (self._waiting if self.mode == "queue" else self._room.held)[key] = task_of(
                    order, order.containers[0].command, {}
                )
        self._admit()

    async def kill(self, keys: list[AttemptKey], grace: int) -> None:
        for key in keys:
            if key in self._running:
                self._kill(key, TERMINATED)
            elif key in self._ended:
                self._repeat(key)
            else:
                self._refuse(key)
        self._admit()

    async def withdraw(self, keys: list[AttemptKey]) -> None:
        for key in keys:
            if key in self._running or key in self._ended:
                self._repeat(key)
            elif key not in self._over and not self._refuse(key):
                self._end(Exited(key, self.clock(), WITHDRAWN))
        self._admit()

    async def survey(self) -> dict[AttemptKey, Survey]:
        found = {key: Survey(key, "held") for key in (*self._waiting, *self._room.held)}
        found |= {key: Survey(key, "running") for key in self._running}
        return found | {key: Survey(key, "ended", end) for key, end in self._ended.items()}

    async def ack(self, keys: list[AttemptKey]) -> None:
        for key in keys:
            if self._ended.pop(key, None) is not None:
                self._over.add(key)

    async def reports(self) -> AsyncIterator[list[Report]]:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._inbox:
                batch, self._inbox = self._inbox, []
                yield batch
            elif self._closed:
                return

    # ---------------------------------------------------------------------------------------------- the script

    @property
    def running(self) -> list[AttemptKey]:
        """What runs, in the order it began."""
        return list(self._running)

    @property
    def held(self) -> list[AttemptKey]:
        """What has not begun."""
        return [*self._waiting, *self._room.held]

    @property
    def queued(self) -> list[AttemptKey]:
        """Mode "queue": what waits for `begin`."""
        return list(self._waiting)

    def begin(self, key: AttemptKey) -> None:
        """Mode "queue": its turn has come; it begins when there is room."""
        self._room.held[key] = self._waiting.pop(key)
        self._admit()

    def finish(self, key: AttemptKey, exit_code: int = 0, reason: str = "") -> None:
        """It ends by itself (or from the kill that it was ignoring)."""
        self._stop(key, exit_code, reason)
        self._admit()

    def time_out(self, key: AttemptKey) -> None:
        """Its time limit is reached."""
        self._kill(key, TIMEOUT)
        self._admit()

    def lose(self, key: AttemptKey) -> None:
        """It is gone, and nobody knows how it ended."""
        self._room.give(self._running.pop(key).share)
        self._end(Lost(key, self.clock(), "i-fake"))
        self._admit()

    def repeat(self) -> None:
        """Report again what is not acknowledged, as after a reconnect."""
        for key in (*self._running, *self._ended):
            self._repeat(key)

    # ---------------------------------------------------------------------------------------------- inside

    def _admit(self) -> None:
        begun = True
        while begun:  # one that ends at once makes room for the next
            begun = False
            for task in self._room.next_ones():
                begun = True
                self._begin(task, self._room.take(task))

    def _begin(self, task: Task, share: Share) -> None:
        key = task.key
        script = self.script(self.orders[key])
        if script.start_error:
            self._room.give(share)
            end = ContainerEnd(task.name, None, script.start_error)
            self._end(Exited(key, self.clock(), START_FAILED, containers=(end,)))
            return
        self.begun.append(key)
        self._running[key] = _Run(task.name, share, self.clock())
        self._say(Started(key, self.clock()))
        if script.ends:
            self._stop(key, script.exit_code, script.reason)

    def _kill(self, key: AttemptKey, cause: str) -> None:
        run = self._running[key]
        run.cause = run.cause or cause
        code = self.script(self.orders[key]).term
        if code is not None:
            self._stop(key, code, "")

    def _stop(self, key: AttemptKey, exit_code: int, reason: str) -> None:
        run = self._running.pop(key)
        self._room.give(run.share)
        end = ContainerEnd(run.name, exit_code, reason)
        self._end(Exited(key, self.clock(), run.cause or EXIT, run.started, (end,)))

    def _refuse(self, key: AttemptKey) -> bool:
        """Never to be begun. True if it was held: that is told."""
        self._refused.add(key)
        held = self._waiting.pop(key, None) or self._room.held.pop(key, None)
        if held is not None:
            self._end(Exited(key, self.clock(), WITHDRAWN))
        return held is not None

    def _repeat(self, key: AttemptKey) -> None:
        if key in self._ended:
            self._say(self._ended[key])
        else:
            self._say(Started(key, self._running[key].started))

    def _end(self, report: Report) -> None:
        self._ended[report.key] = report
        self._say(report)

    def _say(self, report: Report) -> None:
        self._inbox.append(report)
        self._arrived.set()
