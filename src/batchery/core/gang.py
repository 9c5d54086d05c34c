"""Multi-node jobs: what is theirs alone. Their tasks are nodes; the main one speaks for the job.

Theory of operation
-------------------
All nodes wait as one: they are RUNNABLE together, and one decision places them all or none. Only the main node is
launched then; that it runs is a stored fact with its address, and makes the launch of the others owed
(`launchable`). From there each goes its own way:

* A node that ends is NODE_SUCCEEDED or NODE_FAILED, which changes nothing for the others. It is no end yet, since a
  retry of the job runs every node again. One that an engine hands back unbegun is placed anew where it was.
* The end of the main node ends the job: what runs is doomed (MAIN_ENDED), what was never launched is over at once.
* When the last node is over the gang *rests*, and `close` gives every node its end, and the job its main node's; or,
  if the main node's end is to be retried and nobody asked for the job's end meanwhile, all nodes are RUNNABLE again.

A request to end the job is judged by its main node: CancelJob has no effect once that has begun. CancelJob of a node
never has; TerminateJob of a node stops that node, of the main one the job. Sources: user guide "Multi-node parallel
jobs"; API_CancelJob. Decision 155.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from batchery.core.changes import AttemptEnded, Change, Doomed, Ended, JobClosed, Placed, Readied, Recalled, WasAsked
from batchery.core.messages import Exited
from batchery.core.model import (
    CANCEL,
    EXIT,
    MAIN_ENDED,
    NO_CAUSE,
    TERMINATE,
    TERMINATED,
    WITHDRAWN,
    Asked,
    Attempt,
    AttemptKey,
    Job,
    Task,
)
from batchery.core.readiness import end
from batchery.core.retry import AGAIN, MEANING, NEVER_BEGAN, Outcome, outcome
from batchery.core.status import (
    CANCEL as CANCEL_MOVES,
)
from batchery.core.status import (
    FAILED,
    NODE_ENDED,
    OFFERED,
    PENDING,
    RUNNABLE,
    RUNNING,
    ended_by,
)

_NOT_BEGUN = ended_by(CANCEL_MOVES)


def main_attempt(job: Job) -> Attempt | None:
    """The live attempt of the main node."""
    task = job.tasks.get(job.speaker)
    return task.live if task is not None else None


def launchable(job: Job, number: int) -> bool:
    """Whether an engine is to have this node now: the others wait until the main one runs."""
    if not job.gang or number == job.speaker:
        return True
    main = main_attempt(job)
    return main is not None and main.code == RUNNING


def resting(job: Job) -> bool:
    """Every node was placed, and every one is over."""
    return job.gang and NODE_ENDED.issuperset(job.status)


def others(job: Job) -> Iterator[Attempt]:
    """The live attempts of the other nodes."""
    for task in job.tasks.values():
        if task.index != job.speaker and task.live is not None:
            yield task.live


# ------------------------------------------------------------------------------------------- cancel and terminate


def cancel(job: Job, reason: str, now: int) -> list[Change]:
    """CancelJob of the whole job, by the state of its main node."""
    code = job.status[job.speaker]
    main = main_attempt(job)
    if job.asked is not None:
        return []
    if code == OFFERED and main is not None:
        return [] if main.recall is not None else [Recalled(main.key, reason, now)]
    if code not in (*_NOT_BEGUN, PENDING):
        return []
    changes: list[Change] = [WasAsked(job.id, None, CANCEL, reason, now)]
    if code != PENDING:
        changes += end(job, ((0, job.size),), FAILED, reason, now)
    return changes


def terminate_node(job: Job, number: int, reason: str, now: int) -> list[Change]:
    """TerminateJob of one node that is not the main one: it is stopped, if it has begun and nothing else stops it."""
    task = job.tasks.get(number)
    live = task.live if task is not None else None
    if live is None or live.doom or live.code == OFFERED or _killed(job):
        return []
    return [Doomed(live.key, TERMINATED, now, reason)]


def _killed(job: Job) -> bool:
    return job.asked is not None and job.asked.kind != CANCEL


# -------------------------------------------------------------------------------------------------------- reports


def main_over(job: Job, attempt: Attempt, found: Outcome, ended: AttemptEnded, now: int) -> list[Change]:
    """The main node is over: so is whatever was not launched; the rest is doomed."""
    changes: list[Change] = []
    if found.recalled and attempt.recall is not None and job.asked is None:
        changes.append(WasAsked(job.id, None, CANCEL, attempt.recall.reason, attempt.recall.at))
    changes.append(ended)
    launched = attempt.code == RUNNING
    for other in others(job):
        if not launched:
            at = max(other.placed, ended.at)
            words = NEVER_BEGAN if found.cause == EXIT else found.status_reason
            changes.append(AttemptEnded(other.key, FAILED, WITHDRAWN, False, at, status_reason=words))
        elif other.doom == NO_CAUSE and not _killed(job):
            changes.append(Doomed(other.key, MAIN_ENDED, now))
    return changes


def judge_node(job: Job, attempt: Attempt, report: Exited) -> Outcome:
    """What the end of another node means: nothing is tried again by itself."""
    own = Asked(TERMINATE, attempt.status_reason, report.at) if attempt.doom == TERMINATED else None
    return outcome(replace(job.shape, attempts=1, rules=()), attempt, job.asked, own, report)


def node_over(job: Job, attempt: Attempt, found: Outcome, ended: AttemptEnded, now: int) -> list[Change]:
    """Another node is over. One that never began is placed anew while its main node runs."""
    key = attempt.key
    if MEANING[found.cause] != AGAIN:
        return [ended]
    main = main_attempt(job)
    if main is None or attempt.doom or _killed(job):
        asked = job.asked.reason if job.asked is not None else NEVER_BEGAN
        words = attempt.status_reason or asked
        return [AttemptEnded(key, FAILED, found.cause, False, ended.at, status_reason=words)]
    again = AttemptKey(key.job, key.index, key.serial + 1)
    back = AttemptEnded(key, RUNNABLE, found.cause, False, ended.at)
    return [back, Placed(again, attempt.environment, attempt.resources, now)]


# ------------------------------------------------------------------------------------------------------- the end


def close(job: Job, now: int) -> list[Change]:
    """The gang rests: its end, or another try."""
    main = job.tasks[job.speaker].end
    assert main is not None
    code, words, at = main
    if code == RUNNABLE:
        if job.asked is None:
            return [Readied(job.id, ((0, job.size),))]
        code, words = FAILED, job.asked.reason
    changes: list[Change] = []
    for task in sorted(job.tasks.values(), key=_index):
        assert task.end is not None
        own = task.end
        if task.index == job.speaker:
            changes.append(Ended(job.id, ((task.index, task.index + 1),), code, words, at))
        else:
            changes.append(Ended(job.id, ((task.index, task.index + 1),), own.code, own.words, own.at))
    return [*changes, JobClosed(job.id, code, words, at)]


def _index(task: Task) -> int:
    return task.index


def launches(job: Job) -> list[AttemptKey]:
    """The main node runs: the others may be launched."""
    return [attempt.key for attempt in others(job) if attempt.code == OFFERED]
