"""What the World is made of: plain structs, no behaviour beyond reading their own fields.

Vocabulary. A *job* is what SubmitJob made. A *task* is one index of it; a plain job has exactly one, so arrays are
no second code path. A *gang* is a multi-node job: its tasks are its nodes, which are placed together, and whose main
one speaks for the job (gang.py). An *attempt* is one placement of one task; its key ``(job, index, serial)`` is unique
for ever. ``serial`` counts placements, ``used`` counts AWS's attempts (AWS_BATCH_JOB_ATTEMPT is ``used + 1``): a
placement that was handed back raises only the first.

Units: times are integer milliseconds since the epoch, vCPUs are thousandths, memory is MiB.

A task without an attempt is *latent*: whether it is PENDING, CLOSING or RUNNABLE follows from its job and its
dependencies and is never stored. That it ended is a fact and is stored. Decision 002.
"""

from collections import deque
from typing import Final, NamedTuple

from msgspec import Struct, field

from batchery.core.agenda import Agenda
from batchery.core.capacity import Capacity as Capacity
from batchery.core.capacity import Policy as Policy
from batchery.core.capacity import Site as Site
from batchery.core.capacity import Words as Words
from batchery.core.demand import NO_GANGS as NO_GANGS
from batchery.core.demand import Demand as Demand
from batchery.core.demand import Entry as Entry
from batchery.core.demand import Lane as Lane
from batchery.core.demand import Resources as Resources
from batchery.core.ends import ContainerEnd as ContainerEnd
from batchery.core.keys import CHILD as CHILD
from batchery.core.keys import NODE as NODE
from batchery.core.keys import AttemptKey as AttemptKey
from batchery.core.keys import Realm as Realm
from batchery.core.keys import Ref as Ref
from batchery.core.keys import task_id as task_id
from batchery.core.keys import task_ref as task_ref
from batchery.core.named import Consumable, Shelf
from batchery.core.queue import Blocked as Blocked
from batchery.core.queue import Queue as Queue
from batchery.core.queue import TimeLimit as TimeLimit
from batchery.core.shares import QuotaShare, SchedulingPolicy, Usage
from batchery.core.status import ONE, OPEN, SUBMITTED

# What a dependency waits for.
WHOLE: Final = 0  #: the job named (or, with an index, that child) SUCCEEDED
N_TO_N: Final = 1  #: child i waits for child i of the array named
SEQUENTIAL: Final = 2  #: child i waits for child i-1 of its own array
AFTER_ANY: Final = 3  #: reserved: after the end, whatever it is

# Kinds of a request to end something; bits of Asked.kind.
CANCEL: Final = 1
TERMINATE: Final = 2
VOID: Final = 4  #: the service itself: the queue was deleted

# Why an attempt is being, or was, ended. The first cause stands.
NO_CAUSE: Final = ""
EXIT: Final = "EXIT"  #: the containers ended by themselves
START_FAILED: Final = "START_FAILED"  #: nothing ever ran ("Task failed to start")
TERMINATED: Final = "TERMINATED"
TIMEOUT: Final = "TIMEOUT"
HOST: Final = "HOST"  #: the host, or all trace of the attempt, is gone
WITHDRAWN: Final = "WITHDRAWN"  #: asked back before it began
NO_CAPACITY: Final = "NO_CAPACITY"  #: the engine handed it back; it never began
PREEMPTED: Final = "PREEMPTED"  #: it made room for another job of its queue (quotas.py)
UPDATE: Final = "UPDATE"  #: its compute environment was replaced below it
MAIN_ENDED: Final = "MAIN_ENDED"  #: the main node of its multi-node job has ended

# `state` and `status` of named resources, as AWS spells them.
ENABLED: Final = "ENABLED"
DISABLED: Final = "DISABLED"
CREATING: Final = "CREATING"
UPDATING: Final = "UPDATING"
DELETING: Final = "DELETING"
VALID: Final = "VALID"
INVALID: Final = "INVALID"
ACTIVE: Final = "ACTIVE"
INACTIVE: Final = "INACTIVE"


class Rule(Struct, frozen=True, gc=False):
    """One entry of evaluateOnExit. A condition that is None was not given."""

    action: str  # RETRY | EXIT
    on_status_reason: str | None = None
    on_reason: str | None = None
    on_exit_code: str | None = None


class Logs(NamedTuple):
    """Where the output of a task goes: see the members of Shape."""

    group: str
    prefix: str
    streams: tuple[tuple[str, str, str], ...]


class Shape(Struct, frozen=True):
    """What scheduling and retrying need to know of an effective spec. Interned: jobs alike share one."""

    resources: Resources
    attempts: int = 1
    rules: tuple[Rule, ...] = ()
    timeout: int = 0  #: ms of one attempt, from its start; 0 is none
    priority: int = 0
    consumables: tuple[tuple[str, int], ...] = ()  #: what each attempt holds: (ARN, units), by ARN; a gang's in all
    gang: tuple[Resources, ...] = ()  #: of a multi-node job: what each node takes; ``resources`` is their sum
    units: tuple[tuple[tuple[str, int], ...], ...] = ()  #: of a multi-node job with consumables: what each node holds
    main: int = 0  #: of a multi-node job: the index of its main node
    cap: int = 0  #: reserved: how many tasks of an array may run at a time
    fault: str = ""  #: found after the submit, as AWS does: the job FAILS with this when it is evaluated
    log_group: str = "/aws/batch/job"
    log_prefix: str = ""  #: of the stream name: "<definition name or awslogs-stream-prefix>/<container>"
    streams: tuple[tuple[str, str, str], ...] = ()  #: of several containers each: name, log group, log prefix
    logs: tuple[Logs, ...] = ()  #: of a multi-node job whose nodes differ in it: each one's
    instances: tuple[tuple[str, int], ...] = ()  #: of a service job: (instance type, how many); they are its "vCPUs"
    preemptions: int = -1  #: of a service job: how often it may be preempted and tried again, -1 for ever

    @property
    def unit(self) -> str:
        """The instance type of a service job, if it has only one."""
        return self.instances[0][0] if len(self.instances) == 1 else ""

    def logs_of(self, index: int) -> Logs:
        """Of one task."""
        return self.logs[index] if self.logs else Logs(self.log_group, self.log_prefix, self.streams)


class Need(NamedTuple):
    """One dependency. ``index`` is -1 unless one child of an array is meant; ``job`` is "" for SEQUENTIAL."""

    job: str
    index: int = -1  # type: ignore[assignment]  # shadows tuple.index
    kind: int = WHOLE


class Asked(Struct, frozen=True):
    """A request to end something: the first caller's words stand, later kinds are added."""

    kind: int  # bits of CANCEL, TERMINATE, VOID
    reason: str
    at: int


class Closed(Struct, frozen=True, gc=False):
    """The end of a job as a whole."""

    code: int
    reason: str
    at: int


class Attempt(Struct):
    """A live placement, or (in rows) a past one. Absent times are 0."""

    key: AttemptKey
    used: int  #: attempts used before this one
    environment: str  #: ARN
    resources: Resources  #: as granted: clamped to the host if the job asked for more
    code: int  #: OFFERED, STARTING, RUNNING; the outcome (RUNNABLE, SUCCEEDED, FAILED) once it ended
    placed: int
    starting: int = 0
    started: int = 0
    stopped: int = 0
    recall: Asked | None = None  #: CancelJob while OFFERED: the engine was asked for it back
    doom: str = NO_CAUSE  #: why it is being killed, for causes that are facts of the attempt (TIMEOUT, MAIN_ENDED)
    cause: str = NO_CAUSE  #: why it ended
    counts: bool = True  #: whether it used one of the job's attempts
    exit_code: int | None = None
    reason: str = ""  #: container.reason: the runtime's own words
    status_reason: str = ""
    log_group: str = ""
    log_stream: str = ""
    address: str = ""
    cpu_ms: int = 0
    peak_mib: int = 0
    containers: tuple[ContainerEnd, ...] = ()  #: of several, once they ended, in the order in which they did


class NodeEnd(NamedTuple):
    """How the last attempt of a node ended, kept until the whole gang has."""

    code: int  #: SUCCEEDED or FAILED; of the main node RUNNABLE if the job is to be tried again
    words: str
    at: int


class Task(Struct):
    """What is known of one index beyond its code: from its first attempt on, or since it was asked to end by id.

    A row of it is written only for ``asked``; serial, used and preempted follow from the attempts.
    """

    index: int
    serial: int = 0  #: placements so far
    used: int = 0  #: attempts that count against retryStrategy
    asked: Asked | None = None
    live: Attempt | None = None
    end: NodeEnd | None = None  #: of a node
    preempted: int = 0  #: attempts that made room for another job


class Job(Struct):
    """A job that is open, or ended and still needed by an open one.

    ``size`` is 0 for a plain job, else the number of children or nodes. ``status`` has one code per task: one byte
    (shared by all jobs alike) for a plain job, a bytearray for an array or a gang.
    """

    id: str
    seq: int
    realm: Realm
    queue: str  #: ARN
    name: str
    definition: str  #: ARN with revision
    shape: Shape
    created: int
    size: int = 0
    share: str = ""
    needs: tuple[Need, ...] = ()
    status: bytes | bytearray = ONE[SUBMITTED]
    asked: Asked | None = None
    tasks: dict[int, Task] = {}
    closed: Closed | None = None
    needed_by: int = 0  #: how many open jobs need this one
    shelf: "Block | None" = None  #: where its queue keeps it
    place: int = 0  #: offset in that block
    shelves: "tuple[tuple[Block, int], ...]" = ()  #: as these two, on the other shelves it stands on

    @property
    def width(self) -> int:
        """How many tasks: 1 for a plain job."""
        return self.size or 1

    @property
    def gang(self) -> bool:
        """A multi-node job."""
        return bool(self.shape.gang)

    @property
    def service(self) -> bool:
        """A service job (services.py)."""
        return bool(self.shape.instances)

    @property
    def array(self) -> bool:
        return self.size > 0 and not self.shape.gang

    @property
    def speaker(self) -> int:
        """The task whose attempts are the job's: the only one, or the main node."""
        return self.shape.main

    def has(self, ref: Ref) -> bool:
        """Whether an id (of this job) names the job, a child of it, or a node of it."""
        if ref.index is None:
            return True
        return 0 <= ref.index < self.size and ref.mark == (NODE if self.shape.gang else CHILD)

    def name_of(self, index: int) -> str:
        """The id of a child or node."""
        return f"{self.id}{NODE if self.shape.gang else CHILD}{index}"

    def ask_of(self, index: int) -> Asked | None:
        """What was asked of this task, in its first words: of the child itself, else of its job.

        A request for a child whose job was asked before is noted in the job's words, so the child's own come first.
        """
        task = self.tasks.get(index)
        return task.asked if task and task.asked else self.asked

    @property
    def open(self) -> bool:
        return self.closed is None

    @property
    def all_ended(self) -> bool:
        """Every task has ended (an array is closed a step later)."""
        status = self.status  # looking for what is not there is ten times as fast as counting what is
        return not any(code in status for code in OPEN)


class Block(Struct):
    """A run of a queue's open jobs in creation order, one status byte each, so that listing is `rfind`."""

    jobs: list[Job | None] = []
    seqs: list[int] = []
    codes: bytearray = field(default_factory=bytearray)
    live: int = 0


class Environment(Struct):
    """A compute environment, or a service environment, whose vCPUs are instances (capacity.py). ``pool`` names what it
    draws on: its own ARN, or one shared by ready-made ones."""

    arn: str
    name: str
    realm: Realm
    kind: str  #: computeResources.type, UNMANAGED, EKS or EKS_SPOT; SAGEMAKER_TRAINING
    max_vcpus: int  #: thousandths
    pool: str
    doc: str  #: JSON of everything that is echoed
    state: str = ENABLED
    status: str = CREATING
    status_reason: str = ""
    uuid: str = ""
    created: int = 0
    replaced: int = 0  #: while an infrastructure update lasts: when it began
    replace_by: int = 0  #: and when what began before it is ended
    units: tuple[tuple[str, int], ...] = ()  #: of a service environment, by type if not ()


class Definition(Struct):
    """One revision of a job definition; ``doc`` is the registered request as JSON."""

    arn: str
    name: str
    realm: Realm
    revision: int
    doc: str
    status: str = ACTIVE
    created: int = 0
    deregistered: int = 0


class Dirty(Struct):
    """What the next commit writes, each key once, from the object itself."""

    jobs: dict[int, Job] = {}
    specs: list[tuple[int, str]] = []  #: (seq, request as sent)
    shapes: dict[int, Job] = {}  #: jobs whose shape is another now
    tasks: dict[tuple[int, int], tuple[Job, Task]] = {}
    attempts: dict[AttemptKey, tuple[Job, Attempt]] = {}
    ended: list[tuple[int, int, int, int, str, int]] = []  #: seq, first, end, code, reason, at
    queues: dict[str, Queue | None] = {}
    environments: dict[str, Environment | None] = {}
    definitions: dict[str, Definition | None] = {}
    consumables: dict[str, Consumable | None] = {}
    tokens: list[tuple[str, str, int, int]] = []  #: scope, token ("": none), at, newest to forget
    policies: dict[str, SchedulingPolicy | None] = {}
    quotas: dict[str, QuotaShare | None] = {}
    shares: dict[tuple[str, str], Usage | None] = {}  #: (queue ARN, share)
    tags: list[tuple[str, dict[str, str], tuple[str, ...]]] = []  #: arn, set, removed ("*" removes all)
    realms: list[Realm] = []
    evaluated: int = 0  #: new value of meta.evaluated, 0 for no change

    @property
    def empty(self) -> bool:
        return self == Dirty()


class World(Struct):
    """Everything open. Only `apply` writes to it; only `load` (store) makes one."""

    jobs: dict[str, Job] = {}
    queues: dict[str, Queue] = {}
    environments: dict[str, Environment] = {}
    definitions: dict[str, Definition] = {}
    consumables: dict[str, Consumable] = {}
    tokens: dict[str, dict[str, int]] = {}  #: clientTokens seen: scope -> token -> when (ms), oldest first
    policies: dict[str, SchedulingPolicy] = {}
    quotas: dict[str, QuotaShare] = {}
    shares: dict[str, dict[str, Usage]] = {}  #: queue ARN -> share -> what it uses; only `spent` and `at` are stored
    revisions: dict[tuple[Realm, str], int] = {}  #: highest revision ever given to a name
    catalog: dict[tuple[Realm, str], Shelf] = {}  #: definitions of a realm and status, as they are listed
    stocked: dict[Realm, list[tuple[str, str]]] = {}  #: names of consumable resources, in lower case and as they are
    realms: set[Realm] = field(default_factory=set)
    shapes: dict[Shape, Shape] = {}
    next_seq: int = 1
    evaluated: int = 0
    policy: Policy = Policy()
    sites: dict[str, Site] = {}  #: engines, by name

    # Derived, kept by apply and follow; load makes them anew.
    unevaluated: deque[Job] = field(default_factory=deque)
    #: job id -> ids of open jobs that need its end; "<job id>:" -> those that look at its children
    dependents: dict[str, dict[str, None]] = {}
    due: Agenda = field(default_factory=Agenda)
    alarms: list[tuple[int, str, AttemptKey]] = []  #: heap of (at, what, key)
    blocks: dict[str, list[Block]] = {}  #: shelf -> its open jobs, oldest first (index.py)
    lanes: dict[str, dict[Lane, list[Entry]]] = {}  #: queue ARN -> its lanes, each a heap
    short: dict[str, tuple[str, int]] = {}  #: queue ARN -> the task at its head, if the machines lack room; a hint
    moved: dict[str, int] = {}  #: queue ARN -> when somebody last left, or came back to, its line (ms); a hint
    pools: dict[str, int] = {}  #: vCPU thousandths in use, by pool
    site_of: dict[str, str] = {}  #: environment ARN -> name of its engine
    live: dict[AttemptKey, Attempt] = {}
    locked: dict[str, int] = {}  #: units held by live attempts, by consumable resource
    promised: dict[str, int] = {}  #: of these, by attempts that are OFFERED
    pace: dict[tuple[str, Resources], int] = {}  #: ms a task of this size took lately, by engine; a hint, not compared
    schedule_wanted: bool = True
    evaluate_at: int = 0  #: when the alarm for the oldest job not yet evaluated rings, 0 for none
    leaving: list[Job] = []  #: ended; forgotten once their end is committed
    dirty: Dirty = field(default_factory=Dirty)
