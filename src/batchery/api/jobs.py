"""SubmitJob, CancelJob, CancelJobs, TerminateJob, TerminateJobs.

Sources: API_SubmitJob, API_CancelJob, API_CancelJobs, API_TerminateJob, API_TerminateJobs. What these mean for a job in
which state is the core's to say; here is what may be asked, and who may ask.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from batchery.api.call import Call, operation
from batchery.api.consumables import units
from batchery.api.shapes import (
    CancelJobRequest,
    CancelJobResponse,
    CancelJobsErrorDetail,
    CancelJobsRequest,
    CancelJobsResponse,
    SubmitJobRequest,
    SubmitJobResponse,
    TerminateJobRequest,
    TerminateJobResponse,
    TerminateJobsErrorDetail,
    TerminateJobsRequest,
    TerminateJobsResponse,
)
from batchery.api.tags import check_tags
from batchery.config import Config, engine_for
from batchery.core import query
from batchery.core.messages import Cancel, Many, NeedFacts, Refused, Submit, Terminate
from batchery.core.model import ACTIVE, DELETING, ENABLED, INVALID, NO_GANGS, Definition, Queue, Realm, Shape, task_ref
from batchery.core.shares import NO_PRIORITY, NO_SHARE, NOT_FAIR
from batchery.spec.consumables import in_effect
from batchery.spec.effective import definition_of, effective
from batchery.spec.names import definition_ref, job_arn
from batchery.spec.nodes import check_overrides, count_of, groups_of, node_overrides_of, range_docs
from batchery.spec.place import place_of
from batchery.spec.podorder import WITHOUT_IMAGES
from batchery.spec.submission import (
    array_size,
    check_form,
    combined_tags_fault,
    job_shape,
    needs_of,
    overrides_text,
    platforms_of,
    runs_on,
)

# --------------------------------------------------------------------------------------------------------- submit


@operation
async def submit_job(call: Call, ask: SubmitJobRequest) -> SubmitJobResponse:
    """In order: form, queue, definition, permission, kinds, overrides and references, dependencies."""
    limits = call.service.config.limits
    check_form(ask, len(call.body), limits)
    if ask.tags:
        check_tags(call, ask.tags)
    queue = _queue(call, ask.job_queue)
    definition = _definition(call, ask.job_definition)
    job = call.service.new_id()
    body = call.body.decode()
    consumables = _consumables(call, ask, definition, body)
    call.allow("batch:SubmitJob", definition.arn, queue.arn, *(arn for arn, _ in consumables))
    if ask.tags:
        call.allow("batch:TagResource", job_arn(call.realm, job))
    _check_kinds(call, ask, queue, definition)
    if call.service.look(query.submitted_count) >= limits.submitted:
        raise Refused(f"There can be at most {limits.submitted} jobs in SUBMITTED", wrapped=True)  # ours
    shape = await _shape(call, ask, definition, queue)
    if consumables:
        shape = replace(shape, consumables=consumables, units=_units(call, definition, body))
    size = array_size(ask, limits)
    if size and shape.gang:
        raise Refused("An array job cannot be a multi-node parallel job", wrapped=True)  # ours
    needs = needs_of(ask, size)
    command = Submit(
        realm=call.realm,
        id=job,
        name=ask.job_name,
        queue=queue.arn,
        definition=definition.arn,
        shape=shape,
        spec=body,
        size=len(shape.gang) or size,
        share=ask.share_identifier or "",
        needs=needs,
        tags=ask.tags or {},
        most_shares=limits.share_identifiers,
    )
    return await _submit(call, command)


async def _submit(call: Call, command: Submit) -> SubmitJobResponse:
    """Read dependencies that World does not hold from the store, as often as it asks for some."""

    def respond(_: None) -> SubmitJobResponse:
        return SubmitJobResponse(job_arn=job_arn(command.realm, command.id), job_name=command.name, job_id=command.id)

    while True:
        try:
            answer: SubmitJobResponse = await call.submit(command, respond)
            return answer
        except NeedFacts as need:
            ghosts = await call.service.reads.ghosts(list(need.jobs))
            missing = tuple(job for job in need.jobs if job not in ghosts)
            command = replace(command, facts=(*command.facts, *ghosts.values()), no_facts=(*command.no_facts, *missing))


def _queue(call: Call, ref: str) -> Queue:
    queue = call.service.look(query.resolve_queue, call.realm, ref)
    if queue is None or queue.status == DELETING:
        raise Refused(f"JobQueue {ref} not found.")
    if queue.state != ENABLED:
        raise Refused(f"Job queue {queue.name} is not ENABLED", wrapped=True)  # ours
    if queue.status == INVALID:
        raise Refused(f"Job queue {queue.name} is not VALID", wrapped=True)  # ours
    return queue


def _definition(call: Call, text: str) -> Definition:
    ref = definition_ref(text)
    if ref is None:
        raise Refused(f"Provided name {text} is not supported pattern[a-zA-Z_0-9-]{{1,128}}")
    found = None
    if ref.realm is None or ref.realm == call.realm:
        found = call.service.look(query.resolve_definition, call.realm, ref.name, ref.revision)
    if found is None and ref.realm is not None:
        raise Refused(f"JobDefinition {text} not found.")
    if found is None or found.status != ACTIVE:
        raise Refused(f"JobDefinition name {text} does not exist or is not in ACTIVE status")
    return found


def _check_kinds(call: Call, ask: SubmitJobRequest, queue: Queue, definition: Definition) -> None:
    """The queue's policy, and whether its environments offer what the definition was registered for."""
    if queue.policy:
        if not ask.share_identifier:
            raise Refused(NO_SHARE)
        registered = definition_of(definition.doc).scheduling_priority
        if registered is None and ask.scheduling_priority_override is None:
            raise Refused(NO_PRIORITY)
    elif ask.share_identifier is not None or ask.scheduling_priority_override is not None:
        raise Refused(NOT_FAIR)
    look, realm = call.service.look, call.realm
    found = [look(query.resolve_environment, realm, arn) for _, arn in queue.order]
    kinds = {environment.kind for environment in found if environment is not None}
    if definition_of(definition.doc).node_properties is not None and not kinds - NO_GANGS:
        raise Refused(f"Multi-node parallel jobs cannot run on {', '.join(sorted(kinds))}.")  # ours
    unserved = runs_on(platforms_of(definition_of(definition.doc)), kinds)
    if unserved:
        raise Refused(f"Job Queue is attached to Compute Environment that can not run Jobs with capability {unserved}.")


def _consumables(call: Call, ask: SubmitJobRequest, definition: Definition, body: str) -> tuple[tuple[str, int], ...]:
    """What each attempt, or a multi-node job in all, holds: (ARN, units). nodeOverrides are checked here first."""
    properties = definition_of(definition.doc).node_properties
    if properties is not None:
        check_overrides(ask.node_overrides, properties, call.service.config.limits)
        counts = Counter(groups_of(properties, count_of(properties, ask.node_overrides)))
        each = [effective(*range_docs(definition.doc, body, group)).consumables for group in counts]
        return units(call, *zip(counts.values(), each, strict=True)) if any(each) else ()
    given = definition_of(definition.doc).consumable_resource_properties
    wanted = in_effect(given, ask.consumable_resource_properties_override)
    return units(call, (1, wanted)) if wanted is not None else ()


def _units(call: Call, definition: Definition, body: str) -> tuple[tuple[tuple[str, int], ...], ...]:
    """What each node of a multi-node job holds; empty for other jobs."""
    properties = definition_of(definition.doc).node_properties
    if properties is None:
        return ()
    groups = groups_of(properties, count_of(properties, node_overrides_of(body)))
    specs = {group: effective(*range_docs(definition.doc, body, group)) for group in set(groups)}
    of_group = {group: units(call, (1, spec.consumables)) for group, spec in specs.items()}
    return tuple(of_group[group] for group in groups)


def _settings_at(call: Call, queue: Queue) -> Config:
    """The settings as they are for the engine of the queue's environments; of several, for one of host processes."""
    config = call.service.config
    if not config.engines.all():
        return config
    found = [call.service.look(query.resolve_environment, call.realm, arn) for _, arn in queue.order]
    engines = [engine_for(config, one.name, one.kind) for one in found if one is not None]
    strictest = next((name for name in engines if name in WITHOUT_IMAGES), None)
    return replace(config, engine=strictest or next(iter(engines), config.engine))


async def _shape(call: Call, ask: SubmitJobRequest, definition: Definition, queue: Queue) -> Shape:
    config = _settings_at(call, queue)
    most, place = config.limits.override_bytes, place_of(config)
    shape = job_shape(ask, definition.doc, definition.name, len(call.body), most, place)
    if ask.tags and not shape.fault and (merged := effective(definition.doc, overrides_text(ask))).propagate_tags:
        tags = (await call.service.reads.tags([definition.arn])).get(definition.arn, {})
        return replace(shape, fault=combined_tags_fault(merged, ask.tags, tags, config.limits.tags))
    return shape


# ------------------------------------------------------------------------------------------- cancel and terminate


def check_reason(call: Call, reason: str) -> None:
    """That there is one is the wire's to check, as of jobId."""
    most = call.service.config.limits.reason_chars
    if len(reason) > most:
        raise call.refuse(f"Reason must be at most {most} characters")  # ours


def _check_one(call: Call, action: str, job: str, reason: str) -> None:
    check_reason(call, reason)
    call.allow(action, job_arn(call.realm, job))


@operation
async def cancel_job(call: Call, ask: CancelJobRequest) -> CancelJobResponse:
    """An id that names no job, or one with nothing to cancel, is a success without effect."""
    _check_one(call, "batch:CancelJob", ask.job_id, ask.reason)
    await call.submit(Cancel(call.realm, task_ref(ask.job_id), ask.reason))
    return CancelJobResponse()


@operation
async def terminate_job(call: Call, ask: TerminateJobRequest) -> TerminateJobResponse:
    """As CancelJob, and what runs is ended too."""
    _check_one(call, "batch:TerminateJob", ask.job_id, ask.reason)
    await call.submit(Terminate(call.realm, task_ref(ask.job_id), ask.reason))
    return TerminateJobResponse()


@operation
async def cancel_jobs(call: Call, ask: CancelJobsRequest) -> CancelJobsResponse:
    """Each job by itself: an id that names no job is among the successful ones, as AWS answers."""
    jobs = check_many(call, "batch:CancelJob", ask.jobs, ask.reason)
    answer: CancelJobsResponse = await bulk(
        call,
        jobs,
        Many(tuple(Cancel(call.realm, task_ref(job), ask.reason) for job in jobs)),
        lambda done, failed: CancelJobsResponse(
            successful=done, errors=[CancelJobsErrorDetail(job=j, code=c, message=m) for j, c, m in failed]
        ),
    )
    return answer


@operation
async def terminate_jobs(call: Call, ask: TerminateJobsRequest) -> TerminateJobsResponse:
    """Each job by itself, as in CancelJobs."""
    jobs = check_many(call, "batch:TerminateJob", ask.jobs, ask.reason)
    answer: TerminateJobsResponse = await bulk(
        call,
        jobs,
        Many(tuple(Terminate(call.realm, task_ref(job), ask.reason) for job in jobs)),
        lambda done, failed: TerminateJobsResponse(
            successful=done, errors=[TerminateJobsErrorDetail(job=j, code=c, message=m) for j, c, m in failed]
        ),
    )
    return answer


def check_many(
    call: Call, action: str, jobs: list[str], reason: str, arn: Callable[[Realm, str], str] = job_arn
) -> list[str]:
    """The ids, each once. Whoever may not end one of them ends none."""
    most = call.service.config.limits.bulk_ids
    if not jobs or not all(jobs):
        raise call.refuse("'jobs' is a required field (cannot be an empty string)", wrapped=False)
    if len(jobs) > most:
        raise call.refuse(f"Maximum number of jobs supported is  {most} .")  # after DescribeJobs' text
    check_reason(call, reason)
    unique = list(dict.fromkeys(jobs))
    call.allow(action, *(arn(call.realm, job) for job in unique))
    return unique


_Failed = list[tuple[str, str, str]]  # job, code, message


async def bulk(call: Call, jobs: list[str], many: Many, shape: Callable[[list[str], _Failed], Any]) -> Any:
    def respond(answers: list[Exception | None]) -> Any:
        done = [job for job, error in zip(jobs, answers, strict=True) if error is None]
        failed = [
            (job, "ClientException", str(error)) for job, error in zip(jobs, answers, strict=True) if error is not None
        ]
        return shape(done, failed)

    return await call.submit(many, respond)
