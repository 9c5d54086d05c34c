"""One attempt of a service job, as an engine gets it, and the files that it finds.

Theory of operation
-------------------
SageMaker starts a container of the training image with the argument ``train`` and tells it everything by files below
/opt/ml (SageMaker developer guide, "How SageMaker provides training information" and "processes training output"):

    input/config/hyperparameters.json  resourceconfig.json  inputdataconfig.json
    input/data/<channel>/              the data of a channel
    model/  output/data/  checkpoints/ what it leaves
    output/failure                     why it failed: the first 1024 characters become a part of the statusReason

Here each attempt has a directory of its own, ``<services.directory>/<2 digits>/<task id>``: ``request.json`` has the
payload as it was sent, ``ml`` is what a container has as /opt/ml. A process of the host, or of a Slurm node, has no
/opt/ml of its own: it finds the same files by the variables that SageMaker's toolkit gives to scripts (SM_MODEL_DIR
and its like), which containers get too. Results stay in the directory as long as the job is remembered.

A job is one container or process, whatever its InstanceCount, which it is told in ``SM_INSTANCE_COUNT``: that decides
how much of its environment it takes. A service environment with a command of its own in the settings gets the same
files and variables, and runs that instead of the image's entry point.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from batchery.api.shapes import ContainerProperties, Host, MountPoint, Volume
from batchery.config import Config, Limits, Service
from batchery.core.instances import most_of, pool_of
from batchery.core.model import Attempt, Environment, Job, task_id
from batchery.engines.engine import Container, Order
from batchery.spec.names import log_path, training_job, training_job_arn
from batchery.spec.podorder import encoded
from batchery.spec.service import HOST, Channel, Payload, directory_of, payload_of, request_of, template_of
from batchery.spec.variables import batch_variables

ML: Final = "/opt/ml"
FOLDERS: Final = ("input/config", "input/data", "model", "output/data", "checkpoints", "code")
FAILURE: Final = "output/failure"
FAILURE_CHARS: Final = 1024
_NO_LIMITS: Final = Limits(service_bytes=1 << 30)


class Files(Struct, frozen=True):
    """What is to be there before an attempt begins: below ``root`` folders, texts by path, and links by path."""

    root: Path
    folders: tuple[str, ...]
    texts: dict[str, str]
    links: dict[str, str]


def services_root(config: Config) -> Path:
    """Where those are."""
    return Path(config.services.directory or os.path.join(config.data, "services")).absolute()


def folder_of(config: Config, task: str) -> Path:
    """The directory of an attempt."""
    return services_root(config) / task[-2:] / task


def service_order(
    *,
    attempt: Attempt,
    job: Job,
    spec: str,
    queue_name: str,
    environment: Environment,
    config: Config,
    logs_dir: Path,
    given: Mapping[str, str],
) -> tuple[Order, Files]:
    """``spec``: the SubmitServiceJob request; ``given``: variables that say where the service is."""
    task = task_id(attempt.key)
    text = request_of(spec).service_request_payload
    payload = payload_of(text, _NO_LIMITS)
    template = template_of(config, environment.name)
    root = folder_of(config, task)
    boxed = config.engine in ("docker", "podman")
    inside = ML if boxed else str(root / "ml")
    name = payload.training_job_name or job.name
    channels = _channels(payload, config)
    request = f"{inside}/request.json" if boxed else str(root / "request.json")
    words = {"request": request, "directory": inside, "name": training_job(name, task)}
    entrypoint, command = _argv(payload, template, words)
    told = _variables(payload, inside, channels) | _names(job, request, words["name"], name, task)
    batch = batch_variables(
        key=attempt.key, used=attempt.used, size=0, queue_name=queue_name, environment_name=environment.name
    )
    container = Container(
        name="default",
        image=payload.algorithm_specification.training_image,
        command=command,
        entrypoint=entrypoint,
        environment={
            **given,
            **told,
            **config.process.environment,
            **template.environment,
            **payload.environment,
            **batch,
        },
        log_path=str(log_path(logs_dir, task)),
        resources=attempt.resources,
        stop_timeout=config.kill_grace * 1000,
        spec=_mounts(root, channels, config) if boxed else "{}",
    )
    return _order(attempt, job, environment, container), _files(root, payload, text, {} if boxed else channels, boxed)


def _order(attempt: Attempt, job: Job, environment: Environment, container: Container) -> Order:
    return Order(
        key=attempt.key,
        task_id=task_id(attempt.key),
        containers=(container,),
        resources=attempt.resources,
        pool=pool_of(environment, job.shape.unit),
        pool_vcpus=most_of(environment, job.shape.unit),
        environment_name=environment.name,
        timeout=job.shape.timeout,
    )


def _names(job: Job, request: str, title: str, name: str, task: str) -> dict[str, str]:
    return {
        "BATCHERY_SERVICE_REQUEST": request,
        "TRAINING_JOB_NAME": title,
        "TRAINING_JOB_ARN": training_job_arn(job.realm, name, task),
    }


def _channels(payload: Payload, config: Config) -> dict[str, str]:
    """The directory of each channel that has one here."""
    found = {}
    for channel in payload.input_data_config:
        source = channel.data_source.s3_data_source
        where = directory_of(source.s3_uri, config.services.data) if source is not None else ""
        if where:
            found[channel.channel_name] = where
    return found


def _argv(payload: Payload, template: Service, words: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entry point and arguments: the settings', or as SageMaker starts an image."""
    if template.command:
        return tuple(_fill(word, words) for word in template.command), ()
    algorithm = payload.algorithm_specification
    arguments = algorithm.container_arguments or ([] if algorithm.container_entrypoint else ["train"])
    return tuple(algorithm.container_entrypoint), tuple(arguments)


def _fill(word: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        word = word.replace("{" + name + "}", value)
    return word


def _variables(payload: Payload, ml: str, channels: Mapping[str, str]) -> dict[str, str]:
    """As SageMaker's training toolkit names them."""
    found = {
        "SM_MODEL_DIR": f"{ml}/model",
        "SM_INPUT_DIR": f"{ml}/input",
        "SM_INPUT_CONFIG_DIR": f"{ml}/input/config",
        "SM_OUTPUT_DIR": f"{ml}/output",
        "SM_OUTPUT_DATA_DIR": f"{ml}/output/data",
        "SM_CHANNELS": _json(list(channels)),
        "SM_CURRENT_HOST": HOST,
        "SM_HOSTS": _json([HOST]),
        "SM_CURRENT_INSTANCE_TYPE": payload.groups[0].instance_type,
        "SM_INSTANCE_COUNT": str(sum(group.instance_count for group in payload.groups)),
        "SM_HPS": _json(payload.hyper_parameters),
        "SM_RESOURCE_CONFIG": _json(_resources(payload)),
        "SM_INPUT_DATA_CONFIG": _json(_inputs(payload)),
    }
    for name in channels:
        found[f"SM_CHANNEL_{name.upper()}"] = f"{ml}/input/data/{name}"
    for name, value in payload.hyper_parameters.items():
        found[f"SM_HP_{name.upper().replace('-', '_')}"] = value
    return found


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _resources(payload: Payload) -> dict[str, Any]:
    """resourceconfig.json. One host, since a job is one container or process."""
    first = payload.groups[0]
    return {
        "current_host": HOST,
        "current_instance_type": first.instance_type,
        "current_group_name": first.instance_group_name,
        "hosts": [HOST],
        "instance_groups": [
            {"instance_group_name": first.instance_group_name, "instance_type": first.instance_type, "hosts": [HOST]}
        ],
        "network_interface_name": "eth0",
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


def _files(root: Path, payload: Payload, text: str, links: Mapping[str, str], in_container: bool) -> Files:
    config = "ml/input/config"
    return Files(
        root=root,
        folders=tuple(f"ml/{folder}" for folder in FOLDERS),
        texts={
            "ml/request.json" if in_container else "request.json": text,
            f"{config}/hyperparameters.json": _json(payload.hyper_parameters),
            f"{config}/resourceconfig.json": _json(_resources(payload)),
            f"{config}/inputdataconfig.json": _json(_inputs(payload)),
        },
        links={f"ml/input/data/{name}": where for name, where in links.items()},
    )


def _mounts(root: Path, channels: Mapping[str, str], config: Config) -> str:
    """containerProperties with /opt/ml, and in it the data of the channels."""
    volumes = [Volume(name="ml", host=Host(source_path=str(root / "ml")))]
    mounts = [MountPoint(source_volume="ml", container_path=ML)]
    for name, where in channels.items():
        volumes.append(Volume(name=f"channel-{name}", host=Host(source_path=where)))
        path = os.path.join(ML, "input/data", name)
        mounts.append(MountPoint(source_volume=f"channel-{name}", container_path=path, read_only=True))
    return encoded(ContainerProperties(volumes=volumes, mount_points=mounts), config, "")
