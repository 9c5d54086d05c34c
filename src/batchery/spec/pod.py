"""The containers of a definition that has several: ecsProperties and eksProperties in one form, that of engines.

Each is told in the terms of containerProperties, which every engine understands already, and of the order of things
(core/pod.py). Pure.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from batchery.api.shapes import ContainerProperties
from batchery.core.messages import Refused
from batchery.core.model import Resources
from batchery.engines.engine import Extras

MOST: Final = 10  #: API_EcsProperties, API_EksPodProperties: containers, and init containers

# Whose rules a pod follows.
ECS: Final = "ECS"
EKS: Final = "EKS"


class PodContainer(Struct, frozen=True):
    """One container, merged and substituted. Timeouts in ms, 0 for none given."""

    name: str
    container: ContainerProperties
    entrypoint: tuple[str, ...] = ()  # in place of the image's, where given
    essential: bool = True
    decides: bool = True
    after: tuple[tuple[str, str], ...] = ()
    start_timeout: int = 0
    stop_timeout: int = 0
    init: bool = False
    limit_vcpus: int = 0  # thousandths that it may use at most, 0 for no limit
    extras: Extras | None = None  # what only a pod of Kubernetes has


class SharedPod(Struct, frozen=True):
    """What the containers of one attempt are together."""

    kind: str  # ECS or EKS
    containers: tuple[PodContainer, ...]
    ipc: str = ""  # host, task or none; "" is the runtime's default
    pid: str = ""  # host or task
    network: bool = True  # the host's (EKS: hostNetwork)
    dns: str = ""  # dnsPolicy
    group: int = -1  # fsGroup, -1 for none


def total(parts: Sequence[Resources]) -> Resources:
    """What they take together."""
    return Resources(sum(p.vcpus for p in parts), sum(p.memory for p in parts), sum(p.gpus for p in parts))


def largest(parts: Sequence[Resources]) -> Resources:
    """What they take one after the other."""
    return Resources(
        max((p.vcpus for p in parts), default=0),
        max((p.memory for p in parts), default=0),
        max((p.gpus for p in parts), default=0),
    )


def check_names(names: Sequence[str]) -> None:
    """Each is there once."""
    for name, count in Counter(names).items():
        if count > 1:
            raise Refused(f"The container name: {name} must be unique in multi-container job.", True)


def check_order(names: Sequence[str], after: dict[str, list[str]]) -> None:
    """Dependencies name other containers, and none waits for itself by whatever way. Raises Refused."""
    done: set[str] = set()
    rest = list(names)
    while rest:
        ready = [name for name in rest if done.issuperset(after.get(name, ()))]
        if not ready:
            raise Refused(f"dependsOn of containers is a circle: {', '.join(rest)}", True)  # ours
        done.update(ready)
        rest = [name for name in rest if name not in done]


def check_host_sharing(pod: SharedPod) -> None:
    """Host processes have no volumes of their own: one that several containers look for the same data in cannot be."""
    seen: dict[str, set[str]] = {}
    for part in pod.containers:
        named = {volume.name: volume for volume in part.container.volumes or ()}
        for mount in part.container.mount_points or ():
            volume = named[mount.source_volume]
            if not (volume.host and volume.host.source_path):
                seen.setdefault(mount.source_volume or "", set()).add(part.name)
    for name, users in seen.items():
        if len(users) > 1:
            raise Refused(
                f"Jobs run as host processes, which cannot share volume {name} among containers "
                "(give it a directory of the host, under the name that the containers use)"
            )
