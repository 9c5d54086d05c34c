"""What a change makes due elsewhere: the only place that knows "X ended, so look at Y". See step.py.

`follow` never acts: it puts what is due on `world.due`, and asks for scheduling where something may be placed now.
"""

from collections.abc import Callable
from typing import Any, Final

from batchery.core import gang, sites
from batchery.core.changes import (
    AttemptEnded,
    Began,
    CapacitySet,
    Change,
    ConsumableGone,
    ConsumableSet,
    Ended,
    EnvironmentGone,
    EnvironmentSet,
    Evaluated,
    JobClosed,
    PolicySet,
    QueueGone,
    QueueSet,
    QuotaSet,
    Readied,
    Reprioritized,
    Submitted,
    WasAsked,
)
from batchery.core.model import (
    CREATING,
    DELETING,
    SEQUENTIAL,
    UPDATING,
    Environment,
    Queue,
    World,
)
from batchery.core.shares import QuotaShare

# Kinds of due work.
EVALUATE: Final = "evaluate"  #: the oldest job that the scheduler has not looked at
SETTLE: Final = "settle"  #: a job whose dependencies may look different now
CLOSE: Final = "close"  #: an array or gang whose last child or node may have ended
VOID_QUEUE: Final = "void queue"  #: a queue being deleted: end its jobs
SETTLE_QUEUE: Final = "settle queue"
SETTLE_ENVIRONMENT: Final = "settle environment"
SETTLE_QUOTA: Final = "settle quota"
LIMITS: Final = "limits"  #: a queue at whose head somebody may be blocked for too long


def follow(world: World, change: Change) -> None:
    """Put what this change makes due elsewhere on `world.due`; ask for scheduling where it may place something."""
    found = FOLLOW.get(type(change))
    if found is not None:
        found(world, change)


def _on_submitted(world: World, change: Submitted) -> None:
    world.due.add(EVALUATE, "")


def _on_evaluated(world: World, change: Evaluated) -> None:
    job = world.jobs.get(change.job)
    if job is not None and job.needs:  # any other was readied, or has ended, by the same step
        world.due.add(SETTLE, job.id, job.seq)


def _on_asked(world: World, change: WasAsked) -> None:
    job = world.jobs[change.job]
    world.due.add(SETTLE, job.id, job.seq)


def _on_ended(world: World, change: Ended) -> None:
    job = world.jobs[change.job]
    for waiting in world.dependents.get(job.id + ":", ()):
        world.due.add(SETTLE, waiting, world.jobs[waiting].seq)
    world.schedule_wanted = True  # it may have waited at the head, and held others back
    if job.size:
        if any(need.kind == SEQUENTIAL for need in job.needs):
            world.due.add(SETTLE, job.id, job.seq)
        if job.all_ended:
            world.due.add(CLOSE, job.id, job.seq)


def _on_closed(world: World, change: JobClosed) -> None:
    job = world.jobs[change.job]
    for waiting in world.dependents.get(job.id, ()):
        world.due.add(SETTLE, waiting, world.jobs[waiting].seq)
    queue = world.queues.get(job.queue)
    if queue is not None and queue.status == DELETING:
        world.due.add(SETTLE_QUEUE, queue.arn)
    if (quota := world.quotas.get(f"{job.queue}/quota-share/{job.share}")) is not None:
        quota_due(world, quota)


def _on_began(world: World, change: Began) -> None:
    environment = world.environments[world.live[change.key].environment]
    if sites.of(world, environment.arn).capacity.ahead:
        world.schedule_wanted = True  # one less is held ahead
    if environment.replaced:  # late news: it may have begun before the update did
        world.due.add(SETTLE_ENVIRONMENT, environment.arn)


def _on_attempt_ended(world: World, change: AttemptEnded) -> None:
    world.schedule_wanted = True
    job = world.jobs[change.key.job]
    attempt = world.dirty.attempts[change.key][1]
    environment = world.environments[attempt.environment]
    if environment.status == DELETING or environment.replaced:
        world.due.add(SETTLE_ENVIRONMENT, environment.arn)
    assert job.tasks[change.key.index].live is None
    if gang.resting(job):
        world.due.add(CLOSE, job.id, job.seq)


def _on_queue_set(world: World, change: QueueSet) -> None:
    world.schedule_wanted = True
    queue_due(world, change.queue)


def queue_due(world: World, queue: Queue) -> None:
    """A queue in transition is due."""
    if queue.status == DELETING:
        world.due.add(VOID_QUEUE, queue.arn)
    if queue.status in (CREATING, UPDATING, DELETING):
        world.due.add(SETTLE_QUEUE, queue.arn)


def _on_environment_set(world: World, change: EnvironmentSet) -> None:
    world.schedule_wanted = True
    environment_due(world, change.environment)


def environment_due(world: World, environment: Environment) -> None:
    """An environment in transition is due."""
    if environment.status in (CREATING, UPDATING, DELETING):
        world.due.add(SETTLE_ENVIRONMENT, environment.arn)


def _on_queue_gone(world: World, change: QueueGone) -> None:
    for environment in world.environments.values():
        environment_due(world, environment)


def _on_quota_set(world: World, change: QuotaSet) -> None:
    world.schedule_wanted = True
    quota_due(world, change.quota)


def quota_due(world: World, quota: QuotaShare) -> None:
    """A quota share in transition is due."""
    if quota.status in (CREATING, UPDATING, DELETING):
        world.due.add(SETTLE_QUOTA, quota.arn)


def _wants_schedule(world: World, change: Change) -> None:
    world.schedule_wanted = True


FOLLOW: Final[dict[type[Change], Callable[[World, Any], None]]] = {
    Submitted: _on_submitted,
    Evaluated: _on_evaluated,
    Readied: _wants_schedule,
    Reprioritized: _wants_schedule,
    WasAsked: _on_asked,
    Ended: _on_ended,
    JobClosed: _on_closed,
    Began: _on_began,
    AttemptEnded: _on_attempt_ended,
    QueueSet: _on_queue_set,
    QueueGone: _on_queue_gone,
    EnvironmentSet: _on_environment_set,
    EnvironmentGone: _wants_schedule,
    PolicySet: _wants_schedule,
    QuotaSet: _on_quota_set,
    CapacitySet: _wants_schedule,
    ConsumableSet: _wants_schedule,
    ConsumableGone: _wants_schedule,
}
