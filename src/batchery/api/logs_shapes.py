"""Requests and answers of the CloudWatch Logs operations that are served (API reference of CloudWatch Logs).

Times are milliseconds since the epoch. Of requests, only what has a meaning here; other members are ignored as AWS's
front end ignores what it does not know.
"""

from msgspec import UNSET, Struct, UnsetType


class Request(Struct, rename="camel", frozen=True):
    """What a client sends. Members that AWS requires are checked by the handlers, with AWS's texts."""


class Answer(Struct, rename="camel"):
    """What a client gets; members that are UNSET are left out."""


class DescribeLogGroupsRequest(Request, frozen=True):
    log_group_name_prefix: str | None = None
    log_group_name_pattern: str | None = None
    log_group_identifiers: list[str] | None = None
    log_group_class: str | None = None
    next_token: str | None = None
    limit: int | None = None


class LogGroup(Answer):
    """``retention_in_days`` is left out of groups that are kept for ever."""

    log_group_name: str
    creation_time: int
    arn: str
    log_group_arn: str
    stored_bytes: int
    metric_filter_count: int = 0
    log_group_class: str = "STANDARD"
    retention_in_days: int | UnsetType = UNSET


class DescribeLogGroupsResponse(Answer):
    log_groups: list[LogGroup]
    next_token: str | UnsetType = UNSET


class DescribeLogStreamsRequest(Request, frozen=True):
    log_group_name: str | None = None
    log_group_identifier: str | None = None
    log_stream_name_prefix: str | None = None
    order_by: str | None = None
    descending: bool | None = None
    next_token: str | None = None
    limit: int | None = None


class LogStream(Answer):
    """The times are left out of streams without events. AWS reports storedBytes of streams as 0 since 2019."""

    log_stream_name: str
    creation_time: int
    arn: str
    stored_bytes: int = 0
    first_event_timestamp: int | UnsetType = UNSET
    last_event_timestamp: int | UnsetType = UNSET
    last_ingestion_time: int | UnsetType = UNSET


class DescribeLogStreamsResponse(Answer):
    log_streams: list[LogStream]
    next_token: str | UnsetType = UNSET


class GetLogEventsRequest(Request, frozen=True):
    log_group_name: str | None = None
    log_group_identifier: str | None = None
    log_stream_name: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    next_token: str | None = None
    limit: int | None = None
    start_from_head: bool | None = None


class OutputLogEvent(Answer):
    timestamp: int
    message: str
    ingestion_time: int


class GetLogEventsResponse(Answer):
    events: list[OutputLogEvent]
    next_forward_token: str
    next_backward_token: str


class FilterLogEventsRequest(Request, frozen=True):
    log_group_name: str | None = None
    log_group_identifier: str | None = None
    log_stream_names: list[str] | None = None
    log_stream_name_prefix: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    filter_pattern: str | None = None
    next_token: str | None = None
    limit: int | None = None
    start_from_head: bool | None = None


class FilteredLogEvent(Answer):
    log_stream_name: str
    timestamp: int
    message: str
    ingestion_time: int
    event_id: str


class FilterLogEventsResponse(Answer):
    """``searched_log_streams`` is empty, as AWS has it since 2020."""

    events: list[FilteredLogEvent]
    searched_log_streams: list[str]
    next_token: str | UnsetType = UNSET


class CreateLogGroupRequest(Request, frozen=True):
    log_group_name: str | None = None
    log_group_class: str | None = None
    kms_key_id: str | None = None
    tags: dict[str, str] | None = None
    deletion_protection_enabled: bool | None = None


class LogGroupRequest(Request, frozen=True):
    """DeleteLogGroup, DeleteRetentionPolicy."""

    log_group_name: str | None = None


class DeleteLogStreamRequest(Request, frozen=True):
    log_group_name: str | None = None
    log_stream_name: str | None = None


class PutRetentionPolicyRequest(Request, frozen=True):
    log_group_name: str | None = None
    retention_in_days: int | None = None
