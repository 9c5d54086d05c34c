"""Form of `computeResources`: what AWS refuses before it looks at anything else, in its words.

Nothing here asks whether a subnet, role, image or instance type exists: off AWS they mean nothing, so they are checked
for form, stored and echoed. Each generator yields what is wrong, first fault first, and nothing if all is well.

Sources: API_ComputeResource, API_LaunchTemplateSpecification, API_Ec2Configuration, API_ManagedInstancesProvider, user
guide "Allocation strategies". Texts were seen in answers of AWS, but for those marked "ours". Decision 062.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import fields

from batchery.api.compute_eks import resources_on_eks
from batchery.api.shapes import (
    ComputeResource,
    ComputeResourceUpdate,
    LaunchTemplateSpecification,
    ManagedInstancesProvider,
)

FARGATE: Final = frozenset({"FARGATE", "FARGATE_SPOT"})
EC2: Final = frozenset({"EC2", "SPOT"})
MANAGED_INSTANCES: Final = "ECS_MANAGED_INSTANCES"

#: API_ComputeResource: "This parameter isn't applicable to jobs that are running on Fargate resources."
_NOT_FARGATE: Final = (
    "allocation_strategy",
    "min_vcpus",
    "desired_vcpus",
    "instance_types",
    "image_id",
    "ec2_key_pair",
    "instance_role",
    "tags",
    "placement_group",
    "bid_percentage",
    "spot_iam_fleet_role",
    "launch_template",
    "ec2_configuration",
    "scaling_policy",
)
_ONLY_MANAGED_INSTANCES: Final = ("managed_instances_provider", "capacity_tags")

_BUNDLES: Final = frozenset({"optimal", "default_x86_64", "default_arm64"})
_INSTANCE_TYPE: Final = re.compile(r"[a-z][a-z-]*\d[a-z0-9-]*(\.[a-z0-9-]+)?")
#: Graviton: the a1 family, and a "g" behind the generation (m6g, c7gn, im4gn), not before it (g4dn).
_ARM: Final = re.compile(r"(default_arm64|a1(\..*)?|[a-z]+\d+g[a-z]*(\..*)?)")
_IMAGE_TYPE: Final = re.compile(r"ECS_[A-Z0-9_]+")
_EKS_IMAGE_TYPE: Final = re.compile(r"EKS_[A-Z0-9_]+")
_VERSION: Final = re.compile(r"|\d+|\$Default|\$Latest")

#: Strategies that AWS offers for one kind of EC2 capacity only.
_STRATEGY_FOR: Final = {
    "BEST_FIT_PROGRESSIVE_ORDERED": "EC2",
    "SPOT_CAPACITY_OPTIMIZED": "SPOT",
    "SPOT_PRICE_CAPACITY_OPTIMIZED": "SPOT",
    "SPOT_CAPACITY_OPTIMIZED_PRIORITIZED": "SPOT",
}
_ORDERED: Final = frozenset({"BEST_FIT_PROGRESSIVE_ORDERED", "SPOT_CAPACITY_OPTIMIZED_PRIORITIZED"})

_WIRE: Final = {field.name: field.encode_name for field in (*fields(ComputeResourceUpdate), *fields(ComputeResource))}


def wire_name(member: str) -> str:
    """``max_vcpus`` is ``maxvCpus``."""
    return _WIRE[member]


def _absent(value: Any) -> bool:
    return value is None or value in ("", [], {})


def problems(resources: ComputeResource, eks: bool = False) -> Iterator[str]:
    """Of the resources of a MANAGED environment, new or as an update would leave them. ``eks``: of one on EKS."""
    if eks:
        yield from resources_on_eks(resources)
    if resources.type in FARGATE:
        yield from _fargate(resources)
    elif resources.type in EC2:
        yield from _ec2(resources, eks)
    elif resources.managed_instances_provider is None:
        yield "managedInstancesProvider is required."  # ours
    else:
        yield from _provider(resources.managed_instances_provider)
    if resources.type != MANAGED_INSTANCES:
        yield from not_applicable(resources, _ONLY_MANAGED_INSTANCES, resources.type)
    yield from _vcpus(resources)


def not_applicable(
    resources: ComputeResource | ComputeResourceUpdate, members: tuple[str, ...], to: str
) -> Iterator[str]:
    """Of the members given that do not belong there."""
    for member in members:
        if not _absent(getattr(resources, member, None)):
            yield f"{wire_name(member)} is not applicable for {to}."


def not_for_fargate(resources: ComputeResource | ComputeResourceUpdate) -> Iterator[str]:
    yield from not_applicable(resources, _NOT_FARGATE, "Fargate")


def _fargate(resources: ComputeResource) -> Iterator[str]:
    yield from not_for_fargate(resources)
    yield from _listed(resources.subnets, "Resource subnets are required.")  # ours
    yield from _listed(resources.security_group_ids, "Security group ids are required.")
    if len(resources.subnets or ()) > 16:
        yield "Fargate supports a maximum of 16 subnets."
    if len(resources.security_group_ids or ()) > 5:
        yield "Fargate supports a maximum of 5 security groups."


def _ec2(resources: ComputeResource, eks: bool) -> Iterator[str]:
    if not resources.instance_role:
        yield "Instance role is required."
    if resources.min_vcpus is None:
        yield "Resource minvCpus is required."
    yield from _listed(resources.instance_types, "Resource instanceTypes are required.")
    yield from _listed(resources.subnets, "Resource subnets are required.")  # ours
    if resources.security_group_ids or resources.launch_template is None:
        yield from _listed(resources.security_group_ids, "Security group ids are required.")
    if resources.type == "SPOT" and not eks and resources.allocation_strategy in (None, "BEST_FIT"):
        yield from _listed([resources.spot_iam_fleet_role or ""], "compute resource spotIamFleetRole is required.")
    yield from _instance_types(resources.instance_types or [])
    yield from _strategy(resources)
    if resources.bid_percentage is not None and not 0 <= resources.bid_percentage <= 100:
        yield "Bid percentage must be between 0 to 100."
    if resources.launch_template is not None:
        yield from _launch_template(resources.launch_template, resources.instance_types or [])
    yield from _images(resources, eks)


def _listed(items: list[str] | None, text: str) -> Iterator[str]:
    if not items or not all(items):
        yield text


def _vcpus(resources: ComputeResource) -> Iterator[str]:
    least, most, wanted = resources.min_vcpus or 0, resources.max_vcpus, resources.desired_vcpus
    if least < 0:
        yield "minvCpus should be greater than or equal to 0."
    if most < least:
        yield "maxvCpus should be greater than or equal to minvCpus."
    if wanted is not None and not least <= wanted <= most:
        yield "desiredvCpus should be between minvCpus and maxvCpus."


def _instance_types(types: list[str]) -> Iterator[str]:
    for name in types:
        if name not in _BUNDLES and _INSTANCE_TYPE.fullmatch(name) is None:
            yield (  # AWS lists every type it knows; the opening words are the ones that clients match
                "Instance type can only be one of [optimal, default_x86_64, default_arm64, or an instance family or "
                f"type such as m6i or m6i.large], not {name}"
            )
    arm = [_ARM.fullmatch(name) is not None for name in types]
    if any(arm) and not all(arm):
        yield "arm-based instance type cannot be used with other instance types."


def _strategy(resources: ComputeResource) -> Iterator[str]:
    strategy = resources.allocation_strategy or "BEST_FIT"
    if _STRATEGY_FOR.get(strategy, resources.type) != resources.type:
        yield f"Allocation strategy {strategy} requires compute resource type {_STRATEGY_FOR[strategy]}."
    if strategy in _ORDERED and _BUNDLES.intersection(resources.instance_types or ()):
        yield (
            f"Instance type bundles (e.g. optimal, default_x86_64) are not allowed for {strategy} allocation strategy. "
            "Specify instance families or types directly."
        )


def _images(resources: ComputeResource, eks: bool) -> Iterator[str]:
    images = resources.ec2_configuration
    if images is not None and not 1 <= len(images) <= 2:
        yield "ec2Configuration must have one or two values."  # ours
    for image in images or ():
        if (_EKS_IMAGE_TYPE if eks else _IMAGE_TYPE).fullmatch(image.image_type) is None:
            yield "Invalid imageType in ComputeResources.ec2Configuration"
        if image.image_kubernetes_version and not eks:
            yield "imageKubernetesVersion is only applicable for EKS compute environments."  # ours
    policy = resources.scaling_policy
    delay = policy.min_scale_down_delay_minutes if policy is not None else None
    if delay is not None and delay != 0 and not 20 <= delay <= 10080:
        yield "minScaleDownDelayMinutes must be 0 or between 20 and 10080."  # ours


def _launch_template(template: LaunchTemplateSpecification, types: list[str]) -> Iterator[str]:
    overrides = template.overrides or []
    named = bool(template.launch_template_id) + bool(template.launch_template_name)
    if named > 1 or (named == 0 and not overrides):
        yield "One of LaunchTemplateId and LaunchTemplateName or LaunchTemplate.Overrides is required."
    if len(overrides) > 10:
        yield "LaunchTemplate.overrides size cannot be greater than 10"
    versions = [template.version, *(override.version for override in overrides)]
    if not all(_VERSION.fullmatch(version or "") for version in versions):
        yield "LaunchTemplateVersion must be either empty or a number or $Default or $Latest."
    targets: list[str] = []
    for override in overrides:
        if bool(override.launch_template_id) == bool(override.launch_template_name):
            yield "LaunchTemplate.overrides should have either LaunchTemplateId or LaunchTemplateName"
        if not override.target_instance_types:
            yield "LaunchTemplate.overrides.targetInstanceTypes[] is required"
        targets += override.target_instance_types or []
    if len(set(targets)) < len(targets):
        yield "LaunchTemplate.overrides have duplicate targetInstanceTypes"
    strangers = [target for target in targets if not _covered(target, types)]
    if strangers:
        yield (
            f"LaunchTemplate.overrides:[{', '.join(strangers)}] have targetInstanceTypes that do not exist in "
            "computeResource.InstanceTypes."
        )


def _covered(target: str, types: list[str]) -> bool:
    """A target is a type or family listed, or a type of a family listed; of a bundle's families nothing is known."""
    return target not in _BUNDLES and (
        target in types or target.partition(".")[0] in types or not _BUNDLES.isdisjoint(types)
    )


def _provider(provider: ManagedInstancesProvider) -> Iterator[str]:
    """API_ManagedInstancesProvider and below; all texts are ours."""
    template = provider.instance_launch_template
    reservations = template.capacity_reservations
    choices = (
        ("propagateTags", provider.propagate_tags, ("CAPACITY_PROVIDER", "NONE")),
        ("capacityOptionType", template.capacity_option_type, ("ON_DEMAND", "SPOT")),
        ("monitoring", template.monitoring, ("BASIC", "DETAILED")),
        (
            "reservationPreference",
            reservations.reservation_preference if reservations is not None else None,
            ("RESERVATIONS_ONLY", "RESERVATIONS_FIRST", "RESERVATIONS_EXCLUDED"),
        ),
    )
    for member, value, allowed in choices:
        if value is not None and value not in allowed:
            yield f"{member} must be one of [{', '.join(allowed)}]"
    yield from _listed(template.network_configuration.subnets, "networkConfiguration.subnets are required.")
    yield from _listed(
        template.network_configuration.security_groups, "networkConfiguration.securityGroups are required."
    )
    optimization = provider.infrastructure_optimization
    idle = optimization.scale_in_after if optimization is not None else None
    if idle is not None and not -1 <= idle <= 3600:
        yield "scaleInAfter must be between -1 and 3600."
    storage = template.storage_configuration
    if storage is not None and storage.storage_size_gi_b is not None and storage.storage_size_gi_b < 1:
        yield "storageSizeGiB must be at least 1."
