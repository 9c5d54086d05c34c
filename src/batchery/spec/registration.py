"""May this job definition be registered? Raises Refused with AWS's text, or nothing.

Members that have no meaning for host processes are checked for form all the same (docs/compatibility.md): a definition
that registers here registers on AWS. Not looked at, as on AWS: whether images and roles exist, and whether ``Ref::``
names have defaults. Source: API_RegisterJobDefinition, API_ContainerProperties, user guide "Job definition parameters"
and "Fargate compute environments".
"""

import re
from typing import Final

import msgspec

from batchery.api.shapes import ContainerProperties, RegisterJobDefinitionRequest, RuntimePlatform
from batchery.config import Limits
from batchery.core.messages import Refused
from batchery.spec.names import NAME
from batchery.spec.rules import (
    check_command,
    check_environment,
    check_legacy,
    check_needed,
    check_requirements,
    check_retry,
    check_timeout,
    refuse_later,
)
from batchery.spec.storage import check_devices, check_storage

IMAGE_CHARS: Final = 255
_USER: Final = re.compile(r"[a-z0-9_][a-z0-9_-]{0,30}(:[a-z0-9_][a-z0-9_-]{0,30})?")
_GROUP: Final = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}")
_PREFIX: Final = re.compile(r"[^:*]{1,400}")
_ULIMITS: Final = re.compile(
    "core|cpu|data|fsize|locks|memlock|msgqueue|nice|nofile|nproc|rss|rtprio|rttime|sigpending|stack"
)
_WINDOWS: Final = "WINDOWS_SERVER_"
_FARGATE_DRIVERS: Final = frozenset({"awslogs", "splunk"})


def on_fargate(platforms: list[str] | None) -> bool:
    """Whether the rules of Fargate hold for a definition with these platformCapabilities."""
    return "FARGATE" in (platforms or ())


def check_registration(ask: RegisterJobDefinitionRequest, limits: Limits) -> None:
    """Every rule of RegisterJobDefinition but that of tags (`api.tags.check_tags`)."""
    if NAME.fullmatch(ask.job_definition_name) is None:
        raise Refused("Job definition name should match valid pattern", True)  # ours
    refuse_later(
        (
            ("type multinode", ask.type if ask.type == "multinode" else None),
            ("nodeProperties", ask.node_properties),
            ("ecsProperties", ask.ecs_properties),
            ("eksProperties", ask.eks_properties),
            ("consumableResourceProperties", ask.consumable_resource_properties),
            ("schedulingPriority", ask.scheduling_priority),
        )
    )
    if ask.container_properties is None:
        raise Refused("containerProperties must be provided for a job definition of type container", True)  # ours
    size = len(msgspec.json.encode(ask))
    if size > limits.definition_bytes:
        most, got = limits.definition_bytes // 1024, -(-size // 1024)
        raise Refused(f"Job definition size must be less than {most} KiB, got {got} KiB", True)  # ours
    check_retry(ask.retry_strategy, limits)
    check_timeout(ask.timeout, limits)
    check_container(ask.container_properties, ask.platform_capabilities or [])


def check_container(container: ContainerProperties, platforms: list[str]) -> None:
    """Every rule of containerProperties."""
    fargate = on_fargate(platforms)
    refuse_later(
        (
            ("secrets", container.secrets),
            ("logConfiguration.secretOptions", _secret_options(container)),
        )
    )
    if not container.image:
        raise Refused("Image is not provided.", True)  # ours
    if len(container.image) > IMAGE_CHARS:
        raise Refused(f"image must be at most {IMAGE_CHARS} characters", True)  # ours
    check_command(container.command)
    check_environment(container.environment)
    check_legacy(container.vcpus, container.memory, fargate)
    check_requirements(container.resource_requirements, fargate)
    check_needed(container, fargate)
    if container.user and _USER.fullmatch(container.user) is None:
        raise Refused(f"User '{container.user}' does not match regex", True)
    _check_ulimits(container)
    check_storage(container, fargate)
    check_devices(container.linux_parameters)
    _check_logs(container, fargate)
    _check_runtime(container.runtime_platform, container)
    if fargate:
        _check_fargate(container)
    if not platforms or "EC2" in platforms:
        _check_ec2(container)


def _secret_options(container: ContainerProperties) -> object:
    return container.log_configuration.secret_options if container.log_configuration else None


def _check_ulimits(container: ContainerProperties) -> None:
    for ulimit in container.ulimits or ():
        if _ULIMITS.fullmatch(ulimit.name) is None:
            raise Refused(f"Unknown ulimit name: {ulimit.name}", True)  # ours
        if ulimit.soft_limit > ulimit.hard_limit >= 0:
            raise Refused(f"softLimit of {ulimit.name} must not be above its hardLimit", True)  # ours


def _check_logs(container: ContainerProperties, fargate: bool) -> None:
    config = container.log_configuration
    if config is None:
        return
    if fargate and config.log_driver not in _FARGATE_DRIVERS:
        raise Refused(f"Log driver {config.log_driver} is not applicable for Fargate.", True)
    options = (config.options if config.log_driver == "awslogs" else None) or {}
    for name, form in (("awslogs-group", _GROUP), ("awslogs-stream-prefix", _PREFIX)):
        if name in options and form.fullmatch(options[name]) is None:
            raise Refused(f"Value of {name} is not valid: {options[name]}", True)  # ours


def _check_runtime(platform: RuntimePlatform | None, container: ContainerProperties) -> None:
    if platform is None:
        return
    family, architecture = platform.operating_system_family, platform.cpu_architecture
    if family and family != "LINUX" and not family.startswith(_WINDOWS):
        raise Refused(f"operatingSystemFamily is not valid: {family}", True)  # ours
    if architecture and architecture not in ("X86_64", "ARM64"):
        raise Refused(f"cpuArchitecture is not valid: {architecture}", True)  # ours
    if family and family.startswith(_WINDOWS):
        for name, value in (
            ("linuxParameters", container.linux_parameters),
            ("privileged", container.privileged or None),
            ("user", container.user or None),
            ("ulimits", container.ulimits or None),
            ("readonlyRootFilesystem", container.readonly_root_filesystem or None),
        ):
            if value is not None:
                raise Refused(f"{name} is not applicable for Windows.", True)  # ours


def _check_fargate(container: ContainerProperties) -> None:
    """User guide, "Job definitions on Fargate"."""
    linux = container.linux_parameters
    absent = {
        "ulimits": container.ulimits,
        "privileged": container.privileged,
        "instanceType": container.instance_type,
        "devices": linux.devices if linux else None,
        "tmpfs": linux.tmpfs if linux else None,
        "sharedMemorySize": linux.shared_memory_size if linux else None,
        "maxSwap": linux.max_swap if linux else None,
        "swappiness": linux.swappiness if linux else None,
    }
    for name, value in absent.items():
        if value is not None and value is not False and value not in ([], ""):
            raise Refused(f"{name} is not applicable for Fargate.", True)
    if not container.execution_role_arn:
        raise Refused("executionRoleArn is required for Fargate.", True)  # ours


def _check_ec2(container: ContainerProperties) -> None:
    if container.network_configuration is not None:
        raise Refused("networkConfiguration not applicable for EC2.", True)
    if container.fargate_platform_configuration is not None:
        raise Refused("fargatePlatformConfiguration not applicable for EC2.", True)
