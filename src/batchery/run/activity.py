"""The activity log as a file: one JSON line for each API call, in the order of the commits (`activity_log`).

The records are those of the store. The loop hands them over when they are committed and never waits; a thread of
their own writes them. A file that was moved away (log rotation) is made anew with the next record. If the file cannot
be written that is logged once, and its records are left out until it can: the store has them all.
"""

import logging
import os
import threading
from collections.abc import Sequence
from queue import SimpleQueue

from batchery.core.changes import Change
from batchery.store.store import Activity

log = logging.getLogger("batchery.activity")


class ActivityLog:
    """Append records to ``path``. Give `publish` to the loop; `close` writes what is left."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._queue: SimpleQueue[list[str] | None] = SimpleQueue()
        self._fd = -1
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="activity-log", daemon=True)
        self._thread.start()

    def publish(self, changes: Sequence[Change], records: Sequence[Activity]) -> None:
        """What the loop calls after a commit."""
        if records:
            self._queue.put([record.doc for record in records])

    def close(self) -> None:
        """Write everything that was published, then let go of the file. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (docs := self._queue.get()) is not None:
            try:
                self._write("".join(f"{doc}\n" for doc in docs).encode())
                self._failing = False
            except OSError as error:
                if not self._failing:
                    log.warning("activity records cannot be written to %s: %s", self.path, error)
                self._failing = True
        if self._fd >= 0:
            os.close(self._fd)

    def _write(self, data: bytes) -> None:
        if self._moved():
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, 0o600)  # it names access keys
        while data:
            data = data[os.write(self._fd, data) :]

    def _moved(self) -> bool:
        if self._fd < 0:
            return True
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except FileNotFoundError:
            return True
