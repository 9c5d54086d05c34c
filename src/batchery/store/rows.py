"""World -> rows: a `Dirty` made into JSON arrays on the loop's thread, and the SQL that writes them.

Theory of operation
-------------------
Every statement in the commit thread costs a hand-over of the GIL, and so does every row of an `executemany`. So the
loop's thread, which must read World anyway, makes one JSON text per table, and the commit thread runs one statement
for each text that is not empty: ``INSERT ... SELECT ... FROM json_each(?)`` works off all rows without Python.

`TABLES` pairs each text with its statement, in the order in which a commit runs them. Where a column is in `SYMBOLS`
the row carries a text and the table the number that `symbol` gives to it.

A row is made from the object itself, whole, so the order of changes within a commit does not matter. What is derived
is not written: a job is updated only for its request to end and its end, a task only for its request to end.
"""

from typing import Any, Final

from msgspec import json

from batchery.core.changes import Change
from batchery.core.model import Asked, Attempt, Definition, Dirty, Environment, Job, Queue, Realm, task_id
from batchery.core.named import Consumable
from batchery.core.shares import QuotaShare, SchedulingPolicy
from batchery.store import feed
from batchery.store.store import Rows

_encoder: Final = json.Encoder()
encode_json: Final = _encoder.encode

#: Columns that hold the number of a text in `symbol`.
SYMBOLS: Final = frozenset({"realm", "queue", "definition", "shape", "environment", "log_group", "consumable"})

JOB_CHANGE: Final = ("asked_kind", "asked_reason", "asked_at", "code", "reason", "ended")
ATTEMPT: Final = (
    *("seq", "idx", "serial", "used", "environment", "vcpus", "memory", "gpus", "code", "counts"),
    *("placed", "starting", "started", "stopped", "recall_kind", "recall_reason", "recall_at", "doom", "cause"),
    *("exit_code", "reason", "status_reason", "log_group", "log_stream", "address", "cpu_ms", "peak_mib"),
    "containers",
)
QUEUE: Final = (
    *("arn", "name", "account", "region", "priority", "environments", "state", "status", "type", "policy"),
    *("created", "blocked", "limits"),
)
ENVIRONMENT: Final = (
    *("arn", "name", "account", "region", "kind", "max_vcpus", "pool", "doc", "state", "status", "status_reason"),
    *("uuid", "created", "replaced", "replace_by", "units"),
)
POLICY: Final = (*("arn", "name", "account", "region", "kind", "doc", "decay", "reservation", "weights", "created"),)
QUOTA_SHARE: Final = (
    *("arn", "name", "account", "region", "queue", "limits", "strategy", "borrow", "in_share", "state", "status"),
    "created",
)
SHARE: Final = ("queue", "share", "spent", "at")
DEFINITION: Final = ("arn", "name", "account", "region", "revision", "doc", "status", "created", "deregistered")
CONSUMABLE: Final = ("arn", "name", "account", "region", "kind", "total", "created")
ENDED: Final = ("seq", "first", "upto", "code", "reason", "at")
TASK: Final = ("seq", "idx", "asked_kind", "asked_reason", "asked_at")

_EACH: Final = "json_each(CAST(?1 AS TEXT))"


def _put(table: str, columns: tuple[str, ...], key: tuple[str, ...] = (), symbols: bool = False) -> str:
    """INSERT of every row of a text; with ``key`` an upsert. ``symbols``: look up the texts of columns in SYMBOLS."""
    picks = [
        f"(SELECT id FROM symbol WHERE text = value->>{at})" if symbols and column in SYMBOLS else f"value->>{at}"
        for at, column in enumerate(columns)
    ]
    sql = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(picks)} FROM {_EACH}"
    if not key:
        return sql
    sets = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in key)
    return f"{sql} WHERE true ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sets}"


def _update(table: str, key: str, columns: tuple[str, ...]) -> str:
    """UPDATE of rows whose key comes first in each row of the text."""
    picks = ", ".join(f"value->>{at} AS {column}" for at, column in enumerate((key, *columns)))
    sets = ", ".join(f"{column} = new.{column}" for column in columns)
    return f"UPDATE {table} SET {sets} FROM (SELECT {picks} FROM {_EACH}) AS new WHERE {table}.{key} = new.{key}"


def _drop(table: str, key: str) -> str:
    return f"DELETE FROM {table} WHERE {key} IN (SELECT value FROM {_EACH})"


# Jobs come in bursts that are alike but for four columns, and picking a column from JSON costs half a microsecond: so
# the text of "job" is [[realm, queue, definition, shape, size, share, needs, [[seq, id, name, created], ...], nodes,
# main], ...].
_JOBS: Final = f"""
    WITH alike AS MATERIALIZED (
        SELECT (SELECT id FROM symbol WHERE text = value->>0) AS realm,
               (SELECT id FROM symbol WHERE text = value->>1) AS queue,
               (SELECT id FROM symbol WHERE text = value->>2) AS definition,
               (SELECT id FROM symbol WHERE text = value->>3) AS shape,
               value->>4 AS size, value->>5 AS share, value->>6 AS needs, value->'$[7]' AS jobs,
               value->>8 AS nodes, value->>9 AS main
        FROM {_EACH})
    INSERT INTO job (seq, id, name, created, realm, queue, definition, shape, size, share, needs, nodes, main)
    SELECT value->>0, value->>1, value->>2, value->>3, realm, queue, definition, shape, size, share, needs, nodes, main
    FROM alike CROSS JOIN json_each(alike.jobs)"""

# The text, of jobs whose shape is another now, is [[seq, shape], ...].
_SHAPES: Final = f"""
    UPDATE job SET shape = new.shape
    FROM (SELECT value->>0 AS seq, symbol.id AS shape FROM {_EACH} CROSS JOIN symbol ON text = value->>1) AS new
    WHERE job.seq = new.seq"""

# A stream is made when its attempt first has a start: that it has none yet is seen in the row to be replaced. Of
# several containers some may run while the attempt is still STARTING, so there that is the start. The text, of all
# attempts with a start, is [[seq, idx, serial, start, log_group, log_stream, container, 1 if one of several], ...].
_STREAMS: Final = f"""
    INSERT INTO stream (realm, log_group, name, created, seq, idx, serial, container)
    SELECT (SELECT realm FROM job WHERE seq = value->>0), (SELECT id FROM symbol WHERE text = value->>4),
           value->>5, value->>3, value->>0, value->>1, value->>2, value->>6
    FROM {_EACH}
    WHERE NOT EXISTS (
        SELECT 1 FROM attempt WHERE seq = value->>0 AND idx = value->>1 AND serial = value->>2
        AND (started > 0 OR (value->>7 AND starting > 0)))
    ON CONFLICT DO NOTHING"""
# A group comes with its first stream. Where it was deleted, the end of an attempt does not bring it back.
_GROUPS: Final = f"""
    INSERT INTO log_group (realm, name, created, retention)
    SELECT value->>0, value->>1, value->>2, 0 FROM {_EACH}
    WHERE EXISTS (
        SELECT 1 FROM stream WHERE realm = (SELECT id FROM symbol WHERE text = value->>0)
        AND log_group = (SELECT id FROM symbol WHERE text = value->>1))
    ON CONFLICT DO NOTHING"""

# Tokens of a scope that are as old as told: [[scope, ms], ...].
_TOKEN_OLD: Final = f"""
    DELETE FROM client_token WHERE (scope, token) IN (
        SELECT old.scope, old.token FROM {_EACH}
        CROSS JOIN client_token AS old ON old.scope = value->>0 AND old.at <= value->>1)"""

#: What a commit runs, in this order: the name of a text in Rows.tables -> its statement.
TABLES: Final[dict[str, str]] = {
    "realm": f"INSERT INTO realm SELECT value->>0, value->>1 FROM {_EACH} WHERE true ON CONFLICT DO NOTHING",
    "queue_gone": _drop("queue", "arn"),
    "queue": _put("queue", QUEUE, ("arn",)),
    "environment_gone": _drop("environment", "arn"),
    "environment": _put("environment", ENVIRONMENT, ("arn",)),
    "definition_gone": _drop("definition", "arn"),
    "definition": _put("definition", DEFINITION, ("arn",)),
    "consumable_gone": _drop("consumable", "arn"),
    "consumable": _put("consumable", CONSUMABLE, ("arn",)),
    "token_old": _TOKEN_OLD,
    "token": _put("client_token", ("scope", "token", "at"), ("scope", "token")),
    "policy_gone": _drop("policy", "arn"),
    "policy": _put("policy", POLICY, ("arn",)),
    "quota_gone": _drop("quota", "arn"),
    "quota": _put("quota", QUOTA_SHARE, ("arn",)),
    "share_gone": f"DELETE FROM share WHERE (queue, share) IN (SELECT value->>0, value->>1 FROM {_EACH})",
    "share": _put("share", SHARE, ("queue", "share")),
    "tag_clear": _drop("tag", "arn"),
    "tag_gone": f"DELETE FROM tag WHERE (arn, key) IN (SELECT value->>0, value->>1 FROM {_EACH})",
    "tag": _put("tag", ("arn", "key", "value"), ("arn", "key")),
    "job": _JOBS,
    "job_consumable": _put("job_consumable", ("consumable", "seq", "quantity", "job_name"), symbols=True),
    "job_change": _update("job", "seq", JOB_CHANGE),
    "job_shape": _SHAPES,
    "spec": _put("spec", ("seq", "doc")),
    "task": _put("task", TASK, ("seq", "idx")),
    "ended": _put("ended", ENDED),
    "stream": _STREAMS,
    "log_group": _GROUPS,
    "attempt": _put("attempt", ATTEMPT, ("seq", "idx", "serial"), symbols=True),
    "evaluated": f"UPDATE meta SET evaluated = (SELECT max(evaluated, value) FROM {_EACH})",
}


def encode(dirty: Dirty, changes: list[Change]) -> Rows:
    """Everything that the next commit writes. Reads World's objects, so it runs on the loop's thread."""
    tables: dict[str, list[Any]] = {}
    symbols: dict[str, None] = {}
    if dirty.jobs:
        _jobs(dirty, tables, symbols)
    if dirty.shapes:
        tables["job_shape"] = [(seq, encode_json(job.shape).decode()) for seq, job in dirty.shapes.items()]
        symbols.update((shape, None) for _, shape in tables["job_shape"])
    if dirty.attempts:
        _attempts(dirty, tables, symbols)
    if dirty.tasks:
        rows = ((job.seq, task.index, task.asked) for job, task in dirty.tasks.values())
        tables["task"] = [(seq, index, asked.kind, asked.reason, asked.at) for seq, index, asked in rows if asked]
    if dirty.ended:
        tables["ended"] = _spans(dirty)
    if dirty.tags:
        _tags(dirty, tables)
    if dirty.shares:
        tables["share_gone"] = [key for key, usage in dirty.shares.items() if usage is None]
        tables["share"] = [(*key, usage.spent, usage.at) for key, usage in dirty.shares.items() if usage is not None]
    _resources(dirty, tables)
    if dirty.tokens:
        tables["token_old"] = [(scope, forget) for scope, _, _, forget in dirty.tokens]
        tables["token"] = [(scope, token, at) for scope, token, at, _ in dirty.tokens if token]
    if dirty.evaluated:
        tables["evaluated"] = [dirty.evaluated]
    texts = {name: encode_json(rows) for name, rows in tables.items() if rows}
    return Rows(texts, feed.encode(changes), list(symbols), feed.newest(changes))


def realm_text(realm: Realm) -> str:
    """A realm as one symbol."""
    return f"{realm.account}/{realm.region}"


def _jobs(dirty: Dirty, tables: dict[str, list[Any]], symbols: dict[str, None]) -> None:
    new = {seq for seq, _ in dirty.specs}
    alike: dict[tuple[Any, ...], list[Any]] = {}
    changed = []
    for seq, job in dirty.jobs.items():
        if seq in new:
            # Shapes are interned, and hashing one costs more than all the rest.
            kind = (id(job.shape), job.queue, job.definition, job.size, job.share, job.needs, job.realm)
            jobs = alike.get(kind)
            if jobs is None:
                jobs = alike[kind] = []
                tables.setdefault("job", []).append(_alike(job, jobs, symbols))
            jobs.append((seq, job.id, job.name, job.created))
            for arn, quantity in job.shape.consumables:
                symbols[arn] = None
                tables.setdefault("job_consumable", []).append((arn, seq, quantity, job.name))
        change = _job_change(job)
        if change != _UNCHANGED:
            changed.append((seq, *change))
    tables["job_change"] = changed
    tables["spec"] = dirty.specs


def _alike(job: Job, jobs: list[Any], symbols: dict[str, None]) -> tuple[Any, ...]:
    shape = encode_json(job.shape).decode()
    needs = encode_json(job.needs).decode() if job.needs else ""
    realm = realm_text(job.realm)
    symbols[realm] = symbols[job.queue] = symbols[job.definition] = symbols[shape] = None
    size, nodes = (0, job.size) if job.gang else (job.size, 0)
    return (realm, job.queue, job.definition, shape, size, job.share, needs, jobs, nodes, job.speaker)


_UNCHANGED: Final = (0, "", 0, None, "", 0)


def _job_change(job: Job) -> tuple[Any, ...]:
    asked, closed = job.asked, job.closed
    if asked is None and closed is None:
        return _UNCHANGED
    end = (closed.code, closed.reason, closed.at) if closed else (None, "", 0)
    return _asked(asked) + end


def _asked(asked: Asked | None) -> tuple[int, str, int]:
    return (asked.kind, asked.reason, asked.at) if asked else (0, "", 0)


def _attempts(dirty: Dirty, tables: dict[str, list[Any]], symbols: dict[str, None]) -> None:
    rows: list[Any] = []
    streams: list[Any] = []
    groups: dict[tuple[str, str], int] = {}
    for job, a in dirty.attempts.values():
        symbols[a.environment] = symbols[a.log_group] = None
        rows.append(_attempt(job.seq, a))
        if job.shape.logs_of(a.key[1]).streams:
            _streams_of_several(job, a, streams, groups, symbols)
        elif a.started and a.log_stream:
            streams.append((job.seq, a.key[1], a.key[2], a.started, a.log_group, a.log_stream, "default", 0))
            groups.setdefault((realm_text(job.realm), a.log_group), a.started)
    tables["attempt"], tables["stream"] = rows, streams
    tables["log_group"] = [(*group, created) for group, created in groups.items()]


def _streams_of_several(
    job: Job, a: Attempt, streams: list[Any], groups: dict[tuple[str, str], int], symbols: dict[str, None]
) -> None:
    began = a.started or a.starting
    if not began:
        return
    task = task_id(a.key)
    for container, group, prefix in job.shape.logs_of(a.key[1]).streams:
        symbols[group] = None
        streams.append((job.seq, a.key[1], a.key[2], began, group, f"{prefix}/{task}", container, 1))
        groups.setdefault((realm_text(job.realm), group), began)


def _attempt(seq: int, a: Attempt) -> tuple[Any, ...]:
    containers = encode_json(a.containers).decode() if a.containers else ""
    return (
        *(seq, a.key[1], a.key[2], a.used, a.environment, *a.resources, a.code, a.counts),
        *(a.placed, a.starting, a.started, a.stopped, *_asked(a.recall), a.doom, a.cause),
        *(a.exit_code, a.reason, a.status_reason, a.log_group, a.log_stream, a.address, a.cpu_ms, a.peak_mib),
        containers,
    )


def _spans(dirty: Dirty) -> list[tuple[int, int, int, int, str, int]]:
    """Ends of tasks. A plain job that is closed has its end in its own row."""
    jobs = dirty.jobs
    return [row for row in dirty.ended if (job := jobs.get(row[0])) is None or job.size or job.closed is None]


def _tags(dirty: Dirty, tables: dict[str, list[Any]]) -> None:
    """Fold what was done to each ARN, in order, into what is to be dropped and what is to be set."""
    cleared: list[str] = []
    final: dict[str, dict[str, str | None]] = {}
    for arn, values, removed in dirty.tags:
        tags = final.setdefault(arn, {})
        tags.update(values)
        if "*" in removed:
            tags.clear()
            cleared.append(arn)
        tags.update(dict.fromkeys(key for key in removed if key != "*"))
    tables["tag_clear"] = cleared
    tables["tag_gone"] = [(arn, key) for arn, tags in final.items() for key, value in tags.items() if value is None]
    tables["tag"] = [
        (arn, key, value) for arn, tags in final.items() for key, value in tags.items() if value is not None
    ]


def _resources(dirty: Dirty, tables: dict[str, list[Any]]) -> None:
    tables["realm"] = list(dirty.realms)
    tables["queue_gone"] = [arn for arn, queue in dirty.queues.items() if queue is None]
    tables["queue"] = [_queue(queue) for queue in dirty.queues.values() if queue is not None]
    tables["environment_gone"] = [arn for arn, item in dirty.environments.items() if item is None]
    tables["environment"] = [_environment(item) for item in dirty.environments.values() if item is not None]
    tables["policy_gone"] = [arn for arn, item in dirty.policies.items() if item is None]
    tables["policy"] = [_policy(item) for item in dirty.policies.values() if item is not None]
    tables["quota_gone"] = [arn for arn, item in dirty.quotas.items() if item is None]
    tables["quota"] = [_quota(item) for item in dirty.quotas.values() if item is not None]
    tables["definition_gone"] = [arn for arn, item in dirty.definitions.items() if item is None]
    tables["definition"] = [_definition(item) for item in dirty.definitions.values() if item is not None]
    tables["consumable_gone"] = [arn for arn, item in dirty.consumables.items() if item is None]
    tables["consumable"] = [_consumable(item) for item in dirty.consumables.values() if item is not None]


def _queue(q: Queue) -> tuple[Any, ...]:
    order, *lists = (encode_json(value).decode() for value in (q.order, q.blocked, q.limits))
    return (q.arn, q.name, *q.realm, q.priority, order, q.state, q.status, q.type, q.policy, q.created, *lists)


def _policy(p: SchedulingPolicy) -> tuple[Any, ...]:
    weights = encode_json(p.weights).decode()
    return (p.arn, p.name, *p.realm, p.kind, p.doc, p.window, p.reservation, weights, p.created)


def _quota(q: QuotaShare) -> tuple[Any, ...]:
    limits = encode_json(q.limits).decode()
    rest = (q.strategy, q.borrow, int(q.in_share), q.state, q.status, q.created)
    return (q.arn, q.name, *q.realm, q.queue, limits, *rest)


def _environment(e: Environment) -> tuple[Any, ...]:
    head = (e.arn, e.name, *e.realm, e.kind, e.max_vcpus, e.pool, e.doc)
    units = encode_json(e.units).decode()
    return (*head, e.state, e.status, e.status_reason, e.uuid, e.created, e.replaced, e.replace_by, units)


def _definition(d: Definition) -> tuple[Any, ...]:
    return (d.arn, d.name, *d.realm, d.revision, d.doc, d.status, d.created, d.deregistered)


def _consumable(c: Consumable) -> tuple[Any, ...]:
    return (c.arn, c.name, *c.realm, c.kind, c.total, c.created)
