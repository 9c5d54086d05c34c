"""jobStateTimeLimitActions: who is blocked at the head for too long, why, and what becomes of them."""

from collections.abc import Callable
from typing import Any

from tests.unit.core.building import Batch, arn
from tests.unit.core.test_core_rebuild import loaded

from batchery.core.check import check
from batchery.core.fits import TOO_MANY_VCPUS
from batchery.core.follow import LIMITS
from batchery.core.limits import reached
from batchery.core.messages import UpdateEnvironment, UpdateQueue
from batchery.core.model import Blocked, TimeLimit
from batchery.core.query import facts
from batchery.core.queue import CANCEL_ACTION, MAX_RESOURCE, NO_CAPACITY, REQUIREMENT, TERMINATE_ACTION
from batchery.core.schedule import SHORT
from batchery.core.step import turn

Make = Callable[..., Batch]
MINUTE = 60_000


def limit(reason: str = MAX_RESOURCE, minutes: int = 10, action: str = CANCEL_ACTION) -> TimeLimit:
    return TimeLimit(reason, minutes * MINUTE, action)


def limited(batches: Make, *limits: TimeLimit, **how: Any) -> Batch:
    batch = batches(vcpus=4, **how)
    batch.send(UpdateQueue(batch.main, limits=limits or (limit(),)))
    return batch


def test_a_job_that_can_never_fit_is_cancelled_in_the_action_s_words(batches: Make) -> None:
    batch = limited(batches)
    huge = batch.submit(vcpus=9)
    batch.tick(10 * MINUTE - 1)
    assert batch.code(huge) == "RUNNABLE"
    batch.tick(1)
    words = f"Canceled by JobStateTimeLimit action due to reason: {MAX_RESOURCE}"
    assert batch.end(huge) == ("FAILED", words)
    assert batch.flags(huge) == "cancelled"
    assert batch.world.queues[batch.main].blocked == ()


def test_the_next_of_its_class_has_its_own_time(batches: Make) -> None:
    batch = limited(batches)
    first = batch.submit(vcpus=9)
    batch.tick(5 * MINUTE)
    second = batch.submit(vcpus=9)
    batch.tick(5 * MINUTE)
    assert batch.code(first) == "FAILED"
    batch.tick(10 * MINUTE - 1)
    assert batch.code(second) == "RUNNABLE"
    batch.tick(1)
    assert batch.code(second) == "FAILED"


def test_only_the_reason_of_the_action_counts(batches: Make) -> None:
    batch = limited(batches, limit(REQUIREMENT, 10), limit(MAX_RESOURCE, 20), clamp=False, memory=1_000)
    wide, large = batch.submit(vcpus=9), batch.submit(memory=9_000)
    batch.tick(10 * MINUTE)
    assert [batch.code(job) for job in (wide, large)] == ["RUNNABLE", "FAILED"]
    batch.tick(10 * MINUTE)
    assert batch.code(wide) == "FAILED"


def test_a_child_is_cancelled_alone(batches: Make) -> None:
    batch = limited(batches)
    array = batch.submit(vcpus=9, size=2)
    batch.tick(10 * MINUTE)
    assert batch.children(array) == ["FAILED", "RUNNABLE"]


def test_a_gang_is_cancelled_whole(batches: Make) -> None:
    batch = limited(batches)
    gang = batch.submit(vcpus=3, nodes=3)
    batch.tick(10 * MINUTE)
    assert batch.code(gang) == "FAILED"
    assert batch.end(gang)[1].startswith("Canceled by JobStateTimeLimit")


def test_terminate_is_for_queues_of_service_jobs(batches: Make) -> None:
    batch = limited(batches, limit(action=TERMINATE_ACTION))
    huge = batch.submit(vcpus=9)
    batch.tick(10 * MINUTE)
    assert batch.end(huge)[1] == f"Terminated by JobStateTimeLimit action due to reason: {MAX_RESOURCE}"
    assert batch.flags(huge) == "terminated"


def test_what_fits_again_in_time_goes_on(batches: Make) -> None:
    batch = limited(batches)
    huge = batch.submit(vcpus=9)
    batch.tick(9 * MINUTE)
    batch.send(UpdateEnvironment(arn("compute-environment", "main"), max_vcpus=16_000))
    assert batch.code(huge) == "OFFERED"
    batch.tick(2 * MINUTE)
    assert batch.code(huge) == "OFFERED"


def test_an_action_that_comes_later_looks_back(batches: Make) -> None:
    batch = batches(vcpus=4)
    huge = batch.submit(vcpus=9)
    batch.tick(30 * MINUTE)
    batch.send(UpdateQueue(batch.main, limits=(limit(),)))
    batch.tick(0)
    assert batch.code(huge) == "FAILED"


def test_an_action_that_is_taken_away_does_nothing(batches: Make) -> None:
    batch = limited(batches)
    huge = batch.submit(vcpus=9)
    batch.send(UpdateQueue(batch.main, limits=()))
    batch.tick(30 * MINUTE)
    assert batch.code(huge) == "RUNNABLE"


def test_the_head_that_waits_for_the_machines_says_so(batches: Make) -> None:
    batch = limited(batches, limit(NO_CAPACITY, 15), memory=1_000)
    runs = batch.submit(memory=800)
    head, behind = batch.submit(memory=300), batch.submit(memory=100)
    seen = facts(batch.world, batch.jobs[head].realm, [head, behind])
    assert [seen[job].reason for job in (head, behind)] == [SHORT, ""]
    assert [fact.job for fact in batch.world.queues[batch.main].blocked] == [head]
    batch.tick(15 * MINUTE)
    assert batch.end(head)[1] == f"Canceled by JobStateTimeLimit action due to reason: {NO_CAPACITY}"
    assert (batch.code(runs), batch.code(behind)) == ("OFFERED", "OFFERED")


def test_without_an_action_for_it_that_is_no_fact(batches: Make) -> None:
    batch = batches(vcpus=4, memory=1_000)
    batch.submit(memory=800)
    head = batch.submit(memory=300)
    assert batch.world.queues[batch.main].blocked == ()
    assert facts(batch.world, batch.jobs[head].realm, [head])[head].reason == SHORT


def test_a_head_that_waits_for_the_environment_is_not_blocked(batches: Make) -> None:
    batch = limited(batches, limit(NO_CAPACITY))
    batch.submit(vcpus=4)
    head = batch.submit()
    batch.tick(30 * MINUTE)
    assert batch.code(head) == "RUNNABLE", "maxvCpus is in use: on AWS that is no lack of capacity either"


def test_the_time_goes_on_over_a_reload(batches: Make) -> None:
    batch = limited(batches)
    huge = batch.submit(vcpus=9)
    batch.tick(5 * MINUTE)
    world = loaded(batch)
    world.sites[""].capacity = batch.capacity
    turn(world, [], batch.now)
    check(world)
    turn(world, [], batch.now + 5 * MINUTE)
    assert world.jobs[huge].closed is not None


def test_stale_alarms_do_nothing(batches: Make) -> None:
    batch = limited(batches)
    assert reached(batch.world, "arn:none", batch.now) == []
    queue = batch.world.queues[batch.main]
    queue.blocked = (Blocked("gone", 0, TOO_MANY_VCPUS, 0),)
    assert reached(batch.world, batch.main, batch.now) == []
    batch.world.schedule_wanted = True
    check(batch.world)
    queue.blocked = ()
    batch.world.due.add(LIMITS, batch.main)
    batch.tick()
