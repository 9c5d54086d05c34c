"""The two clocks of an engine: of the wall, for what is told, and one that does not jump, for what is waited for."""

import time


def wall() -> int:
    """ms since the epoch."""
    return time.time_ns() // 1_000_000


def clock() -> int:
    """Monotonic ms."""
    return time.monotonic_ns() // 1_000_000
