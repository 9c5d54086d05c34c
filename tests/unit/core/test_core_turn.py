"""Turns: what is due, in portions; queues and environments that go away; alarms; what leaves World."""

import pytest
from tests.unit.core.building import HOME, Batch, arn

from batchery.core import index, step
from batchery.core.changes import Evaluated
from batchery.core.check import check
from batchery.core.keys import Ref
from batchery.core.messages import (
    Cancel,
    Capacities,
    ContainerEnd,
    CreateEnvironment,
    CreateQueue,
    DeleteEnvironment,
    DeleteQueue,
    EnsureRealm,
    Exited,
    Many,
    Refused,
    Register,
    Stop,
    Terminate,
    UpdateEnvironment,
    UpdateQueue,
)
from batchery.core.model import CREATING, DISABLED, EXIT, VALID, Capacity, Dirty, Environment, Queue, Realm, World
from batchery.core.query import capacity_units
from batchery.core.step import EVALUATE, SETTLE, VOID_JOBS, forget, next_alarm, turn


def test_a_turn_without_time_does_a_piece_before_and_after_placing_and_leaves_the_rest_due(batch: Batch) -> None:
    batch.close()
    orders = [batch.order() for _ in range(5)]
    batch.send(*orders, spent=True)
    looked_at = [change for change in batch.changes if isinstance(change, Evaluated)]
    assert len(looked_at) == 2
    assert next_alarm(batch.world, batch.now) == batch.now, "it wants a turn at once"
    turns = 0
    while batch.world.due:
        batch.send(spent=True)
        turns += 1
    assert turns <= 3
    assert {batch.code(order.id) for order in orders} == {"RUNNABLE"}


def test_what_is_submitted_in_a_burst_can_be_cancelled_before_it_is_looked_at(batch: Batch) -> None:
    orders = [batch.order() for _ in range(5)]
    batch.send(*orders, *(Cancel(HOME, Ref(order.id, None), "no") for order in orders), spent=True)
    assert {batch.end(order.id) for order in orders} == {("FAILED", "no")}
    assert batch.world.live == {}


def test_a_job_may_be_held_submitted_for_a_while() -> None:
    batch = Batch(submitted_for=1_000)
    first = batch.submit()
    batch.tick(600)
    second = batch.submit()
    assert next_alarm(batch.world, batch.now) == batch.now + 400
    batch.tick(400)
    assert (batch.code(first), batch.code(second)) == ("OFFERED", "SUBMITTED")
    batch.tick(600)
    assert batch.code(second) == "OFFERED"


def test_the_next_alarm_is_never_without_work(batch: Batch) -> None:
    assert next_alarm(batch.world, batch.now) is None
    batch.world.due.add(SETTLE, "nobody", 1)
    assert next_alarm(batch.world, batch.now) == batch.now
    batch.tick()
    assert batch.changes == []


def test_due_work_about_what_is_gone_is_nothing(batch: Batch) -> None:
    for kind in ("settle", "close", "void queue", "settle queue", "settle environment", EVALUATE):
        batch.world.due.add(kind, "nobody", 1 if kind in ("settle", "close") else None)
    batch.tick()
    assert batch.changes == []


def test_many_commands_in_one_answer_each(batch: Batch) -> None:
    answer = batch.send(
        Many((Register(HOME, "x", "arn:x", "{}"), DeleteQueue(batch.main), Register(HOME, "x", "arn:x", "{}")))
    )
    assert answer[0][0] == 1
    assert isinstance(answer[0][1], Refused)
    assert answer[0][2] == 2


def test_a_job_that_ended_leaves_after_the_commit_unless_it_is_needed(batch: Batch) -> None:
    first = batch.submit()
    then = batch.submit(after=[first])
    batch.exits(first)
    assert set(batch.world.jobs) == {first, then}
    batch.exits(then)
    assert batch.world.jobs == {}


def test_a_job_that_is_needed_again_before_it_left_stays(batch: Batch) -> None:
    first = batch.submit()
    key = batch.key(first)
    end = Exited(key, batch.now, EXIT, batch.now, (ContainerEnd("x", 0),))
    order = batch.order(after=[first])
    batch.send(end, order)
    assert set(batch.world.jobs) == {first, order.id}
    batch.exits(order.id)
    assert batch.world.jobs == {}


def test_to_forget_twice_is_to_forget_once() -> None:
    world = World()
    forget(world)
    assert world.leaving == []


# ---------------------------------------------------------------------------------------------- queues that go away


def test_a_queue_being_deleted_ends_its_jobs_and_then_goes(batch: Batch) -> None:
    other = batch.queue("other", arn("compute-environment", "main"))
    waits, runs = batch.submit(queue=other), batch.submit(queue=other)
    later = batch.submit(queue=other, after=[runs])
    elsewhere = batch.submit(after=[runs])
    batch.runs(runs)
    batch.delete_queue(other)
    assert batch.told() == [f"Kill {waits}:0:1", f"Kill {runs}:0:1"]
    assert batch.end(later) == ("FAILED", "JobQueue deleted"), "what is deleted waits for nothing"
    assert batch.shown(elsewhere) == "PENDING"
    assert other in batch.world.queues
    with pytest.raises(Refused, match="not found"):
        batch.submit(queue=other)
    batch.gives_back(waits)
    batch.killed(runs)
    assert other not in batch.world.queues
    assert batch.end(runs) == batch.end(waits) == ("FAILED", "JobQueue deleted")
    assert batch.end(elsewhere) == ("FAILED", "Dependent Job failed")
    assert other not in batch.world.blocks
    assert other not in batch.world.lanes


def test_who_had_asked_before_keeps_the_words(batch: Batch) -> None:
    first = batch.submit()
    array = batch.submit(size=3, after=[first], queue=batch.queue("other", arn("compute-environment", "main")))
    batch.cancel(f"{array}:1", "mine")
    batch.delete_queue(arn("job-queue", "other"))
    assert batch.end(f"{array}:1") == ("FAILED", "mine")
    assert batch.end(f"{array}:0") == batch.end(array) == ("FAILED", "JobQueue deleted")


@pytest.mark.parametrize("how", ["cancel", "terminate", "stop", "delete"])
@pytest.mark.parametrize("what", [{"nodes": 2}, {"size": 2}])
def test_what_only_waits_to_be_closed_cannot_be_ended_any_more(batch: Batch, what: dict[str, int], how: str) -> None:
    """Found by the simulator: a gang that was closed with other words than its main node's."""
    queue = batch.queue("other", arn("compute-environment", "main"))
    first = batch.submit()
    batch.submit(after=[first])  # is looked at before it; then the turn's time is up
    job = batch.submit(after=[first], queue=queue, **what)
    batch.send(UpdateQueue(queue, state=DISABLED))
    batch.runs(first)
    exit_1 = (ContainerEnd("default", 1),)
    batch.send(Exited(batch.key(first), batch.now, EXIT, batch.now, exit_1), spent=True)
    assert (batch.jobs[job].all_ended, batch.jobs[job].closed) == (True, None)
    late = {
        "cancel": Cancel(HOME, Ref(job, None), "late"),
        "terminate": Terminate(HOME, Ref(job, None), "late"),
        "stop": Stop("late"),
        "delete": DeleteQueue(queue),
    }
    batch.send(late[how])
    assert "WasAsked" not in batch.moved()
    assert batch.end(job) == ("FAILED", "Dependent Job failed")


def test_a_large_queue_goes_in_portions(batch: Batch) -> None:
    batch.close()
    batch.send(*(batch.order() for _ in range(2 * VOID_JOBS + 5)))
    batch.send(UpdateQueue(batch.main, state=DISABLED))
    left = [index.open_count(batch.world, batch.main)]
    batch.send(DeleteQueue(batch.main), spent=True)
    while batch.main in batch.world.queues:
        batch.send(spent=True)
        left.append(index.open_count(batch.world, batch.main))
        assert left[-2] - left[-1] <= 2 * VOID_JOBS
    assert left[-1] == 0


def test_a_deleted_queue_may_come_again(batch: Batch) -> None:
    batch.delete_queue()
    assert batch.main not in batch.world.queues
    batch.queue("main", arn("compute-environment", "main"))
    assert batch.code(batch.submit()) == "OFFERED"


def test_an_environment_goes_when_nothing_runs_in_it_any_more(batch: Batch) -> None:
    extra = batch.environment("extra")
    queue = batch.queue("q", extra)
    job = batch.submit(queue=queue)
    batch.runs(job)
    batch.send(UpdateQueue(queue, order=((1, arn("compute-environment", "main")),)))
    batch.send(UpdateEnvironment(extra, state=DISABLED))
    batch.send(DeleteEnvironment(extra))
    assert extra in batch.world.environments
    batch.exits(job)
    assert extra not in batch.world.environments


def test_a_realm_is_opened_once() -> None:
    batch = Batch()
    away = Realm("1", "r")
    where = arn("compute-environment", "default", away)
    made = Environment(where, "default", away, "EC2", 4_000, "host", "{}")
    queue = Queue(arn("job-queue", "default", away), "default", away, 1, ((1, where),))
    batch.send(EnsureRealm(away, made, queue))
    assert batch.world.queues[queue.arn].status == VALID
    batch.send(EnsureRealm(away, made, queue))
    assert batch.changes == []
    assert away in batch.world.realms


def test_a_new_queue_and_environment_are_creating_until_a_turn_settles_them(batch: Batch) -> None:
    names = [arn("compute-environment", name) for name in ("one", "two", "three")]
    made = [CreateEnvironment(Environment(name, name[-3:], HOME, "EC2", 4_000, "host", "{}")) for name in names]
    queue = arn("job-queue", "slow")
    batch.send(*made, CreateQueue(Queue(queue, "slow", HOME, 1, ())), spent=True)
    assert [batch.world.environments[name].status for name in names] == [VALID, VALID, CREATING]
    assert batch.world.queues[queue].status == CREATING
    batch.tick()
    assert batch.world.environments[names[2]].status == batch.world.queues[queue].status == VALID


def test_dirty_is_empty_when_nothing_happened(batch: Batch) -> None:
    turn(batch.world, [], batch.now)
    assert batch.world.dirty.empty
    turn(batch.world, [batch.order()], batch.now)
    assert not batch.world.dirty.empty
    batch.world.dirty = Dirty()


def test_tags_of_a_job_are_filed_under_its_arn(batch: Batch) -> None:
    order = batch.order()
    members = {name: getattr(order, name) for name in order.__struct_fields__} | {"tags": {"a": "b"}}
    turn(batch.world, [type(order)(**members)], batch.now)
    assert batch.world.dirty.tags == [(arn("job", order.id), {"a": "b"}, ())]
    batch.world.dirty = Dirty()
    batch.jobs[order.id] = batch.world.jobs[order.id]


# ------------------------------------------------------------------------------------------------------- shelves


def test_shelves_are_blocks_and_empty_ones_are_dropped() -> None:
    batch = Batch()
    batch.close()
    count = index.BLOCK_JOBS + 2
    turn(batch.world, [batch.order() for _ in range(count)], batch.now)
    assert [block.live for block in batch.world.blocks[batch.main]] == [index.BLOCK_JOBS, 2]
    jobs = list(batch.world.jobs)
    turn(batch.world, [Cancel(HOME, Ref(job, None), "x") for job in jobs[: index.BLOCK_JOBS]], batch.now)
    turn(batch.world, [batch.order() for _ in range(index.BLOCK_JOBS - 1)], batch.now)
    assert [block.live for block in batch.world.blocks[batch.main]] == [index.BLOCK_JOBS, 1]
    assert index.open_count(batch.world, "nowhere") == 0
    forget(batch.world)
    check(batch.world)


def test_a_capacity_that_shrinks_takes_nothing_away(batch: Batch) -> None:
    jobs = [batch.submit(vcpus=20) for _ in range(3)]
    batch.runs(*jobs)
    batch.orderly = False
    batch.send(Capacities(Capacity(100)))
    batch.send(UpdateEnvironment(arn("compute-environment", "main"), max_vcpus=1_000))
    assert {batch.code(job) for job in jobs} == {"RUNNING"}
    for job in jobs:
        batch.exits(job)
    assert batch.world.pools == {}


def test_shapes_that_no_job_has_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "SHAPES_KEPT", 4)
    batch = Batch()
    kept = batch.submit(memory=1)
    for number in range(2, 12):
        job = batch.submit(memory=number)
        batch.runs(job)
        batch.exits(job)
    assert 1 <= len(batch.world.shapes) <= 4 + 2 * len(batch.world.jobs) + 1
    assert batch.jobs[kept].shape in batch.world.shapes


def test_what_capacity_is_counted_in() -> None:
    batch = Batch()
    on_eks = batch.environment("eks")
    batch.world.environments[on_eks].kind = "EKS_SPOT"
    queue = batch.queue("pods", on_eks)
    assert capacity_units(batch.world, {batch.main, queue, "gone"}) == {
        batch.main: "VCPU",
        queue: "cpu",
        "gone": "VCPU",
    }
