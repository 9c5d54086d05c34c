"""What UpdateComputeEnvironment makes of `computeResources`: member by member, lists whole.

Which members count as given differs (API_ComputeResourceUpdate): an empty list clears on EC2 and means "no change" on
Fargate; an empty string clears a key pair, an image and a launch template; 0 takes a scale-down delay away.
"""

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from batchery.api.compute import EC2, FARGATE, MANAGED_INSTANCES, not_for_fargate
from batchery.api.shapes import (
    ComputeResource,
    ComputeResourceUpdate,
    LaunchTemplateSpecification,
    ManagedInstancesProvider,
    UpdateManagedInstancesProviderConfiguration,
)

#: Seen in answers of AWS; business layer, so not wrapped.
SCALE_DOWN: Final = (
    "Manually scaling down compute environment is not supported. Disconnecting job queues from compute environment "
    "will cause it to scale-down to minvCpus"
)


#: What is replaced with the instances (user guide, "Perform infrastructure updates"); all else is a scaling update.
_INFRASTRUCTURE: Final = (
    *("allocation_strategy", "bid_percentage", "ec2_configuration", "ec2_key_pair", "image_id", "instance_role"),
    *("instance_types", "launch_template", "placement_group", "security_group_ids", "subnets", "tags", "type"),
)
#: Both texts are ours.
NEEDS_LINKED_ROLE: Final = "An infrastructure update requires the service-linked role AWSServiceRoleForBatch"
NEEDS_STRATEGY: Final = "An infrastructure update requires an allocation strategy other than BEST_FIT"


def replaces_instances(old: ComputeResource, new: ComputeResource, update: ComputeResourceUpdate) -> bool:
    """Whether an update of ``old`` that leads to ``new`` is an infrastructure update."""
    if old.type not in EC2:
        return False
    changed = any(getattr(old, member) != getattr(new, member) for member in _INFRASTRUCTURE)
    return changed or update.update_to_latest_image_version is True


def infrastructure_problems(old: ComputeResource, new: ComputeResource, linked_role: bool) -> Iterator[str]:
    """Of an infrastructure update."""
    if not linked_role:
        yield NEEDS_LINKED_ROLE
    if any(resources.allocation_strategy in (None, "BEST_FIT") for resources in (old, new)):
        yield NEEDS_STRATEGY


def update_problems(resources: ComputeResource, update: ComputeResourceUpdate) -> Iterator[str]:
    """What is wrong with the update as such; `compute.problems` judges what it leads to."""
    if resources.type in FARGATE:
        yield from not_for_fargate(update)
        if update.type not in (None, resources.type):
            yield "type is not applicable for Fargate."
    elif update.type not in (None, resources.type) and not {resources.type, update.type} <= EC2:
        yield f"The type of a compute environment can not be changed from {resources.type} to {update.type}"  # ours
    if update.managed_instances_provider is not None and resources.type != MANAGED_INSTANCES:
        yield f"managedInstancesProvider is not applicable for {resources.type}."


def desired_now(resources: ComputeResource, in_use: int) -> int:
    """desiredvCpus as AWS moves it: what is in use or was asked for by hand, between the bounds."""
    return min(max(resources.min_vcpus or 0, resources.desired_vcpus or 0, in_use), resources.max_vcpus)


def scales_down(resources: ComputeResource, update: ComputeResourceUpdate, in_use: int) -> bool:
    """desiredvCpus may be raised by hand, not lowered."""
    wanted = update.desired_vcpus
    return wanted is not None and wanted < desired_now(resources, in_use)


def merged(resources: ComputeResource, update: ComputeResourceUpdate) -> ComputeResource:
    """The resources after the update."""
    changes = _given(update)
    changes.pop("update_to_latest_image_version", None)
    for member, value in list(changes.items()):
        if value in ([], {}, ""):
            changes[member] = None
            if resources.type in FARGATE:
                del changes[member]
    if update.launch_template is not None and _names_nothing(update.launch_template):
        changes["launch_template"] = None
    if update.scaling_policy is not None and update.scaling_policy.min_scale_down_delay_minutes == 0:
        changes["scaling_policy"] = None
    provider = update.managed_instances_provider
    if provider is not None and resources.managed_instances_provider is not None:
        changes["managed_instances_provider"] = _merged_provider(resources.managed_instances_provider, provider)
    return _desired_in_range(replace(resources, **changes), update)


def _given(struct: Struct) -> dict[str, Any]:
    members = {name: getattr(struct, name) for name in struct.__struct_fields__}
    return {name: value for name, value in members.items() if value is not None}


def _names_nothing(template: LaunchTemplateSpecification) -> bool:
    """``{"launchTemplateId": ""}`` takes the launch template away."""
    sent = (template.launch_template_id, template.launch_template_name)
    return "" in sent and not any(sent) and not template.overrides


def _merged_provider(
    provider: ManagedInstancesProvider, update: UpdateManagedInstancesProviderConfiguration
) -> ManagedInstancesProvider:
    changes = _given(update)
    template = update.instance_launch_template
    if template is not None:
        changes["instance_launch_template"] = replace(provider.instance_launch_template, **_given(template))
    return replace(provider, **changes)


def _desired_in_range(resources: ComputeResource, update: ComputeResourceUpdate) -> ComputeResource:
    """AWS moves desiredvCpus by itself; when an update of the bounds leaves it outside, it follows."""
    wanted = resources.desired_vcpus
    if wanted is None or update.desired_vcpus is not None:
        return resources
    return replace(resources, desired_vcpus=min(max(wanted, resources.min_vcpus or 0), resources.max_vcpus))
