"""What has happened: activity records, the feed, and the newest stamp."""

from typing import get_args

import pytest
from tests.conformance.store.stocking import NOW, PLACE, REALM, Stock, definition, queue, record

from batchery.core.changes import (
    AnyChange,
    AttemptEnded,
    Began,
    CapacitySet,
    Change,
    ConsumableGone,
    ConsumableSet,
    DefinitionGone,
    DefinitionSet,
    Doomed,
    Ended,
    EnvironmentGone,
    EnvironmentSet,
    Evaluated,
    JobClosed,
    Placed,
    PolicyGone,
    PolicySet,
    QueueGone,
    QueueSet,
    QuotaGone,
    QuotaSet,
    Readied,
    RealmOpened,
    Recalled,
    Reprioritized,
    SharesForgotten,
    Submitted,
    TagsSet,
    TokenUsed,
    WasAsked,
)
from batchery.core.model import (
    CANCEL,
    AttemptKey,
    Blocked,
    Capacity,
    Job,
    Need,
    Resources,
    Rule,
    Shape,
)
from batchery.core.named import NON_REPLENISHABLE, Consumable
from batchery.core.shares import QuotaShare, SchedulingPolicy
from batchery.core.status import FAILED, RUNNING, SUCCEEDED
from batchery.store.activity import PLACES, SPAN
from batchery.store.sqlite import TRIM_EVERY, SqliteStore
from batchery.store.store import StoreError

LATEST = 1 << 62


# --------------------------------------------------------------------------------------------------------- activity


async def activity(store: SqliteStore, start: int = 0, end: int = LATEST, limit: int = 99) -> list[str]:
    """All records, page by page."""
    found, before = [], LATEST
    while rows := await store.reads.activity(*REALM, start, end, before, limit):
        assert len(rows) <= limit
        assert all(cursor < before for cursor, _ in rows)
        found += [doc for _, doc in rows]
        before = rows[-1][0]
    return found


async def test_records_are_paged_newest_first(store: SqliteStore, stock: Stock) -> None:
    for at in range(0, 30, 3):
        stock.commit(*(record(NOW + at + more, f"{at + more}") for more in range(3)))
    everything = [str(at) for at in reversed(range(30))]
    assert await activity(store) == everything
    assert await activity(store, limit=4) == everything
    assert await activity(store, NOW + 7, NOW + 11, limit=2) == ["11", "10", "9", "8", "7"]
    assert await activity(store, NOW + 30) == []
    assert await activity(store, end=NOW - 1) == []


async def test_records_belong_to_a_realm(store: SqliteStore, stock: Stock) -> None:
    stock.commit(record(NOW, "here"), record(NOW, "there", "eu-west-1"), record(NOW + 1, "here too"))
    assert await activity(store) == ["here too", "here"]
    rows = await store.reads.activity(REALM.account, "eu-west-1", 0, LATEST, LATEST, 9)
    assert [doc for _, doc in rows] == ["there"]


async def test_a_burst_and_stragglers_are_all_found(store: SqliteStore, stock: Stock) -> None:
    burst = [record(NOW, f"a{number}") for number in range(2 * PLACES + 5)]
    stock.commit(*burst)
    stock.commit(record(NOW, "b"))
    stock.commit(record(NOW + 3 * SPAN, "late"), record(NOW - SPAN, "early"), record(NOW + SPAN, "between"))
    found = await activity(store, limit=1000)
    assert found[:2] == ["late", "between"]
    assert found[-1] == "early"
    assert sorted(found[2:-1]) == sorted([*(each.doc for each in burst), "b"])
    assert await activity(store, NOW + 1, NOW + SPAN) == ["between"]


async def test_old_records_are_forgotten(store: SqliteStore, stock: Stock) -> None:
    for at in (0, 10, 20):
        stock.commit(record(NOW + at, str(at)))
    assert store.prune_activity(NOW + 20) == 2
    assert await activity(store) == ["20"]


# ------------------------------------------------------------------------------------------------- feed and clock


def every_change(job: Job) -> list[Change]:
    key = AttemptKey(job.id, 3, 2)
    place = definition("d", 1)
    blocked = queue("q", blocked=(Blocked(job.id, 0, "r", NOW),))
    policy = SchedulingPolicy("p", "p", REALM, "FAIR", "{}", weights=(("a*", 2.5),))
    here = Stock.place(Stock(None))  # type: ignore[arg-type]
    return [
        RealmOpened(REALM),
        Submitted(job, "", {"k": "v"}),
        Evaluated(job.id, 1),
        Readied(job.id, ((0, 1), (3, 9))),
        WasAsked(job.id, None, CANCEL, "r", NOW),
        Ended(job.id, ((0, 5),), FAILED, "r", NOW),
        JobClosed(job.id, FAILED, "r", NOW),
        Placed(key, PLACE, Resources(1, 2, 3), NOW),
        Began(key, RUNNING, NOW, "10.0.0.1"),
        Recalled(key, "r", NOW),
        Doomed(key, "TIMEOUT", NOW),
        AttemptEnded(key, SUCCEEDED, "EXIT", True, NOW + 8, NOW, 0, "r", "s", 1, 2),
        QueueSet(blocked),
        QueueGone("q"),
        EnvironmentSet(here),
        EnvironmentGone("e"),
        DefinitionSet(place),
        DefinitionGone("d"),
        ConsumableSet(Consumable("c", "c", REALM, NON_REPLENISHABLE, 3, NOW)),
        ConsumableGone("c"),
        TokenUsed("c", "ADD 1 t", NOW + 8, NOW),
        PolicySet(policy),
        PolicyGone("p"),
        SharesForgotten("q", ("s",)),
        QuotaSet(QuotaShare("s", "s", REALM, "q", (("ml.m5.large", 2000),), "LEND", created=NOW)),
        QuotaGone("s"),
        Reprioritized(job.id, 7),
        TagsSet("a", {"k": "v"}, ("*",)),
        CapacitySet(Capacity(1, 2, False, 3)),
    ]


async def test_the_feed_has_every_change(store: SqliteStore, stock: Stock) -> None:
    shape = Shape(Resources(1, 2), 3, (Rule("RETRY", on_exit_code="1*"),))
    job = stock.submit(size=3, shape=shape, share="s", needs=(Need("x", 1),), spec='{"much": "text"}', tags={"k": "v"})
    changes = every_change(job)
    assert {type(change) for change in changes} == set(get_args(AnyChange)) == set(Change.__subclasses__())
    stock.changes = changes
    stock.commit()
    plain = stock.submit()
    stock.commit()

    first, second = await store.reads.feed(0, 10)

    assert first.changes == changes
    assert (second.changes, second.seq) == ([Submitted(plain, "")], first.seq + 1)
    assert (first.at, second.at) == (NOW + 8, NOW + 8), "stamps never go back"
    assert await store.reads.feed(first.seq, 10) == [second]
    assert await store.reads.feed(0, 1) == [first]


async def test_a_new_job_is_lean_in_the_feed(store: SqliteStore, stock: Stock) -> None:
    jobs = [stock.submit(spec="x" * 1000) for _ in range(100)]
    stock.changes = [Submitted(job, "x" * 1000, ghosts=(jobs[0],)) for job in jobs]
    stock.commit()
    assert store.connection is not None
    ((size,),) = store.connection.execute("SELECT length(changes) FROM feed")
    assert size < 100 * 100
    (row,) = await store.reads.feed(0, 1)
    assert [change.job.id for change in row.changes if isinstance(change, Submitted)] == [job.id for job in jobs]


async def test_the_feed_is_trimmed_behind_the_slowest_reader(store: SqliteStore, stock: Stock) -> None:
    store.feed_rows = 2 * TRIM_EVERY

    def commits(count: int) -> None:
        for _ in range(count):
            stock.changes = [QueueGone("q")]
            stock.commit()

    async def kept() -> tuple[int, int]:
        rows = await store.reads.feed(0, 1000)
        return rows[0].seq, rows[-1].seq

    commits(TRIM_EVERY)
    assert await kept() == (1, TRIM_EVERY), "nobody has read anything"
    stock.commit(aside=[("cursor", ("slow", 10)), ("cursor", ("fast", TRIM_EVERY))])
    commits(TRIM_EVERY)
    assert await kept() == (11, 2 * TRIM_EVERY)
    assert await store.reads.cursors() == {"slow": 10, "fast": TRIM_EVERY}
    commits(2 * TRIM_EVERY)
    assert await kept() == (2 * TRIM_EVERY + 1, 4 * TRIM_EVERY), "but there is a bound"
    stock.commit(aside=[("drop_cursor", ("slow",)), ("cursor", ("fast", 9 * TRIM_EVERY))])
    commits(TRIM_EVERY)
    assert await kept() == (5 * TRIM_EVERY, 5 * TRIM_EVERY), "the last row stays, for its stamp"


def test_the_newest_stamp_is_known(store: SqliteStore, stock: Stock) -> None:
    assert store.newest() == 0
    stock.submit(created=NOW + 5)
    stock.commit()
    assert store.newest() == NOW + 5
    stock.changes = [QueueGone("q")]  # has no stamp of its own
    stock.commit(record(NOW + 2))
    assert store.newest() == NOW + 5
    stock.commit(record(NOW + 9), record(NOW + 7))
    assert store.newest() == NOW + 9


async def test_reads_of_a_store_that_is_gone_say_so(store: SqliteStore) -> None:
    assert store.connection is not None
    store.connection.execute("DROP TABLE spec")
    with pytest.raises(StoreError, match=r"^cannot read .*: no such table: spec$"):
        await store.reads.specs([1])
