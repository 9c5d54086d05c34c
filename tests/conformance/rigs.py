"""Engines to be tested, each behind a rig that knows how to make orders for it and collects its reports."""

import asyncio
import contextlib
import itertools
import os
import signal
from pathlib import Path
from typing import ClassVar

import msgspec

from batchery.config import Container as ContainerSettings
from batchery.config import Process, Slurm
from batchery.core.messages import Exited, Lost, Started
from batchery.core.model import AttemptKey, Resources, task_id
from batchery.engines.container import ContainerEngine
from batchery.engines.engine import Container, Order
from batchery.engines.fake import FakeEngine, Script
from batchery.engines.local import LocalEngine
from batchery.engines.slurm import SlurmEngine
from batchery.engines.sockets import runtime_for

DEADLINE = 20.0  # s; a loaded machine is slow, a fault waits for ever

_jobs = itertools.count(1)


class Rig:
    """What the tests of every engine use."""

    starts_in_order = True

    def __init__(self, tmp_path: Path) -> None:
        self.tmp = tmp_path
        self.reports: list = []
        self.news = asyncio.Event()
        self.collector = None
        self.engine = None

    async def connect(self) -> None:
        """As a server that starts."""
        self.engine = self.make_engine()
        await self.engine.start()
        self.collector = asyncio.create_task(self._collect())

    async def disconnect(self) -> None:
        """As a server that ends."""
        self.collector.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.collector
        await self.engine.close()

    async def _collect(self) -> None:
        async for batch in self.engine.reports():
            self.reports += batch
            self.news.set()

    def of(self, order: Order, kind: type = object) -> list:
        return [r for r in self.reports if r.key == order.key and isinstance(r, kind)]

    async def until(self, order: Order, kind: type, count: int = 1):
        """The count-th report of this kind of the attempt."""
        async with asyncio.timeout(DEADLINE):
            while len(self.of(order, kind)) < count:
                self.news.clear()
                await self.news.wait()
        return self.of(order, kind)[count - 1]

    async def started(self, order: Order) -> Started:
        return await self.until(order, Started)

    async def ended(self, order: Order) -> Exited | Lost:
        return await self.until(order, (Exited, Lost))

    async def run(self, *command: str, **how) -> Exited | Lost:
        """Launch a command and wait for its end."""
        order = self.order(*command, **how)
        await self.engine.launch([order])
        return await self.ended(order)

    def order(
        self,
        *command: str,
        vcpus: int = 1000,
        memory: int = 64,
        gpus: int = 0,
        pool: str = "pool",
        pool_vcpus: int = 4000,
        timeout: int = 0,
        stop_timeout: int = 30_000,
        environment: dict[str, str] | None = None,
        image: str = "busybox",
        spec: str = "",
    ) -> Order:
        key = AttemptKey(f"job{next(_jobs)}", 0, 1)
        resources = Resources(vcpus, memory, gpus)
        log = self.tmp / "logs" / key.job / f"{key.index}-{key.serial}.log"
        container = Container(
            "default", image, command, environment or {}, str(log), resources, stop_timeout=stop_timeout, spec=spec
        )
        return Order(key, task_id(key), (container,), resources, pool, pool_vcpus, "ce", timeout=timeout)

    def log(self, order: Order) -> str:
        return Path(order.containers[0].log_path).read_text()

    async def tear_down(self) -> None:
        await self.disconnect()


class FakeRig(Rig):
    """Commands are ("exit", code) and ("gate", code)."""

    mode = "at once"

    def make_engine(self) -> FakeEngine:
        return self.engine or FakeEngine(self._script, mode=self.mode, memory=1000)

    @staticmethod
    def _script(order: Order) -> Script:
        command = order.containers[0].command
        if not command:
            return Script(start_error="CannotStartContainerError: no command specified")
        return Script(exit_code=int(command[-1]), ends=command[0] == "exit")

    def quick(self, code: int = 0, **how) -> Order:
        return self.order("exit", str(code), **how)

    def gated(self, code: int = 0, **how) -> Order:
        return self.order("gate", str(code), **how)

    def release(self, order: Order) -> None:
        self.engine.finish(order.key, int(order.containers[0].command[-1]))

    def times_begun(self, order: Order) -> int:
        return self.engine.begun.count(order.key)

    async def launch(self, *orders: Order) -> None:
        await self.engine.launch(list(orders))


class QueueRig(FakeRig):
    """Every order's turn comes at once."""

    mode = "queue"

    async def launch(self, *orders: Order) -> None:
        await self.engine.launch(list(orders))
        for key in self.engine.queued:
            self.engine.begin(key)


class ProcessRig(Rig):
    """Jobs note that they began, and wait for a file."""

    cgroups = True
    settings: ClassVar[dict] = {}

    def __init__(self, tmp_path: Path, data: Path | None = None) -> None:
        super().__init__(tmp_path)
        self.data = data or tmp_path / "data"
        self.shared = data is not None

    def make_engine(self) -> LocalEngine:
        settings = {"memory": 1000, "gpus": 0} | self.settings
        return LocalEngine(self.data, Process(**settings), logs_dir=self.tmp / "logs", cgroups=self.cgroups)

    def quick(self, code: int = 0, **how) -> Order:
        order = self.order("sh", **how)
        return self._script(order, f"echo >>{self._mark(order, 'begun')}; exit {code}")

    def gated(self, code: int = 0, **how) -> Order:
        order = self.order("sh", **how)
        wait = f"until [ -e {self._mark(order, 'gate')} ]; do sleep .02; done"
        return self._script(order, f"echo >>{self._mark(order, 'begun')}; {wait}; exit {code}")

    @staticmethod
    def _script(order: Order, script: str) -> Order:
        container = msgspec.structs.replace(order.containers[0], command=("sh", "-c", script))
        return msgspec.structs.replace(order, containers=(container,))

    def _mark(self, order: Order, what: str) -> Path:
        return self.tmp / f"{order.key.job}.{what}"

    def release(self, order: Order) -> None:
        self._mark(order, "gate").touch()

    def times_begun(self, order: Order) -> int:
        mark = self._mark(order, "begun")
        return len(mark.read_text().splitlines()) if mark.exists() else 0

    async def launch(self, *orders: Order) -> None:
        await self.engine.launch(list(orders))

    async def file(self, path: Path) -> str:
        """Wait until a job has written this file, at least a line of it."""
        async with asyncio.timeout(DEADLINE):
            while not path.exists() or not path.read_text().endswith("\n"):
                await asyncio.sleep(0.01)
        return path.read_text()

    async def gone(self, pid: int) -> None:
        """Wait until a process is no more."""
        async with asyncio.timeout(DEADLINE):
            while alive(pid):
                await asyncio.sleep(0.01)

    @property
    def agent(self) -> int:
        return int(self.engine.facts()["agent"].split()[0])

    def kill_agent(self) -> int:
        pid = self.agent
        os.kill(pid, signal.SIGKILL)
        return pid

    async def another_agent(self, before: int) -> None:
        """Wait until the engine has found an agent after this one."""
        async with asyncio.timeout(DEADLINE):
            while self.agent == before:
                await asyncio.sleep(0.01)

    async def tear_down(self) -> None:
        if self.shared:
            await self._end_all()
            await self.disconnect()
            return
        self.collector.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.collector
        await self.engine.stop_agent()

    async def _end_all(self) -> None:
        """Leave nothing of this test in an agent that the next one uses too."""
        async with asyncio.timeout(DEADLINE):
            while left := await self.engine.survey():
                over = [key for key, survey in left.items() if survey.state == "ended"]
                await self.engine.kill([key for key in left if key not in over], 0)
                await self.engine.ack(over)
                await asyncio.sleep(0.01)


class BareRig(ProcessRig):
    cgroups = False


class SlurmRig(ProcessRig):
    """A real cluster, in the partition that is one node of it, so that what runs can be counted."""

    how = "commands"
    partition = "one"
    target: ClassVar[dict] = {}
    cluster = None

    def make_engine(self) -> SlurmEngine:
        slurm = Slurm(**self.cluster.spoken(self.how), **{"partition": self.partition} | self.target)
        return SlurmEngine(slurm, Process(**self.settings), logs_dir=self.tmp / "logs")

    async def tear_down(self) -> None:
        await self._end_all()
        await self.disconnect()


class ContainerRig(ProcessRig):
    """Containers, which see the test's folder under its own name. An init passes SIGTERM on to a shell."""

    kind = ""
    socket = Path()
    starts_in_order = False

    def make_engine(self, host: LocalEngine | None = None) -> ContainerEngine:
        settings = {"memory": 1000, "gpus": 0, "socket": str(self.socket), "volumes": [str(self.tmp)]} | self.settings
        chosen = ContainerSettings(**settings)
        runtime = runtime_for(self.kind, chosen, self.data)
        engine = ContainerEngine(self.data, chosen, runtime, logs_dir=self.tmp / "logs", host=host)
        engine.patience = 100  # tests of what is held take as long as the machine lets them
        return engine

    def order(self, *command: str, spec: str = "", **how) -> Order:
        return super().order(*command, spec=spec or '{"linuxParameters":{"initProcessEnabled":true}}', **how)

    async def tear_down(self) -> None:
        if self.collector is not None:
            await self._end_all()
            await self.disconnect()


class DockerRig(ContainerRig):
    kind = "docker"


class PodmanRig(ContainerRig):
    kind = "podman"


class AutoRig(ContainerRig):
    """Docker, and processes of the host for what has no image; its orders have none if they do not name one."""

    kind = "docker"

    def make_engine(self) -> ContainerEngine:
        return super().make_engine(LocalEngine(self.data, Process(memory=1000, gpus=0), logs_dir=self.tmp / "logs"))

    def order(self, *command: str, image: str = "localhost:1/no/such:image", **how) -> Order:
        return super().order(*command, image=image, **how)

    async def tear_down(self) -> None:
        await super().tear_down()
        await LocalEngine(self.data, Process(), logs_dir=self.tmp / "logs").stop_agent()


def alive(pid: int) -> bool:
    """It is there, and not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
