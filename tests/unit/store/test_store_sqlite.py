"""When the disk does not do as it should; and checkpoints."""

import gc
import os
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conformance.store.stocking import NOW, Stock

from batchery.core.model import Resources, Shape
from batchery.store.checkpoint import COMMIT_PAGES, PASSIVE_PAGES, RESTART_PAGES, Checkpointer, checkpoint
from batchery.store.sqlite import SqliteStore
from batchery.store.store import CommitFailed, StoreError


@pytest.fixture
def stock(store: SqliteStore) -> Stock:
    return Stock(store)


@contextmanager
def no_file_may_grow_beyond(size: int) -> Iterator[None]:
    """What a full disk is to a process: writes behind ``size`` bytes fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_stores_nothing_and_is_tried_again(store: SqliteStore, stock: Stock) -> None:
    first = stock.submit()
    stock.commit()
    with no_file_may_grow_beyond(os.path.getsize(f"{store.path}-wal")):
        for _ in range(2):
            stock.seq = 1
            stock.submit()
            with pytest.raises(CommitFailed, match=r"^OperationalError: (disk I/O error|database or disk is full)"):
                stock.commit()
        with pytest.raises(CommitFailed):
            store.probe()
        assert list(store.load().jobs) == [first.id], "reading goes on"
    store.probe()
    assert list(store.load().jobs) == [first.id]
    stock.seq = 1
    second = stock.submit()
    stock.commit()
    assert list(store.load().jobs) == [first.id, second.id]


def test_a_database_that_is_full_stores_nothing(store: SqliteStore, stock: Stock) -> None:
    assert store.connection is not None
    (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(100):
        stock.submit(spec="x" * 4096)
    with pytest.raises(CommitFailed, match="database or disk is full"):
        stock.commit()
    store.probe()
    assert store.load().jobs == {}


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"^cannot use .*file/data: .*Not a directory.*\. Mend that, or give --data$"):
        SqliteStore(tmp_path / "file" / "data").open()


def test_a_read_only_directory_is_refused(tmp_path: Path) -> None:
    place = tmp_path
    if os.geteuid() == 0:  # whom permissions do not stop: but nobody makes files in /proc
        place = Path("/proc/self")
    else:
        place.chmod(0o500)
    with pytest.raises(StoreError, match=r"^cannot use .*/data: .*\. Mend that, or give --data$"):
        SqliteStore(place / "data").open()


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "batchery.db").write_text("Dear diary, " * 1000)
    with pytest.raises(StoreError, match="file is not a database"):
        SqliteStore(tmp_path).open()
    assert (tmp_path / "batchery.db").read_text().startswith("Dear diary")


def test_a_failed_open_lets_go_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "batchery.db").write_text("Dear diary, " * 1000)
    for _ in range(2):
        with pytest.raises(StoreError, match="file is not a database"):
            SqliteStore(tmp_path).open()


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(StoreError, match=r"too old: use a Python with SQLite 3\.38\.0 or newer"):
        SqliteStore(tmp_path).open()


def test_a_store_that_cannot_be_read_says_so(store: SqliteStore) -> None:
    assert store.connection is not None
    store.connection.executescript("DROP TABLE ended; DROP TABLE feed;")
    with pytest.raises(StoreError, match=r"^cannot read .*: no such table: ended$"):
        store.load()
    with pytest.raises(StoreError, match=r"^cannot read .*: no such table: feed$"):
        store.newest()


def test_a_failed_prune_is_a_failed_commit(store: SqliteStore) -> None:
    assert store.connection is not None
    store.connection.executescript("DROP TABLE activity; DROP INDEX job_age;")
    with pytest.raises(CommitFailed):
        store.prune_activity(NOW)
    with pytest.raises(CommitFailed):
        store.prune_jobs(NOW, 10)


def test_every_commit_is_synced_and_none_makes_a_checkpoint(store: SqliteStore) -> None:
    assert store.connection is not None
    settings = {
        name: store.connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "wal_autocheckpoint")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0}


@pytest.mark.parametrize("enabled", [True, False])
def test_loading_leaves_the_collector_as_it_was(store: SqliteStore, enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        store.load()
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_shapes_of_different_jobs_are_the_same_object(store: SqliteStore, stock: Stock) -> None:
    for _ in range(2):
        stock.submit(shape=Shape(Resources(250, 64)))
        stock.commit()
    one, two = store.load().jobs.values()
    assert one.shape is two.shape


# ------------------------------------------------------------------------------------------------------ checkpoints


def pending(store: SqliteStore) -> int:
    """Pages of the log that are not in the database."""
    with sqlite3.connect(store.path) as connection:
        _, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    connection.close()
    return int(pages - copied)


def test_a_checkpoint_is_made_once_enough_was_committed(store: SqliteStore, stock: Stock) -> None:
    stock.submit()
    stock.commit()
    before = os.path.getsize(store.path)
    watcher = Checkpointer(store.path)
    for _ in range(50):
        stock.submit(spec="x" * 4096)
    stock.commit()
    watcher.note((PASSIVE_PAGES - 2 * COMMIT_PAGES) * 4096)
    assert os.path.getsize(store.path) == before, "not yet"
    watcher.note(0)
    deadline = time.monotonic() + 10
    while os.path.getsize(store.path) == before and time.monotonic() < deadline:
        time.sleep(0.005)
    watcher.close()
    assert os.path.getsize(store.path) >= before + 50 * 4096


def test_a_long_log_is_started_over(
    store: SqliteStore, stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchery.store.checkpoint.RESTART_PAGES", 100)
    for _ in range(200):
        stock.submit(spec="x" * 4096)
    stock.commit()
    connection = sqlite3.connect(store.path, isolation_level=None)
    checkpoint(connection)
    connection.close()
    size = os.path.getsize(f"{store.path}-wal")
    for _ in range(5):
        stock.submit()
        stock.commit()
    assert os.path.getsize(f"{store.path}-wal") == size, "the log is written from its start again"
    assert RESTART_PAGES > PASSIVE_PAGES


def test_a_checkpoint_that_fails_is_tried_again(store: SqliteStore, stock: Stock) -> None:
    watcher = Checkpointer(store.path)
    before = os.path.getsize(store.path)
    for _ in range(50):
        stock.submit(spec="x" * 4096)
    stock.commit()
    with no_file_may_grow_beyond(before):
        watcher.note(PASSIVE_PAGES * 4096)
        deadline = time.monotonic() + 10
        while watcher.wanted.is_set() and time.monotonic() < deadline:
            time.sleep(0.005)
    watcher.note(PASSIVE_PAGES * 4096)
    while os.path.getsize(store.path) == before and time.monotonic() < deadline:
        time.sleep(0.005)
    watcher.close()
    assert os.path.getsize(store.path) > before
