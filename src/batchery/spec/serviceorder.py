"""One attempt of a service job, as the engine that will run it gets it, and the files that it finds.

Theory of operation
-------------------
SageMaker starts a container of the training image with the argument ``train`` on each instance, and tells it everything
by files below /opt/ml (servicefiles.py). An order is composed for the engine of its service environment:

* In containers /opt/ml is a bind of the attempt's directory, and the image's entry point stays, or is what
  ContainerEntrypoint says. On Slurm nodes that is so if the words of [slurm] that start containers have ``{mounts}``.
* A process of the host, or of a node, finds the same by the variables. Where the engine may run a job on the host
  because its image cannot be had, the order says both (`Container.on_host`).

A job with an InstanceCount of N has N containers, algo-1 to algo-N, in one attempt (core/pod.py): the first that fails
ends all, and the job succeeds when all have ended with 0. All else in Batchery sees one job with one attempt. A service
environment may say ``single``; then there is one container, whatever the count. A service environment with a command
of its own in the settings gets the same files and variables, and runs that instead of the image's entry point.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from batchery.api.shapes import ContainerProperties, MountPoint, Volume
from batchery.api.shapes import Host as HostVolume
from batchery.config import Config, Limits, Service, first_fit
from batchery.core.instances import most_of, pool_of
from batchery.core.model import Attempt, Environment, Job, Resources, task_id
from batchery.engines.engine import Container, Order, Sharing
from batchery.spec.names import log_path, training_job, training_job_arn
from batchery.spec.podorder import encoded
from batchery.spec.service import Payload, payload_of, request_of, template_of
from batchery.spec.servicefiles import (
    CHANNELS,
    HOSTS,
    ML,
    REQUEST,
    Files,
    Hosts,
    channels_of,
    files_of,
    hosts_of,
    variables_of,
)
from batchery.spec.variables import batch_variables

CLUSTER: Final = "slurm"  #: which finds out by itself where hosts are
BOXES: Final = ("docker", "podman")
MOUNTS: Final = "{mounts}"  #: a word of [slurm] container
_NO_LIMITS: Final = Limits(service_bytes=1 << 30, nodes=1 << 30)


class _Here(NamedTuple):
    """What all hosts of an attempt have. ``given``: variables of the service; ``batch``: AWS_BATCH_*."""

    attempt: Attempt
    job: Job
    payload: Payload
    template: Service
    config: Config
    root: Path
    logs_dir: Path
    channels: Mapping[str, str]
    given: Mapping[str, str]
    batch: Mapping[str, str]

    @property
    def task(self) -> str:
        return task_id(self.attempt.key)

    @property
    def name(self) -> str:
        return self.payload.training_job_name or self.job.name


def service_order(
    *,
    attempt: Attempt,
    job: Job,
    spec: str,
    queue_name: str,
    environment: Environment,
    config: Config,
    root: Path,
    addresses: Sequence[str],
    logs_dir: Path,
    given: Mapping[str, str],
) -> tuple[Order, Files]:
    """``spec``: the SubmitServiceJob request; ``config``: the settings as they are for the engine that will run it;
    ``root``: the attempt's directory; ``addresses``: one for each host; ``given``: variables that say where the
    service is."""
    text = request_of(spec).service_request_payload
    payload = payload_of(text, _NO_LIMITS)
    batch = batch_variables(
        key=attempt.key, used=attempt.used, size=0, queue_name=queue_name, environment_name=environment.name
    )
    template = template_of(config, environment.name)
    channels = channels_of(payload, config.services.data)
    here = _Here(attempt, job, payload, template, config, root, logs_dir, channels, given, batch)
    boxed = in_containers(config, environment.name)
    several = len(addresses) > 1
    each = hosts_of(payload, [""] * len(addresses) if config.engine == CLUSTER else addresses)
    hosts = [Hosts(each, one, _interface(config, several)) for one in each]
    containers = tuple(_container(here, one, boxed) for one in hosts)
    if config.engine in BOXES and not several:
        containers = (replace(containers[0], on_host=_container(here, hosts[0], False)),)
    order = Order(
        key=attempt.key,
        task_id=here.task,
        containers=containers,
        resources=attempt.resources,
        pool=pool_of(environment, job.shape.unit),
        pool_vcpus=most_of(environment, job.shape.unit),
        environment_name=environment.name,
        timeout=job.shape.timeout,
        address=each[0].address if several else "",
        several=several,
        sharing=Sharing(net="task" if several and _apart(config) else ""),
        engine=config.engine,
    )
    return order, files_of(root, payload, text, hosts, channels, boxed)


def in_containers(config: Config, environment: str) -> bool:
    """Whether jobs of this service environment (its name) find /opt/ml."""
    target = first_fit(config.slurm.environments, environment) or config.slurm
    return config.engine in BOXES or (config.engine == CLUSTER and MOUNTS in target.container)


def _apart(config: Config) -> bool:
    """Containers with networks of their own: then all hosts of a job share one."""
    return config.engine in BOXES and config.container.network != "host"


def _interface(config: Config, several: bool) -> str:
    """The network by which hosts reach each other."""
    return "eth0" if config.engine == CLUSTER or (_apart(config) and not several) else "lo"


def _container(here: _Here, hosts: Hosts, boxed: bool) -> Container:
    """One host's."""
    base = here.root / hosts.base
    ml = ML if boxed else str(base / "ml")
    several = len(hosts.each) > 1
    share = _share(here, len(hosts.each))
    title = training_job(here.name, here.task)
    request = f"{ml}/{REQUEST}"
    entrypoint, command = _argv(here, {"request": request, "directory": ml, "name": title})
    name = hosts.current.name if several else "default"
    environment = {
        **here.given,
        **variables_of(here.payload, ml, here.channels, hosts, share.gpus),
        "BATCHERY_SERVICE_REQUEST": request,
        "TRAINING_JOB_NAME": title,
        "TRAINING_JOB_ARN": training_job_arn(here.job.realm, here.name, here.task),
        **here.config.process.environment,
        **here.template.environment,
        **here.payload.environment,
        **here.batch,
    }
    return Container(
        name=name,
        image=here.payload.algorithm_specification.training_image,
        command=command,
        entrypoint=entrypoint,
        environment=environment,
        log_path=str(log_path(here.logs_dir, here.task, name)),
        resources=share,
        stop_timeout=here.template.stop_timeout * 1000,
        spec=_mounts(base, here.channels, here.config) if boxed else "{}",
        forgiving=several,
        hosts=tuple((host.name, host.address) for host in hosts.each if host.address) if several and boxed else (),
        hosts_file=str(base / "ml" / HOSTS) if several and here.config.engine == CLUSTER else "",
    )


def _share(here: _Here, count: int) -> Resources:
    """What one host has of what was granted: on a cluster as much as a node has at most, else its part of the host."""
    granted = here.attempt.resources
    if count == 1:
        return granted
    asked = here.job.shape.resources
    most = granted if here.config.engine == CLUSTER else Resources(*(value // count for value in granted))
    return Resources(asked.vcpus // count, min(asked.memory // count, most.memory), min(asked.gpus // count, most.gpus))


def _argv(here: _Here, words: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entry point and arguments: the settings', or as SageMaker starts an image."""
    if here.template.command:
        return tuple(_fill(word, words) for word in here.template.command), ()
    algorithm = here.payload.algorithm_specification
    arguments = algorithm.container_arguments or ([] if algorithm.container_entrypoint else ["train"])
    return tuple(algorithm.container_entrypoint), tuple(arguments)


def _fill(word: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        word = word.replace("{" + name + "}", value)
    return word


def _mounts(base: Path, channels: Mapping[str, str], config: Config) -> str:
    """containerProperties with /opt/ml, and in it the data of the channels."""
    mounts = [(str(base / "ml"), ML, False)]
    if channels:
        mounts.append((str(base / CHANNELS), f"{ML}/input/data", False))
    mounts += [(where, f"{ML}/input/data/{name}", True) for name, where in channels.items()]
    return encoded(
        ContainerProperties(
            volumes=[Volume(name=inside, host=HostVolume(source_path=where)) for where, inside, _ in mounts],
            mount_points=[
                MountPoint(source_volume=inside, container_path=inside, read_only=True if only else None)
                for _, inside, only in mounts
            ],
        ),
        config,
    )
