"""RegisterJobDefinition, DeregisterJobDefinition, DescribeJobDefinitions.

Sources: API_RegisterJobDefinition, API_DeregisterJobDefinition, API_DescribeJobDefinitions.
"""

from typing import Any, Final

import msgspec

from batchery.api.call import Call, operation
from batchery.api.consumables import units
from batchery.api.paging import decode_token, encode_token
from batchery.api.shapes import (
    DeregisterJobDefinitionRequest,
    DeregisterJobDefinitionResponse,
    DescribeJobDefinitionsRequest,
    DescribeJobDefinitionsResponse,
    RegisterJobDefinitionRequest,
    RegisterJobDefinitionResponse,
)
from batchery.api.tags import check_tags
from batchery.api.views import definition_view
from batchery.core import query
from batchery.core.messages import Deregister, Register
from batchery.core.model import ACTIVE, INACTIVE, Definition, Realm, World
from batchery.spec.names import definition_arn, definition_ref
from batchery.spec.registration import check_registration

_DESCRIBE: Final = "DescribeJobDefinitions"


@operation
async def register_job_definition(call: Call, ask: RegisterJobDefinitionRequest) -> RegisterJobDefinitionResponse:
    """The same content again is a new revision; revisions are never given twice."""
    name = ask.job_definition_name
    arn = definition_arn(call.realm, name)
    call.allow_making("batch:RegisterJobDefinition", arn, ask.tags)
    check_registration(ask, call.service.config.limits)
    check_tags(call, ask.tags)
    units(call, (1, ask.consumable_resource_properties))
    doc = msgspec.json.encode(msgspec.structs.replace(ask, tags=None)).decode()

    def respond(revision: int) -> RegisterJobDefinitionResponse:
        return RegisterJobDefinitionResponse(
            job_definition_name=name, job_definition_arn=f"{arn}:{revision}", revision=revision
        )

    answer: RegisterJobDefinitionResponse = await call.submit(
        Register(call.realm, name, arn, doc, ask.tags or {}), respond
    )
    return answer


@operation
async def deregister_job_definition(call: Call, ask: DeregisterJobDefinitionRequest) -> DeregisterJobDefinitionResponse:
    """INACTIVE from now on; an unknown or INACTIVE revision is a success, which infrastructure tools rely on."""
    ref = definition_ref(ask.job_definition)
    if ref is None:
        raise call.refuse(_malformed(ask.job_definition), wrapped=False)
    if ref.revision is None:
        raise call.refuse(f"A revision must be given with job definition {ask.job_definition}")  # ours
    realm = ref.realm or call.realm
    arn = definition_arn(realm, ref.name, ref.revision)
    call.allow("batch:DeregisterJobDefinition", arn)
    await call.submit(Deregister(call.realm, arn))
    return DeregisterJobDefinitionResponse()


def _malformed(text: str) -> str:
    return f"Provided name {text} is not supported pattern[a-zA-Z_0-9-]{{1,128}}"


@operation
async def describe_job_definitions(call: Call, ask: DescribeJobDefinitionsRequest) -> DescribeJobDefinitionsResponse:
    """By name, newest revision first. Names or ARNs exclude every other parameter; unknown ones are left out."""
    call.allow("batch:DescribeJobDefinitions")
    _check(call, ask)
    params = [ask.job_definition_name, ask.status]
    after = tuple(decode_token(_DESCRIBE, params, ask.next_token)) if ask.next_token else ("", 0)
    limit = ask.max_results or call.service.config.limits.page
    if ask.job_definitions:
        found: list[Definition] = await call.service.ask(_named, call.realm, ask.job_definitions)
        page = found
    else:
        statuses = (ACTIVE, INACTIVE) if ask.status is None else (ask.status,)
        found = await call.service.ask(
            query.definitions, call.realm, ask.job_definition_name, statuses, after, limit + 1
        )
        page = found[:limit]
    tags = await call.service.reads.tags([definition.arn for definition in page]) if page else {}
    token = None
    if len(found) > len(page):
        token = encode_token(_DESCRIBE, params, [page[-1].name, page[-1].revision])
    views = [definition_view(definition, tags.get(definition.arn, {})) for definition in page]
    return DescribeJobDefinitionsResponse(job_definitions=views, next_token=token)


def _check(call: Call, ask: DescribeJobDefinitionsRequest) -> None:
    most = call.service.config.limits.page
    others: tuple[tuple[str, Any], ...] = (
        ("MaxResults", ask.max_results),
        ("JobDefinitionName", ask.job_definition_name),
        ("Status", ask.status),
        ("NextToken", ask.next_token),
    )
    for name, value in others:
        if ask.job_definitions and value is not None:
            raise call.refuse(f"JobDefinitions and {name} cannot both be set")
    if len(ask.job_definitions or ()) > most:
        raise call.refuse(f"Maximum number of job definitions supported is {most}")  # ours
    if ask.max_results is not None and not 1 <= ask.max_results <= most:
        raise call.refuse(f"maxResults must be between 1 and {most}")  # ours
    if ask.status not in (None, ACTIVE, INACTIVE):
        raise call.refuse(f"status must be ACTIVE or INACTIVE, not {ask.status}")  # ours


def _named(world: World, realm: Realm, refs: list[str]) -> list[Definition]:
    """A bare name means all its revisions."""
    picked: dict[str, Definition] = {}
    for text in refs:
        ref = definition_ref(text)
        if ref is None or ref.realm not in (None, realm):
            continue
        if ref.revision is None:
            picked.update((definition.arn, definition) for definition in query.definitions(world, realm, ref.name))
        elif (one := query.resolve_definition(world, realm, ref.name, ref.revision)) is not None:
            picked[one.arn] = one
    return sorted(picked.values(), key=lambda definition: (definition.name, -definition.revision))
