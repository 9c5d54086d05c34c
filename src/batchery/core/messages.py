"""The vocabulary: commands in, effects on engines out; changes.py has what is between.

A *command* is a wish from outside (a client's call, an engine's report, a due follow-up). `decide` turns it into
*changes*, or raises `Refused`; an *effect* is what an engine is to be told of a change once it is committed.
"""

from typing import Any

from msgspec import Struct

from batchery.core.ends import ContainerEnd as ContainerEnd
from batchery.core.model import (
    AttemptKey,
    Capacity,
    Environment,
    Job,
    Need,
    Queue,
    Realm,
    Ref,
    Shape,
    TimeLimit,
)
from batchery.core.named import Consumable
from batchery.core.shares import QuotaShare, SchedulingPolicy


class Refused(Exception):
    """The command is not acceptable; nothing has moved. Becomes AWS's ClientException (400).

    ``wrapped`` chooses AWS's other style of text ("Error executing request, Exception : ...").
    """

    def __init__(self, message: str, wrapped: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.wrapped = wrapped


class NeedFacts(Exception):
    """The command names jobs that World does not hold: read them from the store and send it again with `facts`."""

    def __init__(self, jobs: tuple[str, ...]) -> None:
        super().__init__(jobs)
        self.jobs = jobs


# ---------------------------------------------------------------------------------------------- commands: clients


class Command(Struct, frozen=True):
    """A wish from outside."""


class EnsureRealm(Command, frozen=True):
    """A realm is used for the first time: it gets the ready-made environment and queue. Answer: None."""

    realm: Realm
    environment: Environment
    queue: Queue


class Submit(Command, frozen=True):
    """SubmitJob. ``facts``: ended jobs named in ``needs``, as read from the store. Answer: None."""

    realm: Realm
    id: str
    name: str
    queue: str  # ARN
    definition: str  # ARN with revision
    shape: Shape
    spec: str  # the request as sent, JSON
    size: int = 0
    share: str = ""
    needs: tuple[Need, ...] = ()
    tags: dict[str, str] = {}
    most_shares: int = 500  # active ones of a fair-share queue
    facts: tuple[Job, ...] = ()
    no_facts: tuple[str, ...] = ()  # looked for in the store and not found


class SubmitService(Command, frozen=True):
    """SubmitServiceJob. ``token``: its clientToken with a digest of the payload, "" for none. Answer: None."""

    realm: Realm
    id: str
    name: str
    queue: str  # ARN
    shape: Shape
    spec: str  # the request as sent, JSON
    share: str = ""  # or the quota share
    tags: dict[str, str] = {}
    token: str = ""
    most_shares: int = 500


class CreateQuota(Command, frozen=True):
    """CreateQuotaShare. Answer: None."""

    quota: QuotaShare
    tags: dict[str, str] = {}
    limit: int = 20  # quota shares of a queue


class UpdateQuota(Command, frozen=True):
    """UpdateQuotaShare: only what is not None changes. Answer: None."""

    arn: str
    limits: tuple[tuple[str, int], ...] | None = None
    strategy: str | None = None
    borrow: int | None = None
    in_share: bool | None = None
    state: str | None = None


class DeleteQuota(Command, frozen=True):
    """DeleteQuotaShare: DISABLED only; its jobs end. Unknown is a success. Answer: None."""

    arn: str


class UpdateServiceJob(Command, frozen=True):
    """UpdateServiceJob of an open service job. Answer: its name."""

    realm: Realm
    job: str
    priority: int


class Cancel(Command, frozen=True):
    """CancelJob of one id. Answer: None, whether or not there was anything to cancel."""

    realm: Realm
    ref: Ref
    reason: str


class Terminate(Command, frozen=True):
    """TerminateJob, or TerminateServiceJob, of one id. Answer: None."""

    realm: Realm
    ref: Ref
    reason: str
    service: bool = False


class Many(Command, frozen=True):
    """Several commands in one turn and one commit (bulk cancels). Answer: a list of None or Refused."""

    commands: tuple[Command, ...]


class Register(Command, frozen=True):
    """RegisterJobDefinition. Answer: the revision given (int)."""

    realm: Realm
    name: str
    arn: str  # without revision
    doc: str
    tags: dict[str, str] = {}


class Deregister(Command, frozen=True):
    """DeregisterJobDefinition by ARN with revision; unknown or INACTIVE is a success. Answer: None."""

    realm: Realm
    arn: str


class ForgetDefinitions(Command, frozen=True):
    """These definitions, to which no job refers, go if they are INACTIVE since before ``before`` (ms). Answer: None."""

    arns: tuple[str, ...]
    before: int


class CreateQueue(Command, frozen=True):
    """CreateJobQueue. Refused if the name is taken, or an environment is missing or not VALID. Answer: None."""

    queue: Queue
    tags: dict[str, str] = {}
    limit: int = 50  # queues of a realm


class UpdateQueue(Command, frozen=True):
    """UpdateJobQueue: only what is not None changes. Answer: None."""

    arn: str
    state: str | None = None
    priority: int | None = None
    order: tuple[tuple[int, str], ...] | None = None
    policy: str | None = None
    limits: tuple[TimeLimit, ...] | None = None


class DeleteQueue(Command, frozen=True):
    """DeleteJobQueue: DISABLED only; its jobs end as "JobQueue deleted". Unknown is a success. Answer: None."""

    arn: str


class CreateEnvironment(Command, frozen=True):
    """CreateComputeEnvironment. Refused if the name is taken. Answer: None."""

    environment: Environment
    tags: dict[str, str] = {}
    limit: int = 50  # environments of a realm


class UpdateEnvironment(Command, frozen=True):
    """UpdateComputeEnvironment: only what is not None changes. Answer: None."""

    arn: str
    state: str | None = None
    kind: str | None = None
    max_vcpus: int | None = None
    units: tuple[tuple[str, int], ...] | None = None
    doc: str | None = None
    seen: str | None = None  # the doc that `doc` was merged from; refused if it is not the stored one any more
    patience: int | None = None  # ms that running attempts are left: an infrastructure update; None is a scaling one


class DeleteEnvironment(Command, frozen=True):
    """DeleteComputeEnvironment: DISABLED and in no queue. Unknown is a success. Answer: None."""

    arn: str


class CreateConsumable(Command, frozen=True):
    """CreateConsumableResource. Refused if the name is taken. Answer: None."""

    consumable: Consumable
    tags: dict[str, str] = {}
    limit: int = 50_000  # consumable resources of a realm


class UpdateConsumable(Command, frozen=True):
    """UpdateConsumableResource. Refused if less than nothing would be left. Answer: the total to show, also where
    ``token`` says that this has been done before."""

    arn: str
    operation: str  # SET, ADD, REMOVE
    quantity: int
    token: str = ""


class DeleteConsumable(Command, frozen=True):
    """DeleteConsumableResource. Refused while attempts hold units of it; unknown is a success. Answer: None."""

    arn: str


class CreatePolicy(Command, frozen=True):
    """CreateSchedulingPolicy. Refused if the name is taken. Answer: None."""

    policy: SchedulingPolicy
    tags: dict[str, str] = {}


class UpdatePolicy(Command, frozen=True):
    """UpdateSchedulingPolicy: all of it but name and kind. Answer: None."""

    policy: SchedulingPolicy


class DeletePolicy(Command, frozen=True):
    """DeleteSchedulingPolicy: of no queue. Unknown is a success. Answer: None."""

    arn: str


class Tag(Command, frozen=True):
    """TagResource and UntagResource on an ARN that the edge has found to exist. Answer: None."""

    arn: str
    set: dict[str, str] = {}
    removed: tuple[str, ...] = ()


class Stop(Command, frozen=True):
    """`--stop-jobs`: every open job is terminated with ``reason``. Answer: how many."""

    reason: str


# ------------------------------------------------------------------------------------ commands: engines' reports


class Report(Command, frozen=True):
    """What an engine says of one attempt; repeated after a reconnect until acknowledged; stale serials are dropped.

    ``at``: when it happened, on the engine's clock (ms since the epoch).
    """

    key: AttemptKey
    at: int


class Starting(Report, frozen=True):
    """The engine has begun the attempt: image, prolog, container dependencies."""


class Started(Report, frozen=True):
    """Its containers run."""

    address: str = ""


class Exited(Report, frozen=True):
    """The attempt is over and nothing of it is alive. ``at`` is when it stopped.

    cause: EXIT, START_FAILED, TERMINATED (killed on request), TIMEOUT (killed by the engine's own clock), HOST,
    WITHDRAWN (asked back in time) or NO_CAPACITY (handed back; never began).
    """

    cause: str
    started: int = 0  # ms since the epoch, 0 if it never ran
    containers: tuple[ContainerEnd, ...] = ()
    cpu_ms: int = 0
    peak_mib: int = 0
    host: str = ""  # with HOST: the machine that is gone


class Lost(Report, frozen=True):
    """The attempt is gone without an exit code. ``host`` names the machine."""

    host: str = ""


class Capacities(Command, frozen=True):
    """What an engine has, at start and when it changes."""

    capacity: Capacity
    engine: str = ""


# ------------------------------------------------------------------------------------------------------- effects


class Effect(Struct, frozen=True):
    """Something to tell an engine after the commit. Never stored: after a load `owed` derives them."""


class Launch(Effect, frozen=True):
    """Begin this attempt. The dispatcher adds the spec; see engines.engine.Order for what an engine gets."""

    key: AttemptKey


class Withdraw(Effect, frozen=True):
    """Give this attempt back if it has not begun."""

    key: AttemptKey


class Kill(Effect, frozen=True):
    """SIGTERM, grace, SIGKILL."""

    key: AttemptKey


class Ack(Effect, frozen=True):
    """The end of this attempt is committed: the engine may forget it."""

    key: AttemptKey


class Answer(Struct, frozen=True):
    """What became of a command: ``value``, or the exception to raise at the edge."""

    value: Any = None
    error: Exception | None = None
