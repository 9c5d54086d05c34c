"""Where Slurm is spoken to: submissions, one listing for all, signals.

Theory of operation
-------------------
What is to be sent waits in ``outbox``; attempts with the same options go as one array. A submission has a random name;
whatever becomes of the command that sends it, the attempt is looked up by that name and its index, and nothing else.

The listing is asked for at an interval that follows what it costs and whether anything changes. From it come the
reasons why jobs wait, nodes that are made ready, and what is *not* there: an attempt that Slurm does not list twice
over some seconds, and whose files do not say that it ended, is looked for once more among the jobs that are over. Then

* it was not claimed: it never ran. Slurm has forgotten it, or gave it up; it is sent again. Cancelled by an operator,
  it has ended. If Slurm ran it and it did not find its files, twice, it cannot be started.
* it was claimed: how it ended is what Slurm says. If Slurm has forgotten it, its host is taken to be lost after
  FORGOTTEN_S: a controller ends jobs that it does not know when their nodes register.

What Slurm refuses stays here, with Slurm's words, and is offered again with growing pauses. Nothing is decided while
the controller does not answer.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import groupby
from typing import Final

from batchery.core.messages import Report, Starting
from batchery.core.model import START_FAILED, TERMINATED, TIMEOUT, AttemptKey, Words
from batchery.engines import slurmstate
from batchery.engines.slurmdriver import Driver, Refused, Unreachable
from batchery.engines.slurmfiles import Spool
from batchery.engines.slurmjobs import BEGINS, ENDED, WAITING, Attempt, killed_too_late
from batchery.engines.slurmscript import batch_script
from batchery.engines.slurmstate import Listing, Row

LOOK_S: Final = (1.0, 8.0)  #: between two listings, at least and at most
LOOK_SHARE: Final = 20  #: a listing may take one part in this of the time
ABSENT_S: Final = 2.5  #: not listed for so long: it is looked for
NODE_S: Final = 5.0  #: for the files of a job that Slurm says is over
FORGOTTEN_S: Final = 30.0
REFUSED_S: Final = (2.0, 30.0)
SIGNAL_AGAIN_S: Final = 5.0
LIMITS_S: Final = 300.0

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
        self._settle, self._over, self._tell = settle, over, tell
        self.prefix = ""
        self.outbox: dict[AttemptKey, Attempt] = {}
        self.sent: dict[tuple[str, int], Attempt] = {}
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
        self._picture: list[tuple[tuple[str, int], str]] = []

    # ---------------------------------------------------------------------------------------------------- what is

    async def open(self, instance: str) -> None:
        """Ask the cluster what it is. Raises Refused or Unreachable."""
        self.prefix = f"bt-{instance}-"
        self.config = await self.driver.config()
        self.nodes = await self.driver.nodes()
        self._limits_at = time.monotonic() + LIMITS_S

    def _limit(self, name: str, default: int) -> int:
        text = self.config.get(name, "")
        return int(text) if text.isdigit() else default

    @property
    def array_size(self) -> int:
        return max(1, self._limit("MaxArraySize", 1001))

    def forget(self, attempt: Attempt) -> None:
        """It is over, or was taken back."""
        for table in (self.outbox, self._refused, self.kills):
            table.pop(attempt.key, None)
        self.words.attempts.pop(attempt.key, None)
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
            try:
                await asyncio.wait_for(self.wake.wait(), self._rest())
            except TimeoutError:
                pass
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

    def _rest(self) -> float | None:
        """Seconds until there is something to do by the clock."""
        times = []
        if self.sent or self.unwanted:
            times.append(self._look_at)
        if self._refused:
            times.append(self._refused_until)
        times += [attempt.signal_at + SIGNAL_AGAIN_S for attempt in self.kills.values()]
        return max(0.01, min(times) - time.monotonic()) if times else None

    async def _round(self) -> None:
        now = time.monotonic()
        if self._refused and now >= self._refused_until:
            self.outbox = {**self._refused, **self.outbox}
            self._refused.clear()
        if self.outbox:
            await self._send_all()
        due = [a for a in self.kills.values() if now >= a.signal_at + SIGNAL_AGAIN_S]
        if due or ((self.sent or self.unwanted) and time.monotonic() >= self._look_at):
            await self._look(due)
        if now > self._limits_at:
            await self.open(self.prefix.split("-")[1])

    # ---------------------------------------------------------------------------------------------------- sending

    async def _send_all(self) -> None:
        waiting = sorted(self.outbox.values(), key=lambda a: a.tries > 0)
        budget = self._limit("MaxJobCount", 10_000) - len(self.sent)
        groups: dict[tuple[object, ...], list[Attempt]] = {}
        for attempt in waiting[: max(0, budget)]:
            groups.setdefault((attempt.options, attempt.meta["pool"][0]), []).append(attempt)
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
            script = batch_script(str(self.spool.root), name)
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
        await self._sweep(rows)
        missing = []
        for where, attempt in list(self.sent.items()):
            row = rows.get(where)
            if attempt.sent_at > began - 0.2:
                continue
            if row is None or row.phase == slurmstate.OVER or attempt.exit_at:
                attempt.absent_at = attempt.absent_at or began
                if attempt.exit_at or began - attempt.absent_at >= ABSENT_S:
                    missing.append(attempt)
            else:
                attempt.absent_at = 0.0
                self._see(attempt, row)
        if missing:
            await self._find(missing)
        picture = [(where, row.state) for where, row in rows.items()]
        changes = picture != self._picture or any(a.absent_at for a in self.sent.values())
        self._picture = picture
        self._interval = LOOK_S[0] if changes else min(self._interval * 1.5, LOOK_S[1])
        self._look_at = time.monotonic() + max(self._interval, LOOK_SHARE * took)

    def _see(self, attempt: Attempt, row: Row) -> None:
        if attempt.phase == WAITING:
            words = slurmstate.waiting_words(row) if row.phase == slurmstate.WAITING else ""
            if words:
                self.words.attempts[attempt.key] = words
            else:
                self.words.attempts.pop(attempt.key, None)
            if row.phase == slurmstate.STARTING:
                attempt.phase = BEGINS
                attempt.starting = time.time_ns() // 1_000_000
                self._tell(Starting(attempt.key, attempt.starting))

    async def _sweep(self, rows: Listing) -> None:
        """What waits in Slurm and is nobody's is taken out of it."""
        now = time.monotonic()
        fresh = {a.submission for a in self.sent.values() if now - a.sent_at < LOOK_S[0]}
        strays = [
            row.id
            for where, row in rows.items()
            if row.phase == slurmstate.WAITING and where not in self.sent and where[0] not in fresh
        ]
        self.unwanted &= set(rows)
        if strays:
            await self.driver.cancel(strays)

    async def _signal(self, kills: list[Attempt], rows: Listing, now: float) -> None:
        hard: list[str] = []
        soft: list[str] = []
        for attempt in kills:
            row = rows.get(attempt.where)
            attempt.signal_at = now
            if row is not None and row.phase != slurmstate.OVER:
                (hard if killed_too_late(attempt, now) else soft).append(row.id)
        if soft:
            await self.driver.signal(soft)
        if hard:
            await self.driver.cancel(hard, waiting=False)

    # ------------------------------------------------------------------------------------------------ what is not there

    async def _find(self, missing: list[Attempt]) -> None:
        """Not listed: the files may have it, or Slurm's memory of what is over."""
        await self._settle(missing)
        left = [attempt for attempt in missing if attempt.phase != ENDED]
        if not left:
            return
        rows = await self.driver.listing(self.prefix, ended=True)
        for attempt in left:
            row = rows.get(attempt.where)
            found = await asyncio.to_thread(self.spool.look, attempt.task)
            state = row.state if row is not None else ""
            over = row is None or row.phase == slurmstate.OVER
            if found.exit is not None:
                if over or time.monotonic() - attempt.exit_at > FORGOTTEN_S:
                    self._over(attempt, attempt.ends_by(found, (state or slurmstate.FORGOTTEN) if over else ""))
            elif not over:
                attempt.absent_at = 0.0
            elif found.claimed:
                self._judge(attempt, row)
            else:
                await self._never_ran(attempt, row)

    def _judge(self, attempt: Attempt, row: Row | None) -> None:
        """It had begun, and left no exit code."""
        patience = FORGOTTEN_S if row is None else NODE_S
        if time.monotonic() - attempt.absent_at < patience:
            return
        said = slurmstate.ended_by_slurm(row.state if row else "", None)
        host = attempt.node or (row.node if row else "")
        cause = attempt.killed or said.cause
        code = slurmstate.KILLED if attempt.killed else said.code
        now = time.time_ns() // 1_000_000
        log.warning("%s ended without an exit code; Slurm says %s", attempt.key, row.state if row else "nothing")
        self._over(attempt, attempt.ends(cause, now, code, said.reason, host))

    async def _never_ran(self, attempt: Attempt, row: Row | None) -> None:
        """It was not claimed: send it again, unless Slurm's word is that it is not to be."""
        state = row.state if row is not None else ""
        cause = {"CANCELLED": TERMINATED, "TIMEOUT": TIMEOUT, "DEADLINE": TIMEOUT}.get(state, "")
        words = f"Slurm: {state}"
        if state in ("COMPLETED", "FAILED"):
            attempt.tries += 1
            if attempt.tries > 1:
                cause = START_FAILED
                node = row.node if row is not None else ""
                words = (
                    f"CannotStartContainerError: node {node} does not find {self.spool.root}: `logs` has to be a "
                    "directory that the server and all nodes share."
                )
        if not cause:
            log.warning("%s is not in Slurm any more (%s): it is sent again", attempt.key, state or "forgotten")
            self.sent.pop(attempt.where, None)
            await asyncio.to_thread(self.spool.unlink, *attempt.where)
            attempt.submission, attempt.absent_at = "", 0.0
            self.put([attempt])
        elif await asyncio.to_thread(self.spool.claim, attempt.task):
            self._over(attempt, attempt.ends(cause, time.time_ns() // 1_000_000, None, words))


def troubled(nodes: Iterable[slurmstate.Node]) -> str:
    """Nodes that do not work, with Slurm's reason: ``n1 drained: Duplicate jobid``."""
    bad = sorted({(node.trouble, node.name) for node in nodes if node.trouble})
    return "; ".join(
        f"{','.join(name for _, name in group)} {trouble}" for trouble, group in groupby(bad, key=lambda pair: pair[0])
    )
