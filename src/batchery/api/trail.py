"""CloudTrail's LookupEvents: the activity log, newest first, by at most one attribute and a range of times.

The records are in the store as they were written; a page looks through them until it is full, the range is done, or
a second has passed: then it is short and has a token, as AWS's may be.
"""

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from calendar import timegm
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import UNSET, Struct, field

from batchery.api.call import ApiError, Call
from batchery.api.targets import target
from batchery.api.trail_shapes import Event, LookupAttribute, LookupEventsRequest, LookupEventsResponse, Resource

TRAIL: Final = "CloudTrail_20131101"
PAGE: Final = 50  # API_LookupEvents
ROWS_AT_ONCE: Final = 1_000
SECONDS: Final = 1.0
VALUE_CHARS: Final = 2_000
FIRST: Final = (1 << 63) - 1  # before the newest record
_FOREVER: Final = 1 << 53  # ms; later than any record


class _Identity(Struct, rename="camel"):
    access_key_id: str = ""
    user_name: str = ""


class _Resource(Struct):
    arn: str = field(name="ARN", default="")
    type: str = ""


class _Record(Struct):
    """What lookups need of a record (api/record.py makes them)."""

    event_id: str = field(name="eventID", default="")
    event_name: str = field(name="eventName", default="")
    event_time: str = field(name="eventTime", default="1970-01-01T00:00:00Z")
    event_source: str = field(name="eventSource", default="")
    read_only: bool = field(name="readOnly", default=False)
    identity: _Identity = field(name="userIdentity", default_factory=_Identity)
    resources: list[_Resource] = []


_decode = msgspec.json.Decoder(_Record).decode

#: AttributeKey -> whether a record has the value. A resource is met by its ARN and by its name alone.
_ATTRIBUTES: Final[dict[str, Callable[[_Record, str], bool]]] = {
    "EventId": lambda record, value: record.event_id == value,
    "EventName": lambda record, value: record.event_name == value,
    "EventSource": lambda record, value: record.event_source == value,
    "ReadOnly": lambda record, value: _flag(record) == value.lower(),
    "Username": lambda record, value: record.identity.user_name == value,
    "AccessKeyId": lambda record, value: record.identity.access_key_id == value,
    "ResourceName": lambda record, value: any(value in _names(item.arn) for item in record.resources),
    "ResourceType": lambda record, value: any(item.type == value for item in record.resources),
}


@target(TRAIL, LookupEventsRequest)
async def lookup_events(call: Call, ask: LookupEventsRequest) -> LookupEventsResponse:
    call.allow("cloudtrail:LookupEvents")
    limit = PAGE if ask.max_results is None else ask.max_results
    if not 1 <= limit <= PAGE:
        text = f"A max results value of {limit} is invalid. Specify max results between 1 and {PAGE}."
        raise ApiError(400, "InvalidMaxResultsException", text)
    matches = _matcher(ask.lookup_attributes or [])
    start, end = _range(ask)
    seal = _digest(ask)
    before = FIRST if ask.next_token is None else _unseal(ask.next_token, seal)
    if ask.event_category is not None:
        if ask.event_category != "insight":
            raise ApiError(400, "InvalidEventCategoryException", "EventCategory must be insight, or left out.")
        return LookupEventsResponse([])  # nothing here makes Insights events
    await call.service.barrier()
    events, cursor = await _page(call, matches, start, end, before, limit)
    answer = LookupEventsResponse(events)
    if cursor is not None:
        answer.next_token = _seal(cursor, seal)
    return answer


async def _page(
    call: Call, matches: Callable[[_Record], bool], start: int, end: int, before: int, limit: int
) -> tuple[list[Event], int | None]:
    """The events, and the cursor of the last record that was looked at (None: there are no more)."""
    events: list[Event] = []
    deadline, at_once = time.monotonic() + SECONDS, limit + 1
    while True:
        rows = await call.service.reads.activity(*call.realm, start, end, before, at_once)
        for place, (cursor, doc) in enumerate(rows):
            record = _decode(doc)
            before = cursor
            if matches(record):
                events.append(_event(record, doc))
                if len(events) == limit:
                    more = place + 1 < len(rows) or len(rows) == at_once
                    return events, cursor if more else None
        if len(rows) < at_once:
            return events, None
        if time.monotonic() > deadline:
            return events, before
        at_once = ROWS_AT_ONCE


def _matcher(attributes: list[LookupAttribute]) -> Callable[[_Record], bool]:
    if len(attributes) > 1:
        raise _bad_attribute("You can specify only one lookup attribute.")
    if not attributes:
        return lambda record: True
    key, value = attributes[0].attribute_key, attributes[0].attribute_value
    test = _ATTRIBUTES.get(key)
    if test is None:
        raise _bad_attribute(f"{key} is not a lookup attribute: use one of {', '.join(_ATTRIBUTES)}.")
    if not 1 <= len(value) <= VALUE_CHARS:
        raise _bad_attribute(f"The value of a lookup attribute must have between 1 and {VALUE_CHARS} characters.")
    return lambda record: test(record, value)


def _bad_attribute(message: str) -> ApiError:
    return ApiError(400, "InvalidLookupAttributesException", message)


def _range(ask: LookupEventsRequest) -> tuple[int, int]:
    """Both ends belong to it; records have whole seconds, and so has the range, in ms."""
    start = 0 if ask.start_time is None else _ms(ask.start_time)
    end = _FOREVER if ask.end_time is None else _ms(ask.end_time) // 1000 * 1000 + 999
    if start > end:
        raise ApiError(400, "InvalidTimeRangeException", "The start time must not be after the end time.")
    return start, end


def _ms(seconds: float) -> int:
    return int(min(max(seconds * 1000, 0), _FOREVER))


def _event(record: _Record, doc: str) -> Event:
    return Event(
        event_id=record.event_id,
        event_name=record.event_name,
        read_only=_flag(record),
        event_time=timegm(time.strptime(record.event_time, "%Y-%m-%dT%H:%M:%SZ")),
        event_source=record.event_source,
        resources=[Resource(item.arn, item.type or UNSET) for item in record.resources],
        cloud_trail_event=doc,
        access_key_id=record.identity.access_key_id or UNSET,
        username=record.identity.user_name or UNSET,
    )


def _flag(record: _Record) -> str:
    return "true" if record.read_only else "false"


def _names(arn: str) -> tuple[str, str]:
    """The ARN, and what follows its first slash (or its sixth colon)."""
    rest = arn.split(":", 5)[-1]
    return arn, rest.partition("/")[2] or rest


def _digest(ask: LookupEventsRequest) -> str:
    """Tokens are good with the parameters that they were made for alone."""
    sent = msgspec.json.encode([ask.lookup_attributes, ask.start_time, ask.end_time, ask.event_category])
    return blake2b(sent, digest_size=8).hexdigest()


def _seal(cursor: int, seal: str) -> str:
    return urlsafe_b64encode(msgspec.json.encode([cursor, seal])).decode()


def _unseal(token: str, seal: str) -> int:
    try:
        cursor, made_for = msgspec.json.decode(urlsafe_b64decode(token), type=tuple[int, str])
    except (ValueError, msgspec.DecodeError):
        cursor, made_for = 0, ""
    if made_for != seal:
        raise ApiError(400, "InvalidNextTokenException", "The NextToken is not valid with these parameters.")
    return cursor
