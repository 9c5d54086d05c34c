"""What RegisterJobDefinition refuses, in which words, and what it accepts though host processes have no use for it."""

from typing import Any

import msgspec
import pytest

from batchery.api.shapes import RegisterJobDefinitionRequest
from batchery.config import Limits
from batchery.core.messages import Refused
from batchery.spec.registration import check_registration
from batchery.spec.rules import FARGATE

REQUIREMENTS = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "128"}]
FARGATE_CONTAINER: dict[str, Any] = {
    "executionRoleArn": "arn:aws:iam::123456789012:role/run",
    "resourceRequirements": [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "512"}],
}


def check(container: dict[str, Any] | None = None, *, fargate: bool = False, **members: Any) -> None:
    properties = {"image": "busybox", "resourceRequirements": REQUIREMENTS}
    if fargate:
        properties |= FARGATE_CONTAINER
        members["platformCapabilities"] = ["FARGATE"]
    properties |= container or {}
    body = {"jobDefinitionName": "d", "type": "container", "containerProperties": properties, **members}
    ask = msgspec.convert(
        {name: value for name, value in body.items() if value is not None}, RegisterJobDefinitionRequest
    )
    check_registration(ask, Limits())


def refusal(container: dict[str, Any] | None = None, **members: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        check(container, **members)
    return caught.value


def requirements(**values: str) -> dict[str, Any]:
    return {"resourceRequirements": [{"type": kind, "value": value} for kind, value in values.items()]}


def efs(**members: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1", **members}}]}


def s3files(**members: Any) -> dict[str, Any]:
    given = {"fileSystemArn": "arn:aws:s3files:us-east-1:123456789012:file-system/fs-1", **members}
    return {"volumes": [{"name": "v", "s3filesVolumeConfiguration": given}]}


def both_kinds() -> dict[str, Any]:
    return {"volumes": [{**efs()["volumes"][0], "host": {"sourcePath": "/x"}}]}


TABULATED = [
    (requirements(MEMORY="128"), {}, "vCPU is not provided.", True),
    (requirements(VCPU="1"), {}, "Memory is not provided.", True),
    (
        requirements(VCPU="1.0", MEMORY="128"),
        {},
        "Value 1.0 for type VCPU in resourceRequirement is not valid. Please provide a numeric value.",
        False,
    ),
    ({"networkConfiguration": {"assignPublicIp": "ENABLED"}}, {}, "networkConfiguration not applicable for EC2.", True),
    (
        {"fargatePlatformConfiguration": {"platformVersion": "1.4.0"}},
        {},
        "fargatePlatformConfiguration not applicable for EC2.",
        True,
    ),
    ({"user": "$(id"}, {}, "User '$(id' does not match regex", True),
    (
        {**efs(), "fargatePlatformConfiguration": {"platformVersion": "1.3.0"}},
        {"fargate": True},
        "EFS is supported for Fargate platform version 1.4.0",
        True,
    ),
    ({}, {"retryStrategy": {}}, "RetryAttempts must be provided with retry strategy", True),
    (
        {},
        {"retryStrategy": {"evaluateOnExit": [{"action": "EXIT"}]}},
        "RetryAttempts must be provided with retry strategy",
        True,
    ),
    (
        {"vcpus": 1, "resourceRequirements": [{"type": "MEMORY", "value": "512"}]},
        {"fargate": True},
        "vcpus is not applicable for Fargate. Use resource requirements instead.",
        False,
    ),
    (
        {"privileged": True},
        {"fargate": True},
        "Fargate requires that the \u2018privileged\u2019 setting be \u2018false\u2019 at the container level.",
        True,
    ),
    (
        {"ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}]},
        {"fargate": True},
        "ulimits is not applicable for Fargate.",
        True,
    ),
    (
        {"linuxParameters": {"sharedMemorySize": 64}},
        {"fargate": True},
        "linuxParameter.sharedMemorySize is not allowed for Fargate.",
        True,
    ),
    (
        {"linuxParameters": {"maxSwap": 0}},
        {"fargate": True},
        "linuxParameter.maxSwap is not allowed for Fargate.",
        True,
    ),
    ({"instanceType": "m5.large"}, {"fargate": True}, "instanceType is not applicable for Fargate.", True),
    ({"executionRoleArn": None}, {"fargate": True}, "executionRoleArn is required for Fargate jobs.", True),
    (
        requirements(VCPU="0.25", MEMORY="4096"),
        {"fargate": True},
        "requirements (0.25 vCPU, 4096 MiB) not valid.",
        True,
    ),
    (requirements(VCPU="3", MEMORY="8192"), {"fargate": True}, "requirements (3 vCPU, 8192 MiB) not valid.", True),
    (requirements(VCPU="1", MEMORY="2048", GPU="1"), {"fargate": True}, "GPU is not applicable for Fargate.", True),
    (
        {"logConfiguration": {"logDriver": "syslog"}},
        {"fargate": True},
        "Log driver for Fargate is not valid: syslog",
        True,
    ),
    (
        {"volumes": [{"name": "v", "host": {"sourcePath": "/x"}}]},
        {"fargate": True},
        "host.sourcePath should not be set for volumes in Fargate.",
        True,
    ),
]


@pytest.mark.parametrize(("container", "members", "message", "wrapped"), TABULATED)
def test_refusals_in_aws_words_and_style(
    container: dict[str, Any], members: dict[str, Any], message: str, wrapped: bool
) -> None:
    found = refusal(container, **members)
    assert message in found.message
    assert found.wrapped is wrapped


NODES: dict[str, Any] = {"numNodes": 1, "mainNode": 0, "nodeRangeProperties": []}


ODD = [
    ({}, {"jobDefinitionName": "a b"}, "name should match a valid pattern."),
    ({}, {"jobDefinitionName": "x" * 129}, "name should match a valid pattern."),
    ({}, {"containerProperties": None}, "Container properties should not be empty"),
    ({}, {"type": "multinode", "containerProperties": None}, "Node properties of multinode job is required."),
    ({}, {"ecsProperties": {"taskProperties": []}}, "Cannot use both ECS containerProperties and ecsProperties"),
    ({}, {"type": "multinode", "nodeProperties": NODES}, "Cannot use both ECS containerProperties and nodeProperties"),
    ({}, {"containerProperties": None, "nodeProperties": NODES}, "Container properties should not be empty"),
    (
        {},
        {"containerProperties": None, "eksProperties": {}, "platformCapabilities": ["EC2"]},
        "platformCapabilities is not applicable for EKS.",
    ),
    (
        {},
        {"containerProperties": None, "eksProperties": {}, "propagateTags": False},
        "propagateTags is not applicable for EKS.",
    ),
    ({"image": ""}, {}, "Image is not provided"),
    ({"image": "x" * 256}, {}, "at most 255"),
    ({"command": ["a\0"]}, {}, "null characters"),
    ({"environment": [{"name": "AWS_BATCH_JOB_ID", "value": "1"}]}, {}, "must not start with AWS_BATCH"),
    ({"environment": [{"value": "1"}]}, {}, "Environment variable name is required."),
    ({"environment": [{"name": "A=B"}]}, {}, "must have a name"),
    ({"environment": [{"name": "A", "value": "\0"}]}, {}, "must have a name"),
    ({"vcpus": 1}, {}, "Cannot use both ECS containerProperties vcpus and resourceRequirement VCPU"),
    ({"resourceRequirements": [], "vcpus": 0, "memory": 64}, {}, "vCPU must be at least 1, got 0."),
    ({"resourceRequirements": [], "vcpus": 1, "memory": 3}, {}, "Memory must be at least 4 Mib, got 3 Mib."),
    ({"resourceRequirements": REQUIREMENTS * 2}, {}, "Cannot provide duplicates in resourceRequirements."),
    (requirements(VCPU="1", MEMORY="3"), {}, "Memory must be at least 4 Mib, got 3 Mib."),
    (requirements(VCPU="1", MEMORY="128", GPU="0"), {}, "Value 0 for type GPU"),
    (requirements(VCPU="1e3", MEMORY="128"), {}, "Value 1e3 for type VCPU"),
    (requirements(VCPU="-1", MEMORY="128"), {}, "Value -1 for type VCPU"),
    ({}, {"retryStrategy": {"attempts": 0}}, "between 1 and 10"),
    ({}, {"retryStrategy": {"attempts": 11}}, "between 1 and 10"),
    ({}, {"retryStrategy": {"attempts": 1, "evaluateOnExit": [{"action": "EXIT"}] * 7}}, "at most 6"),
    ({}, {"retryStrategy": {"attempts": 1, "evaluateOnExit": [{"action": "EXIT", "onExitCode": "x"}]}}, "digits"),
    (
        {},
        {"retryStrategy": {"attempts": 1, "evaluateOnExit": [{"action": "EXIT", "onReason": "x" * 513}]}},
        "at most 512",
    ),
    ({}, {"timeout": {"attemptDurationSeconds": 59}}, "AttemptDurationSeconds in Timeout must be at least 60 seconds."),
    ({}, {"parameters": {"a": "x" * 24 * 1024}}, "must be less than 24 KiB, got 25 KiB"),
    ({"ulimits": [{"name": "files", "softLimit": 1, "hardLimit": 2}]}, {}, "Unknown ulimit"),
    ({"ulimits": [{"name": "nofile", "softLimit": 3, "hardLimit": 2}]}, {}, "softLimit"),
    ({"volumes": [{"host": {"sourcePath": "/x"}}]}, {}, "Volume name"),
    ({"volumes": [{"name": "a b"}]}, {}, "Volume name"),
    ({"volumes": [{"name": "a"}, {"name": "a"}]}, {}, "more than once"),
    ({"mountPoints": [{"sourceVolume": "a", "containerPath": "/a"}]}, {}, "Unknown volume 'a'"),
    ({"volumes": [{"name": "a"}], "mountPoints": [{"sourceVolume": "a"}]}, {}, "containerPath"),
    (efs(transitEncryptionPort=65536), {}, "TransitEncryptionPort must be a valid port number."),
    (efs(authorizationConfig={"accessPointId": "fsap-1"}, rootDirectory="/x"), {}, "the root directory must"),
    (
        efs(authorizationConfig={"accessPointId": "fsap-1"}),
        {},
        "EFS IAM access point requires TransitEncryption to be enabled.",
    ),
    (efs(authorizationConfig={"iam": "ENABLED"}, transitEncryption="ENABLED"), {}, "jobRoleArn"),
    ({"ephemeralStorage": {"sizeInGiB": 20}}, {"fargate": True}, "range 21 GiB to 200 GiB"),
    ({"linuxParameters": {"swappiness": 101}}, {}, "Invalid swappiness: 101, must be between 0 and 100."),
    ({"linuxParameters": {"maxSwap": -1}}, {}, "Invalid swap memory size: -1, must be non-negative."),
    ({"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 0}]}}, {}, "Size of a tmpfs is invalid."),
    ({"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["x"]}]}}, {}, "mountOptions"),
    ({"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "a b"}}}, {}, "awslogs-group"),
    ({"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-stream-prefix": "a:b"}}}, {}, "stream-prefix"),
    ({"logConfiguration": {"logDriver": "awslogs", "options": {"group": "a"}}}, {}, "disallows options: group"),
    ({"image": "busy box"}, {}, "Container.image contains invalid characters."),
    (efs(rootDirectory="/" * 4097), {}, "at most 4096"),
    (both_kinds(), {}, "only one volume configuration type"),
    (s3files(fileSystemArn="fs-1"), {}, "fileSystemArn"),
    (s3files(accessPointArn="fsap-1"), {}, "accessPointArn"),
    (s3files(transitEncryptionPort=-1), {}, "TransitEncryptionPort must be a valid port number."),
    ({"fargatePlatformConfiguration": {"platformVersion": "newest"}}, {"fargate": True}, "platformVersion is not"),
    ({"repositoryCredentials": {"credentialsParameter": "arn:aws:ssm:x"}}, {}, "credentialsParameter"),
    (
        {"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE", "cpuArchitecture": "ARM64"}},
        {"fargate": True},
        "X86_64",
    ),
    (
        {"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}, **efs()},
        {"fargate": True},
        "efsVolumeConfiguration is not applicable for Windows",
    ),
    ({"runtimePlatform": {"operatingSystemFamily": "BEOS"}}, {}, "operatingSystemFamily"),
    ({"runtimePlatform": {"cpuArchitecture": "Z80"}}, {}, "cpuArchitecture"),
    (
        {"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}, "user": "a"},
        {"fargate": True},
        "user is not applicable for Windows",
    ),
]


@pytest.mark.parametrize(("container", "members", "words"), ODD)
def test_malformed_members_are_refused(container: dict[str, Any], members: dict[str, Any], words: str) -> None:
    assert words in refusal(container, **members).message


WITHOUT_MEANING_HERE: list[tuple[dict[str, Any], bool]] = [
    ({"jobRoleArn": "arn:aws:iam::1:role/x", "executionRoleArn": "x"}, False),
    ({"privileged": True, "readonlyRootFilesystem": True, "user": "1000:1000"}, False),
    ({"ulimits": [{"name": "nofile", "softLimit": 10, "hardLimit": 20}]}, False),
    ({"volumes": [{"name": "v", "host": {"sourcePath": "/x"}}], "mountPoints": []}, False),
    (
        {
            "linuxParameters": {
                "devices": [{"hostPath": "/dev/fuse", "permissions": ["READ"]}],
                "tmpfs": [{"containerPath": "/t", "size": 64, "mountOptions": ["rw", "mode=1777"]}],
                "initProcessEnabled": True,
                "swappiness": 0,
                "maxSwap": 0,
            }
        },
        False,
    ),
    (efs(transitEncryption="ENABLED", rootDirectory="/", authorizationConfig={"accessPointId": "fsap-1"}), False),
    (s3files(rootDirectory="/a", transitEncryptionPort=0), False),
    ({"secrets": [], "logConfiguration": {"logDriver": "awslogs", "secretOptions": []}}, False),
    ({"repositoryCredentials": {"credentialsParameter": "x"}, "enableExecuteCommand": True}, False),
    ({"resourceRequirements": None, "vcpus": 2, "memory": 64}, False),
    ({"networkConfiguration": {"assignPublicIp": "ENABLED"}}, True),
    ({"ephemeralStorage": {"sizeInGiB": 100}, "runtimePlatform": {"cpuArchitecture": "ARM64"}}, True),
    ({**efs(), "fargatePlatformConfiguration": {"platformVersion": "LATEST"}}, True),
    ({"ulimits": [], "privileged": False, "linuxParameters": {"devices": []}}, True),
]


@pytest.mark.parametrize(("container", "fargate"), WITHOUT_MEANING_HERE)
def test_definitions_of_pipelines_register(container: dict[str, Any], fargate: bool) -> None:
    check(container, fargate=fargate)


def test_managed_instances_take_tasks_in_the_form_of_ec2() -> None:
    managed: dict[str, Any] = {"platformCapabilities": ["MANAGED_INSTANCES"]}
    assert "Cannot use ECS containerProperties for MANAGED_INSTANCES" in refusal({}, **managed).message
    nodes = {"type": "multinode", "containerProperties": None, "nodeProperties": NODES}
    assert "MANAGED_INSTANCES does not support MNP jobs" in refusal({}, **nodes, **managed).message
    half = requirements(VCPU="0.5", MEMORY="128")["resourceRequirements"]
    task = {"containers": [{"name": "a", "image": "b", "resourceRequirements": half}]}
    tasks = {"containerProperties": None, "ecsProperties": {"taskProperties": [task]}}
    assert "Value 0.5 for type VCPU" in refusal({}, **tasks, **managed).message
    assert "Exactly 1 capability" in refusal({}, platformCapabilities=["EC2", "FARGATE"]).message


@pytest.mark.parametrize("vcpus", FARGATE)
def test_every_pair_that_fargate_offers(vcpus: float) -> None:
    for memory in FARGATE[vcpus]:
        check(requirements(VCPU=str(vcpus), MEMORY=str(memory)), fargate=True)


def test_limits_are_settings() -> None:
    ask = msgspec.convert(
        {
            "jobDefinitionName": "d",
            "type": "container",
            "containerProperties": {"image": "x", "resourceRequirements": REQUIREMENTS},
            "timeout": {"attemptDurationSeconds": 1},
        },
        RegisterJobDefinitionRequest,
    )
    check_registration(ask, Limits(timeout_seconds=1))
    with pytest.raises(Refused):
        check_registration(ask, Limits(timeout_seconds=2))
