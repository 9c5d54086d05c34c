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
from batchery.api.compute import EC2, problems
from batchery.api.compute_eks import eks_problems, shown
from batchery.api.compute_update import (
    SCALE_DOWN,
    desired_now,
    infrastructure_problems,
    merged,
    replaces_instances,
    scales_down,
    update_problems,
)
from batchery.api.describing import select
from batchery.api.readymade import host_vcpus
from batchery.api.shapes import (
    ComputeEnvironmentDetail,
    ComputeResource,
    ComputeResourceUpdate,
    CreateComputeEnvironmentRequest,
    CreateComputeEnvironmentResponse,
    DeleteComputeEnvironmentRequest,
    DescribeComputeEnvironmentsRequest,
    DescribeComputeEnvironmentsResponse,
    EcsSettings,
    EksConfiguration,
    EksConfigurationUpdate,
    UpdateComputeEnvironmentRequest,
    UpdateComputeEnvironmentResponse,
    UpdatePolicy,
)
from batchery.api.tags import check_tags
from batchery.core import query
from batchery.core.messages import CreateEnvironment, DeleteEnvironment, UpdateEnvironment
from batchery.core.model import DISABLED, Environment
from batchery.spec.names import NAME, cluster_arn, environment_arn

T = TypeVar("T")

UNMANAGED: Final = "UNMANAGED"
EKS: Final = "EKS"
EKS_SPOT: Final = "EKS_SPOT"
EKS_KINDS: Final = (EKS, EKS_SPOT)
UPDATE_MINUTES: Final = 30  #: that jobs go on during an infrastructure update (API_UpdatePolicy)


@operation
async def create_compute_environment(
    call: Call, ask: CreateComputeEnvironmentRequest
) -> CreateComputeEnvironmentResponse:
    name = ask.compute_environment_name
    arn = environment_arn(call.realm, name)
    call.allow_making("batch:CreateComputeEnvironment", arn, ask.tags)
    resources = None if ask.type == UNMANAGED else ask.compute_resources
    _allow_capacity_tags(call, arn, resources)
    for text in _create_problems(ask):
        raise call.refuse(text)
    check_tags(call, ask.tags)
    _check_cluster(call, ask.eks_configuration)
    doc = ComputeEnvironmentDetail(
        type=ask.type,
        unmanaged_vcpus=ask.unmanaged_vcpus,
        compute_resources=resources,
        service_role=ask.service_role,
        context=ask.context,
        ecs_settings=ask.ecs_settings,
        eks_configuration=ask.eks_configuration,
        container_orchestration_type="ECS" if ask.eks_configuration is None else "EKS",
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
    _allow_capacity_tags(call, arn, ask.compute_resources)
    old = msgspec.json.decode(environment.doc, type=ComputeEnvironmentDetail)
    for text in _update_problems(old, ask):
        raise call.refuse(text)
    in_use = call.service.look(query.vcpus_in_use, [arn])[arn]
    new = replace(
        old,
        unmanaged_vcpus=_or(ask.unmanaged_vcpus, old.unmanaged_vcpus),
        compute_resources=_resources_after(call, old, ask, in_use),
        service_role=ask.service_role or old.service_role,
        update_policy=_update_policy(old.update_policy, ask.update_policy),
        context=_or(ask.context, old.context),
        ecs_settings=_ecs_settings(old.ecs_settings, ask.ecs_settings),
        eks_configuration=_eks_after(old.eks_configuration, ask.eks_configuration),
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
        patience=_patience(call, old, new, ask.compute_resources),
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
    arns = [one.arn for one in page]
    troubles, in_use = call.service.look(query.troubles, arns), call.service.look(query.vcpus_in_use, arns)
    details = [_detail(one, tags.get(one.arn, {}), troubles.get(one.arn, ""), in_use[one.arn]) for one in page]
    return DescribeComputeEnvironmentsResponse(compute_environments=details, next_token=token)


def _detail(environment: Environment, tags: dict[str, str], trouble: str, in_use: int) -> ComputeEnvironmentDetail:
    """``trouble``: why its engine begins nothing, in its words; ``in_use``: vCPUs."""
    doc = msgspec.json.decode(environment.doc, type=ComputeEnvironmentDetail)
    resources = doc.compute_resources
    if resources is not None and resources.type in EC2:
        resources = replace(resources, desired_vcpus=desired_now(resources, in_use))
    return replace(
        doc,
        compute_resources=resources,
        compute_environment_name=environment.name,
        compute_environment_arn=environment.arn,
        ecs_cluster_arn=cluster_arn(environment.arn) if doc.eks_configuration is None else None,
        eks_configuration=shown(doc.eks_configuration),
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
    if ask.eks_configuration is not None:
        yield from eks_problems(ask.eks_configuration)
    if ask.type == UNMANAGED:
        yield from _unmanaged_problems(ask.unmanaged_vcpus, ask.service_role, ask.eks_configuration is not None)
    elif ask.unmanaged_vcpus is not None:
        yield "unmanagedvCpus is not applicable for managed Compute Environment."
    elif ask.compute_resources is None:
        yield "computeResources must be provided for a MANAGED compute environment"
    else:
        yield from problems(ask.compute_resources, ask.eks_configuration is not None)


def _unmanaged_problems(vcpus: int | None, role: str | None, eks: bool) -> Iterator[str]:
    """`computeResources` of an UNMANAGED environment are ignored, as AWS does."""
    if eks:
        pass  # which is served by the service-linked role
    elif not role:
        yield "ServiceRole is required."
    elif _linked(role):
        yield "Service Linked Role cannot be used with UNMANAGED Compute Environment"
    if vcpus is not None and vcpus < 1:
        yield "unmanagedvCpus must be at least 1."  # ours


def _update_problems(old: ComputeEnvironmentDetail, ask: UpdateComputeEnvironmentRequest) -> Iterator[str]:
    role = ask.service_role
    if ask.eks_configuration is not None and old.eks_configuration is None:
        yield "eksConfiguration is only applicable for EKS compute environments."  # ours
    if old.type == UNMANAGED:
        yield from _unmanaged_problems(ask.unmanaged_vcpus, role or old.service_role, old.eks_configuration is not None)
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
    call: Call, old: ComputeEnvironmentDetail, ask: UpdateComputeEnvironmentRequest, in_use: int
) -> ComputeResource | None:
    """Raises ApiError if the update would leave what CreateComputeEnvironment would refuse."""
    resources, update = old.compute_resources, ask.compute_resources
    if resources is None or update is None:
        return resources
    new = merged(resources, update)
    for text in problems(new, old.eks_configuration is not None):
        raise call.refuse(text)
    if scales_down(resources, update, in_use):
        raise call.refuse(SCALE_DOWN, wrapped=False)
    return new


def _patience(
    call: Call, old: ComputeEnvironmentDetail, new: ComputeEnvironmentDetail, update: ComputeResourceUpdate | None
) -> int | None:
    """How long an infrastructure update lets running jobs go on, ms; None for a scaling update. Raises ApiError."""
    before, after = old.compute_resources, new.compute_resources
    if before is None or after is None or update is None or not replaces_instances(before, after, update):
        return None
    for text in infrastructure_problems(before, after, _linked(new.service_role)):
        raise call.refuse(text)
    policy = new.update_policy or UpdatePolicy()
    if policy.terminate_jobs_on_update:
        return 0
    return (policy.job_execution_timeout_minutes or UPDATE_MINUTES) * call.service.config.update_minute * 1000


def _eks_after(old: EksConfiguration | None, update: EksConfigurationUpdate | None) -> EksConfiguration | None:
    if old is None or update is None:
        return old
    return replace(old, access_entry=_or(update.access_entry, old.access_entry))


def _allow_capacity_tags(call: Call, arn: str, resources: ComputeResource | ComputeResourceUpdate | None) -> None:
    """API_ComputeResource, capacityTags: "You must have the batch:SetCapacityTags permission"."""
    if resources is not None and resources.capacity_tags:
        call.allow("batch:SetCapacityTags", arn)


def _check_cluster(call: Call, eks: EksConfiguration | None) -> None:
    """The quota of environments on one EKS cluster."""
    if eks is None:
        return
    most = call.service.config.limits.environments_per_cluster
    docs = [one.doc for one in call.service.look(query.environments, call.realm) if one.kind in EKS_KINDS]
    found = [msgspec.json.decode(doc, type=ComputeEnvironmentDetail).eks_configuration for doc in docs]
    if sum(one is not None and one.eks_cluster_arn == eks.eks_cluster_arn for one in found) >= most:
        raise call.refuse(f"Cannot create more than {most} compute environments for one EKS cluster")  # ours


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
    """What decides which queues and definitions an environment goes with."""
    kind = UNMANAGED if doc.compute_resources is None else doc.compute_resources.type
    return kind if doc.eks_configuration is None else EKS_SPOT if kind == "SPOT" else EKS


def _ceiling(doc: ComputeEnvironmentDetail) -> int | None:
    """vCPUs as the client set them, None if it did not."""
    return doc.unmanaged_vcpus if doc.compute_resources is None else doc.compute_resources.max_vcpus


def _max_vcpus(doc: ComputeEnvironmentDetail) -> int:
    """In thousandths; an UNMANAGED environment without `unmanagedvCpus` has the host's."""
    ceiling = _ceiling(doc)
    return (host_vcpus() if ceiling is None else ceiling) * 1000
