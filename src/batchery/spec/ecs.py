"""ecsProperties: one task of up to ten containers. Its rules, overrides by name, and what engines make of it.

Sources: API_EcsProperties, API_EcsTaskProperties, API_TaskContainerProperties, API_TaskContainerDependency,
API_EcsPropertiesOverride, API_TaskContainerOverrides; user guide "Multi-container jobs". Texts marked "ours" are for
cases whose AWS text is not known. Decision 170.
"""

import re
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from batchery.api.shapes import (
    ContainerOverrides,
    ContainerProperties,
    EcsProperties,
    EcsPropertiesOverride,
    EcsTaskProperties,
    TaskContainerOverrides,
    TaskContainerProperties,
)
from batchery.core.messages import Refused
from batchery.core.pod import CONDITIONS, START
from batchery.spec.container import Task, check_container, check_task, task_of_ecs
from batchery.spec.pod import ECS, MOST, PodContainer, SharedPod, check_names, check_order
from batchery.spec.rules import check_command, check_environment, check_needed, check_pair, check_requirements

ALONE: Final = "default"  #: name of the only container, if it has none
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_LEAST_TIMEOUT: Final = 2  #: s
_FARGATE_TIMEOUT: Final = 120  #: s, at most
_IPC: Final = ("host", "task", "none")
_PID: Final = ("host", "task")


# ---------------------------------------------------------------------------------------------------- registration


def check_ecs(properties: EcsProperties, platforms: list[str] | None) -> None:
    """Every rule of ecsProperties. Raises Refused."""
    if len(properties.task_properties) != 1:
        raise Refused("taskProperties must have exactly one element", True)  # ours
    given = properties.task_properties[0]
    if not 1 <= len(given.containers) <= MOST:
        raise Refused(f"Number of containers must be between 1 and {MOST}", True)
    task = task_of_ecs(given, platforms)
    check_task(task)
    _check_namespaces(given, task)
    named = [replace(one, name=name_of(one, given)) for one in given.containers]
    check_names([name_of(one, given) for one in named])
    for one in named:
        check_container(one, task)
        _check_part(one, task)
    if not any(one.essential is not False for one in named):
        raise Refused("At least one container must be set as essential", True)
    _check_dependencies(named)
    if task.fargate:
        check_pair([one.resource_requirements or [] for one in named])


def name_of(container: TaskContainerProperties, task: EcsTaskProperties) -> str:
    """Its name; the only container may have none."""
    return container.name or (ALONE if len(task.containers) == 1 else "")


def _check_part(one: TaskContainerProperties, task: Task) -> None:
    if _NAME.fullmatch(one.name or "") is None:
        raise Refused(f"Container name is not valid: {one.name or ''}", True)  # ours
    check_needed(ContainerProperties(resource_requirements=one.resource_requirements), False)
    for member, seconds in (("startTimeout", one.start_timeout), ("stopTimeout", one.stop_timeout)):
        if seconds is None:
            continue
        if seconds < _LEAST_TIMEOUT:
            raise Refused(f"{member} must be at least {_LEAST_TIMEOUT} seconds", True)  # ours
        if task.fargate and seconds > _FARGATE_TIMEOUT:
            raise Refused(f"{member} must be at most {_FARGATE_TIMEOUT} seconds for Fargate", True)  # ours


def _check_namespaces(given: EcsTaskProperties, task: Task) -> None:
    if given.ipc_mode is not None and given.ipc_mode not in _IPC:
        raise Refused(f"ipcMode {given.ipc_mode} is not valid. Valid values are: [host, task, none]", True)
    if given.pid_mode is not None and given.pid_mode not in _PID:
        raise Refused(f"Capability {given.pid_mode} is not valid. Valid capabilities: [host, task]", True)
    if task.fargate and given.ipc_mode is not None:
        raise Refused("ipcMode is not applicable for Fargate.", True)  # ours
    if task.fargate and given.pid_mode == "host":
        raise Refused("pidMode host is not applicable for Fargate.", True)  # ours
    if given.network_mode is not None:
        if "MANAGED_INSTANCES" not in task.platforms:
            raise Refused("networkMode is only applicable for MANAGED_INSTANCES.", True)  # ours
        if given.network_mode != "host":
            raise Refused(f"networkMode is not valid: {given.network_mode}", True)  # ours


def _check_dependencies(containers: list[TaskContainerProperties]) -> None:
    essential = {one.name: one.essential is not False for one in containers}
    after: dict[str, list[str]] = {}
    for one in containers:
        for wanted in one.depends_on or ():
            name, condition = wanted.container_name, wanted.condition
            if len(containers) == 1:
                raise Refused("Container dependency can not be used in a single-container job.", True)
            if name not in essential:
                raise Refused(f"containerName {name} must reference a defined container.", True)
            if name == one.name:
                raise Refused(f"dependsOn of {one.name} names no other container: {name}", True)  # ours
            if condition not in CONDITIONS:
                values = "Valid values are: [START, COMPLETE, SUCCESS]"
                raise Refused(f"TaskContainer dependency {condition} is not valid. {values}", True)
            if condition != START and essential[name]:
                words = f"can not have condition {condition} if the target is essential"
                raise Refused(f"The container target of a dependency {words}", True)
            after.setdefault(one.name or "", []).append(wanted.container_name or "")
    check_order([one.name or "" for one in containers], after)


# ------------------------------------------------------------------------------------------------------- overrides


def overrides_by_name(override: EcsPropertiesOverride | None) -> list[TaskContainerOverrides]:
    """Raises Refused for more than one task."""
    tasks = (override.task_properties if override else None) or []
    if len(tasks) > 1:
        raise Refused("taskProperties of ecsPropertiesOverride must have at most one element", True)  # ours
    return (tasks[0].containers or []) if tasks else []


def check_ecs_override(override: EcsPropertiesOverride, properties: EcsProperties, fargate: bool) -> None:
    """API_TaskContainerOverrides. Raises Refused."""
    task = properties.task_properties[0]
    names = [name_of(one, task) for one in task.containers]
    sent = overrides_by_name(override)
    check_names([one.name or ALONE for one in sent])
    for one in sent:
        if (one.name or ALONE) not in names:
            raise Refused(f"Container {one.name or ''} of ecsPropertiesOverride is not in the job definition", True)
        if any(argument == "" for argument in one.command or ()):
            raise Refused("command of ecsPropertiesOverride must not contain an empty string", True)  # ours
        check_command(one.command)
        check_environment(one.environment)
        check_requirements(one.resource_requirements, fargate)


def merged_task(
    properties: EcsProperties,
    override: EcsPropertiesOverride | None,
    merge: Callable[[ContainerProperties, ContainerOverrides], ContainerProperties],
    substitute: Callable[[list[str]], list[str]],
) -> EcsTaskProperties:
    """The task under a SubmitJob's overrides. ``merge`` and ``substitute``: as for a single container."""
    task = properties.task_properties[0]
    sent = {one.name or ALONE: one for one in overrides_by_name(override)}
    containers = []
    for one in task.containers:
        given = sent.get(name_of(one, task), TaskContainerOverrides())
        result = merge(
            ContainerProperties(
                command=one.command,
                environment=one.environment,
                resource_requirements=one.resource_requirements,
            ),
            ContainerOverrides(
                command=given.command,
                environment=given.environment,
                resource_requirements=given.resource_requirements,
            ),
        )
        containers.append(
            replace(
                one,
                name=name_of(one, task),
                command=substitute(result.command or []),
                environment=result.environment,
                resource_requirements=result.resource_requirements,
            )
        )
    return replace(task, containers=containers)


# ------------------------------------------------------------------------------------------------------------- pod


def pod_of_task(task: EcsTaskProperties) -> SharedPod:
    """What engines make of a merged task."""
    return SharedPod(
        ECS,
        tuple(_part(one, task) for one in task.containers),
        ipc=task.ipc_mode or "",
        pid=task.pid_mode or "",
    )


def _part(one: TaskContainerProperties, task: EcsTaskProperties) -> PodContainer:
    essential = one.essential is not False
    return PodContainer(
        name=one.name or ALONE,
        container=ContainerProperties(
            image=one.image,
            command=one.command,
            job_role_arn=task.task_role_arn,
            execution_role_arn=task.execution_role_arn,
            volumes=task.volumes,
            environment=one.environment,
            mount_points=one.mount_points,
            readonly_root_filesystem=one.readonly_root_filesystem,
            privileged=one.privileged,
            ulimits=one.ulimits,
            user=one.user,
            resource_requirements=one.resource_requirements,
            linux_parameters=one.linux_parameters,
            log_configuration=one.log_configuration,
            secrets=one.secrets,
            repository_credentials=one.repository_credentials,
            runtime_platform=task.runtime_platform,
        ),
        essential=essential,
        decides=essential,
        after=tuple((wanted.container_name or "", wanted.condition or "") for wanted in one.depends_on or ()),
        start_timeout=1000 * (one.start_timeout or 0),
        stop_timeout=1000 * (one.stop_timeout or 0),
    )
