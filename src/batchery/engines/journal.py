"""The agent's memory on disk: what outlives a SIGKILL of the agent.

An append-only file of JSON lines: *noted* (this key is about to be started, and what ending it needs), *begun* (its
process), *over* (its end), *acked* (may be forgotten). A key is noted before its process exists, so a key that was
ever started is known for ever: with neither process nor exit code it is Lost, and never started again. Nothing is
synced: the file has to outlive the agent, not the host; what was noted on another boot of the host is dead.
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from batchery.core.model import AttemptKey
from batchery.engines.room import Share
from batchery.engines.wire import News

COMPACT_BYTES: Final = 8 * 1024 * 1024


class Slip(Struct, omit_defaults=True):
    """What must be known of an attempt to wait for it, time it out, kill it and tidy up after it."""

    key: AttemptKey
    name: str
    log_path: str
    timeout: int
    grace: int
    share: Share
    workdir: str = ""
    cgroup: str = ""
    keep: bool = False  # the workdir stays
    places: list[str] = []  # names of several containers; `cgroup` has a line for each
    aside: list[str] = []  # those of them that do not decide
    logs: list[str] = []  # and of each the log
    tale: str = ""  # what their process tells (podfiles.py)
    address: str = ""  # of a node of a multi-node job


class Boot(Struct, tag="boot", omit_defaults=True):
    id: str


class Noted(Struct, tag="noted", omit_defaults=True):
    slip: Slip


class Begun(Struct, tag="begun", omit_defaults=True):
    """``started`` (ms since the epoch) and ``clock`` (monotonic ms) are 0 while it is only starting (a prolog)."""

    key: AttemptKey
    pid: int
    started: int = 0
    clock: int = 0
    pod: bool = False  # the process is the one that runs several containers


class Over(Struct, tag="over", omit_defaults=True):
    news: News


class Acked(Struct, tag="acked", omit_defaults=True):
    keys: list[AttemptKey]


Line = Boot | Noted | Begun | Over | Acked
_decoder: Final = msgspec.json.Decoder(Line)
_encoder: Final = msgspec.json.Encoder()


class Memory(Struct):
    """What a journal says of one key."""

    slip: Slip | None = None
    begun: Begun | None = None
    over: News | None = None


def boot_id() -> str:
    """The name of this boot of the host, "" where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Journal:
    """Appends lines; `flush` writes those gathered since the last one in one call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.same_boot = True
        self._buffer: list[bytes] = []
        self._unwritten = b""
        self._size = 0
        self._compact_size = 0
        self._fd = -1

    def open(self) -> dict[AttemptKey, Memory]:
        """Read what there is, start a compact file, and say what is not acknowledged yet."""
        memories = self._read()
        self._start(memories)
        return memories

    def close(self) -> None:
        self.flush()
        os.close(self._fd)

    def note(self, slip: Slip) -> None:
        """Before anything is started: what is not noted is not started. Raises OSError."""
        self.add(Noted(slip))
        if not self.flush():
            raise OSError(errno.EIO, "the journal cannot be written", str(self.path))

    def add(self, line: Line) -> None:
        self._buffer.append(_encoder.encode(line) + b"\n")

    def flush(self) -> bool:
        """False if it cannot be written (a full disk, say); what is left is written by a later call."""
        data = self._unwritten + b"".join(self._buffer)
        self._buffer = []
        try:
            while data:
                written = os.write(self._fd, data)
                self._size += written
                data = data[written:]
        except OSError:
            pass
        self._unwritten = data
        return not data

    @property
    def large(self) -> bool:
        return self._size > COMPACT_BYTES + 2 * self._compact_size

    def compact(self, memories: dict[AttemptKey, Memory]) -> None:
        """Begin the file anew with these only."""
        self.flush()
        before = self._fd
        self._start(memories)
        os.close(before)

    def _read(self) -> dict[AttemptKey, Memory]:
        memories: dict[AttemptKey, Memory] = {}
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return memories
        here = boot_id()
        for text in data.split(b"\n"):
            try:
                line = _decoder.decode(text)
            except msgspec.MsgspecError:
                continue  # a torn last line: what it told did not happen yet
            if isinstance(line, Boot):
                self.same_boot = line.id == here
            elif isinstance(line, Noted):
                memories[line.slip.key] = Memory(slip=line.slip)
            elif isinstance(line, Begun):
                memories.setdefault(line.key, Memory()).begun = line
            elif isinstance(line, Over):
                memories.setdefault(line.news.key, Memory()).over = line.news
            else:
                for key in line.keys:
                    memories.pop(key, None)
        return memories

    def _start(self, memories: dict[AttemptKey, Memory]) -> None:
        """A compact file in place of the old one; the old one goes on if there is no room for it."""
        fresh = self.path.with_suffix(".new")
        lines: list[Line] = [Boot(boot_id())]
        for memory in memories.values():
            lines += [Noted(memory.slip)] if memory.slip is not None else []
            lines += [memory.begun] if memory.begun is not None else []
            lines += [Over(memory.over)] if memory.over is not None else []
        try:
            fresh.write_bytes(b"".join(_encoder.encode(line) + b"\n" for line in lines))
            os.replace(fresh, self.path)
            self._unwritten = b""  # `memories` has it
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink()
            self.add(lines[0])
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = self._compact_size = os.fstat(self._fd).st_size
