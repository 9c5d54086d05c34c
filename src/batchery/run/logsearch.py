"""The events of many logs in one order of time, in pages: what FilterLogEvents reads.

The order is (time, stream, offset), or its exact reverse. A page ends at a *spot*, the place of the last event that
was looked at; for each log the spot says which bytes are still to come, so going on costs nothing for what is done.

Logs are opened when the merge reaches the earliest time they can hold, and closed between chunks: ten thousand
streams need neither ten thousand descriptors nor ten thousand reads for the first page. Blocks: call it in a thread.
"""

import heapq
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from msgspec import Struct

from batchery.run.logfiles import EVENT_OVERHEAD, PAGE_BYTES, Event, LogFile

SECONDS = 1.0  # a page that finds little ends after this much searching
CHECK_EVERY = 256  # events looked at between two looks at the clock
CHUNK_EVENTS = 2_000  # of one log at a time
SLOP = 2_000  # ms by which a log may be older than its stream: both times are the engine's


class Source(NamedTuple):
    """One log. ``created`` in ms; ``live``: its attempt has not ended."""

    stream: str
    path: str
    created: int
    live: bool


class Spot(NamedTuple):
    """A place in the merged order: an event of ``stream`` at ``time`` whose far end is byte ``offset``."""

    time: int
    stream: str
    offset: int


class Search(Struct, frozen=True):
    """What to find: start <= time < end (ms, None is open), at most ``limit`` events that ``match``."""

    sources: list[Source]
    match: Callable[[str], bool]
    limit: int
    now: int  # ms of the wall clock
    start: int | None = None
    end: int | None = None
    backward: bool = False
    after: Spot | None = None


class Found(NamedTuple):
    """``spot`` is None when everything has been looked at."""

    events: list[tuple[str, Event]]
    spot: Spot | None


def search(ask: Search) -> Found:
    """One page."""
    found: list[tuple[str, Event]] = []
    used, deadline = 0, time.monotonic() + SECONDS
    spot = ask.after
    for seen, (stream, event) in enumerate(merged(ask), 1):
        matches = ask.match(event.message)
        if matches:
            used += len(event.message) + EVENT_OVERHEAD
            if found and used > PAGE_BYTES:
                return Found(found, spot)
            found.append((stream, event))
        spot = Spot(event.time, stream, event.at if ask.backward else event.end)
        if len(found) >= ask.limit or (seen % CHECK_EVERY == 0 and time.monotonic() > deadline):
            return Found(found, spot)
    return Found(found, None)


def merged(ask: Search) -> Iterator[tuple[str, Event]]:
    """Every event in range and after the spot, in order."""
    sign = -1 if ask.backward else 1
    sources = sorted(ask.sources)
    heap = [(bound, -1, -1, rank) for rank, source in enumerate(sources) if (bound := _bound(source, ask)) is not None]
    heapq.heapify(heap)
    streams: dict[int, Iterator[Event]] = {}
    heads: dict[int, Event] = {}
    while heap:
        rank = heap[0][3]
        if rank in heads:
            yield sources[rank].stream, heads[rank]
        else:
            streams[rank] = _events(sources[rank], ask)
        event = next(streams[rank], None)
        if event is None:
            heapq.heappop(heap)
        else:
            heads[rank] = event
            heapq.heapreplace(heap, (sign * event.time, sign * rank, sign * event.at, rank))


def _bound(source: Source, ask: Search) -> int | None:
    """A key that no event of this log comes before; None if the log holds nothing in range."""
    start = _range(source.stream, ask)[0]
    if not ask.backward:
        return max(source.created - SLOP, start or 0)
    newest = ask.now + SLOP if source.live else _newest(source.path)
    return None if newest < (start or 0) else -newest


def _newest(path: str) -> int:
    """No event of this ended log is younger than this (ms); 0 if there is no log."""
    changed = 0
    for name in (path, f"{path}.idx"):
        try:
            changed = max(changed, os.stat(name).st_mtime_ns // 1_000_000 + 1_000)
        except FileNotFoundError:
            pass
    return changed


def _range(stream: str, ask: Search) -> tuple[int | None, int | None]:
    """The times that are still to come of this stream."""
    start, end, after = ask.start, ask.end, ask.after
    if after is None:
        return start, end
    if ask.backward:
        return start, after.time if stream > after.stream else after.time + 1
    return after.time + 1 if stream < after.stream else after.time, end


def _events(source: Source, ask: Search) -> Iterator[Event]:
    start, end = _range(source.stream, ask)
    if start is not None and not source.live and _newest(source.path) < start:
        return
    span: tuple[int, int] | None = None
    while span is None or span[0] < span[1]:
        with LogFile(source.path, live=source.live, now=ask.now) as log:
            low, high = span if span is not None else _span(log, source.stream, ask, start, end)
            page = log.backward(high, low, CHUNK_EVENTS) if ask.backward else log.forward(low, high, CHUNK_EVENTS)
        if ask.backward:
            span = low, page.first
            yield from reversed(page.events)
        elif page.next > low:
            span = page.next, high
            yield from page.events
        else:
            return  # nothing, or the job has truncated its own log


def _span(log: LogFile, stream: str, ask: Search, start: int | None, end: int | None) -> tuple[int, int]:
    """The bytes that are still to come of this log."""
    low, high = log.span(start, end, log.settled())
    if ask.after is not None and ask.after.stream == stream:
        return (low, min(high, ask.after.offset)) if ask.backward else (max(low, ask.after.offset), high)
    return low, high


_bounds: dict[str, tuple[tuple[int, int], tuple[int, int] | None]] = {}  # path -> (size and change, what was found)
BOUNDS_KEPT = 20_000


def bounds_of(sources: list[Source], now: int) -> list[tuple[int, int] | None]:
    """The times (ms) of the first and the last event of each log; what was found of ended ones is kept."""
    return [_bounds_of(source, now) for source in sources]


def _bounds_of(source: Source, now: int) -> tuple[int, int] | None:
    try:
        stat = os.stat(source.path)
    except FileNotFoundError:
        return None
    state = stat.st_size, stat.st_mtime_ns
    kept = _bounds.get(source.path)
    if kept is not None and kept[0] == state and not source.live:
        return kept[1]
    with LogFile(source.path, live=source.live, now=now) as log:
        found = log.bounds()
    if not source.live:
        if len(_bounds) >= BOUNDS_KEPT:
            _bounds.clear()
        _bounds[source.path] = state, found
    return found
