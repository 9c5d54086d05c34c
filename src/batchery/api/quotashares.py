"""CreateQuotaShare, UpdateQuotaShare, DeleteQuotaShare, DescribeQuotaShare, ListQuotaShares.

Form is judged here; transitions are `core.quotaset`'s, what shares mean to jobs `core.quotas`'s.
Sources: API_CreateQuotaShare and its structures; user guide, "Quota shares". Texts are ours but for those that
service environments share.
"""

from batchery.api.call import Call, operation
from batchery.api.describing import select
from batchery.api.serviceenvironments import MOST_CAPACITY, MOST_LIMITS, is_instance_type, unknown_unit
from batchery.api.shapes import (
    CreateQuotaShareRequest,
    CreateQuotaShareResponse,
    DeleteQuotaShareRequest,
    DeleteQuotaShareResponse,
    DescribeQuotaShareRequest,
    DescribeQuotaShareResponse,
    ListQuotaSharesRequest,
    ListQuotaSharesResponse,
    QuotaShareCapacityLimit,
    QuotaShareDetail,
    QuotaSharePreemptionConfiguration,
    QuotaShareResourceSharingConfiguration,
    UpdateQuotaShareRequest,
    UpdateQuotaShareResponse,
)
from batchery.api.tags import check_tags
from batchery.core import query
from batchery.core.messages import CreateQuota, DeleteQuota, UpdateQuota
from batchery.core.model import ENABLED
from batchery.core.shares import BORROW, QuotaShare
from batchery.spec.names import NAME


@operation
async def create_quota_share(call: Call, ask: CreateQuotaShareRequest) -> CreateQuotaShareResponse:
    name = ask.quota_share_name
    queue = call.service.look(query.resolve_queue, call.realm, ask.job_queue)
    if queue is None:
        raise call.refuse(f"{ask.job_queue} does not exist", wrapped=False)
    arn = f"{queue.arn}/quota-share/{name}"
    call.allow_making("batch:CreateQuotaShare", arn, ask.tags)
    if NAME.fullmatch(name) is None:
        raise call.refuse("Quota share name should match a valid pattern.")
    check_tags(call, ask.tags)
    sharing = ask.resource_sharing_configuration
    _check_borrowing(call, sharing.strategy, sharing.borrow_limit)
    quota = QuotaShare(
        arn=arn,
        name=name,
        realm=call.realm,
        queue=queue.arn,
        limits=_limits(call, ask.capacity_limits),
        strategy=sharing.strategy,
        borrow=-1 if sharing.borrow_limit is None else sharing.borrow_limit,
        in_share=ask.preemption_configuration.in_share_preemption == ENABLED,
        state=ask.state or ENABLED,
    )
    response = CreateQuotaShareResponse(quota_share_name=name, quota_share_arn=arn)
    command = CreateQuota(quota, tags=ask.tags or {}, limit=call.service.config.limits.quota_shares)
    await call.submit(command, lambda _: response)
    return response


@operation
async def update_quota_share(call: Call, ask: UpdateQuotaShareRequest) -> UpdateQuotaShareResponse:
    """Only what is given changes; limits below what is used make jobs of the share ones that others may preempt."""
    call.allow("batch:UpdateQuotaShare", ask.quota_share_arn)
    held = await _held(call, ask.quota_share_arn)
    sharing, preemption = ask.resource_sharing_configuration, ask.preemption_configuration
    if sharing is not None:
        _check_borrowing(call, sharing.strategy, sharing.borrow_limit)
    response = UpdateQuotaShareResponse(quota_share_name=held.name, quota_share_arn=held.arn)
    command = UpdateQuota(
        held.arn,
        limits=_limits(call, ask.capacity_limits) if ask.capacity_limits is not None else None,
        strategy=sharing.strategy if sharing is not None else None,
        borrow=None if sharing is None else -1 if sharing.borrow_limit is None else sharing.borrow_limit,
        in_share=preemption.in_share_preemption == ENABLED if preemption is not None else None,
        state=ask.state,
    )
    await call.submit(command, lambda _: response)
    return response


@operation
async def delete_quota_share(call: Call, ask: DeleteQuotaShareRequest) -> DeleteQuotaShareResponse:
    """Unknown is a success."""
    call.allow("batch:DeleteQuotaShare", ask.quota_share_arn)
    if call.service.look(query.resolve_quota, call.realm, ask.quota_share_arn) is not None:
        await call.submit(DeleteQuota(ask.quota_share_arn))
    return DeleteQuotaShareResponse()


@operation
async def describe_quota_share(call: Call, ask: DescribeQuotaShareRequest) -> DescribeQuotaShareResponse:
    call.allow("batch:DescribeQuotaShare", ask.quota_share_arn)
    held = await _held(call, ask.quota_share_arn)
    shown = _detail(held)
    return DescribeQuotaShareResponse(
        quota_share_name=held.name,
        quota_share_arn=held.arn,
        job_queue_arn=held.queue,
        capacity_limits=shown.capacity_limits,
        resource_sharing_configuration=shown.resource_sharing_configuration,
        preemption_configuration=shown.preemption_configuration,
        state=held.state,
        status=held.status,
        tags=(await call.service.reads.tags([held.arn])).get(held.arn, {}),
    )


@operation
async def list_quota_shares(call: Call, ask: ListQuotaSharesRequest) -> ListQuotaSharesResponse:
    """Of a queue, by name."""
    queue = await call.service.ask(query.resolve_queue, call.realm, ask.job_queue)
    call.allow("batch:ListQuotaShares")
    if queue is None:
        raise call.refuse(f"{ask.job_queue} does not exist", wrapped=False)
    found = await call.service.ask(query.quotas, queue.arn)
    page, token = select(call, "QuotaShares", found, None, ask.max_results, ask.next_token)
    return ListQuotaSharesResponse(quota_shares=[_detail(one) for one in page], next_token=token)


async def _held(call: Call, arn: str) -> QuotaShare:
    held: QuotaShare | None = await call.service.ask(query.resolve_quota, call.realm, arn)
    if held is None:
        raise call.refuse(f"{arn} does not exist", wrapped=False)
    return held


def _detail(quota: QuotaShare) -> QuotaShareDetail:
    state = "ENABLED" if quota.in_share else "DISABLED"
    return QuotaShareDetail(
        quota_share_name=quota.name,
        quota_share_arn=quota.arn,
        job_queue_arn=quota.queue,
        capacity_limits=[
            QuotaShareCapacityLimit(max_capacity=most // 1000, capacity_unit=unit) for unit, most in quota.limits
        ],
        resource_sharing_configuration=QuotaShareResourceSharingConfiguration(
            strategy=quota.strategy, borrow_limit=quota.borrow if quota.strategy == BORROW else None
        ),
        preemption_configuration=QuotaSharePreemptionConfiguration(in_share_preemption=state),
        state=quota.state,
        status=quota.status,
    )


def _check_borrowing(call: Call, strategy: str, limit: int | None) -> None:
    if limit is not None and strategy != BORROW:
        raise call.refuse(f"borrowLimit needs the strategy {BORROW}")
    if limit is not None and limit < -1:
        raise call.refuse("borrowLimit must be at least -1")


def _limits(call: Call, limits: list[QuotaShareCapacityLimit]) -> tuple[tuple[str, int], ...]:
    if not limits:
        raise call.refuse("Capacitylimits are required.")
    if len(limits) > MOST_LIMITS:
        raise call.refuse(f"Number of capacity limits exceeds {MOST_LIMITS}.")
    found: dict[str, int] = {}
    for limit in limits:
        if not 0 <= limit.max_capacity <= MOST_CAPACITY:
            raise call.refuse(f"maxCapacity must be between 0 and {MOST_CAPACITY}")
        if not is_instance_type(limit.capacity_unit):
            raise call.refuse(unknown_unit(limit.capacity_unit))
        if limit.capacity_unit in found:
            raise call.refuse(f"capacityLimits must not name capacityUnit {limit.capacity_unit} twice")
        found[limit.capacity_unit] = 1000 * limit.max_capacity
    return tuple(found.items())
