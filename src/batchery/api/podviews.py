"""Jobs and attempts of several containers -> shapes: ecsProperties with taskProperties, eksProperties with eksAttempts.

Sources: API_EcsTaskDetails, API_TaskContainerDetails, API_AttemptEcsTaskDetails, API_EksPodPropertiesDetail,
API_EksAttemptDetail. Reasons of an EKS container are those that Kubernetes gives to a terminated one.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import fields

from batchery.api.shapes import (
    AttemptEcsTaskDetails,
    AttemptTaskContainerDetails,
    EcsPropertiesDetail,
    EcsTaskDetails,
    EcsTaskProperties,
    EksAttemptContainerDetail,
    EksAttemptDetail,
    EksContainer,
    EksContainerDetail,
    EksPodProperties,
    EksPodPropertiesDetail,
    EksPropertiesDetail,
    TaskContainerDetails,
    TaskContainerProperties,
)
from batchery.core.model import ContainerEnd
from batchery.spec.effective import Effective
from batchery.spec.names import container_instance_arn, name_of, node_name, pod_name, task_arn
from batchery.spec.pod import SharedPod
from batchery.spec.shape import streams

_OUT_OF_MEMORY: Final = "OutOfMemoryError"
_TASK: Final = tuple(one.name for one in fields(EcsTaskProperties) if one.name != "containers")
_TASK_CONTAINER: Final = tuple(one.name for one in fields(TaskContainerProperties))
_POD: Final = tuple(one.name for one in fields(EksPodProperties) if one.name not in ("containers", "init_containers"))
_POD_CONTAINER: Final = tuple(one.name for one in fields(EksContainer))


class Cluster(NamedTuple):
    """What an environment on EKS says of its cluster; "" if the environment is gone."""

    arn: str = ""
    namespace: str = ""


class Run(NamedTuple):
    """One attempt, live or past, of several containers. Times in ms, 0 when absent."""

    task: str
    environment: str
    started: int
    stopped: int = 0
    status_reason: str = ""
    began: bool = False  # something of it has run
    containers: tuple[ContainerEnd, ...] = ()

    @property
    def ends(self) -> Mapping[str, ContainerEnd]:
        return {end.name: end for end in self.containers}


_NO_END: Final = ContainerEnd("")


# ------------------------------------------------------------------------------------------------------------- ECS


def ecs_detail(
    task: EcsTaskProperties, pod: SharedPod, definition: str, run: Run | None, on_host: bool
) -> EcsPropertiesDetail:
    """``definition``: its ARN; ``run``: the live attempt, else the last."""
    ends = run.ends if run is not None else {}
    names = _streams(pod, definition, run)
    containers = [
        TaskContainerDetails(
            **{member: getattr(one, member) for member in _TASK_CONTAINER},
            exit_code=ends.get(one.name or "", _NO_END).exit_code,
            reason=ends.get(one.name or "", _NO_END).reason or None,
            log_stream_name=names.get(one.name or ""),
            network_interfaces=[],
        )
        for one in task.containers
    ]
    detail = EcsTaskDetails(**{member: getattr(task, member) for member in _TASK}, containers=containers)
    if run is not None:
        detail.container_instance_arn = container_instance_arn(run.environment) if on_host else None
        detail.task_arn = task_arn(run.environment, run.task)
    return EcsPropertiesDetail(task_properties=[detail])


def ecs_attempt(pod: SharedPod, definition: str, run: Run, on_host: bool) -> list[AttemptEcsTaskDetails]:
    """taskProperties of one item of ``attempts``."""
    ends, names = run.ends, _streams(pod, definition, run)
    containers = [
        AttemptTaskContainerDetails(
            name=part.name,
            exit_code=ends.get(part.name, _NO_END).exit_code,
            reason=ends.get(part.name, _NO_END).reason or None,
            log_stream_name=names.get(part.name),
            network_interfaces=[],
        )
        for part in pod.containers
    ]
    return [
        AttemptEcsTaskDetails(
            container_instance_arn=container_instance_arn(run.environment) if on_host else None,
            task_arn=task_arn(run.environment, run.task),
            containers=containers,
        )
    ]


def _streams(pod: SharedPod, definition: str, run: Run | None) -> dict[str, str]:
    """Of the containers that have run, or may be running."""
    if run is None or not (run.began or run.started):
        return {}
    ends = run.ends
    return {
        name: f"{prefix}/{run.task}"
        for name, _, prefix in streams(pod, name_of(definition))
        if not run.stopped or ends.get(name, _NO_END).exit_code is not None
    }


# ------------------------------------------------------------------------------------------------------------- EKS


def eks_detail(pod: EksPodProperties, run: Run | None) -> EksPropertiesDetail:
    """``run``: the live attempt, else the last."""
    ends = run.ends if run is not None else {}
    detail = EksPodPropertiesDetail(
        **{member: getattr(pod, member) for member in _POD},
        containers=_details(pod.containers or (), ends),
        init_containers=_details(pod.init_containers, ends) if pod.init_containers else None,
    )
    if run is not None:
        detail.pod_name, detail.node_name = pod_name(run.task), node_name(run.environment)
    return EksPropertiesDetail(pod_properties=detail)


def _details(containers: Sequence[EksContainer], ends: Mapping[str, ContainerEnd]) -> list[EksContainerDetail]:
    return [
        EksContainerDetail(
            **{member: getattr(one, member) for member in _POD_CONTAINER},
            exit_code=ends.get(one.name or "", _NO_END).exit_code,
            reason=_reason(ends.get(one.name or "")),
        )
        for one in containers
    ]


def _reason(end: ContainerEnd | None) -> str | None:
    """In Kubernetes' words (ContainerStateTerminated); of one that never ran why, as the engine says it."""
    if end is None:
        return None
    if end.exit_code is None:
        return end.reason or None
    if end.reason.startswith(_OUT_OF_MEMORY):
        return "OOMKilled"
    return end.reason or ("Error" if end.exit_code else "Completed")


def eks_attempt(spec: Effective, run: Run, cluster: Cluster) -> EksAttemptDetail:
    """One item of eksAttempts."""
    assert spec.pod is not None
    assert spec.eks is not None
    ends, parts = run.ends, spec.pod.containers
    given = spec.eks.metadata.namespace if spec.eks.metadata else None

    def shown(init: bool) -> list[EksAttemptContainerDetail]:
        return [
            EksAttemptContainerDetail(
                name=part.name,
                container_i_d=f"{run.task}.{part.name}" if ends.get(part.name, _NO_END).exit_code is not None else None,
                exit_code=ends.get(part.name, _NO_END).exit_code,
                reason=_reason(ends.get(part.name)),
            )
            for part in parts
            if part.init == init
        ]

    return EksAttemptDetail(
        containers=shown(False),
        init_containers=shown(True),
        eks_cluster_arn=cluster.arn or None,
        pod_name=pod_name(run.task),
        pod_namespace=given or cluster.namespace or None,
        node_name=node_name(run.environment),
        started_at=run.started or None,
        stopped_at=run.stopped or None,
        status_reason=run.status_reason or None,
    )


__all__ = ["Cluster", "Run", "ecs_attempt", "ecs_detail", "eks_attempt", "eks_detail"]
