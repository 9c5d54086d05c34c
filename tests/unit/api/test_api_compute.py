"""The form of computeResources: what AWS refuses, in its words, and what it takes."""

from typing import Any

import pytest

NOT_FARGATE = {
    "allocationStrategy": "BEST_FIT",
    "minvCpus": 0,
    "desiredvCpus": 0,
    "instanceTypes": ["optimal"],
    "imageId": "ami-1",
    "ec2KeyPair": "key",
    "instanceRole": "role",
    "tags": {"a": "b"},
    "placementGroup": "group",
    "bidPercentage": 50,
    "spotIamFleetRole": "role",
    "launchTemplate": {"launchTemplateId": "lt-1"},
    "ec2Configuration": [{"imageType": "ECS_AL2"}],
    "scalingPolicy": {"minScaleDownDelayMinutes": 0},
}


@pytest.mark.parametrize("member", NOT_FARGATE)
def test_fargate_does_without(desk: Any, fargate: dict[str, Any], member: str) -> None:
    text = desk.create_refused(fargate | {member: NOT_FARGATE[member]})
    assert text == f"Error executing request, Exception : {member} is not applicable for Fargate., RequestId: req-1"


@pytest.mark.parametrize(
    ("member", "value", "text"),
    [
        ("subnets", None, "Resource subnets are required."),
        ("subnets", [""], "Resource subnets are required."),
        ("subnets", [f"subnet-{n}" for n in range(17)], "Fargate supports a maximum of 16 subnets."),
        ("securityGroupIds", [], "Security group ids are required."),
        ("securityGroupIds", [f"sg-{n}" for n in range(6)], "Fargate supports a maximum of 5 security groups."),
        ("maxvCpus", -1, "maxvCpus should be greater than or equal to minvCpus."),
        ("capacityTags", {"a": "b"}, "capacityTags is not applicable for FARGATE."),
    ],
)
def test_fargate_resources(desk: Any, fargate: dict[str, Any], member: str, value: Any, text: str) -> None:
    assert text in desk.create_refused(fargate | {member: value})


def template(**members: Any) -> dict[str, Any]:
    return {"launchTemplateId": "lt-1", **members}


def override(*targets: str, **members: Any) -> dict[str, Any]:
    return {"launchTemplateName": "n", "targetInstanceTypes": list(targets), **members}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"instanceRole": None}, "Instance role is required."),
        ({"instanceRole": None, "minvCpus": None}, "Instance role is required."),
        ({"minvCpus": None, "instanceTypes": None}, "Resource minvCpus is required."),
        ({"instanceTypes": []}, "Resource instanceTypes are required."),
        ({"subnets": None}, "Resource subnets are required."),
        ({"securityGroupIds": None}, "Security group ids are required."),
        ({"type": "SPOT", "allocationStrategy": None}, "compute resource spotIamFleetRole is required."),
        ({"type": "SPOT", "allocationStrategy": "BEST_FIT"}, "compute resource spotIamFleetRole is required."),
        ({"minvCpus": -1}, "minvCpus should be greater than or equal to 0."),
        ({"minvCpus": 17}, "maxvCpus should be greater than or equal to minvCpus."),
        ({"minvCpus": 2, "desiredvCpus": 1}, "desiredvCpus should be between minvCpus and maxvCpus."),
        ({"desiredvCpus": 17}, "desiredvCpus should be between minvCpus and maxvCpus."),
        ({"instanceTypes": ["large!"]}, "Instance type can only be one of ["),
        ({"instanceTypes": ["m6g", "m6i"]}, "arm-based instance type cannot be used with other instance types."),
        ({"instanceTypes": ["default_arm64", "g4dn"]}, "arm-based instance type cannot be used"),
        (
            {"allocationStrategy": "SPOT_CAPACITY_OPTIMIZED"},
            "Allocation strategy SPOT_CAPACITY_OPTIMIZED requires compute resource type SPOT.",
        ),
        (
            {"type": "SPOT", "allocationStrategy": "BEST_FIT_PROGRESSIVE_ORDERED", "instanceTypes": ["m6i"]},
            "Allocation strategy BEST_FIT_PROGRESSIVE_ORDERED requires compute resource type EC2.",
        ),
        (
            {"allocationStrategy": "BEST_FIT_PROGRESSIVE_ORDERED"},
            "Instance type bundles (e.g. optimal, default_x86_64) are not allowed for BEST_FIT_PROGRESSIVE_ORDERED",
        ),
        ({"bidPercentage": 101}, "Bid percentage must be between 0 to 100."),
        ({"ec2Configuration": []}, "one or two values"),
        ({"ec2Configuration": [{"imageType": "ECS_AL2"}] * 3}, "one or two values"),
        ({"ec2Configuration": [{"imageType": "EKS_AL2"}]}, "Invalid imageType in ComputeResources.ec2Configuration"),
        ({"scalingPolicy": {"minScaleDownDelayMinutes": 19}}, "minScaleDownDelayMinutes must be 0 or between"),
        ({"managedInstancesProvider": None, "capacityTags": {"a": "b"}}, "capacityTags is not applicable for EC2."),
        ({"launchTemplate": {}}, "One of LaunchTemplateId and LaunchTemplateName or LaunchTemplate.Overrides"),
        ({"launchTemplate": template(launchTemplateName="n")}, "One of LaunchTemplateId and LaunchTemplateName"),
        ({"launchTemplate": template(version="latest")}, "LaunchTemplateVersion must be either empty or a number"),
        ({"launchTemplate": template(overrides=[override("m6i", version="x")])}, "LaunchTemplateVersion must be"),
        ({"launchTemplate": template(overrides=[override("m6i")] * 11)}, "size cannot be greater than 10"),
        ({"launchTemplate": template(overrides=[override()])}, "targetInstanceTypes[] is required"),
        (
            {"launchTemplate": template(overrides=[override("m6i", launchTemplateId="lt-2")])},
            "LaunchTemplate.overrides should have either LaunchTemplateId or LaunchTemplateName",
        ),
        (
            {"launchTemplate": template(overrides=[override("m6i"), override("m6i")])},
            "LaunchTemplate.overrides have duplicate targetInstanceTypes",
        ),
        (
            {"instanceTypes": ["c6i"], "launchTemplate": template(overrides=[override("c6i.large", "m5")])},
            "LaunchTemplate.overrides:[m5] have targetInstanceTypes that do not exist in computeResource.",
        ),
    ],
)
def test_ec2_resources(desk: Any, ec2: dict[str, Any], members: dict[str, Any], text: str) -> None:
    assert text in desk.create_refused(ec2 | members)


@pytest.mark.parametrize(
    "members",
    [
        {"type": "SPOT", "spotIamFleetRole": "role", "allocationStrategy": "BEST_FIT"},
        {"type": "SPOT", "allocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED", "bidPercentage": 0},
        {"securityGroupIds": None, "launchTemplate": template()},
        {"launchTemplate": {"overrides": [override("m6i")]}},
        {"instanceTypes": ["m6g", "c7gn.large", "a1", "im4gn", "default_arm64"]},
        {"instanceTypes": ["g4dn", "p4de.24xlarge", "u-6tb1.56xlarge", "hpc6a", "mac2-m2pro.metal"]},
        {"maxvCpus": 0},
        {"ec2Configuration": [{"imageType": "ECS_AL2"}, {"imageType": "ECS_AL2_NVIDIA"}]},
    ],
)
def test_ec2_resources_that_aws_takes(desk: Any, ec2: dict[str, Any], members: dict[str, Any]) -> None:
    desk.create(ec2 | members)
    wanted = {key: value for key, value in (ec2 | members).items() if value is not None}
    assert desk.shown()["computeResources"] == wanted


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"propagateTags": "ALL"}, "propagateTags must be one of [CAPACITY_PROVIDER, NONE]"),
        ({"launch": {"capacityOptionType": "RESERVED"}}, "capacityOptionType must be one of"),
        ({"launch": {"monitoring": "NONE"}}, "monitoring must be one of"),
        ({"launch": {"capacityReservations": {"reservationPreference": "x"}}}, "reservationPreference must be one of"),
        ({"launch": {"networkConfiguration": {"subnets": [], "securityGroups": ["s"]}}}, "subnets are required"),
        ({"launch": {"networkConfiguration": {"subnets": ["s"], "securityGroups": []}}}, "securityGroups are required"),
        ({"launch": {"storageConfiguration": {"storageSizeGiB": 0}}}, "storageSizeGiB must be at least 1."),
        ({"infrastructureOptimization": {"scaleInAfter": -2}}, "scaleInAfter must be between -1 and 3600."),
    ],
)
def test_managed_instances(desk: Any, managed_instances: Any, members: dict[str, Any], text: str) -> None:
    assert text in desk.create_refused(managed_instances(**members))


def test_managed_instances_need_a_provider_and_others_have_none(
    desk: Any, managed_instances: Any, ec2: dict[str, Any]
) -> None:
    assert "managedInstancesProvider is required." in desk.create_refused(
        {"type": "ECS_MANAGED_INSTANCES", "maxvCpus": 1}
    )
    provider = managed_instances()["managedInstancesProvider"]
    text = desk.create_refused(ec2 | {"managedInstancesProvider": provider})
    assert "managedInstancesProvider is not applicable for EC2." in text
