"""Schema versions: numbered SQL files, applied in order, counted by SQLite's own user_version.

`migrations/001.sql` is the schema of the first release; each later release may add a file and never changes an old
one. A database that is upgraded is copied first; one that a newer program wrote is refused.
"""

import sqlite3
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Final

from batchery.store.store import StoreError

APPLICATION: Final = 0x62746368  # "btch", in the header of the file


def scripts() -> list[str]:
    """The SQL of every schema version, in order."""
    files = resources.files("batchery.store").joinpath("migrations").iterdir()
    return [file.read_text() for file in sorted(files, key=lambda file: file.name) if file.name.endswith(".sql")]


def migrate(connection: sqlite3.Connection, path: Path, versions: list[str]) -> None:
    """Bring the database at ``path`` to the newest of ``versions``.

    Raises StoreError if it is not ours, or newer than the program.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (have,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION and tables:
        raise StoreError(f"{path} is not a Batchery database: give --data another directory")
    if have > len(versions):
        raise StoreError(
            f"{path} has schema {have} and this Batchery knows {len(versions)}: "
            "start the newer Batchery that wrote it, or give --data another directory"
        )
    if 0 < have < len(versions):
        _copy(connection, path.with_name(f"{path.name}.schema-{have}"))
    for number, script in enumerate(versions[have:], have + 1):
        marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number};"
        connection.executescript(f"BEGIN IMMEDIATE; {script}; {marks} COMMIT;")


def _copy(connection: sqlite3.Connection, to: Path) -> None:
    part = to.with_name(to.name + ".part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(part)) as copy:
        connection.backup(copy)
    part.replace(to)
