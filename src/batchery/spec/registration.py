"""May this job definition be registered? Raises Refused with AWS's text, or nothing.

The rules of containers and tasks are in container.py; here is what a definition is around them.
Source: API_RegisterJobDefinition, user guide "Job definition parameters".
"""

import msgspec

from batchery.api.shapes import ContainerProperties, RegisterJobDefinitionRequest
from batchery.config import Limits
from batchery.core.messages import Refused
from batchery.spec.consumables import check_consumables
from batchery.spec.container import FARGATE, check_container, check_task, task_of
from batchery.spec.ecs import check_ecs
from batchery.spec.eks import check_eks
from batchery.spec.kinds import check_kinds
from batchery.spec.names import NAME
from batchery.spec.rules import check_legacy, check_needed, check_priority, check_retry, check_timeout, refuse_later


def on_fargate(platforms: list[str] | None) -> bool:
    """Whether the rules of Fargate hold for a definition with these platformCapabilities."""
    return FARGATE in (platforms or ())


def check_registration(ask: RegisterJobDefinitionRequest, limits: Limits) -> None:
    """Every rule of RegisterJobDefinition but that of tags (`api.tags.check_tags`)."""
    if NAME.fullmatch(ask.job_definition_name) is None:
        raise Refused("Job definition name should match valid pattern", True)  # ours
    check_kinds(ask)
    refuse_later(
        (
            ("type multinode", ask.type if ask.type == "multinode" else None),
            ("nodeProperties", ask.node_properties),
        )
    )
    size = len(msgspec.json.encode(ask))
    if size > limits.definition_bytes:
        most, got = limits.definition_bytes // 1024, -(-size // 1024)
        raise Refused(f"Job definition size must be less than {most} KiB, got {got} KiB", True)  # ours
    check_retry(ask.retry_strategy, limits)
    check_timeout(ask.timeout, limits)
    check_consumables(ask.consumable_resource_properties, limits)
    check_priority("schedulingPriority", ask.scheduling_priority)
    if ask.container_properties is not None:
        check_properties(ask.container_properties, ask.platform_capabilities)
    elif ask.ecs_properties is not None:
        check_ecs(ask.ecs_properties, ask.platform_capabilities)
    elif ask.eks_properties is not None:
        check_eks(ask.eks_properties)


def check_properties(container: ContainerProperties, platforms: list[str] | None) -> None:
    """Every rule of containerProperties."""
    task = task_of(container, platforms)
    check_legacy(container.vcpus, container.memory, task.fargate)
    check_task(task)
    check_container(container, task)
    check_needed(container, task.fargate)
    if task.fargate and container.instance_type:
        raise Refused("instanceType is not applicable for Fargate.", True)
