"""Reads of committed facts, off the loop: a few threads, each with a read-only connection of its own.

In WAL mode a reader sees the last commit before it began and waits for nobody. The queries are in queries.py.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from batchery.core.model import Job
from batchery.store import activity, load, queries
from batchery.store.store import AttemptRow, EndedRow, FeedRow, GroupRow, JobRow, StoreError, StreamRow

P = ParamSpec("P")
T = TypeVar("T")


class SqliteReads:
    """See `store.Reads` for what each method gives. Every one raises StoreError if the file cannot be read."""

    def __init__(self, path: Path, threads: int) -> None:
        self.path = path
        self._pool = ThreadPoolExecutor(threads, "read")
        self._mine = threading.local()
        self._connections: list[sqlite3.Connection] = []

    def close(self) -> None:
        """Wait for reads under way; no more after this."""
        self._pool.shutdown()
        while self._connections:
            self._connections.pop().close()

    async def _ask(
        self, query: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def run() -> T:
            try:
                return query(self._connection(), *args, **kwargs)
            except sqlite3.Error as error:
                raise StoreError(f"cannot read {self.path}: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if found is None:
            uri = self.path.absolute().as_uri() + "?mode=ro"
            found = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            self._mine.connection = found
            self._connections.append(found)
        return found

    async def jobs(self, ids: list[str]) -> dict[str, JobRow]:
        return await self._ask(queries.jobs, ids)

    async def specs(self, seqs: list[int]) -> dict[int, str]:
        return await self._ask(queries.specs, seqs)

    async def attempts(self, seq: int, index: int | None) -> list[AttemptRow]:
        return await self._ask(queries.attempts, seq, index)

    async def attempts_of(self, seqs: list[int]) -> dict[int, list[AttemptRow]]:
        return await self._ask(queries.attempts_of, seqs)

    async def last_attempts(self, seq: int, indexes: list[int]) -> dict[int, AttemptRow]:
        return await self._ask(queries.last_attempts, seq, indexes)

    async def ended(self, seq: int) -> list[EndedRow]:
        return await self._ask(queries.ended, seq)

    async def task_asked(self, seq: int, indexes: list[int]) -> dict[int, tuple[int, str]]:
        return await self._ask(queries.task_asked, seq, indexes)

    async def ghosts(self, ids: list[str]) -> dict[str, Job]:
        return await self._ask(load.ghosts, ids)

    async def page(
        self,
        queue: str,
        *,
        codes: tuple[int, ...] | None,
        before: int,
        limit: int,
        name: str | None = None,
        definition: str | None = None,
        created_before: int | None = None,
        created_after: int | None = None,
        share: str | None = None,
    ) -> list[JobRow]:
        filters = (name, definition, created_before, created_after, share)
        return await self._ask(queries.page, queue, codes, before, limit, *filters)

    async def page_of_consumable(
        self,
        consumable: str,
        *,
        codes: tuple[int | None, ...] | None,
        before: int,
        limit: int,
        name: str | None = None,
    ) -> list[JobRow]:
        return await self._ask(queries.page_of_consumable, consumable, codes, before, limit, name)

    async def definitions_used(self) -> set[str]:
        return await self._ask(queries.definitions_used)

    async def consumables_of(self, seqs: list[int]) -> dict[int, dict[str, int]]:
        return await self._ask(queries.consumables_of, seqs)

    async def tags(self, arns: list[str]) -> dict[str, dict[str, str]]:
        return await self._ask(queries.tags, arns)

    async def streams(
        self, account: str, region: str, group: str, prefix: str, after: str, limit: int
    ) -> list[StreamRow]:
        return await self._ask(queries.streams, account, region, group, prefix, after, limit)

    async def stream(self, account: str, region: str, group: str, name: str) -> StreamRow | None:
        return await self._ask(queries.stream, account, region, group, name)

    async def groups(self, account: str, region: str) -> list[GroupRow]:
        return await self._ask(queries.groups, account, region)

    async def activity(
        self, account: str, region: str, start: int, end: int, before: int, limit: int
    ) -> list[tuple[int, str]]:
        return await self._ask(activity.page, account, region, start, end, before, limit)

    async def feed(self, after: int, limit: int) -> list[FeedRow]:
        return await self._ask(queries.feed_rows, after, limit)

    async def cursors(self) -> dict[str, int]:
        return await self._ask(queries.cursors)
