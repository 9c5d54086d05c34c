"""jobStateTimeLimitActions of a job queue, checked, and as they are shown.

Source: API_JobStateTimeLimitAction; user guide, "Automatic remediation with jobStateTimeLimitActions". Texts were
seen in answers of AWS, but for those marked "ours".
"""

from typing import Final

from batchery.api.call import Call
from batchery.api.shapes import JobStateTimeLimitAction
from batchery.core.queue import CANCEL_ACTION, REASONS, SERVICE_REASONS, TERMINATE_ACTION, Queue, TimeLimit

MOST_SECONDS: Final = 86_400


def limits_of(
    call: Call, wanted: list[JobStateTimeLimitAction] | None, service: bool = False
) -> tuple[TimeLimit, ...] | None:
    """What a request says; None if it says nothing. ``service``: the queue is one of service jobs, which are terminated
    where others are cancelled. Raises ApiError for what could never act."""
    if wanted is None:
        return None
    least = call.service.config.limits.state_seconds
    known, action = (SERVICE_REASONS, TERMINATE_ACTION) if service else (REASONS, CANCEL_ACTION)
    seen: set[str] = set()
    for item in wanted:
        reason = item.reason.partition(" - ")[0]
        if reason not in known:
            raise call.refuse(
                f"reason of jobStateTimeLimitActions must be one of {', '.join(known)}, not {reason}"
            )  # ours
        if reason in seen:
            raise call.refuse("Duplicate job state limit actions are not allowed.")
        seen.add(reason)
        if not least <= item.max_time_seconds <= MOST_SECONDS:
            raise call.refuse(f"maxTimeSeconds must be between {least} and {MOST_SECONDS}")  # ours
        if item.action != action:
            raise call.refuse(f"Invalid job action. Valid job actions: [{action}]")
    return tuple(TimeLimit(item.reason, 1000 * item.max_time_seconds, item.action) for item in wanted)


def limits_shown(queue: Queue) -> list[JobStateTimeLimitAction] | None:
    """As they were sent; absent if there are none."""
    return [
        JobStateTimeLimitAction(
            reason=limit.reason, state="RUNNABLE", max_time_seconds=limit.ms // 1000, action=limit.action
        )
        for limit in queue.limits
    ] or None
