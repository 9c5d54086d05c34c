"""The container engine: jobs are containers of Docker or Podman on this host.

It runs inside the server: containers outlive it by themselves, and the next server finds them by their label. What has
begun and what has ended is the runtime's to remember; what is held, withdrawn or killed before it came is remembered
here, and decided anew by the next server. Decisions 120 and 121.
"""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from msgspec.structs import replace

from batchery.config import Container
from batchery.core.messages import Exited, Report
from batchery.core.model import NO_CAPACITY, TERMINATED, WITHDRAWN, AttemptKey, Capacity, task_id
from batchery.engines.boxed import Boxed, wall
from batchery.engines.cgroups import host_memory_mib
from batchery.engines.containerspec import ATTEMPT, FACTS, OWNER, Facts, facts_of, fits_host, key_of, properties
from batchery.engines.engine import Engine, EngineError, Order, Survey
from batchery.engines.host import count_gpus
from batchery.engines.hosted import Hosted, HostSide
from batchery.engines.logindex import PERIOD
from batchery.engines.podbox import PodBoxed, pod_of
from batchery.engines.prologs import Prologs
from batchery.engines.pulls import Pulls
from batchery.engines.room import Room, Share
from batchery.engines.runtime import Box, Runtime, RuntimeFault
from batchery.engines.serving import Serving
from batchery.engines.ulimits import own_limits
from batchery.engines.wire import task_of

AHEAD: Final = 16  # placements beyond capacity: containers take a tenth of a second at least
REMEMBERED: Final = 10_000
LOOKS: Final = 2  # rounds of sampling that an order is held for in vain
REMOVALS: Final = 4  # at a time
PREFIX: Final = "batchery-"
AGAIN_S: Final = 0.5  # between two tries to reach the runtime

T = TypeVar("T")

log = logging.getLogger("batchery.container")


class ContainerEngine:
    """``data_dir`` says whose containers they are, ``logs_dir`` where output goes, ``host`` runs what has no image."""

    def __init__(
        self, data_dir: Path, settings: Container, runtime: Runtime, *, logs_dir: Path, host: Engine | None = None
    ) -> None:
        self.settings = settings
        self.runtime = runtime
        self.name = runtime.name
        self.owner = ""
        self._data = data_dir
        self._logs = logs_dir
        self.room = Room(settings.memory or host_memory_mib(), settings.gpus if settings.gpus >= 0 else count_gpus())
        self._facts: dict[str, str] = {}
        self._orders: dict[AttemptKey, Order] = {}  # held
        self._attempts: dict[AttemptKey, Boxed | PodBoxed | Hosted] = {}
        self._refused: dict[AttemptKey, str] = {}
        self._acked: dict[AttemptKey, None] = {}
        self.patience = LOOKS
        self._looks: dict[AttemptKey, int] = {}
        self.host = HostSide(host, data_dir) if host is not None else None
        self.prologs = Prologs(data_dir, settings.prolog)
        self.serving = Serving(data_dir, runtime.socket, runtime.service)
        self.pulls = Pulls(runtime, settings.registries)
        self._aside: set[asyncio.Task[None]] = set()
        self._removing = asyncio.Semaphore(REMOVALS)
        self._inbox: list[Report] = []
        self._arrived = asyncio.Event()
        self._ticker: asyncio.Task[None] | None = None
        self._closed = False
        self._reached = True

    # ---------------------------------------------------------------------------------------------- coming and going

    async def start(self) -> None:
        """Look at the runtime, and find the containers of servers before this one."""
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            self.owner = owner_of(self._data)
            await self.serving.begin()
            if self.runtime.service:
                self.serving.guard(self.owner)
            said = await self.runtime.look()
            self.name = self.runtime.name
            self._facts = {"engine": self.name, **said}
            if self.name == "podman" and not self.settings.ulimits:
                self.settings = replace(self.settings, ulimits=own_limits())
            await self._adopt(await self.runtime.labelled(f"{OWNER}={self.owner}"))
        except RuntimeFault as fault:
            raise EngineError(f"{self.name} does not work: {fault.message}") from None
        except (OSError, TimeoutError) as error:
            raise EngineError(f"{self.name} does not answer: {error}") from None
        self.prologs.prune()
        if self.host is not None:
            await self.host.start(self)
        self._ticker = asyncio.create_task(self._tick())

    async def _adopt(self, found: list[Box]) -> None:
        """What runs is followed again, what has ended is told again, what never began is removed."""
        over = []
        pods: dict[AttemptKey, dict[str, tuple[Box, Facts]]] = {}
        for box in found:
            key = key_of(box.labels.get(ATTEMPT, ""))
            facts = facts_of(box.labels.get(FACTS, ""))
            if key is not None and facts is not None and facts.pod is not None:
                pods.setdefault(key, {})[facts.name] = (box, facts)
                continue
            if box.state == "created" or key is None or facts is None:
                with contextlib.suppress(RuntimeFault):
                    await self.runtime.remove(box.id)
                continue
            share = Share(facts.pool, facts.vcpus, facts.memory, facts.gpus)
            boxed = Boxed(self, key, box.id, facts, share, None)
            boxed.started = box.started
            if facts.timeout:
                self.serving.guard(self.owner)
            self.room.take_again(share)
            self._begin(boxed)
            if box.state == "exited":
                assert boxed.task is not None
                over.append(boxed.task)
        for key, each in pods.items():
            await self._adopt_pod(key, each)
        if over:
            await asyncio.wait(over, timeout=60)

    async def _adopt_pod(self, key: AttemptKey, each: dict[str, tuple[Box, Facts]]) -> None:
        """One of which nothing has begun is made anew when it is ordered again."""
        _, facts = next(iter(each.values()))
        assert facts.pod is not None
        share = Share(facts.pool, facts.vcpus, facts.memory, tuple(gpu for _, one in each.values() for gpu in one.gpus))
        pod = PodBoxed(self, key, PREFIX + task_id(key), facts.pod, share, None)
        if all(box.state == "created" for box, _ in each.values()):
            with contextlib.suppress(RuntimeFault):
                await pod.clear()
            return
        pod.adopt(each)
        self.room.take_again(share)
        self._begin(pod)

    async def close(self) -> None:
        """Let go; containers go on."""
        self._closed = True
        tasks = [boxed.task for boxed in self._attempts.values() if boxed.task is not None]
        tasks += [self._ticker] if self._ticker is not None else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.pulls.close()
        if self.host is not None:
            await self.host.close()
        if self._aside:
            await asyncio.wait(self._aside, timeout=10)
        live = any(boxed.report is None for boxed in self._attempts.values())
        await self.runtime.close(leave=live and self.serving.guarded)
        self.serving.end(dismiss=not live)
        self._arrived.set()

    # ---------------------------------------------------------------------------------------------- effects

    def capacity(self) -> Capacity:
        return Capacity(self.room.memory, self.room.gpus, self.settings.oversize == "clamp", AHEAD)

    async def launch(self, orders: list[Order]) -> None:
        for order in orders:
            key = order.key
            known = self._attempts.get(key)
            if isinstance(known, Hosted) and self.host is not None and known.report is None:
                self.host.again(order, known.share, self.room.gpus)
            elif known is not None:
                self._tell_again(known)
            elif key in self._refused:
                self._hand_back(key, self._refused[key])
            elif key not in self._acked:
                container = order.containers[0]
                self._orders[key] = order
                self.room.held[key] = task_of(order, container.command, {})
        self._admit()

    async def kill(self, keys: list[AttemptKey], grace: int) -> None:
        for key in keys:
            boxed = self._attempts.get(key)
            if boxed is None:
                self._refuse(key, WITHDRAWN)
                self.prologs.kill(key)
                if self._drop(key):
                    self._hand_back(key, WITHDRAWN)
            elif boxed.report is not None:
                self._tell_again(boxed)
            else:
                boxed.doom(TERMINATED, grace)

    async def withdraw(self, keys: list[AttemptKey]) -> None:
        for key in keys:
            boxed = self._attempts.get(key)
            if boxed is not None:
                if not boxed.take_back():
                    self._tell_again(boxed)
            elif key not in self._acked:
                self._drop(key)
                self._refuse(key, WITHDRAWN)
                self._hand_back(key, WITHDRAWN)

    async def ack(self, keys: list[AttemptKey]) -> None:
        """The end is committed: the container may go."""
        for key in keys:
            boxed = self._attempts.get(key)
            if boxed is not None and boxed.report is not None:
                del self._attempts[key]
                self._remember(self._acked, key, None)
                self._later(boxed)

    async def survey(self) -> dict[AttemptKey, Survey]:
        found = {key: Survey(key, "held") for key in self.room.held}
        for key, boxed in self._attempts.items():
            found[key] = Survey(key, boxed.state, boxed.report)
        return found

    async def reports(self) -> AsyncIterator[list[Report]]:
        """Everything that has come since the last batch, until `close`."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._inbox:
                batch, self._inbox = self._inbox, []
                yield batch
            elif self._closed:
                return

    def facts(self) -> dict[str, str]:
        room = self.room
        return {
            **self._facts,
            "network": self.settings.network,
            "memory": f"{room.memory} MiB",
            "gpus": str(room.gpus),
            **({"images": self.host.facts()} if self.host is not None else {}),
        }

    # ---------------------------------------------------------------------------------------------- of attempts

    def tell(self, report: Report) -> None:
        self._inbox.append(report)
        self._arrived.set()

    def over(self, boxed: Boxed | PodBoxed | Hosted) -> None:
        """It has ended: told, and its room given to the next."""
        assert boxed.report is not None
        if isinstance(boxed.report, Exited) and boxed.report.cause == WITHDRAWN:
            del self._attempts[boxed.key]
            self._refuse(boxed.key, WITHDRAWN)
            if isinstance(boxed, Hosted):
                self._later(boxed)
        self.tell(boxed.report)
        self.room.give(boxed.share)
        self._admit()

    def elsewhere(self, boxed: Boxed, why: str) -> bool:
        """It has no image: whether it goes on as a host process."""
        if self.host is None or boxed.order is None:
            return False
        container = boxed.order.containers[0]
        if container.on_host is None and not fits_host(properties(container.spec)):
            return False
        self.host.lacks(container.image, why)
        self._attempts[boxed.key] = self.host.take(boxed.order, boxed.share, self.room.gpus, boxed.status())
        return True

    def take_in(self, hosted: Hosted) -> None:
        """One that a server before this one gave to the host."""
        self._attempts[hosted.key] = hosted
        if hosted.report is None:
            self.room.take_again(hosted.share)

    def heard(self, report: Report) -> None:
        """Of the host."""
        hosted = self._attempts.get(report.key)
        if not isinstance(hosted, Hosted):
            return
        over = hosted.report is not None
        hosted.heard(report)
        if hosted.report is not None and not over:
            self.over(hosted)
        else:
            self.tell(report)

    async def sure(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the runtime answers. Raises RuntimeFault."""
        while True:
            try:
                return await ask()
            except (ConnectionError, TimeoutError) as error:
                self.unreachable(error)
                await asyncio.sleep(AGAIN_S)

    def unreachable(self, error: Exception) -> None:
        """Say so, once in a while."""
        if self._reached:
            log.warning("%s does not answer; jobs wait for it: %s", self.name, error)
            self._reached = False

    # ---------------------------------------------------------------------------------------------- inside

    def _admit(self) -> None:
        if self._closed:
            return
        for task in self.room.next_ones():
            order = self._orders.pop(task.key)
            share = self.room.take(task)
            if order.several:
                self._begin(pod_of(self, order, PREFIX + order.task_id, share))
                continue
            container = order.containers[0]
            facts = Facts(
                container.name,
                container.log_path,
                order.timeout,
                container.stop_timeout,
                share.pool,
                share.vcpus,
                share.memory,
                share.gpus,
                address=order.address if self.settings.network == "host" else "",
            )
            self._begin(Boxed(self, task.key, PREFIX + order.task_id, facts, share, order))

    def _begin(self, boxed: Boxed | PodBoxed) -> None:
        self._attempts[boxed.key] = boxed
        boxed.task = asyncio.create_task(boxed.live())

    def _later(self, boxed: Boxed | PodBoxed | Hosted) -> None:
        task = asyncio.create_task(self._discard(boxed))
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _discard(self, boxed: Boxed | PodBoxed | Hosted) -> None:
        async with self._removing:
            try:
                await boxed.clear()
            except (RuntimeFault, OSError, TimeoutError) as error:
                log.warning("the container of %s stays for now: %s", boxed.key, error)

    def _tell_again(self, boxed: Boxed | PodBoxed | Hosted) -> None:
        report = boxed.status()
        if report is not None:
            self.tell(report)

    def _hand_back(self, key: AttemptKey, cause: str) -> None:
        self.tell(Exited(key, wall(), cause))

    def _drop(self, key: AttemptKey) -> bool:
        self._orders.pop(key, None)
        return self.room.held.pop(key, None) is not None

    def _refuse(self, key: AttemptKey, cause: str) -> None:
        self._remember(self._refused, key, cause)

    @staticmethod
    def _remember(memo: dict[AttemptKey, str] | dict[AttemptKey, None], key: AttemptKey, value: str | None) -> None:
        memo.setdefault(key, value)  # type: ignore[arg-type]
        if len(memo) > REMEMBERED:
            del memo[next(iter(memo))]

    async def _tick(self) -> None:
        """Twice a second: sample what runs, hand back what is held in vain."""
        while True:
            await asyncio.sleep(PERIOD / 1000)
            self._reached = True
            now = wall()
            live = [boxed for boxed in self._attempts.values() if boxed.report is None]
            for boxed in live:
                boxed.sample(now)
            self.serving.reap()
            self._looks = {key: self._looks.get(key, 0) + 1 for key in self.room.held} if live else {}
            for key in [key for key, looks in self._looks.items() if looks > self.patience]:
                self._drop(key)
                self._refuse(key, NO_CAPACITY)
                self._hand_back(key, NO_CAPACITY)


def owner_of(data: Path) -> str:
    """The id of a data directory, made when it is first asked for: it says whose containers are whose."""
    path = data / "engine-id"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    data.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(secrets.token_hex(16) + "\n")
    os.replace(new, path)
    return path.read_text().strip()
