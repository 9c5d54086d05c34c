"""One attempt, as an engine gets it."""

from collections.abc import Callable
from pathlib import Path

from batchery.config import Config
from batchery.core.model import AttemptKey, Environment, Realm, Resources, task_id
from batchery.engines.engine import Container, Order, Sharing
from batchery.engines.engine import Node as Gang
from batchery.spec.effective import Effective, effective
from batchery.spec.names import log_path
from batchery.spec.podorder import Here, encoded, of_pod, sharing_of
from batchery.spec.variables import Node, batch_variables, ecs_variables


def order(
    *,
    key: AttemptKey,
    used: int,
    size: int,
    node: Node | None = None,
    job_name: str,
    queue_name: str,
    realm: Realm,
    environment: Environment,
    definition_name: str,
    definition_doc: str,
    submit_doc: str,
    resources: Resources,
    timeout: int,
    gang: Gang | None = None,
    config: Config,
    logs_dir: Path,
    own_addresses: Callable[[AttemptKey, Realm, str], dict[str, str]] = lambda key, realm, role: {},
) -> Order:
    """What an engine needs. ``timeout``: ms, 0: none; ``own_addresses``: variables that say where the service is.

    ``node`` and ``gang``: of a multi-node job, for the node itself and for the engine."""
    spec = effective(definition_doc, submit_doc)
    task = task_id(key)
    batch = batch_variables(
        key=key, used=used, size=size, queue_name=queue_name, environment_name=environment.name, node=node
    )
    given = {**ecs_variables(environment, realm), **own_addresses(key, realm, role_of(spec))}
    here = Here(realm, task, logs_dir, config, given, batch)
    several = of_pod(spec.pod, environment, resources, here) if spec.pod is not None else ()
    return Order(
        key=key,
        task_id=task,
        containers=several or (_alone(spec, resources, here),),
        resources=resources,
        pool=environment.pool,
        pool_vcpus=environment.max_vcpus,
        environment_name=environment.name,
        timeout=timeout,
        address=node.address if node is not None else "",
        node=gang,
        several=spec.pod is not None,
        sharing=sharing_of(spec.pod) if spec.pod is not None else Sharing(),
        engine=config.engine,
    )


def _alone(spec: Effective, resources: Resources, here: Here) -> Container:
    """The container of a job that has one."""
    return Container(
        name="default",
        image=spec.container.image or "",
        command=tuple(spec.container.command or ()),
        environment=here.complete(spec.container.environment or []),
        log_path=str(log_path(here.logs_dir, here.task)),
        resources=resources,
        stop_timeout=here.config.kill_grace * 1000,
        spec=encoded(spec.container, here.config, spec.spec),
        secrets=here.secrets(spec.container),
        login_from=here.login(spec.container),
    )


def role_of(spec: Effective) -> str:
    """The role whose keys the job may ask for: the same for all its containers."""
    container = spec.pod.containers[0].container if spec.pod is not None else spec.container
    return container.job_role_arn or ""
