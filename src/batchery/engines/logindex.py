"""The time index of a log: which byte was there when.

`<log>.idx` is a row of records (offset, ms since the epoch), two little-endian 64-bit integers: at that time the log
had that many bytes. A byte before a record's offset and not before the last one's was written between the two. Twice
a second is what it is sampled; no byte of the log passes through anybody but the job.
"""

import os
import struct
from typing import Final

RECORD: Final = struct.Struct("<qq")
SUFFIX: Final = ".idx"
PERIOD: Final = 500  # ms


class LogIndex:
    """Samples one log."""

    __slots__ = ("_path", "_size")

    def __init__(self, log_path: str, resume: bool = False) -> None:
        self._path = log_path
        self._size = self._last() if resume else 0

    def sample(self, now: int) -> None:
        """Write down its size if it has grown. ``now``: ms since the epoch."""
        try:
            size = os.stat(self._path).st_size
            if size <= self._size:
                return
            fd = os.open(self._path + SUFFIX, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            try:
                os.write(fd, RECORD.pack(size, now))
            finally:
                os.close(fd)
            self._size = size
        except OSError:  # a full disk, a log taken away: the job does not suffer for its index
            pass

    def _last(self) -> int:
        try:
            with open(self._path + SUFFIX, "rb") as file:
                file.seek(-RECORD.size, os.SEEK_END)
                offset: int = RECORD.unpack(file.read(RECORD.size))[0]
                return offset
        except (OSError, struct.error):
            return 0
