"""DescribeJobs and ListJobs.

Sources: API_DescribeJobs, API_ListJobs, user guide "Array jobs". Order of ListJobs: newest first; children by index.
"""

from typing import Final

import msgspec
from msgspec import Struct

from batchery.api.call import Call, operation
from batchery.api.nodeviews import node_properties
from batchery.api.paging import decode_token, encode_token
from batchery.api.podviews import Cluster
from batchery.api.shapes import (
    ComputeEnvironmentDetail,
    DescribeJobsRequest,
    DescribeJobsResponse,
    JobDetail,
    KeyValuesPair,
    ListJobsRequest,
    ListJobsResponse,
)
from batchery.api.sight import Sighting
from batchery.api.views import Seen, job_detail, job_summary
from batchery.core import query
from batchery.core.instances import SERVICE
from batchery.core.model import Realm, World
from batchery.core.query import Facts
from batchery.core.shares import share_shelf
from batchery.core.status import CODES_SHOWN_AS, ENDED
from batchery.spec.effective import effective
from batchery.spec.names import definition_ref, job_arn
from batchery.spec.nodes import node_docs

_LIST: Final = "ListJobs"
_TOP: Final = 1 << 62  #: above every sequence number
_FILTERS: Final = ("JOB_NAME", "JOB_DEFINITION", "BEFORE_CREATED_AT", "AFTER_CREATED_AT", "SHARE_IDENTIFIER")

# ------------------------------------------------------------------------------------------------------- describe


@operation
async def describe_jobs(call: Call, ask: DescribeJobsRequest) -> DescribeJobsResponse:
    """In the order of the request, each once; unknown ids are left out."""
    call.allow("batch:DescribeJobs")
    most = call.service.config.limits.describe_jobs
    if len(ask.jobs) > most:
        raise call.refuse(f"Maximum number of jobs supported is  {most} .")
    sighting = Sighting(call.service, call.realm)
    found = await sighting.of_ids(list(dict.fromkeys(ask.jobs)))
    if not found:
        return DescribeJobsResponse(jobs=[])
    await sighting.add_attempts(found)
    reads = call.service.reads
    specs = await reads.specs(list({seen.seq for seen in found}))
    tags = await reads.tags([job_arn(call.realm, seen.id) for seen in found if seen.index is None])
    docs = await call.service.ask(_documents, call.realm, {seen.definition for seen in found})
    clusters = await _clusters(call, [seen for seen in found if '"eksProperties"' in docs[seen.definition]])
    return DescribeJobsResponse(
        jobs=[
            _detail(call.realm, seen, docs[seen.definition], specs[seen.seq], tags, clusters)
            for seen in found
            if seen.seq in specs  # not forgotten meanwhile
        ]
    )


def _detail(
    realm: Realm, seen: Seen, doc: str, spec: str, tags: dict[str, dict[str, str]], clusters: dict[str, Cluster]
) -> JobDetail:
    texts = (doc, spec) if seen.main < 0 else node_docs(doc, spec, seen.task)
    detail = job_detail(realm, seen, effective(*texts), tags.get(job_arn(realm, seen.id), {}), clusters)
    if seen.main >= 0 and seen.index is None:
        detail.node_properties = node_properties(doc, spec)
        detail.consumable_resource_properties = None  # they stand with the nodes
    return detail


async def _clusters(call: Call, jobs: list[Seen]) -> dict[str, Cluster]:
    """What the environments of these jobs' attempts say of their clusters."""
    arns = {row.environment for seen in jobs for row in seen.past}
    return await call.service.ask(_described, call.realm, arns) if arns else {}


def _described(world: World, realm: Realm, arns: set[str]) -> dict[str, Cluster]:
    clusters = {}
    for arn in arns:
        found = query.resolve_environment(world, realm, arn)
        eks = msgspec.json.decode(found.doc, type=ComputeEnvironmentDetail).eks_configuration if found else None
        if eks is not None:
            clusters[arn] = Cluster(eks.eks_cluster_arn, eks.kubernetes_namespace)
    return clusters


def _documents(world: World, realm: Realm, arns: set[str]) -> dict[str, str]:
    """The docs of these definitions (ARNs with revision), which stay as long as a job refers to them."""
    docs = {}
    for arn in arns:
        ref = definition_ref(arn)
        found = query.resolve_definition(world, realm, ref.name, ref.revision) if ref else None
        assert found is not None, f"{arn} is kept as long as jobs refer to it"
        docs[arn] = found.doc
    return docs


# ----------------------------------------------------------------------------------------------------------- list


class Page(Struct, frozen=True):
    """What one call lists. ``filter``: name and value, or None. ``after``: the cursor of the page before."""

    codes: tuple[int, ...]
    filter: tuple[str, str] | None
    limit: int
    after: int | None


#: Jobs and the cursor of each.
Found = list[tuple[int, Seen]]


@operation
async def list_jobs(call: Call, ask: ListJobsRequest) -> ListJobsResponse:
    """Of a queue or of an array; one status, RUNNING if none is named; or by one filter, whatever the status.

    The filter SHARE_IDENTIFIER and jobStatus can be used together.
    """
    call.allow("batch:ListJobs")
    places = [place for place in (ask.job_queue, ask.array_job_id, ask.multi_node_job_id) if place]
    if len(places) != 1:
        raise call.refuse("Exactly one of jobQueue, arrayJobId and multiNodeJobId must be set")  # ours
    wanted = _filter(call, ask)
    most = call.service.config.limits.page if wanted else call.service.config.limits.page_jobs
    if ask.max_results is not None and not 1 <= ask.max_results <= most:
        raise call.refuse(f"maxResults must be between 1 and {most}")  # ours
    status = ask.job_status or ("" if wanted else "RUNNING")
    params = [ask.job_queue, ask.array_job_id, ask.multi_node_job_id, status, wanted]
    page = Page(
        codes=CODES_SHOWN_AS[status] if status else (),
        filter=wanted,
        limit=ask.max_results or most,
        after=decode_token(_LIST, params, ask.next_token) if ask.next_token else None,
    )
    if ask.job_queue:
        found = await of_queue(call, ask.job_queue, page)
    else:
        found = await _of_array(
            call, ask.array_job_id or ask.multi_node_job_id or "", bool(ask.multi_node_job_id), page
        )
    shown = found[: page.limit]
    token = encode_token(_LIST, params, shown[-1][0]) if len(found) > page.limit else None
    units = await call.service.ask(query.capacity_units, {seen.queue for _, seen in shown})
    return ListJobsResponse(
        job_summary_list=[job_summary(call.realm, seen, units[seen.queue]) for _, seen in shown], next_token=token
    )


def _filter(call: Call, ask: ListJobsRequest) -> tuple[str, str] | None:
    """Filters do not apply to children (API_ListJobs)."""
    return only_filter(call, ask.filters or [], _FILTERS) if ask.job_queue else None


def only_filter(call: Call, filters: list[KeyValuesPair], known: tuple[str, ...]) -> tuple[str, str] | None:
    """The one filter, checked."""
    if not filters:
        return None
    if len(filters) > 1:
        raise call.refuse("At most one filter can be used")  # ours
    name, value = _pair(call, filters[0])
    if name not in known:
        raise call.refuse(f"Filter name must be one of {', '.join(known)}, not {name}")  # ours
    if name.endswith("_CREATED_AT") and not (value.isascii() and value.isdigit() and len(value) < 19):
        raise call.refuse(f"The value of filter {name} must be milliseconds since the epoch, not {value}")  # ours
    return name, value


def _pair(call: Call, pair: KeyValuesPair) -> tuple[str, str]:
    if not pair.name or len(pair.values or ()) != 1:
        raise call.refuse("A filter must have a name and exactly one value")  # ours
    return pair.name, (pair.values or [""])[0]


async def of_queue(call: Call, ref: str, page: Page, service: bool = False) -> Found:
    """One more than asked for, if there is one. Service jobs, or all others."""
    queue = await call.service.ask(query.resolve_queue, call.realm, ref)
    if queue is None:
        raise call.refuse(f"JobQueue {ref} not found.", wrapped=False)
    if (queue.type == SERVICE) != service:
        return []
    before = _TOP if page.after is None else page.after
    sighting = Sighting(call.service, call.realm, service)
    if page.filter is not None and page.filter[0] in ("SHARE_IDENTIFIER", "QUOTA_SHARE_NAME"):
        return await _of_share(call, queue.arn, page.filter[1], page, before, sighting)
    if page.filter is not None:
        return await _filtered(call, queue.arn, page.filter, before, page.limit + 1, sighting)
    if page.codes[0] not in ENDED:
        facts: list[Facts] = await call.service.ask(query.open_page, queue.arn, page.codes, before, page.limit + 1)
        return [(seen.seq, seen) for seen in await sighting.of_facts(facts)]
    rows = await call.service.reads.page(queue.arn, codes=page.codes, before=before, limit=page.limit + 1)
    found = await sighting.of_rows(rows)
    await sighting.add_attempts(found, last_only=True)
    return [(seen.seq, seen) for seen in found]


async def _filtered(
    call: Call, queue: str, wanted: tuple[str, str], before: int, limit: int, sighting: Sighting
) -> Found:
    """Every status."""
    name, value = wanted
    rows = await call.service.reads.page(
        queue,
        codes=None,
        before=before,
        limit=limit,
        name=value if name == "JOB_NAME" else None,
        definition=value if name == "JOB_DEFINITION" else None,
        created_before=int(value) if name == "BEFORE_CREATED_AT" else None,
        created_after=int(value) if name == "AFTER_CREATED_AT" else None,
    )
    found = await sighting.of_ids([row.id for row in rows])
    await sighting.add_attempts([seen for seen in found if seen.code in ENDED], last_only=True)
    return [(seen.seq, seen) for seen in found]


async def _of_share(call: Call, queue: str, share: str, page: Page, before: int, sighting: Sighting) -> Found:
    """Every status, or one where jobStatus was given (``page.codes``)."""
    want = page.limit + 1
    if page.codes and page.codes[0] not in ENDED:
        shelf = share_shelf(queue, share)
        facts: list[Facts] = await call.service.ask(query.open_page, shelf, page.codes, before, want)
        return [(seen.seq, seen) for seen in await sighting.of_facts(facts)]
    rows = await call.service.reads.page(queue, codes=page.codes or None, before=before, limit=want, share=share)
    found = await sighting.of_ids([row.id for row in rows])
    await sighting.add_attempts([seen for seen in found if seen.code in ENDED], last_only=True)
    return [(seen.seq, seen) for seen in found]


async def _of_array(call: Call, ref: str, nodes: bool, page: Page) -> Found:
    """Children, or nodes, by index, one more than asked for if there is one. An id that names no such job has none."""
    service, after = call.service, -1 if page.after is None else page.after
    sighting = Sighting(service, call.realm)
    facts = await service.ask(query.children_page, call.realm, ref, page.codes, after, page.limit + 1)
    if facts is not None:
        found = await sighting.of_facts([one for one in facts if one.size and nodes == (one.main >= 0)])
    else:
        row = (await service.reads.jobs([ref])).get(ref)
        known = row is not None and row.size and nodes == (row.main >= 0)
        found = await sighting.of_ended_array(row, page.codes, after, page.limit + 1) if row and known else []
    await sighting.add_attempts([seen for seen in found if seen.code in ENDED], last_only=True)
    return [(seen.index or 0, seen) for seen in found]
