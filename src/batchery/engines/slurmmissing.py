"""Attempts that Slurm does not list as it should: what became of them.

An attempt that is not listed, or is listed as waiting though it began, for some seconds, is looked for in its files,
then among the jobs that are over, as long as the controller remembers them, then in Slurm's accounting, if there is
any. Then

* it was not claimed: it never ran. Slurm has forgotten it, or gave it up; it is sent again. Cancelled by an operator,
  which leaves no record of an element of an array that waited, it has ended. If Slurm ran it and it did not find its
  files, twice, it cannot be started.
* it was claimed: how it ended is what Slurm says. If Slurm has forgotten it, its host is taken to be lost after
  FORGOTTEN_S: a controller ends jobs that it does not know, or has waiting, when their nodes register. It calls them
  CANCELLED then; but who cancels a job sends SIGTERM first, which its wrapper notes.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeGuard

from batchery.core.messages import Report
from batchery.core.model import START_FAILED, TERMINATED, TIMEOUT
from batchery.engines import slurmstate
from batchery.engines.slurmdriver import Driver
from batchery.engines.slurmfiles import Spool
from batchery.engines.slurmjobs import BEGINS, ENDED, RUNS, Attempt
from batchery.engines.slurmstate import OVER, WAITING, Listing, Row

ABSENT_S: Final = 2.5  #: not listed for so long: it is looked for
NODE_S: Final = 5.0  #: for the files of a job that Slurm says is over
FORGOTTEN_S: Final = 30.0

log = logging.getLogger(__name__)


class Search:
    """Of one cluster. ``settle`` reads the files of attempts anew, ``over`` is told an end, ``again`` what is to be
    sent once more."""

    def __init__(
        self,
        driver: Driver,
        spool: Spool,
        settle: Callable[[Iterable[Attempt]], Awaitable[None]],
        over: Callable[[Attempt, Report], None],
        again: Callable[[Attempt], Awaitable[None]],
    ) -> None:
        self._driver, self._spool = driver, spool
        self._settle, self._over, self._again = settle, over, again
        self.accounting = False

    async def find(self, missing: list[Attempt]) -> None:
        """Raises Refused or Unreachable: then nothing is decided."""
        await self._settle(missing)
        left = [attempt for attempt in missing if attempt.phase != ENDED]
        if not left:
            return
        rows = await self._told(left)
        known = {name for name, _ in rows}
        for attempt in left:
            if attempt.phase == ENDED:
                continue
            row = rows.get(attempt.where)
            found = await asyncio.to_thread(self._spool.look, attempt.task)
            state = row.state if row is not None else ""
            over = row is None or row.phase == OVER
            if row is not None and row.phase == WAITING and found.claimed:
                attempt.requeued = True
                await self._driver.cancel([row.id])
            if attempt.requeued:
                state, over = slurmstate.REQUEUED, True
            if found.exit is not None:
                if over or time.monotonic() - attempt.exit_at > FORGOTTEN_S:
                    self._over(attempt, attempt.ends_by(found, (state or slurmstate.FORGOTTEN) if over else ""))
            elif not over:
                attempt.absent_at = 0.0
            elif found.claimed:
                await self._judge(attempt, row, state)
            else:
                await self._never_ran(attempt, row, attempt.submission in known)

    async def _told(self, left: list[Attempt]) -> Listing:
        rows = await self._driver.listing(common_prefix(left), ended=True)
        unknown = {attempt.submission for attempt in left if attempt.where not in rows}
        if unknown and self.accounting:
            past = await self._driver.history(sorted(unknown))
            rows |= {where: row for where, row in past.items() if where not in rows and row.phase == OVER}
        return rows

    async def _judge(self, attempt: Attempt, row: Row | None, state: str) -> None:
        """It had begun, and left no exit code."""
        patience = FORGOTTEN_S if row is None else NODE_S
        if time.monotonic() - attempt.absent_at < patience:
            return
        if state == "CANCELLED" and not await asyncio.to_thread(self._spool.was_told, attempt.task):
            state = slurmstate.ABORTED
        said = slurmstate.ended_by_slurm(state, None)
        host = attempt.node or (row.node if row else "")
        cause = attempt.killed or said.cause
        code = slurmstate.KILLED if attempt.killed else said.code
        now = time.time_ns() // 1_000_000
        log.warning("%s ended without an exit code; Slurm says %s", attempt.key, state or "nothing")
        self._over(attempt, attempt.ends(cause, now, code, said.reason, host))

    async def _never_ran(self, attempt: Attempt, row: Row | None, others: bool) -> None:
        """It was not claimed: send it again, unless Slurm's word is that it is not to be. ``others``: Slurm knows other
        elements of its array, and forgets none of one: what waited and is no more was cancelled."""
        state = row.state if row is not None else "CANCELLED" if others else ""
        cause = {"CANCELLED": TERMINATED, "TIMEOUT": TIMEOUT, "DEADLINE": TIMEOUT}.get(state, "")
        words = f"Slurm: {state}"
        if state in ("COMPLETED", "FAILED"):
            attempt.tries += 1
            if attempt.tries > 1:
                cause = START_FAILED
                node = row.node if row is not None else ""
                words = (
                    f"CannotStartContainerError: node {node} does not find {self._spool.root}: `logs` has to be a "
                    "directory that the server and all nodes share."
                )
        if not cause:
            log.warning("%s is not in Slurm any more (%s): it is sent again", attempt.key, state or "forgotten")
            await self._again(attempt)
        elif await asyncio.to_thread(self._spool.claim, attempt.task):
            self._over(attempt, attempt.ends(cause, time.time_ns() // 1_000_000, None, words))


def is_expected(row: Row | None, attempt: Attempt) -> TypeGuard[Row]:
    """Whether Slurm lists this attempt as it should, and its end does not wait for Slurm's word."""
    if row is None or row.phase == OVER or attempt.exit_at:
        return False
    return row.phase != WAITING or attempt.phase not in (BEGINS, RUNS)


def common_prefix(attempts: list[Attempt]) -> str:
    """Of the names of submissions, all of one instance: ``bt-<instance>-``."""
    return attempts[0].submission.rpartition("-")[0] + "-"
