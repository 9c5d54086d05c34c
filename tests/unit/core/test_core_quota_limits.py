"""Jobs larger than their quota share could ever have: what is said of them, and who passes them."""

from collections.abc import Callable

import pytest
from tests.unit.core.building import HOME, Batch
from tests.unit.core.test_core_quotas import codes, made, quota_queue, share
from tests.unit.core.test_core_rebuild import loaded
from tests.unit.core.test_core_services import LARGE, train

from batchery.core import query
from batchery.core.fits import TOO_MANY_INSTANCES
from batchery.core.messages import CreateQuota, UpdateQueue, UpdateQuota
from batchery.core.model import TimeLimit
from batchery.core.queue import QUOTA_LIMIT, TERMINATE_ACTION
from batchery.core.quotas import NOT_BORROWABLE, TOO_LARGE_FOR_SHARE, TOO_LARGE_TO_BORROW
from batchery.core.shares import BORROW, LEND, RESERVE

Make = Callable[..., Batch]


def blocked(batch: Batch, queue: str) -> dict[str, str]:
    return {fact.job: fact.reason for fact in batch.world.queues[queue].blocked}


@pytest.mark.parametrize(
    ("strategy", "borrow", "size", "words"),
    [
        (RESERVE, -1, 3, TOO_LARGE_FOR_SHARE),
        (LEND, -1, 3, TOO_LARGE_FOR_SHARE),
        (BORROW, 0, 3, TOO_LARGE_TO_BORROW),
        (BORROW, 50, 4, TOO_LARGE_TO_BORROW),
        (BORROW, 50, 3, ""),
        (BORROW, -1, 7, NOT_BORROWABLE),  # two of eight are reserved for another
        (BORROW, 900, 7, NOT_BORROWABLE),
        (BORROW, -1, 6, ""),
        (BORROW, -1, 9, TOO_MANY_INSTANCES),
    ],
)
def test_a_job_larger_than_its_share_says_so_and_others_pass_it(
    batch: Batch, strategy: str, borrow: int, size: int, words: str
) -> None:
    queue = quota_queue(batch, 8)
    share(batch, queue, "keep", 2, RESERVE)
    share(batch, queue, "a", 2, strategy, borrow=borrow)
    huge = train(batch, queue, size, share="a", priority=9)
    small = train(batch, queue, 1, share="a")
    assert codes(batch, huge)[0] == ("RUNNABLE" if words else "OFFERED")
    if not words:
        return
    assert codes(batch, small) == ["OFFERED"]
    assert blocked(batch, queue) == {huge: words}
    assert query.facts(batch.world, HOME, [huge], True)[huge].reason == words
    told = query.why(batch.world, HOME, huge)
    assert told is not None
    assert {words, "Jobs behind it pass it."} <= set(told.lines)
    assert any(line.startswith("Its quota share a uses 1 ml.m5.large; its limit is 2, and with") for line in told.lines)
    assert loaded(batch).queues[queue].blocked == batch.world.queues[queue].blocked


def test_it_is_terminated_where_the_queue_says_so_and_runs_once_its_share_is_large_enough(batch: Batch) -> None:
    queue = quota_queue(batch, 8)
    where = share(batch, queue, "a", 2, LEND)
    batch.send(UpdateQueue(queue, limits=(TimeLimit(QUOTA_LIMIT, 600_000, TERMINATE_ACTION),)))
    first, second, third = (train(batch, queue, 3, share="a") for _ in range(3))
    assert blocked(batch, queue) == {first: TOO_LARGE_FOR_SHARE}  # of each class the first
    batch.tick(600_000)
    assert batch.end(first) == ("FAILED", f"Terminated by JobStateTimeLimit action due to reason: {QUOTA_LIMIT}")
    assert blocked(batch, queue) == {second: TOO_LARGE_FOR_SHARE}
    batch.tick(599_999)
    assert codes(batch, second) == ["RUNNABLE"]
    batch.send(UpdateQuota(where, limits=((LARGE, 3000),)))
    assert codes(batch, second, third) == ["OFFERED", "RUNNABLE"]
    assert blocked(batch, queue) == {}
    told = query.why(batch.world, HOME, third)
    assert told is not None
    assert not any("passes it" in line for line in told.lines)  # other shares do


def test_with_strict_head_it_blocks_its_own_share(batches: Make) -> None:
    batch = batches(strict_head=True)
    queue = quota_queue(batch, 4)
    share(batch, queue, "a", 2, LEND)
    share(batch, queue, "b", 2, LEND)
    huge, behind = train(batch, queue, 3, share="a"), train(batch, queue, 1, share="a")
    other = train(batch, queue, 2, share="b")
    assert codes(batch, huge, behind, other) == ["RUNNABLE", "RUNNABLE", "OFFERED"]
    assert blocked(batch, queue) == {huge: TOO_LARGE_FOR_SHARE}
    told = query.why(batch.world, HOME, huge)
    assert told is not None
    assert "It blocks those behind it." in told.lines


def test_it_is_told_although_nothing_has_room(batch: Batch) -> None:
    queue = quota_queue(batch, 2)
    share(batch, queue, "a", 2, BORROW)
    batch.send(CreateQuota(made(queue, "b", 1, LEND)))
    train(batch, queue, 2, share="a")
    waits, huge = train(batch, queue, 1, share="a"), train(batch, queue, 2, share="b")
    assert codes(batch, waits, huge) == ["RUNNABLE", "RUNNABLE"]
    assert blocked(batch, queue) == {huge: TOO_LARGE_FOR_SHARE}
