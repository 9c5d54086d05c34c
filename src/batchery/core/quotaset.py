"""Quota shares as resources: commands to changes, and their transitions. What they mean to jobs is quotas.py's to say.

Sources: API_CreateQuotaShare, API_UpdateQuotaShare, API_DeleteQuotaShare. Texts are ours but for those of queues.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from batchery.core.changes import Change, QuotaGone, QuotaSet, TagsSet
from batchery.core.decide import void
from batchery.core.messages import Command, CreateQuota, DeleteQuota, Refused, UpdateQuota
from batchery.core.model import CREATING, DELETING, DISABLED, UPDATING, VALID, VOID, Job, World
from batchery.core.shares import BORROW, QUOTA

QUOTA_DELETED: Final = "QuotaShare deleted"
_BUSY: Final = (CREATING, UPDATING, DELETING)


def create(world: World, cmd: CreateQuota, now: int) -> list[Change]:
    quota = cmd.quota
    queue = world.queues.get(quota.queue)
    policy = world.policies.get(queue.policy) if queue is not None else None
    if queue is None or queue.realm != quota.realm or queue.status != VALID:
        raise Refused(f"JobQueue {quota.queue} must exist and be VALID", wrapped=True)
    if policy is None or policy.kind != QUOTA:
        raise Refused(f"Job queue {queue.name} has no quotaSharePolicy", wrapped=True)
    if quota.arn in world.quotas:
        raise Refused("Object already exists")
    if sum(other.queue == quota.queue for other in world.quotas.values()) >= cmd.limit:
        raise Refused(f"Cannot create more than {cmd.limit} quota shares in a job queue", wrapped=True)
    tags: list[Change] = [TagsSet(quota.arn, cmd.tags, ())] if cmd.tags else []
    return [QuotaSet(replace(quota, status=CREATING, created=now)), *tags]


def update(world: World, cmd: UpdateQuota, now: int) -> list[Change]:
    quota = world.quotas.get(cmd.arn)
    if quota is None:
        raise Refused(f"{cmd.arn} does not exist")
    if quota.status in _BUSY:
        raise Refused("Cannot update, resource is being modified")
    strategy = quota.strategy if cmd.strategy is None else cmd.strategy
    borrow = -1 if strategy != BORROW else quota.borrow if cmd.borrow is None else cmd.borrow
    changed = replace(
        quota,
        status=UPDATING,
        limits=quota.limits if cmd.limits is None else cmd.limits,
        strategy=strategy,
        borrow=borrow,
        in_share=quota.in_share if cmd.in_share is None else cmd.in_share,
        state=quota.state if cmd.state is None else cmd.state,
    )
    return [QuotaSet(changed)]


def delete(world: World, cmd: DeleteQuota, now: int) -> list[Change]:
    quota = world.quotas.get(cmd.arn)
    if quota is None:
        return []
    if quota.status in _BUSY:
        raise Refused("Cannot delete, resource is being modified")
    if quota.state != DISABLED:
        raise Refused("Cannot delete, resource must be DISABLED", wrapped=True)
    return [QuotaSet(replace(quota, status=DELETING))]


def settle_quota(world: World, arn: str, now: int) -> list[Change]:
    """End its transition, if it can end now; of one that is being deleted, its jobs."""
    quota = world.quotas[arn]
    if quota.status in (CREATING, UPDATING):
        return [QuotaSet(replace(quota, status=VALID))]
    mine = [job for block in world.blocks.get(quota.queue, ()) for job in block.jobs if _of(job, quota.name)]
    if not mine:
        return [QuotaGone(arn), TagsSet(arn, {}, ("*",))]
    changes: list[Change] = []
    for job in mine:
        if job is not None and not (job.asked is not None and job.asked.kind & VOID):
            changes += void(job, QUOTA_DELETED, now)
    return changes


def _of(job: Job | None, share: str) -> bool:
    return job is not None and job.share == share


DECIDE_QUOTAS: Final[dict[type[Command], Callable[[World, Any, int], list[Change]]]] = {
    CreateQuota: create,
    UpdateQuota: update,
    DeleteQuota: delete,
}
