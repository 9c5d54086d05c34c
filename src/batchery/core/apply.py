"""The only code that writes to World: one function per change. Total; asserts that every move is legal; marks dirty.

What changes of named resources do is in apply_named.py, the other half of this file.

It never decides: what a change makes due elsewhere is `follow`'s to say (step.py). A failed assertion here means that
World can no longer be trusted, so the process stops; the store can be trusted and is loaded again.
"""

from collections.abc import Callable
from heapq import heappush
from typing import Any, Final

from msgspec.structs import replace

from batchery.core import fairshare, index, lanes, locks, sites
from batchery.core.apply_named import APPLY_NAMED
from batchery.core.changes import (
    AttemptEnded,
    Began,
    CapacitySet,
    Change,
    Doomed,
    Ended,
    Evaluated,
    JobClosed,
    Placed,
    Readied,
    RealmOpened,
    Recalled,
    Reprioritized,
    Submitted,
    WasAsked,
)
from batchery.core.model import (
    CANCEL,
    PREEMPTED,
    SEQUENTIAL,
    Asked,
    Attempt,
    Closed,
    Job,
    NodeEnd,
    Task,
    World,
    task_id,
)
from batchery.core.status import (
    CLOSING,
    CODES,
    MOVES,
    NODE_FAILED,
    NODE_SUCCEEDED,
    OFFERED,
    ONE,
    PENDING,
    RUNNABLE,
    STARTING,
    SUBMITTED,
    SUCCEEDED,
    table,
)

LEGAL: Final = {new: bytes(old for old, to in sorted(MOVES) if to == new) for new in CODES}
_EVALUATE: Final = table({SUBMITTED: PENDING})
_CLOSE: Final = table({PENDING: CLOSING})


def _move(world: World, job: Job, spans: tuple[tuple[int, int], ...], code: int) -> None:
    """Set the code of some tasks, asserting that each move is legal."""
    if not job.size:
        assert (job.status[0], code) in MOVES, f"{job.id}: {job.status[0]} -> {code}"
        job.status = ONE[code]
    else:
        assert isinstance(job.status, bytearray)
        for first, end in spans:
            illegal = job.status[first:end].translate(None, LEGAL[code])
            assert not illegal, f"{job.id}[{first}:{end}]: {bytes(illegal[:8])!r} -> {code}"
            job.status[first:end] = ONE[code] * (end - first)
    index.show(job)


def _translate(world: World, job: Job, moves: bytes) -> None:
    job.status = job.status.translate(moves)
    index.show(job)


def _task(job: Job, number: int) -> Task:
    task = job.tasks.get(number)
    if task is None:
        task = job.tasks[number] = Task(number)
    return task


def submitted(world: World, change: Submitted) -> None:
    job = change.job
    for ghost in change.ghosts:
        assert ghost.id not in world.jobs
        # a copy: the command that brought it may be sent again after a failed commit
        world.jobs[ghost.id] = replace(ghost, needed_by=0, shelf=None, shelves=())
    job.shape = world.shapes.setdefault(job.shape, job.shape)
    assert job.id not in world.jobs
    assert job.seq == world.next_seq
    world.next_seq += 1
    world.jobs[job.id] = job
    world.unevaluated.append(job)
    index.shelve(world, job)
    index.depend(world, job)
    if job.share:
        fairshare.joined(world, job)
    world.dirty.jobs[job.seq] = job
    world.dirty.specs.append((job.seq, change.spec))
    if change.tags:
        arn = job.queue.rpartition(":")[0] + (":service-job/" if job.service else ":job/") + job.id
        world.dirty.tags.append((arn, change.tags, ()))


def evaluated(world: World, change: Evaluated) -> None:
    job = world.jobs.get(change.job)
    world.evaluated = world.dirty.evaluated = change.seq
    if job is not None and SUBMITTED in job.status:
        _translate(world, job, _EVALUATE)


def reprioritized(world: World, change: Reprioritized) -> None:
    job, before = world.jobs[change.job], lanes.entry_of(world.jobs[change.job])
    shape = replace(job.shape, priority=change.priority)
    job.shape = world.shapes.setdefault(shape, shape)
    world.dirty.shapes[job.seq] = job
    if RUNNABLE in job.status:
        lanes.move(world, job, before)


def readied(world: World, change: Readied) -> None:
    job = world.jobs[change.job]
    _move(world, job, change.spans, RUNNABLE)
    for task in job.tasks.values() if job.gang else ():
        task.end = None
    lanes.ready(world, job)


def was_asked(world: World, change: WasAsked) -> None:
    job = world.jobs[change.job]
    asked = Asked(change.kind, change.reason, change.at)
    if change.index is None:
        job.asked = _add(job.asked, asked)
        world.dirty.jobs[job.seq] = job
        if PENDING in job.status:
            _translate(world, job, _CLOSE)
        return
    task = _task(job, change.index)
    task.asked = _add(task.asked, asked)
    world.dirty.tasks[job.seq, task.index] = (job, task)
    if job.status[change.index] == PENDING:
        _move(world, job, ((change.index, change.index + 1),), CLOSING)


def _add(old: Asked | None, new: Asked) -> Asked:
    """The first words stand; kinds add up. Asked.at is the first TERMINATE's where there is one, for `outcome`."""
    if old is None:
        return new
    at = new.at if old.kind == CANCEL else old.at
    return Asked(old.kind | new.kind, old.reason, at)


def ended(world: World, change: Ended) -> None:
    job = world.jobs[change.job]
    for first, end in change.spans:
        if not job.size or end - first == 1:
            task = job.tasks.get(first)
            assert task is None or task.live is None, f"{job.id}:{first} ended with a live attempt"
    if any(RUNNABLE in job.status[first:end] for first, end in change.spans):
        world.moved[job.queue] = change.at
    _move(world, job, change.spans, change.code)
    if job.size:
        rows = ((job.seq, first, end, change.code, change.reason, change.at) for first, end in change.spans)
        world.dirty.ended.extend(rows)


def job_closed(world: World, change: JobClosed) -> None:
    job = world.jobs[change.job]
    assert job.closed is None
    assert job.all_ended
    job.closed = Closed(change.code, change.reason, change.at)
    world.dirty.jobs[job.seq] = job
    index.unshelve(world, job)
    if job.share:
        fairshare.left(world, job, change.at)
    for need in job.needs:
        if need.kind == SEQUENTIAL:
            continue
        other = world.jobs[need.job]
        other.needed_by -= 1
        index.undepend(world, job, need)
        if other.closed is not None and not other.needed_by:
            world.leaving.append(other)
    if not job.needed_by:
        world.leaving.append(job)


def placed(world: World, change: Placed) -> None:
    key = change.key
    job = world.jobs[key.job]
    task = _task(job, key.index)
    assert task.live is None
    assert key.serial == task.serial + 1
    used = job.tasks[job.speaker].used if job.gang and job.speaker in job.tasks else task.used
    attempt = Attempt(key, used, change.environment, change.resources, OFFERED, change.at)
    logs = job.shape.logs_of(key.index)
    attempt.log_group = logs.group
    attempt.log_stream = f"{logs.prefix}/{task_id(key)}"
    task.serial += 1
    task.live = attempt
    _move(world, job, ((key.index, key.index + 1),), OFFERED)
    world.moved[job.queue] = change.at
    index.hold(world, attempt)
    if job.share:
        fairshare.held(world, job, attempt)
    world.dirty.attempts[key] = (job, attempt)


def began(world: World, change: Began) -> None:
    attempt = world.live[change.key]
    job = world.jobs[change.key.job]
    if attempt.code == OFFERED:
        sites.of(world, attempt.environment).offered -= 1
        locks.begun(world, attempt)
    attempt.code = change.code
    attempt.recall = None
    if change.code == STARTING:
        attempt.starting = change.at
    else:
        attempt.started = change.at
        attempt.address = change.address
        if job.share:
            fairshare.began(world, job, attempt)
        if index.timed(job, change.key.index):
            heappush(world.alarms, (index.alarm(attempt, job.shape), index.TIMEOUT_ALARM, change.key))
    _move(world, job, ((change.key.index, change.key.index + 1),), change.code)
    world.dirty.attempts[change.key] = (job, attempt)


def recalled(world: World, change: Recalled) -> None:
    attempt = world.live[change.key]
    assert attempt.code == OFFERED
    attempt.recall = Asked(CANCEL, change.reason, change.at)
    world.dirty.attempts[change.key] = (world.jobs[change.key.job], attempt)


def doomed(world: World, change: Doomed) -> None:
    attempt = world.live[change.key]
    assert not attempt.doom, "the first cause stands"
    attempt.doom, attempt.status_reason = change.cause, change.words
    world.dirty.attempts[change.key] = (world.jobs[change.key.job], attempt)


def attempt_ended(world: World, change: AttemptEnded) -> None:
    attempt = world.live[change.key]
    job = world.jobs[change.key.job]
    task = job.tasks[change.key.index]
    index.release(world, attempt)
    if job.share:
        fairshare.ended(world, job, attempt, change)
    task.live = None
    if not job.gang or task.index == job.speaker:
        task.used += change.counts
        task.preempted += change.cause == PREEMPTED
    attempt.code, attempt.cause, attempt.counts = change.code, change.cause, change.counts
    attempt.started, attempt.stopped = change.started, change.at
    attempt.exit_code, attempt.reason, attempt.status_reason = change.exit_code, change.reason, change.status_reason
    attempt.cpu_ms, attempt.peak_mib, attempt.containers = change.cpu_ms, change.peak_mib, change.containers
    attempt.recall = None
    world.dirty.attempts[change.key] = (job, attempt)
    if job.gang:
        _node_ended(world, job, task, change)
        return
    index.note_pace(world, attempt)
    if change.code == RUNNABLE:
        _move(world, job, ((change.key.index, change.key.index + 1),), RUNNABLE)
        lanes.ready(world, job)
        world.moved[job.queue] = change.at


def _node_ended(world: World, job: Job, task: Task, change: AttemptEnded) -> None:
    """A node waits for the end of its gang; one that was handed back is placed anew at once, by the next change."""
    code = NODE_SUCCEEDED if change.code == SUCCEEDED else NODE_FAILED
    if change.code == RUNNABLE and task.index != job.speaker:
        code = RUNNABLE
    else:
        task.end = NodeEnd(change.code, change.status_reason, change.at)
    _move(world, job, ((task.index, task.index + 1),), code)


def realm_opened(world: World, change: RealmOpened) -> None:
    world.realms.add(change.realm)
    world.dirty.realms.append(change.realm)


def capacity_set(world: World, change: CapacitySet) -> None:
    sites.at(world, change.engine).capacity = change.capacity


APPLY: Final[dict[type[Change], Callable[[World, Any], None]]] = {
    RealmOpened: realm_opened,
    Submitted: submitted,
    Evaluated: evaluated,
    Reprioritized: reprioritized,
    Readied: readied,
    WasAsked: was_asked,
    Ended: ended,
    JobClosed: job_closed,
    Placed: placed,
    Began: began,
    Recalled: recalled,
    Doomed: doomed,
    AttemptEnded: attempt_ended,
    CapacitySet: capacity_set,
    **APPLY_NAMED,
}


def apply(world: World, change: Change) -> None:
    """Make the change so."""
    APPLY[type(change)](world, change)
