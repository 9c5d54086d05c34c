"""Rows -> World: everything open, and the ended jobs that an open one needs.

What is derived was never stored and is derived here (decision 002). A task of an open job is

* SUBMITTED if its job has not been evaluated, else PENDING, or CLOSING if somebody asked to end it;
* ended, with the code of the span that holds it;
* RUNNABLE if its newest attempt is over, else what that attempt is: OFFERED, STARTING or RUNNING; a node of a gang
  whose newest attempt is over is NODE_SUCCEEDED or NODE_FAILED, until the gang rests.

`batchery.core.rebuild` then makes all that World derives from that, and puts what may be waiting on its due queue.
"""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Any, Final

from msgspec import json

from batchery.core.model import (
    Asked,
    Attempt,
    AttemptKey,
    Blocked,
    Closed,
    Definition,
    Environment,
    Job,
    Need,
    NodeEnd,
    Queue,
    Realm,
    Resources,
    Shape,
    Task,
    TimeLimit,
    World,
)
from batchery.core.named import Consumable
from batchery.core.rebuild import rebuild
from batchery.core.shares import QuotaShare, SchedulingPolicy, Usage
from batchery.core.status import (
    CLOSING,
    ENDED,
    FAILED,
    LIVE,
    NODE_FAILED,
    NODE_SUCCEEDED,
    ONE,
    PENDING,
    RUNNABLE,
    SUBMITTED,
    SUCCEEDED,
    table,
)
from batchery.store.rows import CONSUMABLE, DEFINITION, ENVIRONMENT, POLICY, QUEUE, QUOTA_SHARE

_OPEN: Final = "FROM job INDEXED BY job_open CROSS JOIN {} USING (seq) WHERE job.code IS NULL"
_ATTEMPTS: Final = """
    SELECT job.id, idx, serial, used, environment, vcpus, memory, gpus, attempt.code, placed, starting, started,
           stopped, recall_kind, recall_reason, recall_at, doom, cause, counts, exit_code, attempt.reason,
           status_reason, log_group, log_stream, address, cpu_ms, peak_mib
    FROM json_each(?) CROSS JOIN attempt ON seq = value->>0 AND idx = value->>1 AND serial = value->>2
    CROSS JOIN job USING (seq)"""


def _text(values: Iterable[Any]) -> str:
    return json.encode(list(values)).decode()


_needs: Final = json.Decoder(tuple[Need, ...])
_shape: Final = json.Decoder(Shape)
_order: Final = json.Decoder(tuple[tuple[int, str], ...])
_blocked: Final = json.Decoder(tuple[Blocked, ...])
_units: Final = json.Decoder(tuple[tuple[str, int], ...])
_limits: Final = json.Decoder(tuple[TimeLimit, ...])
_weights: Final = json.Decoder(tuple[tuple[str, float], ...])
_CLOSE: Final = table({PENDING: CLOSING})


def load(connection: Connection) -> World:
    """A World of what is committed. The connection must be in no transaction; one is held while reading."""
    with _gc_paused():
        connection.execute("BEGIN")
        try:
            world = World()
            _resources(connection, world)
            symbols = Symbols(connection.execute("SELECT id, text FROM symbol"), world.shapes)
            _open_jobs(connection, world, symbols)
            _ends(connection, world.jobs)
            _asks(connection, world.jobs)
            _attempts(connection, world.jobs, symbols)
            _needed(connection, world, symbols)
        finally:
            connection.execute("ROLLBACK")
        rebuild(world)
    return world


@contextmanager
def _gc_paused() -> Iterator[None]:
    """A million young objects without a cycle among them: collecting while they are made takes as long as making."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Symbols:
    """Texts by number, and what they stand for, each made once."""

    def __init__(self, rows: Iterable[tuple[int, str]], shapes: dict[Shape, Shape]) -> None:
        self.texts = dict(rows)
        self.realms: dict[int, Realm] = {}
        self.shapes: dict[int, Shape] = {}
        self.interned = shapes

    def realm(self, number: int) -> Realm:
        found = self.realms.get(number)
        if found is None:
            account, _, region = self.texts[number].partition("/")
            found = self.realms[number] = Realm(account, region)
        return found

    def shape(self, number: int) -> Shape:
        found = self.shapes.get(number)
        if found is None:
            shape = _shape.decode(self.texts[number])
            found = self.shapes[number] = self.interned.setdefault(shape, shape)
        return found


def _resources(connection: Connection, world: World) -> None:
    (world.evaluated,) = connection.execute("SELECT evaluated FROM meta").fetchone()
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM job").fetchone()
    world.next_seq = max(last, world.evaluated) + 1  # ended jobs may be forgotten; their numbers are not given again
    world.realms = {Realm(*row) for row in connection.execute("SELECT account, region FROM realm")}
    for arn, name, account, region, priority, order, *rest in connection.execute(_all("queue", QUEUE)):
        *plain, blocked, limits = rest
        queue = world.queues[arn] = Queue(arn, name, Realm(account, region), priority, _order.decode(order), *plain)
        queue.blocked, queue.limits = _blocked.decode(blocked), _limits.decode(limits)
    for arn, name, account, region, *rest in connection.execute(_all("policy", POLICY)):
        kind, doc, window, reservation, weights, created = rest
        world.policies[arn] = SchedulingPolicy(
            arn, name, Realm(account, region), kind, doc, window, reservation, _weights.decode(weights), created
        )
    for arn, name, account, region, queue_arn, limits, strategy, borrow, in_share, *rest in connection.execute(
        _all("quota", QUOTA_SHARE)
    ):
        head = (arn, name, Realm(account, region), queue_arn, _units.decode(limits))
        world.quotas[arn] = QuotaShare(*head, strategy, borrow, bool(in_share), *rest)
    for queue_arn, share, spent, at in connection.execute("SELECT queue, share, spent, at FROM share"):
        world.shares.setdefault(queue_arn, {})[share] = Usage(spent, at)
    for arn, name, account, region, *rest in connection.execute(_all("environment", ENVIRONMENT)):
        *plain, units = rest
        world.environments[arn] = Environment(arn, name, Realm(account, region), *plain)
        world.environments[arn].units = _units.decode(units)
    for arn, name, account, region, *rest in connection.execute(_all("definition", DEFINITION)):
        world.definitions[arn] = Definition(arn, name, Realm(account, region), *rest)
    for arn, name, account, region, *rest in connection.execute(_all("consumable", CONSUMABLE)):
        world.consumables[arn] = Consumable(arn, name, Realm(account, region), *rest)
    for scope, token, at in connection.execute("SELECT scope, token, at FROM client_token ORDER BY at"):
        world.tokens.setdefault(scope, {})[token] = at


def _all(name: str, columns: tuple[str, ...]) -> str:
    return f"SELECT {', '.join(columns)} FROM {name} ORDER BY created, arn"


_JOB: Final = """
    SELECT id, seq, realm, queue, name, definition, shape, created, size + nodes, share, needs,
           asked_kind, asked_reason, asked_at FROM job INDEXED BY job_open WHERE code IS NULL ORDER BY seq"""


def _open_jobs(connection: Connection, world: World, symbols: Symbols) -> None:
    """Every open job, as if it had no task that began or ended. This loop is what a restart costs."""
    texts, realm_of, shape_of = symbols.texts, symbols.realm, symbols.shape
    realms, shapes = symbols.realms, symbols.shapes
    jobs, shares = world.jobs, {"": ""}
    evaluated = world.evaluated
    for row in connection.execute(_JOB):
        id_, seq, realm, queue, name, definition, shape, created, size, share, needs, kind, reason, at = row
        code = SUBMITTED if seq > evaluated else CLOSING if kind else PENDING
        jobs[id_] = Job(
            id_,
            seq,
            realms.get(realm) or realm_of(realm),
            texts[queue],
            name,
            texts[definition],
            shapes.get(shape) or shape_of(shape),
            created,
            size,
            share and shares.setdefault(share, share),
            _needs.decode(needs) if needs else (),
            bytearray(ONE[code] * size) if size else ONE[code],
            Asked(kind, reason, at) if kind else None,
        )


def _set(job: Job, first: int, upto: int, code: int) -> None:
    if isinstance(job.status, bytearray):
        job.status[first:upto] = ONE[code] * (upto - first)
    else:
        job.status = ONE[code]


def _ends(connection: Connection, jobs: dict[str, Job]) -> None:
    rows = connection.execute(f"SELECT id, first, upto, ended.code {_OPEN.format('ended')}")
    for id_, first, upto, code in rows:
        _set(jobs[id_], first, upto, code)


def _asks(connection: Connection, jobs: dict[str, Job]) -> None:
    """Children that were asked to end by their own ids."""
    columns = "id, idx, task.asked_kind, task.asked_reason, task.asked_at"
    for id_, index, kind, reason, at in connection.execute(f"SELECT {columns} {_OPEN.format('task')}"):
        job = jobs[id_]
        job.tasks[index] = Task(index, asked=Asked(kind, reason, at))
        if job.status[index] == PENDING:
            _set(job, index, index + 1, CLOSING)


def _attempts(connection: Connection, jobs: dict[str, Job], symbols: Symbols) -> None:
    """What a task's attempts say of it: how many, how many count, and whether the newest one is live."""
    # The bare columns beside max() are those of the row that has it (lang_select: "Bare columns in an aggregate").
    columns = "id, idx, max(serial), used, counts, attempt.code, status_reason, stopped"
    live: list[tuple[int, int, int]] = []
    rows = connection.execute(f"SELECT {columns} {_OPEN.format('attempt')} GROUP BY seq, idx")
    for id_, index, serial, used, counts, code, words, stopped in rows:
        job = jobs[id_]
        task = job.tasks.get(index)
        if task is None:
            task = job.tasks[index] = Task(index)
        task.serial, task.used = serial, used + (counts if code not in LIVE else 0)
        if job.gang and index != job.speaker:
            task.used = 0  # a gang's attempts are its main node's
        if code in LIVE:
            live.append((job.seq, index, serial))
            _set(job, index, index + 1, code)
        elif job.status[index] not in ENDED and job.gang:
            task.end = NodeEnd(code, words, stopped)
            _set(job, index, index + 1, NODE_SUCCEEDED if code == SUCCEEDED else NODE_FAILED)
        elif job.status[index] not in ENDED:
            _set(job, index, index + 1, RUNNABLE)
    preempted = f"SELECT id, idx, count(*) {_OPEN.format('attempt')} AND cause = 'PREEMPTED' GROUP BY seq, idx"
    for id_, index, count in connection.execute(preempted):
        jobs[id_].tasks[index].preempted = count
    for id_, *row in connection.execute(_ATTEMPTS, (_text(live),)):
        jobs[id_].tasks[row[0]].live = _attempt(id_, row, symbols)


def _attempt(job: str, row: list[Any], symbols: Symbols) -> Attempt:
    index, serial, used, environment, vcpus, memory, gpus, *rest = row
    code, placed, starting, started, stopped, kind, reason, at, doom, cause, counts, *end = rest
    exit_code, own_reason, status_reason, group, *tail = end
    key, resources = AttemptKey(job, index, serial), Resources(vcpus, memory, gpus)
    head = (key, used, symbols.texts[environment], resources, code, placed, starting, started, stopped)
    recall = Asked(kind, reason, at) if kind else None
    return Attempt(
        *head, recall, doom, cause, bool(counts), exit_code, own_reason, status_reason, symbols.texts[group], *tail
    )


# ------------------------------------------------------------------------------------------------------ ended jobs


def _needed(connection: Connection, world: World, symbols: Symbols) -> None:
    """Ended jobs that an open one names in its needs."""
    missing: dict[str, int] = {}  # id -> the least width that its dependents look at
    for job in world.jobs.values():
        for need in job.needs:
            if need.job and need.job not in world.jobs:
                missing[need.job] = max(missing.get(need.job, 0), need.index + 1, job.size)
    if not missing:
        return
    found = ghosts(connection, missing, symbols)
    for id_, width in missing.items():
        world.jobs[id_] = found.get(id_) or _forgotten(id_, width)


def _forgotten(id_: str, width: int) -> Job:
    """A dependency whose rows are gone: it cannot be known to have succeeded, so whoever needs it fails."""
    status = ONE[FAILED] * max(width, 1)
    shape = Shape(Resources(0, 0))
    job = Job(id_, 0, Realm("", ""), "", "", "", shape, 0, width, status=bytearray(status) if width else status)
    job.closed = Closed(FAILED, "", 0)
    return job


_GHOST: Final = """
    SELECT job.id, seq, realm, queue, name, definition, shape, created, size + nodes, share, needs,
           asked_kind, asked_reason, asked_at, code, reason, ended
    FROM json_each(?) CROSS JOIN job ON job.id = value WHERE code IS NOT NULL"""


def ghosts(connection: Connection, ids: Iterable[str], symbols: Symbols | None = None) -> dict[str, Job]:
    """Ended jobs with their final status bytes, by id; what is open or unknown is left out."""
    rows = connection.execute(_GHOST, (_text(ids),)).fetchall()
    if symbols is None:
        numbers = {number for row in rows for number in (row[2], row[3], row[5], row[6])}
        texts = connection.execute(
            "SELECT symbol.id, text FROM json_each(?) CROSS JOIN symbol ON symbol.id = value", (_text(numbers),)
        )
        symbols = Symbols(texts, {})
    found: dict[str, Job] = {}
    by_seq: dict[int, Job] = {}
    for row in rows:
        id_, seq, realm, queue, name, definition, shape, created, size, share, needs, *rest = row
        kind, asked, at, code, reason, ended = rest
        found[id_] = job = Job(
            *(id_, seq, symbols.realm(realm), symbols.texts[queue], name, symbols.texts[definition]),
            *(symbols.shape(shape), created, size, share, _needs.decode(needs) if needs else ()),
            status=bytearray(ONE[code] * size) if size else ONE[code],
            asked=Asked(kind, asked, at) if kind else None,
            closed=Closed(code, reason, ended),
        )
        if size:
            by_seq[seq] = job
    spans = "SELECT seq, first, upto, code FROM json_each(?) CROSS JOIN ended ON seq = value"
    for seq, first, upto, code in connection.execute(spans, (_text(by_seq),)):
        _set(by_seq[seq], first, upto, code)
    return found
