"""An attempt of several containers in a runtime: each has a life as in boxed.py, and the machine of core/pod.py says
when it begins and ends.

Theory of operation. All containers are made before the first begins, so a runtime that has any of them has begun knows
all of them, with all that their requests say, and a server that comes later goes on from what the runtime says of
each; an attempt of which none has begun is made anew. To the engine this is one attempt like any other.
"""

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from batchery.core.messages import Exited, Lost, Report, Started, Starting
from batchery.core.model import EXIT, START_FAILED, TERMINATED, TIMEOUT, WITHDRAWN, AttemptKey, ContainerEnd
from batchery.core.pod import BEGIN, KILL, Act, Pod
from batchery.engines.boxed import OUT_OF_MEMORY, Boxed, wall
from batchery.engines.clocks import clock
from batchery.engines.containerspec import Facts, PodFacts
from batchery.engines.engine import Order
from batchery.engines.lives import Life
from batchery.engines.podspec import name_of, owner_of, parts_of, shares, single, volumes_of
from batchery.engines.room import Share
from batchery.engines.runtime import Box, RuntimeFault

if TYPE_CHECKING:
    from batchery.engines.container import ContainerEngine

LOOK_S: Final = 0.02  #: between two looks whether all are made
MARGIN_MS: Final = 5000  #: beyond the containers' own times, before all is killed

log = logging.getLogger("batchery.container")


class NoPrologs:
    """Of all containers but the first: one prolog is enough."""

    def __bool__(self) -> bool:
        return False

    async def end(self, key: AttemptKey) -> None:
        """There is none."""


NO_PROLOGS: Final = NoPrologs()


class Seat:
    """What one container sees of the engine: its words go to the pod."""

    def __init__(self, pod: "PodBoxed", name: str, first: bool, pull: str) -> None:
        self._pod, self._name = pod, name
        engine = pod.engine
        self.owner = engine.owner
        self.runtime = engine.runtime
        self.name = engine.name
        self.room = engine.room
        self.pulls = engine.pulls
        self.serving = engine.serving
        self.prologs = engine.prologs if first else NO_PROLOGS
        self.host = None
        self.sure = engine.sure
        settings = engine.settings
        self.settings = replace(settings, pull=pull) if pull and settings.pull != "never" else settings
        self.unreachable = engine.unreachable

    def tell(self, report: Report) -> None:
        self._pod.heard(self._name, report)

    def elsewhere(self, boxed: Boxed, why: str) -> bool:
        """Several containers do not go on as host processes."""
        return False

    def over(self, boxed: Boxed) -> None:
        self._pod.closed(self._name, boxed)


class PodBoxed(Life):
    """``order`` is None for one that an engine before this one began."""

    def __init__(
        self, engine: "ContainerEngine", key: AttemptKey, name: str, facts: PodFacts, share: Share, order: Order | None
    ) -> None:
        super().__init__(key, begun=order is None)
        self.engine = engine
        self.name = name
        self.facts = facts
        self.share = share
        self.order = order
        self.pod = Pod(facts.parts)
        self.each: dict[str, Boxed] = {}
        self.task: asyncio.Task[None] | None = None
        self._lost: Lost | None = None
        self._stir = asyncio.Event()
        self._kill_at = 0  # on `clock`: everything gets SIGKILL then
        self._cpu = self._peak = 0
        self._known: set[str] = set()  # had begun before this engine did
        self._settled: set[str] = set()  # and had ended
        self._finishing = False

    # ---------------------------------------------------------------------------------------------- from outside

    def doom(self, cause: str, grace: int) -> None:
        """Each gets SIGTERM in its turn and SIGKILL after its own time; with no grace at once."""
        self.cause = self.cause or cause
        patience = max(grace, sum(part.stop_timeout for part in self.facts.parts)) + MARGIN_MS if grace else 0
        at = clock() + patience
        self._kill_at = min(self._kill_at or at, at)
        self.pod.stop()
        self._stir.set()

    def sample(self, now: int) -> None:
        for boxed in self.each.values():
            boxed.sample(now)

    # ---------------------------------------------------------------------------------------------- its containers

    def _seat(self, number: int, name: str, facts: Facts, order: Order | None) -> Boxed:
        extras = order.containers[0].extras if order is not None else None
        seat: Any = Seat(self, name, number == 0, extras.pull if extras else "")
        boxed = Boxed(seat, self.key, name_of(self.name, number), facts, self.share, order)
        boxed.gate = asyncio.Event()
        self.each[name] = boxed
        return boxed

    def _make(self, order: Order) -> None:
        gpus = list(self.share.gpus)
        for number, container in enumerate(order.containers):
            own = tuple(gpus.pop(0) for _ in range(min(container.resources.gpus, len(gpus))))
            facts = Facts(
                *(container.name, container.log_path, 0, container.stop_timeout),
                *(self.share.pool, self.share.vcpus, self.share.memory, own),
                pod=self.facts,
                address=order.address if self.engine.settings.network == "host" else "",
            )
            boxed = self._seat(number, container.name, facts, single(order, container))
            boxed.pod_name = self.name

    def adopt(self, found: dict[str, tuple[Box, Facts]]) -> None:
        """What the runtime has of it. What is not there any more never began, or is lost with its code."""
        if self.facts.timeout:
            self.engine.serving.guard(self.engine.owner)
        ended: list[tuple[int, str]] = []
        for number, part in enumerate(self.facts.parts):
            if part.name not in found:
                self.pod.refused(part.name, "CannotStartContainerError: it is not there any more")
                continue
            box, facts = found[part.name]
            boxed = self._seat(number, part.name, facts, None)
            boxed.name = box.id
            boxed.begun = box.state != "created"
            if boxed.begun:
                boxed.started = box.started
                self._known.add(part.name)
                self.pod.begun(part.name, clock() - (wall() - box.started))
            if box.state == "exited":
                ended.append((box.finished, part.name))
        for _, name in sorted(ended):  # in their order, so that the first to fail speaks for all
            self._settled.add(name)
            box = found[name][0]
            self.pod.ended(name, box.exit_code, OUT_OF_MEMORY if box.out_of_memory and box.exit_code else "")
        self.starting = min((boxed.started for boxed in self.each.values() if boxed.started), default=wall())
        if self.pod.running:
            self.started = max(boxed.started for boxed in self.each.values())
        last = max((box.finished for box, _ in found.values() if box.state == "exited"), default=0)
        if self.pod.over and self.overran(self.facts.timeout, last):
            self.cause = TIMEOUT

    # ---------------------------------------------------------------------------------------------- what it hears

    def heard(self, name: str, report: Report) -> None:
        if isinstance(report, Started):
            self.address = self.address or report.address
            if name not in self._known:
                self.pod.begun(name, clock())
                self._stir.set()
        elif isinstance(report, Starting):
            self._tell_starting()

    def _tell_starting(self) -> None:
        if not self.starting:
            self.starting = wall()
            self.engine.tell(Starting(self.key, self.starting))

    def closed(self, name: str, boxed: Boxed) -> None:
        report = boxed.report
        if name in self._settled or self._finishing:
            return
        if isinstance(report, Lost):
            self._lost = report
            self.pod.ended(name, 137)
            self.pod.stop()
        elif isinstance(report, Exited):
            end = report.containers[0] if report.containers else ContainerEnd(name)
            self._cpu += report.cpu_ms
            self._peak += report.peak_mib
            if end.exit_code is None:
                self.pod.refused(name, end.reason)
            else:
                self.pod.ended(name, end.exit_code, end.reason)
        self._stir.set()

    # ---------------------------------------------------------------------------------------------- its life

    async def live(self) -> None:
        """All of it; the engine hears of the end."""
        try:
            await self._live()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a fault of ours: the job hears of it
            log.exception("%s cannot go on", self.key)
            ends = (ContainerEnd(self.facts.parts[0].name, None, f"CannotInspectContainerError: {error}"),)
            self.report = Exited(self.key, wall(), self.cause or START_FAILED, containers=ends)
            await self.clear()
        finally:
            tasks = [boxed.task for boxed in self.each.values() if boxed.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.engine.over(self)

    async def _live(self) -> None:
        if self.order is not None:
            await self._prepare(self.order)
        else:
            if (told := self.status()) is not None:
                self.engine.tell(told)
            for boxed in self.each.values():  # of one that has ended the rest of its output is copied
                boxed.task = asyncio.create_task(boxed.live())
        while True:
            self._stir.clear()
            hurry = bool(self._kill_at) and clock() >= self._kill_at
            if hurry:
                self.pod.stop(hurry=True)
            for act in self.pod.step(clock()):
                self._do(act)
            if self.pod.running and not self.started:
                self._tell_started()
            if self.pod.over:
                break
            await self._wait()
        await self._finish()

    async def _prepare(self, order: Order) -> None:
        """Volumes, then all containers, made and not begun; one that cannot be made is told to the pod."""
        try:
            for name, memory in volumes_of(order).items():
                where = await self.engine.runtime.make_volume(f"{self.name}-{name}", memory)
                self._own(where)
        except (RuntimeFault, OSError) as fault:
            self.pod.refused(self.facts.parts[0].name, f"CannotCreateContainerError: {fault}")
            self.pod.stop()
            return
        self._make(order)
        if shares(order):  # others can only join what is there
            await self._made([self.each[owner_of(self.facts.parts)]])
        await self._made(list(self.each.values()))

    async def _made(self, some: list[Boxed]) -> None:
        """Begin their lives, until each is made or cannot be; or until one that cannot be ends it all."""
        if self.pod.stopping:
            return
        for boxed in some:
            boxed.task = boxed.task or asyncio.create_task(boxed.live())
        while not self.pod.stopping and not all(one.prepared.is_set() or one.report for one in some):
            self._stir.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._stir.wait()

    def _own(self, where: str) -> None:
        """fsGroup: scratch space belongs to that group, as far as this process may say so."""
        if self.facts.group >= 0 and where:
            with contextlib.suppress(OSError):
                os.chown(where, -1, self.facts.group)
                os.chmod(where, 0o2775)

    async def _wait(self) -> None:
        """Until something happens or is due."""
        times = [at for at in (self.pod.wake, self._kill_at or None) if at is not None]
        if self.facts.timeout and self.started and not self.cause:
            limit = clock() + self.started + self.facts.timeout - wall()
            if limit <= clock():
                self.doom(TIMEOUT, 1)
                return
            times.append(limit)
        patience = max(0.01, (min(times) - clock()) / 1000) if times else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._stir.wait()

    def _do(self, act: Act) -> None:
        boxed = self.each[act.name]
        if act.what == BEGIN:
            if boxed.report is not None:
                return
            self._tell_starting()
            self.begun = True
            if self.facts.timeout:
                self.engine.serving.guard(self.engine.owner)
            assert boxed.gate is not None
            boxed.gate.set()
        else:
            part = next(part for part in self.facts.parts if part.name == act.name)
            boxed.doom(TERMINATED, 0 if act.what == KILL else part.stop_timeout)

    def _tell_started(self) -> None:
        self.started = wall()
        self.engine.tell(Started(self.key, self.started, self.address))

    async def _finish(self) -> None:
        """What was made and never began goes."""
        self._finishing = True
        for boxed in self.each.values():
            if boxed.report is None:
                boxed.doom(WITHDRAWN, 0)
        await asyncio.gather(*(boxed.task for boxed in self.each.values() if boxed.task is not None))
        now = wall()
        if self._lost is not None and not self.cause:
            self.report = replace(self._lost, key=self.key)
            return
        if self.cause == WITHDRAWN and not self.begun:
            self.report = Exited(self.key, now, WITHDRAWN)
            return
        cause = self.cause or self.pod.cause
        first = min((boxed.started for boxed in self.each.values() if boxed.started), default=0)
        started = self.started or (first if cause == EXIT else 0)
        self.report = Exited(self.key, max(now, started), cause, started, self.pod.ends, self._cpu, self._peak)

    async def clear(self) -> None:
        """Nothing of it is left in the runtime. Raises RuntimeFault or OSError."""
        parts = self.facts.parts
        owner = owner_of(parts)
        for number in sorted(
            range(len(parts)), key=lambda number: parts[number].name == owner
        ):  # the others lean on it
            await self.engine.runtime.remove(name_of(self.name, number))
        for volume in self.facts.volumes:
            await self.engine.runtime.remove_volume(f"{self.name}-{volume}")


def pod_of(engine: "ContainerEngine", order: Order, name: str, share: Share) -> PodBoxed:
    """An order of several containers that may begin."""
    facts = PodFacts(parts_of(order), order.timeout, tuple(volumes_of(order)), order.sharing.group)
    return PodBoxed(engine, order.key, name, facts, share, order)
