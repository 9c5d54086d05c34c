"""The containers of an order, for a job that has several."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from batchery.api.shapes import ContainerProperties, KeyValuePair
from batchery.config import Config
from batchery.core.model import Environment, Realm, Resources
from batchery.engines.engine import Container, Sharing, Wanted
from batchery.spec.effective import resources_of
from batchery.spec.ekspod import expand, expanded
from batchery.spec.names import log_path, node_uid
from batchery.spec.place import place_of, placed
from batchery.spec.pod import EKS, PodContainer, SharedPod
from batchery.spec.variables import complete

WITHOUT_IMAGES: Final = ("process", "slurm")  #: engines that pull none, so repositoryCredentials are not needed
_encoder: Final = msgspec.json.Encoder()


class Here(NamedTuple):
    """What all containers of one attempt have. ``given``: ECS's and our own variables; ``batch``: AWS_BATCH_*."""

    realm: Realm
    task: str
    logs_dir: Path
    config: Config
    given: Mapping[str, str]
    batch: Mapping[str, str]

    def complete(self, own: Iterable[KeyValuePair]) -> dict[str, str]:
        return complete(self.given, self.config.process.environment, own, self.batch)

    def secrets(self, container: ContainerProperties) -> tuple[Wanted, ...]:
        return tuple(Wanted(one.name, one.value_from, self.realm.region) for one in container.secrets or ())

    def login(self, container: ContainerProperties) -> Wanted | None:
        given = container.repository_credentials
        if given is None or self.config.engine in WITHOUT_IMAGES:
            return None
        return Wanted("", given.credentials_parameter, self.realm.region)


def of_pod(pod: SharedPod, environment: Environment, granted: Resources, here: Here) -> tuple[Container, ...]:
    """The containers, in the order of the definition (init containers first)."""
    if pod.kind == EKS:
        here = here._replace(batch={**here.batch, "AWS_BATCH_JOB_KUBERNETES_NODE_UID": node_uid(environment.arn)})
    return tuple(_container(part, pod, granted, here) for part in pod.containers)


def _container(part: PodContainer, pod: SharedPod, granted: Resources, here: Here) -> Container:
    own = part.container.environment or []
    command, entrypoint = tuple(part.container.command or ()), part.entrypoint
    if pod.kind == EKS:
        own = expanded(own, here.complete([]))
        known = here.complete(own)
        command = tuple(expand(word, known) for word in command)
        entrypoint = tuple(expand(word, known) for word in entrypoint)
    wanted = resources_of(part.container)
    return Container(
        name=part.name,
        image=part.container.image or "",
        command=command,
        environment=here.complete(own),
        log_path=str(log_path(here.logs_dir, here.task, part.name)),
        resources=Resources(*map(min, wanted, granted)),
        essential=part.essential,
        stop_timeout=part.stop_timeout or here.config.kill_grace * 1000,
        spec=encoded(part.container, here.config),
        secrets=here.secrets(part.container),
        login_from=here.login(part.container),
        entrypoint=entrypoint,
        decides=part.decides,
        after=part.after,
        start_timeout=part.start_timeout,
        limit_vcpus=part.limit_vcpus,
        extras=part.extras,
    )


def encoded(container: ContainerProperties, config: Config, text: str = "") -> str:
    """A container for engines, as JSON: file systems of AWS are directories of the host. ``text``: as it is without."""
    here = placed(container, place_of(config))
    return text if text and here is container else _encoder.encode(here).decode()


def sharing_of(pod: SharedPod) -> Sharing:
    return Sharing(pod.ipc, pod.pid, pod.network, pod.group)
