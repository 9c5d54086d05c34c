"""What World derives from its own facts and keeps at hand: who waits for whom, queue order, capacity in use.

`apply` keeps it up to date, `rebuild` makes it anew after a load; nothing of it is stored.

* Shelves: each queue keeps its open jobs in creation order in blocks of status bytes, so that a page of ListJobs is
  one `rfind` from the cursor. A job that ended leaves a GONE byte; a block with nothing live is dropped. Whatever else
  open jobs are listed by has a shelf of its own: each share of a queue, each consumable resource.
* Lanes, who stands in line where: lanes.py.
"""

from heapq import heappush
from typing import Final

from batchery.core import locks, sites
from batchery.core.instances import pool_of
from batchery.core.model import (
    N_TO_N,
    NO_CAPACITY,
    SEQUENTIAL,
    Attempt,
    AttemptKey,
    Block,
    Capacity,
    Environment,
    Job,
    Need,
    Queue,
    Resources,
    Shape,
    World,
)
from batchery.core.queue import LIMIT_ALARM, applies, rings
from batchery.core.shares import share_shelf
from batchery.core.status import NODE_ENDED, PENDING, RUNNING, SUBMITTED

BLOCK_JOBS: Final = 4096
GONE: Final = 0xFF  #: the byte a job leaves behind on its shelf
TIMEOUT_ALARM: Final = "timeout"
REPLACE_ALARM: Final = "replace"  #: an environment's `replace_by`; the key's job is its ARN
#: The engine keeps the time limit itself; the server's alarm is behind it, for engines that could not. ms.
ALARM_SLACK: Final = 1_000
SLOW: Final = 10_000  #: pace of a class too slow to be held ahead, ms: some ten quick ones until it is again


def job_code(job: Job) -> int:
    """The code of the job as a whole: an array is SUBMITTED, PENDING or ended, never anything between; a gang is
    what its main node is, and RUNNING until its last node has ended."""
    if job.closed is not None:
        return job.closed.code
    if not job.size:
        return job.status[0]
    if job.gang:
        code = job.status[job.speaker]
        return RUNNING if code in NODE_ENDED else code
    return SUBMITTED if SUBMITTED in job.status else PENDING


# --- shelves


def other_shelves(job: Job) -> list[str]:
    """Where a job stands besides its queue's shelf: with its share, and with consumable resources (their ARNs)."""
    found = [arn for arn, _ in job.shape.consumables]
    return [share_shelf(job.queue, job.share), *found] if job.share else found


def shelve(world: World, job: Job) -> None:
    """Put a new job at the end of its queue, and of whatever else it is listed by."""
    job.shelf, job.place = _put(world, job.queue, job)
    job.shelves = tuple(_put(world, shelf, job) for shelf in other_shelves(job))


def _put(world: World, shelf: str, job: Job) -> tuple[Block, int]:
    blocks = world.blocks.setdefault(shelf, [])
    if not blocks or len(blocks[-1].jobs) >= BLOCK_JOBS:
        blocks[:] = [block for block in blocks if block.live]
        blocks.append(Block())
    block = blocks[-1]
    block.jobs.append(job)
    block.seqs.append(job.seq)
    block.codes.append(job_code(job))
    block.live += 1
    return block, len(block.jobs) - 1


def show(job: Job) -> None:
    """Tell the shelves the job's present code."""
    assert job.shelf is not None
    job.shelf.codes[job.place] = code = job_code(job)
    for block, place in job.shelves:
        block.codes[place] = code


def unshelve(world: World, job: Job) -> None:
    """The job has ended: it leaves its shelves, and of the others none stays empty."""
    assert job.shelf is not None
    for block, place in ((job.shelf, job.place), *job.shelves):
        block.codes[place] = GONE
        block.jobs[place] = None
        block.live -= 1
    for shelf in other_shelves(job):
        if not open_count(world, shelf):
            del world.blocks[shelf]
    job.shelf, job.shelves = None, ()


def open_count(world: World, shelf: str) -> int:
    """How many open jobs a queue (ARN) has, or another shelf."""
    return sum(block.live for block in world.blocks.get(shelf, ()))


# --- dependencies


def _child_level(need: Need) -> bool:
    return need.kind == N_TO_N or need.index >= 0


def depend(world: World, job: Job) -> None:
    """Note whom an open job waits for."""
    for need in job.needs:
        if need.kind == SEQUENTIAL:
            continue
        world.jobs[need.job].needed_by += 1
        at = need.job + ":" if _child_level(need) else need.job
        world.dependents.setdefault(at, {})[job.id] = None


def undepend(world: World, job: Job, need: Need) -> None:
    """The job has ended: it waits for nobody."""
    at = need.job + ":" if _child_level(need) else need.job
    waiting = world.dependents.get(at)
    if waiting is not None:
        waiting.pop(job.id, None)
        if not waiting:
            del world.dependents[at]


# --- capacity


def hold(world: World, attempt: Attempt) -> None:
    """A placement takes its resources, from OFFERED to its end."""
    mine = pool(world, attempt)
    world.pools[mine] = world.pools.get(mine, 0) + attempt.resources.vcpus
    world.live[attempt.key] = attempt
    sites.hold(world, attempt)
    locks.hold(world, attempt)


def release(world: World, attempt: Attempt) -> None:
    """An attempt is over: what it held is free."""
    mine = pool(world, attempt)
    world.pools[mine] -= attempt.resources.vcpus
    if not world.pools[mine]:
        del world.pools[mine]
    del world.live[attempt.key]
    sites.release(world, attempt)
    locks.release(world, attempt)


def pool(world: World, attempt: Attempt) -> str:
    """What an attempt draws on. An environment outlives its last attempt."""
    return pool_of(world.environments[attempt.environment], world.jobs[attempt.key.job].shape.unit)


def note_pace(world: World, attempt: Attempt) -> None:
    """Remember how long tasks of this size take lately (ms), for claiming ahead.

    One that was held and handed back shows that what runs is not as quick as it seemed.
    """
    name = (world.site_of[attempt.environment], attempt.resources)
    if attempt.cause == NO_CAPACITY:
        world.pace[name] = SLOW
    elif attempt.started:
        took = attempt.stopped - attempt.started
        world.pace[name] = (3 * world.pace.get(name, took) + took) // 4


def timed(job: Job, number: int) -> bool:
    """Whether attempts of this task have a time limit: a gang's is its main node's."""
    return job.shape.timeout > 0 and (not job.gang or number == job.speaker)


def alarm(attempt: Attempt, shape: Shape) -> int:
    """When the server itself ends an attempt that overran."""
    return attempt.started + shape.timeout + ALARM_SLACK


def alarm_replacing(world: World, environment: Environment) -> None:
    """While an infrastructure update lasts, its end has an alarm."""
    if environment.replaced:
        heappush(world.alarms, (environment.replace_by, REPLACE_ALARM, AttemptKey(environment.arn, 0, 0)))


def alarm_limits(world: World, queue: Queue, before: Queue | None) -> None:
    """Each blocked fact that one of the queue's time limits is about has an alarm, from the change that brought it."""
    known = before.blocked if before is not None and before.limits == queue.limits else ()
    for fact in queue.blocked:
        for limit in queue.limits if fact not in known else ():
            if applies(limit, fact):
                heappush(world.alarms, (rings(limit, fact), LIMIT_ALARM, AttemptKey(queue.arn, 0, 0)))


# --- attempts


def live_attempts(job: Job) -> list[Attempt]:
    """The job's attempts that an engine has."""
    return [task.live for task in job.tasks.values() if task.live is not None]


def granted_nodes(capacity: Capacity, nodes: tuple[Resources, ...]) -> tuple[Resources, ...]:
    """What the nodes of a gang get: as asked, or each cut in the same measure, so that all have room on the host."""
    if capacity.queues:
        return tuple(granted(capacity, node) for node in nodes)
    memory, gpus = sum(node.memory for node in nodes), sum(node.gpus for node in nodes)
    if memory <= capacity.memory and gpus <= capacity.gpus:
        return nodes
    return tuple(
        Resources(
            node.vcpus,
            node.memory if memory <= capacity.memory else node.memory * capacity.memory // memory,
            node.gpus if gpus <= capacity.gpus else node.gpus * capacity.gpus // gpus,
        )
        for node in nodes
    )


def total(nodes: tuple[Resources, ...]) -> Resources:
    """What several nodes take together."""
    return Resources(
        sum(node.vcpus for node in nodes), sum(node.memory for node in nodes), sum(node.gpus for node in nodes)
    )


def granted(capacity: Capacity, asked: Resources) -> Resources:
    """What a placement gets: as asked, or cut to the host, which it then has to itself."""
    if asked.memory <= capacity.memory and asked.gpus <= capacity.gpus:
        return asked
    return Resources(asked.vcpus, capacity.memory, min(asked.gpus, capacity.gpus))
