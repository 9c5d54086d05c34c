"""One function per command: read World, return the changes it means, or raise `Refused`. Nothing here mutates.

Since `decide` cannot move anything, an error needs no undo. Engines' reports and due follow-ups may not refuse: what
is stale or unknown is simply no change.
"""

from collections.abc import Callable
from typing import Any, Final

from batchery.core import gang, status
from batchery.core.changes import AttemptEnded, Began, CapacitySet, Change, Doomed, Recalled, Submitted, WasAsked
from batchery.core.consumables import DECIDE_CONSUMABLES, began, used_up
from batchery.core.instances import SERVICE
from batchery.core.messages import (
    Cancel,
    Capacities,
    Command,
    Exited,
    Lost,
    NeedFacts,
    Refused,
    Started,
    Starting,
    Stop,
    Submit,
    Terminate,
)
from batchery.core.model import (
    ACTIVE,
    CANCEL,
    DELETING,
    ENABLED,
    HOST,
    N_TO_N,
    PREEMPTED,
    SEQUENTIAL,
    TERMINATE,
    TIMEOUT,
    VOID,
    AttemptKey,
    Job,
    Need,
    Task,
    World,
)
from batchery.core.owed import to_be_killed
from batchery.core.policies import DECIDE_POLICIES, admit
from batchery.core.readiness import end, end_asked
from batchery.core.resources import DECIDE_RESOURCES
from batchery.core.retry import outcome
from batchery.core.services import DECIDE_SERVICES
from batchery.core.status import (
    FAILED,
    OFFERED,
    ONE,
    PENDING,
    RUNNABLE,
    RUNNING,
    STARTING,
    SUBMITTED,
    SUCCEEDED,
    spans_of,
)

# --------------------------------------------------------------------------------------------------------- submit


def submit(world: World, cmd: Submit, now: int) -> list[Change]:
    """SubmitJob. Refused for a queue, definition or dependency that is not there."""
    queue = world.queues.get(cmd.queue)
    if queue is None or queue.realm != cmd.realm or queue.status == DELETING:
        raise Refused(f"JobQueue {cmd.queue} not found.")
    if queue.state != ENABLED:
        raise Refused(f"Job queue {queue.name} is not ENABLED", wrapped=True)
    definition = world.definitions.get(cmd.definition)
    if definition is None or definition.status != ACTIVE:
        name = cmd.definition.rpartition("/")[2]
        raise Refused(f"JobDefinition name {name} does not exist or is not in ACTIVE status")
    if queue.type == SERVICE:
        raise Refused(f"Job queue {queue.name} takes service jobs only", wrapped=True)  # ours
    for arn, _ in cmd.shape.consumables:
        if arn not in world.consumables:
            raise Refused(f"{arn} does not exist")
    room = admit(world, queue, cmd, now)
    ghosts = _dependencies(world, cmd)
    job = Job(
        id=cmd.id,
        seq=world.next_seq,
        realm=cmd.realm,
        queue=cmd.queue,
        name=cmd.name,
        definition=cmd.definition,
        shape=cmd.shape,
        created=now,
        size=cmd.size,
        share=cmd.share,
        needs=cmd.needs,
        status=bytearray(ONE[SUBMITTED] * cmd.size) if cmd.size else ONE[SUBMITTED],
    )
    return [*room, Submitted(job, cmd.spec, cmd.tags, ghosts)]


def _dependencies(world: World, cmd: Submit) -> tuple[Job, ...]:
    """Check every dependency; the ended jobs among them that World does not hold yet."""
    read = {job.id: job for job in cmd.facts}
    ghosts: dict[str, Job] = {}
    unknown = []
    for need in cmd.needs:
        if need.kind == SEQUENTIAL:
            continue
        other = world.jobs.get(need.job) or read.get(need.job)
        if other is None and need.job not in cmd.no_facts:
            unknown.append(need.job)
            continue
        if other is None or other.realm != cmd.realm or not _fits(need, other):
            raise Refused(f"Job {_ref(need)} in dependsOn does not exist", wrapped=True)
        if need.kind == N_TO_N and (other.size != cmd.size or not cmd.size or other.gang or cmd.shape.gang):
            raise Refused(
                f"N_TO_N dependency on {need.job} needs an array of the same size ({other.size}), got {cmd.size}",
                wrapped=True,
            )
        if need.job not in world.jobs:
            ghosts[need.job] = other
    if unknown:
        raise NeedFacts(tuple(unknown))
    return tuple(ghosts.values())


def _fits(need: Need, other: Job) -> bool:
    return need.index < 0 or (need.index < other.size and other.array)


def _ref(need: Need) -> str:
    return need.job if need.index < 0 else f"{need.job}:{need.index}"


# ------------------------------------------------------------------------------------------- cancel and terminate

_NOT_BEGUN: Final = status.ended_by(status.CANCEL)
_NOT_GIVEN: Final = status.ended_by(status.VOID)


def cancel(world: World, cmd: Cancel, now: int) -> list[Change]:
    """CancelJob. No change at all where there is nothing to cancel: no flag, no reason, retries go on."""
    job = _open_job(world, cmd)
    if job is None:
        return []
    if job.gang:
        return [] if cmd.ref.index is not None else gang.cancel(job, cmd.reason, now)
    if cmd.ref.index is not None or not job.size:
        return _cancel_task(job, cmd, now)
    if job.asked is not None:
        return []
    changes: list[Change] = [WasAsked(job.id, None, CANCEL, cmd.reason, now)]
    if spans := spans_of(job.status, _NOT_BEGUN):
        changes += end(job, spans, FAILED, cmd.reason, now)
    for task in job.tasks.values():
        if task.live is not None and task.live.code == OFFERED and task.live.recall is None:
            changes.append(Recalled(task.live.key, cmd.reason, now))
    return changes


def _open_job(world: World, cmd: Cancel | Terminate) -> Job | None:
    """The open job that the command is about; None for an id that names nothing open in its realm, and where all tasks
    have ended: how the array or gang does is decided then. Service jobs have operations of their own."""
    job = world.jobs.get(cmd.ref.job)
    if job is None or job.realm != cmd.realm or job.closed is not None or job.all_ended or not job.has(cmd.ref):
        return None
    return job if job.service == (isinstance(cmd, Terminate) and cmd.service) else None


def _cancel_task(job: Job, cmd: Cancel, now: int) -> list[Change]:
    number = cmd.ref.index or 0
    code = job.status[number]
    if job.ask_of(number) is not None:
        return []
    if code == OFFERED:
        live = job.tasks[number].live
        assert live is not None
        return [] if live.recall is not None else [Recalled(live.key, cmd.reason, now)]
    if code not in (*_NOT_BEGUN, PENDING):
        return []
    changes: list[Change] = [WasAsked(job.id, cmd.ref.index, CANCEL, cmd.reason, now)]
    if code != PENDING:
        changes += end(job, ((number, number + 1),), FAILED, cmd.reason, now)
    return changes


def terminate(world: World, cmd: Terminate, now: int) -> list[Change]:
    """TerminateJob: as CancelJob for what has not begun; what an engine has is killed (a fact of the job)."""
    job = _open_job(world, cmd)
    if job is None:
        return []
    number = cmd.ref.index
    if job.gang and number is not None and number != job.speaker:
        return gang.terminate_node(job, number, cmd.reason, now)
    return _stop(job, None if job.gang else number, TERMINATE, cmd.reason, now)


def _stop(job: Job, number: int | None, kind: int, reason: str, now: int) -> list[Change]:
    first, stop = (0, job.width) if number is None else (number, number + 1)
    code = job.status[first]
    if job.asked is not None and job.asked.kind & kind:
        return []
    if number is not None:
        task = job.tasks.get(number)
        if (task and task.asked and task.asked.kind & kind) or code in (SUCCEEDED, FAILED):
            return []
    before = job.asked if number is None else job.ask_of(number)
    words = before.reason if before else reason
    changes: list[Change] = [WasAsked(job.id, number, kind, words, now)]
    if found := spans_of(job.status[first:stop], _NOT_GIVEN if kind == VOID else _NOT_BEGUN):
        changes += end_asked(job, tuple((first + a, first + b) for a, b in found), words, now)
    return changes


def stop_all(world: World, cmd: Stop, now: int) -> list[Change]:
    """Every open job is terminated."""
    changes: list[Change] = []
    for job in world.jobs.values():
        if job.closed is None and not job.all_ended:
            changes += _stop(job, None, TERMINATE, cmd.reason, now)
    return changes


def void(job: Job, reason: str, now: int) -> list[Change]:
    """The service itself ends a job, at once: nothing of it waits for anything."""
    return _stop(job, None, VOID, reason, now)


# -------------------------------------------------------------------------------------------------------- reports


def starting(world: World, cmd: Starting, now: int) -> list[Change]:
    attempt = world.live.get(cmd.key)
    if attempt is None or attempt.code != OFFERED:
        return []
    return [Began(cmd.key, STARTING, _between(attempt.placed, cmd.at, now)), *used_up(world, attempt)]


def started(world: World, cmd: Started, now: int) -> list[Change]:
    attempt = world.live.get(cmd.key)
    if attempt is None or attempt.code == RUNNING:
        return []
    return [Began(cmd.key, RUNNING, _between(attempt.placed, cmd.at, now), cmd.address), *used_up(world, attempt)]


def exited(world: World, cmd: Exited, now: int) -> list[Change]:
    """An attempt is over: judge it, free what it held, and end its task or make it RUNNABLE again."""
    attempt = world.live.get(cmd.key)
    if attempt is None:
        return []
    job = world.jobs[cmd.key.job]
    task = job.tasks[cmd.key.index]
    other = job.gang and task.index != job.speaker
    found = (
        gang.judge_node(job, attempt, cmd)
        if other
        else outcome(job.shape, attempt, job.asked, task.asked, cmd, task.preempted)
    )
    start = attempt.started or (_between(attempt.placed, cmd.started, now) if cmd.started else 0)
    at = _between(start or attempt.placed, cmd.at, now)
    ended = AttemptEnded(
        cmd.key,
        found.code,
        found.cause,
        found.counts,
        at,
        start if found.counts or found.cause == PREEMPTED else 0,
        found.exit_code,
        found.reason,
        found.status_reason,
        cmd.cpu_ms,
        cmd.peak_mib,
        cmd.containers if job.shape.logs_of(task.index).streams else (),
    )
    if job.gang:
        over = gang.node_over if other else gang.main_over
        used = used_up(world, attempt) if began(cmd.cause, cmd.started) else []
        return [*over(job, attempt, found, ended, now), *used]
    changes: list[Change] = []
    if found.recalled and attempt.recall is not None and not _asked_kinds(job, task) & CANCEL:
        number = task.index if job.size else None
        changes.append(WasAsked(job.id, number, CANCEL, attempt.recall.reason, attempt.recall.at))
    changes.append(ended)
    if began(cmd.cause, cmd.started):
        changes += used_up(world, attempt)
    if found.code != RUNNABLE:
        changes += end(job, ((task.index, task.index + 1),), found.code, found.status_reason, at)
    return changes


def _asked_kinds(job: Job, task: Task) -> int:
    return (job.asked.kind if job.asked else 0) | (task.asked.kind if task.asked else 0)


def lost(world: World, cmd: Lost, now: int) -> list[Change]:
    return exited(world, Exited(cmd.key, cmd.at, HOST, host=cmd.host), now)


def _between(low: int, at: int, high: int) -> int:
    """An engine's time, held between what must have come before and now."""
    return max(low, min(at, max(low, high)))


def capacities(world: World, cmd: Capacities, now: int) -> list[Change]:
    site = world.sites.get(cmd.engine)
    return [CapacitySet(cmd.capacity, cmd.engine)] if site is None or cmd.capacity != site.capacity else []


# --------------------------------------------------------------------------------------------------------- alarms


def overran(world: World, key: AttemptKey, now: int) -> list[Change]:
    """The time limit of an attempt has passed. What is being killed already is not killed for another cause."""
    attempt = world.live.get(key)
    if attempt is None or attempt.code != RUNNING or to_be_killed(world, attempt):
        return []
    return [Doomed(key, TIMEOUT, now)]


DECIDE: Final[dict[type[Command], Callable[[World, Any, int], list[Change]]]] = {
    Submit: submit,
    Cancel: cancel,
    Terminate: terminate,
    Stop: stop_all,
    Starting: starting,
    Started: started,
    Exited: exited,
    Lost: lost,
    Capacities: capacities,
    **DECIDE_RESOURCES,
    **DECIDE_CONSUMABLES,
    **DECIDE_POLICIES,
    **DECIDE_SERVICES,
}


def decide(world: World, command: Command, now: int) -> list[Change]:
    """The changes that a command means. Raises Refused or NeedFacts; reports never do."""
    return DECIDE[type(command)](world, command, now)
