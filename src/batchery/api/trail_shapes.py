"""Request and answer of CloudTrail's LookupEvents (API_LookupEvents). Times are seconds since the epoch."""

from msgspec import UNSET, Struct, UnsetType


class LookupAttribute(Struct, rename="pascal", frozen=True):
    attribute_key: str
    attribute_value: str


class LookupEventsRequest(Struct, rename="pascal", frozen=True):
    lookup_attributes: list[LookupAttribute] | None = None
    start_time: float | None = None
    end_time: float | None = None
    event_category: str | None = None
    max_results: int | None = None
    next_token: str | None = None


class Resource(Struct, rename="pascal"):
    """A resource that an event is about; the type is left out where it is not known."""

    resource_name: str
    resource_type: str | UnsetType = UNSET


class Event(Struct, rename="pascal"):
    """``read_only`` is "true" or "false"; ``cloud_trail_event`` is the whole record as JSON text."""

    event_id: str
    event_name: str
    read_only: str
    event_time: int
    event_source: str
    resources: list[Resource]
    cloud_trail_event: str
    access_key_id: str | UnsetType = UNSET
    username: str | UnsetType = UNSET


class LookupEventsResponse(Struct, rename="pascal"):
    events: list[Event]
    next_token: str | UnsetType = UNSET
