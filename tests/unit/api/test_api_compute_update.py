"""UpdateComputeEnvironment: merging, clearing, and what may not be changed."""

from typing import Any

import pytest

from batchery.core.messages import UpdateEnvironment

ACCOUNT = "arn:aws:batch:us-east-1:123456789012"
ARN = f"{ACCOUNT}:compute-environment/e"
ROLE = "arn:aws:iam::123456789012:role/mine"
LINKED = "arn:aws:iam::123456789012:role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch"


def test_an_update_is_merged_member_by_member_and_lists_whole(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2 | {"ec2KeyPair": "key", "instanceTypes": ["c6i", "m6i"]})
    after = desk.update(maxvCpus=32, instanceTypes=["r6i"], updateToLatestImageVersion=True)
    assert after == ec2 | {"ec2KeyPair": "key", "instanceTypes": ["r6i"], "maxvCpus": 32}
    assert desk.world.environments[ARN].max_vcpus == 32_000


def test_the_other_members_of_an_update(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2, serviceRole=ROLE, context="old")
    answer = desk.call(
        "UpdateComputeEnvironment",
        computeEnvironment=ARN,
        state="DISABLED",
        serviceRole=ROLE + "2",
        context="new",
        updatePolicy={"terminateJobsOnUpdate": True},
        ecsSettings={"containerInsights": "ENABLED"},
    )
    assert answer == {"computeEnvironmentName": "e", "computeEnvironmentArn": ARN}
    desk.call(
        "UpdateComputeEnvironment",
        computeEnvironment="e",
        updatePolicy={"jobExecutionTimeoutMinutes": 60},
        ecsSettings={},
        serviceRole="",
    )
    item = desk.shown()
    assert (item["state"], item["status"], item["context"]) == ("DISABLED", "VALID", "new")
    assert item["serviceRole"] == ROLE + "2"
    assert item["updatePolicy"] == {"terminateJobsOnUpdate": True, "jobExecutionTimeoutMinutes": 60}
    assert item["ecsSettings"] == {"containerInsights": "ENABLED"}
    assert item["computeResources"] == ec2


@pytest.mark.parametrize(
    ("held", "update_with"),
    [
        ({"ec2KeyPair": "key"}, {"ec2KeyPair": ""}),
        ({"imageId": "ami-1"}, {"imageId": ""}),
        ({"placementGroup": "group"}, {"placementGroup": ""}),
        ({"launchTemplate": {"launchTemplateId": "lt-1"}}, {"launchTemplate": {"launchTemplateId": ""}}),
        ({"launchTemplate": {"launchTemplateName": "n"}}, {"launchTemplate": {"launchTemplateName": ""}}),
        ({"ec2Configuration": [{"imageType": "ECS_AL2"}]}, {"ec2Configuration": []}),
        ({"tags": {"a": "b"}}, {"tags": {}}),
        ({"scalingPolicy": {"minScaleDownDelayMinutes": 30}}, {"scalingPolicy": {"minScaleDownDelayMinutes": 0}}),
    ],
)
def test_what_is_empty_clears_on_ec2(
    desk: Any, ec2: dict[str, Any], held: dict[str, Any], update_with: dict[str, Any]
) -> None:
    desk.create(ec2 | held)
    assert desk.update(**update_with) == ec2


def test_security_groups_are_cleared_only_if_a_launch_template_has_them(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2)
    assert "Security group ids are required." in desk.update_refused(securityGroupIds=[])
    after = desk.update(securityGroupIds=[], launchTemplate={"launchTemplateId": "lt-1"})
    assert "securityGroupIds" not in after


def test_an_update_of_fargate(desk: Any, fargate: dict[str, Any]) -> None:
    desk.create(fargate)
    assert desk.update(maxvCpus=3, subnets=["subnet-9"], securityGroupIds=[], type="FARGATE") == fargate | {
        "maxvCpus": 3,
        "subnets": ["subnet-9"],
    }
    assert "minvCpus is not applicable for Fargate." in desk.update_refused(minvCpus=1)
    assert "type is not applicable for Fargate." in desk.update_refused(type="FARGATE_SPOT")


def test_ec2_becomes_spot_but_not_fargate(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2)
    for other in ("FARGATE", "ECS_MANAGED_INSTANCES"):
        assert f"can not be changed from EC2 to {other}" in desk.update_refused(type=other)
    desk.update(type="SPOT", allocationStrategy="SPOT_CAPACITY_OPTIMIZED")
    assert desk.world.environments[ARN].kind == "SPOT"


def test_desired_vcpus_go_up_by_hand_but_not_down(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2 | {"desiredvCpus": 4})
    assert desk.update(desiredvCpus=6)["desiredvCpus"] == 6
    text = desk.update_refused(desiredvCpus=5)
    assert text.startswith("Manually scaling down compute environment is not supported. Disconnecting job queues")
    assert "desiredvCpus should be between" in desk.update_refused(desiredvCpus=17)
    assert desk.update(maxvCpus=5)["desiredvCpus"] == 5
    assert desk.update(maxvCpus=20, minvCpus=8)["desiredvCpus"] == 8


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"unmanagedvCpus": 2}, "unmanagedvCpus is not applicable for managed Compute Environment."),
        ({"serviceRole": ROLE}, "service-linked role can not be changed"),
        ({"eksConfiguration": {}}, "eksConfiguration is only applicable for EKS compute environments."),
        ({"computeResources": {"minvCpus": 17}}, "maxvCpus should be greater than or equal to minvCpus."),
        (
            {"computeResources": {"managedInstancesProvider": {"propagateTags": "NONE"}}},
            "managedInstancesProvider is not applicable for EC2.",
        ),
    ],
)
def test_what_an_update_may_not_be(desk: Any, ec2: dict[str, Any], members: dict[str, Any], text: str) -> None:
    desk.create(ec2)
    assert text in desk.refused("UpdateComputeEnvironment", computeEnvironment="e", **members)


def test_the_service_linked_role_may_be_named_where_it_is_the_default(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2)
    desk.call("UpdateComputeEnvironment", computeEnvironment="e", serviceRole=LINKED)
    assert desk.shown()["serviceRole"] == LINKED


def test_unmanaged_updates_are_held_to_their_rules(desk: Any) -> None:
    desk.create(None, type="UNMANAGED", serviceRole=ROLE, unmanagedvCpus=2)
    assert "at least 1" in desk.refused("UpdateComputeEnvironment", computeEnvironment="e", unmanagedvCpus=0)
    linked = desk.refused("UpdateComputeEnvironment", computeEnvironment="e", serviceRole=LINKED)
    assert "Service Linked Role cannot be used" in linked
    desk.call("UpdateComputeEnvironment", computeEnvironment="e", state="DISABLED")
    assert desk.world.environments[ARN].max_vcpus == 2000


def test_an_update_says_what_it_was_merged_from(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2)
    before = desk.world.environments[ARN].doc
    desk.update(maxvCpus=9)
    command = desk.service.commands[-1]
    assert isinstance(command, UpdateEnvironment)
    assert command.seen == before


@pytest.mark.parametrize("ref", ["nope", f"{ACCOUNT}:compute-environment/nope"])
def test_an_unknown_environment(desk: Any, ref: str) -> None:
    assert desk.refused("UpdateComputeEnvironment", computeEnvironment=ref) == f"{ref} does not exist"
    assert desk.call("DeleteComputeEnvironment", computeEnvironment=ref) == {}
    assert desk.call("DescribeComputeEnvironments", computeEnvironments=[ref]) == {"computeEnvironments": []}


def test_a_provider_is_updated_member_by_member(desk: Any, managed_instances: Any) -> None:
    desk.create(
        managed_instances(launch={"monitoring": "BASIC", "capacityOptionType": "SPOT"}) | {"capacityTags": {"a": "b"}}
    )
    after = desk.update(
        managedInstancesProvider={
            "propagateTags": "NONE",
            "instanceLaunchTemplate": {"monitoring": "DETAILED", "storageConfiguration": {"storageSizeGiB": 80}},
        },
    )
    launch = {"monitoring": "DETAILED", "capacityOptionType": "SPOT", "storageConfiguration": {"storageSizeGiB": 80}}
    assert after == managed_instances(propagateTags="NONE", launch=launch) | {"capacityTags": {"a": "b"}}
    assert desk.update(managedInstancesProvider={"propagateTags": "CAPACITY_PROVIDER"})["managedInstancesProvider"] == (
        after["managedInstancesProvider"] | {"propagateTags": "CAPACITY_PROVIDER"}
    )


# ------------------------------------------------------------------------------------------ infrastructure updates


def patience(desk: Any) -> int | None:
    """Of the last update."""
    command = desk.service.commands[-1]
    assert isinstance(command, UpdateEnvironment)
    return command.patience


@pytest.mark.parametrize(
    "resources",
    [
        {"allocationStrategy": "BEST_FIT_PROGRESSIVE_ORDERED", "instanceTypes": ["m6i"]},
        {"bidPercentage": 50},
        {"ec2Configuration": [{"imageType": "ECS_AL2"}]},
        {"ec2KeyPair": "key"},
        {"imageId": "ami-1"},
        {"instanceRole": "other"},
        {"instanceTypes": ["m6i"]},
        {"launchTemplate": {"launchTemplateId": "lt-1"}},
        {"placementGroup": "group"},
        {"securityGroupIds": ["sg-2"]},
        {"subnets": ["subnet-2"], "maxvCpus": 3},
        {"tags": {"a": "b"}},
        {"type": "SPOT"},
        {"updateToLatestImageVersion": True},
    ],
)
def test_what_replaces_instances(desk: Any, ec2: dict[str, Any], resources: dict[str, Any]) -> None:
    desk.create(ec2)
    desk.update(**resources)
    assert patience(desk) == 30 * 60_000


@pytest.mark.parametrize(
    "resources",
    [
        {"minvCpus": 1, "maxvCpus": 9, "desiredvCpus": 2},
        {"scalingPolicy": {"minScaleDownDelayMinutes": 20}},
        {"instanceTypes": ["optimal"], "updateToLatestImageVersion": False},
    ],
)
def test_what_only_scales(desk: Any, ec2: dict[str, Any], resources: dict[str, Any]) -> None:
    desk.create(ec2 | {"allocationStrategy": "BEST_FIT"}, serviceRole=ROLE)
    desk.update(**resources)
    assert patience(desk) is None


def test_nothing_is_replaced_below_fargate(desk: Any, fargate: dict[str, Any]) -> None:
    desk.create(fargate)
    desk.update(subnets=["subnet-9"])
    assert patience(desk) is None


def test_the_policy_sent_with_an_update_is_the_one_it_is_made_by(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2)
    update = {"computeEnvironment": "e", "computeResources": {"imageId": "ami-1"}}
    desk.call("UpdateComputeEnvironment", **update, updatePolicy={"jobExecutionTimeoutMinutes": 7})
    assert patience(desk) == 7 * 60_000
    update["computeResources"] = {"imageId": "ami-2"}
    desk.call("UpdateComputeEnvironment", **update, updatePolicy={"terminateJobsOnUpdate": True})
    assert patience(desk) == 0
    update["computeResources"] = {"imageId": "ami-3"}
    desk.call("UpdateComputeEnvironment", **update, updatePolicy={"terminateJobsOnUpdate": False})
    assert patience(desk) == 7 * 60_000


@pytest.mark.parametrize("strategy", ["BEST_FIT", None])
def test_best_fit_has_no_infrastructure_updates(desk: Any, ec2: dict[str, Any], strategy: str | None) -> None:
    del ec2["allocationStrategy"]
    desk.create(ec2 | ({"allocationStrategy": strategy} if strategy else {}))
    text = desk.update_refused(imageId="ami-1", allocationStrategy="BEST_FIT_PROGRESSIVE")
    assert "requires an allocation strategy other than BEST_FIT" in text


def test_only_the_service_linked_role_replaces_instances(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2, serviceRole=ROLE)
    assert "AWSServiceRoleForBatch" in desk.update_refused(imageId="ami-1")
