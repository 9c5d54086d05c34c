"""SubmitServiceJob, UpdateServiceJob, TerminateServiceJob, TerminateServiceJobs.

Sources: API_SubmitServiceJob and its structures. What the payload may be is spec/service.py's to say, what becomes of
the job the core's. Texts are ours but for those of SubmitJob.
"""

from hashlib import blake2b

from batchery.api.call import Call, operation
from batchery.api.jobs import bulk, check_many, check_reason
from batchery.api.shapes import (
    SubmitServiceJobRequest,
    SubmitServiceJobResponse,
    TerminateServiceJobRequest,
    TerminateServiceJobResponse,
    TerminateServiceJobsErrorDetail,
    TerminateServiceJobsRequest,
    TerminateServiceJobsResponse,
    UpdateServiceJobRequest,
    UpdateServiceJobResponse,
)
from batchery.api.tags import check_tags
from batchery.core import query
from batchery.core.instances import SERVICE
from batchery.core.messages import Many, Refused, SubmitService, Terminate, UpdateServiceJob
from batchery.core.model import DELETING, ENABLED, INVALID, Queue, task_ref
from batchery.core.shares import FAIR, NO_SHARE, NOT_FAIR, QUOTA
from batchery.spec.names import JOB_NAME, name_of, service_job_arn
from batchery.spec.service import MOST_PRIORITY, check_form, check_runs, payload_of, shape_of, template_of
from batchery.spec.submission import check_share


@operation
async def submit_service_job(call: Call, ask: SubmitServiceJobRequest) -> SubmitServiceJobResponse:
    """In order: form, queue, permission, payload, share."""
    config = call.service.config
    if JOB_NAME.fullmatch(ask.job_name) is None:
        raise call.refuse("Job name should match valid pattern")
    check_form(ask, config.limits)
    check_tags(call, ask.tags)
    queue = _queue(call, ask.job_queue)
    job = call.service.new_id()
    call.allow("batch:SubmitServiceJob", queue.arn, service_job_arn(call.realm, job))
    if ask.tags:
        call.allow("batch:TagResource", service_job_arn(call.realm, job))
    payload = payload_of(ask.service_request_payload, config.limits)
    for _, arn in queue.order:
        check_runs(payload, template_of(config, name_of(arn)), config.services.data)
    command = SubmitService(
        realm=call.realm,
        id=job,
        name=ask.job_name,
        queue=queue.arn,
        shape=shape_of(ask, payload, template_of(config, name_of(queue.order[0][1]))),
        spec=call.body.decode(),
        share=_share(call, ask, queue),
        tags=ask.tags or {},
        token=_token(call, ask),
        most_shares=config.limits.share_identifiers,
    )
    response = SubmitServiceJobResponse(job_arn=service_job_arn(call.realm, job), job_name=ask.job_name, job_id=job)
    await call.submit(command, lambda _: response)
    return response


def _queue(call: Call, ref: str) -> Queue:
    queue = call.service.look(query.resolve_queue, call.realm, ref)
    if queue is None or queue.status == DELETING:
        raise Refused(f"JobQueue {ref} not found.")
    if queue.state != ENABLED:
        raise Refused(f"Job queue {queue.name} is not ENABLED", wrapped=True)
    if queue.status == INVALID:
        raise Refused(f"Job queue {queue.name} is not VALID", wrapped=True)
    if queue.type != SERVICE:
        raise Refused(f"Service jobs need a job queue of type {SERVICE}", wrapped=True)
    return queue


def _share(call: Call, ask: SubmitServiceJobRequest, queue: Queue) -> str:
    """The share that the queue's policy wants."""
    policy = call.service.look(query.resolve_policy, call.realm, queue.policy) if queue.policy else None
    if policy is not None and policy.kind == QUOTA:
        if not ask.quota_share_name or ask.share_identifier is not None:
            raise Refused("quotaShareName must be specified, and no shareIdentifier", wrapped=True)
        return ask.quota_share_name
    if ask.quota_share_name is not None or ask.preemption_configuration is not None:
        raise Refused(
            "quotaShareName and preemptionConfiguration need a job queue with a quotaSharePolicy", wrapped=True
        )
    if policy is None or policy.kind != FAIR:
        if ask.share_identifier is not None:
            raise Refused(NOT_FAIR)
        return ""
    if not ask.share_identifier:
        raise Refused(NO_SHARE)
    check_share(ask.share_identifier)
    return ask.share_identifier


def _token(call: Call, ask: SubmitServiceJobRequest) -> str:
    """The clientToken with a digest of the request: only the same request again is rejected."""
    if not ask.client_token:
        return ""
    return f"{blake2b(call.body, digest_size=16).hexdigest()} {ask.client_token}"


@operation
async def update_service_job(call: Call, ask: UpdateServiceJobRequest) -> UpdateServiceJobResponse:
    """Another schedulingPriority, whatever else the job does: it counts where the queue has a policy."""
    arn = service_job_arn(call.realm, ask.job_id)
    call.allow("batch:UpdateServiceJob", arn)
    if not 0 <= ask.scheduling_priority <= MOST_PRIORITY:
        raise call.refuse(f"schedulingPriority must be between 0 and {MOST_PRIORITY}")
    found = call.service.look(query.facts, call.realm, [ask.job_id], True).get(ask.job_id)
    name = found.name if found is not None else ""
    response = UpdateServiceJobResponse(job_arn=arn, job_name=name, job_id=ask.job_id)
    await call.submit(UpdateServiceJob(call.realm, ask.job_id, ask.scheduling_priority), lambda _: response)
    return response


@operation
async def terminate_service_job(call: Call, ask: TerminateServiceJobRequest) -> TerminateServiceJobResponse:
    """An id that names no job, or one that has ended, is a success without effect, as of TerminateJob."""
    check_reason(call, ask.reason)
    call.allow("batch:TerminateServiceJob", service_job_arn(call.realm, ask.job_id))
    await call.submit(Terminate(call.realm, task_ref(ask.job_id), ask.reason, service=True))
    return TerminateServiceJobResponse()


@operation
async def terminate_service_jobs(call: Call, ask: TerminateServiceJobsRequest) -> TerminateServiceJobsResponse:
    """Each job by itself, as in TerminateJobs."""
    jobs = check_many(call, "batch:TerminateServiceJob", ask.jobs, ask.reason, service_job_arn)
    answer: TerminateServiceJobsResponse = await bulk(
        call,
        jobs,
        Many(tuple(Terminate(call.realm, task_ref(job), ask.reason, service=True) for job in jobs)),
        lambda done, failed: TerminateServiceJobsResponse(
            successful=done, errors=[TerminateServiceJobsErrorDetail(job=j, code=c, message=m) for j, c, m in failed]
        ),
    )
    return answer
