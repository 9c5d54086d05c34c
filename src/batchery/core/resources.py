"""What becomes of queues, compute environments, definitions and tags: commands to changes, and due follow-ups.

Every function reads World and returns changes, or raises `Refused` before anything has moved; none mutates. A change
carries a whole copy of the struct that it sets.

A resource has two independent fields (AWS user guide, "Compute environments"). ``state`` is the user's wish and acts
at once. ``status`` is the service's: a create, update or delete puts the resource in transition, the `settle`
functions, which `follow` makes due, end that transition, and until then no other update or delete is let in::

    create -> CREATING -> VALID      update -> UPDATING -> VALID      delete -> DELETING -> gone

An infrastructure update lasts until what ran before it has ended (replacing.py). A queue in DELETING goes when its
last open job has ended; an environment when no attempt runs in it any more.

Texts that nobody has seen AWS answer are marked "ours". Decisions 060 and 061.
"""

from collections.abc import Callable, Container
from typing import Any, Final

from msgspec.structs import replace

from batchery.core.changes import (
    Change,
    DefinitionSet,
    EnvironmentGone,
    EnvironmentSet,
    QueueGone,
    QueueSet,
    RealmOpened,
    TagsSet,
)
from batchery.core.forgetting import forget
from batchery.core.instances import SERVICE, is_service
from batchery.core.messages import (
    Command,
    CreateEnvironment,
    CreateQueue,
    DeleteEnvironment,
    DeleteQueue,
    Deregister,
    EnsureRealm,
    ForgetDefinitions,
    Refused,
    Register,
    Tag,
    UpdateEnvironment,
    UpdateQueue,
)
from batchery.core.model import (
    CREATING,
    DELETING,
    DISABLED,
    INACTIVE,
    UPDATING,
    VALID,
    Definition,
    Realm,
    World,
)
from batchery.core.policies import check_environments, check_policy, check_replacement
from batchery.core.replacing import replacing

IN_TRANSITION: Final = frozenset({CREATING, UPDATING, DELETING})
HEALTHY: Final = "ComputeEnvironment Healthy"

#: What an environment's kind is a kind of: a queue holds environments of one family (API_CreateJobQueue).
FAMILIES: Final = {
    "EC2": "EC2",
    "SPOT": "EC2",
    "UNMANAGED": "EC2",
    "FARGATE": "FARGATE",
    "FARGATE_SPOT": "FARGATE",
    "ECS_MANAGED_INSTANCES": "ECS_MANAGED_INSTANCES",
    "EKS": "EKS",
    "EKS_SPOT": "EKS",
    SERVICE: SERVICE,
}
#: The jobQueueType of a queue of one family.
QUEUE_TYPES: Final = {
    "EC2": "ECS",
    "FARGATE": "ECS_FARGATE",
    "ECS_MANAGED_INSTANCES": "ECS_MANAGED_INSTANCES",
    "EKS": "EKS",
    SERVICE: SERVICE,
}


def _require(condition: bool, text: str, wrapped: bool = False) -> None:
    if not condition:
        raise Refused(text, wrapped)


def _tagged(arn: str, tags: dict[str, str]) -> list[Change]:
    return [TagsSet(arn, tags, ())] if tags else []


# ---------------------------------------------------------------------------------------------------------- realms


def ensure_realm(world: World, cmd: EnsureRealm, now: int) -> list[Change]:
    """The ready-made environment and queue, once in the life of a realm: deleted ones do not come back."""
    if cmd.realm in world.realms:
        return []
    changes: list[Change] = [RealmOpened(cmd.realm)]
    if cmd.environment.arn not in world.environments:
        changes.append(EnvironmentSet(replace(cmd.environment, status=VALID, status_reason=HEALTHY, created=now)))
    if cmd.queue.arn not in world.queues:
        changes.append(QueueSet(replace(cmd.queue, status=VALID, created=now)))
    return changes


# ---------------------------------------------------------------------------------------------------------- queues


def create_queue(world: World, cmd: CreateQueue, now: int) -> list[Change]:
    queue = cmd.queue
    _require(queue.arn not in world.queues, "Object already exists")
    held = sum(other.realm == queue.realm for other in world.queues.values())
    _require(held < cmd.limit, f"Cannot create more than {cmd.limit} job queues", wrapped=True)  # ours
    _check_order(world, queue.realm, queue.order, queue.type)
    if queue.policy:
        check_policy(world, queue.realm, queue, queue.policy)
    check_environments(world, queue)
    return [QueueSet(replace(queue, status=CREATING, created=now)), *_tagged(queue.arn, cmd.tags)]


def update_queue(world: World, cmd: UpdateQueue, now: int) -> list[Change]:
    queue = world.queues.get(cmd.arn)
    if queue is None:
        raise Refused(f"{cmd.arn} does not exist")
    _require(queue.status not in IN_TRANSITION, "Cannot update, resource is being modified")
    if cmd.order is not None:
        _check_order(world, queue.realm, cmd.order, queue.type)
    if cmd.policy is not None:
        check_replacement(world, queue, cmd.policy)
    changed = replace(
        queue,
        status=UPDATING,
        state=queue.state if cmd.state is None else cmd.state,
        priority=queue.priority if cmd.priority is None else cmd.priority,
        order=queue.order if cmd.order is None else cmd.order,
        policy=queue.policy if cmd.policy is None else cmd.policy,
        limits=queue.limits if cmd.limits is None else cmd.limits,
    )
    if cmd.order is not None:
        check_environments(world, changed)
    return [QueueSet(changed)]


def delete_queue(world: World, cmd: DeleteQueue, now: int) -> list[Change]:
    """DELETING only: ending its open jobs is `decide`'s, the last of them makes it due for `settle_queue`."""
    queue = world.queues.get(cmd.arn)
    if queue is None:
        return []
    _require(queue.status not in IN_TRANSITION, "Cannot delete, resource is being modified")
    _require(queue.state == DISABLED, "Cannot delete, resource must be DISABLED", wrapped=True)  # ours
    held = any(quota.queue == cmd.arn for quota in world.quotas.values())
    _require(not held, "Cannot delete, found existing QuotaShare relationship", wrapped=True)  # ours
    return [QueueSet(replace(queue, status=DELETING))]


def settle_queue(world: World, arn: str, now: int) -> list[Change]:
    """End the transition of a queue, if it can end now."""
    queue = world.queues.get(arn)
    if queue is None:
        return []
    if queue.status in (CREATING, UPDATING):
        return [QueueSet(replace(queue, status=VALID))]
    if queue.status == DELETING and not any(block.live for block in world.blocks.get(arn, ())):
        return [QueueGone(arn), TagsSet(arn, {}, ("*",))]
    return []


def _check_order(world: World, realm: Realm, order: tuple[tuple[int, str], ...], queue_type: str) -> None:
    """Every environment exists here and is VALID; all are of one family, and of the queue's type if it has one."""
    families: set[str] = set()
    for _, arn in order:
        environment = world.environments.get(arn)
        if environment is None or environment.realm != realm or environment.status != VALID:
            what = "Service environments" if queue_type == SERVICE else "Compute Environments"
            raise Refused(f"{what} must be created and valid before attaching them to a job queue.")
        families.add(FAMILIES[environment.kind])
        _require(
            is_service(environment) == (queue_type == SERVICE),
            f"Only a job queue of type {SERVICE} has service environments, and only these",  # ours
            wrapped=True,
        )
    _require(
        len(families) <= 1,
        "All attached Compute Environments must be of types [EC2, SPOT] or types [FARGATE_SPOT, FARGATE] or types "
        "[ECS_MANAGED_INSTANCES], not mixed.",
    )
    for family in families:
        _require(queue_type != "EKS" or family == "EKS", "EKS job queue type must have EKS compute environment.", True)
        _require(
            queue_type in ("", QUEUE_TYPES[family]),
            f"A job queue of type {queue_type} can not have compute environments of kind {family}",  # ours
            wrapped=True,
        )


# ---------------------------------------------------------------------------------------------------- environments


def create_environment(world: World, cmd: CreateEnvironment, now: int) -> list[Change]:
    environment = cmd.environment
    _require(environment.arn not in world.environments, "Object already exists")
    service = is_service(environment)
    mine = (other for other in world.environments.values() if is_service(other) == service)
    held = sum(other.realm == environment.realm for other in mine)
    what = "service" if service else "compute"
    _require(held < cmd.limit, f"Cannot create more than {cmd.limit} {what} environments", wrapped=True)  # ours
    created = replace(environment, status=CREATING, created=now)
    return [EnvironmentSet(created), *_tagged(environment.arn, cmd.tags)]


def update_environment(world: World, cmd: UpdateEnvironment, now: int) -> list[Change]:
    """``cmd.doc`` was merged at the edge from ``cmd.seen``: if that is no longer what is stored, somebody else's
    update came between, and the answer is the one for a resource in transition."""
    environment = world.environments.get(cmd.arn)
    if environment is None:
        raise Refused(f"{cmd.arn} does not exist")
    untouched = cmd.seen is None or cmd.seen == environment.doc
    free = environment.status not in IN_TRANSITION and untouched
    _require(free, "Cannot update, resource is being modified")
    changed = replace(
        environment,
        status=UPDATING,
        state=environment.state if cmd.state is None else cmd.state,
        kind=environment.kind if cmd.kind is None else cmd.kind,
        max_vcpus=environment.max_vcpus if cmd.max_vcpus is None else cmd.max_vcpus,
        doc=environment.doc if cmd.doc is None else cmd.doc,
        units=environment.units if cmd.units is None else cmd.units,
    )
    if cmd.patience is not None:
        changed = replace(changed, replaced=now, replace_by=now + cmd.patience)
    return [EnvironmentSet(changed)]


def delete_environment(world: World, cmd: DeleteEnvironment, now: int) -> list[Change]:
    """Refusals in AWS's order. A queue that is UPDATING or DELETING still holds the environments it names."""
    environment = world.environments.get(cmd.arn)
    if environment is None:
        return []
    _require(environment.status not in IN_TRANSITION, "Cannot delete, resource is being modified")
    _require(environment.state == DISABLED, "Cannot delete, resource must be DISABLED", wrapped=True)  # ours
    held = any(cmd.arn == arn for queue in world.queues.values() for _, arn in queue.order)
    _require(not held, "Cannot delete, found existing JobQueue relationship")
    return [EnvironmentSet(replace(environment, status=DELETING))]


def settle_environment(world: World, arn: str, now: int) -> list[Change]:
    """End the transition of an environment, if it can end now."""
    environment = world.environments.get(arn)
    if environment is None:
        return []
    if environment.status in (CREATING, UPDATING):
        if (going := replacing(world, environment, now)) is not None:
            return going
        return [EnvironmentSet(replace(environment, status=VALID, status_reason=HEALTHY, replaced=0, replace_by=0))]
    if environment.status == DELETING and not any(attempt.environment == arn for attempt in world.live.values()):
        return [EnvironmentGone(arn), TagsSet(arn, {}, ("*",))]
    return []


# ----------------------------------------------------------------------------------------------------- definitions


def register(world: World, cmd: Register, now: int) -> list[Change]:
    """The next revision of the name; numbers are never given twice. The answer is ``changes[0]``'s revision."""
    revision = world.revisions.get((cmd.realm, cmd.name), 0) + 1
    arn = f"{cmd.arn}:{revision}"
    definition = Definition(arn, cmd.name, cmd.realm, revision, cmd.doc, created=now)
    return [DefinitionSet(definition), *_tagged(arn, cmd.tags)]


def deregister(world: World, cmd: Deregister, now: int) -> list[Change]:
    """INACTIVE, but kept: jobs and DescribeJobDefinitions still refer to it."""
    definition = world.definitions.get(cmd.arn)
    if definition is None or definition.realm != cmd.realm or definition.status == INACTIVE:
        return []
    return [DefinitionSet(replace(definition, status=INACTIVE, deregistered=now))]


# ------------------------------------------------------------------------------------------------------------ tags


def tag(world: World, cmd: Tag, now: int) -> list[Change]:
    """The edge found the resource; it may have gone since. Jobs stay in the store, so they are the edge's to find."""
    tables: tuple[tuple[str, Container[str]], ...] = (
        (":job-queue/", world.quotas if "/quota-share/" in cmd.arn else world.queues),
        (":compute-environment/", world.environments),
        (":service-environment/", world.environments),
        (":job-definition/", world.definitions),
        (":consumable-resource/", world.consumables),
        (":scheduling-policy/", world.policies),
    )
    for mark, table in tables:
        _require(mark not in cmd.arn or cmd.arn in table, f"{cmd.arn} does not exist")
    return [TagsSet(cmd.arn, cmd.set, cmd.removed)] if cmd.set or cmd.removed else []


DECIDE_RESOURCES: Final[dict[type[Command], Callable[[World, Any, int], list[Change]]]] = {
    EnsureRealm: ensure_realm,
    CreateQueue: create_queue,
    UpdateQueue: update_queue,
    DeleteQueue: delete_queue,
    CreateEnvironment: create_environment,
    UpdateEnvironment: update_environment,
    DeleteEnvironment: delete_environment,
    Register: register,
    Deregister: deregister,
    ForgetDefinitions: forget,
    Tag: tag,
}
