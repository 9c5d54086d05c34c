"""Where Slurm is spoken to: submissions, one listing for all, signals.

Theory of operation
-------------------
What is to be sent waits in ``outbox``; attempts with the same options go as one array. A submission has a random name;
whatever becomes of the command that sends it, the attempt is looked up by that name and its index, and nothing else.

The listing is asked for at an interval that follows what it costs and whether anything changes. From it come the
reasons why jobs wait, nodes that are made ready, and what is *not* there, or not as it should be (slurmmissing.py).

A job that a node could not launch is held by Slurm until an operator comes. It was not claimed, so it is sent again, a
few times, and the node, which Slurm drained, is in `Words.notice` and so in the statusReason of environments.

What Slurm refuses stays here, with Slurm's words, and is offered again with growing pauses. Nothing is decided while
the controller does not answer.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import groupby
from typing import Final

from batchery.core.messages import Report, Starting
from batchery.core.model import AttemptKey, Words
from batchery.engines import slurmstate
from batchery.engines.slurmdriver import Driver, Refused, Unreachable
from batchery.engines.slurmfiles import Spool
from batchery.engines.slurmgang import Riders, gang_script
from batchery.engines.slurmhosts import hosts_script
from batchery.engines.slurmjobs import BEGINS, ENDED, WAITING, Attempt, killed_too_late
from batchery.engines.slurmmissing import ABSENT_S, Search, is_expected
from batchery.engines.slurmscript import batch_script
from batchery.engines.slurmstate import Listing, Row

LOOK_S: Final = (1.0, 8.0)  #: between two listings, at least and at most
LOOK_SHARE: Final = 20  #: a listing may take one part in this of the time
REFUSED_S: Final = (2.0, 30.0)
SIGNAL_AGAIN_S: Final = 5.0
LIMITS_S: Final = 300.0
NODES_S: Final = 30.0
LAUNCHES: Final = 5  #: so often a job that nodes cannot launch is sent

log = logging.getLogger(__name__)


class Desk:
    """Speaks to one cluster. ``settle`` reads the files of attempts anew; ``over`` is told an end found here."""

    def __init__(
        self,
        driver: Driver,
        spool: Spool,
        words: Words,
        settle: Callable[[Iterable[Attempt]], Awaitable[None]],
        over: Callable[[Attempt, Report], None],
        tell: Callable[[Report], None],
    ) -> None:
        self.driver, self.spool, self.words = driver, spool, words
        self._tell = tell
        self._over = over
        self._riders = Riders()
        self._search = Search(driver, spool, settle, over, self._again)
        self.prefix = ""
        self.outbox: dict[AttemptKey, Attempt] = {}
        self.sent: dict[tuple[str, int], Attempt] = {}
        self.riders: dict[AttemptKey, Attempt] = {}  # nodes of multi-node jobs, but main ones
        self.kills: dict[AttemptKey, Attempt] = {}
        self.unwanted: set[tuple[str, int]] = set()  # claimed by us: Slurm may forget them
        self.nodes: list[slurmstate.Node] = []
        self.config: dict[str, str] = {}
        self.wake = asyncio.Event()
        self._refused: dict[AttemptKey, Attempt] = {}
        self._refused_until = 0.0
        self._pause = REFUSED_S[0]
        self._look_at = 0.0
        self._interval = LOOK_S[0]
        self._limits_at = 0.0
        self._nodes_at = 0.0
        self._picture: list[tuple[tuple[str, int], str]] = []

    # ---------------------------------------------------------------------------------------------------- what is

    async def open(self, instance: str) -> None:
        """Ask the cluster what it is. Raises Refused or Unreachable."""
        self.prefix = f"bt-{instance}-"
        self.config = await self.driver.config()
        self._search.accounting = "none" not in self.config.get("AccountingStorageType", "none")
        self._limits_at = time.monotonic() + LIMITS_S
        await self._see_nodes()

    def look_at_nodes(self) -> None:
        """Soon."""
        self._nodes_at = 0.0
        self.wake.set()

    async def _see_nodes(self) -> None:
        self.nodes = await self.driver.nodes()
        self._nodes_at = time.monotonic() + NODES_S
        notice = f"not all nodes work: {trouble}" if (trouble := troubled(self.nodes)) else ""
        if notice != self.words.notice:
            log.warning("Slurm: %s", notice or "all nodes work")
            self.words.notice = notice

    def _limit(self, name: str, default: int) -> int:
        text = self.config.get(name, "")
        return int(text) if text.isdigit() else default

    @property
    def array_size(self) -> int:
        return max(1, self._limit("MaxArraySize", 1001))

    def forget(self, attempt: Attempt) -> None:
        """It is over, or was taken back."""
        for table in (self.outbox, self._refused, self.kills, self.riders):
            table.pop(attempt.key, None)
        self.words.attempts.pop(attempt.key, None)
        if attempt.rider:
            return
        if self.sent.pop(attempt.where, None) is not None and not attempt.started:
            self.unwanted.add(attempt.where)
            self.hurry()

    def hurry(self) -> None:
        """Look soon."""
        self._look_at = min(self._look_at, time.monotonic() + 0.1)
        self.wake.set()

    def put(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            self.outbox[attempt.key] = attempt
        self.wake.set()

    def adopt(self, attempt: Attempt) -> None:
        """It was sent by a server before this one, or may have been."""
        self.sent[attempt.where] = attempt
        self._look_at = 0.0

    def address_of(self, name: str) -> str:
        """Where a node is reached, "" if it is not known."""
        return next((node.address for node in self.nodes if node.name == name), "")

    def room_again(self) -> None:
        """Something ended: what was refused for how much there is may be taken now."""
        if self._refused and self._pause > REFUSED_S[0]:
            self._pause = REFUSED_S[0]
            self._refused_until = min(self._refused_until, time.monotonic() + self._pause)
            self.wake.set()

    # ---------------------------------------------------------------------------------------------------- the loop

    async def run(self) -> None:
        """For ever."""
        troubled = REFUSED_S[0] / 2
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rest()):  # wait_for of Python 3.11 may swallow that we are cancelled
                    await self.wake.wait()
            self.wake.clear()
            try:
                await self._round()
            except Unreachable as error:
                self._say_trouble(str(error))
                troubled = min(troubled * 2, LOOK_S[1])
                await asyncio.sleep(troubled)
                self.wake.set()
            except Refused as error:
                log.warning("Slurm: %s", error)
                self._say_trouble(f"Slurm refuses: {error}")
                await asyncio.sleep(LOOK_S[1])
                self.wake.set()
            else:
                self._say_trouble("")
                troubled = REFUSED_S[0] / 2

    def _say_trouble(self, text: str) -> None:
        if text != self.words.trouble:
            log.warning("Slurm does not answer: %s", text) if text else log.warning("Slurm answers again")
            self.words.trouble = text

    def _rest(self) -> float:
        """Seconds until there is something to do by the clock."""
        times = [self._nodes_at]
        if self.sent or self.unwanted or self.riders:
            times.append(self._look_at)
        if self._refused:
            times.append(self._refused_until)
        times += [attempt.signal_at + SIGNAL_AGAIN_S for attempt in self.kills.values()]
        return max(0.01, min(times) - time.monotonic())

    async def _round(self) -> None:
        now = time.monotonic()
        if self._refused and now >= self._refused_until:
            self.outbox = {**self._refused, **self.outbox}
            self._refused.clear()
        if self.outbox:
            await self._send_all()
        due = [a for a in self.kills.values() if now >= a.signal_at + SIGNAL_AGAIN_S]
        if due or ((self.sent or self.unwanted or self.riders) and time.monotonic() >= self._look_at):
            await self._look(due)
        if now > self._limits_at:
            await self.open(self.prefix.split("-")[1])
        elif now > self._nodes_at:
            await self._see_nodes()

    # ---------------------------------------------------------------------------------------------------- sending

    async def _send_all(self) -> None:
        waiting = sorted(self.outbox.values(), key=lambda a: a.tries > 0)
        budget = self._limit("MaxJobCount", 10_000) - len(self.sent)
        groups: dict[tuple[object, ...], list[Attempt]] = {}
        for attempt in waiting[: max(0, budget)]:
            alone = attempt.key if attempt.options.tasks > 1 else None
            groups.setdefault((attempt.options, attempt.meta["pool"][0], alone), []).append(attempt)
        for attempt in waiting[max(0, budget) :]:
            self._refuse([attempt], "Slurm: MaxJobCount is reached")
        for group in groups.values():
            for start in range(0, len(group), self.array_size):
                await self._send(group[start : start + self.array_size])

    async def _send(self, group: list[Attempt]) -> None:
        """One submission; halved while Slurm finds it too many. Raises Unreachable."""
        group = [attempt for attempt in group if self.outbox.get(attempt.key) is attempt]
        if not group:
            return
        name = self.prefix + os.urandom(5).hex()
        try:
            await asyncio.to_thread(self._lay_out, name, group)
        except OSError as error:
            self._refuse(group, f"{error.strerror}: {error.filename}")
            return
        for element, attempt in enumerate(group):
            self.outbox.pop(attempt.key, None)
            attempt.submission, attempt.element = name, element
            attempt.sent_at, attempt.absent_at = time.monotonic(), 0.0
            if attempt.phase != ENDED:
                self.sent[attempt.where] = attempt
        self._look_at = min(self._look_at, time.monotonic() + LOOK_S[0])
        self._interval = LOOK_S[0]
        first = group[0]
        try:
            script = self._script(first, name)
            await self.driver.submit(name, first.meta["comment"], first.options, len(group), script)
        except Refused as error:
            await asyncio.to_thread(self._take_back, name, len(group))
            for attempt in group:
                self.sent.pop(attempt.where, None)
                attempt.submission = ""
            left = [attempt for attempt in group if attempt.phase == WAITING]
            if len(left) > 1 and slurmstate.is_limit(str(error)):
                self.outbox |= {attempt.key: attempt for attempt in left}
                await self._send(left[: len(left) // 2])
                if not any(attempt.key in self._refused for attempt in left):
                    await self._send(left[len(left) // 2 :])
                    return
                left = [attempt for attempt in left if self.outbox.pop(attempt.key, None)]
            self._refuse(left, f"Slurm: {error}")
        else:
            self._pause = REFUSED_S[0]
            for attempt in group:
                self.words.attempts.pop(attempt.key, None)

    def _script(self, attempt: Attempt, name: str) -> str:
        if attempt.hosts:
            return hosts_script(str(self.spool.root), name, self.nodes)
        return (gang_script if attempt.options.tasks > 1 else batch_script)(str(self.spool.root), name)

    def _lay_out(self, name: str, group: list[Attempt]) -> None:
        for attempt in group:
            if attempt.text:
                self.spool.write_order(attempt.task, attempt.text, attempt.meta["log"])
                attempt.text = ""
        self.spool.link(name, [attempt.task for attempt in group])

    def _take_back(self, name: str, size: int) -> None:
        for element in range(size):
            self.spool.unlink(name, element)

    def _refuse(self, attempts: list[Attempt], words: str) -> None:
        for attempt in attempts:
            self.outbox.pop(attempt.key, None)
            self._refused[attempt.key] = attempt
            self.words.attempts[attempt.key] = words
        if attempts:
            self._refused_until = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, REFUSED_S[1])

    # ---------------------------------------------------------------------------------------------------- looking

    async def _look(self, kills: list[Attempt]) -> None:
        began = time.monotonic()
        rows = await self.driver.listing(self.prefix)
        took = time.monotonic() - began
        await self._signal(kills, rows, began)
        for attempt, end in self._riders.lost(self.riders.values(), rows):
            self._over(attempt, end)
        await self._sweep(rows)
        missing = []
        for where, attempt in list(self.sent.items()):
            row = rows.get(where)
            if attempt.sent_at > began - 0.2:
                continue
            if is_expected(row, attempt):
                attempt.absent_at = 0.0
                await self._see(attempt, row)
            else:
                attempt.absent_at = attempt.absent_at or began
                if attempt.exit_at or began - attempt.absent_at >= ABSENT_S:
                    missing.append(attempt)
        if missing:
            await self._search.find(missing)
        picture = [(where, row.state) for where, row in rows.items()]
        changes = picture != self._picture or any(a.absent_at for a in self.sent.values())
        self._picture = picture
        self._interval = LOOK_S[0] if changes else min(self._interval * 1.5, LOOK_S[1])
        self._look_at = time.monotonic() + max(self._interval, LOOK_SHARE * took)

    async def _see(self, attempt: Attempt, row: Row) -> None:
        if attempt.phase == WAITING:
            if slurmstate.could_not_be_launched(row) and attempt.tries < LAUNCHES:
                attempt.tries += 1
                self.look_at_nodes()
                log.warning("%s could not be launched (%s): it is sent again", attempt.key, row.reason)
                await self._again(attempt)
                return
            words = slurmstate.waiting_words(row) if row.phase == slurmstate.WAITING else ""
            if words:
                self.words.attempts[attempt.key] = words
            else:
                self.words.attempts.pop(attempt.key, None)
            if row.phase == slurmstate.STARTING:
                attempt.phase = BEGINS
                attempt.starting = time.time_ns() // 1_000_000
                self._tell(Starting(attempt.key, attempt.starting))

    async def _again(self, attempt: Attempt) -> None:
        """What it was sent as counts no more: a launch of that finds nothing."""
        self.sent.pop(attempt.where, None)
        await asyncio.to_thread(self.spool.unlink, *attempt.where)
        attempt.submission, attempt.absent_at = "", 0.0
        self.put([attempt])

    async def _sweep(self, rows: Listing) -> None:
        """What waits in Slurm and is nobody's is taken out of it; what is ours to refuse, also if it is about to
        begin."""
        now = time.monotonic()
        fresh = {a.submission for a in self.sent.values() if now - a.sent_at < LOOK_S[0]}
        strays = [
            row.id
            for where, row in rows.items()
            if row.phase == slurmstate.WAITING and where not in self.sent and where[0] not in fresh
        ]
        begin = [row.id for where in self.unwanted if (row := rows.get(where)) and row.phase == slurmstate.STARTING]
        self.unwanted &= set(rows)
        if strays:
            await self.driver.cancel(strays)
        if begin:
            await self.driver.cancel(begin, waiting=False)

    async def _signal(self, kills: list[Attempt], rows: Listing, now: float) -> None:
        hard: list[str] = []
        soft: list[str] = []
        tasks: list[str] = []
        for attempt in kills:
            row = rows.get(attempt.row)
            attempt.signal_at = now
            if row is not None and row.phase != slurmstate.OVER:
                late = killed_too_late(attempt, now) and not attempt.rider
                (hard if late else tasks if attempt.meta.get("gang") else soft).append(row.id)
        if soft:
            await self.driver.signal(soft)
        if tasks:
            await self.driver.signal(list(dict.fromkeys(tasks)), tasks=True)
        if hard:
            await self.driver.cancel(hard, waiting=False)


def troubled(nodes: Iterable[slurmstate.Node]) -> str:
    """Nodes that do not work, with Slurm's reason: ``n1 drained: Duplicate jobid``."""
    bad = sorted({(node.trouble, node.name) for node in nodes if node.trouble})
    return "; ".join(
        f"{','.join(name for _, name in group)} {trouble}" for trouble, group in groupby(bad, key=lambda pair: pair[0])
    )
