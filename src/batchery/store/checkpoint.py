"""WAL checkpoints, off the commit path: a thread with a connection of its own.

A commit only appends to the log. Once enough has been appended, this thread copies it into the database
(PASSIVE: nobody waits), and the next commit starts the log over. While commits come without a pause there is always a
little that was appended meanwhile, so the log would never start over; once it is `RESTART_PAGES` long the thread takes
the writer's place for the few pages that are left (RESTART).

The log keeps its size: overwriting a file that is there syncs in half the time of appending to it.
"""

import sqlite3
from pathlib import Path
from threading import Event, Thread
from typing import Final

PAGE: Final = 4096
COMMIT_PAGES: Final = 8  #: that a commit writes whatever is in it
PASSIVE_PAGES: Final = 4096
RESTART_PAGES: Final = 16_384


class Checkpointer:
    """Counts what commits append, and copies it into the database from time to time."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=0.2, check_same_thread=False)
        # From here on this connection has the database open, so the log stays while the writer opens its own anew.
        self.connection.execute("SELECT one FROM meta").fetchone()
        self.pages = 0
        self.closing = False
        self.wanted = Event()
        self.thread = Thread(target=self._run, name="checkpoint", daemon=True)
        self.thread.start()

    def note(self, size: int) -> None:
        """A commit of ``size`` bytes was made."""
        self.pages += COMMIT_PAGES + size // PAGE
        if self.pages >= PASSIVE_PAGES:
            self.pages = 0
            self.wanted.set()

    def close(self) -> None:
        self.closing = True
        self.wanted.set()
        self.thread.join()
        self.connection.close()

    def _run(self) -> None:
        while True:
            self.wanted.wait()
            if self.closing:
                return
            self.wanted.clear()
            try:
                checkpoint(self.connection)
            except sqlite3.Error:
                continue  # a full disk, say: the log has everything, commits will tell, and there is a next time


def checkpoint(connection: sqlite3.Connection) -> None:
    """Copy what the log has. Raises sqlite3.Error; then nothing is lost."""
    _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if pages >= RESTART_PAGES:
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
