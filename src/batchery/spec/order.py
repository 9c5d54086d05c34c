"""One attempt, as an engine gets it."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from batchery.api.shapes import ContainerProperties
from batchery.config import Config
from batchery.core.model import AttemptKey, Environment, Realm, Resources, task_id
from batchery.engines.engine import Container, Order, Wanted
from batchery.spec.effective import Effective, effective
from batchery.spec.names import log_path
from batchery.spec.place import place_of, placed
from batchery.spec.variables import batch_variables, complete, ecs_variables

WITHOUT_IMAGES: Final = ("process", "slurm")  #: engines that pull none, so repositoryCredentials are not needed


def order(
    *,
    key: AttemptKey,
    used: int,
    size: int,
    job_name: str,
    queue_name: str,
    realm: Realm,
    environment: Environment,
    definition_name: str,
    definition_doc: str,
    submit_doc: str,
    resources: Resources,
    timeout: int,
    config: Config,
    logs_dir: Path,
    own_addresses: Callable[[AttemptKey, Realm, str], dict[str, str]] = lambda key, realm, role: {},
) -> Order:
    """Everything the engine needs. ``resources``: as granted; ``timeout``: ms, 0 for none; ``logs_dir``: absolute;
    ``own_addresses``: of key, realm and jobRoleArn, the variables that say where the service is."""
    spec = effective(definition_doc, submit_doc)
    task = task_id(key)
    batch = batch_variables(key=key, used=used, size=size, queue_name=queue_name, environment_name=environment.name)
    own = spec.container.environment or []
    given = {**ecs_variables(environment, realm), **own_addresses(key, realm, spec.container.job_role_arn or "")}
    container = Container(
        name="default",
        image=spec.container.image or "",
        command=tuple(spec.container.command or ()),
        environment=complete(given, config.process.environment, own, batch),
        log_path=str(log_path(logs_dir, task)),
        resources=resources,
        stop_timeout=config.kill_grace * 1000,
        spec=encoded(spec, config),
        secrets=_secrets(spec.container, realm),
        login_from=_login(spec.container, realm) if config.engine not in WITHOUT_IMAGES else None,
    )
    return Order(
        key=key,
        task_id=task,
        containers=(container,),
        resources=resources,
        pool=environment.pool,
        pool_vcpus=environment.max_vcpus,
        environment_name=environment.name,
        timeout=timeout,
    )


def encoded(spec: Effective, config: Config) -> str:
    """The container for engines, as JSON: file systems of AWS are directories of the host."""
    here = placed(spec.container, place_of(config))
    return spec.spec if here is spec.container else msgspec.json.encode(here).decode()


def _secrets(container: ContainerProperties, realm: Realm) -> tuple[Wanted, ...]:
    return tuple(Wanted(one.name, one.value_from, realm.region) for one in container.secrets or ())


def _login(container: ContainerProperties, realm: Realm) -> Wanted | None:
    given = container.repository_credentials
    return Wanted("", given.credentials_parameter, realm.region) if given else None
