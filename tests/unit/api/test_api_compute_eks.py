"""Environments on Amazon EKS: their form, what is shown, and their quota."""

from typing import Any

import pytest

ARN = "arn:aws:batch:us-east-1:123456789012:compute-environment/e"
CLUSTER = "arn:aws:eks:us-east-1:123456789012:cluster/mine"
EKS = {"eksClusterArn": CLUSTER, "kubernetesNamespace": "batch"}


def test_an_environment_on_eks(desk: Any, ec2: dict[str, Any]) -> None:
    del ec2["desiredvCpus"]
    ec2["ec2Configuration"] = [{"imageType": "EKS_AL2023", "imageKubernetesVersion": "1.32"}]
    desk.create(ec2, eksConfiguration=EKS | {"accessEntry": {"desiredState": "ENABLED"}})
    shown = desk.shown()
    assert shown["containerOrchestrationType"] == "EKS"
    assert "ecsClusterArn" not in shown
    assert shown["computeResources"] == ec2 | {"desiredvCpus": 0}
    assert shown["eksConfiguration"] == EKS | {"accessEntry": {"desiredState": "ENABLED", "status": "ACTIVE"}}
    assert desk.world.environments[ARN].kind == "EKS"
    entry = {"accessEntry": {"desiredState": "INHERIT_FROM_CLUSTER"}}
    desk.call("UpdateComputeEnvironment", computeEnvironment="e", eksConfiguration=entry)
    assert desk.shown()["eksConfiguration"] == EKS | entry
    desk.call("UpdateComputeEnvironment", computeEnvironment="e", computeResources={"type": "SPOT"})
    assert desk.world.environments[ARN].kind == "EKS_SPOT"


def test_an_unmanaged_environment_on_eks_needs_no_role(desk: Any) -> None:
    desk.create(None, type="UNMANAGED", eksConfiguration=EKS)
    assert desk.shown()["eksConfiguration"] == EKS
    assert desk.world.environments[ARN].kind == "EKS"


@pytest.mark.parametrize(
    ("eks", "resources", "text"),
    [
        ({"eksClusterArn": "mine"}, {}, "eksClusterArn must be an EKS cluster ARN."),
        ({"kubernetesNamespace": "default"}, {}, "cannot be the default Kubernetes namespace"),
        ({"kubernetesNamespace": "kube-system"}, {}, "cannot be a reserved Kubernetes system namespace."),
        ({"kubernetesNamespace": "a" * 64}, {}, "must less than or equal to 63 characters long."),
        ({"kubernetesNamespace": "-a"}, {}, "must be a valid Kubernetes namespace."),
        ({}, {"allocationStrategy": None}, "allocationStrategy is required for EKS Compute Environments."),
        ({}, {"allocationStrategy": "BEST_FIT"}, "BEST_FIT is not supported for EKS"),
        ({}, {"desiredvCpus": 1}, "desiredvCpus is not applicable for EKS."),
        ({}, {"type": "FARGATE"}, "Supported compute types for EKS compute environments are [EC2, SPOT]."),
        ({}, {"ec2Configuration": [{"imageType": "ECS_AL2"}]}, "Invalid imageType"),
    ],
)
def test_what_it_may_not_be(
    desk: Any, ec2: dict[str, Any], eks: dict[str, Any], resources: dict[str, Any], text: str
) -> None:
    del ec2["desiredvCpus"]
    given = {key: value for key, value in (ec2 | resources).items() if value is not None}
    assert text in desk.create_refused(given, eksConfiguration=EKS | eks)


def test_kubernetes_versions_are_of_eks_alone(desk: Any, ec2: dict[str, Any]) -> None:
    image = {"imageType": "ECS_AL2023", "imageKubernetesVersion": "1.32"}
    assert "imageKubernetesVersion is only" in desk.create_refused(ec2 | {"ec2Configuration": [image]})


def test_five_on_one_cluster(desk: Any, ec2: dict[str, Any]) -> None:
    del ec2["desiredvCpus"]
    for number in range(5):
        desk.create(ec2, computeEnvironmentName=f"e{number}", eksConfiguration=EKS)
    text = desk.create_refused(ec2, eksConfiguration=EKS)
    assert "Cannot create more than 5 compute environments for one EKS cluster" in text
    desk.create(ec2, eksConfiguration=EKS | {"eksClusterArn": CLUSTER + "2"})


def test_queues_of_eks_are_of_eks_alone(desk: Any, ec2: dict[str, Any]) -> None:
    desk.create(ec2, computeEnvironmentName="on-ecs")
    del ec2["desiredvCpus"]
    desk.create(ec2, eksConfiguration=EKS)
    order = [{"order": 1, "computeEnvironment": "e"}]
    desk.call("CreateJobQueue", jobQueueName="q", priority=1, computeEnvironmentOrder=order, jobQueueType="EKS")
    desk.call("CreateJobQueue", jobQueueName="r", priority=1, computeEnvironmentOrder=order)
    shown = desk.call("DescribeJobQueues", jobQueues=["q", "r"])["jobQueues"]
    assert [queue["jobQueueType"] for queue in shown] == ["EKS", "EKS"]
    mixed = [*order, {"order": 2, "computeEnvironment": "on-ecs"}]
    text = desk.refused("CreateJobQueue", jobQueueName="s", priority=1, computeEnvironmentOrder=mixed)
    assert "not mixed" in text


def test_capacity_tags_need_their_own_permission(desk: Any, managed_instances: Any) -> None:
    from batchery.api.call import ApiError
    from batchery.api.policy import parse

    resources = managed_instances() | {"capacityTags": {"a": "b"}}
    allowed = [{"Effect": "Allow", "Action": "batch:CreateComputeEnvironment", "Resource": "*"}]
    desk.policy = parse({"Version": "2012-10-17", "Statement": allowed})
    with pytest.raises(ApiError, match="batch:SetCapacityTags"):
        desk.create(resources)
    desk.create(managed_instances())
