"""What engines make of a pod of eksProperties, and what of it none of them can do. Pure.

Init containers run one after the other, each must succeed, and the containers wait for the last of them. A container
that ends leaves the others alone, and the pod succeeds if all did (Kubernetes documentation, "Pod Lifecycle", "Init
Containers"). There is no cluster: what refers to its objects (secrets, claims) is refused when a job is submitted.
"""

import re
from collections.abc import Mapping
from typing import Final

from batchery.api.shapes import (
    ContainerProperties,
    EksContainer,
    EksContainerSecurityContext,
    EksPodProperties,
    EksPodSecurityContext,
    EksSeccompProfile,
    EksVolume,
    Host,
    KeyValuePair,
    MountPoint,
    ResourceRequirement,
    Volume,
)
from batchery.core.messages import Refused
from batchery.core.model import Resources
from batchery.core.pod import SUCCESS
from batchery.engines.engine import Extras
from batchery.spec.eks import GPU, name_of
from batchery.spec.pod import EKS, PodContainer, SharedPod, largest, total
from batchery.spec.quantity import mebibytes, size, thousandths

_REFERENCE: Final = re.compile(r"\$(\$|\(([^()]*)\))")


def pod_of_eks(pod: EksPodProperties) -> SharedPod:
    """What engines make of a merged pod."""
    context = pod.security_context or EksPodSecurityContext()
    parts: list[PodContainer] = []
    before: tuple[tuple[str, str], ...] = ()
    for one in pod.init_containers or ():
        parts.append(_part(one, pod, context, before, True))
        before = ((name_of(one), SUCCESS),)
    parts += [_part(one, pod, context, before, False) for one in pod.containers or ()]
    return SharedPod(
        EKS,
        tuple(parts),
        pid="task" if pod.share_process_namespace else "",
        network=pod.host_network is not False,
        group=-1 if context.fs_group is None else context.fs_group,
    )


def _part(
    one: EksContainer,
    pod: EksPodProperties,
    shared: EksPodSecurityContext,
    after: tuple[tuple[str, str], ...],
    init: bool,
) -> PodContainer:
    own = one.security_context or EksContainerSecurityContext()
    volumes, mounts = _mounts(one, {volume.name: volume for volume in pod.volumes or ()})
    requirements, limit = _resources(one)
    return PodContainer(
        name=name_of(one),
        container=ContainerProperties(
            image=one.image,
            command=one.args,
            volumes=volumes,
            environment=[KeyValuePair(name=pair.name, value=pair.value) for pair in one.env or ()],
            mount_points=mounts,
            readonly_root_filesystem=own.read_only_root_filesystem,
            privileged=own.privileged,
            user=_user(own, shared),
            resource_requirements=requirements,
        ),
        entrypoint=tuple(one.command or ()),
        essential=False,
        after=after,
        init=init,
        limit_vcpus=limit,
        extras=_extras(one, pod, own, shared),
    )


def _mounts(one: EksContainer, volumes: Mapping[str, EksVolume]) -> tuple[list[Volume], list[MountPoint]]:
    """A directory of the host is a volume for each subPath of it; scratch space keeps its name, and so is shared."""
    found: dict[str, Volume] = {}
    mounts = []
    for number, mount in enumerate(one.volume_mounts or ()):
        volume = volumes[mount.name or ""]
        name, host = volume.name, None
        if volume.host_path is not None:
            path = volume.host_path.path or ""
            name = f"{volume.name}.{number}"
            host = Host(source_path=f"{path.rstrip('/')}/{mount.sub_path}" if mount.sub_path else path)
        found[name] = Volume(name=name, host=host)
        mounts.append(MountPoint(container_path=mount.mount_path, read_only=mount.read_only, source_volume=name))
    return list(found.values()), mounts


def _user(own: EksContainerSecurityContext, shared: EksPodSecurityContext) -> str | None:
    user = shared.run_as_user if own.run_as_user is None else own.run_as_user
    group = shared.run_as_group if own.run_as_group is None else own.run_as_group
    if user is None:
        return None if group is None else f"0:{group}"
    return str(user) if group is None else f"{user}:{group}"


def _resources(one: EksContainer) -> tuple[list[ResourceRequirement], int]:
    """What is reserved, and the thousandths of a vCPU that are the limit (0: none)."""
    limits, requests = (one.resources and one.resources.limits) or {}, (one.resources and one.resources.requests) or {}
    reserved = {**limits, **requests}
    found = [
        ResourceRequirement(type="VCPU", value=f"{(thousandths(reserved['cpu']) or 0) / 1000:g}"),
        ResourceRequirement(type="MEMORY", value=str(mebibytes(reserved["memory"]))),
    ]
    if GPU in reserved and reserved[GPU] != "0":
        found.append(ResourceRequirement(type="GPU", value=reserved[GPU]))
    return found, (thousandths(limits["cpu"]) or 0) if "cpu" in limits else 0


def _extras(
    one: EksContainer, pod: EksPodProperties, own: EksContainerSecurityContext, shared: EksPodSecurityContext
) -> Extras:
    profile = own.seccomp_profile or shared.seccomp_profile
    in_memory = {
        volume.name: size(volume.empty_dir.size_limit or "0") or 0
        for volume in pod.volumes or ()
        if volume.empty_dir is not None and volume.empty_dir.medium == "Memory"
    }
    return Extras(
        add=tuple((own.capabilities and own.capabilities.add) or ()),
        drop=tuple((own.capabilities and own.capabilities.drop) or ()),
        unconfined=profile is not None and profile.type == "Unconfined",
        no_new_privileges=own.allow_privilege_escalation is False,
        pull=pull_of(one),
        in_memory=in_memory,
        labels=(pod.metadata and pod.metadata.labels) or {},
    )


def pull_of(one: EksContainer) -> str:
    """always, missing or never: as given, else always for an image whose tag is ``latest`` or not there."""
    if one.image_pull_policy:
        return {"Always": "always", "IfNotPresent": "missing", "Never": "never"}[one.image_pull_policy]
    return "always" if one.image.endswith(":latest") else "missing"


def check_pod_here(pod: EksPodProperties, host_process: bool) -> None:
    """Refuse, at a submit, what needs a Kubernetes cluster, or what the engine cannot share. Raises Refused."""
    if len(pod.containers or ()) > 1 and not host_process:
        if pod.host_network is False:
            raise Refused("Containers of one pod share a network here only if hostNetwork is true")  # ours
        if pod.share_process_namespace:
            raise Refused("shareProcessNamespace needs a pod of a single container here")  # ours
    every = (*(pod.init_containers or ()), *(pod.containers or ()))
    used = {mount.name for one in every for mount in one.volume_mounts or ()}
    scratch = {volume.name for volume in pod.volumes or () if volume.empty_dir is not None}
    for volume in pod.volumes or ():
        if volume.name in used and volume.secret is not None:
            raise _no_cluster(f"secret of volume {volume.name}")
        if volume.name in used and volume.persistent_volume_claim is not None:
            raise _no_cluster(f"persistentVolumeClaim of volume {volume.name} (use hostPath)")
    shared = pod.security_context or EksPodSecurityContext()
    for one in every:
        own = one.security_context or EksContainerSecurityContext()
        _check_profile(own.seccomp_profile or shared.seccomp_profile)
        _check_root(name_of(one), own, shared)
        for mount in one.volume_mounts or ():
            if mount.sub_path and mount.name in scratch:
                raise Refused(f"subPath of volume {mount.name} is only supported for hostPath volumes here")  # ours


def _check_profile(profile: EksSeccompProfile | None) -> None:
    if profile is not None and profile.type == "Localhost":
        raise _no_cluster(f"seccompProfile {profile.localhost_profile}, a file of its nodes")


def _check_root(name: str, own: EksContainerSecurityContext, shared: EksPodSecurityContext) -> None:
    wanted = shared.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    user = shared.run_as_user if own.run_as_user is None else own.run_as_user
    if wanted and user == 0:
        raise Refused(f"Container {name} has runAsNonRoot, and runAsUser 0")  # ours
    if wanted and user is None:
        raise Refused(
            f"Container {name} has runAsNonRoot, which needs runAsUser here: images are not looked at"
        )  # ours


def _no_cluster(what: str) -> Refused:
    return Refused(f"There is no Kubernetes cluster here, which {what} would be of")  # ours


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``$(NAME)`` is replaced where there is such a variable, ``$$`` is one dollar (API_EksContainer, ``args``)."""

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(value, text) if "$" in text else text


def expanded(own: list[KeyValuePair], variables: Mapping[str, str]) -> list[KeyValuePair]:
    """A container's own variables, in which those before them may be referred to."""
    known = dict(variables)
    found = []
    for pair in own:
        value = expand(pair.value or "", known)
        known[pair.name or ""] = value
        found.append(KeyValuePair(name=pair.name, value=value))
    return found


def reserved(pod: SharedPod, of_each: Mapping[str, Resources]) -> Resources:
    """What a pod takes: at any time an init container alone, or the containers together."""
    alone = [of_each[part.name] for part in pod.containers if part.init]
    return largest([*alone, total([of_each[part.name] for part in pod.containers if not part.init])])
