"""DescribeServiceJob and ListServiceJobs, and the one place where the field names of service jobs are mapped.

Sources: API_DescribeServiceJob, API_ListServiceJobs and their structures. Order of ListServiceJobs: newest first.
"""

from typing import Final

from batchery.api.call import Call, operation
from batchery.api.listing import Page, of_queue, only_filter
from batchery.api.paging import decode_token, encode_token
from batchery.api.shapes import (
    DescribeServiceJobRequest,
    DescribeServiceJobResponse,
    LatestServiceJobAttempt,
    ListServiceJobsRequest,
    ListServiceJobsResponse,
    ServiceJobAttemptDetail,
    ServiceJobCapacityUsageDetail,
    ServiceJobCapacityUsageSummary,
    ServiceJobEvaluateOnExit,
    ServiceJobPreemptedAttempt,
    ServiceJobPreemptionSummary,
    ServiceJobRetryStrategy,
    ServiceJobSummary,
    ServiceResourceId,
)
from batchery.api.sight import Sighting
from batchery.api.views import Seen, started_at
from batchery.core import query
from batchery.core.instances import SERVICE
from batchery.core.model import PREEMPTED, TERMINATE, Attempt, AttemptKey, Realm, World, task_id
from batchery.core.shares import QUOTA
from batchery.core.status import ENDED, LIVE, OFFERED, SERVICE_CODES, SHOWN
from batchery.spec.names import service_job_arn, training_job_arn
from batchery.spec.service import request_of
from batchery.store.store import AttemptRow

RECENT: Final = 10  #: preempted attempts that are told
_LIST: Final = "ListServiceJobs"
_FILTERS: Final = ("JOB_NAME", "BEFORE_CREATED_AT", "AFTER_CREATED_AT", "SHARE_IDENTIFIER", "QUOTA_SHARE_NAME")


@operation
async def describe_service_job(call: Call, ask: DescribeServiceJobRequest) -> DescribeServiceJobResponse:
    call.allow("batch:DescribeServiceJob", service_job_arn(call.realm, ask.job_id))
    sighting = Sighting(call.service, call.realm, True)
    found = await sighting.of_ids([ask.job_id])
    spec = (await call.service.reads.specs([found[0].seq])).get(found[0].seq) if found else None
    if spec is None:
        raise call.refuse(f"Service job {ask.job_id} does not exist", wrapped=False)  # ours
    seen = found[0]
    await sighting.add_attempts(found)
    rows = await call.service.reads.attempts(seen.seq, None)
    arn = service_job_arn(call.realm, seen.id)
    tags = (await call.service.reads.tags([arn])).get(arn, {})
    quota = await call.service.ask(_has_quotas, seen.queue)
    sent, last = request_of(spec), _latest(call.realm, seen)
    return DescribeServiceJobResponse(
        attempts=[_attempt(call.realm, seen, row) for row in seen.past],
        capacity_usage=[ServiceJobCapacityUsageDetail(capacity_unit=u, quantity=float(n)) for u, n in seen.instances],
        created_at=seen.created,
        is_terminated=True if seen.kinds & TERMINATE else None,
        job_arn=arn,
        job_id=seen.id,
        job_name=seen.name,
        job_queue=seen.queue,
        latest_attempt=last,
        retry_strategy=_retry(sent.retry_strategy),
        scheduled_at=_scheduled(seen),
        scheduling_priority=seen.priority,
        service_request_payload=sent.service_request_payload,
        service_job_type=SERVICE,
        share_identifier=None if quota else seen.share or None,
        quota_share_name=seen.share if quota else None,
        preemption_configuration=sent.preemption_configuration,
        preemption_summary=_preempted(call.realm, seen, rows),
        started_at=started_at(seen),
        status=_status(seen),
        status_reason=seen.reason or None,
        stopped_at=seen.ended or None,
        tags=tags,
        timeout_config=sent.timeout_config,
    )


@operation
async def list_service_jobs(call: Call, ask: ListServiceJobsRequest) -> ListServiceJobsResponse:
    """Of a queue: of one status, RUNNING if none is named; or by one filter, whatever the status. A filter by share can
    be used with a status."""
    call.allow("batch:ListServiceJobs")
    if not ask.job_queue:
        raise call.refuse("jobQueue must be set")  # ours
    wanted = only_filter(call, ask.filters or [], _FILTERS)
    most = call.service.config.limits.page
    if ask.max_results is not None and not 1 <= ask.max_results <= most:
        raise call.refuse(f"maxResults must be between 1 and {most}")  # ours
    by_share = wanted is not None and wanted[0] in ("SHARE_IDENTIFIER", "QUOTA_SHARE_NAME")
    status = (ask.job_status or "" if by_share else "") if wanted else ask.job_status or "RUNNING"
    params = [ask.job_queue, status, wanted]
    page = Page(
        codes=SERVICE_CODES[status] if status else (),
        filter=wanted,
        limit=ask.max_results or most,
        after=decode_token(_LIST, params, ask.next_token) if ask.next_token else None,
    )
    found = await of_queue(call, ask.job_queue, page, service=True)
    shown = found[: page.limit]
    queue = await call.service.ask(query.resolve_queue, call.realm, ask.job_queue)
    quota = queue is not None and await call.service.ask(_has_quotas, queue.arn)
    token = encode_token(_LIST, params, shown[-1][0]) if len(found) > page.limit else None
    return ListServiceJobsResponse(
        job_summary_list=[_summary(call.realm, seen, quota) for _, seen in shown], next_token=token
    )


def _has_quotas(world: World, queue: str) -> bool:
    """Whether what jobs of a queue (ARN) name is a quota share."""
    found = world.queues.get(queue)
    policy = world.policies.get(found.policy) if found is not None else None
    return policy is not None and policy.kind == QUOTA


def _retry(sent: ServiceJobRetryStrategy | None) -> ServiceJobRetryStrategy | None:
    """With actions as the model spells them, however they were sent."""
    if sent is None or sent.evaluate_on_exit is None:
        return sent
    entries = [
        ServiceJobEvaluateOnExit(action=(one.action or "").upper(), on_status_reason=one.on_status_reason)
        for one in sent.evaluate_on_exit
    ]
    return ServiceJobRetryStrategy(attempts=sent.attempts, evaluate_on_exit=entries)


def _status(seen: Seen) -> str:
    return "SCHEDULED" if seen.code == OFFERED else SHOWN[seen.code]


def _resource(realm: Realm, key: AttemptKey, log_stream: str) -> ServiceResourceId:
    """The training job that an attempt is: its name is the first part of its log stream's."""
    name = log_stream.partition("/")[0]
    return ServiceResourceId(name="TrainingJobArn", value=training_job_arn(realm, name, task_id(key)))


def _of_row(realm: Realm, seen: Seen, row: AttemptRow) -> ServiceResourceId:
    return _resource(realm, AttemptKey(seen.job, row.index, row.serial), row.log_stream)


def _attempt(realm: Realm, seen: Seen, row: AttemptRow) -> ServiceJobAttemptDetail:
    return ServiceJobAttemptDetail(
        service_resource_id=_of_row(realm, seen, row),
        started_at=row.started or None,
        stopped_at=row.stopped or None,
        status_reason=row.status_reason or None,
    )


def _latest(realm: Realm, seen: Seen) -> LatestServiceJobAttempt | None:
    live: Attempt | None = seen.live
    if live is not None:
        return LatestServiceJobAttempt(service_resource_id=_resource(realm, live.key, live.log_stream))
    if seen.past:
        return LatestServiceJobAttempt(service_resource_id=_of_row(realm, seen, seen.past[-1]))
    return None


def _scheduled(seen: Seen) -> int | None:
    if seen.live is not None:
        return seen.live.placed
    return seen.past[-1].placed if seen.past and seen.code in ENDED else None


def _preempted(realm: Realm, seen: Seen, rows: list[AttemptRow]) -> ServiceJobPreemptionSummary | None:
    """Of all attempts that had ended when the job was seen."""
    last = seen.serial if seen.code not in ENDED else 1 << 62
    mine = [row for row in rows if row.cause == PREEMPTED and row.code not in LIVE and row.serial <= last]
    if not mine:
        return None
    return ServiceJobPreemptionSummary(
        preempted_attempt_count=len(mine),
        recent_preempted_attempts=[
            ServiceJobPreemptedAttempt(
                service_resource_id=_of_row(realm, seen, row),
                started_at=row.started or None,
                stopped_at=row.stopped or None,
                status_reason=row.status_reason or None,
            )
            for row in mine[-RECENT:]
        ],
    )


def _summary(realm: Realm, seen: Seen, quota: bool) -> ServiceJobSummary:
    return ServiceJobSummary(
        latest_attempt=_latest(realm, seen),
        capacity_usage=[ServiceJobCapacityUsageSummary(capacity_unit=u, quantity=float(n)) for u, n in seen.instances],
        created_at=seen.created,
        job_arn=service_job_arn(realm, seen.id),
        job_id=seen.id,
        job_name=seen.name,
        scheduled_at=_scheduled(seen),
        service_job_type=SERVICE,
        share_identifier=None if quota else seen.share or None,
        quota_share_name=seen.share if quota else None,
        status=_status(seen),
        status_reason=seen.reason or None,
        started_at=started_at(seen),
        stopped_at=seen.ended or None,
        is_terminated=True if seen.kinds & TERMINATE else None,
    )
