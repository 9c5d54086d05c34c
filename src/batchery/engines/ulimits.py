"""The `ulimits` of containerProperties."""

import resource
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


def own_limits() -> dict[str, str]:
    """At most ours: where a request names none Podman asks for millions, which only who may raise limits gets."""
    found = {}
    for name, number, most in (("nofile", resource.RLIMIT_NOFILE, 1 << 20), ("nproc", resource.RLIMIT_NPROC, 1 << 15)):
        soft, hard = (most if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(number))
        found[name] = f"{min(soft, most)}:{min(hard, most)}"
    return found
