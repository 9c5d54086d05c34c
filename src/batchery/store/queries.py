"""The reads of the store as plain functions over a connection: keyset pages, nothing by offset.

What is not told here is in the port (`store.Reads`), whose methods these are.
"""

from collections.abc import Iterable
from sqlite3 import Connection
from typing import Any, Final

from msgspec import json

from batchery.core.model import AttemptKey, ContainerEnd, task_id
from batchery.store import feed
from batchery.store.store import AttemptRow, EndedRow, FeedRow, GroupRow, JobRow, StreamRow

_LAST: Final = "\U0010ffff"  # sorts behind whatever follows a prefix
_MOST: Final = (1 << 63) - 1
_ends: Final = json.Decoder(tuple[ContainerEnd, ...])


def _list(values: Iterable[Any]) -> str:
    return json.encode(list(values)).decode()


# ------------------------------------------------------------------------------------------------------------ jobs

_JOB: Final = """
    SELECT job.id, seq, realm.text, queue.text, name, definition.text, created, size + nodes, share, needs,
           asked_kind, asked_reason, code, reason, ended, shape.text->>'$.resources[0]',
           iif(nodes, main, -1), iif(nodes, shape.text->>'$.gang', ''),
           iif(definition.text = '', shape.text->>'$.instances', ''),
           iif(definition.text = '', shape.text->>'$.priority', 0)
    FROM {} CROSS JOIN symbol AS realm ON realm.id = job.realm CROSS JOIN symbol AS queue ON queue.id = job.queue
    CROSS JOIN symbol AS definition ON definition.id = job.definition
    CROSS JOIN symbol AS shape ON shape.id = job.shape"""
_BY_ID: Final = _JOB.format("json_each(?) CROSS JOIN job ON job.id = value")
_BY_SEQ: Final = _JOB.format("json_each(?) CROSS JOIN job ON job.seq = value") + " ORDER BY json_each.key"


def _job(row: tuple[Any, ...]) -> JobRow:
    id_, seq, realm, *rest = row
    account, _, region = realm.partition("/")
    return JobRow(id_, seq, account, region, *rest)


def jobs(connection: Connection, ids: list[str]) -> dict[str, JobRow]:
    return {row[0]: _job(row) for row in connection.execute(_BY_ID, (_list(ids),))}


def page(
    connection: Connection,
    queue: str,
    codes: tuple[int, ...] | None,
    before: int,
    limit: int,
    name: str | None,
    definition: str | None,
    created_before: int | None,
    created_after: int | None,
    share: str | None,
) -> list[JobRow]:
    """Along an index that is in the order of the answer: of the queue, of its ended jobs, of a share, of one name or
    definition. Several names or definitions: see `_of_several`."""
    if created_before is not None:
        before = min(before, first_seq(connection, created_before))
    where, values = ["job.queue = (SELECT id FROM symbol WHERE text = ?)", "seq < ?"], [queue, min(before, _MOST)]
    index = "job_of_queue" if codes is None else "job_ended"
    if share is not None:
        index = "job_of_share" if codes is None else "job_share_ended"
        where += ["share = ?", "share <> ''"]
        values.append(share)
    if codes is not None:
        where += [f"code IN ({', '.join('?' * len(codes))})", "code IS NOT NULL"]
        values += codes
    if created_after is not None:
        where.append("seq >= ?")
        values.append(first_seq(connection, created_after + 1))
    if name is not None and name.endswith("*"):
        where.append("name >= ? COLLATE NOCASE AND name < ? COLLATE NOCASE")
        return _of_several(connection, "job_named", where, [*values, name[:-1], name[:-1] + _LAST], limit)
    if name is not None:
        return _along(connection, "job_named", [*where, "name = ? COLLATE NOCASE"], [*values, name], limit)
    if definition is not None:
        return _of_definition(connection, definition_range(queue, definition), where, values, limit)
    return _along(connection, index, where, values, limit)


#: Found so often, a page of them may soon be met on the way through the queue; else all of them are soon sorted.
_FEW: Final = 1_000
_WAY: Final = 4_000  #: rows of that way
_REVISIONS: Final = 50  #: whose pages are merged


def _along(connection: Connection, index: str, where: list[str], values: list[Any], limit: int) -> list[JobRow]:
    sql = f"{_JOB.format(f'job INDEXED BY {index}')} WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT ?"
    return [_job(row) for row in connection.execute(sql, (*values, limit))]


def _of_definition(
    connection: Connection, texts: tuple[str, str], where: list[str], values: list[Any], limit: int
) -> list[JobRow]:
    """Of all ARNs in this range. A page of each revision, if they are not too many."""
    sql = "SELECT id FROM symbol WHERE text >= ? AND text < ? LIMIT ?"
    ids = [found for (found,) in connection.execute(sql, (*texts, _REVISIONS + 1))]
    if len(ids) > _REVISIONS:
        where = [*where, "job.definition IN (SELECT id FROM symbol WHERE text >= ? AND text < ?)"]
        return _of_several(connection, "job_defined", where, [*values, *texts], limit)
    each = (_seqs(connection, "job_defined", [*where, "definition = ?"], [*values, one], limit) for one in ids)
    return _of_seqs(connection, sorted((seq for seqs in each for seq in seqs), reverse=True)[:limit])


def _of_several(connection: Connection, index: str, where: list[str], values: list[Any], limit: int) -> list[JobRow]:
    """Jobs that an index finds out of order. Few are sorted; of many a page may be met on the way through the queue's
    newest; else their numbers are sorted, which are all in the index."""
    sql = f"SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY {index} WHERE {' AND '.join(where)} LIMIT {_FEW})"
    (count,) = connection.execute(sql, values).fetchone()
    if count == _FEW:
        way = f"SELECT seq FROM job WHERE {' AND '.join(where[:2])} ORDER BY seq DESC LIMIT 1 OFFSET {_WAY}"
        (last,) = connection.execute(way, values[:2]).fetchone() or (0,)
        found = _along(connection, "job_of_queue", [*where, "seq > ?"], [*values, last], limit)
        if len(found) == limit or not last:
            return found
    return _of_seqs(connection, _seqs(connection, index, where, values, limit))


def _seqs(connection: Connection, index: str, where: list[str], values: list[Any], limit: int) -> list[int]:
    sql = f"SELECT seq FROM job INDEXED BY {index} WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT ?"
    return [seq for (seq,) in connection.execute(sql, (*values, limit))]


def _of_seqs(connection: Connection, seqs: list[int]) -> list[JobRow]:
    """In this order."""
    return [_job(row) for row in connection.execute(_BY_SEQ, (_list(seqs),))]


def page_of_consumable(
    connection: Connection,
    consumable: str,
    codes: tuple[int | None, ...] | None,
    before: int,
    limit: int,
    name: str | None,
) -> list[JobRow]:
    """Along the index of the jobs that ask for it, of those of a name, or of the ended ones of one code."""
    index = "job_consumable_named" if name is not None else ""
    where = ["consumable = (SELECT id FROM symbol WHERE text = ?)", "seq < ?"]
    values: list[Any] = [consumable, min(before, _MOST)]
    if codes is not None and len(codes) == 1 and codes[0] is not None:
        index = index or "job_consumable_ended"
        where.append("ended_code = ? AND ended_code IS NOT NULL")
        values += codes
    elif codes is not None:
        where.append(f"(ended_code IS NULL AND ? OR ended_code IN ({', '.join('?' * len(codes))}))")
        values += [None in codes, *codes]
    if name is not None and name.endswith("*"):
        where.append("job_name >= ? COLLATE NOCASE AND job_name < ? COLLATE NOCASE")
        values += [name[:-1], name[:-1] + _LAST]
    elif name is not None:
        where.append("job_name = ? COLLATE NOCASE")
        values.append(name)
    if name is not None and name.endswith("*"):  # as of a queue's names: a page may be met among the newest
        way = f"SELECT seq FROM job_consumable WHERE {' AND '.join(where[:2])} ORDER BY seq DESC LIMIT 1 OFFSET {_WAY}"
        (last,) = connection.execute(way, values[:2]).fetchone() or (0,)
        seqs = _asking(connection, "", [*where, "seq > ?"], [*values, last], limit)
        if len(seqs) == limit or not last:
            return _of_seqs(connection, seqs)
    return _of_seqs(connection, _asking(connection, index, where, values, limit))


def _asking(connection: Connection, index: str, where: list[str], values: list[Any], limit: int) -> list[int]:
    """Numbers of jobs that ask for a consumable resource; without an index in the order of the answer."""
    source = f"job_consumable INDEXED BY {index}" if index else "job_consumable NOT INDEXED"
    sql = f"SELECT seq FROM {source} WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT ?"
    return [seq for (seq,) in connection.execute(sql, (*values, limit))]


def consumables_of(connection: Connection, seqs: list[int]) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {seq: {} for seq in seqs}
    sql = """
        SELECT seq, text, quantity FROM json_each(?)
        CROSS JOIN job_consumable INDEXED BY job_consumable_of_job ON seq = value
        CROSS JOIN symbol ON symbol.id = consumable ORDER BY text"""
    for seq, arn, quantity in connection.execute(sql, (_list(seqs),)):
        found[seq][arn] = quantity
    return found


def definition_range(queue: str, definition: str) -> tuple[str, str]:
    """The ARNs that a filter by definition means, as the half-open range of text that they fill.

    An ARN with revision is itself. A bare name is of the queue's realm: any revision, or with ``*`` any name so begun.
    """
    if definition.startswith("arn:"):
        return definition, definition + "\0"
    start = f"{queue.rpartition(':job-queue/')[0]}:job-definition/{definition.removesuffix('*')}"
    if not definition.endswith("*"):
        start += ":"
    return start, start + _LAST


def first_seq(connection: Connection, created: int) -> int:
    """The lowest seq of a job created at or after ``created`` (ms). Creation times rise with seq, so by bisection."""
    sql = "SELECT coalesce((SELECT min(seq) FROM job), 0), coalesce((SELECT max(seq) FROM job), -1) + 1"
    low, high = connection.execute(sql).fetchone()
    while low < high:
        middle = (low + high) // 2
        row = connection.execute("SELECT seq, created FROM job WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,))
        seq, at = row.fetchone()
        low, high = (low, middle) if at >= created else (seq + 1, high)
    return int(low)


def specs(connection: Connection, seqs: list[int]) -> dict[int, str]:
    return dict(connection.execute("SELECT seq, doc FROM json_each(?) CROSS JOIN spec ON seq = value", (_list(seqs),)))


def ended(connection: Connection, seq: int) -> list[EndedRow]:
    sql = "SELECT first, upto, code, reason, at FROM ended WHERE seq = ? ORDER BY first"
    return [EndedRow(*row) for row in connection.execute(sql, (seq,))]


def task_asked(connection: Connection, seq: int, indexes: list[int]) -> dict[int, tuple[int, str]]:
    sql = """SELECT idx, asked_kind, asked_reason FROM json_each(?) CROSS JOIN task ON seq = ? AND idx = value"""
    return {index: (kind, reason) for index, kind, reason in connection.execute(sql, (_list(indexes), seq))}


def definitions_used(connection: Connection) -> set[str]:
    rows = connection.execute("SELECT text FROM symbol WHERE id IN (SELECT DISTINCT definition FROM job)")
    return {text for (text,) in rows}


def tags(connection: Connection, arns: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {arn: {} for arn in arns}
    sql = "SELECT arn, tag.key, tag.value FROM json_each(?) AS each CROSS JOIN tag ON arn = each.value"
    for arn, key, value in connection.execute(sql, (_list(found),)):
        found[arn][key] = value
    return found


# -------------------------------------------------------------------------------------------------------- attempts

_ATTEMPT: Final = """
    SELECT seq, idx, serial, used, environment.text, code, counts, placed, starting, started, stopped, cause, exit_code,
           reason, status_reason, log_group.text, log_stream, vcpus, memory, gpus, cpu_ms, peak_mib, containers
    FROM {} CROSS JOIN symbol AS environment ON environment.id = attempt.environment
    CROSS JOIN symbol AS log_group ON log_group.id = attempt.log_group"""
_OF_SEQS: Final = _ATTEMPT.format("json_each(?1) CROSS JOIN attempt ON seq = value AND idx = ?2")
_LAST_OF: Final = _ATTEMPT.format(
    "json_each(?1) CROSS JOIN attempt ON seq = ?2 AND idx = value AND serial = "
    "(SELECT max(serial) FROM attempt AS newest WHERE newest.seq = ?2 AND newest.idx = value)"
)


def _attempt(row: tuple[Any, ...]) -> AttemptRow:
    _, index, serial, used, environment, code, counts, *rest = row
    if containers := rest.pop():
        rest.append(_ends.decode(containers))
    return AttemptRow(index, serial, used, environment, code, bool(counts), *rest)


def attempts(connection: Connection, seq: int, index: int | None) -> list[AttemptRow]:
    rows = connection.execute(f"{_OF_SEQS} ORDER BY serial", (_list([seq]), index or 0))
    return [_attempt(row) for row in rows]


def attempts_of(connection: Connection, seqs: list[int]) -> dict[int, list[AttemptRow]]:
    found: dict[int, list[AttemptRow]] = {seq: [] for seq in seqs}
    for row in connection.execute(f"{_OF_SEQS} ORDER BY seq, serial", (_list(found), 0)):
        found[row[0]].append(_attempt(row))
    return found


def last_attempts(connection: Connection, seq: int, indexes: list[int]) -> dict[int, AttemptRow]:
    return {row[1]: _attempt(row) for row in connection.execute(_LAST_OF, (_list(indexes), seq))}


# ------------------------------------------------------------------------------------------------------------ logs

_STREAM: Final = """
    SELECT name, container, created, job_id, idx, serial FROM (
        SELECT stream.name, container, stream.created, job.id AS job_id, idx, serial
        FROM stream CROSS JOIN job USING (seq)
        WHERE stream.realm = (SELECT id FROM symbol WHERE text = ?)
          AND log_group = (SELECT id FROM symbol WHERE text = ?) AND stream.name >= ? AND stream.name < ?)"""


def _stream(group: str, row: tuple[Any, ...]) -> StreamRow:
    name, container, created, job, index, serial = row
    key = AttemptKey(job, index, serial)
    return StreamRow(group, name, task_id(key), container, created, key)


def streams(
    connection: Connection, account: str, region: str, group: str, prefix: str, after: str, limit: int
) -> list[StreamRow]:
    low = max(prefix, after + "\0") if after else prefix
    values = (f"{account}/{region}", group, low, prefix + _LAST, limit)
    return [_stream(group, row) for row in connection.execute(f"{_STREAM} ORDER BY name LIMIT ?", values)]


def stream(connection: Connection, account: str, region: str, group: str, name: str) -> StreamRow | None:
    row = connection.execute(_STREAM, (f"{account}/{region}", group, name, name + "\0")).fetchone()
    return _stream(group, row) if row else None


def groups(connection: Connection, account: str, region: str) -> list[GroupRow]:
    sql = "SELECT name, created, retention FROM log_group WHERE realm = ? ORDER BY name"
    return [GroupRow(*row) for row in connection.execute(sql, (f"{account}/{region}",))]


# ------------------------------------------------------------------------------------------------------------ feed


def feed_rows(connection: Connection, after: int, limit: int) -> list[FeedRow]:
    sql = "SELECT seq, at, changes FROM feed WHERE seq > ? ORDER BY seq LIMIT ?"
    return [FeedRow(seq, at, feed.decode(blob)) for seq, at, blob in connection.execute(sql, (after, limit))]


def cursors(connection: Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT name, seq FROM cursor"))
