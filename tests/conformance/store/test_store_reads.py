"""Reads of what is committed: every job, ended ones by page, attempts, log streams."""

from typing import Any

import pytest
from tests.conformance.store.stocking import BATCH, NOW, QUEUE, REALM, WORK, Stock

from batchery.core.model import (
    CANCEL,
    N_TO_N,
    Need,
    task_id,
)
from batchery.core.status import FAILED, RUNNABLE, RUNNING, SUCCEEDED
from batchery.store import queries
from batchery.store.sqlite import SqliteStore
from batchery.store.store import JobRow

LATEST = 1 << 62
GROUP = "/aws/batch/job"


# ------------------------------------------------------------------------------------------------------------- jobs


async def test_a_job_is_read_whole(store: SqliteStore, stock: Stock) -> None:
    need = stock.submit()
    job = stock.submit(name="Ünï", size=4, share="s", needs=(Need(need.id, 2, N_TO_N),), spec='{"a":"\\"é\\""}')
    stock.asks(job, CANCEL, "why not")
    stock.closes(job, FAILED, "why not", at=NOW + 5)
    stock.commit()
    rows = await store.reads.jobs([job.id, need.id, "unknown"])
    assert rows[job.id] == JobRow(
        *(job.id, 2, *REALM, QUEUE, "Ünï", WORK, NOW + 2, 4, "s", f'[["{need.id}",2,1]]'),
        *(CANCEL, "why not", FAILED, "why not", NOW + 5, 1000, -1),
    )
    assert rows[need.id] == JobRow(
        need.id, 1, *REALM, QUEUE, "work", WORK, NOW + 1, 0, "", "", 0, "", None, "", 0, 1000, -1
    )
    assert set(rows) == {job.id, need.id}
    assert await store.reads.specs([1, 2, 3]) == {1: "{}", 2: '{"a":"\\"é\\""}'}


async def test_definitions_that_kept_jobs_refer_to(store: SqliteStore, stock: Stock) -> None:
    assert await store.reads.definitions_used() == set()
    job = stock.submit()
    stock.closes(job, SUCCEEDED, at=NOW)
    stock.commit()
    assert await store.reads.definitions_used() == {WORK}
    store.prune_jobs(NOW + 1, 10)
    assert await store.reads.definitions_used() == set()


@pytest.fixture(params=[(1_000, 4_000, 50), (1, 2, 1), (2, 99, 0)], ids=["few", "many", "many-on-the-way"])
def measures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways of a filter's page: by an index that finds few, along the queue's newest, by the numbers of many."""
    for name, value in zip(("_FEW", "_WAY", "_REVISIONS"), request.param, strict=True):
        monkeypatch.setattr(queries, name, value)


async def pages(store: SqliteStore, limit: int, **filters: Any) -> list[list[int]]:
    """The numbers of all pages, as a client walks through them."""
    found, before = [], LATEST
    while rows := await store.reads.page(QUEUE, before=before, limit=limit, **{"codes": None} | filters):
        found.append([row.seq for row in rows])
        before = rows[-1].seq
    return found


async def test_pages_are_newest_first_and_of_one_queue(store: SqliteStore, stock: Stock) -> None:
    for number in range(1, 10):
        stock.submit(queue=QUEUE if number % 3 else QUEUE + "-other")
    stock.commit()
    assert await pages(store, 4) == [[8, 7, 5, 4], [2, 1]]
    assert await store.reads.page(QUEUE + "-never", codes=None, before=LATEST, limit=9) == []


async def test_ended_jobs_are_listed_by_code(store: SqliteStore, stock: Stock) -> None:
    jobs = [stock.submit() for _ in range(9)]
    stock.commit()
    for job in jobs[:7]:
        stock.closes(job, SUCCEEDED if job.seq % 2 else FAILED, "x")
    stock.commit()
    assert await pages(store, 3, codes=(SUCCEEDED,)) == [[7, 5, 3], [1]]
    assert await pages(store, 2, codes=(FAILED,)) == [[6, 4], [2]]
    assert await pages(store, 4, codes=(SUCCEEDED, FAILED)) == [[7, 6, 5, 4], [3, 2, 1]]
    assert await pages(store, 9) == [[9, 8, 7, 6, 5, 4, 3, 2, 1]]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("build", [3, 1]),
        ("BUILD", [3, 1]),
        ("build*", [5, 4, 3, 2, 1]),
        ("Build-*", [4, 2]),
        ("build_*", [5]),  # no character is a wildcard but the last
        ("b%", []),
        ("*", [6, 5, 4, 3, 2, 1]),
    ],
)
@pytest.mark.usefixtures("measures")
async def test_pages_by_name(store: SqliteStore, stock: Stock, name: str, found: list[int]) -> None:
    for given in ("build", "build-1", "BUILD", "Build-2", "build_3", "test"):
        stock.submit(name=given)
    stock.commit()
    assert [seq for page in await pages(store, 2, name=name) for seq in page] == found


@pytest.mark.parametrize(
    ("definition", "found"),
    [
        ("work", [2, 1]),
        ("work*", [4, 3, 2, 1]),
        ("Work", []),
        (BATCH + "job-definition/work:1", [1]),
        (BATCH + "job-definition/work:11", [2]),
        (BATCH + "job-definition/work", []),
        ("worker", [4]),
    ],
)
@pytest.mark.usefixtures("measures")
async def test_pages_by_definition(store: SqliteStore, stock: Stock, definition: str, found: list[int]) -> None:
    for given in ("work:1", "work:11", "work-2:1", "worker:1"):
        stock.submit(definition=f"{BATCH}job-definition/{given}")
    stock.submit(definition="arn:aws:batch:eu-west-1:123456789012:job-definition/none:1")
    stock.commit()
    assert [seq for page in await pages(store, 3, definition=definition) for seq in page] == found


async def test_pages_by_share(store: SqliteStore, stock: Stock) -> None:
    jobs = [stock.submit(share="ab"[number % 2]) for number in range(6)]
    stock.commit()
    for job in jobs[:3]:
        stock.closes(job, FAILED, "x")
    stock.commit()
    assert await pages(store, 2, share="a") == [[5, 3], [1]]
    assert await pages(store, 1, share="a", codes=(FAILED,)) == [[3], [1]]
    assert await pages(store, 9, share="b", codes=(SUCCEEDED,)) == []


async def test_pages_by_time_of_creation(store: SqliteStore, stock: Stock) -> None:
    for at in (10, 20, 20, 20, 30):
        job = stock.submit(created=NOW + at)
        stock.closes(job, SUCCEEDED)
    stock.commit()
    assert await pages(store, 9, created_before=NOW + 20) == [[1]]
    assert await pages(store, 2, created_after=NOW + 10) == [[5, 4], [3, 2]]
    assert await pages(store, 9, created_after=NOW + 20, codes=(SUCCEEDED,)) == [[5]]
    assert await pages(store, 9, created_before=NOW + 31, created_after=NOW + 9) == [[5, 4, 3, 2, 1]]
    assert await pages(store, 9, created_before=NOW + 10) == []
    assert await pages(store, 9, created_after=NOW + 30) == []


async def test_there_may_be_no_jobs_at_all(store: SqliteStore) -> None:
    assert await pages(store, 9, created_before=NOW, created_after=0) == []


# --------------------------------------------------------------------------------------------------------- attempts


async def test_attempts_are_read_whole_and_in_order(store: SqliteStore, stock: Stock) -> None:
    job, other = stock.submit(), stock.submit()
    end = {"starting": NOW + 1, "started": NOW + 2, "stopped": NOW + 3, "cause": "EXIT", "exit_code": 3, "cpu_ms": 5}
    last = stock.attempt(job, 0, 2, code=RUNNING, started=NOW + 9)
    first = stock.attempt(
        *(job, 0, 1), code=RUNNABLE, counts=False, reason="OOM", status_reason="S", peak_mib=7, log_group="g", **end
    )
    stock.commit()
    rows = await store.reads.attempts(job.seq, None)
    assert [row.serial for row in rows] == [1, 2]
    for row, attempt in zip(rows, (first, last), strict=True):
        assert (row.vcpus, row.memory, row.gpus) == attempt.resources
        same = {"used", "environment", "code", "counts", "placed", "starting", "started", "stopped", "cause"}
        same |= {"exit_code", "reason", "status_reason", "log_group", "log_stream", "cpu_ms", "peak_mib"}
        assert {name: getattr(row, name) for name in same} == {name: getattr(attempt, name) for name in same}
        assert row.counts in (True, False)
    assert await store.reads.attempts(other.seq, None) == []
    assert await store.reads.attempts_of([other.seq, job.seq]) == {other.seq: [], job.seq: rows}


async def test_of_several_children_the_newest_attempt_is_read(store: SqliteStore, stock: Stock) -> None:
    job = stock.submit(size=5)
    for index, serials in ((0, 1), (1, 12), (3, 2)):
        for serial in range(1, serials + 1):
            stock.attempt(job, index, serial)
    stock.asks(job, CANCEL, "me", index=3)
    stock.commit()
    newest = await store.reads.last_attempts(job.seq, [0, 1, 2, 4])
    assert {index: row.serial for index, row in newest.items()} == {0: 1, 1: 12}
    assert [row.serial for row in await store.reads.attempts(job.seq, 3)] == [1, 2]
    assert await store.reads.task_asked(job.seq, [0, 3]) == {3: (CANCEL, "me")}


# ------------------------------------------------------------------------------------------------------------- logs


async def names(
    store: SqliteStore, group: str = GROUP, prefix: str = "", after: str = "", limit: int = 99
) -> list[str]:
    return [row.name for row in await store.reads.streams(*REALM, group, prefix, after, limit)]


async def test_a_stream_is_made_when_an_attempt_first_runs(store: SqliteStore, stock: Stock) -> None:
    job = stock.submit()
    stock.attempt(job)
    stock.commit()
    assert await names(store) == []
    assert await store.reads.groups(*REALM) == []
    attempt = stock.attempt(job, code=RUNNING, started=NOW + 7)
    stock.commit()

    row = await store.reads.stream(*REALM, GROUP, attempt.log_stream)

    assert row is not None
    assert (row.name, row.created, row.container, row.key) == (attempt.log_stream, NOW + 7, "default", attempt.key)
    assert row.task_id == task_id(attempt.key)
    assert [(group.name, group.created, group.retention) for group in await store.reads.groups(*REALM)] == [
        (GROUP, NOW + 7, 0)
    ]
    assert await store.reads.groups(REALM.account, "eu-west-1") == []
    assert await store.reads.stream(*REALM, GROUP, attempt.log_stream[:-1]) is None


async def test_a_stream_that_was_deleted_stays_deleted(store: SqliteStore, stock: Stock) -> None:
    job, other = stock.submit(), stock.submit()
    one, two = (stock.attempt(each, code=RUNNING, started=NOW) for each in (job, other))
    stock.commit()
    stock.commit(aside=[("delete_stream", (*REALM, GROUP, one.log_stream))])
    stock.attempt(job, code=SUCCEEDED, started=NOW, stopped=NOW + 1)
    stock.commit()
    assert await names(store) == [two.log_stream]

    stock.commit(aside=[("delete_group", (*REALM, GROUP))])
    stock.attempt(other, code=SUCCEEDED, started=NOW, stopped=NOW + 1)
    stock.commit()
    assert await names(store) == []
    assert await store.reads.groups(*REALM) == []


async def test_streams_are_paged_by_name(store: SqliteStore, stock: Stock) -> None:
    job = stock.submit(size=9)
    for index, name in enumerate(("b/1", "a/2", "a/1", "b/2", "c")):
        stock.attempt(job, index, log_stream=name, log_group="g", code=RUNNING, started=NOW)
    stock.attempt(job, 8, log_stream="a/9", log_group="other", code=SUCCEEDED, started=NOW)
    stock.commit()
    assert await names(store, "g", limit=3) == ["a/1", "a/2", "b/1"]
    assert await names(store, "g", after="b/1") == ["b/2", "c"]
    assert await names(store, "g", prefix="b/") == ["b/1", "b/2"]
    assert await names(store, "g", prefix="b/", after="b/1") == ["b/2"]
    assert await names(store, "g", prefix="b/", after="a/1") == ["b/1", "b/2"]
    assert await names(store, "other") == ["a/9"]
    assert [group.name for group in await store.reads.groups(*REALM)] == ["g", "other"]


async def test_groups_are_made_and_changed(store: SqliteStore, stock: Stock) -> None:
    stock.commit(aside=[("put_group", (*REALM, "mine", NOW, 0)), ("put_group", (*REALM, "gone", NOW, 3))])
    stock.commit(aside=[("put_group", (*REALM, "mine", NOW + 9, 14)), ("delete_group", (*REALM, "gone"))])
    assert [(group.name, group.created, group.retention) for group in await store.reads.groups(*REALM)] == [
        ("mine", NOW, 14)
    ]
