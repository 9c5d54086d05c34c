"""CreateServiceEnvironment, UpdateServiceEnvironment, DeleteServiceEnvironment, DescribeServiceEnvironments.

A service environment is an environment whose vCPUs are instances (core/instances.py): state, status and what is refused
when are `core.resources`'s. Sources: API_CreateServiceEnvironment, API_CapacityLimit. Texts were seen in answers of
AWS, but for those marked "ours".
"""

import re
from typing import Final

import msgspec

from batchery.api.call import Call, operation
from batchery.api.describing import select
from batchery.api.shapes import (
    CapacityLimit,
    CreateServiceEnvironmentRequest,
    CreateServiceEnvironmentResponse,
    DeleteServiceEnvironmentRequest,
    DeleteServiceEnvironmentResponse,
    DescribeServiceEnvironmentsRequest,
    DescribeServiceEnvironmentsResponse,
    ServiceEnvironmentDetail,
    UpdateServiceEnvironmentRequest,
    UpdateServiceEnvironmentResponse,
)
from batchery.api.tags import check_tags
from batchery.core import query
from batchery.core.instances import NUM_INSTANCES, SERVICE
from batchery.core.messages import CreateEnvironment, DeleteEnvironment, UpdateEnvironment
from batchery.core.model import ENABLED, Environment
from batchery.spec.names import NAME, SERVICE_ENVIRONMENT, batch_arn

MOST_CAPACITY: Final = 1_000_000_000
_TYPE: Final = re.compile(r"ml\.[a-z0-9-]{1,60}\.[a-z0-9-]{1,60}")  #: of an instance
MOST_LIMITS: Final = 5


@operation
async def create_service_environment(
    call: Call, ask: CreateServiceEnvironmentRequest
) -> CreateServiceEnvironmentResponse:
    name = ask.service_environment_name
    arn = batch_arn(call.realm, SERVICE_ENVIRONMENT, name)
    call.allow_making("batch:CreateServiceEnvironment", arn, ask.tags)
    if NAME.fullmatch(name) is None:
        raise call.refuse("Service environment name should match a valid pattern.")
    check_tags(call, ask.tags)
    most, units = capacity_of(call, ask.capacity_limits)
    environment = Environment(
        arn=arn,
        name=name,
        realm=call.realm,
        kind=SERVICE,
        max_vcpus=most,
        pool=arn,
        doc=_doc(ask.capacity_limits),
        state=ask.state or ENABLED,
        uuid=call.service.new_id(),
        units=units,
    )
    response = CreateServiceEnvironmentResponse(service_environment_name=name, service_environment_arn=arn)
    limit = call.service.config.limits.service_environments
    await call.submit(CreateEnvironment(environment, tags=ask.tags or {}, limit=limit), lambda _: response)
    return response


@operation
async def update_service_environment(
    call: Call, ask: UpdateServiceEnvironmentRequest
) -> UpdateServiceEnvironmentResponse:
    """Limits below what is in use end no job: nothing more begins until there is room."""
    found = call.service.look(query.resolve_service, call.realm, ask.service_environment)
    call.allow("batch:UpdateServiceEnvironment", _arn(call, ask.service_environment))
    if found is None:
        raise call.refuse(f"{ask.service_environment} does not exist", wrapped=False)
    most, units = None, None
    if ask.capacity_limits is not None:
        most, units = capacity_of(call, ask.capacity_limits)
        if bool(units) != bool(found.units):
            raise call.refuse(
                f"capacityLimits in {NUM_INSTANCES} can not become limits by instance type, nor these that"  # ours
            )
    response = UpdateServiceEnvironmentResponse(service_environment_name=found.name, service_environment_arn=found.arn)
    command = UpdateEnvironment(
        found.arn,
        state=ask.state,
        max_vcpus=most,
        units=units,
        doc=_doc(ask.capacity_limits) if ask.capacity_limits is not None else None,
    )
    await call.submit(command, lambda _: response)
    return response


@operation
async def delete_service_environment(
    call: Call, ask: DeleteServiceEnvironmentRequest
) -> DeleteServiceEnvironmentResponse:
    """Unknown is a success."""
    found = call.service.look(query.resolve_service, call.realm, ask.service_environment)
    call.allow("batch:DeleteServiceEnvironment", _arn(call, ask.service_environment))
    if found is not None:
        await call.submit(DeleteEnvironment(found.arn))
    return DeleteServiceEnvironmentResponse()


@operation
async def describe_service_environments(
    call: Call, ask: DescribeServiceEnvironmentsRequest
) -> DescribeServiceEnvironmentsResponse:
    call.allow("batch:DescribeServiceEnvironments")
    found = await call.service.ask(query.environments, call.realm, True)
    page, token = select(call, "ServiceEnvironments", found, ask.service_environments, ask.max_results, ask.next_token)
    tags = await call.service.reads.tags([environment.arn for environment in page])
    return DescribeServiceEnvironmentsResponse(
        service_environments=[
            ServiceEnvironmentDetail(
                service_environment_name=one.name,
                service_environment_arn=one.arn,
                service_environment_type=SERVICE,
                state=one.state,
                status=one.status,
                capacity_limits=msgspec.json.decode(one.doc, type=list[CapacityLimit]),
                tags=tags.get(one.arn, {}),
            )
            for one in page
        ],
        next_token=token,
    )


def _arn(call: Call, ref: str) -> str:
    return ref if ref.startswith("arn:") else batch_arn(call.realm, SERVICE_ENVIRONMENT, ref)


def _doc(limits: list[CapacityLimit]) -> str:
    return msgspec.json.encode(limits).decode()


def capacity_of(call: Call, limits: list[CapacityLimit]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Thousandths of instances in all, and by type where the limits are by type. Raises ApiError."""
    if not limits:
        raise call.refuse("Capacitylimits are required.")
    if len(limits) > MOST_LIMITS:
        raise call.refuse(f"Number of capacity limits exceeds {MOST_LIMITS}.")
    found: dict[str, int] = {}
    for limit in limits:
        unit = limit.capacity_unit or NUM_INSTANCES
        if not is_instance_type(unit) and unit != NUM_INSTANCES:
            raise call.refuse(unknown_unit(unit, NUM_INSTANCES))
        if limit.max_capacity is None or limit.max_capacity <= 0:
            raise call.refuse("Max capacity must be more than 0.")
        if limit.max_capacity > MOST_CAPACITY:
            raise call.refuse(f"maxCapacity must be at most {MOST_CAPACITY}")  # ours
        if unit in found:
            raise call.refuse(f"capacityLimits must not name capacityUnit {unit} twice")  # ours
        found[unit] = 1000 * limit.max_capacity
    if NUM_INSTANCES in found and len(found) > 1:
        raise call.refuse("Capacity units must specify either number of instances OR instance type, but not both")
    return sum(found.values()), () if NUM_INSTANCES in found else tuple(found.items())


def is_instance_type(unit: str) -> bool:
    """Whether it looks like one of SageMaker's. AWS knows a list, which grows."""
    return _TYPE.fullmatch(unit) is not None


def unknown_unit(unit: str, *others: str) -> str:
    """AWS lists every type it knows; the opening words are the ones that clients can match."""
    return f"{unit} is unknown capacity unit in [{', '.join((*others, 'an instance type such as ml.m5.large'))}]"
