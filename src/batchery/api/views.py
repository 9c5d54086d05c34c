"""Facts -> shapes: the one place where the field names of jobs and definitions are mapped.

`Seen` is one job, or one child, as World and store together know it (api/listing.py makes it). What AWS leaves out is
left out: startedAt before the job ran, flags that are false, what a container that never ran does not have.
Sources: API_JobDetail, API_AttemptDetail, API_JobSummary, API_JobDefinition; user guide "Array jobs".
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import fields

from batchery.api.containerviews import shown_container
from batchery.api.nodeviews import node_details, node_summary, shown_nodes
from batchery.api.podviews import Cluster, Run, ecs_attempt, ecs_detail, eks_attempt, eks_detail
from batchery.api.shapes import (
    ArrayPropertiesDetail,
    ArrayPropertiesSummary,
    AttemptContainerDetail,
    AttemptDetail,
    ContainerDetail,
    ContainerProperties,
    ContainerSummary,
    JobCapacityUsageSummary,
    JobDefinition,
    JobDetail,
    JobSummary,
)
from batchery.core.model import (
    CANCEL,
    TERMINATE,
    TERMINATED,
    Attempt,
    AttemptKey,
    Definition,
    Realm,
    task_id,
)
from batchery.core.status import ENDED, LIVE, NODE_ENDED, OFFERED, RUNNING, SHOWN
from batchery.spec.effective import Effective, definition_of, lowered
from batchery.spec.names import container_instance_arn, job_arn, task_arn
from batchery.spec.registration import on_fargate
from batchery.spec.submission import platforms_of
from batchery.store.store import AttemptRow

NO_CLUSTERS: Final[Mapping[str, Cluster]] = {}
_CONTAINER_MEMBERS: Final = tuple(field.name for field in fields(ContainerProperties))


class Seen(Struct):
    """One job (``index`` None) or one child of an array, at one moment. Times are ms, 0 when absent."""

    id: str  # with :index for a child, #index for a node
    job: str
    index: int | None
    seq: int
    queue: str
    name: str
    definition: str
    created: int
    size: int  # of the array, or how many nodes; 0 for a plain job
    main: int  # of a multi-node job the index of its main node, -1 of others
    vcpus: int  # thousandths that one task asks for
    share: str
    code: int  # core.status
    kinds: int  # bits of CANCEL and TERMINATE to show as flags
    reason: str
    ended: int = 0
    summary: dict[str, int] | None = None
    summary_at: int = 0
    live: Attempt | None = None
    serial: int = 0  # placements so far, while it is open
    instances: tuple[tuple[str, int], ...] = ()  # of a service job: type and how many
    priority: int = 0  # of a service job
    past: tuple[AttemptRow, ...] = ()  # those that `counted`, in order

    @property
    def parent(self) -> bool:
        """An array as a whole."""
        return self.size > 0 and self.index is None and self.main < 0

    @property
    def task(self) -> int:
        """The index of the task whose attempts it shows."""
        return self.index if self.index is not None else max(self.main, 0)


def counted(row: AttemptRow) -> bool:
    """Whether a placement is one of AWS's attempts: it ended, and something of it had begun."""
    if row.code in LIVE or not row.counts:
        return False
    return row.cause != TERMINATED or row.starting > 0 or row.started > 0


# ------------------------------------------------------------------------------------------------------- attempts


class _Run(NamedTuple):
    """What views need of an attempt, live or past."""

    task: str
    environment: str
    started: int
    exit_code: int | None
    reason: str
    log_stream: str


def _of_live(attempt: Attempt) -> _Run:
    return _Run(task_id(attempt.key), attempt.environment, attempt.started, None, "", attempt.log_stream)


def _of_row(job: str, row: AttemptRow) -> _Run:
    task = task_id(AttemptKey(job, row.index, row.serial))
    return _Run(task, row.environment, row.started, row.exit_code, row.reason, row.log_stream)


def _current(seen: Seen) -> _Run | None:
    """The attempt that the top-level container tells of: the live one from STARTING on, else the last."""
    if seen.live is not None and seen.live.code != OFFERED:
        return _of_live(seen.live)
    return _of_row(seen.job, seen.past[-1]) if seen.past else None


def _attempt(seen: Seen, row: AttemptRow, on_host: bool) -> AttemptDetail:
    run = _of_row(seen.job, row)
    return AttemptDetail(
        container=AttemptContainerDetail(
            container_instance_arn=container_instance_arn(run.environment) if on_host else None,
            task_arn=task_arn(run.environment, run.task),
            exit_code=run.exit_code,
            reason=run.reason or None,
            log_stream_name=run.log_stream if run.started else None,
            network_interfaces=[],
        ),
        started_at=row.started or None,
        stopped_at=row.stopped or None,
        status_reason=row.status_reason or None,
    )


def started_at(seen: Seen) -> int | None:
    """Absent until the container runs, and again while the job waits for its next attempt."""
    if seen.parent:
        return None
    if seen.code == RUNNING and seen.live is not None:
        return seen.live.started or None
    over = seen.code in ENDED or seen.code in NODE_ENDED or seen.code == RUNNING  # of a job whose other nodes end
    return seen.past[-1].started or None if over and seen.past else None


# ----------------------------------------------------------------------------------------------------- containers


def _container(seen: Seen, spec: Effective) -> ContainerDetail:
    fargate = on_fargate(spec.platforms)
    shown = shown_container(spec.container, fargate)
    detail = ContainerDetail(**{name: getattr(shown, name) for name in _CONTAINER_MEMBERS}, network_interfaces=[])
    run = _current(seen)
    if run is not None:
        detail.exit_code = run.exit_code
        detail.reason = run.reason or None
        detail.container_instance_arn = None if fargate else container_instance_arn(run.environment)
        detail.task_arn = task_arn(run.environment, run.task)
        detail.log_stream_name = run.log_stream if run.started else None
    return detail


# ----------------------------------------------------------------------------------------------------------- jobs


def job_detail(
    realm: Realm, seen: Seen, spec: Effective, tags: dict[str, str], clusters: Mapping[str, Cluster] = NO_CLUSTERS
) -> JobDetail:
    """One item of DescribeJobs. ``clusters``: of environments on EKS, by ARN."""
    on_host = not on_fargate(spec.platforms)
    detail = _job_detail(realm, seen, spec, tags, on_host)
    if spec.pod is not None:
        _tell_of_several(detail, seen, spec, on_host, clusters)
    return detail


def _tell_of_several(
    detail: JobDetail, seen: Seen, spec: Effective, on_host: bool, clusters: Mapping[str, Cluster]
) -> None:
    """Where there are several containers, each speaks for itself."""
    run, past = _several_now(seen), [_several_past(seen, row) for row in seen.past]
    if spec.ecs is not None and spec.pod is not None:
        detail.container = ContainerDetail()
        detail.ecs_properties = ecs_detail(spec.ecs, spec.pod, seen.definition, run, on_host)
        for attempt, one in zip(detail.attempts or (), past, strict=True):
            attempt.container = AttemptContainerDetail()
            attempt.task_properties = ecs_attempt(spec.pod, seen.definition, one, on_host)
    elif spec.eks is not None:
        detail.container = None
        detail.eks_properties = eks_detail(spec.eks, run)
        detail.attempts = []
        detail.eks_attempts = [eks_attempt(spec, one, clusters.get(one.environment, Cluster())) for one in past]


def _several_now(seen: Seen) -> Run | None:
    if (live := seen.live) is not None and live.code != OFFERED:
        return Run(task_id(live.key), live.environment, live.started, began=live.starting > 0)
    return _several_past(seen, seen.past[-1]) if seen.past else None


def _several_past(seen: Seen, row: AttemptRow) -> Run:
    began = any(end.exit_code is not None for end in row.containers)
    task = task_id(AttemptKey(seen.job, row.index, row.serial))
    return Run(task, row.environment, row.started, row.stopped, row.status_reason, began, row.containers)


def _job_detail(realm: Realm, seen: Seen, spec: Effective, tags: dict[str, str], on_host: bool) -> JobDetail:
    return JobDetail(
        job_arn=job_arn(realm, seen.id),
        job_name=seen.name,
        job_id=seen.id,
        job_queue=seen.queue,
        share_identifier=seen.share or None,
        scheduling_priority=spec.priority,
        status=SHOWN[seen.code],
        attempts=[_attempt(seen, row, on_host) for row in seen.past],
        status_reason=seen.reason or None,
        created_at=seen.created,
        retry_strategy=spec.retry,
        started_at=started_at(seen),
        stopped_at=seen.ended or None,
        depends_on=spec.depends_on,
        job_definition=seen.definition,
        parameters=spec.parameters,
        container=_container(seen, spec),
        array_properties=_array_detail(seen),
        node_details=node_details(seen),
        timeout=spec.timeout,
        tags=tags,
        propagate_tags=spec.propagate_tags,
        platform_capabilities=spec.platforms,
        consumable_resource_properties=spec.consumables,
        eks_attempts=[],
        is_cancelled=True if seen.kinds & CANCEL else None,
        is_terminated=True if seen.kinds & TERMINATE else None,
    )


def _array_detail(seen: Seen) -> ArrayPropertiesDetail | None:
    if not seen.size or seen.main >= 0:
        return None
    if not seen.parent:
        return ArrayPropertiesDetail(status_summary={}, index=seen.index)
    return ArrayPropertiesDetail(
        status_summary=seen.summary, status_summary_last_updated_at=seen.summary_at or None, size=seen.size
    )


def _scheduled(seen: Seen) -> int | None:
    """When the attempt that the summary tells of was placed; absent while the job waits for one."""
    if seen.live is not None and seen.live.code != OFFERED:
        return seen.live.placed
    return seen.past[-1].placed if seen.past and seen.code in ENDED and not seen.parent else None


def job_summary(realm: Realm, seen: Seen, unit: str = "VCPU") -> JobSummary:
    """One item of ListJobs. ``unit``: of capacity, "cpu" on EKS."""
    last = seen.past[-1] if seen.past and seen.code in ENDED else None
    container = ContainerSummary(exit_code=last.exit_code, reason=last.reason or None) if last else None
    return JobSummary(
        job_arn=job_arn(realm, seen.id),
        job_id=seen.id,
        job_name=seen.name,
        capacity_usage=[JobCapacityUsageSummary(capacity_unit=unit, quantity=seen.vcpus / 1000)],
        created_at=seen.created,
        scheduled_at=_scheduled(seen),
        status=SHOWN[seen.code],
        status_reason=seen.reason or None,
        started_at=started_at(seen),
        stopped_at=seen.ended or None,
        container=container,
        array_properties=_array_summary(seen),
        node_properties=node_summary(seen),
        job_definition=seen.definition,
        share_identifier=seen.share or None,
        is_cancelled=True if seen.kinds & CANCEL else None,
        is_terminated=True if seen.kinds & TERMINATE else None,
    )


def _array_summary(seen: Seen) -> ArrayPropertiesSummary | None:
    if not seen.size or seen.main >= 0:
        return None
    if not seen.parent:
        return ArrayPropertiesSummary(index=seen.index)
    return ArrayPropertiesSummary(
        size=seen.size, status_summary=seen.summary, status_summary_last_updated_at=seen.summary_at or None
    )


# ---------------------------------------------------------------------------------------------------- definitions


def definition_view(definition: Definition, tags: dict[str, str]) -> JobDefinition:
    """One item of DescribeJobDefinitions: what was registered, and nothing invented but empty lists."""
    asked = definition_of(definition.doc)
    container = asked.container_properties
    return JobDefinition(
        job_definition_name=definition.name,
        job_definition_arn=definition.arn,
        revision=definition.revision,
        status=definition.status,
        type=asked.type,
        parameters=asked.parameters or {},
        retry_strategy=lowered(asked.retry_strategy),
        container_properties=shown_container(container, on_fargate(asked.platform_capabilities)) if container else None,
        timeout=asked.timeout,
        tags=tags,
        propagate_tags=asked.propagate_tags,
        scheduling_priority=asked.scheduling_priority,
        platform_capabilities=asked.platform_capabilities,
        ecs_properties=asked.ecs_properties,
        eks_properties=asked.eks_properties,
        node_properties=shown_nodes(asked.node_properties),
        container_orchestration_type="EKS" if platforms_of(asked) == ["EKS"] else "ECS",
        consumable_resource_properties=asked.consumable_resource_properties,
    )
