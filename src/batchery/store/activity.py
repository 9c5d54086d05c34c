"""Activity records, packed: one row for the records of one realm in one commit.

Theory of operation
-------------------
Each API call leaves a record of about 1 kB, and records of one burst are much alike: packed together and compressed
they take a fifth of the room of single rows, and a commit writes one row instead of hundreds (decision 042).

The key of a pack is made of the time of its oldest record, so that a page needs no other index::

    key    = first (ms) << 20 | slot << 10         slot: packs that begin in the same millisecond
    cursor = key | place                           place: of the record in the pack, oldest first

A pack holds at most 1024 records and spans at most `SPAN`, so the records from ``start`` to ``end`` are in the packs
with ``start - SPAN <= first <= end``: nothing else is read, whatever lies after ``end``.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from sqlite3 import Connection
from typing import Final

from msgspec import msgpack

from batchery.store.store import Activity

SPAN: Final = 10_000  #: ms
PLACES: Final = 1 << 10
_MS: Final = 20  # bits of a key below the milliseconds
_FOREVER: Final = (1 << 42) - 1  # ms; the year 2109

_encoder: Final = msgpack.Encoder()
_decoder: Final = msgpack.Decoder(list[tuple[int, str]])

_INSERT: Final = f"""
    INSERT INTO activity (key, realm, last, docs)
    SELECT coalesce(max(key) + {PLACES}, ?1), ?2, ?3, ?4 FROM activity WHERE key >= ?1 AND key < ?1 + (1 << {_MS})"""
_PAGE: Final = """
    SELECT key, docs FROM activity
    WHERE realm = ? AND key >= ? AND key < ? AND last >= ? ORDER BY key DESC"""

Pack = list[tuple[int, str]]  # (at, document), oldest first


def packs(records: Sequence[Activity]) -> Iterator[tuple[str, Pack]]:
    """Records by realm ("ACCOUNT/REGION"), in packs."""
    if len(records) == 1:
        record = records[0]
        yield f"{record.account}/{record.region}", [(record.at, record.doc)]
        return
    realms: dict[str, Pack] = {}
    for record in sorted(records, key=lambda record: record.at):
        pack = realms.setdefault(realm := f"{record.account}/{record.region}", [])
        if pack and (len(pack) == PLACES or record.at - pack[0][0] > SPAN):
            yield realm, pack
            pack = realms[realm] = []
        pack.append((record.at, record.doc))
    yield from realms.items()


def write(connection: Connection, records: Sequence[Activity]) -> None:
    """Write records, in the transaction that is open."""
    for realm, pack in packs(records):
        docs = zlib.compress(_encoder.encode(pack), 1)
        connection.execute(_INSERT, (pack[0][0] << _MS, realm, pack[-1][0], docs))


def page(
    connection: Connection, account: str, region: str, start: int, end: int, before: int, limit: int
) -> list[tuple[int, str]]:
    """(cursor, document) newest first with cursor < ``before`` and times in [start, end]."""
    low, high = max(0, start - SPAN) << _MS, min(before, (min(end, _FOREVER) + 1) << _MS)
    rows = connection.execute(_PAGE, (f"{account}/{region}", low, high, start))
    found: list[tuple[int, str]] = []
    for cursor, at, doc in _newest_first(rows):
        if cursor < before and start <= at <= end:
            found.append((cursor, doc))
            if len(found) == limit:
                break
    rows.close()
    return found


def _newest_first(rows: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, int, str]]:
    for key, docs in rows:
        pack = _decoder.decode(zlib.decompress(docs))
        for place in range(len(pack) - 1, -1, -1):
            yield key | place, *pack[place]


def prune(connection: Connection, before: int) -> int:
    """Forget packs whose newest record is older than ``before`` (ms), in the transaction that is open; how many."""
    return connection.execute("DELETE FROM activity WHERE key < ? AND last < ?", (before << _MS, before)).rowcount
