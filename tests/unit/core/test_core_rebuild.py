"""What a load makes anew is what was there."""

from msgspec.structs import replace
from tests.unit.core.building import Batch

from batchery.core import sites
from batchery.core.check import check
from batchery.core.model import CREATING, VALID, Task, World
from batchery.core.rebuild import rebuild
from batchery.core.shares import Usage
from batchery.core.status import CLOSING, LATENT, ONE, PENDING, SUBMITTED, SUCCEEDED
from batchery.core.step import derive, turn


def loaded(batch: Batch) -> World:
    """A World of the same facts, as a store would load it: what waits is PENDING or CLOSING, or SUBMITTED."""
    here = batch.world
    world = World(evaluated=here.evaluated, next_seq=here.next_seq, realms=set(here.realms), policy=here.policy)
    world.queues, world.environments = dict(here.queues), dict(here.environments)
    world.definitions, world.policies = dict(here.definitions), dict(here.policies)
    world.quotas = dict(here.quotas)
    for queue, shares in here.shares.items():
        world.shares[queue] = {share: Usage(usage.spent, usage.at) for share, usage in shares.items()}
    for job in here.jobs.values():
        tasks = {
            i: Task(i, t.serial, t.used, t.asked, replace(t.live) if t.live else None, t.end)
            for i, t in job.tasks.items()
        }
        status = bytearray(job.status)
        for index, code in enumerate(status):
            if code in LATENT and job.seq <= here.evaluated:
                status[index] = CLOSING if job.ask_of(index) else PENDING
        kept = bytes(status) if not job.size else status
        world.jobs[job.id] = replace(
            job, tasks=tasks, status=ONE[kept[0]] if not job.size else kept, shelf=None, needed_by=0
        )
    rebuild(world)
    return world


def statuses(world: World) -> dict[str, list[int]]:
    return {job.id: list(job.status) for job in world.jobs.values() if job.closed is None}


def test_a_loaded_world_comes_to_the_same(batch: Batch) -> None:
    first, late = batch.submit(), batch.submit(timeout=60_000)
    batch.submit(after=[first])
    array = batch.submit(size=4, after=[late])
    batch.submit(size=4, n_to_n=array)
    batch.submit(size=3, sequential=True)
    batch.submit(vcpus=99)
    batch.runs(late)
    batch.cancel(f"{array}:1")
    batch.close()
    ready = batch.submit()
    world = loaded(batch)
    check(world)
    assert world.alarms == [entry for entry in batch.world.alarms if entry[2].job == late]
    sites.at(world, "").capacity = batch.capacity
    turn(world, [], batch.now)
    check(world)
    assert statuses(world) == statuses(batch.world)
    assert world.live == batch.world.live
    assert world.pools == batch.world.pools
    assert world.queues == batch.world.queues
    assert ready in world.jobs


def test_what_was_not_looked_at_is_looked_at_again(batch: Batch) -> None:
    batch.close()
    orders = [batch.order() for _ in range(3)]
    batch.send(*orders, spent=True)
    world = loaded(batch)
    assert SUBMITTED in {code for codes in statuses(world).values() for code in codes}
    check(world)
    turn(world, [], batch.now)
    batch.tick()
    assert statuses(world) == statuses(batch.world)


def test_a_queue_that_tells_of_a_job_that_is_gone_is_looked_at(batch: Batch) -> None:
    huge = batch.submit(vcpus=99)
    world = loaded(batch)
    sites.at(world, "").capacity = batch.capacity
    del world.jobs[huge]
    rebuild(world)
    turn(world, [], batch.now)
    assert world.queues[batch.main].blocked == ()
    check(world)


def test_what_was_in_transition_or_over_is_due(batch: Batch) -> None:
    batch.close()
    array = batch.submit(size=2)
    world = loaded(batch)
    world.jobs[array].status[:] = ONE[SUCCEEDED] * 2  # type: ignore[index]  # its own end was not committed
    world.queues[batch.main] = replace(world.queues[batch.main], status=CREATING)
    rebuild(world)
    check(world)
    turn(world, [], batch.now)
    assert world.jobs[array].closed is not None
    assert world.queues[batch.main].status == VALID


def test_a_world_that_is_only_read_is_brought_to_where_it_was(batch: Batch) -> None:
    done = batch.submit()
    batch.exits(done)
    batch.close()
    job = batch.submit(after=[done])
    world = loaded(batch)
    assert statuses(world)[job] == [PENDING]
    derive(world, batch.now)
    assert statuses(world) == statuses(batch.world)
