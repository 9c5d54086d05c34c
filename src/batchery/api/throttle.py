"""How many calls a second: a token bucket for each account and operation. Nothing is limited unless a setting says so.

``[rates]`` names operations, and ``*`` for each of the others. A bucket holds one second's worth of calls, so a burst
of that size passes at once. What comes too fast is answered as on AWS, 429 TooManyRequestsException, which SDKs retry
with growing pauses. AWS publishes a number for SubmitJob alone (50 a second; user guide, "Service quotas").
"""

from collections.abc import Mapping
from typing import Final

from batchery.api.call import ApiError
from batchery.api.shapes import OPERATIONS
from batchery.api.targets import TARGETS

ANY: Final = "*"


def unknown(rates: Mapping[str, float]) -> list[str]:
    """Names in ``rates`` that are no operations."""
    return sorted(set(rates) - {ANY} - OPERATIONS.keys() - {operation for _, operation in TARGETS})


class Throttle:
    """``rates``: operation -> calls per second."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        self._rates = dict(rates)
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}  # -> tokens, and when (s)

    def take(self, account: str, operation: str, now: float) -> None:
        """One call at ``now`` (s). Raises ApiError."""
        rate = self._rates.get(operation, self._rates.get(ANY, 0.0))
        if not rate:
            return
        most = max(1.0, rate)
        tokens, then = self._buckets.get((account, operation), (most, now))
        tokens = min(most, tokens + max(0.0, now - then) * rate)
        if tokens < 1:
            self._buckets[account, operation] = (tokens, now)
            raise too_many()
        self._buckets[account, operation] = (tokens - 1, now)


def too_many() -> ApiError:
    """What AWS answers to calls that come too fast."""
    return ApiError(429, "TooManyRequestsException", "Too Many Requests")
