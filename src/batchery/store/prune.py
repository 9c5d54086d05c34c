"""Forgetting: ended jobs that are old enough, and everything that hangs on them."""

from collections.abc import Collection
from itertools import islice
from sqlite3 import Connection
from typing import Final

from msgspec import json

# What an open job needs stays, however old.
_OLD: Final = """
    SELECT seq, job.id, substr(text, 1, instr(text, ':job-queue/')) || 'job/' || job.id
    FROM job INDEXED BY job_age JOIN symbol ON symbol.id = job.queue
    WHERE code IS NOT NULL AND ended < ?1
      AND job.id NOT IN (
        SELECT need.value->>0 FROM job AS waiting INDEXED BY job_needing, json_each(waiting.needs) AS need
        WHERE waiting.code IS NULL AND waiting.needs <> '')
    ORDER BY ended"""
_STREAMS: Final = """
    DELETE FROM stream WHERE (realm, log_group, name) IN (
        SELECT realm, log_group, log_stream
        FROM json_each(?) CROSS JOIN job ON job.seq = value CROSS JOIN attempt ON attempt.seq = value)"""
_STREAMS_OF_SEVERAL: Final = """
    DELETE FROM stream INDEXED BY stream_of_job
    WHERE container <> 'default' AND seq IN (SELECT value FROM json_each(?))"""
_TABLES: Final = ("job_consumable", "attempt", "task", "ended", "spec", "job")


def prune_jobs(connection: Connection, before: int, limit: int, keep: Collection[str]) -> list[str]:
    """Forget up to ``limit`` jobs that ended before ``before`` (ms), oldest first, in the transaction that is open.

    A job that an open one needs, or that is in ``keep``, stays. Returns the ids forgotten.
    """
    rows = connection.execute(_OLD, (before,))
    found = list(islice((row for row in rows if row[1] not in keep), limit))
    rows.close()
    if not found:
        return []
    seqs = json.encode([seq for seq, _, _ in found]).decode()
    arns = json.encode([arn for _, _, arn in found]).decode()
    connection.execute(_STREAMS, (seqs,))
    connection.execute(_STREAMS_OF_SEVERAL, (seqs,))
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table} WHERE seq IN (SELECT value FROM json_each(?))", (seqs,))
    connection.execute("DELETE FROM tag WHERE arn IN (SELECT value FROM json_each(?))", (arns,))
    return [id_ for _, id_, _ in found]
