"""May this SubmitJob be accepted, and what does it ask for? Pure; raises Refused with AWS's text.

In order: form (`check_form`), the overrides against the definition (`checked_shape`), dependencies (`needs_of`). What
needs World, queues, definitions, other jobs, is the handler's and the core's.
Sources: API_SubmitJob, API_ContainerOverrides, API_JobDependency, user guide "Array jobs" and "Troubleshooting".
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from batchery.api.shapes import (
    ContainerOverrides,
    ContainerProperties,
    RegisterJobDefinitionRequest,
    SubmitJobRequest,
)
from batchery.config import Limits
from batchery.core.messages import Refused
from batchery.core.model import N_TO_N, NODE, SEQUENTIAL, WHOLE, Logs, Need, Shape, task_ref
from batchery.spec.consumables import check_consumables
from batchery.spec.ecs import check_ecs_override
from batchery.spec.effective import Effective, Overrides, definition_of, effective
from batchery.spec.eks import check_eks_override
from batchery.spec.ekspod import check_pod_here
from batchery.spec.names import JOB_NAME
from batchery.spec.nodes import count_of, node_docs
from batchery.spec.place import Place, check_mounted, placed
from batchery.spec.pod import check_host_sharing, total
from batchery.spec.registration import on_fargate
from batchery.spec.rules import (
    check_command,
    check_environment,
    check_legacy,
    check_needed,
    check_pair,
    check_priority,
    check_requirements,
    check_retry,
    check_timeout,
)
from batchery.spec.shape import shape_of
from batchery.spec.storage import check_host_process

#: computeResources.type -> platformCapabilities that run there; EC2 alone for what is not named.
_PLATFORMS: Final = {
    "FARGATE": ("FARGATE",),
    "FARGATE_SPOT": ("FARGATE",),
    "ECS_MANAGED_INSTANCES": ("MANAGED_INSTANCES", "EC2"),
    "EKS": ("EKS",),
    "EKS_SPOT": ("EKS",),
}
#: API_SubmitJob: alphanumerics, with an optional asterisk.
SHARE_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{1,255}\*?")  #: as in a policy (api/policies.py)
TOO_LONG: Final = "Container Overrides length must be at most {}"
_encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(Overrides)
_NOTHING: Final = Overrides()
_KIB: Final = 1024


def check_form(ask: SubmitJobRequest, size: int, limits: Limits) -> None:
    """What can be said of the request alone, but for its tags. ``size``: bytes of the body."""
    if size > limits.submit_bytes:
        most, got = limits.submit_bytes // 1024, -(-size // 1024)
        raise Refused(f"Job size must be less than {most} KiB, got {got} KiB", True)
    if JOB_NAME.fullmatch(ask.job_name) is None:
        raise Refused("Job name should match valid pattern", True)
    if ask.depends_on is not None and len(ask.depends_on) > limits.dependencies:
        raise Refused(f"Job cannot have more than {limits.dependencies} dependencies", True)
    array_size(ask, limits)
    check_retry(ask.retry_strategy, limits)
    check_timeout(ask.timeout, limits)
    check_consumables(ask.consumable_resource_properties_override, limits)
    check_priority(ask.scheduling_priority_override)
    if ask.share_identifier is not None:
        check_share(ask.share_identifier)
    for one in (ask.node_overrides.node_property_overrides if ask.node_overrides else None) or ():
        check_consumables(one.consumable_resource_properties_override, limits)


def check_share(identifier: str) -> None:
    if SHARE_IDENTIFIER.fullmatch(identifier) is None:
        raise Refused("ShareIdentifier name should match a valid pattern.", True)


def array_size(ask: SubmitJobRequest, limits: Limits) -> int:
    """0 for a plain job; ``arrayProperties: {}``, which clients send, is one."""
    size = ask.array_properties.size if ask.array_properties else None
    if size is None:
        return 0
    if not 2 <= size <= limits.array_size:
        raise Refused(f"Array size must be between 2 and {limits.array_size}", True)  # ours
    return size


def overrides_text(ask: SubmitJobRequest) -> str:
    """The members that change the spec, as JSON: jobs alike have the same text, whatever their names."""
    return _text(ask, ask.container_overrides)


def _text(ask: SubmitJobRequest, sent: ContainerOverrides | None) -> str:
    overrides = Overrides(
        parameters=ask.parameters,
        container_overrides=sent,
        ecs_properties_override=ask.ecs_properties_override,
        eks_properties_override=ask.eks_properties_override,
        retry_strategy=ask.retry_strategy,
        propagate_tags=ask.propagate_tags,
        timeout=ask.timeout,
        node_overrides=ask.node_overrides,
        consumable_resource_properties_override=ask.consumable_resource_properties_override,
        scheduling_priority_override=ask.scheduling_priority_override,
    )
    return "{}" if overrides == _NOTHING else _encode(overrides).decode()


def job_shape(
    ask: SubmitJobRequest, definition_doc: str, definition_name: str, size: int, override_limit: int, place: Place
) -> Shape:
    """`checked_shape` of a request of ``size`` bytes.

    Commands and variables differ from job to job, and a Shape says nothing of them. Where nothing is wrong with them,
    they refer to no parameter and, however they are counted, do not reach the limit, a Shape made without them will do:
    one that jobs alike but for them share.
    """
    sent = ask.container_overrides
    if sent is not None and (sent.command or sent.environment) and _plain(sent):
        less = msgspec.structs.replace(sent, command=["-"] if sent.command else None, environment=None)
        rest = override_limit - (size // _KIB + 1) * _KIB
        shape = checked_shape(definition_doc, definition_name, _text(ask, less), rest, place)
        if not shape.fault:
            return shape
    return checked_shape(definition_doc, definition_name, overrides_text(ask), override_limit, place)


def _plain(sent: ContainerOverrides) -> bool:
    """Nothing in command and environment is to be refused or replaced."""
    for argument in sent.command or ():
        if not argument or "Ref::" in argument or "\0" in argument:
            return False
    try:
        check_environment(sent.environment)
    except Refused:
        return False
    return True


@lru_cache(maxsize=1024)
def checked_shape(
    definition_doc: str, definition_name: str, overrides: str, override_limit: int, place: Place
) -> Shape:
    """The Shape of a job of this definition under these overrides (`overrides_text`), found to be acceptable.

    ``override_limit``: bytes; AWS finds longer ones only after the submit, so they become the Shape's ``fault``.
    ``place``: where it runs; host processes cannot do all that containers can.
    """
    definition = definition_of(definition_doc)
    given = definition.container_properties or ContainerProperties()
    fargate = on_fargate(definition.platform_capabilities)
    sent = _decoder.decode(overrides)
    _check_kind(definition, sent, fargate)
    if definition.node_properties is not None:
        return _gang_shape(definition_doc, definition_name, overrides, override_limit, place)
    if sent.container_overrides is not None:
        _check_overrides(sent.container_overrides, given, fargate)
    merged = effective(definition_doc, overrides)
    if merged.pod is not None:
        check_several(merged, fargate, place)
    else:
        check_needed(merged.container, fargate)
        check_here(merged.container, place)
    shape = shape_of(merged, definition_name)
    if merged.override_bytes > override_limit:
        return msgspec.structs.replace(shape, fault=TOO_LONG.format(override_limit))
    return shape


def _gang_shape(definition_doc: str, definition_name: str, overrides: str, override_limit: int, place: Place) -> Shape:
    """That of the main node, which speaks for the job, and what is each node's own."""
    properties = definition_of(definition_doc).node_properties
    assert properties is not None
    count = count_of(properties, _decoder.decode(overrides).node_overrides)
    shapes = [
        checked_shape(*own[:1], definition_name, *own[1:], override_limit, place)
        for own in (node_docs(definition_doc, overrides, node) for node in range(count))
    ]
    main = shapes[properties.main_node]
    logs = tuple(Logs(shape.log_group, shape.log_prefix, shape.streams) for shape in shapes)
    return msgspec.structs.replace(
        main,
        resources=total([shape.resources for shape in shapes]),
        gang=tuple(shape.resources for shape in shapes),
        main=properties.main_node,
        logs=logs if len(set(logs)) > 1 else (),
        fault=next((shape.fault for shape in shapes if shape.fault), ""),
    )


def check_here(container: ContainerProperties, place: Place) -> None:
    """Whether the engine can do what this container asks for. Raises Refused."""
    here = placed(container, place)
    check_mounted(here)
    if place.host_process:
        check_host_process(here)


def check_several(merged: Effective, fargate: bool, place: Place) -> None:
    """The containers of a pod under this submit's overrides, on this engine. Raises Refused."""
    assert merged.pod is not None
    parts = [part.container for part in merged.pod.containers]
    if merged.ecs is not None and fargate:
        check_pair([part.resource_requirements or [] for part in parts])
    if merged.eks is not None:
        check_pod_here(merged.eks, place.host_process)
    for part in parts:
        check_here(part, place)
    if place.host_process:
        check_host_sharing(merged.pod)


def _check_kind(definition: RegisterJobDefinitionRequest, sent: Overrides, fargate: bool) -> None:
    """Overrides are of the kind that the definition is of. Raises Refused."""
    for name, given, properties in (
        ("containerOverrides", sent.container_overrides, definition.container_properties),
        ("ecsPropertiesOverride", sent.ecs_properties_override, definition.ecs_properties),
        ("eksPropertiesOverride", sent.eks_properties_override, definition.eks_properties),
        ("nodeOverrides", sent.node_overrides, definition.node_properties),
    ):
        if given is not None and properties is None:
            raise Refused(f"{name} does not match the kind of the job definition")  # ours
    if sent.ecs_properties_override is not None and definition.ecs_properties is not None:
        check_ecs_override(sent.ecs_properties_override, definition.ecs_properties, fargate)
    if sent.eks_properties_override is not None and definition.eks_properties is not None:
        check_eks_override(sent.eks_properties_override, definition.eks_properties)


def platforms_of(definition: RegisterJobDefinitionRequest) -> list[str] | None:
    """Where a definition's jobs can run, for `runs_on`."""
    ranges = definition.node_properties.node_range_properties if definition.node_properties is not None else ()
    if definition.eks_properties is not None or any(one.eks_properties is not None for one in ranges):
        return ["EKS"]
    return definition.platform_capabilities


def _check_overrides(sent: ContainerOverrides, given: ContainerProperties, fargate: bool) -> None:
    """API_ContainerOverrides."""
    check_legacy(sent.vcpus, sent.memory, fargate)
    stated = {requirement.type for requirement in given.resource_requirements or ()}
    if ("VCPU" in stated and sent.vcpus is not None) or ("MEMORY" in stated and sent.memory is not None):
        raise Refused(
            "This value was submitted in a deprecated key and may conflict with the value provided by the job "
            "definition's resource requirements."
        )
    said = {requirement.type for requirement in sent.resource_requirements or ()}
    if ("VCPU" in said and sent.vcpus is not None) or ("MEMORY" in said and sent.memory is not None):
        raise Refused("A resource is given both in a deprecated key and in resourceRequirements.", True)  # ours
    if any(argument == "" for argument in sent.command or ()):
        raise Refused("Command cannot be empty")
    check_command(sent.command)
    check_environment(sent.environment)
    check_requirements(sent.resource_requirements, fargate)


def needs_of(ask: SubmitJobRequest, size: int) -> tuple[Need, ...]:
    """dependsOn as the core has it; whether the jobs exist, and N_TO_N sizes match, is for the core to say."""
    if not ask.depends_on:
        return ()
    needs = []
    for entry in ask.depends_on:
        if not entry.job_id:
            if entry.type != "SEQUENTIAL":
                raise Refused("A dependency must have a jobId, unless its type is SEQUENTIAL", True)  # ours
            if not size:
                raise Refused("Only array jobs can have a SEQUENTIAL dependency without a jobId", True)  # ours
            needs.append(Need("", -1, SEQUENTIAL))
            continue
        job, index, mark = task_ref(entry.job_id)
        if index == -1 or mark == NODE:  # a multi-node job is waited for as a whole
            raise Refused(f"Job {entry.job_id} in dependsOn does not exist", True)  # ours
        if entry.type == "N_TO_N" and (not size or index is not None):
            raise Refused("An N_TO_N dependency is one of an array job on an array job", True)  # ours
        needs.append(Need(job, -1 if index is None else index, N_TO_N if entry.type == "N_TO_N" else WHOLE))
    return tuple(dict.fromkeys(needs))


def runs_on(platforms: list[str] | None, kinds: set[str]) -> str:
    """ "" if a definition's platformCapabilities have a place among these kinds of compute environments, else the one
    that has none. ``kinds``: computeResources.type, or UNMANAGED."""
    wanted = platforms or ["EC2"]
    offered = {platform for kind in kinds for platform in _PLATFORMS.get(kind, ("EC2",))}
    return "" if not offered or offered & set(wanted) else wanted[0]


def combined_tags_fault(merged: Effective, own: dict[str, str], of_definition: dict[str, str], limit: int) -> str:
    """API_SubmitJob, propagateTags: more than 50 tags of job and definition together and the job FAILS, later."""
    if merged.propagate_tags and len({**of_definition, **own}) > limit:
        return f"Tags of the job and its job definition must be at most {limit} together"  # ours
    return ""
