"""CreateJobQueue, UpdateJobQueue, DeleteJobQueue, DescribeJobQueues.

Form is judged here; whether names are free, environments VALID and nothing in transition is `core.resources`'s, in the
same turn as the change. Texts were seen in answers of AWS, but for those marked "ours". Decision 062.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from batchery.api.call import Call, operation
from batchery.api.describing import select
from batchery.api.shapes import (
    ComputeEnvironmentDetail,
    ComputeEnvironmentOrder,
    CreateJobQueueRequest,
    CreateJobQueueResponse,
    DeleteJobQueueRequest,
    DescribeJobQueuesRequest,
    DescribeJobQueuesResponse,
    JobQueueDetail,
    ServiceEnvironmentOrder,
    UpdateJobQueueRequest,
    UpdateJobQueueResponse,
)
from batchery.api.tags import check_tags
from batchery.api.timelimits import limits_of, limits_shown
from batchery.core import query
from batchery.core.instances import SERVICE
from batchery.core.messages import CreateQueue, DeleteQueue, UpdateQueue
from batchery.core.model import ENABLED, Environment, Queue
from batchery.spec.names import NAME, SCHEDULING_POLICY, SERVICE_ENVIRONMENT, batch_arn, environment_arn, queue_arn

_TYPES: Final = {
    "EC2": "ECS",
    "SPOT": "ECS",
    "UNMANAGED": "ECS",
    "FARGATE": "ECS_FARGATE",
    "FARGATE_SPOT": "ECS_FARGATE",
    "ECS_MANAGED_INSTANCES": "ECS_MANAGED_INSTANCES",
    "EKS": "EKS",
    "EKS_SPOT": "EKS",
    SERVICE: SERVICE,
}


@operation
async def create_job_queue(call: Call, ask: CreateJobQueueRequest) -> CreateJobQueueResponse:
    name, limits = ask.job_queue_name, call.service.config.limits
    arn = queue_arn(call.realm, name)
    call.allow_making("batch:CreateJobQueue", arn, ask.tags)
    if NAME.fullmatch(name) is None:
        raise call.refuse("Job Queue name should match a valid pattern.")
    _check_type(call, ask)
    _check_priority(call, ask.priority)
    check_tags(call, ask.tags)
    if ask.job_queue_type == SERVICE:
        order = _services(call, ask.service_environment_order or [], "batch:CreateJobQueue")
    else:
        order = _order(call, ask.compute_environment_order or [], "batch:CreateJobQueue")
    if ask.scheduling_policy_arn:
        _check_policy_arn(call, ask.scheduling_policy_arn)
        call.allow("batch:CreateJobQueue", ask.scheduling_policy_arn)
    queue = Queue(
        arn=arn,
        name=name,
        realm=call.realm,
        priority=ask.priority,
        order=order,
        state=ask.state or ENABLED,
        type=ask.job_queue_type or "",
        policy=ask.scheduling_policy_arn or "",
        limits=limits_of(call, ask.job_state_time_limit_actions, ask.job_queue_type == SERVICE) or (),
    )
    response = CreateJobQueueResponse(job_queue_name=name, job_queue_arn=arn)
    command = CreateQueue(queue, tags=ask.tags or {}, limit=limits.queues)
    await call.submit(command, lambda _: response)
    return response


@operation
async def update_job_queue(call: Call, ask: UpdateJobQueueRequest) -> UpdateJobQueueResponse:
    queue = call.service.look(query.resolve_queue, call.realm, ask.job_queue)
    call.allow("batch:UpdateJobQueue", queue.arn if queue is not None else _arn(call, ask.job_queue))
    if queue is None:
        raise call.refuse(f"{ask.job_queue} does not exist", wrapped=False)
    _check_family(call, ask, queue.type)
    _check_priority(call, ask.priority)
    order = None
    if ask.compute_environment_order is not None and queue.type != SERVICE:
        order = _order(call, ask.compute_environment_order, "batch:UpdateJobQueue")
    if ask.service_environment_order is not None and queue.type == SERVICE:
        order = _services(call, ask.service_environment_order, "batch:UpdateJobQueue")
    response = UpdateJobQueueResponse(job_queue_name=queue.name, job_queue_arn=queue.arn)
    if ask.scheduling_policy_arn:
        _check_policy_arn(call, ask.scheduling_policy_arn)
        call.allow("batch:UpdateJobQueue", ask.scheduling_policy_arn)
    command = UpdateQueue(
        queue.arn,
        state=ask.state,
        priority=ask.priority,
        order=order,
        policy=ask.scheduling_policy_arn,
        limits=limits_of(call, ask.job_state_time_limit_actions, queue.type == SERVICE),
    )
    await call.submit(command, lambda _: response)
    return response


@operation
async def delete_job_queue(call: Call, ask: DeleteJobQueueRequest) -> None:
    """Unknown is a success."""
    queue = call.service.look(query.resolve_queue, call.realm, ask.job_queue)
    arn = queue.arn if queue is not None else _arn(call, ask.job_queue)
    call.allow("batch:DeleteJobQueue", arn)
    if queue is not None:
        await call.submit(DeleteQueue(arn))


@operation
async def describe_job_queues(call: Call, ask: DescribeJobQueuesRequest) -> DescribeJobQueuesResponse:
    call.allow("batch:DescribeJobQueues")
    queues = await call.service.ask(query.queues, call.realm)
    environments = await call.service.ask(query.environments, call.realm)
    page, token = select(call, "JobQueues", queues, ask.job_queues, ask.max_results, ask.next_token)
    tags = await call.service.reads.tags([queue.arn for queue in page])
    kinds = {environment.arn: environment.kind for environment in environments}
    return DescribeJobQueuesResponse(
        job_queues=[_detail(queue, kinds, tags.get(queue.arn, {})) for queue in page], next_token=token
    )


def _detail(queue: Queue, kinds: dict[str, str], tags: dict[str, str]) -> JobQueueDetail:
    inferred = _TYPES.get(kinds.get(queue.order[0][1], ""))
    return JobQueueDetail(
        job_queue_name=queue.name,
        job_queue_arn=queue.arn,
        state=queue.state,
        scheduling_policy_arn=queue.policy or None,
        status=queue.status,
        status_reason="JobQueue Healthy",
        priority=queue.priority,
        compute_environment_order=[
            ComputeEnvironmentOrder(order=order, compute_environment=arn)
            for order, arn in (() if queue.type == SERVICE else queue.order)
        ],
        service_environment_order=[
            ServiceEnvironmentOrder(order=order, service_environment=arn) for order, arn in queue.order
        ]
        if queue.type == SERVICE
        else None,
        job_queue_type=queue.type or inferred,
        tags=tags,
        job_state_time_limit_actions=limits_shown(queue),
    )


def _arn(call: Call, ref: str) -> str:
    return ref if ref.startswith("arn:") else queue_arn(call.realm, ref)


def _check_type(call: Call, ask: CreateJobQueueRequest) -> None:
    kind = ask.job_queue_type or ""
    if kind == SERVICE and not ask.service_environment_order:
        raise call.refuse(f"Job queues of type {SERVICE} must have serviceEnvironmentOrder.")
    if ask.service_environment_order and kind != SERVICE:
        raise call.refuse(
            "CreateJobQueue requires either setting computeEnvironmentOrder or setting serviceEnvironmentOrder along "
            f"with a supported jobQueueType. The jobQueueType provided is {kind or 'ECS'}, which is incompatible with "
            "the provided serviceEnvironmentOrder."
        )
    _check_family(call, ask, kind)


def _check_family(call: Call, ask: CreateJobQueueRequest | UpdateJobQueueRequest, kind: str) -> None:
    """A queue has compute environments or service environments, by its type."""
    if kind == SERVICE and ask.compute_environment_order:
        raise call.refuse(f"A job queue of type {SERVICE} has a serviceEnvironmentOrder only")  # ours
    if kind != SERVICE and ask.service_environment_order:
        raise call.refuse(f"Only a job queue of type {SERVICE} has a serviceEnvironmentOrder")  # ours


def _services(call: Call, wanted: list[ServiceEnvironmentOrder], action: str) -> tuple[tuple[int, str], ...]:
    """As `_order`, of service environments."""
    pairs: list[tuple[int, str]] = []
    for item in sorted(wanted, key=lambda item: item.order):
        ref = item.service_environment
        found = call.service.look(query.resolve_service, call.realm, ref)
        arn = ref if ref.startswith("arn:") else batch_arn(call.realm, SERVICE_ENVIRONMENT, ref)
        pairs.append((item.order, found.arn if found is not None else arn))
    if pairs:
        call.allow(action, *(arn for _, arn in pairs))
    most = call.service.config.limits.services_per_queue
    if not pairs:
        raise call.refuse(f"Job queues of type {SERVICE} must have serviceEnvironmentOrder.")
    if len(pairs) > most:
        raise call.refuse(f"Job queue can only have {most} service environment{'s' if most > 1 else ''}.")
    if len({arn for _, arn in pairs}) < len(pairs) or len({number for number, _ in pairs}) < len(pairs):
        raise call.refuse("serviceEnvironmentOrder must not have an environment or an order twice")  # ours
    return tuple(pairs)


def _check_policy_arn(call: Call, arn: str) -> None:
    if f":{SCHEDULING_POLICY}/" not in arn:
        raise call.refuse("Only scheduling policy Arn can be allowed.")


def _check_priority(call: Call, priority: int | None) -> None:
    if priority is not None and priority < 0:
        raise call.refuse("Job Queue priority must be at least 0")  # ours


def _order(call: Call, wanted: list[ComputeEnvironmentOrder], action: str) -> tuple[tuple[int, str], ...]:
    """Pairs of order number and ARN, ascending; environments may be named by name or ARN."""
    pairs: list[tuple[int, str]] = []
    found: list[Environment] = []
    for item in sorted(wanted, key=lambda item: item.order):
        environment = call.service.look(query.resolve_environment, call.realm, item.compute_environment)
        if environment is None:
            ref = item.compute_environment
            pairs.append((item.order, ref if ref.startswith("arn:") else environment_arn(call.realm, ref)))
        else:
            pairs.append((item.order, environment.arn))
            found.append(environment)
    if pairs:
        call.allow(action, *(arn for _, arn in pairs))
    for text in _order_problems(pairs, found, call.service.config.limits.environments_per_queue):
        raise call.refuse(text)
    return tuple(pairs)


def _order_problems(pairs: Sequence[tuple[int, str]], found: list[Environment], most: int) -> Iterator[str]:
    if not pairs:
        yield "At least one compute environment is required in computeEnvironmentOrder."  # ours
    if len(pairs) > most:
        yield f"Only {most} environments are allowed in job queue request."
    if len({arn for _, arn in pairs}) < len(pairs):
        yield "Duplicate ComputeEnvironments within order list."
    if len({number for number, _ in pairs}) < len(pairs):
        yield "Duplicate ComputeEnvironment order values."
    managed = [environment for environment in found if environment.kind == "ECS_MANAGED_INSTANCES"]
    if any(_on_spot(first) and not _on_spot(later) for first, later in pairwise(managed)):
        yield "A Spot ECS_MANAGED_INSTANCES compute environment must not come before an On-Demand one."  # ours


def _on_spot(environment: Environment) -> bool:
    """Whether an ECS_MANAGED_INSTANCES environment is on Spot capacity."""
    resources = msgspec.json.decode(environment.doc, type=ComputeEnvironmentDetail).compute_resources
    provider = resources.managed_instances_provider if resources is not None else None
    return provider is not None and provider.instance_launch_template.capacity_option_type == "SPOT"
