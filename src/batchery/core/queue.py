"""Job queues, and what is remembered of the jobs that wait at their heads. Plain structs."""

from typing import Final

from msgspec import Struct

from batchery.core.keys import Realm

# Why a job is blocked at the head of its queue, as AWS's statusReason begins (user guide, "Troubleshooting").
NO_CAPACITY: Final = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
MAX_RESOURCE: Final = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"
REQUIREMENT: Final = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
SERVICE_MAX_RESOURCE: Final = "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE"
QUOTA_LIMIT: Final = "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED"
UNSUPPORTED: Final = "MISCONFIGURATION:EC2_INSTANCE_CONFIGURATION_UNSUPPORTED"
#: What jobStateTimeLimitActions of a queue of container jobs can be about.
REASONS: Final = (NO_CAPACITY, MAX_RESOURCE, REQUIREMENT, UNSUPPORTED)
#: And of a queue of service jobs.
SERVICE_REASONS: Final = (NO_CAPACITY, SERVICE_MAX_RESOURCE, QUOTA_LIMIT)

CANCEL_ACTION: Final = "CANCEL"
TERMINATE_ACTION: Final = "TERMINATE"
LIMIT_ALARM: Final = "limit"  #: what an alarm of such an action is called


class Blocked(Struct, frozen=True):
    """A stored fact: the head of a queue that no environment can ever take, why, and since when."""

    job: str
    index: int
    reason: str
    since: int


class TimeLimit(Struct, frozen=True):
    """One of a queue's jobStateTimeLimitActions: what becomes of a head that is blocked for this reason so long."""

    reason: str
    ms: int
    action: str  #: CANCEL or TERMINATE


class Queue(Struct):
    """A job queue. ``order`` pairs AWS's order numbers with environment ARNs, ascending: of compute environments, or of
    service environments. ``policy``: ARN of its scheduling policy, "" for FIFO."""

    arn: str
    name: str
    realm: Realm
    priority: int
    order: tuple[tuple[int, str], ...]
    state: str = "ENABLED"
    status: str = "CREATING"
    type: str = ""  #: jobQueueType as sent, "" when absent
    policy: str = ""
    created: int = 0
    blocked: tuple[Blocked, ...] = ()
    limits: tuple[TimeLimit, ...] = ()


def applies(limit: TimeLimit, fact: Blocked) -> bool:
    """Whether an action is about this reason. What follows " - " in either is explanation."""
    return fact.reason.partition(" - ")[0] == limit.reason.partition(" - ")[0]


def rings(limit: TimeLimit, fact: Blocked) -> int:
    """When the time is up, ms."""
    return fact.since + limit.ms


def about(limits: tuple[TimeLimit, ...], reason: str) -> bool:
    """Whether one of these actions is about this reason."""
    return any(limit.reason.partition(" - ")[0] == reason for limit in limits)
