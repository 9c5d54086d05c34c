"""Changes: facts, past tense, and the only currency. Applying one is total.

The same value updates memory (`apply`), is written (`Dirty`, from the World), feeds the event stream and moves the
engine (`effects`).
"""

from msgspec import Struct

from batchery.core.model import (
    AttemptKey,
    Capacity,
    ContainerEnd,
    Definition,
    Environment,
    Job,
    Queue,
    Realm,
    Resources,
)
from batchery.core.named import Consumable
from batchery.core.shares import QuotaShare, SchedulingPolicy


class Change(Struct, frozen=True, tag=True):
    """A fact, past tense. Applying it is total."""


class RealmOpened(Change, frozen=True, tag=True):
    realm: Realm


class Submitted(Change, frozen=True, tag=True):
    """A job came to be. ``ghosts``: ended jobs that it needs and World did not hold."""

    job: Job
    spec: str
    tags: dict[str, str] = {}
    ghosts: tuple[Job, ...] = ()


class Reprioritized(Change, frozen=True, tag=True):
    """An open service job has another scheduling priority."""

    job: str
    priority: int


class Evaluated(Change, frozen=True, tag=True):
    """The scheduler has looked at the job: SUBMITTED tasks are PENDING (and settle at once)."""

    job: str
    seq: int


class Readied(Change, frozen=True, tag=True):
    """Nothing is outstanding any more: PENDING tasks are RUNNABLE. Derived, never stored."""

    job: str
    spans: tuple[tuple[int, int], ...]


class WasAsked(Change, frozen=True, tag=True):
    """Somebody asked to end a job (index None) or one child. PENDING tasks in scope are CLOSING."""

    job: str
    index: int | None
    kind: int
    reason: str
    at: int


class Ended(Change, frozen=True, tag=True):
    """Tasks reached SUCCEEDED or FAILED. For a plain job that is the job's end too."""

    job: str
    spans: tuple[tuple[int, int], ...]
    code: int
    reason: str
    at: int


class JobClosed(Change, frozen=True, tag=True):
    """All tasks have ended and so has the job. For a plain job it follows its Ended at once."""

    job: str
    code: int
    reason: str
    at: int


class Placed(Change, frozen=True, tag=True):
    """A RUNNABLE task was given to an engine: it is OFFERED and holds its resources."""

    key: AttemptKey
    environment: str
    resources: Resources
    at: int


class Began(Change, frozen=True, tag=True):
    """The engine began the attempt (STARTING), or it runs (RUNNING). A pending recall lapses."""

    key: AttemptKey
    code: int
    at: int
    address: str = ""


class Recalled(Change, frozen=True, tag=True):
    """CancelJob met an OFFERED attempt: the engine is asked for it back."""

    key: AttemptKey
    reason: str
    at: int


class Doomed(Change, frozen=True, tag=True):
    """An attempt is to be killed for a cause of its own (TIMEOUT, UPDATE, MAIN_ENDED). Termination is a fact of the
    job, but that of a single node, explained in ``words``."""

    key: AttemptKey
    cause: str
    at: int
    words: str = ""


class AttemptEnded(Change, frozen=True, tag=True):
    """An attempt is over and its resources are free. ``code``: RUNNABLE (again), SUCCEEDED or FAILED; for the last
    two an `Ended` of the task follows. ``counts``: whether it used one of the job's attempts."""

    key: AttemptKey
    code: int
    cause: str
    counts: bool
    at: int
    started: int = 0
    exit_code: int | None = None
    reason: str = ""
    status_reason: str = ""
    cpu_ms: int = 0
    peak_mib: int = 0
    containers: tuple[ContainerEnd, ...] = ()  # of several


class QueueSet(Change, frozen=True, tag=True):
    """A queue was created or changed: this is all of it."""

    queue: Queue


class QueueGone(Change, frozen=True, tag=True):
    arn: str


class EnvironmentSet(Change, frozen=True, tag=True):
    """A compute environment was created or changed: this is all of it."""

    environment: Environment


class EnvironmentGone(Change, frozen=True, tag=True):
    arn: str


class DefinitionSet(Change, frozen=True, tag=True):
    """A revision was registered, deregistered, or is only a number from now on: this is all of it."""

    definition: Definition


class ConsumableSet(Change, frozen=True, tag=True):
    """A consumable resource was created or changed, or units of it were used up: this is all of it."""

    consumable: Consumable


class ConsumableGone(Change, frozen=True, tag=True):
    arn: str


class TokenUsed(Change, frozen=True, tag=True):
    """A request with this clientToken has acted; the same one does not act again until the token is forgotten.
    ``scope``: what tokens are unique in, an ARN. ``forget``: tokens of the scope from before (ms) are forgotten."""

    scope: str
    token: str
    at: int
    forget: int


class DefinitionGone(Change, frozen=True, tag=True):
    arn: str


class PolicySet(Change, frozen=True, tag=True):
    """A scheduling policy was created or changed: this is all of it."""

    policy: SchedulingPolicy


class PolicyGone(Change, frozen=True, tag=True):
    arn: str


class QuotaSet(Change, frozen=True, tag=True):
    """A quota share was created or changed: this is all of it."""

    quota: QuotaShare


class QuotaGone(Change, frozen=True, tag=True):
    arn: str


class SharesForgotten(Change, frozen=True, tag=True):
    """Shares of a queue that are no longer active are not kept any more."""

    queue: str
    shares: tuple[str, ...]


class TagsSet(Change, frozen=True, tag=True):
    """Tags were set, then keys removed ("*": all) on an ARN."""

    arn: str
    set: dict[str, str]
    removed: tuple[str, ...]


class CapacitySet(Change, frozen=True, tag=True):
    """What an engine has. Not stored."""

    capacity: Capacity
    engine: str = ""


AnyChange = (
    RealmOpened
    | Submitted
    | Evaluated
    | Reprioritized
    | Readied
    | WasAsked
    | Ended
    | JobClosed
    | Placed
    | Began
    | Recalled
    | Doomed
    | AttemptEnded
    | QueueSet
    | QueueGone
    | EnvironmentSet
    | EnvironmentGone
    | DefinitionSet
    | ConsumableSet
    | ConsumableGone
    | TokenUsed
    | DefinitionGone
    | PolicySet
    | PolicyGone
    | SharesForgotten
    | QuotaSet
    | QuotaGone
    | TagsSet
    | CapacitySet
)
