"""The writer's thread: everything that blocks on the store is done there, one thing after the other.

A queue and one call back into the loop for each piece of work. `run_in_executor` makes a future of its own, a lock and
a chain of callbacks besides, which at one commit for each request was a tenth of the request's price (decision 101).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Writer:
    """Made in the loop that uses it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def do(self, work: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        """The result of ``work(*args)``, which is done even if nobody waits for it any more."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put((future, work, args))
        return future

    def close(self) -> None:
        """Blocks until all work is done."""
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        tell = self._loop.call_soon_threadsafe
        while (item := self._work.get()) is not None:
            future, work, args = item
            try:
                result = work(*args)
                answer, value = _succeed, result
                del result
            except BaseException as error:
                answer, value = _fail, error
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                tell(answer, future, value)
            del item, future, work, args, value  # what they hold is free before the next comes


def _succeed(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", result: Any) -> None:
    if not future.done():
        future.set_exception(result)
