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
    GetJobQueueSnapshotRequest,
    GetJobQueueSnapshotResponse,
    QueueSnapshotCapacityUsage,
    QueueSnapshotUtilizationDetail,
)
from batchery.core import query
from batchery.core.model import Queue
from batchery.core.query import QueueUse
from batchery.spec.names import job_arn, queue_arn

TOP_SHARES: Final = 20


@operation
async def get_job_queue_snapshot(call: Call, ask: GetJobQueueSnapshotRequest) -> GetJobQueueSnapshotResponse:
    """The first 100 RUNNABLE jobs in dispatch order, children by their own ARNs; vCPUs in use, and by share."""
    queue: Queue | None = await call.service.ask(query.resolve_queue, call.realm, ask.job_queue)
    arn = queue.arn if queue is not None else ask.job_queue
    call.allow("batch:GetJobQueueSnapshot", arn if arn.startswith("arn:") else queue_arn(call.realm, arn))
    if queue is None:
        raise call.refuse(f"{ask.job_queue} does not exist", wrapped=False)
    now = call.service.now()
    front = await call.service.ask(query.front, queue.arn, now)
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
            fairshare_utilization=_by_share(used) if queue.policy else None,
            last_updated_at=now,
        ),
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
