"""The `ulimits` of containerProperties."""

from collections.abc import Sequence
from typing import Final

import msgspec


class _Ulimit(msgspec.Struct, rename="camel"):
    name: str
    soft_limit: int
    hard_limit: int


class _Spec(msgspec.Struct):
    ulimits: list[_Ulimit] = []


_decoder: Final = msgspec.json.Decoder(_Spec)


def ulimits(spec: str) -> tuple[tuple[str, int, int], ...]:
    """The ulimits of effective containerProperties (JSON): name, soft, hard."""
    if '"ulimits"' not in spec:
        return ()
    found: Sequence[_Ulimit] = _decoder.decode(spec).ulimits
    return tuple((one.name, one.soft_limit, one.hard_limit) for one in found)
