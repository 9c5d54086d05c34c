"""In which order the lanes of one queue are served: the part of scheduling that a policy decides.

An order knows lanes by their heads only. The plan of a turn (schedule.py), or a snapshot, asks which lane is next,
tells what became of its head, and asks again::

    order = order_of(world, queue, heads, now)
    while (first := order.head()) is not None:
        entry, lane = first
        ...            # one of: order.placed(vcpus), order.moved(next_entry), order.drop()

A new policy is one class here, or in a file of its own, and one line in ORDERS.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heapreplace
from typing import Final, Protocol

from batchery.core.model import Entry, Lane, Queue, World

FIFO: Final = "FIFO"


class Order(Protocol):
    """Serves the lanes of one queue, one task at a time."""

    def head(self) -> tuple[Entry, Lane] | None:
        """The next lane and its head; None when there is nothing more to look at."""
        ...

    def placed(self, vcpus: int) -> None:
        """A task of the next lane was placed, on so many thousandths of a vCPU. Its entry stands until `moved`."""
        ...

    def moved(self, entry: Entry | None) -> None:
        """The head of the next lane is this one now; None: the lane is empty."""
        ...

    def drop(self) -> None:
        """The next lane must wait: not this turn."""
        ...

    def clear(self) -> None:
        """The whole queue must wait."""
        ...


class Fifo:
    """By age, whatever the lane."""

    def __init__(self, heads: dict[Lane, Entry]) -> None:
        self._heap = [(entry, lane) for lane, entry in heads.items()]
        heapify(self._heap)

    def head(self) -> tuple[Entry, Lane] | None:
        return self._heap[0] if self._heap else None

    def placed(self, vcpus: int) -> None:
        pass

    def moved(self, entry: Entry | None) -> None:
        if entry is None:
            heappop(self._heap)
        else:
            heapreplace(self._heap, (entry, self._heap[0][1]))

    def drop(self) -> None:
        heappop(self._heap)

    def clear(self) -> None:
        self._heap.clear()


#: Kind of policy -> makes the order of a queue at a time (ms) from the heads of its lanes.
ORDERS: Final[dict[str, Callable[[World, Queue, dict[Lane, Entry], int], Order]]] = {
    FIFO: lambda world, queue, heads, now: Fifo(heads),
}


def order_of(world: World, queue: Queue, heads: dict[Lane, Entry], now: int) -> Order:
    """The order of a queue, by its policy."""
    return ORDERS[FIFO](world, queue, heads, now)
