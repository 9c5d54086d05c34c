"""The port of the store: load a World, commit what is dirty, read what World does not hold.

Rows are the truth; see migrations/001.sql. `tests/conformance/store` holds every driver to this.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from msgspec import Struct

from batchery.core.changes import Change
from batchery.core.model import AttemptKey, ContainerEnd, Dirty, Job, World


class StoreError(Exception):
    """The store cannot be used; the text says what to do."""


class CommitFailed(Exception):
    """The transaction did not happen: nothing of it is stored. The leader steps down and loads again."""


class JobRow(Struct, frozen=True):
    """What the store knows of a job. For an open job ``code`` is None: its status is World's to say."""

    id: str
    seq: int
    account: str
    region: str
    queue: str
    name: str
    definition: str
    created: int
    size: int  # children or nodes, 0 for a plain job
    share: str
    needs: str  # JSON [[job, index, kind], ...]
    asked_kind: int  # 0 for none
    asked_reason: str
    code: int | None
    reason: str
    ended: int  # ms, 0 while open
    vcpus: int  # thousandths that one task asked for
    main: int  # of a multi-node job the index of its main node, -1 of others
    gang: str = ""  # of a multi-node job what each node asked for: JSON [[vcpus, memory, gpus], ...]
    instances: str = ""  # of a service job: JSON [[instance type, how many], ...]
    priority: int = 0  # of a service job


class EndedRow(Struct, frozen=True):
    """A span of children that ended alike: indexes ``first`` <= i < ``end``."""

    first: int
    end: int
    code: int
    reason: str
    at: int


class AttemptRow(Struct, frozen=True):
    """One placement, live or past. Times are ms, 0 when absent. ``code``: see core.model.Attempt."""

    index: int
    serial: int
    used: int
    environment: str
    code: int
    counts: bool
    placed: int
    starting: int
    started: int
    stopped: int
    cause: str
    exit_code: int | None
    reason: str
    status_reason: str
    log_group: str
    log_stream: str
    vcpus: int
    memory: int
    gpus: int
    cpu_ms: int
    peak_mib: int
    containers: tuple[ContainerEnd, ...] = ()  # of several


class Activity(Struct, frozen=True):
    """One API call for the activity log; ``doc`` is the CloudTrail record as JSON."""

    at: int
    account: str
    region: str
    doc: str


#: Rows that World knows nothing of, written along with a commit, in order: the name of one of these and its values.
#:
#: * ``("put_group", (account, region, name, created, retention))``: a log group, made or changed; days, 0 for ever
#: * ``("delete_group", (account, region, name))``: with its streams
#: * ``("delete_stream", (account, region, group, name))``
#: * ``("cursor", (name, seq))``: a reader of the feed has done with everything up to ``seq``
#: * ``("drop_cursor", (name,))``: that reader is no more; the feed need not wait for it
Aside = tuple[str, tuple[str | int, ...]]


class Store(Protocol):
    """A driver. `open`, `load`, `commit`, `close` are called by the leader's loop alone; reads by anyone.

    `load`, `commit`, `probe` and the prunes block and are called in the commit thread. Nothing but them writes.
    """

    def open(self) -> None:
        """Lock, migrate. Raises StoreError with a sentence that says what to do."""
        ...

    def close(self) -> None: ...

    def load(self) -> World:
        """A World of everything open, with derived members made, every open job with needs due, and dirty empty."""
        ...

    def commit(self, rows: "Rows", activity: Sequence[Activity], aside: Sequence[Aside] = ()) -> None:
        """One transaction of everything. Raises CommitFailed; then nothing of it is stored."""
        ...

    def probe(self) -> None:
        """After a failed commit: commit a row that means nothing. Raises CommitFailed until commits work again."""
        ...

    def newest(self) -> int:
        """The newest stamp in the store, ms (0: none): a clock that starts must not be below it."""
        ...

    def prune_jobs(self, before: int, limit: int, keep: Collection[str] = ()) -> list[str]:
        """Forget up to ``limit`` jobs that ended before ``before`` (ms) and that no open job needs, and all that hangs
        on them; ids in ``keep`` stay. Returns the ids forgotten, so that their files can go. Raises CommitFailed."""
        ...

    def prune_activity(self, before: int) -> int:
        """Forget activity records older than ``before`` (ms); how many rows went. Raises CommitFailed."""
        ...


class Rows(Struct):
    """A `Dirty` made into JSON arrays, one text per table, taken on the loop's thread so World may go on.

    ``symbols``: long texts that the rows name (ARNs, realms, shapes), each to be stored once. ``at``: the newest
    stamp among the changes, ms.
    """

    tables: dict[str, bytes] = {}
    feed: bytes = b""
    symbols: list[str] = []
    at: int = 0


def encode(dirty: Dirty, changes: list[Change]) -> Rows:
    """See store/rows.py."""
    from batchery.store.rows import encode as encode_rows

    return encode_rows(dirty, changes)


class Reads(Protocol):
    """Reads of committed facts, off the loop. Every list is in the order given, or newest first where paged."""

    async def jobs(self, ids: list[str]) -> dict[str, JobRow]: ...

    async def specs(self, seqs: list[int]) -> dict[int, str]:
        """The requests as sent."""
        ...

    async def attempts(self, seq: int, index: int | None) -> list[AttemptRow]:
        """Attempts of one task in order (index None: of task 0)."""
        ...

    async def attempts_of(self, seqs: list[int]) -> dict[int, list[AttemptRow]]:
        """Attempts of task 0 of several jobs."""
        ...

    async def last_attempts(self, seq: int, indexes: list[int]) -> dict[int, AttemptRow]:
        """The newest attempt of each of these tasks that has one."""
        ...

    async def ended(self, seq: int) -> list[EndedRow]:
        """The ends of the tasks of an array."""
        ...

    async def task_asked(self, seq: int, indexes: list[int]) -> dict[int, tuple[int, str]]:
        """What was asked of children by their own ids: (kind, reason)."""
        ...

    async def ghosts(self, ids: list[str]) -> dict[str, Job]:
        """Ended jobs as core Jobs with their status bytes, for Submit.facts."""
        ...

    async def page(
        self,
        queue: str,
        *,
        codes: tuple[int, ...] | None,
        before: int,
        limit: int,
        name: str | None = None,
        definition: str | None = None,
        created_before: int | None = None,
        created_after: int | None = None,
        share: str | None = None,
    ) -> list[JobRow]:
        """Jobs of a queue with seq < ``before``, newest first.

        codes (5,), (6,): ended ones of that code; None: every job, open or ended. ``name`` is compared without case,
        a trailing ``*`` makes it a prefix; ``definition``: an ARN with revision, or a bare name with optional ``*``.
        """
        ...

    async def page_of_consumable(
        self,
        consumable: str,
        *,
        codes: tuple[int | None, ...] | None,
        before: int,
        limit: int,
        name: str | None = None,
    ) -> list[JobRow]:
        """Jobs that ask for a consumable resource (ARN), with seq < ``before``, newest first. ``codes``: of ended ones,
        and None for open ones; None for all of them. ``name`` as in `page`."""
        ...

    async def definitions_used(self) -> set[str]:
        """ARNs of the definitions of all jobs that are kept. Reads every job's row: seldom asked."""
        ...

    async def consumables_of(self, seqs: list[int]) -> dict[int, dict[str, int]]:
        """What jobs ask for as a whole: ARN -> units, by ARN."""
        ...

    async def tags(self, arns: list[str]) -> dict[str, dict[str, str]]: ...

    async def streams(
        self, account: str, region: str, group: str, prefix: str, after: str, limit: int
    ) -> list["StreamRow"]:
        """Log streams by name."""
        ...

    async def stream(self, account: str, region: str, group: str, name: str) -> "StreamRow | None": ...

    async def groups(self, account: str, region: str) -> list["GroupRow"]: ...

    async def activity(
        self, account: str, region: str, start: int, end: int, before: int, limit: int
    ) -> list[tuple[int, str]]:
        """Activity records (cursor, CloudTrail JSON) newest first with cursor < ``before``, times in [start, end]."""
        ...

    async def feed(self, after: int, limit: int) -> list["FeedRow"]:
        """Up to ``limit`` commits with seq > ``after``, oldest first."""
        ...

    async def cursors(self) -> dict[str, int]:
        """How far each reader of the feed is."""
        ...


class FeedRow(Struct, frozen=True):
    """What one commit changed. Of `Submitted` the spec, the ghosts and whatever a new job has not are left out."""

    seq: int
    at: int  # the newest stamp among the changes, ms
    changes: list[Change]


class StreamRow(Struct, frozen=True):
    """One log stream: a container of an attempt. ``created`` in ms."""

    group: str
    name: str
    task_id: str
    container: str
    created: int
    key: AttemptKey


class GroupRow(Struct, frozen=True):
    """A log group: ``retention`` in days, 0 for ever."""

    name: str
    created: int
    retention: int
