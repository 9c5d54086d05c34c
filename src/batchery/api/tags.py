"""Tags: TagResource, UntagResource, ListTagsForResource, and the check that every creator of a resource makes.

Sources: user guide, "Tagging your AWS Batch resources" (limits, characters, the reserved prefix); API_TagResource
(what can be tagged: array children can not). Tags live in the store, so the limit of fifty counts what is stored.
"""

import re
from asyncio import Lock
from typing import Final
from weakref import WeakValueDictionary

from batchery.api.call import Call, operation
from batchery.api.shapes import (
    ListTagsForResourceRequest,
    ListTagsForResourceResponse,
    TagResourceRequest,
    UntagResourceRequest,
)
from batchery.core import query
from batchery.core.messages import Tag
from batchery.core.model import task_ref
from batchery.spec.names import (
    COMPUTE_ENVIRONMENT,
    CONSUMABLE_RESOURCE,
    JOB,
    JOB_DEFINITION,
    JOB_QUEUE,
    SCHEDULING_POLICY,
    SERVICE_ENVIRONMENT,
    SERVICE_JOB,
    Arn,
    definition_ref,
    parse_arn,
)

_KEY: Final = re.compile(r"[\w .:/=+@-]{1,128}")
_VALUE: Final = re.compile(r"[\w .:/=+@-]{0,256}")
#: The resources that are being tagged: one call at a time for each.
_turns: "WeakValueDictionary[str, Lock]" = WeakValueDictionary()


def check_tags(call: Call, tags: dict[str, str] | None) -> None:
    """Of a request that sets tags: number, characters, reserved prefix. Raises ApiError; the texts are ours."""
    limit = call.service.config.limits.tags
    if len(tags or {}) > limit:
        raise call.refuse(f"A resource can have at most {limit} tags")
    for key, value in (tags or {}).items():
        _check_key(call, key)
        if _VALUE.fullmatch(value) is None:
            raise call.refuse(f"The value of tag {key} must be at most 256 letters, digits, spaces or _ . : / = + - @")


def _check_key(call: Call, key: str) -> None:
    if _KEY.fullmatch(key) is None:
        raise call.refuse("Tag keys must be 1 to 128 letters, digits, spaces or _ . : / = + - @")
    if key.lower().startswith("aws:"):
        raise call.refuse(f"Tag keys that begin with aws: are reserved: {key}")


@operation
async def tag_resource(call: Call, ask: TagResourceRequest) -> None:
    """Adds and overwrites; other tags stay."""
    arn = ask.resource_arn
    call.allow("batch:TagResource", arn)
    if not ask.tags:
        raise call.refuse("At least one tag must be given")
    check_tags(call, ask.tags)
    async with _turns.setdefault(arn, Lock()):  # two at once must not exceed the limit together
        await _find(call, arn)
        held = (await call.service.reads.tags([arn])).get(arn, {})
        check_tags(call, held | ask.tags)
        await call.submit(Tag(arn, set=ask.tags))


@operation
async def untag_resource(call: Call, ask: UntagResourceRequest) -> None:
    """Keys that the resource does not have are ignored."""
    call.allow("batch:UntagResource", ask.resource_arn)
    for key in ask.tag_keys:
        _check_key(call, key)
    await _find(call, ask.resource_arn)
    await call.submit(Tag(ask.resource_arn, removed=tuple(ask.tag_keys)))


@operation
async def list_tags_for_resource(call: Call, ask: ListTagsForResourceRequest) -> ListTagsForResourceResponse:
    arn = ask.resource_arn
    call.allow("batch:ListTagsForResource", arn)
    await _find(call, arn)
    return ListTagsForResourceResponse(tags=(await call.service.reads.tags([arn])).get(arn, {}))


async def _find(call: Call, text: str) -> None:
    """Raises ApiError unless the ARN names something that exists and can be tagged.

    On return everything that was decided before is committed, so the store may be read.
    """
    arn = parse_arn(text)
    if arn is None or arn.service != "batch":
        raise call.refuse(f"{text} is not the ARN of an AWS Batch resource")  # ours
    if arn.kind == JOB and task_ref(arn.name).index is not None:
        raise call.refuse(f"Tags are not supported on child jobs of array and multi-node parallel jobs: {text}")  # ours
    if not await _exists(call, text, arn):
        raise call.refuse(f"{text} does not exist", wrapped=False)  # ours
    await call.service.barrier()


async def _exists(call: Call, text: str, arn: Arn) -> bool:
    service, realm = call.service, call.realm
    if arn.realm != realm:
        return False
    if arn.kind == JOB_QUEUE and "/" in arn.name:
        return await service.ask(query.resolve_quota, realm, text) is not None
    if arn.kind == JOB_QUEUE:
        return await service.ask(query.resolve_queue, realm, text) is not None
    if arn.kind == COMPUTE_ENVIRONMENT:
        return await service.ask(query.resolve_environment, realm, text) is not None
    if arn.kind == SERVICE_ENVIRONMENT:
        return await service.ask(query.resolve_service, realm, text) is not None
    if arn.kind == CONSUMABLE_RESOURCE:
        return await service.ask(query.resolve_consumable, realm, text) is not None
    if arn.kind == SCHEDULING_POLICY:
        return await service.ask(query.resolve_policy, realm, text) is not None
    if arn.kind == JOB_DEFINITION:
        ref = definition_ref(text)
        if ref is None or ref.revision is None:
            return False
        found = await service.ask(query.resolve_definition, realm, ref.name, ref.revision)
        return found is not None and found.arn == text
    if arn.kind in (JOB, SERVICE_JOB):
        of_service = arn.kind == SERVICE_JOB
        if arn.name in await service.ask(query.facts, realm, [arn.name], of_service):
            return True
        row = (await service.reads.jobs([arn.name])).get(arn.name)
        return row is not None and (row.account, row.region) == realm and bool(row.instances) == of_service
    return False
