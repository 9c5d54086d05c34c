"""Pure reads over World, for replies and for validating a command before it is sent.

SIGNATURES ARE FIXED; bodies follow.
"""

from msgspec import Struct

from batchery.core.model import Attempt, Definition, Environment, Queue, Realm, World


class Facts(Struct, frozen=True):
    """What World knows of one open job, or of one task of it."""

    id: str  # with :index for a child
    job: str
    index: int | None  # None: the job itself
    seq: int
    name: str
    queue: str
    definition: str
    created: int
    size: int
    share: str
    code: int  # core.status code; for an array itself SUBMITTED or PENDING
    asked_kind: int  # bits of CANCEL, TERMINATE, VOID; includes a recall under way
    reason: str  # statusReason to show, "" for none
    summary: dict[str, int] | None  # arrays themselves
    live: Attempt | None  # a copy
    used: int
    serial: int


def resolve_queue(world: World, realm: Realm, ref: str) -> Queue | None:
    """By name or ARN, in this realm."""
    raise NotImplementedError


def resolve_environment(world: World, realm: Realm, ref: str) -> Environment | None:
    """By name or ARN, in this realm."""
    raise NotImplementedError


def resolve_definition(world: World, realm: Realm, name: str, revision: int | None) -> Definition | None:
    """That revision, or the highest ACTIVE one."""
    raise NotImplementedError


def queues(world: World, realm: Realm) -> list[Queue]:
    """By name."""
    raise NotImplementedError


def environments(world: World, realm: Realm) -> list[Environment]:
    """By name."""
    raise NotImplementedError


def definitions(world: World, realm: Realm, name: str | None = None) -> list[Definition]:
    """By name, newest revision first."""
    raise NotImplementedError


def facts(world: World, realm: Realm, refs: list[str]) -> dict[str, Facts]:
    """Of the open ones among these ids ("job" or "job:index"), and ended ones still held."""
    raise NotImplementedError


def open_page(world: World, queue: str, codes: tuple[int, ...], before: int, limit: int) -> list[Facts]:
    """Open jobs of a queue (ARN) with one of ``codes`` and seq < before, newest first."""
    raise NotImplementedError


def children_page(
    world: World, realm: Realm, job: str, codes: tuple[int, ...], after: int, limit: int
) -> list[Facts] | None:
    """Children of an array with one of ``codes`` and index > after, in index order; None if World has not the job."""
    raise NotImplementedError


class Why(Struct, frozen=True):
    """Why a task waits. ``place``: 1 is next in its queue (0: not waiting for capacity)."""

    id: str
    status: str
    lines: list[str]  # sentences
    place: int = 0
    waits_for: list[str] = []  # ids of dependencies that have not ended
    lacks: dict[str, str] = {}  # environment name -> what it lacks


def why(world: World, realm: Realm, ref: str) -> Why | None:
    """None if World does not hold it."""
    raise NotImplementedError
