"""The Slurm engine: jobs run on the nodes of a cluster, which has a queue of its own.

Theory of operation
-------------------
Truth about an attempt is in the files of a directory that server and nodes share (slurmfiles.py), written by the
wrapper that runs it (slurmscript.py). Slurm decides when and where (slurmdesk.py); what waits there is OFFERED. Who
claims an attempt first has it: its wrapper, or this engine when it is asked back. So CancelJob needs no answer of
Slurm's, a submission that was made twice runs once, and a slurmctld that forgets or repeats does no harm.

Pools (maxvCpus of environments) are kept here, since Slurm knows nothing of them; memory, GPUs and CPUs are Slurm's to
hand out. An order that its pool has no room for is held here.

Nothing is kept by the server alone: a new one reads the directory.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from batchery.config import Process, Slurm
from batchery.core.messages import Exited, Report, Starting
from batchery.core.model import START_FAILED, TERMINATED, WITHDRAWN, AttemptKey, Capacity, Words
from batchery.engines import slurmjobs
from batchery.engines.engine import EngineError, Node, Order, Survey
from batchery.engines.logindex import PERIOD
from batchery.engines.room import Room, Share
from batchery.engines.slurmdesk import Desk
from batchery.engines.slurmdriver import Driver, Refused, Unreachable
from batchery.engines.slurmfacts import driver_of, facts_of
from batchery.engines.slurmfiles import Found, Left, Spool
from batchery.engines.slurmgang import rank_of
from batchery.engines.slurmjobs import BEGINS, ENDED, HELD, RUNS, WAITING, Attempt, attempt_of, wants_slurms_word
from batchery.engines.wire import task_of

T = TypeVar("T")

HEAR_S: Final = (0.02, 0.25)  #: between two looks for news, just after some and later
START_SECONDS: Final = 60.0
HURRY_S: Final = 3  #: that several containers have to be killed in
REMEMBERED: Final = 10_000
AT_ONCE: Final = 100  #: directories removed in one go
EVERYTHING: Final = 1 << 50  #: Slurm hands out memory and GPUs, not the Room

log = logging.getLogger(__name__)


class SlurmEngine:
    """Engine of one Slurm cluster. ``logs_dir``: shared with the nodes, under the same path."""

    name = "slurm"

    def __init__(self, settings: Slurm, process: Process, *, logs_dir: Path, driver: Driver | None = None) -> None:
        self._settings, self._process = settings, process
        self.words = Words()
        self._driver = driver or driver_of(settings)
        self._spool = Spool(logs_dir.resolve() / "slurm")
        self._files = ThreadPoolExecutor(1, "slurm-files")
        self._sweeper = ThreadPoolExecutor(1, "slurm-sweeper")  # a file system may take long to remove a directory
        self.desk = Desk(self._driver, self._spool, self.words, self._settle, self._over, self._say)
        self._attempts: dict[AttemptKey, Attempt] = {}
        self._by_task: dict[str, Attempt] = {}
        self._room = Room(EVERYTHING, 1 << 20)
        self._acks: dict[AttemptKey, None] = {}  # the last ones
        self._refused: dict[AttemptKey, None] = {}  # killed before they came
        self._inbox: list[Report] = []
        self._arrived = asyncio.Event()
        self._stir = asyncio.Event()
        self._heard_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    # ---------------------------------------------------------------------------------------------- start and end

    async def start(self) -> None:
        """Ask the cluster what it is, and read what a server before this one left."""
        self._driver.check()
        try:
            instance = await self._do(self._spool.open)
        except OSError as error:
            raise EngineError(f"Cannot use {self._spool.root}: {error.strerror}. Set `logs` to a directory.") from None
        await self._open(instance)
        self._closing = False
        for left in await self._do(self._spool.left):
            self._adopt(left)
        await self._settle([a for a in self._attempts.values() if a.phase != ENDED])
        self._repeat(self._attempts.values())
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self.desk.run())]

    async def _open(self, instance: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                await self.desk.open(instance)
                return
            except (Refused, Unreachable) as error:
                if time.monotonic() > deadline or isinstance(error, Refused):
                    raise EngineError(f"Slurm does not answer: {error}. Are the settings in [slurm] right?") from None
            await asyncio.sleep(0.5)

    def _adopt(self, left: Left) -> None:
        attempt = Attempt(left.meta, resume=True)
        attempt.phase = WAITING
        self._remember(attempt)
        if left.verdict is not None:
            attempt.end = msgspec.convert(left.verdict, Exited)
            attempt.phase = ENDED
            return
        pool, vcpus = left.meta["pool"]
        attempt.share = Share(pool, vcpus, 0)
        self._room.take_again(attempt.share)
        attempt.submission, attempt.element = left.submission, left.element
        if attempt.rider:
            self.desk.riders[attempt.key] = attempt
        elif left.submission:
            self.desk.adopt(attempt)
        else:
            self.desk.put([attempt])

    def _remember(self, attempt: Attempt) -> None:
        self._attempts[attempt.key] = attempt
        self._by_task[attempt.task] = attempt

    async def close(self) -> None:
        """Let go; jobs go on."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._driver.close()
        await asyncio.to_thread(self._files.shutdown)
        await asyncio.to_thread(self._sweeper.shutdown, wait=True, cancel_futures=True)
        self._arrived.set()

    async def _do(self, act: Callable[..., T], *arguments: object) -> T:
        """Work on files, one after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._files, act, *arguments)

    # ---------------------------------------------------------------------------------------------- effects

    def capacity(self) -> Capacity:
        """The largest node, and the sum of the CPUs, of the partitions that the settings name."""
        targets = [self._settings, *self._settings.environments.values()]
        names = {name for target in targets for name in target.partition.split(",") if name}
        every = self.desk.nodes
        nodes = [n for n in every if n.partition in names or (n.default and not self._settings.partition)] or every
        return Capacity(
            memory=max((node.memory for node in nodes), default=0),
            gpus=max((node.gpus for node in nodes), default=0),
            clamp=self._process.oversize == "clamp",
            queues=True,
            vcpus=sum({node.name: node.cpus for node in nodes}.values()),
        )

    async def launch(self, orders: list[Order]) -> None:
        memory = self.capacity().memory
        for order in orders:
            key = order.key
            if key in self._attempts:
                self._repeat([self._attempts[key]])
            elif key not in self._acks:
                attempt, words = attempt_of(order, self._settings, self._process, memory)
                self._remember(attempt)
                if key in self._refused:
                    self._over(attempt, attempt.ends(WITHDRAWN, now_ms()))
                elif words:
                    self._over(attempt, attempt.ends(START_FAILED, now_ms(), None, words))
                elif order.node is not None and attempt.rider:
                    await self._ride(attempt, order.node)
                else:
                    self._room.held[key] = task_of(order, (), {})
        self._admit()

    async def _ride(self, attempt: Attempt, node: Node) -> None:
        """A node whose main node runs: its task in that job waits for it."""
        main = self._attempts.get(node.main_key)
        if main is None or main.phase == ENDED:
            self._over(attempt, attempt.ends(WITHDRAWN, now_ms()))
            return
        attempt.submission, attempt.element, attempt.phase = main.submission, rank_of(node), WAITING
        text, attempt.text = attempt.text, ""
        self.desk.riders[attempt.key] = attempt
        try:
            await self._do(self._spool.write_order, attempt.task, text, attempt.meta["log"])
            await self._do(self._spool.ride, attempt.submission, attempt.element, attempt.task)
        except OSError as error:
            self._over(attempt, attempt.ends(START_FAILED, now_ms(), None, f"CannotStartContainerError: {error}"))
        self._stir.set()

    def _admit(self) -> None:
        """What its pool has room for goes to Slurm."""
        ready = []
        for task in self._room.next_ones():
            attempt = self._attempts[task.key]
            attempt.share = self._room.take(task)
            attempt.phase = WAITING
            ready.append(attempt)
        if ready:
            self.desk.put(ready)
            self._stir.set()

    async def kill(self, keys: list[AttemptKey], grace: int) -> None:
        for key in keys:
            attempt = self._attempts.get(key)
            if attempt is None:
                self._remember_refused(key)
            elif attempt.phase == ENDED:
                self._repeat([attempt])
            elif not await self._take_back(attempt):
                self._doom(attempt, await self._patience(attempt, grace))
                await self._do(self._spool.order_kill, attempt.task, TERMINATED, attempt.grace)
        self.desk.wake.set()

    async def _patience(self, attempt: Attempt, grace: int) -> int:
        """Whole seconds until SIGKILL: several containers have their own times, or none."""
        if not attempt.several:
            return -(-grace // 1000)
        if not grace:
            await self._do(self._spool.hurry, attempt.task)
        return max(-(-grace // 1000), attempt.meta["grace"]) if grace else HURRY_S

    def _doom(self, attempt: Attempt, grace: int) -> None:
        now = time.monotonic()
        if not attempt.killed or now + grace < attempt.kill_at + attempt.grace:
            attempt.killed, attempt.grace, attempt.kill_at = TERMINATED, grace, now
            attempt.signal_at = 0.0
        self.desk.kills[attempt.key] = attempt

    async def withdraw(self, keys: list[AttemptKey]) -> None:
        for key in keys:
            attempt = self._attempts.get(key)
            if attempt is None:
                if key not in self._acks:
                    self._remember_refused(key)
                    end = Exited(key, now_ms(), WITHDRAWN)
                    self._inbox.append(end)
                    self._arrived.set()
            elif attempt.phase in (BEGINS, RUNS, ENDED):
                self._repeat([attempt])
            elif not await self._take_back(attempt):
                await self._settle([attempt])
                self._repeat([attempt])

    async def _take_back(self, attempt: Attempt) -> bool:
        """An attempt that has not begun never will. False: it has."""
        if attempt.phase == HELD:
            del self._room.held[attempt.key]
        elif attempt.phase not in (WAITING, BEGINS):
            return False
        elif not attempt.text or attempt.submission:  # its files are there, or are being written
            while attempt.text:
                await asyncio.sleep(0.005)
            if not await self._do(self._spool.claim, attempt.task):
                return False
        if attempt.phase != ENDED:
            cause = TERMINATED if attempt.phase == BEGINS else WITHDRAWN  # CONFIGURING was told: it had its turn
            self._over(attempt, attempt.ends(cause, now_ms()))
        return True

    def _remember_refused(self, key: AttemptKey) -> None:
        if key not in self._acks:
            self._refused[key] = None
        while len(self._refused) > REMEMBERED:
            del self._refused[next(iter(self._refused))]

    async def survey(self) -> dict[AttemptKey, Survey]:
        await self._news()
        return {key: Survey(key, a.survey_state, a.end) for key, a in self._attempts.items()}

    async def ack(self, keys: list[AttemptKey]) -> None:
        over = []
        for key in keys:
            self._acks[key] = None
            attempt = self._attempts.pop(key, None)
            if attempt is not None:
                del self._by_task[attempt.task]
                self.desk.forget(attempt)
                over.append(attempt.task)
        if over:
            await self._do(self._spool.retire, over)
            for start in range(0, len(over), AT_ONCE):
                self._sweeper.submit(self._spool.remove, over[start : start + AT_ONCE])
        while len(self._acks) > REMEMBERED:
            del self._acks[next(iter(self._acks))]

    # ---------------------------------------------------------------------------------------------- what happens

    async def _hear(self) -> None:
        """News from the nodes, and the sizes of logs, as long as anything is out there."""
        sampled = 0.0
        while True:
            busy = any(a.phase in (WAITING, BEGINS, RUNS) for a in self._attempts.values())
            if not busy:
                await self._stir.wait()
            self._stir.clear()
            try:
                if await self._news():
                    self._heard_at = time.monotonic()
                running = [a for a in self._attempts.values() if a.phase in (BEGINS, RUNS)]
                if time.monotonic() >= sampled:
                    began = time.monotonic()
                    await self._do(slurmjobs.sample, running)
                    sampled = time.monotonic() + max(PERIOD / 1000, 20 * (time.monotonic() - began))
            except OSError as error:
                log.warning("the shared directory cannot be read: %s", error)
            quiet = time.monotonic() - self._heard_at
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(HEAR_S[0], quiet / 10), HEAR_S[1])):
                    await self._stir.wait()

    async def _news(self) -> bool:
        told = await self._do(self._spool.news)
        await self._settle([self._by_task[task] for task in told if task in self._by_task])
        return bool(told)

    async def _settle(self, attempts: Iterable[Attempt]) -> None:
        """Read the files of these, and tell what is new, in the order in which it happened."""
        asked = [a for a in attempts if a.phase != ENDED]
        if not asked:
            return
        found = await self._do(lambda: [self._spool.look(a.task) for a in asked])
        pairs = sorted(zip(asked, found, strict=True), key=lambda pair: pair[1].started or EVERYTHING)
        for attempt, files in pairs:
            if attempt.phase != ENDED and attempt.key in self._attempts:
                self._take_in(attempt, files)

    def _take_in(self, attempt: Attempt, found: Found) -> None:
        attempt.node = found.node or attempt.node
        if attempt.meta.get("gang") and attempt.node:
            attempt.address = self.desk.address_of(attempt.node)
        if found.starting and not attempt.starting:
            attempt.starting, attempt.phase = found.starting, BEGINS
            self._say(Starting(attempt.key, found.starting))
        if found.started and not attempt.started:
            attempt.started, attempt.phase = found.started, RUNS
            self.words.attempts.pop(attempt.key, None)
            self._repeat([attempt])
        if found.exit is None:
            return
        if wants_slurms_word(found, attempt.killed) and not attempt.meta.get("gang"):
            if not attempt.exit_at:
                attempt.exit_at = time.monotonic()
                self.desk.hurry()
        else:
            self._over(attempt, attempt.ends_by(found, ""), by_files=True)

    def _over(self, attempt: Attempt, end: Report, by_files: bool = False) -> None:
        """It has ended: told until it is acknowledged. ``by_files``: its files say so, and will say so again."""
        attempt.end = end
        attempt.phase = ENDED
        self.desk.forget(attempt)
        if attempt.share is not None:
            self._room.give(attempt.share)
            attempt.share = None
        self._files.submit(self._put_away, attempt, None if by_files else end)
        self._say(end)
        self.desk.room_again()
        self._admit()

    def _put_away(self, attempt: Attempt, end: Report | None) -> None:
        attempt.index.sample(now_ms())
        if end is not None:
            self._spool.write_verdict(attempt.task, msgspec.to_builtins(end))

    def _repeat(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            news = attempt.news()
            if news is not None:
                self._say(news)

    def _say(self, report: Report) -> None:
        self._inbox.append(report)
        self._arrived.set()

    async def reports(self) -> AsyncIterator[list[Report]]:
        """Everything that has come since the last batch, until `close`."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._inbox:
                batch, self._inbox = self._inbox, []
                yield batch
            elif self._closing:
                return

    def facts(self) -> dict[str, str]:
        return {"engine": self.name, **facts_of(self.desk), "shared directory": str(self._spool.root)}


def now_ms() -> int:
    return time.time_ns() // 1_000_000
