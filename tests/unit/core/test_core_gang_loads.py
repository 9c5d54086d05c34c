"""Multi-node jobs after a load, in an environment that is closed, and as `batchery why` tells of them."""

from tests.unit.core.building import Batch
from tests.unit.core.test_core_gang import running
from tests.unit.core.test_core_rebuild import loaded

from batchery.core import query
from batchery.core.check import check
from batchery.core.messages import ContainerEnd, Exited
from batchery.core.model import MAIN_ENDED, NO_CAPACITY
from batchery.core.owed import ENDED as OVER
from batchery.core.owed import RUNS, owed
from batchery.core.step import Turn, turn


def test_after_a_load_the_other_nodes_are_owed_only_when_the_main_one_runs(batch: Batch) -> None:
    job = batch.submit(nodes=2)
    assert [str(effect.key) for effect in owed(batch.world, {}, batch.now)[0]] == [f"{job}:0:1"]  # type: ignore[attr-defined]
    batch.runs(job)
    effects, reports = owed(batch.world, {batch.key(job): RUNS}, batch.now)
    assert [str(effect.key) for effect in effects] == [f"{job}:1:1"]  # type: ignore[attr-defined]
    batch.exits(job)
    effects, reports = owed(batch.world, {batch.attempt(f"{job}#1").key: OVER}, batch.now)
    assert (effects, reports) == ([], [])
    effects, reports = owed(batch.world, {}, batch.now)
    batch.send(*reports)
    assert batch.end(job)[0] == "SUCCEEDED"
    assert batch.end(f"{job}#1")[0] == "FAILED"


def test_a_loaded_gang_is_what_it_was(batch: Batch) -> None:
    job = running(batch, timeout=60_000, attempts=2)
    batch.exits(f"{job}#1", 9)
    world = loaded(batch)
    check(world)
    assert list(world.jobs[job].status) == list(batch.jobs[job].status)
    assert len(world.alarms) == 1


def test_a_gang_that_rests_when_it_is_loaded_is_closed(batch: Batch) -> None:
    job = running(batch, nodes=2)
    other = batch.attempt(f"{job}#1")
    batch.exits(job)
    ends = (ContainerEnd("default", 0),)
    Turn(batch.world, batch.now).run(Exited(other.key, batch.now, MAIN_ENDED, other.started, ends))
    world = loaded(batch)
    turn(world, [], batch.now)
    assert world.jobs[job].closed is not None


def test_a_disabled_environment_asks_back_only_gangs_that_have_not_begun(batch: Batch) -> None:
    begun = batch.submit(nodes=2)
    batch.runs(begun)
    fresh = batch.submit(nodes=2)
    batch.close()
    assert batch.told() == [f"Withdraw {fresh}:0:1"]
    batch.send(Exited(batch.key(fresh), batch.now, NO_CAPACITY))
    assert batch.code(fresh) == "RUNNABLE"
    effects, _ = owed(batch.world, {batch.key(begun): RUNS}, batch.now)
    assert [str(effect.key) for effect in effects] == [f"{begun}:1:1"]  # type: ignore[attr-defined]


def test_why_a_node_waits(batch: Batch) -> None:
    job = batch.submit(nodes=3)
    realm = batch.jobs[job].realm
    found = query.why(batch.world, realm, f"{job}#1")
    assert found is not None
    assert found.lines == [f"It begins when its main node, {job}#0, runs."]
    batch.runs(job)
    batch.runs(f"{job}#1", f"{job}#2")
    batch.exits(f"{job}#1")
    over = query.why(batch.world, realm, f"{job}#1")
    assert over is not None
    assert "its job goes on" in over.lines[0]
    assert query.why(batch.world, realm, f"{job}:1") is None
    assert [facts.id for facts in query.children_page(batch.world, realm, job, (4,), -1, 9) or ()] == [
        f"{job}#0",
        f"{job}#2",
    ]
