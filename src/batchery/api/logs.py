"""CloudWatch Logs: reading. See run/logfiles.py for what an event is, run/logsearch.py for many logs at once.

Tokens of GetLogEvents are ``f/`` or ``b/`` and a byte offset; at an end of the stream the token sent is returned
again, which is how clients see the end. Tokens of the other operations are base64url of a place in their order.
"""

import asyncio
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any, Final

import msgspec

from batchery.api.call import Call
from batchery.api.loggroups import (
    LOGS,
    PAGE,
    bounded,
    find_group,
    find_stream,
    group_arn,
    invalid,
    sources_of,
    streams_of,
)
from batchery.api.logs_shapes import (
    DescribeLogStreamsRequest,
    DescribeLogStreamsResponse,
    FilteredLogEvent,
    FilterLogEventsRequest,
    FilterLogEventsResponse,
    GetLogEventsRequest,
    GetLogEventsResponse,
    LogStream,
    OutputLogEvent,
)
from batchery.api.patterns import PatternError, compile_pattern
from batchery.api.targets import target
from batchery.run.logfiles import PAGE_EVENTS, Event, LogFile
from batchery.run.logsearch import Search, Source, Spot, bounds_of, search
from batchery.store.store import StreamRow

MAX_STREAM_NAMES: Final = 100  # API_FilterLogEvents
PATTERN_CHARS: Final = 1024
BACKWARD_SINCE: Final = 1_704_067_200_000  # API_FilterLogEvents: newest first from 2024 on

_TOKEN: Final = re.compile(r"([fb])/([0-9]{1,56})(?:/s)?")
_LARGEST: Final = 1 << 62  # beyond any file; offsets of the operating system end at 2**63


@target(LOGS, GetLogEventsRequest)
async def get_log_events(call: Call, ask: GetLogEventsRequest) -> GetLogEventsResponse:
    limit = bounded(ask.limit, PAGE_EVENTS, PAGE_EVENTS)
    group = await find_group(call, ask.log_group_name, ask.log_group_identifier)
    row = await find_stream(call, group.name, ask.log_stream_name)
    token = None if ask.next_token is None else _TOKEN.fullmatch(ask.next_token)
    if ask.next_token is not None and token is None:
        raise invalid("The specified nextToken is invalid.")
    forward = bool(ask.start_from_head) if token is None else token[1] == "f"
    offset = None if token is None else min(int(token[2]), _LARGEST)
    (source,) = await sources_of(call, [row])
    return await asyncio.to_thread(_read_events, source, ask, forward, offset, limit)


def _read_events(
    source: Source, ask: GetLogEventsRequest, forward: bool, offset: int | None, limit: int
) -> GetLogEventsResponse:
    with LogFile(source.path, live=source.live, now=_wall()) as log:
        low, high = log.span(ask.start_time, ask.end_time)
        if forward:
            at = low if offset is None else max(offset, low)
            page = log.forward(at, high, limit)
        else:
            at = high if offset is None else min(offset, high)
            page = log.backward(at, low, limit)
    ahead, back = page.next, page.first
    if not page.events and ahead == back and offset is not None:
        ahead = back = offset  # nothing more this way: the token that was sent
    return GetLogEventsResponse(
        [OutputLogEvent(event.time, event.message, event.time) for event in page.events],
        f"f/{ahead:056d}/s",
        f"b/{back:056d}/s",
    )


@target(LOGS, FilterLogEventsRequest)
async def filter_log_events(call: Call, ask: FilterLogEventsRequest) -> FilterLogEventsResponse:
    limit = bounded(ask.limit, PAGE_EVENTS, PAGE_EVENTS)
    names, prefix = ask.log_stream_names, ask.log_stream_name_prefix
    if names is not None and prefix is not None:
        raise invalid("logStreamNamePrefix and logStreamNames are mutually exclusive parameters.")
    if names is not None and not 1 <= len(names) <= MAX_STREAM_NAMES:
        raise invalid(f"logStreamNames must have between 1 and {MAX_STREAM_NAMES} members.")
    backward, spot = _filter_token(ask)
    if backward and (ask.start_time or 0) < BACKWARD_SINCE:
        raise invalid("startFromHead can be false only if startTime is on or after 2024-01-01T00:00:00Z.")
    if len(ask.filter_pattern or "") > PATTERN_CHARS:
        raise invalid(f"filterPattern must have at most {PATTERN_CHARS} characters.")
    try:
        match = compile_pattern(ask.filter_pattern or "")
    except PatternError as error:
        raise invalid(str(error)) from None
    group = await find_group(call, ask.log_group_name, ask.log_group_identifier)
    if names is not None:
        rows = [await find_stream(call, group.name, name) for name in dict.fromkeys(names)]
    else:
        rows = [row async for some in streams_of(call, group.name, prefix or "") for row in some]
    end = None if ask.end_time is None else ask.end_time + 1  # events at endTime are included here
    sources = await sources_of(call, rows)
    found = await asyncio.to_thread(search, Search(sources, match, limit, _wall(), ask.start_time, end, backward, spot))
    answer = FilterLogEventsResponse([_filtered(stream, event) for stream, event in found.events], [])
    if found.spot is not None:
        answer.next_token = _seal([backward, *found.spot])
    return answer


def _filter_token(ask: FilterLogEventsRequest) -> tuple[bool, Spot | None]:
    """The direction and the place; a token has its own direction."""
    if ask.next_token is None:
        return ask.start_from_head is False, None
    backward, time_, stream, offset = _unseal(ask.next_token, tuple[bool, int, str, int])
    return backward, Spot(time_, stream, offset)


def _filtered(stream: str, event: Event) -> FilteredLogEvent:
    """Its id, of 56 digits as AWS's, is made of what it is: the same in every answer."""
    digest = int.from_bytes(blake2b(stream.encode(), digest_size=16).digest())
    return FilteredLogEvent(stream, event.time, event.message, event.time, f"{digest:039d}{event.at:017d}")


@target(LOGS, DescribeLogStreamsRequest)
async def describe_log_streams(call: Call, ask: DescribeLogStreamsRequest) -> DescribeLogStreamsResponse:
    limit = bounded(ask.limit, PAGE, PAGE)
    if ask.order_by not in (None, "LogStreamName", "LastEventTime"):
        raise invalid("orderBy must be LogStreamName or LastEventTime.")
    by_time = ask.order_by == "LastEventTime"
    if by_time and ask.log_stream_name_prefix:
        raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    after = None if ask.next_token is None else _unseal(ask.next_token, tuple[int, str])
    group = await find_group(call, ask.log_group_name, ask.log_group_identifier)
    prefix = ask.log_stream_name_prefix or ""
    if by_time or ask.descending:
        rows = [row async for some in streams_of(call, group.name, prefix) for row in some]
        page, token = await _sorted(call, rows, by_time, bool(ask.descending), after, limit)
    else:
        rows = await call.service.reads.streams(*call.realm, group.name, prefix, after[1] if after else "", limit + 1)
        page, token = rows[:limit], (0, rows[limit - 1].name) if len(rows) > limit else None
    sources = await sources_of(call, page)
    spans = await asyncio.to_thread(bounds_of, sources, _wall())
    answer = DescribeLogStreamsResponse(
        [_stream(call, group.name, row, span) for row, span in zip(page, spans, strict=True)]
    )
    if token is not None:
        answer.next_token = _seal(token)
    return answer


async def _sorted(
    call: Call, rows: list[StreamRow], by_time: bool, descending: bool, after: tuple[int, str] | None, limit: int
) -> tuple[list[StreamRow], tuple[int, str] | None]:
    """One page in an order that the store does not keep. A stream without events counts from when it was made."""
    keys = [(0, row.name) for row in rows]
    if by_time:
        spans = await asyncio.to_thread(bounds_of, await sources_of(call, rows), _wall())
        keys = [(span[1] if span else row.created, row.name) for row, span in zip(rows, spans, strict=True)]
    order = sorted(range(len(rows)), key=keys.__getitem__, reverse=descending)
    if after is not None:
        order = [at for at in order if (keys[at] < after if descending else keys[at] > after)]
    return [rows[at] for at in order[:limit]], keys[order[limit - 1]] if len(order) > limit else None


def _stream(call: Call, group: str, row: StreamRow, span: tuple[int, int] | None) -> LogStream:
    stream = LogStream(row.name, row.created, f"{group_arn(call, group)}:log-stream:{row.name}")
    if span is not None:
        stream.first_event_timestamp, stream.last_event_timestamp = span
        stream.last_ingestion_time = span[1]
    return stream


def _wall() -> int:
    """Milliseconds of the wall clock: what agents write into the time index."""
    return time.time_ns() // 1_000_000


def _seal(place: Any) -> str:
    return urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _unseal(token: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=kind)
    except (ValueError, msgspec.DecodeError):
        raise invalid("The specified nextToken is invalid.") from None
