"""Commits that do not happen, crashes, two servers; and what is forgotten."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.conformance.store.stocking import BATCH, NOW, QUEUE, REALM, Stock, record

from batchery.core.model import (
    CANCEL,
    SEQUENTIAL,
    Need,
)
from batchery.core.status import (
    FAILED,
    SUBMITTED,
    SUCCEEDED,
)
from batchery.store.sqlite import SqliteStore
from batchery.store.store import CommitFailed, StoreError, encode

# --------------------------------------------------------------------------------------- commits that do not happen


def test_what_was_committed_survives_a_crash(
    store: SqliteStore, stock: Stock, make_store: Callable[..., SqliteStore], tmp_path: Path
) -> None:
    one, two = stock.submit(), stock.submit(size=3)
    stock.commit()
    stock.ends(two, FAILED, "x", span=(1, 2))
    stock.commit()
    stock.submit()  # never committed
    shutil.copytree(store.directory, tmp_path / "after")  # as the disk is when the power goes

    again = make_store(tmp_path / "after")

    jobs = again.load().jobs
    assert list(jobs) == [one.id, two.id]
    assert bytes(jobs[two.id].status) == bytes([SUBMITTED, FAILED, SUBMITTED])
    assert again.epoch == store.epoch + 1


async def test_a_failed_commit_leaves_nothing(store: SqliteStore, stock: Stock) -> None:
    first = stock.submit()
    stock.commit()
    second = stock.submit()
    second.id = first.id  # which the schema does not allow
    stock.dirty.tags = [("a", {"k": "v"}, ())]
    stock.dirty.realms = [REALM]
    stock.dirty.evaluated = 1
    with pytest.raises(CommitFailed, match=r"UNIQUE constraint failed: job\.id"):
        stock.commit(record(NOW), aside=[("cursor", ("events", 1))])

    store.probe()
    world = store.load()
    assert list(world.jobs) == [first.id]
    assert (world.realms, world.evaluated, world.next_seq) == (set(), 0, 2)
    assert await store.reads.tags(["a"]) == {"a": {}}
    assert await store.reads.activity(*REALM, 0, NOW + 1, 1 << 62, 10) == []
    assert await store.reads.cursors() == {}
    assert len(await store.reads.feed(0, 10)) == 1


def test_commits_work_again_after_a_failed_one(store: SqliteStore, stock: Stock) -> None:
    first = stock.submit()
    stock.commit()
    taken = stock.submit(definition=BATCH + "job-definition/new:1")
    taken.id = first.id
    with pytest.raises(CommitFailed):
        stock.commit()
    store.probe()
    store.load()
    stock.seq = 1
    second = stock.submit(definition=BATCH + "job-definition/new:1")
    stock.commit()
    assert store.load().jobs[second.id].definition == second.definition


def test_a_second_server_is_refused_until_the_first_ends(
    store: SqliteStore, make_store: Callable[..., SqliteStore]
) -> None:
    with pytest.raises(
        StoreError, match=r"^another Batchery server is using .*data \(pid \d+\): stop it or give --data$"
    ):
        make_store()
    store.close()
    assert make_store().epoch == 2


def test_who_holds_the_lock_but_not_the_epoch_writes_nothing(store: SqliteStore, stock: Stock) -> None:
    stock.submit()
    stock.commit()
    with closing(sqlite3.connect(store.path)) as other:  # a server where locks do not hold
        other.execute("UPDATE meta SET epoch = epoch + 1")
        other.commit()
    stock.submit()
    for write in (stock.commit, store.probe):
        with pytest.raises(CommitFailed, match="is another server's now"):
            write()
    assert len(store.load().jobs) == 1


def test_an_empty_commit_is_a_commit(store: SqliteStore, stock: Stock) -> None:
    stock.commit()
    assert encode(stock.dirty, []).tables == {}


# ------------------------------------------------------------------------------------------------------ forgetting


async def test_old_jobs_are_forgotten_with_all_that_hangs_on_them(store: SqliteStore, stock: Stock) -> None:
    stock.place()
    old, array, young = stock.submit(), stock.submit(size=2), stock.submit()
    for job in (old, array, young):
        stock.dirty.tags.append((f"{BATCH}job/{job.id}", {"k": "v"}, ()))
        stock.attempt(job, code=SUCCEEDED, cause="EXIT", exit_code=0, started=NOW, stopped=NOW)
    stock.asks(array, CANCEL, "x", index=1)
    stock.ends(array, SUCCEEDED, span=(0, 2))
    stock.closes(old, SUCCEEDED, at=NOW)
    stock.closes(array, SUCCEEDED, at=NOW + 1)
    stock.closes(young, SUCCEEDED, at=NOW + 50)
    stock.commit()

    assert store.prune_jobs(NOW + 10, 1) == [old.id], "oldest first, and no more than was allowed"
    assert store.prune_jobs(NOW + 10, 10) == [array.id]
    assert store.prune_jobs(NOW + 10, 10) == []

    reads = store.reads
    assert list(await reads.jobs([old.id, array.id, young.id])) == [young.id]
    assert list(await reads.specs([1, 2, 3])) == [young.seq]
    assert await reads.ended(array.seq) == []
    assert await reads.task_asked(array.seq, [1]) == {}
    assert {seq: len(rows) for seq, rows in (await reads.attempts_of([1, 2, 3])).items()} == {1: 0, 2: 0, 3: 1}
    assert [row.key.job for row in await reads.streams(*REALM, "/aws/batch/job", "", "", 10)] == [young.id]
    tags = await reads.tags([f"{BATCH}job/{job.id}" for job in (old, array, young)])
    assert list(tags.values()) == [{}, {}, {"k": "v"}]


def test_jobs_that_are_needed_are_kept(store: SqliteStore, stock: Stock) -> None:
    needed, held, free, open_ = stock.submit(), stock.submit(), stock.submit(), stock.submit()
    waiting = stock.submit(needs=(Need(needed.id), Need("", -1, SEQUENTIAL)))
    for job in (needed, held, free):
        stock.closes(job, SUCCEEDED)
    stock.commit()
    assert store.prune_jobs(NOW + 1, 10, keep={held.id}) == [free.id]
    stock.closes(waiting, SUCCEEDED)
    stock.commit()
    assert store.prune_jobs(NOW + 1, 10) == [needed.id, held.id, waiting.id]
    assert list(store.load().jobs) == [open_.id]


def test_the_queue_of_a_job_may_be_gone(store: SqliteStore, stock: Stock) -> None:
    job = stock.submit(queue=QUEUE + "-gone")
    stock.commit()
    assert store.load().jobs[job.id].queue == QUEUE + "-gone"
