"""Who may begin: what the host and the pools have, and the orders held until there is room.

Orders begin in the order they came. One that lacks vCPUs holds back those of its pool, one that lacks GPUs also those
that want GPUs, one that lacks memory everybody: so nothing is overtaken for ever. An order larger than the host, or
than its pool, is cut to it and so runs alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

from batchery.core.model import AttemptKey
from batchery.engines.wire import Task


class Share(NamedTuple):
    """What one attempt holds: of its pool, of the host's memory (MiB), and which GPUs."""

    pool: str
    vcpus: int
    memory: int
    gpus: tuple[int, ...] = ()


class Room:
    """Counts of what runs, and the orders held."""

    def __init__(self, memory: int, gpus: int) -> None:
        self.memory = memory
        self.gpus = gpus
        self.held: dict[AttemptKey, Task] = {}
        self._memory = 0
        self._pools: dict[str, int] = {}
        self._gpus: set[int] = set()

    def resize(self, memory: int, gpus: int) -> None:
        self.memory, self.gpus = memory, gpus

    def next_ones(self) -> Iterator[Task]:
        """Orders that may begin now; `take` each before asking for the next."""
        stuck: set[str] = set()
        gpus_stuck = False
        for task in list(self.held.values()):
            if task.pool in stuck or (gpus_stuck and task.gpus):
                continue
            if self._pools.get(task.pool, 0) + min(task.vcpus, task.pool_vcpus) > task.pool_vcpus:
                stuck.add(task.pool)
            elif self._memory + min(task.memory, self.memory) > self.memory:
                return
            elif len(self._gpus) + min(task.gpus, self.gpus) > self.gpus:
                gpus_stuck = True
                stuck.add(task.pool)
            else:
                del self.held[task.key]
                yield task

    def take(self, task: Task) -> Share:
        """It begins: what it holds from now on."""
        free = (index for index in range(self.gpus) if index not in self._gpus)
        gpus = tuple(index for index, _ in zip(free, range(task.gpus), strict=False))
        share = Share(task.pool, min(task.vcpus, task.pool_vcpus), min(task.memory, self.memory), gpus)
        self.take_again(share)
        return share

    def take_again(self, share: Share) -> None:
        """It began before this room was made."""
        self._memory += share.memory
        self._pools[share.pool] = self._pools.get(share.pool, 0) + share.vcpus
        self._gpus.update(share.gpus)

    def give(self, share: Share) -> None:
        """It is over."""
        self._memory -= share.memory
        self._gpus.difference_update(share.gpus)
        left = self._pools.pop(share.pool, 0) - share.vcpus
        if left > 0:
            self._pools[share.pool] = left
