"""Attempts of several containers: a stream for each, and how each ended."""

from tests.conformance.store.stocking import NOW, REALM, Stock

from batchery.core.model import ContainerEnd, Job, Resources, Shape, task_id
from batchery.core.status import RUNNING, STARTING, SUCCEEDED
from batchery.store.sqlite import SqliteStore

GROUP = "/aws/batch/job"
SEVERAL = Shape(Resources(1000, 512), streams=(("main", GROUP, "work/main"), ("log", "own", "here/log")))


def begun(stock: Stock, **fields: int) -> tuple[Job, str]:
    job = stock.submit(shape=SEVERAL)
    attempt = stock.attempt(job, **fields)
    return job, task_id(attempt.key)


async def names(store: SqliteStore, group: str) -> list[str]:
    return [row.name for row in await store.reads.streams(*REALM, group, "", "", 10)]


async def test_each_container_has_a_stream_from_the_first_start_on(store: SqliteStore, stock: Stock) -> None:
    job, task = begun(stock)
    stock.commit()
    assert await names(store, GROUP) == []
    stock.attempt(job, code=STARTING, starting=NOW + 3)
    stock.commit()
    assert await names(store, GROUP) == [f"work/main/{task}"]
    row = await store.reads.stream(*REALM, "own", f"here/log/{task}")
    assert row is not None
    assert (row.container, row.created, row.task_id) == ("log", NOW + 3, task)
    assert {group.name for group in await store.reads.groups(*REALM)} == {GROUP, "own"}


async def test_a_stream_of_several_that_was_deleted_stays_deleted(store: SqliteStore, stock: Stock) -> None:
    job, task = begun(stock, code=STARTING, starting=NOW)
    stock.commit()
    stock.commit(aside=[("delete_stream", (*REALM, "own", f"here/log/{task}"))])
    stock.attempt(job, code=RUNNING, starting=NOW, started=NOW + 1)
    stock.commit()
    assert await names(store, "own") == []
    assert await names(store, GROUP) == [f"work/main/{task}"]


async def test_how_each_ended_is_read_back(store: SqliteStore, stock: Stock) -> None:
    ends = (ContainerEnd("log", 3, "Error", decides=False), ContainerEnd("main", None, "no"))
    job, _ = begun(stock, code=SUCCEEDED, started=NOW, containers=ends)
    plain = stock.submit()
    stock.attempt(plain, code=SUCCEEDED, started=NOW)
    stock.commit()
    rows = await store.reads.attempts_of([job.seq, plain.seq])
    assert rows[job.seq][0].containers == ends
    assert rows[plain.seq][0].containers == ()


async def test_a_job_that_is_forgotten_takes_all_its_streams_along(store: SqliteStore, stock: Stock) -> None:
    job, _ = begun(stock, code=SUCCEEDED, started=NOW)
    stock.closes(job, SUCCEEDED, at=NOW + 1)
    stock.commit()
    store.prune_jobs(NOW + 2, 10, ())
    assert await names(store, GROUP) == []
    assert await names(store, "own") == []
