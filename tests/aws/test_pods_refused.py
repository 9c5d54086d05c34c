"""Definitions of several containers that RegisterJobDefinition refuses. Sources: as of the tests of ECS and EKS."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline
from wire_pods import container, in_pod, register, register_pod

ROLE = "arn:aws:iam::123456789012:role/job"
MOUNT = [{"name": "v", "mountPath": "/v"}]

BAD: list[tuple[list[dict[str, Any]], dict[str, Any], str]] = [
    ([], {}, "Number of containers must be between 1 and 10"),
    ([container(f"c{n}") for n in range(11)], {}, "Number of containers must be between 1 and 10"),
    ([container("a"), container("a")], {}, "The container name: a must be unique in multi-container job."),
    ([container("a", essential=False)], {}, "At least one container must be set as essential"),
    (
        [container("a", dependsOn=[{"containerName": "b", "condition": "START"}])],
        {},
        "Container dependency can not be used in a single-container job.",
    ),
    (
        [container("a", dependsOn=[{"containerName": "c", "condition": "START"}]), container("b")],
        {},
        "containerName c must reference a defined container.",
    ),
    (
        [container("a", dependsOn=[{"containerName": "a", "condition": "START"}]), container("b")],
        {},
        "no other container: a",
    ),
    (
        [container("a", dependsOn=[{"containerName": "b", "condition": "SUCCESS"}]), container("b")],
        {},
        "can not have condition SUCCESS if the target is essential",
    ),
    ([container("a", dependsOn=[{"containerName": "b", "condition": "HEALTHY"}]), container("b")], {}, "HEALTHY"),
    (
        [
            container("a", dependsOn=[{"containerName": "b", "condition": "START"}]),
            container("b", dependsOn=[{"containerName": "a", "condition": "START"}]),
        ],
        {},
        "circle",
    ),
    ([container("a", startTimeout=1)], {}, "startTimeout must be at least 2"),
    ([container("a", stopTimeout=1)], {}, "stopTimeout must be at least 2"),
    ([container("a", resourceRequirements=[{"type": "VCPU", "value": "1"}])], {}, "Memory is not provided"),
    ([container("a b")], {}, "name is not valid"),
    ([container("a"), container("")], {}, "name is not valid"),
    ([container("a")], {"ipcMode": "all"}, "ipcMode all is not valid. Valid values are"),
    ([container("a")], {"pidMode": "none"}, "Capability none is not valid."),
    ([container("a")], {"networkMode": "host"}, "networkMode"),
    ([container("a")], {"networkConfiguration": {"assignPublicIp": "ENABLED"}}, "networkConfiguration"),
    ([container("a")], {"platformVersion": "1.4.0"}, "platformVersion"),
    ([container("a", firelensConfiguration={"type": "logstash"})], {}, "firelensConfiguration.type"),
]


@pytest.mark.parametrize(("containers", "task", "words"), BAD)
def test_definitions_that_aws_would_not_take_are_refused(
    pipeline: Pipeline, containers: list[dict[str, Any]], task: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        register(pipeline, *containers, task=task)


def test_exactly_one_kind_of_properties_is_given(pipeline: Pipeline) -> None:
    single = {"image": "busybox", "resourceRequirements": container("a")["resourceRequirements"]}
    with pytest.raises(ClientError, match="Cannot use both ECS containerProperties and ecsProperties"):
        register(pipeline, container("a"), containerProperties=single)


def test_on_fargate_the_containers_together_are_a_pair_that_it_offers(pipeline: Pipeline) -> None:
    quarter = [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "512"}]
    parts = [{**container(name), "resourceRequirements": quarter} for name in ("a", "b")]
    for part in parts:
        del part["linuxParameters"]
    task = {"executionRoleArn": ROLE, "platformVersion": "1.4.0", "ephemeralStorage": {"sizeInGiB": 30},
            "networkConfiguration": {"assignPublicIp": "ENABLED"}}  # fmt: skip
    fargate: dict[str, Any] = {"platformCapabilities": ["FARGATE"]}
    register(pipeline, *parts, task=task, **fargate)
    with pytest.raises(ClientError, match=r"0.75 vCPU, 1536 MiB"):
        register(pipeline, *parts, {**parts[0], "name": "c"}, task=task, **fargate)
    with pytest.raises(ClientError, match="at most 120"):
        register(pipeline, {**parts[0], "stopTimeout": 121}, task=task, **fargate)
    with pytest.raises(ClientError, match="ipcMode is not applicable"):
        register(pipeline, *parts, task={**task, "ipcMode": "task"}, **fargate)
    with pytest.raises(ClientError, match="pidMode host"):
        register(pipeline, *parts, task={**task, "pidMode": "host"}, **fargate)


def resources(**limits: str) -> dict[str, Any]:
    return {"resources": {"limits": {name.replace("gpu", "nvidia.com/gpu"): text for name, text in limits.items()}}}


@pytest.mark.parametrize(
    ("members", "pod", "words"),
    [
        (resources(memory="32Mi"), {}, "vCPU is not provided"),
        (resources(cpu="1"), {}, "Memory is not provided"),
        (resources(cpu="0.3", memory="32Mi"), {}, "Value 0.3 for type cpu"),
        (resources(cpu="1", memory="32M"), {}, "Value 32M for type memory"),
        (resources(cpu="1", memory="2Mi"), {}, "Value 2Mi for type memory"),
        (resources(cpu="1", memory="32Mi", gpu="0.5"), {}, "Value 0.5 for type nvidia.com/gpu"),
        (resources(cpu="1", memory="32Mi", disk="1"), {}, "disk is not a supported type for resources."),
        (
            {"resources": {"limits": {"cpu": "1", "memory": "32Mi"}, "requests": {"cpu": "2"}}},
            {},
            "cpu request must be <= to cpu limit if both are provided.",
        ),
        ({"resources": {"limits": {"cpu": "1", "memory": "32Mi"}, "requests": {"memory": "16Mi"}}}, {}, "equal to"),
        ({"imagePullPolicy": "Sometimes"}, {}, "imagePullPolicy"),
        ({"env": [{"name": "AWS_BATCH_X", "value": "1"}]}, {}, "AWS_BATCH_X"),
        ({"volumeMounts": MOUNT}, {}, "Unknown volume 'v'"),
        ({"securityContext": {"runAsUser": -1}}, {}, "Ids of securityContext"),
        ({"name": "Upper"}, {}, "name is not valid"),
        ({}, {"volumes": [{"name": "v"}]}, "exactly one of"),
        ({}, {"volumes": [{"name": "v", "hostPath": {"path": "relative"}}]}, "absolute"),
        ({}, {"volumes": [{"name": "v", "emptyDir": {"medium": "Disk"}}]}, "medium"),
        ({}, {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "lots"}}]}, "sizeLimit"),
        ({}, {"dnsPolicy": "None"}, "Unsupported DNS policy value."),
        ({}, {"metadata": {"namespace": "kube-system"}}, "cannot be a reserved Kubernetes system namespace."),
        (
            {},
            {"metadata": {"labels": {"x/a b": "c"}}},
            "The name a b of the pod label key does not match a valid pattern.",
        ),
        ({}, {"metadata": {"annotations": {"a b": "c"}}}, "Annotation"),
        ({}, {"serviceAccountName": "Not Valid"}, "serviceAccountName"),
        ({}, {"containers": []}, "1 to 10 containers"),
        ({}, {"initContainers": [in_pod(name="i")] * 11}, "at most 10 initContainers"),
        (
            {"name": "twice"},
            {"initContainers": [in_pod(name="twice")]},
            "The container name: twice must be unique in multi-container job.",
        ),
    ],
)
def test_pods_that_aws_would_not_take_are_refused(
    pipeline: Pipeline, members: dict[str, Any], pod: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        register_pod(pipeline, in_pod(**members), pod=pod)


def test_platforms_and_propagated_tags_are_not_for_pods(pipeline: Pipeline) -> None:
    with pytest.raises(ClientError, match="platformCapabilities is not applicable for EKS"):
        register_pod(pipeline, in_pod(), platformCapabilities=["EC2"])
    with pytest.raises(ClientError, match="propagateTags is not applicable for EKS"):
        register_pod(pipeline, in_pod(), propagateTags=True)
