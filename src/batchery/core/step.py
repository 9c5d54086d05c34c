"""One turn of the World: commands in, changes and effects out.

Theory of operation
-------------------
`decide` turns a command into changes and cannot move anything. Each change is then *applied* (the only writing) and
*followed*: `follow` is the only place that knows "X ended, so look at Y". It never acts; it puts what is due on
`world.due` (agenda.py: no duplicates, oldest job first), and `drain` works it off, one small command at a time, until
it is empty or the turn's time is spent; the rest waits for the next turn. So cascades are bounded: evaluating a burst
of submits, deleting a queue with a million jobs and cancelling a hundred arrays all go through here.

`due` needs no rows. After a load every open job with dependencies, every array, every queue and environment in
transition is due (`rebuild`), which gives the same World: the simulator compares the two.

The order of a turn: alarms that have rung, the commands, what is due, then placements, then what those made due.
Scheduling is asked for by a flag, never done inline.

Effects (launch, kill, withdraw, acknowledge) come out in the order of their changes and leave after the commit.
"""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any, Final

from batchery.core import gang
from batchery.core.apply import apply
from batchery.core.changes import (
    Change,
    DefinitionSet,
    Evaluated,
    JobClosed,
    Readied,
    WasAsked,
)
from batchery.core.decide import decide, overran, void
from batchery.core.follow import (
    CLOSE,
    EVALUATE,
    LIMITS,
    SETTLE,
    SETTLE_ENVIRONMENT,
    SETTLE_QUEUE,
    SETTLE_QUOTA,
    VOID_QUEUE,
    follow,
)
from batchery.core.index import REPLACE_ALARM
from batchery.core.limits import reached
from batchery.core.locks import stock
from batchery.core.messages import (
    Ack,
    Answer,
    Command,
    Effect,
    Exited,
    Lost,
    Many,
    NeedFacts,
    Refused,
    Register,
    Stop,
    UpdateConsumable,
)
from batchery.core.model import (
    VOID,
    AttemptKey,
    Job,
    World,
)
from batchery.core.owed import effects
from batchery.core.queue import LIMIT_ALARM
from batchery.core.quotaset import DECIDE_QUOTAS, settle_quota
from batchery.core.readiness import DEPENDENT_FAILED, end, settle, whole_gate
from batchery.core.resources import settle_environment, settle_queue
from batchery.core.schedule import schedule
from batchery.core.status import BROKEN, FAILED, SUBMITTED, SUCCEEDED, spans_of

CHILD_FAILED: Final = "Array Child Job failed"
QUEUE_DELETED: Final = "JobQueue deleted"

#: Jobs ended per step while a queue is deleted.
VOID_JOBS: Final = 512
#: Shapes that no job has any more are forgotten when there are this many, and more of them than of jobs.
SHAPES_KEPT: Final = 1024


class Turn:
    """What a turn has produced so far."""

    def __init__(self, world: World, now: int) -> None:
        self.world = world
        self.now = now
        self.changes: list[Change] = []
        self.effects: list[Effect] = []

    def make(self, changes: Iterable[Change]) -> None:
        """Apply changes and follow each."""
        for change in changes:
            apply(self.world, change)
            follow(self.world, change)
            self.effects += effects(self.world, change)
            self.changes.append(change)

    def run(self, command: Command) -> Answer:
        """Decide one command. An error is an answer; nothing has moved then."""
        if isinstance(command, Many):
            return Answer([answer.error or answer.value for answer in map(self.run, command.commands)])
        try:
            own = DECIDE_QUOTAS.get(type(command), decide)
            changes = own(self.world, command, self.now)
        except (Refused, NeedFacts) as error:
            return Answer(error=error)
        self.make(changes)
        if isinstance(command, Exited | Lost):
            self.effects.append(Ack(command.key))
        return Answer(answer_of(self.world, command, changes))


def answer_of(world: World, command: Command, changes: list[Change]) -> Any:
    """The value that a command answers with, read from its changes, which are made; None for most."""
    if isinstance(command, Register):
        return next(c.definition.revision for c in changes if isinstance(c, DefinitionSet))
    if isinstance(command, Stop):
        return sum(isinstance(change, WasAsked) for change in changes)
    if isinstance(command, UpdateConsumable):
        return stock(world, world.consumables[command.arn]).total
    return None


def turn(
    world: World, commands: Iterable[Command], now: int, spent: Callable[[], bool] = lambda: False
) -> tuple[list[Change], list[Answer], list[Effect]]:
    """One turn. ``spent`` says that the turn's time is up: the rest of what is due waits for the next one."""
    this = Turn(world, now)
    ring(this)
    answers = [this.run(command) for command in commands]
    drain(this, spent)
    if world.schedule_wanted:
        this.make(schedule(world, now))
        world.schedule_wanted = False
        drain(this, spent)
    return this.changes, answers, this.effects


def ring(this: Turn) -> None:
    """Alarms whose time has come."""
    alarms = this.world.alarms
    while alarms and alarms[0][0] <= this.now:
        _, what, key = heappop(alarms)
        if what == EVALUATE:
            this.world.evaluate_at = 0
            this.world.due.add(EVALUATE, "")
        elif what == LIMIT_ALARM:
            this.world.due.add(LIMITS, key.job)
        elif what == REPLACE_ALARM:
            this.world.due.add(SETTLE_ENVIRONMENT, key.job)
        else:
            this.make(overran(this.world, key, this.now))


def drain(this: Turn, spent: Callable[[], bool] = lambda: False) -> None:
    """Work off what is due: at least one piece, then until the time is spent."""
    due = this.world.due
    while due:
        item = due.take()
        this.make(DUE[item.kind](this.world, item.ref, this.now))
        if spent():
            return


def derive(world: World, now: int) -> None:
    """Work off all that a load left due, for a World that is only read: nothing of it is committed."""
    drain(Turn(world, now))


def next_alarm(world: World, now: int) -> int | None:
    """When the World wants a turn though nobody speaks: now if work is due, else the next alarm (ms); or never."""
    if world.due or world.schedule_wanted:
        return now
    return world.alarms[0][0] if world.alarms else None


def forget(world: World) -> None:
    """After the commit: jobs that ended, and that no open job needs, leave World."""
    for job in world.leaving:
        if job.closed is not None and not job.needed_by:
            world.jobs.pop(job.id, None)
    world.leaving.clear()
    if len(world.shapes) > SHAPES_KEPT + 2 * len(world.jobs):
        world.shapes = {job.shape: job.shape for job in world.jobs.values()}


# ---------------------------------------------------------------------------------------------------- due work


def _evaluate(world: World, ref: str, now: int) -> list[Change]:
    if not world.unevaluated:
        return []
    job = world.unevaluated[0]
    if job.closed is None and (at := job.created + world.policy.submitted_for) > now:
        if world.evaluate_at != at:
            world.evaluate_at = at
            heappush(world.alarms, (at, EVALUATE, AttemptKey(job.id, 0, 0)))
        return []
    world.unevaluated.popleft()
    if world.unevaluated:
        world.due.add(EVALUATE, "")
    changes: list[Change] = [Evaluated(job.id, job.seq)]
    fresh = spans_of(job.status, (SUBMITTED,)) if job.closed is None else ()
    if fresh and job.shape.fault:
        return changes + end(job, fresh, FAILED, job.shape.fault, now)
    if fresh and not job.needs:  # in one step: a job without dependencies is never seen PENDING
        changes.append(Readied(job.id, fresh))
    return changes


def _settle(world: World, ref: str, now: int) -> list[Change]:
    job = world.jobs.get(ref)
    return settle(world, job, now) if job is not None and job.closed is None else []


def _close(world: World, ref: str, now: int) -> list[Change]:
    job = world.jobs.get(ref)
    if job is None or job.closed is not None:
        return []
    if gang.resting(job):
        return gang.close(job, now)
    assert job.all_ended, f"{job.id}: a child that has ended has ended for good"
    if job.asked is None and FAILED not in job.status:
        return [JobClosed(job.id, SUCCEEDED, "", now)]
    return [JobClosed(job.id, FAILED, _array_reason(world, job), now)]


def _array_reason(world: World, job: Job) -> str:
    if job.asked is not None:
        return job.asked.reason
    if job.shape.fault:
        return job.shape.fault
    if whole_gate(world, job) & BROKEN:
        return DEPENDENT_FAILED
    return CHILD_FAILED


def _void_queue(world: World, ref: str, now: int) -> list[Change]:
    changes: list[Change] = []
    picked = 0
    for block in world.blocks.get(ref, ()):
        for job in block.jobs if block.live else ():
            if job is None or job.all_ended or (job.asked is not None and job.asked.kind & VOID):
                continue
            changes += void(job, QUEUE_DELETED, now)
            picked += 1
            if picked >= VOID_JOBS:
                world.due.add(VOID_QUEUE, ref)
                return changes
    return changes


def _settle_queue(world: World, ref: str, now: int) -> list[Change]:
    return settle_queue(world, ref, now)


def _settle_environment(world: World, ref: str, now: int) -> list[Change]:
    return settle_environment(world, ref, now)


DUE: Final[dict[str, Callable[[World, str, int], list[Change]]]] = {
    EVALUATE: _evaluate,
    SETTLE: _settle,
    CLOSE: _close,
    VOID_QUEUE: _void_queue,
    SETTLE_QUEUE: _settle_queue,
    SETTLE_ENVIRONMENT: _settle_environment,
    LIMITS: reached,
    SETTLE_QUOTA: settle_quota,
}
