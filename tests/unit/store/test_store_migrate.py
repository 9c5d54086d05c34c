"""Schema versions: upgraded in order, copied first, never downgraded."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from batchery.store.migrate import migrate, scripts
from batchery.store.sqlite import SqliteStore
from batchery.store.store import StoreError

ONE = "CREATE TABLE a (x); INSERT INTO a VALUES (1);"
TWO = "ALTER TABLE a ADD y; UPDATE a SET y = x + 1;"
THREE = "INSERT INTO a VALUES (7, 8);"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def rows(connection: sqlite3.Connection) -> list[tuple[int, ...]]:
    return connection.execute("SELECT * FROM a").fetchall()


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_new_database_gets_every_version(database: sqlite3.Connection, path: Path) -> None:
    migrate(database, path, [ONE, TWO])
    assert (rows(database), version(database)) == ([(1, 2)], 2)
    assert [file.name for file in path.parent.iterdir()] == ["some.db"], "there was nothing to copy"


def test_an_old_one_is_copied_and_gets_what_it_lacks(database: sqlite3.Connection, path: Path) -> None:
    migrate(database, path, [ONE])
    database.execute("INSERT INTO a VALUES (5)")
    migrate(database, path, [ONE, TWO, THREE])
    assert (rows(database), version(database)) == ([(1, 2), (5, 6), (7, 8)], 3)
    with closing(sqlite3.connect(path.with_name("some.db.schema-1"))) as copy:
        assert (rows(copy), version(copy)) == ([(1,), (5,)], 1)
    migrate(database, path, [ONE, TWO, THREE])
    assert len(rows(database)) == 3


def test_a_version_happens_whole_or_not_at_all(database: sqlite3.Connection, path: Path) -> None:
    migrate(database, path, [ONE])
    with pytest.raises(sqlite3.OperationalError, match="no such table: b"):
        migrate(database, path, [ONE, TWO, "UPDATE a SET x = 9; UPDATE b SET x = 1;"])
    database.close()
    with closing(sqlite3.connect(path)) as again:
        assert (rows(again), version(again)) == ([(1, 2)], 2), "the version before it stands"


def test_a_newer_one_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    assert store.connection is not None
    store.connection.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(StoreError, match=r"batchery\.db has schema 99 and this Batchery knows \d+: start the newer"):
        SqliteStore(tmp_path).open()


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "batchery.db")) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match=r"batchery\.db is not a Batchery database: give --data another directory"):
        SqliteStore(tmp_path).open()
    with closing(sqlite3.connect(tmp_path / "batchery.db")) as other:
        assert [name for (name,) in other.execute("SELECT name FROM sqlite_schema")] == ["theirs"]


def test_the_scripts_are_in_order_and_there_from_the_first_release() -> None:
    assert "CREATE TABLE meta" in scripts()[0]
