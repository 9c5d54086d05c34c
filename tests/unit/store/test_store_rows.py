"""What a commit writes: one text a table, and nothing that is derived."""

from typing import Any

import msgspec
import pytest
from tests.conformance.store.stocking import NOW, PLACE, QUEUE, REALM, WORK, Stock

from batchery.core.model import CANCEL, Need, Resources, Shape, Task
from batchery.core.status import FAILED, RUNNING, SUCCEEDED
from batchery.store.rows import TABLES
from batchery.store.store import Rows, encode


@pytest.fixture
def stock() -> Stock:
    return Stock(None)  # type: ignore[arg-type]  # nothing is committed here


def encoded(stock: Stock) -> Rows:
    rows = encode(stock.dirty, stock.changes)
    assert set(rows.tables) <= set(TABLES)
    return rows


def text(rows: Rows, table: str) -> Any:
    return msgspec.json.decode(rows.tables[table])


def test_jobs_alike_share_one_head(stock: Stock) -> None:
    shape = Shape(Resources(1, 2))
    for name in ("a", "b"):
        stock.submit(name=name, shape=shape)
    stock.submit(name="c", shape=shape, size=3)
    rows = encoded(stock)
    shape_text = msgspec.json.encode(shape).decode()
    assert [(head[:7], [job[0] for job in head[7]]) for head in text(rows, "job")] == [
        (["123456789012/us-east-1", QUEUE, WORK, shape_text, 0, "", ""], [1, 2]),
        (["123456789012/us-east-1", QUEUE, WORK, shape_text, 3, "", ""], [3]),
    ]
    assert rows.symbols == ["123456789012/us-east-1", QUEUE, WORK, shape_text]
    assert set(rows.tables) == {"job", "spec"}
    assert rows.at == NOW + 3


def test_an_array_is_one_row(stock: Stock) -> None:
    stock.submit(size=10_000)
    assert len(encoded(stock).tables["job"]) < 600


def test_a_job_of_which_nothing_stored_has_changed_is_not_written(stock: Stock) -> None:
    job = stock.submit()
    stock.dirty.specs.clear()  # it was submitted in an earlier commit
    stock.changes.clear()
    assert encoded(stock) == Rows()
    stock.closes(job, SUCCEEDED, "done")
    assert text(encoded(stock), "job_change") == [[1, 0, "", 0, SUCCEEDED, "done", NOW]]


def test_a_job_may_end_in_the_commit_that_makes_it(stock: Stock) -> None:
    job = stock.submit()
    stock.asks(job, CANCEL, "r")
    stock.closes(job, FAILED, "r")
    rows = encoded(stock)
    assert len(text(rows, "job")) == 1
    assert text(rows, "job_change") == [[1, CANCEL, "r", NOW, FAILED, "r", NOW]]


def test_the_end_of_a_plain_job_is_in_its_own_row(stock: Stock) -> None:
    plain, array = stock.submit(), stock.submit(size=2)
    for job in (plain, array):
        stock.ends(job, SUCCEEDED, span=(0, 1))
        stock.closes(job, SUCCEEDED)
    assert [row[0] for row in text(encoded(stock), "ended")] == [array.seq]


def test_a_task_is_written_only_for_what_was_asked(stock: Stock) -> None:
    job = stock.submit(size=5)
    stock.asks(job, CANCEL, "r", index=2)
    stock.dirty.tasks[job.seq, 3] = (job, Task(3, serial=1))
    assert text(encoded(stock), "task") == [[1, 2, CANCEL, "r", NOW]]


def test_only_attempts_with_a_start_may_make_streams(stock: Stock) -> None:
    job = stock.submit(size=3)
    stock.attempt(job, 0)
    assert set(encoded(stock).tables) == {"job", "spec", "attempt"}
    began = stock.attempt(job, 1, code=RUNNING, started=NOW)
    stock.attempt(job, 2, code=RUNNING, started=NOW, log_stream="")
    rows = encoded(stock)
    assert text(rows, "stream") == [[1, 1, 1, NOW, "/aws/batch/job", began.log_stream, "default", 0]]
    assert text(rows, "log_group") == [["/".join(REALM), "/aws/batch/job", NOW]]
    assert PLACE in rows.symbols


def test_needs_are_text_in_the_row(stock: Stock) -> None:
    stock.submit(needs=(Need("a", 4, 0), Need("", -1, 2)))
    ((*_, needs, _, _, _),) = text(encoded(stock), "job")
    assert needs == '[["a",4,0],["",-1,2]]'
