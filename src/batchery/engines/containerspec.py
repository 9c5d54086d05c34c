"""An order as the request that makes its container. Pure.

Sources: API_ContainerProperties, API_LinuxParameters, API_MountPoint, API_Device, API_Tmpfs; Docker's ContainerCreate.
What AWS leaves to the host is left to the runtime: swap without maxSwap, ulimits that are not named.
"""

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from batchery.config import Container as Settings
from batchery.core.model import AttemptKey
from batchery.core.pod import Part
from batchery.engines.engine import Order

ATTEMPT: Final = "batchery.attempt"  #: label: the attempt's key
OWNER: Final = "batchery.owner"  #: label: which data directory's
FACTS: Final = "batchery.facts"  #: label: `Facts`, what a later server needs
MIB: Final = 1024 * 1024
SHARES: Final = 1024  #: of one vCPU
#: What a container on a bridge calls its host. Podman 4.3 takes Docker's "host-gateway" for an address.
HOST_NAMES: Final = {"docker": "host.docker.internal", "podman": "host.containers.internal"}
_PERMISSIONS: Final = {"READ": "r", "WRITE": "w", "MKNOD": "m"}
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "ECS_CONTAINER_METADATA_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


class PodFacts(msgspec.Struct, frozen=True, array_like=True):
    """What each of several containers carries of all. ``timeout`` in ms, ``volumes``: names of those they share."""

    parts: tuple[Part, ...]
    timeout: int
    volumes: tuple[str, ...] = ()
    group: int = -1


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What a container carries for whoever finds it. ``timeout`` and ``grace`` in ms."""

    name: str
    log_path: str
    timeout: int
    grace: int
    pool: str
    vcpus: int
    memory: int
    gpus: tuple[int, ...]
    before: int = 0  # bytes in the log that are not the container's
    pod: PodFacts | None = None  # of several
    address: str = ""  # of a node of a multi-node job, where the network is the host's


def key_of(text: str) -> AttemptKey | None:
    """The key that `str` made this of."""
    job, _, rest = text.partition(":")
    index, _, serial = rest.partition(":")
    if not (job and index.isdigit() and serial.isdigit()):
        return None
    return AttemptKey(job, int(index), int(serial))


def facts_of(text: str) -> Facts | None:
    try:
        return msgspec.json.decode(text, type=Facts)
    except msgspec.DecodeError:
        return None


class _Camel(msgspec.Struct, rename="camel"):
    pass


class _Host(_Camel):
    source_path: str | None = None


class _Volume(_Camel):
    name: str = ""
    host: _Host | None = None


class _Mount(_Camel):
    source_volume: str = ""
    container_path: str = ""
    read_only: bool | None = None


class _Ulimit(_Camel):
    name: str
    soft_limit: int
    hard_limit: int


class _Device(_Camel):
    host_path: str
    container_path: str | None = None
    permissions: list[str] | None = None


class _Tmpfs(_Camel):
    container_path: str
    size: int
    mount_options: list[str] | None = None


class _Linux(_Camel):
    devices: list[_Device] | None = None
    init_process_enabled: bool | None = None
    shared_memory_size: int | None = None
    tmpfs: list[_Tmpfs] | None = None
    max_swap: int | None = None
    swappiness: int | None = None


class _RuntimePlatform(_Camel):
    cpu_architecture: str | None = None
    operating_system_family: str | None = None


class Properties(_Camel):
    """The members of containerProperties that a runtime acts on."""

    volumes: list[_Volume] | None = None
    mount_points: list[_Mount] | None = None
    readonly_root_filesystem: bool | None = None
    privileged: bool | None = None
    ulimits: list[_Ulimit] | None = None
    user: str | None = None
    linux_parameters: _Linux | None = None
    runtime_platform: _RuntimePlatform | None = None


_decoder: Final = msgspec.json.Decoder(Properties)


def properties(spec: str) -> Properties:
    """``spec``: JSON of effective containerProperties, or ""."""
    return _decoder.decode(spec) if spec else Properties()


def platform(wanted: Properties) -> str:
    """What to ask a registry for, "os/architecture"; "" for the host's own."""
    given = wanted.runtime_platform
    if given is None:
        return ""
    system = "windows" if (given.operating_system_family or "").startswith("WINDOWS") else "linux"
    architecture = {"ARM64": "arm64", "X86_64": "amd64"}.get(given.cpu_architecture or "", "")
    if not architecture:
        return "windows/amd64" if system == "windows" else ""
    return f"{system}/{architecture}"


def fits_host(wanted: Properties) -> bool:
    """Whether a process of the host finds the same data where a container would: what is mounted has its own name."""
    if any(source != posixpath.normpath(inside) for source, inside, _ in mounted(wanted)):
        return False
    devices = (wanted.linux_parameters or _Linux()).devices or ()
    if any(device.container_path not in (None, "", device.host_path) for device in devices):
        return False
    return not platform(wanted).startswith("windows")


def create_request(
    order: Order,
    wanted: Properties,
    settings: Settings,
    owner: str,
    facts: Facts,
    total_gpus: int,
    runtime: str = "docker",
) -> dict[str, Any]:
    """The body of ContainerCreate. ``total_gpus``: of this host. Raises ValueError for what cannot be said in it."""
    container = order.containers[0]
    variables = {**container.environment, **gpu_variables(facts.gpus, total_gpus)}
    environment = reachable(variables, settings.network, HOST_NAMES[runtime])
    environment["BATCHERY_ATTEMPT"] = str(order.key)
    request: dict[str, Any] = {
        "Image": container.image,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {**order.labels, ATTEMPT: str(order.key), OWNER: owner, FACTS: msgspec.json.encode(facts).decode()},
        "HostConfig": host_config(order, wanted, settings, facts.gpus, runtime),
    }
    if container.entrypoint:
        request["Entrypoint"] = list(container.entrypoint)
    if container.command:
        request["Cmd"] = list(container.command)
    if wanted.user:
        request["User"] = wanted.user
    anonymous = _anonymous(wanted)
    if anonymous:
        request["Volumes"] = {path: {} for path in anonymous}
    return request


def host_config(
    order: Order, wanted: Properties, settings: Settings, gpus: Sequence[int], runtime: str
) -> dict[str, Any]:
    """HostConfig of ContainerCreate."""
    linux = wanted.linux_parameters or _Linux()
    resources = order.resources
    config: dict[str, Any] = {
        "NetworkMode": settings.network,
        "CpuShares": max(2, resources.vcpus * SHARES // 1000),
        "Memory": resources.memory * MIB,
        "Binds": [*settings.volumes_given(), *_binds(wanted)],
        "Privileged": bool(wanted.privileged),
        "ReadonlyRootfs": bool(wanted.readonly_root_filesystem),
        "Init": bool(linux.init_process_enabled),
        "Devices": [_device(device) for device in linux.devices or ()],
        "Tmpfs": {one.container_path: _tmpfs(one) for one in linux.tmpfs or ()},
        "Ulimits": _ulimits(wanted, settings.ulimits),
        "LogConfig": {"Type": "json-file", "Config": {}},
    }
    if linux.shared_memory_size:
        config["ShmSize"] = linux.shared_memory_size * MIB
    if linux.max_swap is not None and resources.memory:
        config["MemorySwap"] = (resources.memory + linux.max_swap) * MIB
        if linux.swappiness is not None:
            config["MemorySwappiness"] = linux.swappiness
    known = [f"{name}:{address}" for name, address in order.containers[0].hosts]
    if settings.network == "bridge" and runtime == "docker":  # Podman gives its name to every container
        known.append(f"{HOST_NAMES[runtime]}:host-gateway")
    if known:
        config["ExtraHosts"] = known
    if gpus:
        ids = [str(index) for index in gpus]
        config["DeviceRequests"] = [{"Driver": "", "DeviceIDs": ids, "Capabilities": [["gpu"]]}]
    return config


def _binds(wanted: Properties) -> list[str]:
    """Mount points of the host's directories, which the runtime makes if they are not there, as ECS's does.

    Raises ValueError for a path that cannot be said in a bind.
    """
    found = []
    for source, inside, read_only in mounted(wanted):
        if ":" in source or ":" in inside:
            raise ValueError(f"a path of mountPoints has a colon: {source}, {inside}")
        found.append(f"{source}:{inside}{':ro' if read_only else ''}")
    return found


def mounted(wanted: Properties) -> list[tuple[str, str, bool]]:
    """Directories of the host: there, in the container, and whether it may only read."""
    sources = [(volume.host.source_path or "" if volume.host else "", mount) for mount, volume in _mounts(wanted)]
    return [(posixpath.normpath(one), mount.container_path, bool(mount.read_only)) for one, mount in sources if one]


def _anonymous(wanted: Properties) -> list[str]:
    """Where volumes without a source are: scratch space that begins empty and goes with the container."""
    return [mount.container_path for mount, volume in _mounts(wanted) if not (volume.host and volume.host.source_path)]


def _mounts(wanted: Properties) -> list[tuple[_Mount, _Volume]]:
    volumes = {volume.name: volume for volume in wanted.volumes or ()}
    return [(mount, volumes[mount.source_volume]) for mount in wanted.mount_points or ()]


def _device(device: _Device) -> dict[str, str]:
    allowed = "".join(_PERMISSIONS[one] for one in device.permissions or _PERMISSIONS)
    inside = device.container_path or device.host_path
    return {"PathOnHost": device.host_path, "PathInContainer": inside, "CgroupPermissions": allowed}


def _tmpfs(one: _Tmpfs) -> str:
    return ",".join([f"size={one.size}m", *(option for option in one.mount_options or () if option != "defaults")])


def _ulimits(wanted: Properties, default: Mapping[str, str]) -> list[dict[str, Any]]:
    """The job's own; for names it does not have, the operator's ("soft:hard" or one number for both)."""
    limits = {}
    for name, text in default.items():
        soft, _, hard = text.partition(":")
        limits[name] = (int(soft), int(hard or soft))
    limits.update({one.name: (one.soft_limit, one.hard_limit) for one in wanted.ulimits or ()})
    return [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in limits.items()]


def gpu_variables(gpus: Sequence[int], total: int) -> dict[str, str]:
    """On a host with GPUs a job sees those it was given, or none."""
    if not total:
        return {}
    return {"NVIDIA_VISIBLE_DEVICES": ",".join(str(index) for index in gpus) or "void"}


def reachable(environment: Mapping[str, str], network: str, host: str) -> dict[str, str]:
    """The environment with endpoints that a container can reach: on a bridge, loopback is the container's own, and
    ``host`` is the name of this host.

    Only variables that AWS's SDKs read as endpoints are rewritten.
    """
    if network != "bridge":
        return dict(environment)
    return {
        name: _of_host(value, host) if name.startswith(_ENDPOINTS) else value for name, value in environment.items()
    }


def _of_host(url: str, host: str) -> str:
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK:
        return url
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{host}{port}").geturl()
