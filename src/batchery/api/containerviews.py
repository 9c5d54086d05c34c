"""containerProperties as AWS gives them back, of a definition, a job, a range of nodes. Source: API_ContainerDetail."""

from typing import Final

from msgspec.structs import replace

from batchery.api.shapes import ContainerProperties, FargatePlatformConfiguration, LinuxParameters, LogConfiguration

#: Members of containerProperties that are shown empty where they were not given.
_LISTS: Final = (
    "command",
    "volumes",
    "environment",
    "mount_points",
    "ulimits",
    "resource_requirements",
    "secrets",
)


def shown_container(container: ContainerProperties, fargate: bool) -> ContainerProperties:
    """containerProperties as AWS gives them back: lists are never absent, Fargate's platform version neither."""
    shown = replace(container, **{name: getattr(container, name) or [] for name in _LISTS})
    if (linux := container.linux_parameters) is not None:
        shown.linux_parameters = _shown_linux(linux)
    if (logs := container.log_configuration) is not None:
        shown.log_configuration = _shown_logs(logs)
    if fargate and container.fargate_platform_configuration is None:
        shown.fargate_platform_configuration = FargatePlatformConfiguration(platform_version="LATEST")
    return shown


def _shown_linux(linux: LinuxParameters) -> LinuxParameters:
    return replace(linux, devices=linux.devices or [], tmpfs=linux.tmpfs or [])


def _shown_logs(logs: LogConfiguration) -> LogConfiguration:
    return replace(logs, options=logs.options or {}, secret_options=logs.secret_options or [])
