"""Service jobs: commands to changes. What they run is spec/service.py's to say, what they take capacity.py's.

A service job is a job of the same kind as every other: one task, attempts, causes, a place in its queue. It has no job
definition, no dependencies and no children, is seen by operations of its own alone, and an attempt that the engine has
and has not begun is shown SCHEDULED, where it is RUNNABLE of any other job.

A `clientToken` is remembered for eight hours with what it came with, as those of consumable resources; the same request
again is rejected (API_SubmitServiceJob: "the second request is rejected"). Tokens are rows: they outlive a restart.
"""

from collections.abc import Callable
from typing import Any, Final

from batchery.core.changes import Change, Reprioritized, Submitted, TokenUsed
from batchery.core.consumables import TOKEN_MS
from batchery.core.instances import SERVICE
from batchery.core.messages import Command, Refused, SubmitService, UpdateServiceJob
from batchery.core.model import DELETING, ENABLED, Job, World
from batchery.core.policies import admit


def submit(world: World, cmd: SubmitService, now: int) -> list[Change]:
    """Refused for a queue that is not there or takes no service jobs, and for a request that was made already."""
    queue = world.queues.get(cmd.queue)
    if queue is None or queue.realm != cmd.realm or queue.status == DELETING:
        raise Refused(f"JobQueue {cmd.queue} not found.")
    if queue.state != ENABLED:
        raise Refused(f"Job queue {queue.name} is not ENABLED", wrapped=True)  # ours
    if queue.type != SERVICE:
        raise Refused(f"Service jobs need a job queue of type {SERVICE}", wrapped=True)  # ours
    forget = now - TOKEN_MS
    if cmd.token and world.tokens.get(queue.arn, {}).get(cmd.token, forget) > forget:
        raise Refused("A service job was submitted with this clientToken and the same request already")  # ours
    changes = admit(world, queue, cmd, now)
    if cmd.token:
        changes.append(TokenUsed(queue.arn, cmd.token, now, forget))
    job = Job(
        id=cmd.id,
        seq=world.next_seq,
        realm=cmd.realm,
        queue=cmd.queue,
        name=cmd.name,
        definition="",
        shape=cmd.shape,
        created=now,
        share=cmd.share,
    )
    return [*changes, Submitted(job, cmd.spec, cmd.tags)]


def update(world: World, cmd: UpdateServiceJob, now: int) -> list[Change]:
    """Another priority, from now on. Refused for a job that is not open."""
    job = world.jobs.get(cmd.job)
    if job is None or job.realm != cmd.realm or not job.service or job.closed is not None:
        raise Refused(f"Service job {cmd.job} does not exist or has ended")  # ours
    return [Reprioritized(job.id, cmd.priority)] if job.shape.priority != cmd.priority else []


DECIDE_SERVICES: Final[dict[type[Command], Callable[[World, Any, int], list[Change]]]] = {
    SubmitService: submit,
    UpdateServiceJob: update,
}
