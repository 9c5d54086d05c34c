"""Consumable resources: Create, Update, Delete, Describe, List, and which jobs ask for one.

Sources: API_CreateConsumableResource and its neighbours; user guide, "Resource-aware scheduling". Texts are ours, but
for names and totals, which were seen in answers of AWS. What is in use, and what a `clientToken` does, is the core's.
Decision 150.
"""

from typing import Final

from batchery.api.call import Call, operation
from batchery.api.paging import decode_token, encode_token
from batchery.api.shapes import (
    ConsumableResourceProperties,
    ConsumableResourceSummary,
    CreateConsumableResourceRequest,
    CreateConsumableResourceResponse,
    DeleteConsumableResourceRequest,
    DeleteConsumableResourceResponse,
    DescribeConsumableResourceRequest,
    DescribeConsumableResourceResponse,
    KeyValuesPair,
    ListConsumableResourcesRequest,
    ListConsumableResourcesResponse,
    UpdateConsumableResourceRequest,
    UpdateConsumableResourceResponse,
)
from batchery.api.tags import check_tags
from batchery.core import query
from batchery.core.messages import CreateConsumable, DeleteConsumable, Refused, UpdateConsumable
from batchery.core.named import NON_REPLENISHABLE, REPLENISHABLE, Consumable
from batchery.core.query import Stock
from batchery.spec.consumables import TWICE, asked_for
from batchery.spec.names import NAME, consumable_arn

_OPERATIONS: Final = ("SET", "ADD", "REMOVE")
_MOST: Final = (1 << 63) - 1  # of a Long
_LIST: Final = "ListConsumableResources"


@operation
async def create_consumable_resource(
    call: Call, ask: CreateConsumableResourceRequest
) -> CreateConsumableResourceResponse:
    name, limits = ask.consumable_resource_name, call.service.config.limits
    arn = consumable_arn(call.realm, name)
    call.allow_making("batch:CreateConsumableResource", arn, ask.tags)
    if NAME.fullmatch(name) is None:
        raise call.refuse("ConsumableResource name should match a valid pattern.")
    kind = ask.resource_type or REPLENISHABLE
    if kind not in (REPLENISHABLE, NON_REPLENISHABLE):
        raise call.refuse(f"resourceType must be {REPLENISHABLE} or {NON_REPLENISHABLE}, not {kind}")
    total = _quantity(call, "totalQuantity", ask.total_quantity or 0)
    check_tags(call, ask.tags)
    response = CreateConsumableResourceResponse(consumable_resource_name=name, consumable_resource_arn=arn)
    made = Consumable(arn, name, call.realm, kind, total)
    await call.submit(CreateConsumable(made, ask.tags or {}, limits.consumables), lambda _: response)
    return response


@operation
async def update_consumable_resource(
    call: Call, ask: UpdateConsumableResourceRequest
) -> UpdateConsumableResourceResponse:
    """The same request with the same `clientToken` is a success that changes nothing, for eight hours."""
    found = call.service.look(query.resolve_consumable, call.realm, ask.consumable_resource)
    call.allow("batch:UpdateConsumableResource", found.arn if found else _arn(call, ask.consumable_resource))
    if found is None:
        raise call.refuse(f"{ask.consumable_resource} does not exist", wrapped=False)
    arn, name = found.arn, found.name
    if ask.operation not in _OPERATIONS:
        raise call.refuse(f"operation must be one of {', '.join(_OPERATIONS)}, not {ask.operation}")
    if ask.quantity is None:
        raise call.refuse("quantity must be given")
    quantity = _quantity(call, "quantity", ask.quantity)

    def respond(total: int) -> UpdateConsumableResourceResponse:
        return UpdateConsumableResourceResponse(
            consumable_resource_name=name, consumable_resource_arn=arn, total_quantity=total
        )

    answer: UpdateConsumableResourceResponse = await call.submit(
        UpdateConsumable(arn, ask.operation, quantity, ask.client_token or ""), respond
    )
    return answer


def _quantity(call: Call, member: str, value: int) -> int:
    if value < 0:
        raise call.refuse(f"{member} cannot be a negative number.")
    return value


@operation
async def delete_consumable_resource(
    call: Call, ask: DeleteConsumableResourceRequest
) -> DeleteConsumableResourceResponse:
    """Unknown is a success."""
    found = call.service.look(query.resolve_consumable, call.realm, ask.consumable_resource)
    arn = found.arn if found else _arn(call, ask.consumable_resource)
    call.allow("batch:DeleteConsumableResource", arn)
    if found is not None:
        await call.submit(DeleteConsumable(arn))
    return DeleteConsumableResourceResponse()


@operation
async def describe_consumable_resource(
    call: Call, ask: DescribeConsumableResourceRequest
) -> DescribeConsumableResourceResponse:
    stock = await find(call, "batch:DescribeConsumableResource", ask.consumable_resource)
    one = stock.consumable
    return DescribeConsumableResourceResponse(
        consumable_resource_name=one.name,
        consumable_resource_arn=one.arn,
        total_quantity=stock.total,
        in_use_quantity=stock.in_use,
        available_quantity=stock.available,
        resource_type=one.kind,
        created_at=one.created,
        tags=(await call.service.reads.tags([one.arn])).get(one.arn, {}),
    )


@operation
async def list_consumable_resources(call: Call, ask: ListConsumableResourcesRequest) -> ListConsumableResourcesResponse:
    """By name, without case. A filter's values are compared without case; of several, any will do."""
    call.allow("batch:ListConsumableResources")
    names = filters(call, ask.filters, ("CONSUMABLE_RESOURCE_NAME",)).get("CONSUMABLE_RESOURCE_NAME")
    size = page_size(call, ask.max_results)
    params = [list(call.realm), names]
    after = decode_token(_LIST, params, ask.next_token) if ask.next_token else ""

    found = await call.service.ask(query.stocks, call.realm, names, after, size + 1)
    shown = found[:size]
    token = encode_token(_LIST, params, shown[-1].consumable.name) if len(found) > size else None
    return ListConsumableResourcesResponse(consumable_resources=[_summary(one) for one in shown], next_token=token)


def _summary(stock: Stock) -> ConsumableResourceSummary:
    return ConsumableResourceSummary(
        consumable_resource_arn=stock.consumable.arn,
        consumable_resource_name=stock.consumable.name,
        total_quantity=stock.total,
        in_use_quantity=stock.in_use,
        resource_type=stock.consumable.kind,
    )


# ---------------------------------------------------------------------------------------------- shared with others


def _arn(call: Call, ref: str) -> str:
    return ref if ref.startswith("arn:") else consumable_arn(call.realm, ref)


async def find(call: Call, action: str, ref: str) -> Stock:
    """Check the policy and find the resource, by name or ARN. Raises ApiError."""
    stock: Stock | None = await call.service.ask(query.stock_of, call.realm, ref)
    call.allow(action, stock.consumable.arn if stock else _arn(call, ref))
    if stock is None:
        raise call.refuse(f"{ref} does not exist", wrapped=False)
    return stock


def filters(call: Call, pairs: list[KeyValuesPair] | None, names: tuple[str, ...]) -> dict[str, list[str]]:
    """Filters of these names, each at most once and with a value at least."""
    found: dict[str, list[str]] = {}
    for pair in pairs or ():
        if pair.name not in names or pair.name in found:
            raise call.refuse(f"Filter name must be one of {', '.join(names)}, each once, not {pair.name}")
        if not pair.values:
            raise call.refuse(f"Filter {pair.name} must have a value")
        found[pair.name] = pair.values
    return found


def named(name: str, wanted: str) -> bool:
    """Whether a name is meant by a filter's value: without case, and with a final ``*`` as its beginning."""
    name, wanted = name.lower(), wanted.lower()
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def page_size(call: Call, asked: int | None) -> int:
    most = call.service.config.limits.page
    if asked is not None and not 1 <= asked <= most:
        raise call.refuse(f"maxResults must be between 1 and {most}")
    return asked or most


def units(call: Call, *groups: tuple[int, ConsumableResourceProperties | None]) -> tuple[tuple[str, int], ...]:
    """What a job asks for as the core has it: (ARN, units), by ARN. ``groups``: see `asked_for`. Raises Refused for a
    resource that does not exist, and for one that is named twice."""
    found: dict[str, int] = {}
    for group in groups:
        mine: dict[str, int] = {}
        for ref, quantity in asked_for([group]):
            consumable = call.service.look(query.resolve_consumable, call.realm, ref)
            if consumable is None:
                raise Refused(f"ConsumableResource {ref} not found.")
            if consumable.arn in mine:
                raise Refused(TWICE, True)
            mine[consumable.arn] = quantity
        for arn, quantity in mine.items():
            found[arn] = found.get(arn, 0) + quantity
            if found[arn] > _MOST:
                raise Refused(f"The quantity of consumable resource {arn} is too large", True)
    return tuple(sorted(found.items()))
