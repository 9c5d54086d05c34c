"""Multi-node jobs: placed as one, begun with the main node, ended by it (user guide, "Multi-node parallel jobs")."""

from collections.abc import Callable

import pytest
from tests.unit.core.building import HOME, Batch, arn

from batchery.core import query
from batchery.core.explain import why
from batchery.core.fits import NOT_MULTI_NODE, TOO_LARGE, TOO_MANY_VCPUS
from batchery.core.messages import Capacities, UpdateEnvironment
from batchery.core.model import HOST, MAIN_ENDED, TIMEOUT, Capacity, Resources
from batchery.core.retry import NEVER_BEGAN


@pytest.fixture
def waiting(batches: Callable[..., Batch]) -> Batch:
    """Submits are looked at only after a minute, so jobs stay SUBMITTED."""
    return batches(submitted_for=60_000)


def running(batch: Batch, nodes: int = 3, **how: object) -> str:
    """A gang all of whose nodes run."""
    job = batch.submit(nodes=nodes, **how)
    batch.runs(job)
    batch.runs(*(f"{job}#{index}" for index in range(nodes) if index != batch.jobs[job].speaker))
    return job


def stop(batch: Batch, *refs: str, code: int = 143) -> None:
    """The engine has killed these nodes, as it was told."""
    for ref in refs:
        batch.killed(ref, code)


# ------------------------------------------------------------------------------------------------------ placement


def test_all_nodes_are_placed_and_only_the_main_one_is_launched(batch: Batch) -> None:
    job = batch.submit(nodes=3, main=1)
    assert batch.children(job) == ["RUNNABLE"] * 3
    assert batch.told() == [f"Launch {job}:1:1"]
    assert len(batch.world.live) == 3
    assert batch.shown(job) == "RUNNABLE"


def test_the_others_are_launched_when_the_main_node_runs(batch: Batch) -> None:
    job = batch.submit(nodes=3)
    batch.starts(job)
    assert batch.told() == []
    batch.runs(job)
    assert batch.told() == [f"Launch {job}:1:1", f"Launch {job}:2:1"]
    assert batch.shown(job) == "RUNNING"
    assert batch.children(job) == ["RUNNING", "RUNNABLE", "RUNNABLE"]


def test_no_part_of_a_gang_is_placed(batches: Callable[..., Batch]) -> None:
    batch = batches(vcpus=4)
    first = batch.submit(vcpus=2)
    job = batch.submit(nodes=3)
    behind = batch.submit()
    assert batch.shown(job) == batch.shown(behind) == "RUNNABLE"
    assert len(batch.world.live) == 1
    batch.exits(first)
    assert {key.job for key in batch.world.live} == {job, behind}


def test_a_gang_that_can_never_fit_says_so_and_stands_aside(batches: Callable[..., Batch]) -> None:
    batch = batches(vcpus=4, clamp=False)
    wide, deep = batch.submit(nodes=5), batch.submit(nodes=2, memory=batch.capacity.memory)
    after = batch.submit()
    reasons = {blocked.job: blocked.reason for blocked in batch.world.queues[batch.main].blocked}
    assert reasons == {wide: TOO_MANY_VCPUS, deep: TOO_LARGE}
    assert batch.code(after) == "OFFERED"


def test_a_gang_whose_environments_run_none_says_so(batch: Batch) -> None:
    queue = batch.queue("spot", batch.environment("spot"))
    batch.send(UpdateEnvironment(arn("compute-environment", "spot"), kind="SPOT"))
    job = batch.submit(queue=queue, nodes=2)
    after = batch.submit(queue=queue)
    assert [(blocked.job, blocked.reason) for blocked in batch.world.queues[queue].blocked] == [(job, NOT_MULTI_NODE)]
    assert query.facts(batch.world, HOME, [job])[job].reason == NOT_MULTI_NODE
    told = why(batch.world, HOME, job, batch.now)
    assert told is not None
    assert told.lacks == {"spot": "runs no multi-node jobs: it is SPOT"}
    assert batch.code(after) == "OFFERED"


def test_nodes_that_together_exceed_the_host_are_cut_in_the_same_measure(batches: Callable[..., Batch]) -> None:
    batch = batches(memory=1000, gpus=2)
    job = batch.submit(gang=(Resources(1000, 1500, 2), Resources(1000, 500, 2)))
    assert batch.attempt(job).resources == Resources(1000, 750, 1)
    assert batch.attempt(f"{job}#1").resources == Resources(1000, 250, 1)


def test_an_engine_with_a_queue_of_its_own_cuts_each_node_to_its_largest_host(batches: Callable[..., Batch]) -> None:
    batch = batches(vcpus=64)
    batch.orderly = False
    batch.send(Capacities(Capacity(1000, 0, queues=True)))
    job = batch.submit(nodes=3, memory=2000)
    assert batch.attempt(job).resources == Resources(1000, 1000, 0)
    batch.send(Capacities(Capacity(1000, 0, clamp=False, queues=True)))
    large = batch.submit(nodes=2, memory=2000)
    assert [blocked.job for blocked in batch.world.queues[batch.main].blocked] == [large]


def test_gangs_are_not_held_ahead(batches: Callable[..., Batch]) -> None:
    batch = batches(vcpus=2, ahead=8)
    quick = batch.submit()
    batch.runs(quick)
    batch.exits(quick)
    running(batch, nodes=2)
    later = batch.submit(nodes=2)
    assert batch.code(later) == "RUNNABLE"


# ---------------------------------------------------------------------------------------------------- the main node


def test_the_main_nodes_exit_decides_and_stops_the_others(batch: Batch) -> None:
    job = running(batch)
    batch.exits(job)
    assert batch.told() == [f"Kill {job}:1:1", f"Kill {job}:2:1", f"Ack {job}:0:1"]
    assert batch.shown(job) == "RUNNING"
    assert batch.children(job) == ["SUCCEEDED", "RUNNING", "RUNNING"]
    stop(batch, f"{job}#1")
    assert batch.shown(job) == "RUNNING"
    stop(batch, f"{job}#2", code=0)
    assert batch.end(job) == ("SUCCEEDED", "Essential container in task exited")
    assert batch.end(f"{job}#1") == ("FAILED", "Essential container in task exited")
    assert batch.end(f"{job}#2")[0] == "SUCCEEDED"
    assert not batch.world.live


def test_a_node_that_dies_changes_nothing_for_the_others(batch: Batch) -> None:
    job = running(batch)
    batch.exits(f"{job}#1", 9)
    assert batch.told() == [f"Ack {job}:1:1"]
    assert batch.shown(f"{job}#1") == "FAILED"
    assert query.facts(batch.world, batch.jobs[job].realm, [f"{job}#1"])[f"{job}#1"].reason
    batch.exits(f"{job}#2")
    batch.exits(job)
    assert batch.end(job)[0] == "SUCCEEDED"
    assert batch.end(f"{job}#1")[0] == "FAILED"


def test_a_main_node_that_ends_before_it_was_seen_running_takes_the_others_with_it(batch: Batch) -> None:
    job = batch.submit(nodes=3)
    batch.starts(job)
    batch.exits(job, 3)
    assert batch.end(job) == ("FAILED", "Essential container in task exited")
    assert batch.end(f"{job}#1") == ("FAILED", NEVER_BEGAN)
    assert batch.told() == [f"Ack {job}:0:1"]
    assert not batch.world.live


def test_a_launched_node_that_never_began_when_the_main_node_ends_says_so(batch: Batch) -> None:
    job = batch.submit(nodes=2)
    batch.runs(job)
    batch.exits(job)
    assert batch.told() == [f"Kill {job}:1:1", f"Ack {job}:0:1"]
    batch.killed(f"{job}#1", ran=False)
    assert batch.end(job)[0] == "SUCCEEDED"
    assert batch.end(f"{job}#1") == ("FAILED", NEVER_BEGAN)


def test_a_main_node_that_fails_to_start_fails_the_job(batch: Batch) -> None:
    job = batch.submit(nodes=2)
    batch.fails_to_start(job)
    assert batch.end(job) == batch.end(f"{job}#1") == ("FAILED", "Task failed to start")


# ----------------------------------------------------------------------------------------------------------- retries


def test_a_retry_runs_every_node_again(batch: Batch) -> None:
    job = running(batch, attempts=2)
    batch.exits(f"{job}#1")
    batch.exits(job, 1)
    assert batch.shown(job) == "RUNNING"
    stop(batch, f"{job}#2")
    assert batch.told() == [f"Ack {job}:2:1", f"Launch {job}:0:2"]
    assert batch.children(job) == ["RUNNABLE"] * 3
    batch.runs(job)
    assert batch.attempt(f"{job}#1").used == batch.attempt(job).used == 1
    batch.runs(f"{job}#1", f"{job}#2")
    batch.exits(job, 1)
    stop(batch, f"{job}#1", f"{job}#2")
    assert batch.end(job) == ("FAILED", "Essential container in task exited")


def test_a_lost_main_node_is_retried_as_any_lost_host(batch: Batch) -> None:
    job = running(batch, attempts=2)
    batch.exits(job, cause=HOST)
    stop(batch, f"{job}#1", f"{job}#2")
    assert batch.code(job) == "OFFERED"


def test_a_gang_that_was_handed_back_is_placed_again_without_using_an_attempt(batch: Batch) -> None:
    job = batch.submit(nodes=2)
    batch.hands_back(job)
    assert batch.told() == [f"Ack {job}:0:1", f"Launch {job}:0:2"]
    assert batch.attempt(job).used == 0


def test_a_node_that_was_handed_back_is_placed_where_it_was(batch: Batch) -> None:
    job = batch.submit(nodes=2)
    batch.runs(job)
    batch.hands_back(f"{job}#1")
    assert batch.told() == [f"Launch {job}:1:2", f"Ack {job}:1:1"]
    batch.runs(f"{job}#1")
    batch.exits(job)
    batch.hands_back(f"{job}#1")
    assert batch.end(job)[0] == "SUCCEEDED"


# ------------------------------------------------------------------------------------------------------------ cancel


def test_cancel_before_it_begins(waiting: Batch) -> None:
    job = waiting.submit(nodes=2)
    waiting.cancel(job, "no")
    assert waiting.end(job) == waiting.end(f"{job}#1") == ("FAILED", "no")
    assert waiting.flags(job) == "cancelled"


def test_cancel_while_it_waits_for_another_job(batch: Batch) -> None:
    first = batch.submit()
    job = batch.submit(nodes=2, after=[first])
    batch.cancel(job, "no")
    batch.cancel(job, "again")
    assert batch.shown(job) == "PENDING"
    batch.runs(first)
    batch.exits(first)
    assert batch.end(job) == ("FAILED", "no")


def test_a_failed_dependency_fails_every_node(batch: Batch) -> None:
    first = batch.submit()
    job = batch.submit(nodes=2, after=[first])
    batch.exits(first, 1)
    assert batch.end(job) == batch.end(f"{job}#1") == ("FAILED", "Dependent Job failed")


def test_cancel_asks_an_offered_gang_back(batch: Batch) -> None:
    job = batch.submit(nodes=2)
    batch.cancel(job, "no")
    assert batch.told() == [f"Withdraw {job}:0:1"]
    batch.cancel(job, "twice")
    assert batch.told() == []
    batch.gives_back(job)
    assert batch.end(job) == batch.end(f"{job}#1") == ("FAILED", "no")
    assert batch.flags(job) == "cancelled"


def test_cancel_has_no_effect_once_the_main_node_has_begun(batch: Batch) -> None:
    job = batch.submit(nodes=2, attempts=2)
    batch.starts(job)
    batch.cancel(job, "no")
    batch.runs(job)
    batch.cancel(job, "no")
    batch.cancel(f"{job}#1", "no")
    assert batch.moved() == []
    assert batch.flags(job) == ""


def test_cancel_of_a_node_has_no_effect(batch: Batch) -> None:
    batch.close()
    job = batch.submit(nodes=2)
    batch.cancel(f"{job}#1", "no")
    batch.cancel(f"{job}:1", "a child of an array, which it is not")
    batch.cancel(f"{job}#2", "there is none")
    assert batch.moved() == []
    array = batch.submit(size=2)
    batch.cancel(f"{array}#1", "a node, which it is not")
    assert batch.moved() == []


# --------------------------------------------------------------------------------------------------------- terminate


def test_terminate_ends_every_node(batch: Batch) -> None:
    job = running(batch, attempts=3)
    batch.terminate(job, "enough")
    assert batch.told() == [f"Kill {job}:{index}:1" for index in range(3)]
    stop(batch, job)
    assert batch.told() == [f"Ack {job}:0:1"]
    stop(batch, f"{job}#1", f"{job}#2")
    assert batch.end(job) == batch.end(f"{job}#2") == ("FAILED", "enough")
    assert batch.flags(job) == "terminated"


def test_terminate_before_the_main_node_runs(batch: Batch) -> None:
    job = batch.submit(nodes=2)
    batch.starts(job)
    batch.terminate(job, "enough")
    assert batch.told() == [f"Kill {job}:0:1"]
    batch.killed(job, ran=False)
    assert batch.end(job) == batch.end(f"{job}#1") == ("FAILED", "enough")


def test_terminate_while_a_retry_waits_for_the_last_node(batch: Batch) -> None:
    job = running(batch, attempts=2)
    batch.exits(job, 1)
    batch.terminate(job, "enough")
    stop(batch, f"{job}#1", f"{job}#2")
    assert batch.end(job) == ("FAILED", "enough")


def test_terminate_of_a_node_stops_that_node_alone(batch: Batch) -> None:
    job = running(batch)
    batch.terminate(f"{job}#1", "this one")
    assert batch.told() == [f"Kill {job}:1:1"]
    batch.terminate(f"{job}#1", "again")
    assert batch.moved() == []
    stop(batch, f"{job}#1")
    batch.terminate(f"{job}#1", "gone")
    assert batch.moved() == []
    assert batch.shown(job) == "RUNNING"
    batch.exits(f"{job}#2")
    batch.exits(job)
    assert batch.end(f"{job}#1") == ("FAILED", "this one")
    assert batch.end(job)[0] == "SUCCEEDED"


def test_terminate_of_the_main_node_ends_the_job(batch: Batch) -> None:
    job = running(batch)
    batch.terminate(f"{job}#0", "enough")
    stop(batch, job, f"{job}#1", f"{job}#2")
    assert batch.end(job) == ("FAILED", "enough")


def test_a_deleted_queue_ends_its_gangs(batch: Batch) -> None:
    job = running(batch, nodes=2)
    batch.delete_queue()
    stop(batch, job, f"{job}#1")
    assert batch.end(job) == ("FAILED", "JobQueue deleted")


# -------------------------------------------------------------------------------------------------------- time limit


def test_the_time_limit_is_the_main_nodes(batch: Batch) -> None:
    job = running(batch, timeout=60_000, attempts=2)
    assert len(batch.world.alarms) == 1
    batch.tick(62_000)
    assert batch.told() == [f"Kill {job}:0:1"]
    batch.exits(job, 137, cause=TIMEOUT)
    assert [batch.attempt(f"{job}#{index}").doom for index in (1, 2)] == [MAIN_ENDED] * 2
    stop(batch, f"{job}#1", f"{job}#2", code=137)
    assert batch.end(job) == ("FAILED", "Job attempt duration exceeded timeout")
