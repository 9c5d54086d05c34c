"""Who may begin: what the host and the pools have, and the orders held until there is room.

Orders begin in the order they came. One that lacks vCPUs holds back those of its pool, one that lacks GPUs also those
that want GPUs, one that lacks memory everybody: so nothing is overtaken for ever. An order larger than the host, or
than its pool, is cut to it and so runs alone.
"""

from collections.abc import Iterator

from batchery.core.model import AttemptKey
from batchery.engines.journal import Slip
from batchery.engines.wire import Task


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

    def take(self, task: Task) -> tuple[int, ...]:
        """It begins: its GPUs, by index."""
        free = (index for index in range(self.gpus) if index not in self._gpus)
        gpus = tuple(index for index, _ in zip(free, range(task.gpus), strict=False))
        self._count(task.pool, min(task.vcpus, task.pool_vcpus), min(task.memory, self.memory), gpus)
        return gpus

    def take_again(self, slip: Slip) -> None:
        """It ran already when this agent started."""
        self._count(slip.pool, slip.vcpus, slip.memory, slip.gpus)

    def give(self, slip: Slip) -> None:
        """It is over."""
        self._memory -= slip.memory
        self._gpus.difference_update(slip.gpus)
        left = self._pools.pop(slip.pool, 0) - slip.vcpus
        if left > 0:
            self._pools[slip.pool] = left

    def _count(self, pool: str, vcpus: int, memory: int, gpus: tuple[int, ...]) -> None:
        self._memory += memory
        self._pools[pool] = self._pools.get(pool, 0) + vcpus
        self._gpus.update(gpus)
