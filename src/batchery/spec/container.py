"""What is a valid container, and a valid task around it: the one place that says so for every kind of definition.

A definition describes *tasks* (what containers share: volumes, roles, platform) of one or more *containers*.
containerProperties are a task and its only container in one structure, ecsProperties keep them apart. `check_task` and
`check_container` hold for both; what belongs to one kind only is checked where that kind is.

Members that have no meaning off AWS are checked for form all the same: a definition that registers here registers on
AWS. Not looked at, as on AWS: whether images, roles and secrets exist.
Sources: API_ContainerProperties, API_TaskContainerProperties, API_EcsTaskProperties, API_LogConfiguration, API_Ulimit,
API_RuntimePlatform, user guide "Job definition parameters" and "Fargate compute environments".
"""

import re
from typing import Final, NamedTuple, Protocol

from batchery.api.shapes import (
    ContainerProperties,
    EcsTaskProperties,
    EphemeralStorage,
    KeyValuePair,
    LinuxParameters,
    LogConfiguration,
    MountPoint,
    NetworkConfiguration,
    RepositoryCredentials,
    ResourceRequirement,
    RuntimePlatform,
    Secret,
    Ulimit,
    Volume,
)
from batchery.core.messages import Refused
from batchery.spec.rules import check_command, check_environment, check_requirements
from batchery.spec.secretrefs import check_login, check_secrets
from batchery.spec.storage import check_devices, check_mounts, check_volumes

IMAGE_CHARS: Final = 255
FARGATE: Final = "FARGATE"
_IMAGE: Final = re.compile(r"[A-Za-z0-9_\-:./#@+]+")
_USER: Final = re.compile(r"[a-z0-9_][a-z0-9_-]{0,30}(:[a-z0-9_][a-z0-9_-]{0,30})?")
_GROUP: Final = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}")
_PREFIX: Final = re.compile(r"[^:*]{1,400}")
_ULIMITS: Final = re.compile(
    "core|cpu|data|fsize|locks|memlock|msgqueue|nice|nofile|nproc|rss|rtprio|rttime|sigpending|stack"
)
_FARGATE_DRIVERS: Final = frozenset({"awslogs", "splunk"})
_PRIVILEGED: Final = (
    "Fargate requires that the \u2018privileged\u2019 setting be \u2018false\u2019 at the container level."
)
#: Options of the awslogs driver (user guide, "Use the awslogs log driver"), and two that ECS has for every driver.
_AWSLOGS: Final = frozenset(
    (
        *("awslogs-group", "awslogs-region", "awslogs-stream-prefix", "awslogs-datetime-format"),
        *("awslogs-multiline-pattern", "awslogs-create-group", "mode", "max-buffer-size"),
    )
)
_WINDOWS: Final = re.compile("WINDOWS_SERVER_20[0-9]{2}_(CORE|FULL)")
_PLATFORM_VERSION: Final = re.compile(r"LATEST|([0-9]+)\.([0-9]+)\.([0-9]+)")


class AnyContainer(Protocol):
    """What containerProperties and the containers of ecsProperties have in common."""

    @property
    def image(self) -> str | None: ...
    @property
    def command(self) -> list[str] | None: ...
    @property
    def environment(self) -> list[KeyValuePair] | None: ...
    @property
    def resource_requirements(self) -> list[ResourceRequirement] | None: ...
    @property
    def mount_points(self) -> list[MountPoint] | None: ...
    @property
    def readonly_root_filesystem(self) -> bool | None: ...
    @property
    def privileged(self) -> bool | None: ...
    @property
    def ulimits(self) -> list[Ulimit] | None: ...
    @property
    def user(self) -> str | None: ...
    @property
    def linux_parameters(self) -> LinuxParameters | None: ...
    @property
    def log_configuration(self) -> LogConfiguration | None: ...
    @property
    def secrets(self) -> list[Secret] | None: ...
    @property
    def repository_credentials(self) -> RepositoryCredentials | None: ...


class Task(NamedTuple):
    """What the containers of one attempt share."""

    platforms: tuple[str, ...] = ()  # platformCapabilities; empty is EC2
    volumes: tuple[Volume, ...] = ()
    execution_role: str = ""
    job_role: str = ""
    storage: EphemeralStorage | None = None
    runtime: RuntimePlatform | None = None
    network: NetworkConfiguration | None = None
    platform_version: str | None = None  # None: not given
    version_member: str = "fargatePlatformConfiguration"  # what says it

    @property
    def fargate(self) -> bool:
        return FARGATE in self.platforms

    @property
    def ec2(self) -> bool:
        return not self.platforms or "EC2" in self.platforms

    @property
    def windows(self) -> bool:
        family = self.runtime.operating_system_family if self.runtime else None
        return family is not None and _WINDOWS.fullmatch(family) is not None


def task_of(container: ContainerProperties, platforms: list[str] | None) -> Task:
    """The task that containerProperties describe beside its container."""
    fargate = container.fargate_platform_configuration
    return Task(
        platforms=tuple(platforms or ()),
        volumes=tuple(container.volumes or ()),
        execution_role=container.execution_role_arn or "",
        job_role=container.job_role_arn or "",
        storage=container.ephemeral_storage,
        runtime=container.runtime_platform,
        network=container.network_configuration,
        platform_version=(fargate.platform_version or "LATEST") if fargate else None,
    )


def task_of_ecs(task: EcsTaskProperties, platforms: list[str] | None) -> Task:
    """The task of ecsProperties."""
    return Task(
        platforms=tuple(platforms or ()),
        volumes=tuple(task.volumes or ()),
        execution_role=task.execution_role_arn or "",
        job_role=task.task_role_arn or "",
        storage=task.ephemeral_storage,
        runtime=task.runtime_platform,
        network=task.network_configuration,
        platform_version=task.platform_version,
        version_member="platformVersion",
    )


# ------------------------------------------------------------------------------------------------------------ task


def check_task(task: Task) -> None:
    """Every rule of what containers share. Raises Refused."""
    _check_runtime(task)
    version = _version(task)
    if task.fargate and not task.execution_role:
        raise Refused("executionRoleArn is required for Fargate jobs.", True)
    if task.ec2 and task.network is not None:
        raise Refused("networkConfiguration not applicable for EC2.", True)
    if task.ec2 and task.platform_version is not None:
        raise Refused(f"{task.version_member} not applicable for EC2.", True)
    if task.storage is not None and not 21 <= task.storage.size_in_gi_b <= 200:
        words = "can be only between range 21 GiB to 200 GiB"
        raise Refused(f"Ephemeral storage for Fargate tasks {words}", True)
    check_volumes(task.volumes, fargate=task.fargate, job_role=bool(task.job_role))
    if any(volume.efs_volume_configuration for volume in task.volumes):
        if task.windows:
            raise Refused("efsVolumeConfiguration is not applicable for Windows.", True)  # ours
        if task.fargate and version is not None and version < (1, 4):
            raise Refused("EFS is supported for Fargate platform version 1.4.0", True)


def _version(task: Task) -> tuple[int, int] | None:
    """Major and minor number of the Fargate platform, None for the latest."""
    text = task.platform_version or "LATEST"
    match = _PLATFORM_VERSION.fullmatch(text)
    if match is None:
        raise Refused(f"platformVersion is not valid: {text}", True)  # ours
    return (int(match[1]), int(match[2])) if match[1] else None


def _check_runtime(task: Task) -> None:
    if task.runtime is None:
        return
    family, architecture = task.runtime.operating_system_family, task.runtime.cpu_architecture
    if family and family != "LINUX" and not task.windows:
        raise Refused(f"operatingSystemFamily is not valid: {family}", True)  # ours
    if architecture and architecture not in ("X86_64", "ARM64"):
        raise Refused(f"cpuArchitecture is not valid: {architecture}", True)  # ours
    if task.windows and architecture == "ARM64":
        raise Refused("Windows supported only by X86_64 cpuArchitecture", True)


# ------------------------------------------------------------------------------------------------------- container


def check_container(container: AnyContainer, task: Task) -> None:
    """Every rule of a container but how much it needs in all (`rules.check_needed`). Raises Refused."""
    if not container.image:
        raise Refused("Image is not provided.", True)  # ours
    if len(container.image) > IMAGE_CHARS:
        raise Refused(f"image must be at most {IMAGE_CHARS} characters", True)  # ours
    if _IMAGE.fullmatch(container.image) is None:
        raise Refused("Container.image contains invalid characters.", True)
    check_command(container.command)
    check_environment(container.environment)
    check_requirements(container.resource_requirements, task.fargate)
    if container.user and _USER.fullmatch(container.user) is None:
        raise Refused(f"User '{container.user}' does not match regex", True)
    _check_ulimits(container)
    check_mounts(container.mount_points, task.volumes)
    check_devices(container.linux_parameters)
    _check_logs(container.log_configuration, task)
    check_secrets(container, task.execution_role)
    check_login(container.repository_credentials)
    _check_fargate(container, task)
    _check_windows(container, task)


def _check_ulimits(container: AnyContainer) -> None:
    for ulimit in container.ulimits or ():
        if _ULIMITS.fullmatch(ulimit.name) is None:
            raise Refused(f"Unknown ulimit name: {ulimit.name}", True)  # ours
        if ulimit.soft_limit > ulimit.hard_limit >= 0:
            raise Refused(f"softLimit of {ulimit.name} must not be above its hardLimit", True)  # ours


def _check_logs(config: LogConfiguration | None, task: Task) -> None:
    if config is None:
        return
    if task.fargate and config.log_driver not in _FARGATE_DRIVERS:
        raise Refused(f"Log driver for Fargate is not valid: {config.log_driver}", True)
    options = (config.options if config.log_driver == "awslogs" else None) or {}
    if unknown := [name for name in options if name not in _AWSLOGS]:
        raise Refused(f"Log driver awslogs disallows options: {', '.join(unknown)}", True)
    for name, form in (("awslogs-group", _GROUP), ("awslogs-stream-prefix", _PREFIX)):
        if name in options and form.fullmatch(options[name]) is None:
            raise Refused(f"Value of {name} is not valid: {options[name]}", True)  # ours


def _check_windows(container: AnyContainer, task: Task) -> None:
    """API_RuntimePlatform."""
    if not task.windows:
        return
    for name, value in (
        ("linuxParameters", container.linux_parameters),
        ("privileged", container.privileged or None),
        ("user", container.user or None),
        ("ulimits", container.ulimits or None),
        ("readonlyRootFilesystem", container.readonly_root_filesystem or None),
    ):
        if value is not None:
            raise Refused(f"{name} is not applicable for Windows.", True)  # ours


def _check_fargate(container: AnyContainer, task: Task) -> None:
    """User guide, "Job definitions on Fargate"."""
    if not task.fargate:
        return
    if container.ulimits:
        raise Refused("ulimits is not applicable for Fargate.", True)
    if container.privileged:
        raise Refused(_PRIVILEGED, True)
    linux = container.linux_parameters or LinuxParameters()
    absent = {
        "devices": linux.devices or None,
        "tmpfs": linux.tmpfs or None,
        "sharedMemorySize": linux.shared_memory_size,
        "maxSwap": linux.max_swap,
        "swappiness": linux.swappiness,
    }
    for name, value in absent.items():
        if value is not None:
            raise Refused(f"linuxParameter.{name} is not allowed for Fargate.", True)
