"""GetJobQueueSnapshot: the front of a queue and what it uses. Source: API_GetJobQueueSnapshot and its structures.

Both are of the moment of the answer, so both are "last updated" then.
"""

from typing import Final

from batchery.api.call import Call, operation
from batchery.api.shapes import (
    FairshareCapacityUsage,
    FairshareCapacityUtilization,
    FairshareUtilizationDetail,
    FrontOfQueueDetail,
    FrontOfQueueJobSummary,
    FrontOfQuotaShareJobSummary,
    FrontOfQuotaSharesDetail,
    GetJobQueueSnapshotRequest,
    GetJobQueueSnapshotResponse,
    QueueSnapshotCapacityUsage,
    QueueSnapshotUtilizationDetail,
    QuotaShareCapacityUsage,
    QuotaShareCapacityUtilization,
    QuotaShareUtilizationDetail,
)
from batchery.core import query
from batchery.core.instances import SERVICE
from batchery.core.model import Queue
from batchery.core.query import Front, QueueUse
from batchery.core.shares import QUOTA
from batchery.spec.names import job_arn, queue_arn, service_job_arn

TOP_SHARES: Final = 20


@operation
async def get_job_queue_snapshot(call: Call, ask: GetJobQueueSnapshotRequest) -> GetJobQueueSnapshotResponse:
    """The first 100 RUNNABLE jobs in dispatch order, children by their own ARNs; vCPUs in use, and by share. Of service
    jobs instances by type, of those that are SCHEDULED too (user guide, "Track service job capacity utilization")."""
    queue: Queue | None = await call.service.ask(query.resolve_queue, call.realm, ask.job_queue)
    arn = queue.arn if queue is not None else ask.job_queue
    call.allow("batch:GetJobQueueSnapshot", arn if arn.startswith("arn:") else queue_arn(call.realm, arn))
    if queue is None:
        raise call.refuse(f"{ask.job_queue} does not exist", wrapped=False)
    now = call.service.now()
    front = await call.service.ask(query.front, queue.arn, now)
    policy = await call.service.ask(query.resolve_policy, call.realm, queue.policy)
    if queue.type == SERVICE:
        return await _of_services(call, queue, "" if policy is None else policy.kind, front)
    used: QueueUse = await call.service.ask(query.use, queue.arn)
    return GetJobQueueSnapshotResponse(
        front_of_queue=FrontOfQueueDetail(
            jobs=[
                FrontOfQueueJobSummary(job_arn=job_arn(call.realm, each.ref), earliest_time_at_position=each.since)
                for each in front
            ],
            last_updated_at=now,
        ),
        queue_utilization=QueueSnapshotUtilizationDetail(
            total_capacity_usage=[QueueSnapshotCapacityUsage(capacity_unit=used.unit, quantity=used.vcpus / 1000)],
            fairshare_utilization=_by_share(used) if policy is not None else None,
            last_updated_at=now,
        ),
    )


async def _of_services(call: Call, queue: Queue, policy: str, front: list[Front]) -> GetJobQueueSnapshotResponse:
    """Of a queue of service jobs with a policy of this kind: with quota shares the first job of each too."""
    now, quotas = call.service.now(), policy == QUOTA
    used: dict[tuple[str, str], int] = await call.service.ask(query.instances_used, queue.arn)
    total: dict[str, int] = {}
    shares: dict[str, dict[str, int]] = {}
    for (share, unit), count in sorted(used.items()):
        total[unit] = total.get(unit, 0) + count
        if share:
            shares.setdefault(share, {})[unit] = count
    ranked = sorted(shares, key=lambda share: -sum(shares[share].values()))
    return GetJobQueueSnapshotResponse(
        front_of_queue=FrontOfQueueDetail(
            jobs=[
                FrontOfQueueJobSummary(
                    job_arn=service_job_arn(call.realm, each.ref), earliest_time_at_position=each.since
                )
                for each in front
            ],
            last_updated_at=now,
        ),
        front_of_quota_shares=await _fronts(call, queue.arn, now) if quotas else None,
        queue_utilization=QueueSnapshotUtilizationDetail(
            total_capacity_usage=[
                QueueSnapshotCapacityUsage(capacity_unit=unit, quantity=float(count)) for unit, count in total.items()
            ],
            quota_share_utilization=QuotaShareUtilizationDetail(
                top_capacity_utilization=[
                    QuotaShareCapacityUtilization(
                        quota_share_name=share,
                        capacity_usage=[
                            QuotaShareCapacityUsage(capacity_unit=unit, quantity=float(count))
                            for unit, count in shares[share].items()
                        ],
                    )
                    for share in ranked[:TOP_SHARES]
                ]
            )
            if quotas
            else None,
            fairshare_utilization=_by_share_and_type(shares, ranked) if policy and not quotas else None,
            last_updated_at=now,
        ),
    )


async def _fronts(call: Call, arn: str, now: int) -> FrontOfQuotaSharesDetail:
    firsts: dict[str, Front] = await call.service.ask(query.front_by_share, arn)
    return FrontOfQuotaSharesDetail(
        quota_shares={
            share: [
                FrontOfQuotaShareJobSummary(
                    job_arn=service_job_arn(call.realm, one.ref), earliest_time_at_position=one.since
                )
            ]
            for share, one in firsts.items()
        },
        last_updated_at=now,
    )


def _by_share_and_type(shares: dict[str, dict[str, int]], ranked: list[str]) -> FairshareUtilizationDetail:
    return FairshareUtilizationDetail(
        active_share_count=len(shares),
        top_capacity_utilization=[
            FairshareCapacityUtilization(
                share_identifier=share,
                capacity_usage=[
                    FairshareCapacityUsage(capacity_unit=unit, quantity=float(count))
                    for unit, count in shares[share].items()
                ],
            )
            for share in ranked[:TOP_SHARES]
        ],
    )


def _by_share(used: QueueUse) -> FairshareUtilizationDetail:
    return FairshareUtilizationDetail(
        active_share_count=len(used.shares),
        top_capacity_utilization=[
            FairshareCapacityUtilization(
                share_identifier=share,
                capacity_usage=[FairshareCapacityUsage(capacity_unit=used.unit, quantity=vcpus / 1000)],
            )
            for share, vcpus in used.shares[:TOP_SHARES]
        ],
    )
