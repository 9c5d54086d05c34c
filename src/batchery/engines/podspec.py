"""What several containers of one attempt are to a runtime beside what each is by itself. Pure.

They share scratch volumes, which get a name of the attempt's, and namespaces if the definition says so: then the first
essential container has them, and what it does not wait for begins after it and joins. Its end is the end of all.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from batchery.core.pod import START, Part
from batchery.engines.containerspec import Facts, PodFacts, Properties, properties
from batchery.engines.engine import Container, Extras, Order

TASK = "task"


def name_of(order_name: str, number: int) -> str:
    """The runtime's name of the container with this number."""
    return f"{order_name}-{number}"


def volumes_of(order: Order) -> dict[str, int | None]:
    """Scratch volumes that have to have names: shared by containers, or in memory. The value: bytes, None for disk."""
    users: dict[str, int] = {}
    in_memory: dict[str, int] = {}
    for container in order.containers:
        in_memory.update(container.extras.in_memory if container.extras else {})
        for volume in _scratch(properties(container.spec)):
            users[volume] = users.get(volume, 0) + 1
    return {name: in_memory.get(name) for name, count in users.items() if count > 1 or name in in_memory}


def _scratch(wanted: Properties) -> set[str]:
    """Volumes without a directory of the host that this container mounts."""
    empty = {volume.name for volume in wanted.volumes or () if not (volume.host and volume.host.source_path)}
    return {mount.source_volume for mount in wanted.mount_points or ()} & empty


def owner_of(parts: Sequence[Part]) -> str:
    """Whose namespaces the others join: the first essential one."""
    return next((part.name for part in parts if part.essential), parts[0].name)


def shares(order: Order) -> bool:
    """Whether containers join the namespaces of one of them."""
    return len(order.containers) > 1 and TASK in (order.sharing.ipc, order.sharing.pid, order.sharing.net)


def parts_of(order: Order) -> tuple[Part, ...]:
    """The order of things; where namespaces are shared, their owner goes before those that it does not wait for."""
    parts = tuple(container.part for container in order.containers)
    if not shares(order):
        return parts
    owner = owner_of(parts)
    before = _before(owner, parts)
    return tuple(
        part if part.name == owner or part.name in before else replace(part, after=(*part.after, (owner, START)))
        for part in parts
    )


def _before(name: str, parts: Sequence[Part]) -> set[str]:
    """What this one waits for, directly or not."""
    found: set[str] = set()
    by_name = {part.name: part for part in parts}
    rest = [name]
    while rest:
        for other, _ in by_name[rest.pop()].after:
            if other not in found:
                found.add(other)
                rest.append(other)
    return found


def single(order: Order, container: Container) -> Order:
    """The order of one of them, as if it were alone."""
    return replace(order, containers=(container,), resources=container.resources, timeout=0)


def extend(request: dict[str, Any], order: Order, facts: Facts, name: str) -> None:
    """Add to the request that makes one container what it has as one of several. ``name``: what `name_of` is given."""
    container, pod = order.containers[0], facts.pod
    assert pod is not None
    host = request["HostConfig"]
    if container.entrypoint:
        request["Entrypoint"] = list(container.entrypoint)
    _mount(request, properties(container.spec), pod, name)
    _join(host, order, pod, name)
    if container.limit_vcpus:
        host["NanoCpus"] = container.limit_vcpus * 1_000_000
    if pod.group >= 0:
        host["GroupAdd"] = [str(pod.group)]
    _harden(request, container.extras or Extras())


def _mount(request: dict[str, Any], wanted: Properties, pod: PodFacts, name: str) -> None:
    for mount in wanted.mount_points or ():
        if mount.source_volume in pod.volumes:
            request.get("Volumes", {}).pop(mount.container_path, None)
            option = ":ro" if mount.read_only else ""
            request["HostConfig"]["Binds"].append(f"{name}-{mount.source_volume}:{mount.container_path}{option}")


def _join(host: dict[str, Any], order: Order, pod: PodFacts, name: str) -> None:
    sharing, own = order.sharing, order.containers[0].name
    names = [part.name for part in pod.parts]
    owner = owner_of(pod.parts)
    joined = f"container:{name_of(name, names.index(owner))}"
    apart = own == owner or own in _before(owner, pod.parts)
    if not sharing.network and host["NetworkMode"] == "host":
        host["NetworkMode"] = "bridge"
    if sharing.net == TASK and not apart:  # and so the names that its owner resolves
        host["NetworkMode"] = joined
        host.pop("ExtraHosts", None)
    if sharing.ipc == TASK:
        host["IpcMode"] = ("shareable" if own == owner else "private") if apart else joined
    elif sharing.ipc:
        host["IpcMode"] = sharing.ipc
    if sharing.pid == "host":
        host["PidMode"] = "host"
    elif sharing.pid == TASK and not apart:
        host["PidMode"] = joined
    if "PidMode" in host:  # an init must be the first process of its namespace
        host["Init"] = False


def _harden(request: dict[str, Any], extras: Extras) -> None:
    host, options = request["HostConfig"], []
    if extras.add:
        host["CapAdd"] = list(extras.add)
    if extras.drop:
        host["CapDrop"] = list(extras.drop)
    if extras.unconfined:
        options.append("seccomp=unconfined")
    if extras.no_new_privileges:
        options.append("no-new-privileges")
    if options:
        host["SecurityOpt"] = options
    request["Labels"] = {**extras.labels, **request["Labels"]}
