"""The service's clock and its ids: the only places where time and chance enter."""

import os
import time


class Clock:
    """Milliseconds since the epoch that never go back and never jump.

    Wall time at the start plus monotonic time since, drawn towards the wall clock by at most one part in a thousand,
    and never below ``floor`` (the newest stamp in the store): a step of the wall clock fires no timeout.
    """

    def __init__(self, floor: int = 0) -> None:
        self._offset = max(time.time_ns() // 1_000_000, floor) * 1_000_000 - time.monotonic_ns()
        self._slewed = time.monotonic_ns()

    def __call__(self) -> int:
        mono = time.monotonic_ns()
        since = mono - self._slewed
        if since > 1_000_000_000:
            away = time.time_ns() - (mono + self._offset)
            most = since // 1000
            self._offset += max(-most, min(most, away))
            self._slewed = mono
        return (mono + self._offset) // 1_000_000


class Ids:
    """Job ids: lower-case UUIDs whose order is the order of making (RFC 9562, version 7).

    48 bits of milliseconds, a 26-bit counter that starts at random each millisecond, 48 random bits. Random bits are
    drawn in bulk.
    """

    def __init__(self) -> None:
        self._ms = 0
        self._count = 0
        self._pool = b""
        self._at = 0  # how much of it is used

    def _random(self, size: int) -> bytes:
        if self._at + size > len(self._pool):
            self._pool, self._at = os.urandom(4096), 0
        self._at += size
        return self._pool[self._at - size : self._at]

    def __call__(self, now: int) -> str:
        if now > self._ms:
            self._ms = now
            self._count = int.from_bytes(self._random(3), "big") >> 1
        else:
            self._count += 1
        count = self._count & 0x3FFFFFF
        tail = self._random(6).hex()
        high, low = count >> 14, count & 0x3FFF
        ms = f"{self._ms:012x}"
        return f"{ms[:8]}-{ms[8:]}-7{high:03x}-{0x8000 | low:04x}-{tail}"
