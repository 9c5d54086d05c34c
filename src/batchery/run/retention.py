"""What is forgotten, and when: ended jobs, activity records, logs.

* Ended jobs after ``limits.job_days``, with their attempts and streams (the store spares those that an open job needs).
* Definitions that are INACTIVE since ``limits.inactive_days`` and that no kept job refers to; their numbers stay taken.
* Activity records after ``limits.activity_days``, as CloudTrail's event history does.
* Logs in a group with a retention, when nothing was written for so many days. The stream stays, empty.
* Logs that no stream names any more: of jobs forgotten, of streams deleted while they were live, of attempts that
  never ran. They are found by comparing the files with the rows, so a crash between the two leaves nothing behind.

Nothing of an attempt that has not ended is ever deleted. The decisions are functions of what was read; `Retention`
reads, asks them, and deletes, a little at a time. A logs directory belongs to one server. Decision 072.
"""

import asyncio
import logging
import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Final, NamedTuple

from batchery.config import Limits
from batchery.core.messages import ForgetDefinitions
from batchery.core.model import AttemptKey, Realm, World, task_id
from batchery.core.query import forgettable
from batchery.run import services
from batchery.run.logfiles import remove_log
from batchery.run.port import Service
from batchery.spec.names import log_path
from batchery.store.store import StreamRow

log = logging.getLogger("batchery.retention")

EVERY_S: Final = 600.0
DAY: Final = 86_400_000  # ms
JOBS_AT_ONCE: Final = 500
STREAMS_AT_ONCE: Final = 2_000
DEFINITIONS_AT_ONCE: Final = 500

_LOG: Final = re.compile(r"([0-9a-f]{32})\..+\.log(\.idx)?")

PruneJobs = Callable[[int, int], Awaitable[list[str]]]
PruneActivity = Callable[[int], Awaitable[int]]


class Swept(NamedTuple):
    """What went: jobs, activity rows, logs by their group's retention, logs that no stream names, definitions."""

    jobs: int
    activity: int
    expired: int
    orphans: int
    definitions: int = 0
    services: int = 0  # directories of attempts of service jobs


# --------------------------------------------------------------------------------------------------------- decisions


def jobs_before(now: int, limits: Limits) -> int:
    """Jobs that ended before this (ms) may go."""
    return now - limits.job_days * DAY


def activity_before(now: int, limits: Limits) -> int:
    """Activity records older than this (ms) may go."""
    return now - limits.activity_days * DAY


def has_expired(changed: int, days: int, now: int) -> bool:
    """A log last written at ``changed`` (ms) in a group with a retention of ``days``, 0 for ever."""
    return days > 0 and changed < now - days * DAY


class Known:
    """The task ids that streams name. Eight bytes each: a chance likeness only spares a file."""

    def __init__(self) -> None:
        self._ids = array("Q")
        self._sorted = True

    def add(self, task: str) -> None:
        self._ids.append(int(task[:16], 16))
        self._sorted = False

    def __contains__(self, task: str) -> bool:
        if not self._sorted:
            self._ids = array("Q", sorted(self._ids))
            self._sorted = True
        wanted = int(task[:16], 16)
        place = bisect_left(self._ids, wanted)
        return place < len(self._ids) and self._ids[place] == wanted


def is_orphan(task: str, changed: int, known: Known, living: Collection[str], before: int) -> bool:
    """Logs of a task, last written at ``changed`` (ms), that nothing names and that are older than ``before``."""
    return changed < before and task not in living and task not in known


# ------------------------------------------------------------------------------------------------------------- files


def _changed(path: str) -> int:
    """When a file was last written, ms; never, for one that is not there: then nothing is to be deleted."""
    try:
        return os.stat(path).st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return 1 << 62


def _remove_expired(paths: list[str], days: int, now: int) -> int:
    return sum(remove_log(path) for path in paths if has_expired(_changed(path), days, now))


def _remove_orphans(shelf: str, known: Known, living: Collection[str], before: int) -> int:
    """In one of the directories of logs that share the last two digits of their task ids: how many tasks'."""
    count = 0
    tasks: dict[str, list[str]] = {}
    with os.scandir(shelf) as entries:
        for entry in entries:
            if (match := _LOG.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                tasks.setdefault(match[1], []).append(entry.path)
    for task, paths in tasks.items():
        if is_orphan(task, max(map(_changed, paths)), known, living, before):
            for path in paths:
                Path(path).unlink(missing_ok=True)
            count += 1
    return count


# -------------------------------------------------------------------------------------------------------------- task


class Retention:
    """`run` for ever. The prunes run in the store's writer; they may raise, and then the next round tries again."""

    def __init__(self, service: Service, prune_jobs: PruneJobs, prune_activity: PruneActivity) -> None:
        self._service = service
        self._prune_jobs = prune_jobs
        self._prune_activity = prune_activity
        config = service.config
        self._logs = Path(config.logs or os.path.join(config.data, "logs"))
        self._services = services.Sweeper(services.root_of(config))

    async def run(self) -> None:
        """A round every ten minutes."""
        while True:
            try:
                swept = await self.sweep()
                if any(swept):
                    log.info("forgotten: %s", swept)
            except Exception:  # the store steps down, a disk is full: a later round does it
                log.warning("retention goes on in the next round", exc_info=True)
            await asyncio.sleep(EVERY_S)

    async def sweep(self) -> Swept:
        """One round."""
        now, limits = self._service.now(), self._service.config.limits
        activity = await self._prune_activity(activity_before(now, limits))
        jobs = 0
        while True:
            gone = await self._prune_jobs(jobs_before(now, limits), JOBS_AT_ONCE)
            jobs += len(gone)
            if len(gone) < JOBS_AT_ONCE:
                break
        expired, orphans, folders = await self._sweep_logs(now, jobs_before(now, limits))
        return Swept(jobs, activity, expired, orphans, await self._sweep_definitions(now, limits), folders)

    async def _sweep_definitions(self, now: int, limits: Limits) -> int:
        """After the jobs, which refer to them. None of these can be used by a new job: they are INACTIVE."""
        before = now - limits.inactive_days * DAY
        found = await self._service.ask(forgettable, before)
        if not found:
            return 0
        used = await self._service.reads.definitions_used()
        gone = tuple(arn for arn in found if arn not in used)
        for start in range(0, len(gone), DEFINITIONS_AT_ONCE):
            await self._service.submit(ForgetDefinitions(gone[start : start + DEFINITIONS_AT_ONCE], before))
        return len(gone)

    async def _sweep_logs(self, now: int, before: int) -> tuple[int, int, int]:
        realms = await self._service.ask(_realms)
        living = {task_id(key) for key in await self._service.ask(_living)}
        known, expired = Known(), 0
        for realm in sorted(realms):
            for group in await self._service.reads.groups(*realm):
                after: str | None = ""
                while after is not None:
                    rows = await self._service.reads.streams(*realm, group.name, "", after, STREAMS_AT_ONCE)
                    after = rows[-1].name if len(rows) == STREAMS_AT_ONCE else None
                    for row in rows:
                        known.add(row.task_id)
                    if group.retention:
                        paths = [self._path(row) for row in rows if row.task_id not in living]
                        expired += await asyncio.to_thread(_remove_expired, paths, group.retention, now)
        orphans = 0
        for shelf in await asyncio.to_thread(_shelves, self._logs):
            orphans += await asyncio.to_thread(_remove_orphans, shelf, known, living, before)
        folders = await asyncio.to_thread(self._services.sweep, before, lambda task: task in living or task in known)
        return expired, orphans, folders

    def _path(self, row: StreamRow) -> str:
        return str(log_path(self._logs, row.task_id, row.container))


def _shelves(logs: Path) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(logs) if len(entry.name) == 2 and entry.is_dir())
    except FileNotFoundError:
        return []


def _realms(world: World) -> set[Realm]:
    return set(world.realms)


def _living(world: World) -> set[AttemptKey]:
    return set(world.live)
