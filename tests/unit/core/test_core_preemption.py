"""Who is preempted, and who is not because it would be in vain."""

from collections.abc import Callable

import pytest
from tests.unit.core.building import HOME, Batch, arn
from tests.unit.core.test_core_quotas import codes, quota_queue, share
from tests.unit.core.test_core_services import LARGE, service_environment, train, wish

from batchery.core.messages import Capacities, CreatePolicy, Terminate, UpdateEnvironment
from batchery.core.model import DISABLED, ENABLED, PREEMPTED, Capacity, task_ref
from batchery.core.shares import BORROW, LEND, QUOTA, SchedulingPolicy

Make = Callable[..., Batch]


def doomed(batch: Batch) -> set[str]:
    return {attempt.key.job for attempt in batch.world.live.values() if attempt.doom == PREEMPTED}


def test_nobody_is_preempted_for_an_environment_that_takes_no_jobs(batch: Batch) -> None:
    queue = quota_queue(batch, 2)
    share(batch, queue, "a", 1)
    share(batch, queue, "b", 1)
    jobs = [train(batch, queue, share="a", priority=priority) for priority in (2, 1)]
    batch.runs(*jobs)
    where = arn("service-environment", "training")
    batch.send(UpdateEnvironment(where, state=DISABLED))
    mine = train(batch, queue, share="b")
    assert doomed(batch) == set()
    batch.send(UpdateEnvironment(where, state=ENABLED))
    assert doomed(batch) == {jobs[1]}
    batch.killed(jobs[1])
    assert codes(batch, mine) == ["OFFERED"]


def test_who_turns_out_not_to_be_needed_is_spared(batch: Batch) -> None:
    queue = quota_queue(batch, 4)
    share(batch, queue, "a", 1)
    share(batch, queue, "b", 3)
    small, large = train(batch, queue, share="a", priority=1), train(batch, queue, 3, share="a", priority=2)
    train(batch, queue, 3, share="b")
    assert doomed(batch) == {large}
    assert batch.attempt(small).doom == ""


def test_of_those_who_could_be_spared_the_most_worthy_is(batch: Batch) -> None:
    queue = quota_queue(batch, 4)
    share(batch, queue, "a", 1)
    share(batch, queue, "b", 3)
    first, second = (train(batch, queue, share="a", priority=priority) for priority in (1, 2))
    large = train(batch, queue, 2, share="a", priority=3)
    train(batch, queue, 3, share="b")
    assert doomed(batch) == {first, large}
    assert batch.attempt(second).doom == ""


@pytest.mark.parametrize(("memory", "spared"), [(80, True), (79, False)])
def test_nobody_is_spared_whose_memory_others_need(batches: Make, memory: int, spared: bool) -> None:
    batch = batches(memory=memory)
    queue = quota_queue(batch, 6)
    for name, most in (("a", 1), ("b", 2), ("c", 1), ("d", 2)):
        share(batch, queue, name, most, BORROW if name == "a" else LEND)
    small, large = train(batch, queue, share="a", priority=1), train(batch, queue, 2, share="a", priority=2)
    for name in ("b", "c"):
        train(batch, queue, share=name)
    batch.send(wish(batch, queue, 2, share="d"), wish(batch, queue, share="b"))  # 16 MiB each
    assert doomed(batch) == ({large} if spared else {small, large})


def test_nobody_is_spared_whose_share_another_of_it_has_claimed(batch: Batch) -> None:
    queue = quota_queue(batch, 6)
    for name, most in (("any", 1), ("brief", 1), ("half", 2), ("keep", 2), ("lend", 2)):
        borrows = name in ("any", "brief")
        share(batch, queue, name, most, BORROW if borrows else LEND, in_share=name == "brief")
    brief = [train(batch, queue, share="brief") for _ in range(2)]
    large = train(batch, queue, 2, share="any", priority=9)
    for _ in range(2):
        train(batch, queue, share="keep")
    waits = [wish(batch, queue, share=name, priority=3 * (name == "brief")) for name in ("half", "lend", "brief")]
    batch.send(*waits)
    assert doomed(batch) == {*brief, large}


def test_a_share_s_own_limit_makes_lower_priorities_give_way_though_there_is_room(batch: Batch) -> None:
    queue = quota_queue(batch, 8)
    share(batch, queue, "a", 2, LEND, in_share=True)
    low, middle = (train(batch, queue, share="a", priority=priority) for priority in (1, 2))
    high = train(batch, queue, share="a", priority=3)
    assert doomed(batch) == {low}
    batch.killed(low)
    assert codes(batch, high, middle, low) == ["OFFERED", "OFFERED", "RUNNABLE"]


@pytest.mark.parametrize("queues", [False, True])
def test_the_host_must_have_the_gpus_too(batches: Make, queues: bool) -> None:
    """An engine with a queue of its own sees to that itself."""
    batch = batches(gpus=1, memory=200)
    queue = quota_queue(batch, 2)
    share(batch, queue, "a", 1)
    share(batch, queue, "b", 1)
    borrows = [train(batch, queue, share="a", priority=priority) for priority in (2, 1)]
    batch.submit(gpus=1, memory=16)
    if queues:
        batch.send(Capacities(Capacity(200, 1, queues=True)))
    train(batch, queue, share="b", gpus=1)
    assert doomed(batch) == ({borrows[1]} if queues else set())


def test_who_needs_a_gpu_gets_that_of_whom_it_preempts(batches: Make) -> None:
    batch = batches(gpus=1)
    queue = quota_queue(batch, 1)
    share(batch, queue, "a", 0)
    share(batch, queue, "b", 1)
    borrows = train(batch, queue, share="a", gpus=1)
    train(batch, queue, share="b", gpus=1)
    assert doomed(batch) == {borrows}


def test_who_turns_out_not_to_be_needed_once_others_have_given_way_is_spared_too(batch: Batch) -> None:
    queue = quota_queue(batch, 6)
    for name, most in (("a", 1), ("b", 2), ("c", 1), ("d", 2)):
        share(batch, queue, name, most, BORROW if name == "a" else LEND)
    small, large = train(batch, queue, share="a", priority=1), train(batch, queue, 2, share="a", priority=2)
    for name in ("b", "c"):
        train(batch, queue, share=name)
    batch.send(wish(batch, queue, 2, share="d"), wish(batch, queue, share="b"))  # one is free, two more are wanted
    assert doomed(batch) == {large}
    assert batch.attempt(small).doom == ""


def test_a_priority_makes_way_in_its_own_share_and_then_takes_back_what_was_lent(batch: Batch) -> None:
    queue = quota_queue(batch, 4)
    share(batch, queue, "a", 2, LEND, in_share=True)
    share(batch, queue, "b", 1)
    low = train(batch, queue, share="a", priority=1)
    lent = [train(batch, queue, share="b", priority=priority) for priority in (3, 2, 1)]
    train(batch, queue, 2, share="a", priority=5)
    assert doomed(batch) == {low, lent[2]}


def test_a_priority_takes_room_in_its_own_share_where_nothing_was_borrowed(batch: Batch) -> None:
    queue = quota_queue(batch, 2)
    share(batch, queue, "a", 2, LEND, in_share=True)
    share(batch, queue, "b", 2, LEND)  # together more than there is
    low, other = train(batch, queue, share="a", priority=1), train(batch, queue, share="b")
    high = train(batch, queue, share="a", priority=5)
    assert doomed(batch) == {low}
    batch.killed(low)
    assert codes(batch, high, low, other) == ["OFFERED", "RUNNABLE", "OFFERED"]


def test_nobody_is_preempted_where_the_host_has_no_room_even_then(batches: Make) -> None:
    batch = batches(memory=40, vcpus=4)
    queue = quota_queue(batch, 2)
    share(batch, queue, "a", 1)
    share(batch, queue, "b", 1)
    jobs = [train(batch, queue, share="a", priority=priority) for priority in (2, 1)]  # 16 MiB each
    plain = batch.submit(memory=8)
    mine = train(batch, queue, share="b")
    assert doomed(batch) == {jobs[1]}
    batch.send(Terminate(HOME, task_ref(mine), "for another", service=True))
    batch.killed(jobs[1])
    assert codes(batch, jobs[1], plain) == ["OFFERED", "OFFERED"]
    large = batch.submit(memory=24)  # waits for the host, as does the next one
    batch.exits(plain)
    assert codes(batch, large) == ["RUNNABLE"]
    train(batch, queue, 2, share="b")
    assert doomed(batch) == set()


def test_nobody_is_preempted_where_all_that_was_borrowed_would_not_do(batch: Batch) -> None:
    queue = quota_queue(batch, 4)
    share(batch, queue, "a", 0)
    share(batch, queue, "b", 5, LEND)  # more than there is
    own = train(batch, queue, 2, share="b")
    jobs = [train(batch, queue, share="a") for _ in range(2)]
    waits = train(batch, queue, 3, share="b")
    assert doomed(batch) == set()
    batch.exits(own)
    assert (doomed(batch), codes(batch, waits)) == ({jobs[0]}, ["RUNNABLE"])


def test_of_several_environments_one_must_have_the_room(batch: Batch) -> None:
    rule = arn("scheduling-policy", "quota")
    batch.send(CreatePolicy(SchedulingPolicy(rule, "quota", HOME, QUOTA, "{}")))
    places = [service_environment(batch, units={LARGE: most}, name=f"site{most}") for most in (2, 3)]
    queue = batch.queue("managed", *places, type="SAGEMAKER_TRAINING", policy=rule)
    share(batch, queue, "a", 1)
    share(batch, queue, "b", 4)
    jobs = [train(batch, queue, share="a", priority=priority) for priority in (1, 9, 2, 9, 9)]
    assert [batch.attempt(job).environment for job in jobs] == [places[0]] * 2 + [places[1]] * 3
    train(batch, queue, 3, share="b")
    assert doomed(batch) == set(jobs[2:])


def test_the_environment_where_the_fewest_give_way_is_taken(batch: Batch) -> None:
    rule = arn("scheduling-policy", "quota")
    batch.send(CreatePolicy(SchedulingPolicy(rule, "quota", HOME, QUOTA, "{}")))
    places = [service_environment(batch, units={LARGE: 2}, name=name) for name in ("one", "two")]
    queue = batch.queue("managed", *places, type="SAGEMAKER_TRAINING", policy=rule)
    share(batch, queue, "a", 0)
    share(batch, queue, "b", 2, LEND)
    for size in (1, 1, 2):
        large = train(batch, queue, size, share="a")
    train(batch, queue, 2, share="b")
    assert doomed(batch) == {large}


@pytest.mark.parametrize("strategy", [LEND, BORROW])
def test_what_is_being_ended_comes_free_without_a_preemption(batch: Batch, strategy: str) -> None:
    queue = quota_queue(batch, 2)
    share(batch, queue, "a", 1)
    share(batch, queue, "b", 1, strategy)
    jobs = [train(batch, queue, share="a") for _ in range(2)]
    batch.runs(*jobs)
    plain = batch.submit()
    batch.runs(plain)
    batch.terminate(plain)
    batch.send(Terminate(HOME, task_ref(jobs[0]), "enough", service=True))
    mine = train(batch, queue, share="b")
    assert doomed(batch) == set()
    batch.killed(jobs[0])
    assert codes(batch, mine) == ["OFFERED"]
