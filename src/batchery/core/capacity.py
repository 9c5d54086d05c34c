"""What an engine has, what it says, and the settings that the core decides by."""

from collections.abc import Callable

from msgspec import Struct, field

from batchery.core.keys import AttemptKey


class Capacity(Struct, frozen=True):
    """What an engine has. ``ahead``: how many placements beyond it the engine holds, ready to begin."""

    memory: int = 0  #: MiB
    gpus: int = 0
    clamp: bool = True  #: a job too large only for this host runs alone, cut to it
    ahead: int = 0
    queues: bool = False  #: the engine has a queue of its own: memory and gpus are its largest host's, vCPUs its sum
    vcpus: int = 0  #: whole CPUs, 0 for those of this host


class Words(Struct):
    """What the engine says of what waits for it; its own, never stored."""

    attempts: dict[AttemptKey, str] = {}
    trouble: str = ""  #: why nothing new begins at all
    notice: str = ""  #: what is wrong with a part of it, while jobs go on


class Site(Struct):
    """One engine: what it has, what of it is in use (sites.py), and what it says."""

    capacity: Capacity = Capacity()
    memory: int = 0  #: MiB that attempts hold
    gpus: int = 0
    offered: int = 0  #: attempts that are OFFERED
    words: Words = field(default_factory=Words)


def _the_only_one(name: str, kind: str) -> str:
    return ""


class Policy(Struct, frozen=True):
    """Settings the core decides by."""

    strict_head: bool = False
    submitted_for: int = 0  #: ms that a job stays SUBMITTED at least
    engine_of: Callable[[str, str], str] = _the_only_one  #: name and kind of an environment -> its engine
