"""Job queues, and what is remembered of the jobs that wait at their heads. Plain structs."""

from msgspec import Struct

from batchery.core.keys import Realm


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
    """A job queue. ``order`` pairs AWS's order numbers with environment ARNs, ascending; ``services`` with those of
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
    services: tuple[tuple[int, str], ...] = ()
    limits: tuple[TimeLimit, ...] = ()
