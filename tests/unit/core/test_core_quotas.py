"""Quota shares: limits, borrowing, reclaiming, preemption within a share, and what a preempted job is then."""

from random import Random
from typing import Any

import pytest
from tests.unit.core.building import HOME, Batch, arn, fair
from tests.unit.core.test_core_rebuild import loaded
from tests.unit.core.test_core_services import LARGE, refused, service_environment, train, wish

from batchery.core import query
from batchery.core.messages import (
    CreatePolicy,
    CreateQuota,
    DeleteQueue,
    DeleteQuota,
    Terminate,
    UpdateQueue,
    UpdateQuota,
    UpdateServiceJob,
)
from batchery.core.model import DISABLED, PREEMPTED, VALID, Realm, task_ref
from batchery.core.quotas import use_of
from batchery.core.shares import BORROW, LEND, QUOTA, RESERVE, QuotaShare, SchedulingPolicy


def quota_queue(batch: Batch, most: int = 8) -> str:
    rule = arn("scheduling-policy", "quota")
    batch.send(CreatePolicy(SchedulingPolicy(rule, "quota", HOME, QUOTA, "{}")))
    return batch.queue(
        "managed", service_environment(batch, units={LARGE: most}), type="SAGEMAKER_TRAINING", policy=rule
    )


def made(
    queue: str, name: str, most: int, strategy: str = BORROW, borrow: int = -1, in_share: bool = False
) -> QuotaShare:
    where = f"{queue}/quota-share/{name}"
    return QuotaShare(where, name, HOME, queue, ((LARGE, 1000 * most),), strategy, borrow, in_share)


def share(batch: Batch, queue: str, name: str, most: int, strategy: str = BORROW, **more: Any) -> str:
    quota = made(queue, name, most, strategy, **more)
    batch.send(CreateQuota(quota))
    assert batch.world.quotas[quota.arn].status == VALID
    return quota.arn


def codes(batch: Batch, *jobs: str) -> list[str]:
    return [batch.code(job) for job in jobs]


def test_only_what_is_idle_is_borrowed_and_no_more_than_allowed(batch: Batch) -> None:
    queue = quota_queue(batch, 8)
    share(batch, queue, "lender", 2, LEND)
    share(batch, queue, "keeper", 2, RESERVE)
    share(batch, queue, "half", 2, borrow=50)
    share(batch, queue, "any", 2)
    half = [train(batch, queue, share="half") for _ in range(4)]
    assert codes(batch, *half) == ["OFFERED"] * 3 + ["RUNNABLE"]  # 50 % of two
    told = query.why(batch.world, HOME, half[3])
    assert told is not None
    assert told.lacks == {"training": "has room, but for no more of its quota share"}
    any_ = [train(batch, queue, share="any") for _ in range(4)]
    assert codes(batch, *any_) == ["OFFERED"] * 3 + ["RUNNABLE"]  # the keeper's two stay idle
    lender = train(batch, queue, 3, share="lender")
    assert codes(batch, lender) == ["RUNNABLE"]  # it never borrows, and stands aside
    kept = train(batch, queue, 2, share="keeper")
    assert codes(batch, kept) == ["OFFERED"]
    assert query.front_by_share(batch.world, queue).keys() == {"half", "any", "lender"}
    assert query.why(batch.world, HOME, any_[3]) is not None


def test_a_lender_takes_back_what_was_borrowed(batch: Batch) -> None:
    queue = quota_queue(batch, 4)
    share(batch, queue, "a", 2)
    share(batch, queue, "b", 2)
    jobs = [train(batch, queue, share="a", priority=priority) for priority in (3, 2, 1, 4)]
    batch.runs(*jobs)
    mine = train(batch, queue, share="b")
    assert codes(batch, mine) == ["RUNNABLE"]
    assert batch.attempt(jobs[2]).doom == PREEMPTED  # the lowest priority
    assert batch.told() == [f"Kill {batch.key(jobs[2])}"]
    reason = query.facts(batch.world, HOME, [jobs[2]], True)[jobs[2]].reason
    assert reason.startswith("PREEMPTION_IN_PROGRESS: Cross-share")
    batch.tick()
    assert [batch.attempt(job).doom for job in jobs] == ["", "", PREEMPTED, ""]  # nobody else meanwhile
    batch.killed(jobs[2])
    assert codes(batch, mine, jobs[2]) == ["OFFERED", "RUNNABLE"]
    task = batch.jobs[jobs[2]].tasks[0]
    assert (task.used, task.preempted) == (0, 1)
    for job in (*jobs[:2], jobs[3], mine):
        batch.exits(job)
    assert codes(batch, jobs[2]) == ["OFFERED"]


def test_nothing_is_preempted_in_vain(batch: Batch) -> None:
    queue = quota_queue(batch, 4)
    share(batch, queue, "a", 3)
    share(batch, queue, "b", 4)  # together more than there is
    jobs = [train(batch, queue, share="a") for _ in range(4)]
    mine = train(batch, queue, 3, share="b")
    assert codes(batch, mine) == ["RUNNABLE"]
    assert [batch.attempt(job).doom for job in jobs] == [""] * 4  # one is borrowed, three are wanted
    for job in jobs[:2]:
        batch.exits(job)
    assert codes(batch, mine) == ["RUNNABLE"]
    batch.exits(jobs[2])
    assert codes(batch, mine) == ["OFFERED"]


@pytest.mark.parametrize("allowed", [False, True])
def test_a_higher_priority_preempts_within_its_share_where_that_is_enabled(batch: Batch, allowed: bool) -> None:
    queue = quota_queue(batch, 2)
    share(batch, queue, "a", 2, LEND, in_share=allowed)
    low, middle = train(batch, queue, share="a", priority=1), train(batch, queue, share="a", priority=5)
    batch.runs(low, middle)
    same = train(batch, queue, share="a", priority=1)
    assert batch.attempt(low).doom == ""
    batch.send(UpdateServiceJob(HOME, same, 9))
    assert batch.attempt(low).doom == (PREEMPTED if allowed else "")
    assert batch.attempt(middle).doom == ""
    if allowed:
        batch.killed(low)
        assert codes(batch, same, low) == ["OFFERED", "RUNNABLE"]


@pytest.mark.parametrize(("retries", "left"), [(0, 0), (1, 1), (-1, 3)])
def test_a_preempted_job_comes_back_as_often_as_it_may(batch: Batch, retries: int, left: int) -> None:
    queue = quota_queue(batch, 1)
    share(batch, queue, "a", 1, LEND, in_share=True)
    job = train(batch, queue, share="a", attempts=1, preemptions=retries)
    for number in range(3):
        higher = train(batch, queue, share="a", priority=9)
        batch.killed(job)
        if number == left:
            assert batch.end(job) == (
                "FAILED",
                "PREEMPTION_IN_PROGRESS: In-share preemption triggered by a job with a higher scheduling priority",
            )
            return
        batch.exits(higher)
        assert codes(batch, job) == ["OFFERED"]
    batch.exits(job)
    assert batch.end(job)[0] == "SUCCEEDED"


def test_quota_shares_are_listed_by_name_and_found_in_their_own_realm(batch: Batch) -> None:
    queue = quota_queue(batch)
    where = [share(batch, queue, name, 1) for name in ("b", "a")]
    assert [one.name for one in query.quotas(batch.world, queue)] == ["a", "b"]
    assert query.quotas(batch.world, batch.main) == []
    found = query.resolve_quota(batch.world, HOME, where[0])
    assert found is not None
    assert found.name == "b"
    assert query.resolve_quota(batch.world, Realm("123456789012", "eu-west-1"), where[0]) is None
    assert query.resolve_quota(batch.world, HOME, where[0] + "x") is None


def test_what_other_queues_use_is_no_use_of_a_quota_share(batch: Batch) -> None:
    queue = quota_queue(batch)
    share(batch, queue, "a", 2)
    train(batch, queue, share="a")
    batch.send(CreatePolicy(fair()))
    other = batch.queue("fair", batch.environment("e"), policy=arn("scheduling-policy", "fair"))
    batch.submit(queue=other, share="a", priority=1)
    assert use_of(batch.world, queue) == {("a", LARGE): 1000}


def test_what_a_share_with_a_reserve_uses_is_not_kept_besides(batch: Batch) -> None:
    queue = quota_queue(batch, 4)
    share(batch, queue, "keep", 2, RESERVE)
    share(batch, queue, "any", 1)
    train(batch, queue, share="keep")
    jobs = [train(batch, queue, share="any") for _ in range(3)]
    assert codes(batch, *jobs) == ["OFFERED", "OFFERED", "RUNNABLE"]


def test_of_those_who_are_entitled_the_oldest_goes_first(batch: Batch) -> None:
    queue = quota_queue(batch, 1)
    for name in "abc":
        share(batch, queue, name, 1, LEND)  # together more than there is
    first, older, younger = (train(batch, queue, share=name) for name in "cba")
    batch.exits(first)
    assert codes(batch, older, younger) == ["OFFERED", "RUNNABLE"]


def test_a_share_whose_line_is_stale_has_no_front(batches: Any) -> None:
    batch = batches(memory=0)  # no engine has spoken, so nobody looks at the lines
    queue = quota_queue(batch)
    share(batch, queue, "a", 1)
    job, other = train(batch, queue, share="a"), train(batch, queue, 2, share="a")
    assert query.front_by_share(batch.world, queue)["a"].ref == job
    for one in (other, job):
        batch.send(Terminate(HOME, task_ref(one), "enough", service=True))
    assert query.front_by_share(batch.world, queue) == {}


def test_limits_that_are_lowered_make_jobs_of_the_share_give_way(batch: Batch) -> None:
    queue = quota_queue(batch, 2)
    first = share(batch, queue, "a", 2)
    share(batch, queue, "b", 1)
    jobs = [train(batch, queue, share="a") for _ in range(2)]
    mine = train(batch, queue, share="b")
    assert [batch.attempt(job).doom for job in jobs] == ["", ""]
    batch.send(UpdateQuota(first, limits=((LARGE, 1000),), borrow=100))
    assert sorted(batch.attempt(job).doom for job in jobs) == ["", PREEMPTED]
    batch.gives_back(next(job for job in jobs if batch.attempt(job).doom))
    assert codes(batch, mine) == ["OFFERED"]


def test_a_quota_share_from_its_creation_to_its_end(batch: Batch) -> None:
    queue = quota_queue(batch, 1)
    where = share(batch, queue, "a", 1, LEND)
    assert "already exists" in refused(batch, CreateQuota(made(queue, "a", 1)))
    assert "more than 1" in refused(batch, CreateQuota(made(queue, "b", 1), limit=1))
    assert "no quotaSharePolicy" in refused(batch, CreateQuota(made(batch.main, "b", 1)))
    assert "VALID" in refused(batch, CreateQuota(made(arn("job-queue", "none"), "b", 1)))
    assert "does not exist" in refused(batch, UpdateQuota(where + "x"))
    assert "does not exist" in refused(batch, wish(batch, queue, share="none"))
    mixed = wish(batch, queue, share="a", instances=((LARGE, 1), ("ml.other", 1)))
    assert "one type" in refused(batch, mixed)
    runs, waits = train(batch, queue, share="a"), train(batch, queue, share="a")
    assert "DISABLED" in refused(batch, DeleteQuota(where))
    batch.send(UpdateQuota(where, strategy=BORROW, borrow=10, in_share=True, state=DISABLED))
    assert (batch.world.quotas[where].borrow, batch.world.quotas[where].in_share) == (10, True)
    batch.send(UpdateQuota(where, borrow=20))
    assert batch.world.quotas[where].borrow == 20
    batch.send(UpdateQuota(where, strategy=RESERVE))
    assert batch.world.quotas[where].borrow == -1
    assert "not ENABLED" in refused(batch, wish(batch, queue, share="a"))
    batch.send(UpdateQueue(queue, state=DISABLED))
    assert "QuotaShare relationship" in refused(batch, DeleteQueue(queue))
    batch.send(UpdateQuota(where), DeleteQuota(where + "x"), spent=True)
    batch.tick()
    batch.send(DeleteQuota(where))
    assert batch.end(waits) == ("FAILED", "QuotaShare deleted")
    assert "being modified" in refused(batch, UpdateQuota(where))
    assert "being modified" in refused(batch, DeleteQuota(where))
    batch.killed(runs)
    assert batch.world.quotas == {}
    batch.send(DeleteQueue(queue))
    assert queue not in batch.world.queues


@pytest.mark.parametrize("seed", range(12))
def test_at_random_nobody_uses_more_than_it_may_and_everybody_ends(batches: Any, seed: int) -> None:
    """Shares never hold more than their limits but by borrowing, reserved instances stay idle, the environment is never
    exceeded (check_capacity), and every job ends: none starves."""
    random, batch = Random(seed), batches()
    queue = quota_queue(batch, 8)
    share(batch, queue, "keep", 2, RESERVE, in_share=True)
    share(batch, queue, "lend", 3, LEND)
    share(batch, queue, "half", 2, borrow=50, in_share=True)
    share(batch, queue, "any", 1)
    most = {"keep": 2000, "lend": 3000, "half": 3000, "any": 8000}
    jobs: list[str] = []
    for _ in range(120):
        name = random.choice(list(most))
        size = random.randint(1, 2 if name != "any" else 3)
        jobs.append(train(batch, queue, size, share=name, priority=random.randint(0, 3)))
        for attempt in list(batch.world.live.values()):
            if attempt.doom:
                batch.killed(attempt.key.job)
            elif random.random() < 0.3:
                batch.exits(attempt.key.job)
        used = use_of(batch.world, queue)
        for (holder, _), held in used.items():
            assert held <= most[holder], f"{holder} holds {held}"
    for _ in range(1_000):
        live = list(batch.world.live.values())
        if not live:
            break
        for attempt in live:
            if attempt.key in batch.world.live:
                batch.killed(attempt.key.job) if attempt.doom else batch.exits(attempt.key.job)
    assert all(batch.end(job)[0] == "SUCCEEDED" for job in jobs)
    assert loaded(batch).pools == batch.world.pools
