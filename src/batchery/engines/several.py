"""Several engines side by side, behind the port of one.

Which of them an attempt goes to is the order's to say (`Order.engine`). Later effects name an attempt by its key alone:
where it went is remembered from its launch, or known from a survey. Of a key that nobody knows every engine is told,
which is what the port allows for: killing the unknown is remembered, acknowledging it is nothing.

Calls go to the engines at the same time, so that one that is slow delays the others no longer than its own call; if one
fails, the others have still been told, and the caller, which repeats what failed, harms nothing. Reports come in one
stream. What each engine has is its own (core/sites.py). Decision 162.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

from batchery.core.messages import Report
from batchery.core.model import AttemptKey, Capacity
from batchery.engines.engine import Engine, EngineError, Order, Survey


class SeveralEngines:
    """``members``: engines by name. ``engine_of``: the name of the engine of an environment, by its name and kind."""

    def __init__(self, members: Mapping[str, Engine], engine_of: Callable[[str, str], str]) -> None:
        self.members = dict(members)
        self.engine_of = engine_of
        self.name = "+".join(self.members)
        self._where: dict[AttemptKey, str] = {}

    async def start(self) -> None:
        """All of them, or none. Raises EngineError."""
        started: list[Engine] = []
        try:
            for engine in self.members.values():
                await engine.start()
                started.append(engine)
        except BaseException:
            for engine in started:
                with suppress(EngineError, OSError):
                    await engine.close()
            raise

    async def close(self) -> None:
        await _all(engine.close() for engine in self.members.values())

    def capacity(self) -> Capacity:
        """Of the engine of an environment that nothing is set for: what is ready-made is measured by it."""
        return self.members[self.engine_of("", "")].capacity()

    async def launch(self, orders: list[Order]) -> None:
        parts: dict[str, list[Order]] = {}
        for order in orders:
            parts.setdefault(order.engine, []).append(order)
            self._where[order.key] = order.engine
        await _all(self.members[name].launch(part) for name, part in parts.items())

    async def kill(self, keys: list[AttemptKey], grace: int) -> None:
        await _all(self.members[name].kill(part, grace) for name, part in self._parts(keys).items())

    async def withdraw(self, keys: list[AttemptKey]) -> None:
        await _all(self.members[name].withdraw(part) for name, part in self._parts(keys).items())

    async def ack(self, keys: list[AttemptKey]) -> None:
        await _all(self.members[name].ack(part) for name, part in self._parts(keys).items())
        for key in keys:
            self._where.pop(key, None)

    def _parts(self, keys: list[AttemptKey]) -> dict[str, list[AttemptKey]]:
        parts: dict[str, list[AttemptKey]] = {}
        for key in keys:
            name = self._where.get(key)
            for one in self.members if name is None else (name,):
                parts.setdefault(one, []).append(key)
        return parts

    async def survey(self) -> dict[AttemptKey, Survey]:
        found: dict[AttemptKey, Survey] = {}
        for name, engine in self.members.items():
            mine = await engine.survey()
            self._where.update(dict.fromkeys(mine, name))
            found |= mine
        return found

    async def reports(self) -> AsyncIterator[list[Report]]:
        """What any of them says. Ends with the first of them that ends, and raises what it raises."""
        queue: asyncio.Queue[list[Report]] = asyncio.Queue()

        async def listen(engine: Engine) -> None:
            async for batch in engine.reports():
                queue.put_nowait(batch)

        listeners = [asyncio.create_task(listen(engine)) for engine in self.members.values()]
        try:
            while True:
                getting = asyncio.create_task(queue.get())
                done, _ = await asyncio.wait([getting, *listeners], return_when=asyncio.FIRST_COMPLETED)
                if getting in done:
                    yield getting.result()
                    continue
                getting.cancel()
                for task in done:
                    task.result()
                return
        finally:
            for task in listeners:
                task.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)

    def facts(self) -> dict[str, str]:
        """Of each, its name before what it says."""
        return {f"{name}: {fact}": words for name, one in self.members.items() for fact, words in one.facts().items()}


async def _all(calls: Iterable[Awaitable[None]]) -> None:
    """At the same time; the first fault is raised when all are over."""
    for found in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(found, BaseException):
            raise found
