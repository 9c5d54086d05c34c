"""CreateComputeEnvironment, UpdateComputeEnvironment, DeleteComputeEnvironment, DescribeComputeEnvironments.

`Environment.doc` is the answer of DescribeComputeEnvironments without what World itself knows (name, state, status,
tags): exactly the members that were sent, no defaults invented, so that clients that compare see no difference. What
acts is its `maxvCpus` and its state; see docs/compatibility.md. Form is judged here, existence and transitions in
`core.resources`. Texts were seen in answers of AWS, but for those marked "ours". Decisions 060 and 062.
"""

from collections.abc import Iterator
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from batchery.api.call import Call, operation
from batchery.api.compute import problems
from batchery.api.compute_update import SCALE_DOWN, merged, scales_down, update_problems
from batchery.api.describing import select
from batchery.api.readymade import host_vcpus
from batchery.api.shapes import (
    ComputeEnvironmentDetail,
    ComputeResource,
    CreateComputeEnvironmentRequest,
    CreateComputeEnvironmentResponse,
    DeleteComputeEnvironmentRequest,
    DescribeComputeEnvironmentsRequest,
    DescribeComputeEnvironmentsResponse,
    EcsSettings,
    UpdateComputeEnvironmentRequest,
    UpdateComputeEnvironmentResponse,
    UpdatePolicy,
)
from batchery.api.tags import check_tags
from batchery.api.unsupported import unsupported
from batchery.core import query
from batchery.core.messages import CreateEnvironment, DeleteEnvironment, UpdateEnvironment
from batchery.core.model import DISABLED, Environment
from batchery.spec.names import NAME, cluster_arn, environment_arn

T = TypeVar("T")

UNMANAGED: Final = "UNMANAGED"


@operation
async def create_compute_environment(
    call: Call, ask: CreateComputeEnvironmentRequest
) -> CreateComputeEnvironmentResponse:
    name = ask.compute_environment_name
    arn = environment_arn(call.realm, name)
    call.allow("batch:CreateComputeEnvironment", arn)
    if ask.tags:
        call.allow("batch:TagResource", arn)
    for text in _create_problems(ask):
        raise call.refuse(text)
    if ask.eks_configuration is not None:
        raise unsupported(call, "eksConfiguration")
    check_tags(call, ask.tags)
    resources = None if ask.type == UNMANAGED else ask.compute_resources
    doc = ComputeEnvironmentDetail(
        type=ask.type,
        unmanaged_vcpus=ask.unmanaged_vcpus,
        compute_resources=resources,
        service_role=ask.service_role,
        context=ask.context,
        ecs_settings=ask.ecs_settings,
        container_orchestration_type="ECS",
    )
    environment = Environment(
        arn=arn,
        name=name,
        realm=call.realm,
        kind=_kind(doc),
        max_vcpus=_max_vcpus(doc),
        pool=arn,
        doc=msgspec.json.encode(doc).decode(),
        uuid=call.service.new_id(),
    )
    response = CreateComputeEnvironmentResponse(compute_environment_name=name, compute_environment_arn=arn)
    command = CreateEnvironment(environment, tags=ask.tags or {}, limit=call.service.config.limits.environments)
    await call.submit(command, lambda _: response)
    return response


@operation
async def update_compute_environment(
    call: Call, ask: UpdateComputeEnvironmentRequest
) -> UpdateComputeEnvironmentResponse:
    """Merged here with what is stored now; the command says from what, so a change in between is noticed."""
    environment = call.service.look(query.resolve_environment, call.realm, ask.compute_environment)
    arn = environment.arn if environment is not None else _arn(call, ask.compute_environment)
    call.allow("batch:UpdateComputeEnvironment", arn)
    if environment is None:
        raise call.refuse(f"{ask.compute_environment} does not exist", wrapped=False)
    if ask.eks_configuration is not None:
        raise unsupported(call, "eksConfiguration")
    old = msgspec.json.decode(environment.doc, type=ComputeEnvironmentDetail)
    for text in _update_problems(old, ask):
        raise call.refuse(text)
    new = replace(
        old,
        unmanaged_vcpus=_or(ask.unmanaged_vcpus, old.unmanaged_vcpus),
        compute_resources=_resources_after(call, old.compute_resources, ask),
        service_role=ask.service_role or old.service_role,
        update_policy=_update_policy(old.update_policy, ask.update_policy),
        context=_or(ask.context, old.context),
        ecs_settings=_ecs_settings(old.ecs_settings, ask.ecs_settings),
    )
    response = UpdateComputeEnvironmentResponse(
        compute_environment_name=environment.name, compute_environment_arn=environment.arn
    )
    command = UpdateEnvironment(
        environment.arn,
        state=ask.state,
        kind=_kind(new),
        max_vcpus=environment.max_vcpus if _ceiling(new) == _ceiling(old) else _max_vcpus(new),
        doc=msgspec.json.encode(new).decode(),
        seen=environment.doc,
    )
    await call.submit(command, lambda _: response)
    return response


@operation
async def delete_compute_environment(call: Call, ask: DeleteComputeEnvironmentRequest) -> None:
    """Unknown is a success."""
    environment = call.service.look(query.resolve_environment, call.realm, ask.compute_environment)
    arn = environment.arn if environment is not None else _arn(call, ask.compute_environment)
    call.allow("batch:DeleteComputeEnvironment", arn)
    if environment is not None:
        await call.submit(DeleteEnvironment(arn))


@operation
async def describe_compute_environments(
    call: Call, ask: DescribeComputeEnvironmentsRequest
) -> DescribeComputeEnvironmentsResponse:
    call.allow("batch:DescribeComputeEnvironments")
    environments = await call.service.ask(query.environments, call.realm)
    page, token = select(
        call, "ComputeEnvironments", environments, ask.compute_environments, ask.max_results, ask.next_token
    )
    tags = await call.service.reads.tags([environment.arn for environment in page])
    trouble = call.service.look(query.trouble)
    return DescribeComputeEnvironmentsResponse(
        compute_environments=[_detail(environment, tags.get(environment.arn, {}), trouble) for environment in page],
        next_token=token,
    )


def _detail(environment: Environment, tags: dict[str, str], trouble: str) -> ComputeEnvironmentDetail:
    """``trouble``: why the engine begins nothing, in its words."""
    return replace(
        msgspec.json.decode(environment.doc, type=ComputeEnvironmentDetail),
        compute_environment_name=environment.name,
        compute_environment_arn=environment.arn,
        ecs_cluster_arn=cluster_arn(environment.arn),
        state=environment.state,
        status=environment.status,
        status_reason=trouble or environment.status_reason or None,
        uuid=environment.uuid,
        tags=tags,
    )


def _arn(call: Call, ref: str) -> str:
    return ref if ref.startswith("arn:") else environment_arn(call.realm, ref)


# ------------------------------------------------------------------------------------------------------------ form


def _create_problems(ask: CreateComputeEnvironmentRequest) -> Iterator[str]:
    if NAME.fullmatch(ask.compute_environment_name) is None:
        yield "Compute Environment name should match a valid pattern."
    if ask.state == DISABLED:
        yield "Compute Environment must be created in ENABLED state."
    if ask.type == UNMANAGED:
        yield from _unmanaged_problems(ask.unmanaged_vcpus, ask.service_role)
    elif ask.unmanaged_vcpus is not None:
        yield "unmanagedvCpus is not applicable for managed Compute Environment."
    elif ask.compute_resources is None:
        yield "computeResources must be provided for a MANAGED compute environment"
    else:
        yield from problems(ask.compute_resources)


def _unmanaged_problems(vcpus: int | None, role: str | None) -> Iterator[str]:
    """`computeResources` of an UNMANAGED environment are ignored, as AWS does."""
    if not role:
        yield "ServiceRole is required."
    elif _linked(role):
        yield "Service Linked Role cannot be used with UNMANAGED Compute Environment"
    if vcpus is not None and vcpus < 1:
        yield "unmanagedvCpus must be at least 1."  # ours


def _update_problems(old: ComputeEnvironmentDetail, ask: UpdateComputeEnvironmentRequest) -> Iterator[str]:
    role = ask.service_role
    if old.type == UNMANAGED:
        yield from _unmanaged_problems(ask.unmanaged_vcpus, role or old.service_role)
    else:
        if ask.unmanaged_vcpus is not None:
            yield "unmanagedvCpus is not applicable for managed Compute Environment."
        if role and _linked(role) != _linked(old.service_role):
            yield "A service-linked role can not be changed to another role, nor another role to it"  # ours
        if old.compute_resources is not None and ask.compute_resources is not None:
            yield from update_problems(old.compute_resources, ask.compute_resources)


def _linked(role: str | None) -> bool:
    """Whether the role is Batch's service-linked one, which it is by default."""
    return not role or "AWSServiceRoleForBatch" in role


# ----------------------------------------------------------------------------------------------------------- merge


def _resources_after(
    call: Call, old: ComputeResource | None, ask: UpdateComputeEnvironmentRequest
) -> ComputeResource | None:
    """Raises ApiError if the update would leave what CreateComputeEnvironment would refuse."""
    update = ask.compute_resources
    if old is None or update is None:
        return old
    new = merged(old, update)
    for text in problems(new):
        raise call.refuse(text)
    if scales_down(old, update):
        raise call.refuse(SCALE_DOWN, wrapped=False)
    return new


def _or(new: T | None, old: T | None) -> T | None:
    return old if new is None else new


def _update_policy(old: UpdatePolicy | None, new: UpdatePolicy | None) -> UpdatePolicy | None:
    if old is None or new is None:
        return _or(new, old)
    return UpdatePolicy(
        terminate_jobs_on_update=_or(new.terminate_jobs_on_update, old.terminate_jobs_on_update),
        job_execution_timeout_minutes=_or(new.job_execution_timeout_minutes, old.job_execution_timeout_minutes),
    )


def _ecs_settings(old: EcsSettings | None, new: EcsSettings | None) -> EcsSettings | None:
    if old is None or new is None:
        return _or(new, old)
    return EcsSettings(container_insights=_or(new.container_insights, old.container_insights))


def _kind(doc: ComputeEnvironmentDetail) -> str:
    return UNMANAGED if doc.compute_resources is None else doc.compute_resources.type


def _ceiling(doc: ComputeEnvironmentDetail) -> int | None:
    """vCPUs as the client set them, None if it did not."""
    return doc.unmanaged_vcpus if doc.compute_resources is None else doc.compute_resources.max_vcpus


def _max_vcpus(doc: ComputeEnvironmentDetail) -> int:
    """In thousandths; an UNMANAGED environment without `unmanagedvCpus` has the host's."""
    ceiling = _ceiling(doc)
    return (host_vcpus() if ceiling is None else ceiling) * 1000
