"""ListJobsByConsumableResource: jobs that ask for a consumable resource, whatever their status, newest first.

Arrays are listed, their children are not, as in ListJobs. ``quantity`` and ``createdAt`` are the job's: what it asks
for of this resource (each child of an array; all nodes together), and when it was submitted. Source:
API_ListJobsByConsumableResourceSummary, whose words for these two speak of the resource; the example of that
operation shows them to be the job's.
"""

from typing import Final

from msgspec import Struct

from batchery.api.call import Call, operation
from batchery.api.consumables import filters, find, named, page_size
from batchery.api.paging import decode_token, encode_token
from batchery.api.shapes import (
    ConsumableResourceProperties,
    ConsumableResourceRequirement,
    ListJobsByConsumableResourceRequest,
    ListJobsByConsumableResourceResponse,
    ListJobsByConsumableResourceSummary,
)
from batchery.api.sight import Sighting
from batchery.api.views import Seen, started_at
from batchery.core import query
from batchery.core.model import World
from batchery.core.status import CODES_SHOWN_AS, ENDED, SHOWN
from batchery.spec.effective import effective
from batchery.spec.names import job_arn

_LIST: Final = "ListJobsByConsumableResource"
_TOP: Final = 1 << 62  #: above every sequence number
_ROWS: Final = 200  # read at a time while looking for jobs of a status


class _Page(Struct, frozen=True):
    """What one call lists. ``codes`` and ``names``: None for all."""

    arn: str
    codes: frozenset[int] | None
    names: list[str] | None
    limit: int


@operation
async def list_jobs_by_consumable_resource(
    call: Call, ask: ListJobsByConsumableResourceRequest
) -> ListJobsByConsumableResourceResponse:
    stock = await find(call, "batch:ListJobsByConsumableResource", ask.consumable_resource)
    wanted = filters(call, ask.filters, ("JOB_STATUS", "JOB_NAME"))
    size = page_size(call, ask.max_results)
    page = _Page(stock.consumable.arn, _codes(call, wanted.get("JOB_STATUS")), wanted.get("JOB_NAME"), size + 1)
    params = [page.arn, wanted]
    before = decode_token(_LIST, params, ask.next_token) if ask.next_token else _TOP
    found = await _found(call, page, before)
    shown = found[:size]
    token = encode_token(_LIST, params, shown[-1].seq) if len(found) > size else None
    return ListJobsByConsumableResourceResponse(jobs=await _summaries(call, page.arn, shown), next_token=token)


def _codes(call: Call, statuses: list[str] | None) -> frozenset[int] | None:
    if statuses is None:
        return None
    for status in statuses:
        if status not in CODES_SHOWN_AS:
            raise call.refuse(f"The values of filter JOB_STATUS must be of {', '.join(CODES_SHOWN_AS)}, not {status}")
    return frozenset(code for status in statuses for code in CODES_SHOWN_AS[status])


async def _found(call: Call, page: _Page, before: int) -> list[Seen]:
    """Of names: the store knows who asks for it, World what becomes of those that are open, so rows are read until it
    is enough."""
    sighting = Sighting(call.service, call.realm)
    if page.codes is not None and page.names is None:
        return await _of_status(call, page, page.codes, before, sighting)
    found: list[Seen] = []
    codes = None
    if page.codes is not None:
        codes = (*sorted(page.codes & ENDED), *((None,) if page.codes - ENDED else ()))
    name = page.names[0] if page.names and len(page.names) == 1 else None
    while len(found) < page.limit:
        rows = await call.service.reads.page_of_consumable(
            page.arn, codes=codes, before=before, limit=max(_ROWS, page.limit), name=name
        )
        if not rows:
            break
        before = rows[-1].seq
        ids = [row.id for row in rows if page.names is None or any(named(row.name, text) for text in page.names)]
        found += [seen for seen in await sighting.of_ids(ids) if page.codes is None or seen.code in page.codes]
    found = found[: page.limit]
    await sighting.add_attempts([seen for seen in found if seen.code in ENDED], last_only=True)
    return found


async def _of_status(call: Call, page: _Page, codes: frozenset[int], before: int, sighting: Sighting) -> list[Seen]:
    """World is asked first: what ends meanwhile is shown as it was, and not again."""
    still = tuple(codes - ENDED)
    facts: list[query.Facts] = (
        await call.service.ask(query.open_page, page.arn, still, before, page.limit) if still else []
    )
    found = {seen.seq: seen for seen in await sighting.of_facts(facts)}
    for code in codes & ENDED:
        rows = await call.service.reads.page_of_consumable(page.arn, codes=(code,), before=before, limit=page.limit)
        for seen in await sighting.of_rows(rows):
            found.setdefault(seen.seq, seen)
    shown = sorted(found.values(), key=lambda seen: -seen.seq)[: page.limit]
    await sighting.add_attempts([seen for seen in shown if seen.code in ENDED], last_only=True)
    return shown


async def _summaries(call: Call, arn: str, shown: list[Seen]) -> list[ListJobsByConsumableResourceSummary]:
    specs = await call.service.reads.specs([seen.seq for seen in shown])
    docs = await call.service.ask(_documents, {seen.definition for seen in shown})
    asked = await call.service.reads.consumables_of([seen.seq for seen in shown])
    summaries = []
    for seen in shown:
        if seen.seq not in specs or arn not in asked[seen.seq]:
            continue  # forgotten meanwhile
        sent = effective(docs[seen.definition], specs[seen.seq]).consumables
        summaries.append(
            ListJobsByConsumableResourceSummary(
                job_arn=job_arn(call.realm, seen.id),
                job_queue_arn=seen.queue,
                job_name=seen.name,
                job_definition_arn=seen.definition,
                share_identifier=seen.share or None,
                job_status=SHOWN[seen.code],
                quantity=asked[seen.seq][arn],
                status_reason=seen.reason or None,
                started_at=started_at(seen),
                created_at=seen.created,
                consumable_resource_properties=sent or _summed(asked[seen.seq]),
            )
        )
    return summaries


def _summed(units: dict[str, int]) -> ConsumableResourceProperties:
    """Of a job whose nodes say what they need, not the job."""
    wanted = [ConsumableResourceRequirement(consumable_resource=arn, quantity=count) for arn, count in units.items()]
    return ConsumableResourceProperties(consumable_resource_list=wanted)


def _documents(world: World, arns: set[str]) -> dict[str, str]:
    """The docs of these definitions (ARNs with revision), which stay as long as a job refers to them."""
    return {arn: world.definitions[arn].doc for arn in arns}
