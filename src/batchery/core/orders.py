"""In which order the lanes of one queue are served: the part of scheduling that a policy decides.

An order knows lanes by their heads only. The plan of a turn (schedule.py), or a snapshot, asks which lane is next,
tells what became of its head, and asks again::

    order = order_of(world, queue, heads, now)
    while (first := order.head()) is not None:
        entry, lane = first
        ...            # one of: order.placed(vcpus), order.moved(lane, next_entry), order.drop(), order.clear()

"The next lane" below is the one that `head` gave.

A new policy is one class here, or in a file of its own, and one line in ORDERS.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heapreplace
from typing import Final, Protocol

from batchery.core.fairshare import FairShare
from batchery.core.model import Entry, Lane, Queue, World
from batchery.core.quotas import QuotaOrder
from batchery.core.shares import FAIR, QUOTA

FIFO: Final = "FIFO"


class Order(Protocol):
    """Serves the lanes of one queue, one task at a time."""

    def head(self) -> tuple[Entry, Lane] | None:
        """The next lane and its head; None when there is nothing more to look at."""
        ...

    def never(self, lane: Lane) -> str:
        """Why the policy can never let a task of this lane run, as a statusReason; "" if it can."""
        ...

    def allows(self, vcpus: int) -> bool:
        """Whether the policy leaves that much to the share of the next lane. If not, the queue waits for itself."""
        ...

    def placed(self, vcpus: int) -> None:
        """A task of the next lane was placed, on so many thousandths of a vCPU. Its entry stands until `moved`."""
        ...

    def moved(self, lane: Lane, entry: Entry | None) -> None:
        """The head of the next lane, which is ``lane``, is this one now; None: the lane is empty."""
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

    def never(self, lane: Lane) -> str:
        return ""

    def allows(self, vcpus: int) -> bool:
        return True

    def placed(self, vcpus: int) -> None:
        pass

    def moved(self, lane: Lane, entry: Entry | None) -> None:
        if entry is None:
            heappop(self._heap)
        else:
            heapreplace(self._heap, (entry, lane))

    def drop(self) -> None:
        heappop(self._heap)

    def clear(self) -> None:
        self._heap.clear()


#: Kind of policy -> makes the order of a queue at a time (ms) from the heads of its lanes.
ORDERS: Final[dict[str, Callable[[World, Queue, dict[Lane, Entry], int], Order]]] = {
    FIFO: lambda world, queue, heads, now: Fifo(heads),
    FAIR: FairShare,
    QUOTA: QuotaOrder,
}


def order_of(world: World, queue: Queue, heads: dict[Lane, Entry], now: int) -> Order:
    """The order of a queue, by its policy."""
    policy = world.policies.get(queue.policy)
    return ORDERS[policy.kind if policy is not None else FIFO](world, queue, heads, now)


def unbounded_order_of(world: World, queue: Queue, heads: dict[Lane, Entry], now: int) -> Order:
    """As if there were room for all: of a quota-managed queue by priority and age, whatever the share."""
    policy = world.policies.get(queue.policy)
    return Fifo(heads) if policy is not None and policy.kind == QUOTA else order_of(world, queue, heads, now)
