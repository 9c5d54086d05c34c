"""The life of one attempt in a container: prepared, created, started, followed, ended.

Theory of operation. One task per attempt goes through it; nothing is written down but by the runtime itself. The
container's name is made from the attempt's key, so a second create is refused; its labels say whose it is. What a lost
connection leaves unknown is asked of the runtime before anything is repeated: a start is never sent twice to what has
begun. An ended container stays until its end is acknowledged, so that a server that was killed finds its exit code.

"""

import asyncio
import contextlib
import logging
import socket
import time
from typing import TYPE_CHECKING, Final, TypeVar

from batchery.core.messages import Exited, Lost, Started, Starting
from batchery.core.model import EXIT, START_FAILED, TIMEOUT, WITHDRAWN, AttemptKey, ContainerEnd
from batchery.engines.boxoutput import follow
from batchery.engines.containerspec import Facts
from batchery.engines.engine import Order
from batchery.engines.lives import Life
from batchery.engines.logindex import LogIndex
from batchery.engines.making import DAEMON, Making, NoImage, NotStarted
from batchery.engines.meter import Meter
from batchery.engines.oomwatch import OomWatch
from batchery.engines.room import Share
from batchery.engines.runtime import Box, RuntimeFault

if TYPE_CHECKING:
    from batchery.engines.container import ContainerEngine

T = TypeVar("T")

OUT_OF_MEMORY: Final = "OutOfMemoryError: Container killed due to memory usage"
AGAIN_S: Final = 0.5  # between two SIGKILLs
OUTPUT_S: Final = 30.0  # how long the rest of the output may take after the end

log = logging.getLogger("batchery.container")


class Elsewhere(Exception):
    """It goes on as a host process."""


def wall() -> int:
    return time.time_ns() // 1_000_000


class Boxed(Life):
    """``order`` is None for one that an engine before this one began."""

    def __init__(
        self, engine: "ContainerEngine", key: AttemptKey, name: str, facts: Facts, share: Share, order: Order | None
    ) -> None:
        super().__init__(key, begun=order is None)
        self.engine = engine
        self.name = name  # of the container; it serves as its id
        self.facts = facts
        self.address = facts.address
        self.share = share
        self.order = order
        self.deadline = 0.0  # SIGKILL comes then, on the loop's clock
        self.doomed = asyncio.Event()
        self.hurry = asyncio.Event()
        self.exited = asyncio.Event()
        self.index = LogIndex(facts.log_path, resume=order is None)
        self.meter: Meter | None = None
        self.oom: OomWatch | None = None
        self.task: asyncio.Task[None] | None = None
        self.pod_name = ""  # of several: what their names begin with
        self.gate: asyncio.Event | None = None  # its turn to start
        self.prepared = asyncio.Event()

    # ---------------------------------------------------------------------------------------------- from outside

    def doom(self, cause: str, grace: int) -> None:
        self.cause = self.cause or cause
        deadline = asyncio.get_running_loop().time() + grace / 1000
        if not self.doomed.is_set() or deadline < self.deadline:
            self.deadline = deadline
            self.hurry.set()
        self.doomed.set()

    def sample(self, now: int) -> None:
        """Twice a second."""
        self.index.sample(now)
        if self.meter is not None:
            self.meter.sample()

    # ---------------------------------------------------------------------------------------------- its life

    async def live(self) -> None:
        """All of it; the engine hears of the end."""
        try:
            report = await self._begin() or await self._watch()
        except asyncio.CancelledError:
            raise
        except Elsewhere:
            return
        except Exception as error:  # a fault of ours, or an answer that nobody understands: the job hears of it
            log.exception("%s cannot go on", self.key)
            await self._remove()
            report = self._not_started(f"CannotInspectContainerError: {error}")
        self.index.sample(wall())
        self.report = report
        self.engine.over(self)

    async def _begin(self) -> Exited | None:
        """None once it has been started."""
        if self.begun:
            return None
        making = Making(self, self.order) if self.order is not None else None
        preparing = asyncio.create_task(self._ready(making))
        doomed = asyncio.create_task(self.doomed.wait())
        try:
            await asyncio.wait({preparing, doomed}, return_when=asyncio.FIRST_COMPLETED)
            if (making is not None and making.creating) or not self.doomed.is_set():
                await preparing
        except NotStarted as error:
            await self._remove()
            if isinstance(error, NoImage) and not self.doomed.is_set() and self.engine.elsewhere(self, str(error)):
                raise Elsewhere from None
            return self._not_started(str(error))
        finally:
            for task in (preparing, doomed):
                task.cancel()
            await asyncio.gather(preparing, doomed, return_exceptions=True)
        if self.doomed.is_set():
            await self.engine.prologs.end(self.key)
            await self._remove()
            return self._not_started("")
        self.begun = True
        if self.facts.timeout:
            self.engine.serving.guard(self.engine.owner)
        try:
            await self._start()
        except RuntimeFault as fault:
            await self._remove()
            return self._not_started(f"CannotStartContainerError: {DAEMON}{fault.message}")
        return None

    async def _ready(self, making: Making | None) -> None:
        """It is made, and its turn has come. Raises NotStarted."""
        if making is not None:
            await making.run()
            making.creating = making.creating and self.gate is None
        if self.gate is not None:
            self.prepared.set()
            if not self.doomed.is_set():  # while it was made, which nothing interrupts
                await self.gate.wait()

    async def _start(self) -> None:
        """Once: after a lost connection the runtime is asked whether it had begun. Raises RuntimeFault."""
        while True:
            try:
                await self.engine.runtime.start(self.name)
                return
            except (ConnectionError, TimeoutError):
                box = await self.engine.sure(lambda: self.engine.runtime.inspect(self.name))
                if box is None or box.state != "created":
                    return

    # ---------------------------------------------------------------------------------------------- while it runs

    async def _watch(self) -> Exited | Lost:
        box = await self.engine.sure(lambda: self.engine.runtime.inspect(self.name))
        if box is not None:
            self._tell_started(box)
        output = asyncio.create_task(follow(self))
        ending = asyncio.create_task(self._end())
        limit = self._limit()
        try:
            while box is not None and box.state != "exited":
                with contextlib.suppress(ConnectionError, TimeoutError, RuntimeFault):
                    await self.engine.runtime.wait(self.name)
                box = await self.engine.sure(lambda: self.engine.runtime.inspect(self.name))
                if box is not None and box.state != "exited":
                    await asyncio.sleep(0.02)
            self.exited.set()
            if box is not None:
                await asyncio.wait({output}, timeout=OUTPUT_S)
        finally:
            for task in (output, ending):
                task.cancel()
            await asyncio.gather(output, ending, return_exceptions=True)
            if limit is not None:
                limit.cancel()
            if self.oom is not None:
                self.oom.close()
        return Lost(self.key, wall(), socket.gethostname()) if box is None else self._ended(box)

    def _tell_started(self, box: Box) -> None:
        self.started = box.started or wall()
        self.meter = Meter(box.pid)
        if self.engine.name == "podman":
            self.oom = OomWatch(box.pid)
        self.meter.sample()
        asyncio.get_running_loop().call_later(0.1, self.meter.sample)
        self.address = box.address or self.facts.address
        self.engine.tell(Started(self.key, self.started, self.address))

    def tell_starting(self) -> None:
        if not self.starting:
            self.starting = wall()
            self.engine.tell(Starting(self.key, self.starting))

    def _limit(self) -> asyncio.TimerHandle | None:
        if not self.facts.timeout:
            return None
        left = self.started + self.facts.timeout - wall()
        return asyncio.get_running_loop().call_later(max(0, left) / 1000, self._late)

    def _late(self) -> None:
        if not self.doomed.is_set():
            self.doom(TIMEOUT, self.facts.grace)

    async def _end(self) -> None:
        """Once doomed: SIGTERM, patience, and SIGKILL until it is over."""
        await self.doomed.wait()
        await self._signal("SIGTERM")
        while (left := self.deadline - asyncio.get_running_loop().time()) > 0:
            self.hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.hurry.wait()
        while True:
            await self._signal("SIGKILL")
            await asyncio.sleep(AGAIN_S)

    async def _signal(self, name: str) -> None:
        try:
            await self.engine.sure(lambda: self.engine.runtime.kill(self.name, name))
        except RuntimeFault as fault:
            log.debug("%s to %s: %s", name, self.key, fault.message)  # it is ending by itself

    # ---------------------------------------------------------------------------------------------- its end

    def _ended(self, box: Box) -> Exited:
        finished = max(box.finished, self.started)
        cause = self.cause or EXIT
        if self.order is None and self.overran(self.facts.timeout, finished):
            cause = TIMEOUT
        out_of_memory = box.out_of_memory or (self.oom is not None and self.oom.seen)
        reason = OUT_OF_MEMORY if out_of_memory and box.exit_code else ""
        cpu, peak = (self.meter.cpu_ms, self.meter.peak_mib) if self.meter is not None else (0, 0)
        if reason:
            peak = max(peak, self.share.memory)
        end = ContainerEnd(self.facts.name, box.exit_code, reason)
        return Exited(self.key, finished, cause, self.started, (end,), cpu, peak)

    def _not_started(self, reason: str) -> Exited:
        end = ContainerEnd(self.facts.name, None, reason)
        cause = self.cause or START_FAILED
        return Exited(self.key, wall(), cause, containers=() if cause == WITHDRAWN else (end,))

    async def clear(self) -> None:
        """Its end is committed: nothing is left of it. Raises RuntimeFault and OSError."""
        self.engine.prologs.forget(self.key)
        await self.engine.runtime.remove(self.name)

    async def _remove(self) -> None:
        with contextlib.suppress(RuntimeFault):
            await self.engine.sure(lambda: self.engine.runtime.remove(self.name))
