"""Orders that wait for the values of their secrets on their way to the engine.

They wait in tasks of their own: a slow source holds back nobody else. An order that is asked back or killed meanwhile
was never with the engine, so its end is reported from here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from batchery.core.model import AttemptKey
from batchery.engines.engine import Order
from batchery.run.secrets import Unresolved

log = logging.getLogger("batchery.filling")


class Filling:
    """``complete`` resolves; ``failed`` is told (order, words) of those that cannot be; ``wake`` when some are
    ready."""

    def __init__(
        self,
        complete: Callable[[Order], Awaitable[Order]],
        failed: Callable[[Order, str], None],
        wake: Callable[[], None],
    ) -> None:
        self._complete, self._failed, self._wake = complete, failed, wake
        self._tasks: dict[AttemptKey, asyncio.Task[None]] = {}
        self._ready: dict[AttemptKey, Order] = {}

    def part(self, orders: list[Order]) -> list[Order]:
        """Those that want nothing; the others begin to be completed."""
        for order in orders:
            if order.wants and order.key not in self._tasks and order.key not in self._ready:
                self._tasks[order.key] = asyncio.create_task(self._fill(order))
        return [order for order in orders if not order.wants]

    async def _fill(self, order: Order) -> None:
        try:
            self._ready[order.key] = await self._complete(order)
        except Unresolved as error:
            self._failed(order, str(error))
        except Exception as error:  # a fault of ours must not leave a job waiting for ever
            log.exception("secrets of %s cannot be resolved", order.key)
            self._failed(order, f"ResourceInitializationError: {type(error).__name__}")
        finally:
            if self._tasks.get(order.key) is asyncio.current_task():
                del self._tasks[order.key]
        self._wake()

    def ready(self) -> list[Order]:
        """Completed since the last call."""
        orders, self._ready = self._ready, {}
        return list(orders.values())

    def forget(self, key: AttemptKey) -> bool:
        """Whether it was waiting here; it is not any more."""
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()
        return self._ready.pop(key, None) is not None or task is not None

    def clear(self) -> None:
        for key in [*self._tasks, *self._ready]:
            self.forget(key)
