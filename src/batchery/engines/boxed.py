"""The life of one attempt in a container: prepared, created, started, followed, ended.

Theory of operation. One task per attempt goes through it; nothing is written down but by the runtime itself. The
container's name is made from the attempt's key, so a second create is refused; its labels say whose it is. What a lost
connection leaves unknown is asked of the runtime before anything is repeated: a start is never sent twice to what has
begun. An ended container stays until its end is acknowledged, so that a server that was killed finds its exit code.

Output is copied from the runtime's log to ours. The number of bytes in ours says where to go on after a break.
"""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec.structs import replace

from batchery.core.messages import Exited, Lost, Report, Started, Starting
from batchery.core.model import EXIT, START_FAILED, TERMINATED, TIMEOUT, WITHDRAWN, AttemptKey, ContainerEnd
from batchery.engines.containerspec import Facts, Properties, create_request, platform, properties
from batchery.engines.engine import Container, Order
from batchery.engines.logindex import LogIndex
from batchery.engines.meter import Meter
from batchery.engines.oomwatch import OomWatch
from batchery.engines.room import Share
from batchery.engines.runtime import Box, RuntimeFault

if TYPE_CHECKING:
    from batchery.engines.container import ContainerEngine

T = TypeVar("T")

OUT_OF_MEMORY: Final = "OutOfMemoryError: Container killed due to memory usage"
DAEMON: Final = "Error response from daemon: "
AGAIN_S: Final = 0.5  # between two tries to reach the runtime, and between two SIGKILLs
SHORT_S: Final = 0.25  # of a life: output is live from then on
OUTPUT_S: Final = 30.0  # how long the rest of the output may take after the end

log = logging.getLogger("batchery.container")


class NotStarted(Exception):
    """It cannot be started; the text is container.reason."""


def wall() -> int:
    return time.time_ns() // 1_000_000


class Boxed:
    """``order`` is None for one that an engine before this one began."""

    def __init__(
        self, engine: "ContainerEngine", key: AttemptKey, name: str, facts: Facts, share: Share, order: Order | None
    ) -> None:
        self.engine = engine
        self.key = key
        self.name = name  # of the container; it serves as its id
        self.facts = facts
        self.address = facts.address
        self.share = share
        self.order = order
        self.starting = 0
        self.started = 0
        self.creating = False
        self.begun = order is None  # a start was sent: it is too late to take it back
        self.cause = ""
        self.deadline = 0.0  # SIGKILL comes then, on the loop's clock
        self.doomed = asyncio.Event()
        self.hurry = asyncio.Event()
        self.exited = asyncio.Event()
        self.report: Exited | Lost | None = None
        self.index = LogIndex(facts.log_path, resume=order is None)
        self.meter: Meter | None = None
        self.oom: OomWatch | None = None
        self.task: asyncio.Task[None] | None = None

    # ---------------------------------------------------------------------------------------------- from outside

    @property
    def state(self) -> str:
        """As a survey says it."""
        if self.report is not None:
            return "ended"
        return "running" if self.started else "starting"

    def status(self) -> Report | None:
        """What is to be told of it (again); None while there is nothing to tell."""
        if self.report is not None:
            return self.report
        if self.started:
            return Started(self.key, self.started, self.address)
        return Starting(self.key, self.starting) if self.starting else None

    def doom(self, cause: str, grace: int) -> None:
        """SIGTERM now, SIGKILL after ``grace`` ms. The first cause stands, the least patience counts."""
        self.cause = self.cause or cause
        deadline = asyncio.get_running_loop().time() + grace / 1000
        if not self.doomed.is_set() or deadline < self.deadline:
            self.deadline = deadline
            self.hurry.set()
        self.doomed.set()

    def take_back(self) -> bool:
        """Asked back. False if it has begun, as far as anybody was told or can be sure."""
        if self.begun or self.starting or self.report is not None:
            return False
        self.doom(WITHDRAWN, 0)
        return True

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
        except Exception as error:  # a fault of ours, or an answer that nobody understands: the job hears of it
            log.exception("%s cannot go on", self.key)
            await self._remove()
            report = self._not_started(f"CannotInspectContainerError: {error}")
        self.index.sample(wall())
        self.report = report
        self.engine.over(self)

    async def _begin(self) -> Exited | None:
        """None once it has been started."""
        if self.order is None:
            return None
        preparing = asyncio.create_task(self._prepare(self.order))
        doomed = asyncio.create_task(self.doomed.wait())
        try:
            await asyncio.wait({preparing, doomed}, return_when=asyncio.FIRST_COMPLETED)
            if self.creating or not self.doomed.is_set():
                await preparing
        except NotStarted as error:
            await self._remove()
            return self._not_started(str(error))
        finally:
            for task in (preparing, doomed):
                task.cancel()
            await asyncio.gather(preparing, doomed, return_exceptions=True)
        if self.doomed.is_set():
            await self._remove()
            return self._not_started("")
        self.begun = True
        try:
            await self._start()
        except RuntimeFault as fault:
            await self._remove()
            return self._not_started(f"CannotStartContainerError: {DAEMON}{fault.message}")
        return None

    async def _prepare(self, order: Order) -> None:
        """Image, prolog, container. Raises NotStarted."""
        settings = self.engine.settings
        wanted = properties(order.containers[0].spec)
        await self._image(order.containers[0], wanted)
        if settings.prolog:
            self._tell_starting()
            await self._prolog(order)
        Path(self.facts.log_path).parent.mkdir(parents=True, exist_ok=True)
        with open(self.facts.log_path, "ab") as file:
            self.facts = replace(self.facts, before=file.tell())
        try:
            request = create_request(order, wanted, settings, self.engine.owner, self.facts, self.engine.room.gpus)
        except ValueError as error:
            raise NotStarted(f"CannotCreateContainerError: {error}") from None
        await self._create(order.containers[0], wanted, request)

    async def _create(self, container: Container, wanted: Properties, request: dict[str, Any]) -> None:
        settings = self.engine.settings
        for again in (True, False):
            self.creating = True
            try:
                await self._sure(lambda: self.engine.runtime.create(self.name, request, platform(wanted)))
                return
            except RuntimeFault as fault:
                if fault.status == 409 or "already in use" in fault.message:
                    return  # ours: the answer to a create before this one was lost
                if not again or "no such image" not in fault.message.lower():
                    raise NotStarted(f"CannotCreateContainerError: {DAEMON}{fault.message}") from None
            self.creating = False
            if settings.pull == "never":
                raise NotStarted(
                    f'CannotPullContainerError: image {container.image} is not here, and container.pull is "never"'
                )
            await self._pull(container, wanted)

    async def _image(self, container: Container, wanted: Properties) -> None:
        """What has to be seen to before a container can be made of it. Raises NotStarted."""
        asked, policy = platform(wanted), self.engine.settings.pull
        if policy == "always":
            await self._pull(container, wanted)
        if not asked:
            return
        here = await self._sure(lambda: self.engine.runtime.image(container.image))
        if policy == "missing" and (here is None or not here.fits(asked)):
            await self._pull(container, wanted)
            here = await self._sure(lambda: self.engine.runtime.image(container.image))
        if here is not None and not here.fits(asked):
            raise NotStarted(
                f"CannotPullContainerError: image {container.image} is for {here.system}/{here.architecture}, and "
                f"runtimePlatform asks for {asked}"
            )

    async def _pull(self, container: Container, wanted: Properties) -> None:
        self._tell_starting()
        try:
            await self.engine.pulls.get(container.image, platform(wanted), container.login)
        except RuntimeFault as fault:
            raise NotStarted(f"CannotPullContainerError: {DAEMON}{fault.message}") from None
        except OSError as error:
            raise NotStarted(f"CannotPullContainerError: {error}") from None

    async def _prolog(self, order: Order) -> None:
        """On the host, in the job's environment, its output in the job's log. Raises NotStarted."""
        Path(self.facts.log_path).parent.mkdir(parents=True, exist_ok=True)
        environment = {"PATH": os.defpath, **order.containers[0].environment, "BATCHERY_ATTEMPT": str(self.key)}
        with open(self.facts.log_path, "ab") as output:
            try:
                process = subprocess.Popen(
                    self.engine.settings.prolog,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                raise NotStarted(f"CannotStartContainerError: prolog: {error.strerror}") from None
        try:
            while (code := process.poll()) is None:
                await asyncio.sleep(0.02)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
        if code:
            raise NotStarted(f"CannotStartContainerError: prolog exited with {code}")

    async def _start(self) -> None:
        """Once: after a lost connection the runtime is asked whether it had begun. Raises RuntimeFault."""
        while True:
            try:
                await self.engine.runtime.start(self.name)
                return
            except (ConnectionError, TimeoutError):
                box = await self._sure(lambda: self.engine.runtime.inspect(self.name))
                if box is None or box.state != "created":
                    return

    # ---------------------------------------------------------------------------------------------- while it runs

    async def _watch(self) -> Exited | Lost:
        box = await self._sure(lambda: self.engine.runtime.inspect(self.name))
        if box is not None:
            self._tell_started(box)
        output = asyncio.create_task(self._follow())
        ending = asyncio.create_task(self._end())
        limit = self._limit()
        try:
            while box is not None and box.state != "exited":
                with contextlib.suppress(ConnectionError, TimeoutError, RuntimeFault):
                    await self.engine.runtime.wait(self.name)
                box = await self._sure(lambda: self.engine.runtime.inspect(self.name))
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

    def _tell_starting(self) -> None:
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
                await asyncio.wait_for(self.hurry.wait(), left)
        while True:
            await self._signal("SIGKILL")
            await asyncio.sleep(AGAIN_S)

    async def _signal(self, name: str) -> None:
        try:
            await self._sure(lambda: self.engine.runtime.kill(self.name, name))
        except RuntimeFault as fault:
            log.debug("%s to %s: %s", name, self.key, fault.message)  # it is ending by itself

    async def _follow(self) -> None:
        """Copy its output until it ends. Of one that ends soon it is asked for once, and for no more than there is:
        Podman takes half a second to see the end of what it follows.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.exited.wait(), SHORT_S)
        while True:
            try:
                with open(self.facts.log_path, "ab", buffering=0) as file:
                    await self._copy(file.fileno())
                return
            except (ConnectionError, TimeoutError):
                await asyncio.sleep(AGAIN_S)
            except (OSError, RuntimeFault) as error:
                log.warning("the output of %s is lost from here on: %s", self.key, error)
                return

    async def _copy(self, fd: int) -> None:
        known = os.fstat(fd).st_size - self.facts.before
        output = self.engine.runtime.output(self.name, follow=not self.exited.is_set())
        async with contextlib.aclosing(output):
            async for piece in output:
                if known >= len(piece):
                    known -= len(piece)
                    continue
                os.write(fd, piece[known:])
                known = 0

    # ---------------------------------------------------------------------------------------------- its end

    def _ended(self, box: Box) -> Exited:
        finished = max(box.finished, self.started)
        cause = self.cause or EXIT
        if not self.cause and self.order is None and 0 < self.facts.timeout <= finished - self.started:
            cause = TIMEOUT  # it was killed for it, or would have been, while no server was there
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

    async def _remove(self) -> None:
        with contextlib.suppress(RuntimeFault):
            await self._sure(lambda: self.engine.runtime.remove(self.name))

    async def _sure(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the runtime answers. Raises RuntimeFault."""
        while True:
            try:
                return await ask()
            except (ConnectionError, TimeoutError) as error:
                self.engine.unreachable(error)
                await asyncio.sleep(AGAIN_S)


__all__ = ["TERMINATED", "Boxed", "NotStarted"]
