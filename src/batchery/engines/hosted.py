"""An attempt of the container engine that runs as a host process, since its image cannot be had.

With `engine = "auto"` the process engine stands in, image by image. Here is what the container engine keeps of such an
attempt: the same room as a container would hold, and the reports of the process engine, handed on. What it holds is
noted in a file, DATA/hosted/<task id>, before the process engine hears of it, so that a later server counts it again.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from batchery.core.messages import Exited, Lost, Report, Started
from batchery.core.model import AttemptKey, task_id
from batchery.engines.engine import Engine, Order, Survey
from batchery.engines.room import Share
from batchery.engines.wire import S_RUNNING

if TYPE_CHECKING:
    from batchery.engines.container import ContainerEngine

AGAIN_S: Final = 60.0  # after a failed pull, until the next one of that image

log = logging.getLogger("batchery.container")


class Hosted:
    """What the container engine sees of it; the members are those of `Boxed`."""

    task = None

    def __init__(
        self, host: "HostSide", key: AttemptKey, share: Share, running: bool = False, told: Report | None = None
    ) -> None:
        self.key = key
        self.share = share
        self.report: Exited | Lost | None = None
        self._host = host
        self._told = told
        self._running = running

    @property
    def state(self) -> str:
        if self.report is not None:
            return "ended"
        return "running" if self._running else "starting"

    def status(self) -> Report | None:
        return self.report or self._told

    def heard(self, report: Report) -> None:
        """From the process engine."""
        if isinstance(report, Exited | Lost):
            self.report = report
        else:
            self._told = report
            self._running = isinstance(report, Started)

    def doom(self, cause: str, grace: int) -> None:
        self._host.later(self._host.engine.kill([self.key], grace))

    def take_back(self) -> bool:
        if self._told is not None or self._running or self.report is not None:
            return False
        self._host.later(self._host.engine.withdraw([self.key]))
        return True

    def sample(self, now: int) -> None:
        """The process engine's agent does."""

    async def clear(self) -> None:
        await self._host.forget(self.key)


class HostSide:
    """The process engine beside a container engine, and what is known of images that cannot be had."""

    def __init__(self, engine: Engine, data: Path) -> None:
        self.engine = engine
        self._notes = data / "hosted"
        self._missing: dict[str, tuple[float, str]] = {}  # image -> until when that is believed, and why
        self._boxes: ContainerEngine | None = None
        self._aside: set[asyncio.Task[None]] = set()
        self._relay: asyncio.Task[None] | None = None

    async def start(self, boxes: "ContainerEngine") -> None:
        """Find what an engine before this one had running. Raises EngineError."""
        self._boxes = boxes
        self._notes.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self.engine.start()
        found = await self.engine.survey()
        for key, survey in found.items():
            boxes.take_in(self._again(key, survey))
        known = {task_id(key) for key in found}
        for note in self._notes.iterdir():
            if note.name not in known:
                note.unlink()
        self._relay = asyncio.create_task(self._hand_on(boxes))

    def _again(self, key: AttemptKey, survey: Survey) -> Hosted:
        try:
            share = msgspec.json.decode((self._notes / task_id(key)).read_bytes(), type=Share)
        except (OSError, msgspec.DecodeError):
            share = Share("", 0, 0)  # it began when only the process engine was used
        hosted = Hosted(self, key, share, survey.state == S_RUNNING)
        if survey.end is not None:
            hosted.heard(survey.end)
        return hosted

    async def _hand_on(self, boxes: "ContainerEngine") -> None:
        async for batch in self.engine.reports():
            for report in batch:
                boxes.heard(report)

    async def close(self) -> None:
        if self._relay is not None:
            self._relay.cancel()
            await asyncio.gather(self._relay, return_exceptions=True)
        if self._aside:
            await asyncio.wait(self._aside, timeout=10)
        await self.engine.close()

    def why_missing(self, image: str) -> str:
        """Why this image could not be had a moment ago; "" if that is not so, or long ago."""
        until, why = self._missing.get(image, (0.0, ""))
        return why if time.monotonic() < until else ""

    def lacks(self, image: str, why: str) -> None:
        """It could not be had: said once for each time that it was tried."""
        if not self.why_missing(image):
            log.warning("Image %s cannot be had, so its jobs run as processes of this host: %s", image, why)
            self._missing[image] = (time.monotonic() + AGAIN_S, why)

    def facts(self) -> str:
        """Which images' jobs run on the host at the moment."""
        missing = [image for image in self._missing if self.why_missing(image)]
        return (
            f"host processes instead of {', '.join(missing)}"
            if missing
            else "used; host processes for what cannot be had"
        )

    def take(self, order: Order, share: Share, gpus: int, told: Report | None) -> Hosted:
        """Run it here. ``gpus``: how many the host has; ``told``: what was said of it so far."""
        (self._notes / order.task_id).write_bytes(msgspec.json.encode(share))
        self.again(order, share, gpus)
        return Hosted(self, order.key, share, told=told)

    def again(self, order: Order, share: Share, gpus: int) -> None:
        """The process engine begins it, or tells again what it knows of it."""
        container = order.containers[0].on_host or order.containers[0]
        if gpus:
            visible = ",".join(str(index) for index in share.gpus)
            seen = {"CUDA_VISIBLE_DEVICES": visible, "NVIDIA_VISIBLE_DEVICES": visible or "void"}
            container = replace(container, environment={**container.environment, **seen})
        resources = order.resources._replace(gpus=0)  # they are given out here, not by the agent
        self.later(self.engine.launch([replace(order, containers=(container,), resources=resources)]))

    def later(self, doing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(doing)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def forget(self, key: AttemptKey) -> None:
        """Its end is known."""
        await self.engine.ack([key])
        (self._notes / task_id(key)).unlink(missing_ok=True)
