"""What each host of a training job finds: folders, files and variables, as SageMaker's containers do. Pure.

SageMaker tells a training container everything by files below /opt/ml (SageMaker developer guide, "How SageMaker
provides training information" and "processes training output"), and its toolkit tells scripts the same by variables:

    input/config/hyperparameters.json  resourceconfig.json  inputdataconfig.json
    input/data/<channel>/              the data of a channel
    model/  output/data/  checkpoints/ what it leaves
    output/failure                     why it failed: the first 1024 characters become a part of the statusReason

Here each attempt has a directory, ``<services.directory>/<2 digits>/<task id>``. Its ``ml`` is what algo-1 has as
/opt/ml, ``algo-2/ml`` what algo-2 has, and so on. A process of the host, or of a Slurm node, has no /opt/ml of its own:
there the variables name the directories themselves, and links in input/data lead to the channels. In a container,
``channels`` is mounted there instead, and the data of each channel in that.

Where a job has several hosts, ``input/config/hosts`` has their addresses, in the form of /etc/hosts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from batchery.spec.service import Channel, Group, Payload, directory_of, host_name

ML: Final = "/opt/ml"
REQUEST: Final = "request.json"  #: the payload as it was sent
CHANNELS: Final = "channels"
FAILURE: Final = "ml/output/failure"
FAILURE_CHARS: Final = 1024
WRITTEN: Final = ("model", "output", "output/data", "checkpoints")  #: by the job
FOLDERS: Final = ("input/config", "input/data", "code", *WRITTEN)
CONFIG: Final = "input/config"
HOSTS: Final = f"{CONFIG}/hosts"


class Host(NamedTuple):
    """One instance of a job. ``address``: "" where it is known only when the host runs, and written then."""

    name: str
    group: Group
    address: str = ""


class Hosts(NamedTuple):
    """All of them, and which one is told. ``interface``: of the network by which they reach each other."""

    each: tuple[Host, ...]
    current: Host
    interface: str = "lo"

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.each]

    @property
    def base(self) -> str:
        """Where its files are, below the attempt's directory."""
        return "" if self.current is self.each[0] else f"{self.current.name}/"

    @property
    def groups(self) -> list[dict[str, Any]]:
        """As resourceconfig.json has them."""
        found: dict[int, dict[str, Any]] = {}
        for host in self.each:
            group = found.setdefault(
                id(host.group),
                {
                    "instance_group_name": host.group.instance_group_name,
                    "instance_type": host.group.instance_type,
                    "hosts": [],
                },
            )
            group["hosts"].append(host.name)
        return list(found.values())


class Files(Struct, frozen=True):
    """What is to be there before an attempt begins, below ``root``: folders, texts by path, links by path.

    ``open``: folders that anybody who comes to them may write to, which then are nobody's to come to but the owner's
    and containers'.
    """

    root: Path
    folders: tuple[str, ...]
    texts: dict[str, str]
    links: dict[str, str]
    open: tuple[str, ...] = ()


def hosts_of(payload: Payload, addresses: Sequence[str]) -> tuple[Host, ...]:
    """One for each address; the groups' instances in the order of the request."""
    groups = [group for group in payload.groups for _ in range(min(group.instance_count, len(addresses)))]
    pairs = zip(groups, addresses, strict=False)
    return tuple(Host(host_name(number), *pair) for number, pair in enumerate(pairs, 1))


def channels_of(payload: Payload, data: dict[str, str]) -> dict[str, str]:
    """The directory of each channel that has one here. ``data``: the setting services.data."""
    found = {}
    for channel in payload.input_data_config:
        source = channel.data_source.s3_data_source
        where = directory_of(source.s3_uri, data) if source is not None else ""
        if where:
            found[channel.channel_name] = where
    return found


def files_of(
    root: Path, payload: Payload, text: str, hosts: Sequence[Hosts], channels: Mapping[str, str], in_containers: bool
) -> Files:
    """Of an attempt: all its hosts'. ``text``: the payload as it was sent."""
    folders: list[str] = []
    texts: dict[str, str] = {}
    links: dict[str, str] = {}
    for one in hosts:
        ml = f"{one.base}ml"
        folders += [f"{ml}/{folder}" for folder in FOLDERS]
        texts[f"{ml}/{REQUEST}"] = text
        texts[f"{ml}/{CONFIG}/hyperparameters.json"] = as_json(payload.hyper_parameters)
        texts[f"{ml}/{CONFIG}/resourceconfig.json"] = as_json(_resources(one))
        texts[f"{ml}/{CONFIG}/inputdataconfig.json"] = as_json(_inputs(payload))
        if len(one.each) > 1 and one.current.address:
            texts[f"{ml}/{HOSTS}"] = "".join(f"{host.address} {host.name}\n" for host in one.each)
        if in_containers:
            folders += [f"{one.base}{CHANNELS}/{name}" for name in channels]
        links.update({f"{ml}/input/data/{name}": where for name, where in channels.items()})
    writable = [f"{one.base}ml/{folder}".removesuffix("/") for one in hosts for folder in ("", *WRITTEN)]
    return Files(root, tuple(folders), texts, links, tuple(writable) if in_containers else ())


def variables_of(payload: Payload, ml: str, channels: Mapping[str, str], hosts: Hosts, gpus: int) -> dict[str, str]:
    """As SageMaker's training toolkit names them. ``ml``: where this host has what containers have as /opt/ml."""
    here = hosts.current
    mine = next(group for group in hosts.groups if here.name in group["hosts"])
    found = {
        "SM_MODEL_DIR": f"{ml}/model",
        "SM_INPUT_DIR": f"{ml}/input",
        "SM_INPUT_CONFIG_DIR": f"{ml}/{CONFIG}",
        "SM_OUTPUT_DIR": f"{ml}/output",
        "SM_OUTPUT_DATA_DIR": f"{ml}/output/data",
        "SM_CHANNELS": as_json(list(channels)),
        "SM_CURRENT_HOST": here.name,
        "SM_HOSTS": as_json(hosts.names),
        "SM_CURRENT_INSTANCE_TYPE": here.group.instance_type,
        "SM_CURRENT_INSTANCE_GROUP": here.group.instance_group_name,
        "SM_CURRENT_INSTANCE_GROUP_HOSTS": as_json(mine["hosts"]),
        "SM_INSTANCE_GROUPS": as_json([group["instance_group_name"] for group in hosts.groups]),
        "SM_INSTANCE_COUNT": str(payload.instances),
        "SM_NETWORK_INTERFACE_NAME": hosts.interface,
        "SM_NUM_GPUS": str(gpus),
        "SM_HPS": as_json(payload.hyper_parameters),
        "SM_RESOURCE_CONFIG": as_json(_resources(hosts)),
        "SM_INPUT_DATA_CONFIG": as_json(_inputs(payload)),
    }
    for name in channels:
        found[f"SM_CHANNEL_{name.upper()}"] = f"{ml}/input/data/{name}"
    for name, value in payload.hyper_parameters.items():
        found[f"SM_HP_{name.upper().replace('-', '_')}"] = value
    if len(hosts.each) > 1:
        found["BATCHERY_HOSTS_FILE"] = f"{ml}/{HOSTS}"
        found["BATCHERY_NODE_IPV4_ADDRESS"] = here.address
    return found


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _resources(hosts: Hosts) -> dict[str, Any]:
    """resourceconfig.json."""
    here = hosts.current
    return {
        "current_host": here.name,
        "current_instance_type": here.group.instance_type,
        "current_group_name": here.group.instance_group_name,
        "hosts": hosts.names,
        "instance_groups": hosts.groups,
        "network_interface_name": hosts.interface,
    }


def _inputs(payload: Payload) -> dict[str, Any]:
    """inputdataconfig.json."""
    return {one.channel_name: _input(one, payload) for one in payload.input_data_config}


def _input(channel: Channel, payload: Payload) -> dict[str, str]:
    source = channel.data_source.s3_data_source
    found = {
        "TrainingInputMode": channel.input_mode or payload.algorithm_specification.training_input_mode,
        "S3DistributionType": source.s3_data_distribution_type if source is not None else "FullyReplicated",
        "RecordWrapperType": channel.record_wrapper_type,
    }
    return {**found, "ContentType": channel.content_type} if channel.content_type else found
