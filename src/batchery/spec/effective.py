"""A job definition and a SubmitJob request become the effective spec: pure, and the same at every reading.

The store keeps both texts as they are; nothing merged is stored, so a million jobs of one definition cost little.

Merge rules, by API_ContainerOverrides, API_SubmitJob and the user guide ("Job definition parameters"):

* command: the override replaces the whole list; an empty list is not an override.
* environment: union by name, the override wins; the definition's order first, then new names.
* resourceRequirements: merged by type. vcpus and memory (deprecated) replace only their deprecated counterpart, and
  count only where no resourceRequirements speaks of the resource.
* retryStrategy, timeout, consumableResourceProperties, propagateTags: replaced as a whole. parameters: by key.
* ``Ref::name`` in the command is replaced by the parameter's value, anywhere in an argument; only there. Decision 051.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from batchery.api.shapes import (
    ConsumableResourceProperties,
    ContainerOverrides,
    ContainerProperties,
    EcsPropertiesOverride,
    EcsTaskProperties,
    EksPodProperties,
    EksPropertiesOverride,
    EvaluateOnExit,
    JobDependency,
    JobTimeout,
    KeyValuePair,
    NodeOverrides,
    RegisterJobDefinitionRequest,
    ResourceRequirement,
    RetryStrategy,
    Structure,
)
from batchery.core.messages import Refused
from batchery.core.model import Resources
from batchery.spec.consumables import in_effect
from batchery.spec.ecs import merged_task, pod_of_task
from batchery.spec.eks import merged_pod
from batchery.spec.ekspod import pod_of_eks, reserved
from batchery.spec.pod import SharedPod, total

#: What the AWS_BATCH_* variables that the service adds take of ECS's 8192 bytes of overrides (user guide, "about 500").
INJECTED_BYTES: Final = 500
_REFERENCE: Final = re.compile(r"Ref::([A-Za-z0-9_-]+)")
_LEGACY: Final = {"VCPU": "vcpus", "MEMORY": "memory"}


class Overrides(Structure, kw_only=True):
    """The members of SubmitJob that change the spec; reading a whole request as one of these skips the others."""

    parameters: dict[str, str] | None = None
    container_overrides: ContainerOverrides | None = None
    ecs_properties_override: EcsPropertiesOverride | None = None
    eks_properties_override: EksPropertiesOverride | None = None
    retry_strategy: RetryStrategy | None = None
    propagate_tags: bool | None = None
    timeout: JobTimeout | None = None
    node_overrides: NodeOverrides | None = None
    scheduling_priority_override: int | None = None
    depends_on: list[JobDependency] | None = None
    consumable_resource_properties_override: ConsumableResourceProperties | None = None


class Effective(msgspec.Struct, frozen=True):
    """One job's spec, merged and substituted. Shared by all jobs alike: nobody may change what it holds."""

    container: ContainerProperties
    resources: Resources
    parameters: dict[str, str]
    retry: RetryStrategy | None  # actions in lower case, as AWS shows them
    timeout: JobTimeout | None
    propagate_tags: bool
    platforms: list[str]
    priority: int | None  # schedulingPriority, or what SubmitJob put in its place; None if neither was given
    depends_on: list[JobDependency]
    consumables: ConsumableResourceProperties | None  # as sent
    override_bytes: int  # what AWS would hand to ECS as overrides, about
    spec: str  # the container as JSON
    ecs: EcsTaskProperties | None = None  # of several containers: merged and substituted, as everything here
    eks: EksPodProperties | None = None
    pod: SharedPod | None = None  # either of them, as engines need it; `container` is empty then


_definitions: Final = msgspec.json.Decoder(RegisterJobDefinitionRequest)
_overrides: Final = msgspec.json.Decoder(Overrides)
_encoder: Final = msgspec.json.Encoder()


@lru_cache(maxsize=512)
def definition_of(doc: str) -> RegisterJobDefinitionRequest:
    """The registered request of a definition's doc."""
    return _definitions.decode(doc)


@lru_cache(maxsize=1024)
def effective(definition_doc: str, submit_doc: str) -> Effective:
    """Merge and substitute. Raises Refused for a reference without a parameter (which SubmitJob found out before)."""
    definition = definition_of(definition_doc)
    overrides = _overrides.decode(submit_doc)
    parameters = {**(definition.parameters or {}), **(overrides.parameters or {})}
    given = definition.container_properties or ContainerProperties()
    merged = merge(given, overrides.container_overrides or ContainerOverrides())
    container = msgspec.structs.replace(merged, command=substitute(merged.command or [], parameters))
    several = _several(definition, overrides, lambda command: substitute(command, parameters))
    timeout = overrides.timeout if limited(overrides.timeout) else definition.timeout
    propagate = definition.propagate_tags if overrides.propagate_tags is None else overrides.propagate_tags
    return Effective(
        container=container,
        resources=several.resources if several else resources_of(container),
        parameters=parameters,
        retry=lowered(overrides.retry_strategy or definition.retry_strategy),
        timeout=timeout if limited(timeout) else None,
        propagate_tags=bool(propagate),
        priority=definition.scheduling_priority
        if overrides.scheduling_priority_override is None
        else overrides.scheduling_priority_override,
        platforms=list(definition.platform_capabilities or []),
        depends_on=overrides.depends_on or [],
        consumables=in_effect(
            definition.consumable_resource_properties, overrides.consumable_resource_properties_override
        ),
        override_bytes=several.override_bytes
        if several
        else _override_bytes(given, container, overrides.container_overrides),
        spec="" if several else _encoder.encode(container).decode(),
        ecs=several.ecs if several else None,
        eks=several.eks if several else None,
        pod=several.pod if several else None,
    )


class _Several(NamedTuple):
    """Of a definition of several containers."""

    pod: SharedPod
    resources: Resources
    override_bytes: int
    ecs: EcsTaskProperties | None = None
    eks: EksPodProperties | None = None


def _several(
    definition: RegisterJobDefinitionRequest, overrides: Overrides, fill: Callable[[list[str]], list[str]]
) -> _Several | None:
    """None for one of a single container."""
    if definition.ecs_properties is not None:
        task = merged_task(definition.ecs_properties, overrides.ecs_properties_override, merge, fill)
        pod = pod_of_task(task)
        size = len(_encoder.encode(overrides.ecs_properties_override)) + INJECTED_BYTES
        return _Several(pod, total([resources_of(part.container) for part in pod.containers]), size, ecs=task)
    if definition.eks_properties is not None:
        merged = merged_pod(definition.eks_properties, overrides.eks_properties_override, fill)
        pod = pod_of_eks(merged)
        each = {part.name: resources_of(part.container) for part in pod.containers}
        return _Several(pod, reserved(pod, each), 0, eks=merged)
    return None


def limited(timeout: JobTimeout | None) -> bool:
    """Whether this sets a time limit: ``{}`` does not."""
    return timeout is not None and timeout.attempt_duration_seconds is not None


def lowered(retry: RetryStrategy | None) -> RetryStrategy | None:
    """With every action in lower case, as the Describe operations of AWS show it."""
    if retry is None:
        return None
    entries = [
        EvaluateOnExit(
            action=entry.action.lower(),
            on_status_reason=entry.on_status_reason,
            on_reason=entry.on_reason,
            on_exit_code=entry.on_exit_code,
        )
        for entry in retry.evaluate_on_exit or []
    ]
    return RetryStrategy(attempts=retry.attempts, evaluate_on_exit=entries)


def merge(given: ContainerProperties, override: ContainerOverrides) -> ContainerProperties:
    """The container of a definition under a SubmitJob's containerOverrides."""
    requirements = _by_type(given.resource_requirements)
    of_override = _by_type(override.resource_requirements)
    legacy: dict[str, int | None] = {}
    for kind, member in _LEGACY.items():
        value = getattr(override, member)
        if value is None or kind in requirements:
            value = getattr(given, member)
        legacy[member] = None if kind in of_override else value
    requirements.update(of_override)
    return msgspec.structs.replace(
        given,
        vcpus=legacy["vcpus"],
        memory=legacy["memory"],
        command=override.command or given.command,
        environment=_union(given.environment, override.environment),
        resource_requirements=list(requirements.values()),
        instance_type=override.instance_type or given.instance_type,
    )


def _by_type(requirements: list[ResourceRequirement] | None) -> dict[str, ResourceRequirement]:
    return {requirement.type: requirement for requirement in requirements or []}


def _union(given: list[KeyValuePair] | None, override: list[KeyValuePair] | None) -> list[KeyValuePair]:
    pairs = {pair.name: pair for pair in given or []}
    pairs.update((pair.name, pair) for pair in override or [])
    return list(pairs.values())


def substitute(command: list[str], parameters: dict[str, str]) -> list[str]:
    """Replace each ``Ref::name``. Raises Refused for a name without a value; there is no escape."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in parameters:
            raise Refused(f"Unable to substitute value. No parameter found for reference {name}")
        return parameters[name]

    return [_REFERENCE.sub(value, argument) if "Ref::" in argument else argument for argument in command]


def resources_of(container: ContainerProperties) -> Resources:
    """What a merged container takes. ``resourceRequirements`` speak before the deprecated members."""
    said = {kind: float(requirement.value) for kind, requirement in _by_type(container.resource_requirements).items()}
    vcpus = said.get("VCPU", container.vcpus or 0)
    memory = said.get("MEMORY", container.memory or 0)
    return Resources(round(vcpus * 1000), int(memory), int(said.get("GPU", 0)))


def _override_bytes(given: ContainerProperties, container: ContainerProperties, sent: ContainerOverrides | None) -> int:
    """A command counts if it was sent or substituted: either way ECS gets it as an override."""
    handed = ContainerOverrides(
        command=container.command if container.command != (given.command or []) else None,
        environment=sent.environment if sent else None,
        resource_requirements=sent.resource_requirements if sent else None,
    )
    return len(_encoder.encode(handed)) + INJECTED_BYTES
