"""How the dependencies of a job look from outside, and what its waiting tasks become.

A dependency looks MET, WAIT or BROKEN; several are one OR. A job that waits for whole jobs has one gate for all its
tasks (an int). One that looks at children (N_TO_N) or at its own order (SEQUENTIAL) has a byte per task, OR-ed as big
integers, so ten thousand children on twenty arrays cost a fraction of a millisecond.
"""

from batchery.core.changes import Change, Ended, JobClosed, Readied
from batchery.core.model import N_TO_N, SEQUENTIAL, Job, World
from batchery.core.status import (
    BROKEN,
    CLOSING,
    FAILED,
    LOOK,
    MET,
    ONE,
    PENDING,
    RUNNABLE,
    SETTLE,
    SETTLE_AT,
    SUCCEEDED,
    WAIT,
    spans_of,
)

DEPENDENT_FAILED = "Dependent Job failed"

# old code XOR new code tells which line of SETTLE was taken
_READIED = PENDING ^ RUNNABLE
_BROKE = PENDING ^ FAILED
_CANCELLED = CLOSING ^ FAILED


def whole_gate(world: World, job: Job) -> int:
    """The part of the gate that is the same for every task: dependencies on whole jobs and on single children."""
    gate = MET
    for need in job.needs:
        if need.kind in (N_TO_N, SEQUENTIAL):
            continue
        other = world.jobs[need.job]
        if need.index >= 0:
            gate |= LOOK[other.status[need.index]]
        elif other.closed is None:
            gate |= WAIT
        elif other.closed.code == FAILED:
            gate |= BROKEN
    return gate


def sequence_gate(status: bytes | bytearray) -> bytes:
    """Child i waits for child i-1: all up to the first that has not SUCCEEDED are free, the rest wait.

    After the first FAILED child, wherever it is, the gate is BROKEN for all that follow: a broken chain is one step.
    """
    width = len(status)
    free = min(width - len(status.lstrip(ONE[SUCCEEDED])) + 1, width)
    failed = status.find(FAILED)
    broken = width if failed < 0 else failed + 1
    return bytes(free) + bytes([WAIT]) * (broken - free) + bytes([BROKEN]) * (width - broken)


def gate(world: World, job: Job) -> int | bytes:
    """One int where all tasks look at the same dependencies, else a byte per task.

    The order within an array that is itself being cancelled does not count: its children are no "dependency jobs",
    and every child that has not started ends at once (API_CancelJob, array jobs).
    """
    whole = whole_gate(world, job)
    if not job.size:
        return whole
    each = 0
    by_child = False
    for need in job.needs:
        if need.kind == N_TO_N:
            look = world.jobs[need.job].status.translate(LOOK)
        elif need.kind == SEQUENTIAL and job.asked is None:
            look = sequence_gate(job.status)
        else:
            continue
        by_child = True
        each |= int.from_bytes(look, "big")
    if not by_child:
        return whole
    if whole:
        each |= int.from_bytes(bytes([whole]) * job.size, "big")
    return each.to_bytes(job.size, "big")


def settled(world: World, job: Job) -> bytes | bytearray:
    """The status bytes that the job's dependencies make of its present ones."""
    look = gate(world, job)
    if isinstance(look, int):
        return job.status.translate(SETTLE_AT[look])
    both = int.from_bytes(job.status, "big") | int.from_bytes(look, "big")
    return both.to_bytes(job.width, "big").translate(SETTLE)


def settle(world: World, job: Job, now: int) -> list[Change]:
    """What the dependencies of a job make due: tasks readied, failed by a dependency, or cancelled at last."""
    new = settled(world, job)
    if new == job.status:
        return []
    width = job.width
    moved = (int.from_bytes(job.status, "big") ^ int.from_bytes(new, "big")).to_bytes(width, "big")
    changes: list[Change] = []
    if spans := spans_of(moved, (_READIED,)):
        changes.append(Readied(job.id, spans))
    if spans := spans_of(moved, (_BROKE,)):
        changes += end(job, spans, FAILED, DEPENDENT_FAILED, now)
    if spans := spans_of(moved, (_CANCELLED,)):
        changes += end_asked(job, spans, job.asked.reason if job.asked else "", now)
    return changes


def end_asked(job: Job, spans: tuple[tuple[int, int], ...], words: str, now: int) -> list[Change]:
    """Some tasks are FAILED because they were asked to end: by their own ids, in the words of that request, or else
    with their job, in ``words``."""
    own = {task.index: task.asked.reason for task in job.tasks.values() if task.asked is not None}
    if not own:
        return end(job, spans, FAILED, words, now)
    parts: dict[str, list[tuple[int, int]]] = {}
    for index in (index for span in spans for index in range(*span)):
        part = parts.setdefault(own.get(index, words), [])
        if part and part[-1][1] == index:
            part[-1] = (part[-1][0], index + 1)
        else:
            part.append((index, index + 1))
    return [change for reason, part in parts.items() for change in end(job, tuple(part), FAILED, reason, now)]


def end(job: Job, spans: tuple[tuple[int, int], ...], code: int, reason: str, at: int) -> list[Change]:
    """The end of some tasks, and of the job itself if it is a plain one."""
    changes: list[Change] = [Ended(job.id, spans, code, reason, at)]
    if not job.size:
        changes.append(JobClosed(job.id, code, reason, at))
    return changes
