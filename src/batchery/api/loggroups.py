"""CloudWatch Logs: groups, their retention, and the deletion of groups and streams.

``/aws/batch/job`` always exists. Other groups come to be by CreateLogGroup, or when a job with that ``awslogs-group``
starts. Deleting takes the rows at once; the file of an attempt that still runs goes when it has ended (retention).
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from msgspec import UNSET

from batchery.api.call import ApiError, Call
from batchery.api.logs_shapes import (
    CreateLogGroupRequest,
    DeleteLogStreamRequest,
    DescribeLogGroupsRequest,
    DescribeLogGroupsResponse,
    LogGroup,
    LogGroupRequest,
    PutRetentionPolicyRequest,
)
from batchery.api.targets import target
from batchery.core import query
from batchery.run.logfiles import remove_log
from batchery.run.logsearch import Source
from batchery.spec.names import log_path, partition
from batchery.store.store import GroupRow, StreamRow

LOGS: Final = "Logs_20140328"
JOB_GROUP: Final = "/aws/batch/job"
PAGE: Final = 50  # API_DescribeLogGroups, API_DescribeLogStreams
STREAMS_AT_ONCE: Final = 2_000
SIZES_SECONDS: Final = 60.0  # AWS's storedBytes is some hours old
RETENTIONS: Final = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653),
)  # API_PutRetentionPolicy

_GROUP_NAME: Final = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}")
_GROUP_ARN: Final = re.compile(r"arn:[a-z-]+:logs:([a-z0-9-]*):([0-9]*):log-group:([^:]+)(?::\*)?")


# ------------------------------------------------------------------------------------------- shared with api/logs.py


def invalid(message: str) -> ApiError:
    return ApiError(400, "InvalidParameterException", message)


def violated(member: str, value: object, rule: str) -> ApiError:
    """AWS's text for a member that breaks a constraint of the model."""
    shown = "null" if value is None else f"'{value}'"
    return invalid(
        f"1 validation error detected: Value {shown} at '{member}' failed to satisfy constraint: Member must {rule}"
    )


def bounded(limit: int | None, most: int, default: int) -> int:
    """The ``limit`` of a page. Raises ApiError."""
    if limit is None:
        return default
    if limit < 1:
        raise violated("limit", limit, "have value greater than or equal to 1")
    if limit > most:
        raise violated("limit", limit, f"have value less than or equal to {most}")
    return limit


def group_arn(call: Call, name: str) -> str:
    """Without the ``:*`` that most answers have behind it."""
    realm = call.realm
    return f"arn:{partition(realm.region)}:logs:{realm.region}:{realm.account}:log-group:{name}"


def allow(call: Call, group: str, stream: str = "") -> None:
    """Ask the policy, with the ARN that AWS's denials name."""
    call.allow(f"logs:{call.operation}", f"{group_arn(call, group)}:log-stream:{stream}")


async def find_group(call: Call, name: str | None, identifier: str | None = None) -> GroupRow:
    """The group of that name or ARN, if the caller may do this on it. Raises ApiError."""
    if name is not None and identifier is not None:
        raise invalid("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
    chosen = identifier if name is None else name
    if chosen is None:
        raise violated("logGroupName", None, "not be null")
    if identifier is not None and (arn := _GROUP_ARN.fullmatch(identifier)):
        if (arn[2], arn[1]) != call.realm:
            allow(call, arn[3])
            raise ApiError(400, "ResourceNotFoundException", "The specified log group does not exist.")
        chosen = arn[3]
    if not _GROUP_NAME.fullmatch(chosen):
        raise violated("logGroupName", chosen, r"satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+")
    allow(call, chosen)
    found = next((row for row in await _groups(call) if row.name == chosen), None)
    if found is None:
        raise ApiError(400, "ResourceNotFoundException", "The specified log group does not exist.")
    return found


async def find_stream(call: Call, group: str, name: str | None) -> StreamRow:
    """Raises ApiError."""
    if name is None:
        raise violated("logStreamName", None, "not be null")
    row = await call.service.reads.stream(*call.realm, group, name)
    if row is None:
        raise ApiError(400, "ResourceNotFoundException", "The specified log stream does not exist.")
    return row


async def streams_of(call: Call, group: str, prefix: str = "") -> AsyncIterator[list[StreamRow]]:
    """Every stream of a group, by name, some at a time."""
    after = ""
    while True:
        rows = await call.service.reads.streams(*call.realm, group, prefix, after, STREAMS_AT_ONCE)
        if rows:
            yield rows
            after = rows[-1].name
        if len(rows) < STREAMS_AT_ONCE:
            return


async def sources_of(call: Call, rows: list[StreamRow]) -> list[Source]:
    """Where their logs are. Whether an attempt is alive is asked before anybody opens its file."""
    living = await call.service.ask(query.alive, [row.key for row in rows])
    return [
        Source(row.name, str(log_path(logs_dir(call), row.task_id, row.container)), row.created, row.key in living)
        for row in rows
    ]


def logs_dir(call: Call) -> Path:
    config = call.service.config
    return Path(config.logs or os.path.join(config.data, "logs"))


# -------------------------------------------------------------------------------------------------------- operations


@target(LOGS, DescribeLogGroupsRequest)
async def describe_log_groups(call: Call, ask: DescribeLogGroupsRequest) -> DescribeLogGroupsResponse:
    """By name. With logGroupNamePattern: those whose name has it somewhere."""
    prefix, pattern, only = ask.log_group_name_prefix, ask.log_group_name_pattern, ask.log_group_identifiers
    if prefix is not None and pattern is not None:
        raise invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
    limit = bounded(ask.limit, PAGE, PAGE)
    allow(call, "")
    names = None if only is None else {arn[3] if (arn := _GROUP_ARN.fullmatch(name)) else name for name in only}
    rows = [
        row
        for row in await _groups(call)
        if row.name.startswith(prefix or "")
        and (pattern or "") in row.name
        and (names is None or row.name in names)
        and row.name > (ask.next_token or "")
        and ask.log_group_class in (None, "STANDARD")
    ]
    answer = DescribeLogGroupsResponse([await _describe(call, row) for row in rows[:limit]])
    if len(rows) > limit:
        answer.next_token = rows[limit - 1].name
    return answer


@target(LOGS, CreateLogGroupRequest)
async def create_log_group(call: Call, ask: CreateLogGroupRequest) -> None:
    name = ask.log_group_name
    if name is None or not _GROUP_NAME.fullmatch(name):
        raise violated("logGroupName", name, r"satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+")
    allow(call, name)
    for member, value in (
        ("kmsKeyId", ask.kms_key_id),
        ("tags", ask.tags),
        ("deletionProtectionEnabled", ask.deletion_protection_enabled),
        ("logGroupClass", ask.log_group_class not in (None, "STANDARD")),
    ):
        if value:
            raise invalid(f"This is not supported by this version of Batchery: {member}")
    if any(row.name == name for row in await _groups(call)):
        raise ApiError(400, "ResourceAlreadyExistsException", "The specified log group already exists")
    await call.service.write_aside(("put_group", (*call.realm, name, call.service.now(), 0)))


@target(LOGS, LogGroupRequest)
async def delete_log_group(call: Call, ask: LogGroupRequest) -> None:
    """The group with its streams. ``/aws/batch/job`` is there again at once, empty."""
    group = await find_group(call, ask.log_group_name)
    ended = [
        source.path
        async for rows in streams_of(call, group.name)
        for source in await sources_of(call, rows)
        if not source.live
    ]
    await call.service.write_aside(("delete_group", (*call.realm, group.name)))
    await asyncio.to_thread(lambda: [remove_log(path) for path in ended])


@target(LOGS, DeleteLogStreamRequest)
async def delete_log_stream(call: Call, ask: DeleteLogStreamRequest) -> None:
    group = await find_group(call, ask.log_group_name)
    row = await find_stream(call, group.name, ask.log_stream_name)
    (source,) = await sources_of(call, [row])
    await call.service.write_aside(("delete_stream", (*call.realm, group.name, row.name)))
    if not source.live:
        await asyncio.to_thread(remove_log, source.path)


@target(LOGS, PutRetentionPolicyRequest)
async def put_retention_policy(call: Call, ask: PutRetentionPolicyRequest) -> None:
    """Logs that have not changed for so many days are deleted."""
    days = ask.retention_in_days
    if days not in RETENTIONS:
        raise violated("retentionInDays", days, f"satisfy enum value set: {list(RETENTIONS)}")
    await _retain(call, ask.log_group_name, days)


@target(LOGS, LogGroupRequest)
async def delete_retention_policy(call: Call, ask: LogGroupRequest) -> None:
    await _retain(call, ask.log_group_name, 0)


async def _retain(call: Call, name: str | None, days: int) -> None:
    group = await find_group(call, name)
    await call.service.write_aside(("put_group", (*call.realm, group.name, group.created, days)))


async def _groups(call: Call) -> list[GroupRow]:
    """By name. The group of AWS Batch is as old as the realm until it has a row."""
    await call.service.barrier()
    rows = await call.service.reads.groups(*call.realm)
    if not any(row.name == JOB_GROUP for row in rows):
        queues = await call.service.ask(query.queues, call.realm)
        created = min((queue.created for queue in queues), default=call.service.now())
        rows = [*rows, GroupRow(JOB_GROUP, created, 0)]
    return sorted(rows, key=lambda row: row.name)


async def _describe(call: Call, row: GroupRow) -> LogGroup:
    arn = group_arn(call, row.name)
    return LogGroup(
        row.name,
        row.created,
        f"{arn}:*",
        arn,
        await _stored(call, row.name),
        retention_in_days=row.retention or UNSET,
    )


_sizes: dict[tuple[str, ...], tuple[float, int]] = {}  # group -> (good until, bytes)


async def _stored(call: Call, group: str) -> int:
    """The size of its logs, counted once a minute at most."""
    key = (str(logs_dir(call)), *call.realm, group)
    until, size = _sizes.get(key, (0.0, 0))
    if time.monotonic() < until:
        return size
    size = 0
    async for rows in streams_of(call, group):
        paths = [log_path(logs_dir(call), row.task_id, row.container) for row in rows]
        size += await asyncio.to_thread(lambda paths: sum(map(_size, paths)), paths)
    if len(_sizes) > 10_000:
        _sizes.clear()
    _sizes[key] = (time.monotonic() + SIZES_SECONDS, size)
    return size


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
