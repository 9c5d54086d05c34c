"""SQLite: one file, one writer thread, write-ahead log, every commit on the disk before it is answered.

Theory of operation
-------------------
`open` takes the directory (a lock that ends with the process), refuses network file systems, migrates and raises the
epoch. From then on one connection writes, and only the commit thread uses it; the reads of `reads.py` and the
checkpoints of `checkpoint.py` have connections of their own, which SQLite lets go on beside it.

Every transaction first looks whether the epoch is still ours.

`commit` is one transaction of a few statements, each of which writes all the rows of a table from one JSON text
(rows.py). If anything at all goes wrong it is rolled back, the connection is closed, and CommitFailed raised. After a
failed sync the log may still hold the frames of the transaction that was refused, and a crash could bring them back;
the next commit overwrites them. That is why the leader calls `probe` before it loads again.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, TypeVar

from batchery.core.model import World
from batchery.store import activity as records
from batchery.store import load, prune
from batchery.store.checkpoint import Checkpointer
from batchery.store.directory import lock, refuse_network
from batchery.store.feed import VERSION
from batchery.store.migrate import migrate, scripts
from batchery.store.reads import SqliteReads
from batchery.store.rows import TABLES
from batchery.store.store import Activity, Aside, CommitFailed, Rows, StoreError

T = TypeVar("T")

OLDEST: Final = (3, 38, 0)  #: STRICT tables, UPDATE FROM, the -> operators
TRIM_EVERY: Final = 64  #: commits between looks at how long the feed is

#: What `Aside` may name: statements that all take its values.
ASIDES: Final[dict[str, tuple[str, ...]]] = {
    "put_group": (
        "INSERT INTO log_group VALUES (?1 || '/' || ?2, ?3, ?4, ?5) "
        "ON CONFLICT (realm, name) DO UPDATE SET retention = excluded.retention",
    ),
    "delete_group": (
        "DELETE FROM log_group WHERE realm = ?1 || '/' || ?2 AND name = ?3",
        "DELETE FROM stream WHERE realm = (SELECT id FROM symbol WHERE text = ?1 || '/' || ?2) "
        "AND log_group = (SELECT id FROM symbol WHERE text = ?3)",
    ),
    "delete_stream": (
        "DELETE FROM stream WHERE realm = (SELECT id FROM symbol WHERE text = ?1 || '/' || ?2) "
        "AND log_group = (SELECT id FROM symbol WHERE text = ?3) AND name = ?4",
    ),
    "cursor": ("INSERT INTO cursor VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq",),
    "drop_cursor": ("DELETE FROM cursor WHERE name = ?1",),
}

_LAST_AT: Final = "coalesce((SELECT at FROM feed ORDER BY seq DESC LIMIT 1), 0)"
_FEED: Final = f"INSERT INTO feed (version, at, changes) VALUES (?, max(?, {_LAST_AT}), ?)"
_TRIM: Final = "DELETE FROM feed WHERE seq <= max(?1 - ?2, min(?1 - 1, (SELECT coalesce(min(seq), 0) FROM cursor)))"
_NEWEST: Final = f"SELECT max({_LAST_AT}, coalesce((SELECT last FROM activity ORDER BY key DESC LIMIT 1), 0))"


class SqliteStore:
    """The Store of one server. ``feed_rows``: commits kept in the feed for readers that are behind."""

    def __init__(self, directory: Path, feed_rows: int = 100_000, readers: int = 2) -> None:
        self.directory = directory
        self.path = directory / "batchery.db"
        self.feed_rows = feed_rows
        self.epoch = 0
        self.reads = SqliteReads(self.path, readers)
        self.connection: sqlite3.Connection | None = None
        self.known: set[str] = set()  # symbols that are stored
        self._lock = -1
        self._checkpointer: Checkpointer | None = None

    # ------------------------------------------------------------------------------------------------ open, close

    def open(self) -> None:
        """Lock, migrate, raise the epoch. Raises StoreError with a sentence that says what to do."""
        if sqlite3.sqlite_version_info < OLDEST:
            needed = ".".join(map(str, OLDEST))
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: use a Python with SQLite {needed} or newer")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            refuse_network(self.directory)
            self._lock = lock(self.directory)
            self.epoch = 0
            migrate(self._connect(), self.path, scripts())
            (self.epoch,) = self._write(self._raise_epoch)
            self._checkpointer = Checkpointer(self.path)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | sqlite3.Error | CommitFailed):
                raise StoreError(f"cannot use {self.directory}: {error}. Mend that, or give --data") from error
            raise

    def _connect(self) -> sqlite3.Connection:
        if self.connection is None:
            self.connection = sqlite3.connect(
                self.path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.execute("PRAGMA wal_autocheckpoint = 0")
            self.connection.execute("PRAGMA cache_size = -65536")  # KiB: 64 MiB
        return self.connection

    @staticmethod
    def _raise_epoch(connection: sqlite3.Connection) -> tuple[int]:
        row: tuple[int] = connection.execute("UPDATE meta SET epoch = epoch + 1 RETURNING epoch").fetchone()
        return row

    def _check_epoch(self, connection: sqlite3.Connection) -> None:
        """Another server may write though we hold the lock: a directory was moved, or locks do not hold there."""
        (epoch,) = connection.execute("SELECT epoch FROM meta").fetchone()
        if self.epoch and epoch != self.epoch:
            raise CommitFailed(f"{self.path} is another server's now: its epoch is {epoch}, ours was {self.epoch}")

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        self.reads.close()
        if self._checkpointer is not None:
            self._checkpointer.close()
            self._checkpointer = None
        self._disconnect()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _disconnect(self) -> None:
        connection, self.connection = self.connection, None
        self.known = set()
        if connection is not None:
            connection.close()

    # -------------------------------------------------------------------------------------------------- the writer

    def load(self) -> World:
        """See `load.load`. Raises StoreError if the database cannot be read."""
        try:
            connection = self._connect()
            self.known = {text for (text,) in connection.execute("SELECT text FROM symbol")}
            return load.load(connection)
        except sqlite3.Error as error:
            self._disconnect()
            raise StoreError(f"cannot read {self.path}: {error}") from error

    def commit(self, rows: Rows, activity: Sequence[Activity], aside: Sequence[Aside] = ()) -> None:
        """One transaction of everything. Raises CommitFailed; then nothing of it is stored."""
        new = [text for text in rows.symbols if text not in self.known]

        def write(connection: sqlite3.Connection) -> None:
            if new:
                texts = json.dumps(new)
                connection.execute("INSERT OR IGNORE INTO symbol (text) SELECT value FROM json_each(?)", (texts,))
            for name, sql in TABLES.items():
                text = rows.tables.get(name)
                if text:
                    connection.execute(sql, (text,))
            for name, values in aside:
                for sql in ASIDES[name]:
                    connection.execute(sql, values)
            if activity:
                records.write(connection, activity)
            if rows.feed:
                self._feed(connection, rows)

        self._write(write)
        self.known.update(new)
        if self._checkpointer is not None:
            self._checkpointer.note(sum(map(len, rows.tables.values())) + len(rows.feed) + 512 * len(activity))

    def _feed(self, connection: sqlite3.Connection, rows: Rows) -> None:
        """Append to the feed; now and then drop what every reader has done with, or what is too much."""
        seq = connection.execute(_FEED, (VERSION, rows.at, rows.feed)).lastrowid or 0
        if seq % TRIM_EVERY == 0:
            connection.execute(_TRIM, (seq, self.feed_rows))

    def probe(self) -> None:
        """Commit a row that means nothing. Raises CommitFailed."""
        self._write(lambda connection: connection.execute("UPDATE meta SET probe = probe + 1"))

    def newest(self) -> int:
        """The newest stamp in the store, ms (0: none). The feed always keeps its last row."""
        try:
            (at,) = self._connect().execute(_NEWEST).fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"cannot read {self.path}: {error}") from error
        return int(at)

    def prune_jobs(self, before: int, limit: int, keep: Collection[str] = ()) -> list[str]:
        """See `prune.prune_jobs`. Raises CommitFailed."""
        return self._write(lambda connection: prune.prune_jobs(connection, before, limit, keep))

    def prune_activity(self, before: int) -> int:
        """See `activity.prune`. Raises CommitFailed."""
        return self._write(lambda connection: records.prune(connection, before))

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """``work`` in one transaction, whole or not at all. Only who holds the directory writes."""
        if self._lock < 0:
            raise CommitFailed(f"{self.directory} was let go of: another server may have it")
        try:
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            self._check_epoch(connection)
            done = work(connection)
            connection.execute("COMMIT")
            return done
        except (sqlite3.Error, OSError) as error:
            self._disconnect()  # which rolls back
            raise CommitFailed(f"{type(error).__name__}: {error}") from error
        except BaseException:
            if self.connection is not None and self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
