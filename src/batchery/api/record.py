"""Activity records: one for each API call, in CloudTrail's format.

A changing call's record is made before its commit and rides in it; those of reads, refusals and denials are handed
to the writer and never awaited. Source: CloudTrail user guide, "CloudTrail record contents".
"""

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct, field

from batchery.api.ids import make_id
from batchery.store.store import Activity

if TYPE_CHECKING:
    from batchery.api.call import ApiError, Call

#: CloudTrail leaves reading of log events out of the event history (CloudWatch Logs user guide, "Logging API calls").
UNRECORDED: Final = frozenset(("GetLogEvents", "FilterLogEvents", "PutLogEvents"))
#: CloudTrail omits the parameters of a call beyond 100 KB; those of callers whom we do not know are left out as well.
LARGEST: Final = 100_000
_READS: Final = ("Describe", "List", "Get", "Lookup", "Filter")


class Identity(Struct, rename="camel", omit_defaults=True):
    """userIdentity."""

    type: str = ""
    principal_id: str = ""
    arn: str = ""
    account_id: str = ""
    access_key_id: str = ""
    user_name: str = ""


class Resource(Struct, omit_defaults=True):
    """One entry of resources."""

    arn: str = field(name="ARN")
    account: str = field(name="accountId", default="")
    type: str = ""


class Record(Struct, rename="camel"):
    """One record."""

    user_identity: Identity
    event_time: str
    event_source: str
    event_name: str
    aws_region: str
    source_ip_address: str = field(name="sourceIPAddress")
    user_agent: str
    request_parameters: Any
    response_elements: Any
    request_id: str = field(name="requestID")
    event_id: str = field(name="eventID")
    read_only: bool
    recipient_account_id: str
    error_code: str | msgspec.UnsetType = msgspec.UNSET
    error_message: str | msgspec.UnsetType = msgspec.UNSET
    resources: list[Resource] | msgspec.UnsetType = msgspec.UNSET
    event_type: str = "AwsApiCall"
    event_category: str = "Management"
    event_version: str = "1.08"


_encode = msgspec.json.Encoder().encode


def success(call: "Call", response: Any) -> Activity:
    """The record of a call that worked. ``response``: its answer, None for an empty one; reads leave it out."""
    return _activity(call, None if is_read(call.operation) else response)


def failure(call: "Call", error: "ApiError") -> Activity:
    """The record of a call that was refused, denied, or failed."""
    return _activity(call, None, error)


def is_read(operation: str) -> bool:
    """Whether CloudTrail marks it readOnly."""
    return operation.startswith(_READS)


def _activity(call: "Call", response: Any, error: "ApiError | None" = None) -> Activity:
    at, caller, realm = call.service.now(), call.caller, call.realm
    record = Record(
        user_identity=Identity("IAMUser", caller.access_key, caller.arn, caller.account, caller.access_key, caller.name)
        if caller.arn
        else Identity("Unknown", account_id=caller.account, access_key_id=caller.access_key),
        event_time=_iso(at // 1000),
        event_source=call.source,
        event_name=call.operation,
        aws_region=realm.region,
        source_ip_address=call.source_ip,
        user_agent=call.user_agent,
        request_parameters=_parameters(call),
        response_elements=response or None,
        request_id=call.request_id,
        event_id=make_id(),
        read_only=is_read(call.operation),
        recipient_account_id=realm.account,
    )
    if call.resources:
        record.resources = [_resource(arn, realm.account) for arn in call.resources]
    if error is not None:
        record.error_code = "AccessDenied" if error.code == "AccessDeniedException" else error.code
        record.error_message = error.message
    return Activity(at, realm.account, realm.region, _encode(record).decode())


def _parameters(call: "Call") -> Any:
    """The members as sent: the body itself where it fits in a line of ASCII, which is nearly always."""
    body = call.body
    if not call.caller.arn or len(body) > LARGEST:
        return None
    if call.decoded and not call.labels and body.isascii() and b"\n" not in body and b"\r" not in body:
        return Raw(body) if len(body) > 2 else None
    try:
        members = msgspec.json.decode(body) if body else {}
    except (ValueError, RecursionError):
        members = {}
    return {**call.labels, **members} or None if isinstance(members, dict) else None


@lru_cache(maxsize=1024)
def _resource(arn: str, account: str) -> Resource:
    return Resource(arn, account, _type_of(arn.split(":", 5)[-1].partition("/")[0]) if ":batch:" in arn else "")


@lru_cache(maxsize=64)
def _type_of(kind: str) -> str:
    """``job-queue`` -> ``AWS::Batch::JobQueue``."""
    return "AWS::Batch::" + "".join(part.capitalize() for part in kind.split("-"))


@lru_cache(maxsize=2)
def _iso(second: int) -> str:
    """``2026-01-01T00:00:00Z``; kept, since calls come many to a second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
