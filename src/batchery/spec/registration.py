"""May this job definition be registered? Raises Refused with AWS's text, or nothing.

The rules of containers and tasks are in container.py; here is what a definition is around them.
Source: API_RegisterJobDefinition, user guide "Job definition parameters".
"""

import msgspec

from batchery.api.shapes import ContainerProperties, NodeProperties, RegisterJobDefinitionRequest
from batchery.config import Limits
from batchery.core.messages import Refused
from batchery.spec.consumables import check_consumables
from batchery.spec.container import FARGATE, check_container, check_task, task_of
from batchery.spec.ecs import check_ecs
from batchery.spec.eks import check_eks
from batchery.spec.kinds import check_kinds
from batchery.spec.names import NAME
from batchery.spec.nodes import check_nodes
from batchery.spec.rules import check_legacy, check_needed, check_priority, check_retry, check_timeout


def on_fargate(platforms: list[str] | None) -> bool:
    """Whether the rules of Fargate hold for a definition with these platformCapabilities."""
    return FARGATE in (platforms or ())


def check_registration(ask: RegisterJobDefinitionRequest, limits: Limits) -> None:
    """Every rule of RegisterJobDefinition but that of tags (`api.tags.check_tags`)."""
    if NAME.fullmatch(ask.job_definition_name) is None:
        raise Refused("Job definition name should match a valid pattern.", True)
    check_kinds(ask)
    _check_platforms(ask)
    size = len(msgspec.json.encode(ask))
    if size > limits.definition_bytes:
        most, got = limits.definition_bytes // 1024, -(-size // 1024)
        raise Refused(f"Job definition size must be less than {most} KiB, got {got} KiB", True)  # ours
    check_retry(ask.retry_strategy, limits)
    check_timeout(ask.timeout, limits)
    check_consumables(ask.consumable_resource_properties, limits)
    check_priority(ask.scheduling_priority)
    if ask.container_properties is not None:
        check_properties(ask.container_properties, ask.platform_capabilities)
    elif ask.ecs_properties is not None:
        check_ecs(ask.ecs_properties, ask.platform_capabilities)
    elif ask.eks_properties is not None:
        check_eks(ask.eks_properties)
    elif ask.node_properties is not None:
        _check_node_ranges(ask.node_properties, ask.platform_capabilities, limits)


def _check_platforms(ask: RegisterJobDefinitionRequest) -> None:
    """One at most, as AWS was seen to ask; the reference speaks of a list."""
    platforms = ask.platform_capabilities or []
    if len(platforms) > 1:
        raise Refused("Exactly 1 capability must be provided.", True)
    if platforms == ["MANAGED_INSTANCES"]:
        if ask.container_properties is not None:
            raise Refused("Cannot use ECS containerProperties for MANAGED_INSTANCES", True)
        if ask.node_properties is not None:
            raise Refused("MANAGED_INSTANCES does not support MNP jobs", True)


def _check_node_ranges(properties: NodeProperties, platforms: list[str] | None, limits: Limits) -> None:
    if on_fargate(platforms):
        raise Refused("Fargate does not support MNP jobs", True)
    check_nodes(properties, limits)
    for one in properties.node_range_properties:
        check_consumables(one.consumable_resource_properties, limits)
        if one.container is not None:
            check_properties(one.container, platforms)
        elif one.ecs_properties is not None:
            check_ecs(one.ecs_properties, platforms)
        elif one.eks_properties is not None:
            check_eks(one.eks_properties)


def check_properties(container: ContainerProperties, platforms: list[str] | None) -> None:
    """Every rule of containerProperties."""
    task = task_of(container, platforms)
    check_legacy(container.vcpus, container.memory, task.fargate)
    check_task(task)
    check_container(container, task)
    check_needed(container, task.fargate)
    if task.fargate and container.instance_type:
        raise Refused("instanceType is not applicable for Fargate.", True)
