"""jobStateTimeLimitActions: what becomes of a job that is blocked at the head of its queue for too long.

The scheduler keeps who is blocked, why and since when as facts of the queue (`Blocked`). Each fact that one of the
queue's actions is about has an alarm; when it rings and the fact is still there, the job is cancelled (or terminated,
in a queue of service jobs) in the action's words, and the next of its class moves up, blocked from then on.

Source: API_JobStateTimeLimitAction; user guide, "Jobs stuck in a RUNNABLE status".
"""

from typing import Final

from batchery.core.changes import Change
from batchery.core.decide import cancel, terminate
from batchery.core.keys import CHILD
from batchery.core.messages import Cancel, Terminate
from batchery.core.model import Ref, World
from batchery.core.queue import TERMINATE_ACTION, Blocked, TimeLimit, applies, rings

CANCELED: Final = "Canceled by JobStateTimeLimit action due to reason: {}"
TERMINATED: Final = "Terminated by JobStateTimeLimit action due to reason: {}"


def reached(world: World, arn: str, now: int) -> list[Change]:
    """End every job of a queue (ARN) whose time is up."""
    queue = world.queues.get(arn)
    changes: list[Change] = []
    for fact in queue.blocked if queue is not None else ():
        over = [limit for limit in queue.limits if applies(limit, fact) and rings(limit, fact) <= now] if queue else []
        if over:
            changes += _act(world, fact, over[0], now)
    return changes


def _act(world: World, fact: Blocked, limit: TimeLimit, now: int) -> list[Change]:
    job = world.jobs.get(fact.job)
    if job is None:
        return []
    ref = Ref(job.id, fact.index, CHILD) if job.size and not job.gang else Ref(job.id, None)
    if limit.action == TERMINATE_ACTION:
        return terminate(world, Terminate(job.realm, ref, TERMINATED.format(limit.reason), job.service), now)
    return cancel(world, Cancel(job.realm, ref, CANCELED.format(limit.reason)), now)
