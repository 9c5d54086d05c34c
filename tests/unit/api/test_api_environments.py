"""Compute environments over the API: create, delete, describe."""

from typing import Any

import pytest

from batchery.api.readymade import host_vcpus
from batchery.core.messages import CreateEnvironment
from batchery.core.model import DELETING

ACCOUNT = "arn:aws:batch:us-east-1:123456789012"
ARN = f"{ACCOUNT}:compute-environment/e"
ROLE = "arn:aws:iam::123456789012:role/mine"
LINKED = "arn:aws:iam::123456789012:role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch"


def test_a_new_environment_echoes_what_was_sent_and_nothing_else(desk: Any, ec2: dict[str, Any]) -> None:
    ec2 |= {
        "allocationStrategy": "BEST_FIT_PROGRESSIVE",
        "desiredvCpus": 4,
        "instanceTypes": ["c6i", "m6i.large"],
        "imageId": "ami-1",
        "ec2KeyPair": "key",
        "tags": {"Name": "node"},
        "placementGroup": "group",
        "bidPercentage": 60,
        "ec2Configuration": [{"imageType": "ECS_AL2023", "imageIdOverride": "ami-2"}],
        "launchTemplate": {
            "launchTemplateId": "lt-1",
            "version": "$Latest",
            "overrides": [{"launchTemplateName": "big", "version": "3", "targetInstanceTypes": ["c6i.xlarge"]}],
        },
        "scalingPolicy": {"minScaleDownDelayMinutes": 20},
    }
    answer = desk.create(
        ec2,
        serviceRole="batchRole",
        context="c",
        state="ENABLED",
        tags={"a": "b"},
        ecsSettings={"containerInsights": "ENHANCED"},
    )
    assert answer == {"computeEnvironmentName": "e", "computeEnvironmentArn": ARN}
    assert desk.allowed == [ARN, ARN]
    item = desk.shown()
    assert item.pop("ecsClusterArn").startswith("arn:aws:ecs:us-east-1:123456789012:cluster/AWSBatch-e-")
    assert len(item.pop("uuid")) == 36
    assert item == {
        "computeEnvironmentName": "e",
        "computeEnvironmentArn": ARN,
        "type": "MANAGED",
        "state": "ENABLED",
        "status": "VALID",
        "statusReason": "ComputeEnvironment Healthy",
        "computeResources": ec2,
        "serviceRole": "batchRole",
        "context": "c",
        "ecsSettings": {"containerInsights": "ENHANCED"},
        "containerOrchestrationType": "ECS",
        "tags": {"a": "b"},
    }


def test_what_acts_of_it(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2)
    made = desk.world.environments[ARN]
    assert (made.kind, made.max_vcpus, made.pool) == ("EC2", 16_000, ARN)
    command = desk.service.commands[-1]
    assert isinstance(command, CreateEnvironment)
    assert command.limit == desk.service.config.limits.environments


def test_an_unmanaged_environment_has_the_vcpus_it_names_or_the_hosts(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2, type="UNMANAGED", serviceRole=ROLE)
    assert "computeResources" not in desk.shown()
    made = desk.world.environments[ARN]
    assert (made.kind, made.max_vcpus) == ("UNMANAGED", host_vcpus() * 1000)
    desk.call("UpdateComputeEnvironment", computeEnvironment="e", unmanagedvCpus=7, computeResources={"maxvCpus": 1})
    assert desk.world.environments[ARN].max_vcpus == 7000
    assert desk.shown()["unmanagedvCpus"] == 7


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"computeEnvironmentName": "a b"}, "Compute Environment name should match a valid pattern."),
        ({"state": "DISABLED"}, "Compute Environment must be created in ENABLED state."),
        ({"unmanagedvCpus": 3}, "unmanagedvCpus is not applicable for managed Compute Environment."),
        ({"type": "UNMANAGED"}, "ServiceRole is required."),
        (
            {"type": "UNMANAGED", "serviceRole": LINKED},
            "Service Linked Role cannot be used with UNMANAGED Compute Environment",
        ),
        ({"type": "UNMANAGED", "serviceRole": ROLE, "unmanagedvCpus": 0}, "unmanagedvCpus must be at least 1."),
        (
            {"eksConfiguration": {"eksClusterArn": "arn:x", "kubernetesNamespace": "n"}},
            "eksClusterArn must be an EKS cluster ARN.",
        ),
        ({"tags": {"aws:a": "b"}}, "reserved"),
    ],
)
def test_what_a_new_environment_may_not_be(desk: Any, ec2: dict[str, Any], members: dict[str, Any], text: str) -> None:
    assert text in desk.create_refused(ec2, **members)


def test_a_managed_environment_has_resources(desk: Any) -> None:
    assert "computeResources must be provided for a MANAGED compute environment" in desk.create_refused(None)


def test_a_name_is_taken_once(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2)
    assert desk.create_refused(ec2) == "Object already exists"


def test_the_order_in_which_infrastructure_tools_tear_down(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2, tags={"a": "b"})
    order = [{"order": 1, "computeEnvironment": "e"}]
    desk.call("CreateJobQueue", jobQueueName="q", priority=1, computeEnvironmentOrder=order)
    assert "must be DISABLED" in desk.refused("DeleteComputeEnvironment", computeEnvironment="e")
    desk.call("UpdateComputeEnvironment", computeEnvironment="e", state="DISABLED")
    text = "Cannot delete, found existing JobQueue relationship"
    assert desk.refused("DeleteComputeEnvironment", computeEnvironment=ARN) == text
    desk.call("UpdateJobQueue", jobQueue="q", state="DISABLED")
    desk.call("DeleteJobQueue", jobQueue="q")
    assert desk.call("DeleteComputeEnvironment", computeEnvironment=ARN) == {}
    assert desk.call("DescribeComputeEnvironments") == {"computeEnvironments": []}
    assert desk.service.reads.tagged[ARN] == {}


def test_an_environment_in_transition_is_left_alone(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2)
    desk.world.environments[ARN].status = DELETING
    assert desk.shown()["status"] == "DELETING"
    assert desk.update_refused(maxvCpus=3) == "Cannot update, resource is being modified"
    assert (
        desk.refused("DeleteComputeEnvironment", computeEnvironment="e") == "Cannot delete, resource is being modified"
    )


def test_describing_in_pages(desk: Any, fargate: dict[str, Any]) -> None:
    for name in ("b", "c", "a"):
        desk.create(fargate, computeEnvironmentName=name)
    names: list[str] = []
    token: dict[str, Any] = {}
    while True:
        page = desk.call("DescribeComputeEnvironments", maxResults=1, **token)
        names += [item["computeEnvironmentName"] for item in page["computeEnvironments"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert names == ["a", "b", "c"]
    both = desk.refused("DescribeComputeEnvironments", computeEnvironments=["a"], maxResults=1)
    assert "ComputeEnvironments and MaxResults cannot both be set" in both
