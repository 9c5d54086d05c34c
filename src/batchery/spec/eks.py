"""eksProperties: a pod of containers and init containers. Its rules, and overrides by name.

Sources: API_EksPodProperties, API_EksContainer, API_EksContainerResourceRequirements, API_EksMetadata, API_EksVolume,
API_EksContainerSecurityContext, API_EksPropertiesOverride. Texts are ours where AWS's are not known. What engines make
of a pod is in ekspod.py. Decision 170.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from batchery.api.shapes import (
    EksContainer,
    EksContainerEnvironmentVariable,
    EksContainerOverride,
    EksContainerResourceRequirements,
    EksMetadata,
    EksPodProperties,
    EksProperties,
    EksPropertiesOverride,
    EksVolume,
)
from batchery.core.messages import Refused
from batchery.spec.container import IMAGE_CHARS
from batchery.spec.pod import MOST, check_names
from batchery.spec.quantity import mebibytes, size, thousandths, whole
from batchery.spec.rules import MEMORY_LEAST, RESERVED, check_command

UNNAMED: Final = "Default"
GPU: Final = "nvidia.com/gpu"
CPU_STEP: Final = 250  #: thousandths
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_KEY: Final = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_DNS: Final = ("Default", "ClusterFirst", "ClusterFirstWithHostNet")
_PULL: Final = ("Always", "IfNotPresent", "Never")
_USER_MOST: Final = 2147483647


# ---------------------------------------------------------------------------------------------------- registration


def check_eks(properties: EksProperties) -> None:
    """Every rule of eksProperties. Raises Refused."""
    pod = properties.pod_properties
    containers = (pod.containers if pod else None) or []
    if pod is None or not 1 <= len(containers) <= MOST:
        raise Refused(f"podProperties must have 1 to {MOST} containers", True)  # ours
    first = pod.init_containers or []
    if len(first) > MOST:
        raise Refused(f"podProperties must have at most {MOST} initContainers", True)  # ours
    check_names([name_of(one) for one in (*first, *containers)])
    _check_pod(pod)
    volumes = {volume.name for volume in pod.volumes or ()}
    for one in (*first, *containers):
        _check_container(one, volumes)


def name_of(one: EksContainer | EksContainerOverride) -> str:
    return one.name or UNNAMED


def _check_pod(pod: EksPodProperties) -> None:
    if pod.dns_policy is not None and pod.dns_policy not in _DNS:
        raise Refused("Unsupported DNS policy value.", True)
    if pod.service_account_name and _SUBDOMAIN.fullmatch(pod.service_account_name) is None:
        raise Refused(f"serviceAccountName is not valid: {pod.service_account_name}", True)  # ours
    names = [volume.name for volume in pod.volumes or ()]
    if len(set(names)) < len(names):
        raise Refused("Volume names of podProperties must be different", True)  # ours
    for volume in pod.volumes or ():
        _check_volume(volume)
    check_metadata(pod.metadata)
    context = pod.security_context
    if context is not None:
        _check_ids(context.run_as_user, context.run_as_group, context.fs_group)


def _check_ids(*ids: int | None) -> None:
    for one in ids:
        if one is not None and not 0 <= one <= _USER_MOST:
            raise Refused(f"Ids of securityContext must be between 0 and {_USER_MOST}", True)  # ours


def _check_volume(volume: EksVolume) -> None:
    if len(volume.name) > 63 or _LABEL.fullmatch(volume.name) is None:
        raise Refused(f"Volume name is not valid: {volume.name}", True)  # ours
    kinds = (volume.host_path, volume.empty_dir, volume.secret, volume.persistent_volume_claim)
    if sum(kind is not None for kind in kinds) != 1:
        raise Refused(f"Volume {volume.name} must have exactly one of hostPath, emptyDir, secret, ...", True)  # ours
    if volume.host_path is not None and not (volume.host_path.path or "").startswith("/"):
        raise Refused(f"hostPath of volume {volume.name} must have an absolute path", True)  # ours
    if volume.empty_dir is not None:
        if volume.empty_dir.medium not in (None, "", "Memory"):
            raise Refused(f'medium of volume {volume.name} must be "" or Memory', True)  # ours
        if volume.empty_dir.size_limit is not None and size(volume.empty_dir.size_limit) is None:
            raise Refused(f"sizeLimit of volume {volume.name} is not valid: {volume.empty_dir.size_limit}", True)


def check_metadata(metadata: EksMetadata | None) -> None:
    """API_EksMetadata."""
    if metadata is None:
        return
    if metadata.namespace is not None:
        _check_namespace(metadata.namespace)
    for key, value in (metadata.labels or {}).items():
        if _KEY.fullmatch(key) is None:
            name = key.rpartition("/")[2]
            raise Refused(f"The name {name} of the pod label key does not match a valid pattern.", True)
        if _VALUE.fullmatch(value) is None:
            raise Refused(f"Label is not valid: {key}={value}", True)  # ours
    for key, value in (metadata.annotations or {}).items():
        if _KEY.fullmatch(key) is None or len(value) > 255:
            raise Refused(f"Annotation is not valid: {key}", True)  # ours


def _check_namespace(name: str) -> None:
    if name == "default":
        raise Refused("kubernetesNamespace cannot be the default Kubernetes namespace.", True)
    if name.startswith("kube"):
        raise Refused("kubernetesNamespace cannot be a reserved Kubernetes system namespace.", True)
    if len(name) > 63 or _LABEL.fullmatch(name) is None:
        raise Refused("kubernetesNamespace must be a valid Kubernetes namespace.", True)


def _check_container(one: EksContainer, volumes: set[str]) -> None:
    name = name_of(one)
    if name != UNNAMED and (len(name) > 63 or _LABEL.fullmatch(name) is None):
        raise Refused(f"Container name is not valid: {name}", True)  # ours
    if not one.image or len(one.image) > IMAGE_CHARS:
        raise Refused("Image is not provided." if not one.image else "image is too long", True)  # ours
    if one.image_pull_policy is not None and one.image_pull_policy not in _PULL:
        raise Refused(f"imagePullPolicy is not valid: {one.image_pull_policy}", True)  # ours
    check_command(one.command)
    check_command(one.args)
    check_env(one.env)
    check_resources(one.resources)
    for mount in one.volume_mounts or ():
        if mount.name not in volumes:
            raise Refused(f"Unknown volume '{mount.name or ''}' in volumeMounts", True)  # ours
        if not mount.mount_path or ":" in mount.mount_path:
            raise Refused(f"volumeMounts of volume '{mount.name}' must have a mountPath without a colon", True)  # ours
        if mount.sub_path and (mount.sub_path.startswith("/") or ".." in mount.sub_path.split("/")):
            raise Refused(f"subPath of volume '{mount.name}' must stay inside the volume", True)  # ours
    context = one.security_context
    if context is not None:
        _check_ids(context.run_as_user, context.run_as_group)


def check_env(env: Sequence[EksContainerEnvironmentVariable] | None) -> None:
    """Every variable has a name, and none of the service's."""
    for pair in env or ():
        if "=" in pair.name or "\0" in pair.name or "\0" in (pair.value or ""):
            raise Refused("Environment variables must have a name without '='", True)  # ours
        if pair.name.startswith(RESERVED):
            raise Refused(f"Environment variable names must not start with {RESERVED}: {pair.name}", True)  # ours


def check_resources(resources: EksContainerResourceRequirements | None) -> None:
    """cpu in quarters, memory in whole Mi, nvidia.com/gpu in whole numbers: in limits, requests or both."""
    limits = (resources.limits if resources else None) or {}
    requests = (resources.requests if resources else None) or {}
    for kind in (*limits, *requests):
        if kind not in ("cpu", "memory", GPU):
            raise Refused(f"{kind} is not a supported type for resources.", True)
    for kind, read in (("cpu", thousandths), ("memory", mebibytes), (GPU, whole)):
        limit, request = (_value(kind, given.get(kind), read) for given in (limits, requests))
        if limit is None and request is None:
            if kind != GPU:
                raise Refused("vCPU is not provided." if kind == "cpu" else "Memory is not provided.", True)
        elif limit is not None and request is not None:
            if kind == "cpu" and limit < request:
                raise Refused("cpu request must be <= to cpu limit if both are provided.", True)
            if kind != "cpu" and limit != request:
                what = "gpu" if kind == GPU else kind
                raise Refused(f"{what} request must be equal to {what} limit if both are provided.", True)


def _value(kind: str, text: str | None, read: Callable[[str], int | None]) -> int | None:
    if text is None:
        return None
    value = read(text)
    wrong = value is None or (kind == "cpu" and (value == 0 or value % CPU_STEP != 0))
    if wrong or (kind == "memory" and value is not None and value < MEMORY_LEAST):
        raise Refused(f"Value {text} for type {kind} in resources is not valid.", True)
    return value


# ------------------------------------------------------------------------------------------------------- overrides


def check_eks_override(override: EksPropertiesOverride, properties: EksProperties) -> None:
    """API_EksContainerOverride. Raises Refused."""
    pod, sent = properties.pod_properties, override.pod_properties
    assert pod is not None
    if sent is None:
        return
    check_metadata(sent.metadata)
    for given, overrides, member in (
        (pod.containers, sent.containers, "containers"),
        (pod.init_containers, sent.init_containers, "initContainers"),
    ):
        names = [name_of(one) for one in given or ()]
        targets = [target_of(one, names) for one in overrides or ()]
        check_names(targets)
        for one, target in zip(overrides or (), targets, strict=True):
            if target not in names:
                raise Refused(f"Container {target} of {member} is not in the job definition", True)  # ours
            check_command(one.command)
            check_command(one.args)
            check_env(one.env)


def target_of(one: EksContainerOverride, names: Sequence[str]) -> str:
    """Which container is meant; the only one need not be named."""
    return one.name or (names[0] if len(names) == 1 else UNNAMED)


def merged_pod(
    properties: EksProperties, override: EksPropertiesOverride | None, substitute: Callable[[list[str]], list[str]]
) -> EksPodProperties:
    """The pod under a SubmitJob's overrides. Raises Refused if its resources are not valid then."""
    pod = properties.pod_properties
    assert pod is not None
    sent = override.pod_properties if override else None
    merged = replace(
        pod,
        containers=_merged(pod.containers, sent.containers if sent else None, substitute),
        init_containers=_merged(pod.init_containers, sent.init_containers if sent else None, substitute),
    )
    if sent is not None and sent.metadata is not None:
        merged.metadata = _metadata(pod.metadata, sent.metadata)
    return merged


def _merged(
    given: list[EksContainer] | None,
    overrides: list[EksContainerOverride] | None,
    substitute: Callable[[list[str]], list[str]],
) -> list[EksContainer]:
    names = [name_of(one) for one in given or ()]
    by_name = {target_of(one, names): one for one in overrides or ()}
    found = []
    for one in given or ():
        sent = by_name.get(name_of(one), EksContainerOverride())
        merged = replace(
            one,
            name=name_of(one),
            image=sent.image or one.image,
            command=substitute(sent.command or one.command or []) or None,
            args=substitute(sent.args or one.args or []) or None,
            env=_env(one.env, sent.env),
            resources=_resources(one.resources, sent.resources),
        )
        if sent.resources is not None:
            check_resources(merged.resources)
        found.append(merged)
    return found


def _env(
    given: list[EksContainerEnvironmentVariable] | None, sent: list[EksContainerEnvironmentVariable] | None
) -> list[EksContainerEnvironmentVariable] | None:
    pairs = {pair.name: pair for pair in (*(given or ()), *(sent or ()))}
    return list(pairs.values()) if given is not None or sent is not None else None


def _resources(
    given: EksContainerResourceRequirements | None, sent: EksContainerResourceRequirements | None
) -> EksContainerResourceRequirements | None:
    """By key. A resource that only one of the two objects has in the definition is overridden whichever names it."""
    if sent is None:
        return given
    limits, requests = dict((given and given.limits) or {}), dict((given and given.requests) or {})
    for kind in {**(sent.limits or {}), **(sent.requests or {})}:
        limits.pop(kind, None)
        requests.pop(kind, None)
    limits.update(sent.limits or {})
    requests.update(sent.requests or {})
    return EksContainerResourceRequirements(limits=limits or None, requests=requests or None)


def _metadata(given: EksMetadata | None, sent: EksMetadata) -> EksMetadata:
    old = given or EksMetadata()
    return EksMetadata(
        labels={**(old.labels or {}), **(sent.labels or {})} or None,
        annotations={**(old.annotations or {}), **(sent.annotations or {})} or None,
        namespace=sent.namespace or old.namespace,
    )
