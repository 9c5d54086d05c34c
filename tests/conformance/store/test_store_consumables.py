"""Consumable resources in rows: what is kept of them, of their tokens, and who asks for them."""

from typing import Any

import pytest
from tests.conformance.store.stocking import BATCH, NOW, REALM, Stock

from batchery.core.model import Resources, Shape
from batchery.core.named import NON_REPLENISHABLE, REPLENISHABLE, Consumable
from batchery.core.status import FAILED, SUCCEEDED
from batchery.store import queries
from batchery.store.sqlite import SqliteStore

LATEST = 1 << 62
SEATS, CUPS = BATCH + "consumable-resource/seats", BATCH + "consumable-resource/cups"


def asking(*units: tuple[str, int]) -> Shape:
    return Shape(Resources(1000, 512), consumables=units)


async def listed(store: SqliteStore, arn: str = SEATS, limit: int = 9, before: int = LATEST, **how: Any) -> list[int]:
    rows = await store.reads.page_of_consumable(arn, limit=limit, before=before, **{"codes": None} | how)
    return [row.seq for row in rows]


def test_they_are_loaded_as_they_were_set(store: SqliteStore, stock: Stock) -> None:
    seats = Consumable(SEATS, "seats", REALM, REPLENISHABLE, 3, NOW)
    cups = Consumable(CUPS, "cups", REALM, NON_REPLENISHABLE, (1 << 63) - 1, NOW + 1)
    stock.dirty.consumables = {SEATS: seats, CUPS: cups}
    stock.commit()
    assert store.load().consumables == {SEATS: seats, CUPS: cups}
    stock.dirty.consumables = {SEATS: None, CUPS: Consumable(CUPS, "cups", REALM, NON_REPLENISHABLE, 0, NOW + 1)}
    stock.commit()
    assert {arn: one.total for arn, one in store.load().consumables.items()} == {CUPS: 0}


def test_tokens_are_kept_until_they_are_forgotten(store: SqliteStore, stock: Stock) -> None:
    stock.dirty.tokens = [(SEATS, "b", NOW + 1, 0), (SEATS, "a", NOW + 2, 0), (CUPS, "a", NOW, 0)]
    stock.commit()
    loaded = store.load().tokens
    assert loaded == {SEATS: {"b": NOW + 1, "a": NOW + 2}, CUPS: {"a": NOW}}
    assert list(loaded[SEATS]) == ["b", "a"], "oldest first"
    stock.dirty.tokens = [(SEATS, "b", NOW + 5, NOW + 1), (CUPS, "", 0, LATEST), (CUPS, "c", NOW + 5, 0)]
    stock.commit()
    assert store.load().tokens == {SEATS: {"a": NOW + 2, "b": NOW + 5}, CUPS: {"c": NOW + 5}}


async def test_jobs_are_found_by_what_they_ask_for(
    store: SqliteStore, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        stock.submit(name="one", shape=asking((SEATS, 1))),
        stock.submit(name="Two", shape=asking((CUPS, 2), (SEATS, 1))),
        stock.submit(name="three"),
        stock.submit(name="two", size=2, shape=asking((SEATS, 4))),
    ]
    stock.commit()
    stock.closes(jobs[0], SUCCEEDED)
    stock.closes(jobs[3], FAILED)
    stock.commit()
    assert await listed(store) == [4, 2, 1]
    assert await listed(store, CUPS) == [2]
    assert await listed(store, CUPS + "-none") == []
    assert await listed(store, limit=2) == [4, 2]
    assert await listed(store, before=2) == [1]
    assert await listed(store, codes=(None,)) == [2]
    assert await listed(store, codes=(SUCCEEDED,)) == [1]
    assert await listed(store, codes=(FAILED, None)) == [4, 2]
    assert await listed(store, name="TWO") == [4, 2]
    assert await listed(store, name="t*", codes=(FAILED,)) == [4]
    assert await listed(store, name="t*", codes=(SUCCEEDED, None)) == [2]
    assert await listed(store, name="*", limit=2) == [4, 2]
    monkeypatch.setattr(queries, "_WAY", 1)
    assert await listed(store, name="*", limit=2) == [4, 2]
    assert await listed(store, name="t*", limit=1) == [4]
    assert await listed(store, name="o*") == [1]
    assert await store.reads.consumables_of([4, 2, 3]) == {4: {SEATS: 4}, 2: {CUPS: 2, SEATS: 1}, 3: {}}


async def test_what_is_forgotten_is_not_found(store: SqliteStore, stock: Stock) -> None:
    job = stock.submit(shape=asking((SEATS, 1)))
    stock.closes(job, SUCCEEDED, at=NOW)
    stock.commit()
    assert store.prune_jobs(NOW + 1, 9) == [job.id]
    assert await listed(store) == []
    assert store.connection is not None
    assert store.connection.execute("SELECT count(*) FROM job_consumable").fetchone() == (0,)
