"""The log of one container as events: lines, their times, and byte offsets to go on from.

Theory of operation
-------------------
A job appends to ``<path>`` by itself; no byte passes through the server. Whoever owns the job samples the size of the
file twice a second while it grows, and appends pairs ``<qq`` of (size, ms since the epoch) to ``<path>.idx``.

*Events.* An event is a line. It begins and ends at a *boundary*: an offset that is 0, follows a newline, or cuts a
line longer than EVENT_BYTES. Such cuts lie on a grid of absolute offsets (moved back to the first byte of a UTF-8
character), so whether an offset is a boundary can be seen from its surroundings alone: no read goes further back than
EVENT_BYTES, however long a line without an end may be. Empty lines are no events, as with AWS's log driver.

*Times.* The time of an event is that of the first sample that saw all of it. Times never decrease along the file, so
a range of times is a range of bytes, found by binary search in the index. Bytes that no sample has seen yet have the
time of the file's last change.

*What shows.* The unfinished last line of a live container is held back until the file has been quiet for a moment or
the attempt has ended. Where times must not change between two reads (somebody polls by time), so is everything that
the next sample will stamp: see `settled`.

Tokens of GetLogEvents are offsets. All of this blocks on files: call it in a thread. Decision 070.
"""

import os
import struct
from bisect import bisect_left
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

EVENT_BYTES = 256 * 1024  # longer lines are cut (CloudWatch Logs quotas: the size of one event)
EVENT_OVERHEAD = 26  # bytes that AWS counts for each event (API_PutLogEvents)
PAGE_EVENTS = 10_000  # API_GetLogEvents: a page is up to 10,000 events,
PAGE_BYTES = 1024 * 1024  # or 1 MB
SCAN_BYTES = PAGE_BYTES  # a page gives up here when the lines are all empty
CHUNK = 1024 * 1024  # one read; at least 2 * EVENT_BYTES, so that every read of a long line meets a cut
QUIET = 1_500  # ms without a change after which a last line without an end is shown: three samples
SAMPLING = 250  # ms: samples of one round have one time, and the last of them may be written this much later
SKEW = 1_000  # ms: times further ahead than this are from another clock, and are shown

_ENTRY = struct.Struct("<qq")
_WINDOW = 1024  # index entries read at a time


class Event(NamedTuple):
    """One line, or one piece of a very long one: bytes ``at`` to ``end`` (with the newline), ``time`` in ms."""

    time: int
    at: int
    end: int
    message: str


class Page(NamedTuple):
    """Events in the order of the file; ``first`` and ``next`` are where to go on backward and forward."""

    events: list[Event]
    first: int
    next: int


class Times:
    """The time index of one log. ``tail`` is the time (ms) of bytes that no sample has seen."""

    def __init__(self, fd: int | None, size: int, tail: int) -> None:
        self._fd = fd
        self._count = os.fstat(fd).st_size // _ENTRY.size if fd is not None else 0
        seen, at = self._entry(self._count - 1) if self._count else (0, 0)
        self.size = size
        self.indexed = min(seen, size)
        self.sampled = at  #: ms of the last sample, 0 for none
        self.tail = max(tail, at)
        self._window: tuple[int, list[int], list[int]] = (0, [], [])

    def _entry(self, index: int) -> tuple[int, int]:
        offset, at = self._entries(index, index + 1)[0]
        return offset, at

    def _entries(self, first: int, end: int) -> list[tuple[int, int]]:
        assert self._fd is not None
        data = os.pread(self._fd, (end - first) * _ENTRY.size, first * _ENTRY.size)
        return list(_ENTRY.iter_unpack(data))

    def stamp(self, end: int) -> int:
        """The time of an event that ends at byte ``end``."""
        if end > self.indexed or not self._count:
            return self.tail
        first, offsets, times = self._window
        if not (offsets and (first == 0 or offsets[0] < end) and end <= offsets[-1]):
            place = bisect_left(range(self._count), end, key=lambda i: self._entry(i)[0])
            first = max(0, place - _WINDOW)
            entries = self._entries(first, min(place + _WINDOW, self._count))
            offsets, times = [o for o, _ in entries], [t for _, t in entries]
            self._window = first, offsets, times
        return times[min(bisect_left(offsets, end), len(times) - 1)]

    def seek(self, time: int) -> int:
        """The offset such that events that end at or before it are older than ``time``, and no others."""
        place = bisect_left(range(self._count), time, key=lambda i: self._entry(i)[1])
        if place < self._count:
            return min(self._entry(place - 1)[0], self.size) if place else 0
        return self.indexed if self.tail >= time else self.size


class LogFile:
    """An open log, as it was at that moment. A file that is not there is an empty log.

    ``live``: the attempt has not ended (ask before opening); ``now``: ms of the wall clock, as the index has.
    """

    def __init__(self, path: str, *, live: bool = False, now: int = 0) -> None:
        self._fd = _open(path)
        self._index = _open(f"{path}.idx") if self._fd is not None else None
        stat = os.fstat(self._fd) if self._fd is not None else None
        self.size = stat.st_size if stat else 0
        changed = stat.st_mtime_ns // 1_000_000 if stat else 0
        self.times = Times(self._index, self.size, changed)
        self._now = now
        self._quiet = not live or now - changed >= QUIET
        self._live = live
        self.end = self.size if self._quiet else self.boundary(self.size)  #: what shows ends here

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for fd in (self._fd, self._index):
            if fd is not None:
                os.close(fd)

    def settled(self) -> int:
        """The end of what has its final time, and has no neighbour in another log that is older and yet to come."""
        if not self._live:
            return self.end
        end = self.end
        if not self._quiet:  # the next sample will see the rest
            end = min(end, self.boundary(self.times.indexed))
        if self._now - SAMPLING < self.times.sampled <= self._now + SKEW:
            end = min(end, self.boundary(self.times.seek(self._now - SAMPLING)))
        return end

    def span(self, start: int | None, end: int | None, limit: int | None = None) -> tuple[int, int]:
        """The bytes of the events with start <= time < end (ms), up to byte ``limit`` (default: all that shows)."""
        last = self.end if limit is None else limit
        low = 0 if start is None else min(self._edge(start), last)
        high = last if end is None else min(self._edge(end), last)
        return low, max(low, high)

    def _edge(self, time: int) -> int:
        offset = self.times.seek(time)
        return offset if offset >= self.size else self.boundary(offset)

    def forward(self, at: int, high: int, limit: int = PAGE_EVENTS) -> Page:
        """A page of the events from byte ``at`` up to ``high``. Empty when there are none: ``next`` is then ``at``."""
        events: list[Event] = []
        used, going = 0, at
        for begin, end, raw in self._pieces(at, high):
            if raw:
                if len(events) >= limit or (events and used + len(raw) + EVENT_OVERHEAD > PAGE_BYTES):
                    break
                used += len(raw) + EVENT_OVERHEAD
                events.append(self._event(begin, end, raw))
            going = end
            if going - at > SCAN_BYTES:
                break
        return Page(events, at, going)

    def backward(self, at: int, low: int, limit: int = PAGE_EVENTS) -> Page:
        """A page of the last events before byte ``at`` and not before ``low``, in the order of the file."""
        found: list[Event] = []  # newest first
        used, going, top, step = 0, min(at, self.size), at, CHUNK // 32
        while going > low and top - going <= SCAN_BYTES:
            begin, step = max(low, self.boundary(going - step)), min(step * 4, CHUNK)
            for start, end, raw in reversed(list(self._pieces(begin, going))):
                if raw:
                    if len(found) >= limit or (found and used + len(raw) + EVENT_OVERHEAD > PAGE_BYTES):
                        return Page(found[::-1], end, top)
                    used += len(raw) + EVENT_OVERHEAD
                    found.append(self._event(start, end, raw))
            going = begin
        return Page(found[::-1], going, top)

    def bounds(self) -> tuple[int, int] | None:
        """The times (ms) of the first and the last event, None if there is none."""
        first, last = self.forward(0, self.end, 1).events, self.backward(self.end, 0, 1).events
        return (first[0].time, last[0].time) if first and last else None

    def _event(self, begin: int, end: int, raw: bytes) -> Event:
        return Event(self.times.stamp(end), begin, end, raw.decode("utf-8", "replace"))

    def _read(self, begin: int, end: int) -> bytes:
        return os.pread(self._fd, end - begin, begin) if self._fd is not None and end > begin else b""

    # ------------------------------------------------------------------------------------------------ boundaries

    def boundary(self, at: int) -> int:
        """The last boundary at or before byte ``at``."""
        at = min(at, self.size)
        if at <= 0:
            return 0
        low = max(0, at - EVENT_BYTES - 4)
        newline = self._read(low, at).rfind(b"\n")
        if newline < 0 and low > 0:  # no end of a line within reach: the line is a long one
            return self._grid(at)
        line = low + newline + 1
        return max(line, self._grid(at)) if self._long(line, at) else line

    def _grid(self, at: int) -> int:
        """The last place at or before byte ``at`` where a long line is cut."""
        grid = (at + 3) // EVENT_BYTES * EVENT_BYTES
        cut = self._cut(grid)
        if cut > at or self._read(cut, cut + 1) in (b"\n", b""):  # not there yet, or it is where the line ends anyway
            return self._cut(grid - EVENT_BYTES)
        return cut

    def _long(self, line: int, known: int) -> bool:
        """Whether the line that begins at ``line``, and has no end before ``known``, is longer than an event."""
        end = line + EVENT_BYTES + 1
        return end <= self.size and b"\n" not in self._read(known, end)

    def _cut(self, grid: int) -> int:
        """The start of the UTF-8 character around byte ``grid``."""
        if 3 <= grid < self.size:
            for back, byte in enumerate(reversed(self._read(grid - 3, grid + 1))):
                if byte & 0xC0 != 0x80:
                    return grid - back
        return grid

    def _pieces(self, at: int, high: int) -> Iterator[tuple[int, int, bytes]]:
        """Every piece between two boundaries as (begin, end, bytes without the end of the line)."""
        inside = at > 0 and self._read(at - 1, at) != b"\n"  # of a line that is being cut
        torn = at < high < self.size and self._read(high - 1, high) != b"\n"  # the last one is being cut
        while at < high:
            data = self._read(at, min(at + CHUNK, high))
            if not data:
                return  # the job has truncated its own log
            place, newline = 0, data.find(b"\n")
            while newline >= 0:
                if inside or newline - place > EVENT_BYTES:
                    yield from self._cuts(at + place, data[place:newline], at + newline + 1)
                else:
                    line = data[place : newline - 1] if data[place:newline].endswith(b"\r") else data[place:newline]
                    yield at + place, at + newline + 1, line
                inside, place = False, newline + 1
                newline = data.find(b"\n", place)
            rest = data[place:]
            if at + len(data) >= high:
                if rest:
                    yield from self._last(at + place, rest, inside or torn)
                return
            if inside or len(rest) > EVENT_BYTES:
                pieces = list(self._cuts(at + place, rest, at + len(data)))
                yield from pieces[:-1]  # the last one goes on in the next chunk
                inside, at = True, pieces[-1][0]
            else:
                at += place

    def _last(self, at: int, rest: bytes, cut: bool) -> Iterator[tuple[int, int, bytes]]:
        if cut or len(rest) > EVENT_BYTES:
            return self._cuts(at, rest, at + len(rest))
        return iter([(at, at + len(rest), rest)])

    def _cuts(self, at: int, line: bytes, end: int) -> Iterator[tuple[int, int, bytes]]:
        """A long line, or the rest of one, in pieces; ``end`` counts the newline if there is one."""
        begin = at
        for grid in range(at // EVENT_BYTES * EVENT_BYTES + EVENT_BYTES, at + len(line), EVENT_BYTES):
            cut = self._cut(grid)
            if cut > begin:
                yield begin, cut, line[begin - at : cut - at]
                begin = cut
        last = line[begin - at :]
        yield begin, end, last[:-1] if end > at + len(line) and last.endswith(b"\r") else last


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def remove_log(path: str) -> bool:
    """Delete one log with its index. Whether there was one. Blocks."""
    found = False
    for name in (path, f"{path}.idx"):
        try:
            os.unlink(name)
            found = True
        except FileNotFoundError:
            pass
    return found
