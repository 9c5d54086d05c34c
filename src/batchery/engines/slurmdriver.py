"""How Slurm is spoken to: the seam between the engine and a driver, by commands or by slurmrestd.

What the controller refuses is `Refused`, with Slurm's words; where it does not answer, `Unreachable`: whether it heard
is not known then.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from batchery.engines.slurmstate import Listing, Node


class Refused(Exception):
    """Slurm said no; the text says why."""


class Unreachable(Exception):
    """The controller did not answer."""


class Options(NamedTuple):
    """What Slurm has to know of a job. ``memory`` in MiB, ``minutes`` 0 for no limit."""

    cpus: int
    memory: int
    gpus: int
    minutes: int
    tasks: int = 1  # above 1 each has so many CPUs, so much memory and so many GPUs, on any nodes
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    extra: tuple[str, ...] = ()


class Driver(Protocol):
    """One way to speak to one cluster. Every request may raise Refused or Unreachable."""

    name: str

    def check(self) -> None:
        """Raises EngineError if it cannot work here, whatever the cluster says."""
        ...

    async def close(self) -> None: ...

    async def config(self) -> dict[str, str]:
        """slurm.conf as the controller has it, as far as the driver can know it."""
        ...

    async def nodes(self) -> list[Node]: ...

    async def submit(self, name: str, comment: str, options: Options, size: int, script: str) -> None:
        """A job, or for a size above 1 an array with the elements 0 to size-1."""
        ...

    async def listing(self, prefix: str, ended: bool = False) -> Listing:
        """Our jobs that have this in front of their names; ``ended``: also those that are over, as long as Slurm
        remembers them."""
        ...

    async def history(self, names: Sequence[str]) -> Listing:
        """What Slurm's accounting remembers of submissions of these names, long after the controller has forgotten
        them; {} where there is no accounting."""
        ...

    async def signal(self, ids: Sequence[str], tasks: bool = False) -> None:
        """Tell the wrappers of running jobs to look for what they are told, and nothing else of these jobs. ``tasks``:
        of jobs of several tasks, by SIGURG."""
        ...

    async def cancel(self, ids: Sequence[str], waiting: bool = True) -> None:
        """End jobs. ``waiting``: none of them can begin anything any more, so it does not matter what they do now."""
        ...
