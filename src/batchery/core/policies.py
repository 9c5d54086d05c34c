"""Scheduling policies: commands to changes, and what a policy asks of the jobs submitted to its queue.

A queue has a policy from its creation on, or never: it can be replaced by another of its kind, not removed, and a FIFO
queue cannot get one (API_CreateJobQueue). Texts that nobody has seen AWS answer are marked "ours".
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from batchery.core.changes import Change, PolicyGone, PolicySet, SharesForgotten, TagsSet
from batchery.core.fairshare import active_shares
from batchery.core.instances import SERVICE
from batchery.core.messages import Command, CreatePolicy, DeletePolicy, Refused, Submit, SubmitService, UpdatePolicy
from batchery.core.model import DELETING, ENABLED, Queue, Realm, World
from batchery.core.shares import FAIR, NO_SHARE, NOT_FAIR, QUOTA


def create_policy(world: World, cmd: CreatePolicy, now: int) -> list[Change]:
    policy = cmd.policy
    if policy.arn in world.policies:
        raise Refused("Object already exists")
    tags: list[Change] = [TagsSet(policy.arn, cmd.tags, ())] if cmd.tags else []
    return [PolicySet(replace(policy, created=now)), *tags]


def update_policy(world: World, cmd: UpdatePolicy, now: int) -> list[Change]:
    held = world.policies.get(cmd.policy.arn)
    if held is None:
        raise Refused(f"{cmd.policy.arn} does not exist")
    if held.kind != cmd.policy.kind:
        raise Refused("A fairsharePolicy can not be changed to a quotaSharePolicy, nor the other way", True)  # ours
    return [PolicySet(replace(cmd.policy, created=held.created))]


def delete_policy(world: World, cmd: DeletePolicy, now: int) -> list[Change]:
    """Refused while a queue has it, also one that is being deleted."""
    if cmd.arn not in world.policies:
        return []
    if any(queue.policy == cmd.arn for queue in world.queues.values()):
        raise Refused("Cannot delete, found existing JobQueue relationship")  # as AWS says of compute environments
    return [PolicyGone(cmd.arn), TagsSet(cmd.arn, {}, ("*",))]


def check_policy(world: World, realm: Realm, queue: Queue, arn: str) -> None:
    """Whether a queue, as it is to be, may have this policy."""
    policy = world.policies.get(arn)
    if policy is None or policy.realm != realm:
        raise Refused(f"SchedulingPolicy {arn} not found.")
    if policy.kind == QUOTA and queue.type != SERVICE:
        raise Refused("Quota Management feature is only supported for SageMaker Training job queues.", True)


def check_environments(world: World, queue: Queue) -> None:
    """Whether a queue, as it is to be, may have its environments: where instances are limited by type one queue has
    them, if that is quota-managed, and it has no others (user guide, "Create quota management resources")."""
    managed = _is_managed(world, queue)
    for _, arn in queue.order:
        others = [
            other
            for other in world.queues.values()
            if other.arn != queue.arn and any(arn == one for _, one in other.order)
        ]
        if managed and not world.environments[arn].units:
            raise Refused(
                "Capacity limits of a quota-managed queue's service environment must be by instance type", True
            )
        if any(managed or _is_managed(world, other) for other in others):
            raise Refused("A quota-managed job queue shares its service environment with no other job queue", True)


def _is_managed(world: World, queue: Queue) -> bool:
    policy = world.policies.get(queue.policy)
    return policy is not None and policy.kind == QUOTA


def check_replacement(world: World, queue: Queue, arn: str) -> None:
    """Whether a queue that exists may get this policy instead of the one it has."""
    if not queue.policy:
        raise Refused("A scheduling policy can not be added to a FIFO job queue", True)  # ours
    if not arn:
        raise Refused("The scheduling policy of a job queue can not be removed", True)  # ours
    check_policy(world, queue.realm, queue, arn)
    if world.policies[arn].kind != world.policies[queue.policy].kind:
        raise Refused("A scheduling policy can only be replaced by one of the same kind", True)  # ours


def admit(world: World, queue: Queue, cmd: Submit | SubmitService, now: int) -> list[Change]:
    """A share identifier where the queue's policy wants one, and nowhere else; and not one too many.

    Shares that have become inactive make room: they are forgotten.
    """
    policy = world.policies.get(queue.policy)
    if policy is not None and policy.kind == QUOTA:
        _admit_quota(world, queue, cmd)
        return []
    if policy is None or policy.kind != FAIR:
        if cmd.share:
            raise Refused(NOT_FAIR)
        return []
    if not cmd.share:
        raise Refused(NO_SHARE)
    shares = world.shares.get(queue.arn, {})
    if cmd.share in shares:
        return []
    active = set(active_shares(world, queue.arn, now))
    if len(active) >= cmd.most_shares:
        raise Refused(f"Job queue {queue.name} has {len(active)} active share identifiers already", True)  # ours
    gone = tuple(share for share in shares if share not in active)
    return [SharesForgotten(queue.arn, gone)] if gone else []


def _admit_quota(world: World, queue: Queue, cmd: Submit | SubmitService) -> None:
    quota = world.quotas.get(f"{queue.arn}/quota-share/{cmd.share}")
    if quota is None or quota.status == DELETING:
        raise Refused(f"Quota share {cmd.share} does not exist in job queue {queue.name}", True)  # ours
    if quota.state != ENABLED:
        raise Refused(f"Quota share {cmd.share} is not ENABLED", True)  # ours
    if not cmd.shape.unit:
        raise Refused("A job of a quota share must take instances of one type", True)  # ours


DECIDE_POLICIES: Final[dict[type[Command], Callable[[World, Any, int], list[Change]]]] = {
    CreatePolicy: create_policy,
    UpdatePolicy: update_policy,
    DeletePolicy: delete_policy,
}
