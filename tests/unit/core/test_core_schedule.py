"""Who runs next, and where: order, room, standing aside, claiming ahead."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.core.building import Batch, arn

from batchery.core.changes import Placed
from batchery.core.fits import TOO_LARGE, TOO_MANY_VCPUS
from batchery.core.messages import Capacities, Started, UpdateEnvironment, UpdateQueue
from batchery.core.model import DISABLED, Capacity, Resources

Make = Callable[..., Batch]


def blocked(batch: Batch, queue: str = "") -> list[tuple[str, str]]:
    return [(fact.job, fact.reason) for fact in batch.world.queues[queue or batch.main].blocked]


def codes(batch: Batch, *jobs: str) -> list[str]:
    return [batch.code(job) for job in jobs]


# ------------------------------------------------------------------------------------------------------------ FIFO


def test_jobs_are_placed_in_the_order_of_submission(batches: Make) -> None:
    batch = batches(vcpus=2)
    jobs = [batch.submit() for _ in range(4)]
    assert codes(batch, *jobs) == ["OFFERED", "OFFERED", "RUNNABLE", "RUNNABLE"]
    batch.exits(jobs[1])
    assert codes(batch, *jobs[2:]) == ["OFFERED", "RUNNABLE"]


def test_nothing_younger_passes_the_head_that_waits_for_room(batches: Make) -> None:
    batch = batches(vcpus=4)
    runs = batch.submit(vcpus=3)
    big, small = batch.submit(vcpus=4), batch.submit(vcpus=1)
    assert codes(batch, big, small) == ["RUNNABLE", "RUNNABLE"]
    batch.exits(runs)
    assert codes(batch, big, small) == ["OFFERED", "RUNNABLE"]


def test_what_the_head_cannot_use_anyway_is_open_to_the_younger(batches: Make) -> None:
    batch = batches(vcpus=4)
    little = batch.environment("little", 2)
    queue = batch.queue("both", arn("compute-environment", "main"), little)
    batch.submit(queue=queue, vcpus=3)
    big, small = batch.submit(queue=queue, vcpus=3), batch.submit(queue=queue, vcpus=1)
    assert codes(batch, big, small) == ["RUNNABLE", "OFFERED"]
    assert batch.attempt(small).environment == little


def test_children_are_placed_in_the_order_of_their_index(batches: Make) -> None:
    batch = batches(vcpus=2)
    array = batch.submit(size=4)
    after = batch.submit()
    assert batch.children(array) == ["RUNNABLE"] * 4
    assert [batch.code(f"{array}:{i}") for i in range(4)] == ["OFFERED", "OFFERED", "RUNNABLE", "RUNNABLE"]
    batch.exits(f"{array}:0")
    batch.exits(f"{array}:1")
    assert (batch.code(f"{array}:3"), batch.code(after)) == ("OFFERED", "RUNNABLE")


def test_a_class_behind_another_is_reached_in_the_same_turn(batches: Make) -> None:
    batch = batches(vcpus=8)
    batch.close()
    jobs = [batch.submit(vcpus=size) for size in (1, 2, 1, 2, 1)]
    batch.reopen()
    order = [change.key.job for change in batch.changes if isinstance(change, Placed)]
    assert order == jobs


# ------------------------------------------------------------------------------------------ queues, environments


def test_a_queue_of_higher_priority_goes_first(batches: Make) -> None:
    batch = batches(vcpus=1)
    high = batch.queue("high", arn("compute-environment", "main"), priority=9)
    runs = batch.submit()
    low_job, high_job = batch.submit(), batch.submit(queue=high)
    batch.exits(runs)
    assert codes(batch, high_job, low_job) == ["OFFERED", "RUNNABLE"]


def test_queues_of_one_priority_take_turns_by_age(batches: Make) -> None:
    batch = batches(vcpus=4)
    other = batch.queue("other", arn("compute-environment", "main"))
    batch.close()
    jobs = [batch.submit(queue=queue) for queue in (batch.main, other, batch.main, other, batch.main)]
    batch.reopen()
    assert codes(batch, *jobs) == ["OFFERED"] * 4 + ["RUNNABLE"]
    assert [c.key.job for c in batch.changes if isinstance(c, Placed)] == jobs[:4]


def test_environments_are_filled_in_the_order_of_the_queue(batches: Make) -> None:
    batch = batches(vcpus=1)
    second = batch.environment("second", 1)
    queue = batch.queue("both", arn("compute-environment", "main"), second)
    one, two = batch.submit(queue=queue), batch.submit(queue=queue)
    assert batch.attempt(one).environment == arn("compute-environment", "main")
    assert batch.attempt(two).environment == second
    batch.send(UpdateQueue(queue, order=((1, second), (2, arn("compute-environment", "main")))))
    batch.exits(one)
    batch.exits(two)
    three = batch.submit(queue=queue)
    assert batch.attempt(three).environment == second


def test_a_disabled_environment_takes_nothing_new(batch: Batch) -> None:
    batch.close()
    job = batch.submit()
    assert batch.code(job) == "RUNNABLE"
    assert blocked(batch) == [], "it could run there some day"
    batch.reopen()
    assert batch.code(job) == "OFFERED"


def test_a_disabled_queue_goes_on_with_what_it_has(batch: Batch) -> None:
    batch.close()
    job = batch.submit()
    batch.send(UpdateQueue(batch.main, state=DISABLED))
    batch.reopen()
    assert batch.code(job) == "OFFERED"


def test_environments_of_one_pool_share_its_vcpus(batches: Make) -> None:
    batch = batches(vcpus=4)
    here, there = (batch.environment(name, 2, pool="shared") for name in ("here", "there"))
    one, two = batch.queue("one", here), batch.queue("two", there)
    jobs = [batch.submit(queue=queue) for queue in (one, two, one)]
    assert codes(batch, *jobs) == ["OFFERED", "OFFERED", "RUNNABLE"]


def test_environments_share_the_memory_of_the_host(batches: Make) -> None:
    batch = batches(memory=1_000)
    other = batch.queue("other", batch.environment("other"))
    one = batch.submit(memory=800)
    two, three = batch.submit(memory=300), batch.submit(queue=other, memory=100)
    assert codes(batch, one, two, three) == ["OFFERED", "RUNNABLE", "RUNNABLE"], "the head waits for the host itself"
    batch.exits(one)
    assert codes(batch, two, three) == ["OFFERED", "OFFERED"]


def test_the_host_is_kept_for_the_head_though_it_waits_for_vcpus_elsewhere_too(batches: Make) -> None:
    batch = batches(memory=1_000)
    little, third = batch.environment("little", 3), batch.environment("third")
    both = batch.queue("both", arn("compute-environment", "main"), little)
    batch.submit(queue=batch.queue("little", little), vcpus=3, memory=100)
    other = batch.queue("third", third)
    batch.submit(queue=other, memory=500)
    head, young = batch.submit(queue=both, vcpus=3, memory=600), batch.submit(queue=other, memory=100)
    assert codes(batch, head, young) == ["RUNNABLE", "RUNNABLE"]


def test_nothing_is_placed_before_an_engine_has_spoken(batches: Make) -> None:
    batch = batches(memory=0)
    job = batch.submit()
    assert batch.code(job) == "RUNNABLE"
    batch.send(Capacities(Capacity(1_024)))
    assert batch.code(job) == "OFFERED"


def test_gpus_are_counted(batches: Make) -> None:
    batch = batches(gpus=2)
    jobs = [batch.submit(gpus=1) for _ in range(3)]
    assert codes(batch, *jobs) == ["OFFERED", "OFFERED", "RUNNABLE"]


# ------------------------------------------------------------------------------------------------- standing aside


def test_what_can_never_fit_stands_aside_and_says_so(batches: Make) -> None:
    batch = batches(vcpus=4)
    huge, small = batch.submit(vcpus=5), batch.submit()
    assert codes(batch, huge, small) == ["RUNNABLE", "OFFERED"]
    assert blocked(batch) == [(huge, TOO_MANY_VCPUS)]
    since = batch.world.queues[batch.main].blocked[0].since
    batch.tick(5_000)
    batch.submit()
    assert batch.world.queues[batch.main].blocked[0].since == since
    batch.cancel(huge)
    assert blocked(batch) == []


def test_it_is_placed_when_its_environment_grows(batches: Make) -> None:
    batch = batches(vcpus=4)
    huge = batch.submit(vcpus=5)
    batch.send(UpdateEnvironment(arn("compute-environment", "main"), max_vcpus=8_000))
    assert batch.code(huge) == "OFFERED"
    assert blocked(batch) == []


def test_with_strict_head_it_blocks_the_queue(batches: Make) -> None:
    batch = batches(vcpus=4, strict_head=True)
    huge, small = batch.submit(vcpus=5), batch.submit()
    other = batch.submit(queue=batch.queue("other", arn("compute-environment", "main")))
    assert codes(batch, huge, small, other) == ["RUNNABLE", "RUNNABLE", "OFFERED"]
    assert blocked(batch) == [(huge, TOO_MANY_VCPUS)]
    batch.terminate(huge)
    assert batch.code(small) == "OFFERED"


@pytest.mark.parametrize("asks", [{"memory": 2_000}, {"gpus": 3}])
def test_larger_than_the_host_waits_if_nothing_is_to_be_cut(batches: Make, asks: dict[str, int]) -> None:
    batch = batches(memory=1_000, gpus=2, clamp=False)
    large, small = batch.submit(**asks), batch.submit()
    assert codes(batch, large, small) == ["RUNNABLE", "OFFERED"]
    assert blocked(batch) == [(large, TOO_LARGE)]


@pytest.mark.parametrize("asks", [{"memory": 2_000}, {"gpus": 3}])
def test_larger_than_the_host_runs_alone_and_cut_to_it(batches: Make, asks: dict[str, int]) -> None:
    batch = batches(memory=1_000, gpus=2)
    first = batch.submit()
    large, small = batch.submit(**asks), batch.submit()
    assert codes(batch, large, small) == ["RUNNABLE", "RUNNABLE"]
    batch.exits(first)
    assert codes(batch, large, small) == ["OFFERED", "RUNNABLE"]
    assert batch.attempt(large).resources == Resources(1_000, 1_000, 2 if "gpus" in asks else 0)
    batch.exits(large)
    assert batch.code(small) == "OFFERED"


def test_both_faults_are_told_as_the_requirement(batches: Make) -> None:
    batch = batches(vcpus=4, memory=1_000, clamp=False)
    wide = batch.environment("wide", 32)
    queue = batch.queue("both", arn("compute-environment", "main"), wide)
    job = batch.submit(queue=queue, vcpus=16, memory=4_000)
    assert blocked(batch, queue) == [(job, TOO_LARGE)]


def test_a_queue_without_environments_tells_nothing(batch: Batch) -> None:
    bare = batch.queue("bare")
    job = batch.submit(queue=bare)
    assert batch.code(job) == "RUNNABLE"
    assert blocked(batch, bare) == []


def test_sixteen_classes_at_most_are_told(batches: Make) -> None:
    batch = batches(vcpus=1)
    for size in range(2, 22):
        batch.submit(vcpus=size)
    assert len(blocked(batch)) == 16


# ------------------------------------------------------------------------------------------------- claiming ahead


def quick(batches: Make, took: int = 10, **how: Any) -> Batch:
    """Two slots, four held ahead, and a first task of the class that took ``took`` ms."""
    batch = batches(vcpus=2, ahead=4, **how)
    first = batch.submit()
    batch.runs(first)
    batch.tick(took)
    batch.exits(first)
    return batch


def test_tasks_that_are_quick_are_handed_over_ahead_up_to_the_bound(batches: Make) -> None:
    batch = quick(batches)
    jobs = [batch.submit() for _ in range(9)]
    assert codes(batch, *jobs) == ["OFFERED"] * 4 + ["RUNNABLE"] * 5
    batch.runs(*jobs[:2])
    assert codes(batch, *jobs) == ["RUNNING"] * 2 + ["OFFERED"] * 4 + ["RUNNABLE"] * 3, "what begins makes room to hold"
    batch.exits(jobs[0])
    assert codes(batch, *jobs[2:]) == ["OFFERED"] * 4 + ["RUNNABLE"] * 3


def test_slow_tasks_are_not(batches: Make) -> None:
    batch = quick(batches, took=1_000)
    jobs = [batch.submit() for _ in range(4)]
    assert codes(batch, *jobs) == ["OFFERED"] * 2 + ["RUNNABLE"] * 2


def test_no_more_work_is_held_than_half_a_second_of_it(batches: Make) -> None:
    batch = quick(batches, took=400)
    jobs = [batch.submit() for _ in range(6)]
    assert codes(batch, *jobs) == ["OFFERED"] * 2 + ["RUNNABLE"] * 4


def test_a_class_never_seen_before_is_not_held_ahead(batches: Make) -> None:
    batch = quick(batches)
    jobs = [batch.submit(memory=99) for _ in range(4)]
    assert codes(batch, *jobs) == ["OFFERED"] * 2 + ["RUNNABLE"] * 2


def test_what_is_handed_back_shows_that_the_class_is_not_quick_any_more(batches: Make) -> None:
    batch = quick(batches)
    jobs = [batch.submit() for _ in range(3)]
    batch.runs(*jobs[:2])
    assert codes(batch, jobs[2]) == ["OFFERED"]
    batch.hands_back(jobs[2])
    assert codes(batch, jobs[2]) == ["RUNNABLE"], "it is not held again at once"
    batch.exits(jobs[0])
    assert codes(batch, jobs[2]) == ["OFFERED"], "there is room for it"


def test_what_has_not_begun_is_asked_back_when_its_environment_is_disabled(batches: Make) -> None:
    batch = quick(batches)
    jobs = [batch.submit() for _ in range(3)]
    batch.runs(jobs[0])
    batch.close()
    assert sorted(batch.told()) == sorted({f"Withdraw {job}:0:1" for job in jobs[1:]})
    batch.gives_back(jobs[1])
    batch.runs(jobs[2])
    assert codes(batch, *jobs) == ["RUNNING", "RUNNABLE", "RUNNING"], "a start that wins stands"
    batch.reopen()
    assert codes(batch, jobs[1]) == ["OFFERED"]


def test_the_head_that_waits_for_room_is_not_passed_by_what_could_be_held(batches: Make) -> None:
    batch = quick(batches)
    batch.submit(vcpus=1)
    slow = batch.submit(vcpus=2)
    young = batch.submit(vcpus=1)
    assert codes(batch, slow, young) == ["RUNNABLE", "RUNNABLE"]


def test_started_ends_the_wait_and_not_the_hold() -> None:
    batch = Batch(vcpus=1, ahead=2)
    job = batch.submit()
    batch.send(Started(batch.key(job), batch.now))
    assert batch.world.sites[""].offered == 0
    assert batch.world.pools == {arn("compute-environment", "main"): 1_000}
