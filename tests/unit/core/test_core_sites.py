"""Several engines: each with a capacity of its own, and environments that are at one of them."""

from tests.unit.core.building import HOME, Batch, arn

from batchery.core import query, sites
from batchery.core.messages import Capacities, UpdateEnvironment
from batchery.core.model import AttemptKey, Capacity, Environment, Policy, Resources, World
from batchery.core.query import engine_at, facts, troubles
from batchery.core.rebuild import rebuild


def by_name(name: str, kind: str) -> str:
    """What the settings of these tests say."""
    return "cluster" if name.startswith("far") or kind == "SPOT" else "here"


def two(here: Capacity | None = None) -> tuple[Batch, str, str]:
    """Queues on an environment at each engine, and on both, the near one first."""
    batch = Batch(engine_of=by_name)
    batch.send(Capacities(here or Capacity(1000), "here"), Capacities(Capacity(5000), "cluster"))
    near, far = batch.environment("near"), batch.environment("far")
    return batch, batch.queue("near", near, far), batch.queue("far", far)


def sums(batch: Batch) -> dict[str, tuple[int, int]]:
    """Memory that is held and placements that have not begun, of each engine."""
    return {name: (site.memory, site.offered) for name, site in batch.world.sites.items()}


def test_each_has_memory_of_its_own() -> None:
    batch, near, far = two()
    first, second, third = (batch.submit(queue=near, memory=700) for _ in range(3))
    other = batch.submit(queue=far, memory=700)
    where = {job: batch.attempt(job).environment.rpartition("/")[2] for job in (first, second, third, other)}
    assert list(where.values()) == ["near", "far", "far", "far"]
    assert {name: site.memory for name, site in batch.world.sites.items()} == {"": 0, "here": 700, "cluster": 2100}
    assert engine_at(batch.world, batch.key(first)) == "here"
    assert engine_at(batch.world, AttemptKey("gone", 0, 1)) == ""


def test_what_waits_for_one_engine_holds_nothing_back_at_the_other() -> None:
    batch, _, far = two()
    only = batch.queue("only", arn("compute-environment", "near"))
    batch.submit(queue=only, memory=900)
    waits = batch.submit(queue=only, memory=900)
    behind = batch.submit(queue=only, memory=50)
    passes = batch.submit(queue=far, memory=900)
    assert [batch.shown(job) for job in (waits, behind)] == ["RUNNABLE", "RUNNABLE"]
    assert [batch.code(job) for job in (waits, behind, passes)] == ["RUNNABLE", "RUNNABLE", "OFFERED"]


def test_a_job_is_cut_to_the_engine_that_takes_it() -> None:
    batch, near, far = two(here=Capacity(1000, clamp=False))
    too_large = batch.submit(queue=near, memory=6000)
    assert batch.attempt(too_large).resources == Resources(1000, 5000)
    assert batch.attempt(too_large).environment.endswith("/far")
    waits = batch.submit(queue=far, memory=1)
    assert batch.code(waits) == "RUNNABLE"


def test_nothing_is_placed_where_the_engine_has_not_spoken() -> None:
    batch = Batch(engine_of=by_name)
    far = batch.environment("far")
    batch.send(Capacities(Capacity(1000), "here"))
    job = batch.submit(queue=batch.queue("far", far))
    assert batch.code(job) == "RUNNABLE"
    batch.send(Capacities(Capacity(1000), "cluster"))
    assert batch.code(job) == "OFFERED"


def test_what_runs_is_counted_where_its_environment_has_come_to() -> None:
    batch, near, _ = two()
    job = batch.submit(queue=near, memory=300)
    batch.runs(job)
    batch.orderly = False
    batch.send(UpdateEnvironment(arn("compute-environment", "near"), kind="SPOT"))
    assert {name: site.memory for name, site in batch.world.sites.items()} == {"": 0, "here": 0, "cluster": 300}
    batch.exits(job)
    assert {site.memory for site in batch.world.sites.values()} == {0}


def test_a_load_counts_the_same() -> None:
    batch, near, far = two()
    for queue in (near, far):
        batch.runs(batch.submit(queue=queue, memory=200))
    before = sums(batch)
    rebuild(batch.world)
    assert sums(batch) == before


def test_another_route_counts_what_runs_where_it_says() -> None:
    batch, near, far = two()
    for queue in (near, far):
        batch.runs(batch.submit(queue=queue, memory=200))
    batch.submit(queue=near, memory=100)
    assert sums(batch) == {"": (0, 0), "here": (300, 1), "cluster": (200, 0)}
    batch.world.policy = Policy(engine_of=lambda name, kind: "cluster")
    sites.assign(batch.world)
    assert sums(batch) == {"": (0, 0), "here": (0, 0), "cluster": (500, 1)}


def test_what_each_engine_says() -> None:
    batch, _, far = two()
    batch.world.sites["cluster"].words.trouble = "the controller is away"
    arns = [arn("compute-environment", name) for name in ("near", "far", "gone")]
    assert troubles(batch.world, arns) == {arns[0]: "", arns[1]: "the controller is away"}
    job = batch.submit(queue=far)
    assert facts(batch.world, HOME, [job])[job].reason == "the controller is away"
    assert why(batch, job).lines[-1] == "It says: the controller is away"
    batch.close("far")
    waits = batch.submit(queue=far)
    batch.world.environments[arns[1]].state = "ENABLED"
    assert why(batch, waits).lacks == {"far": "its engine begins nothing: the controller is away"}


def why(batch: Batch, job: str) -> query.Why:
    found = query.why(batch.world, HOME, job)
    assert found is not None
    return found


def test_a_world_that_nobody_spoke_to() -> None:
    world = World(policy=Policy(engine_of=by_name))
    world.environments["a"] = Environment("a", "far", HOME, "EC2", 1, "a", "{}")
    sites.assign(world)
    assert not sites.spoken(world)
    assert world.site_of == {"a": "cluster"}
    assert world.sites["cluster"].memory == 0
