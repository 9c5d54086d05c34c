"""Several engines behind one port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

import pytest

from batchery.core.messages import Report, Started
from batchery.core.model import AttemptKey, Capacity, Resources
from batchery.engines.engine import EngineError, Order, Survey, engine_of, members
from batchery.engines.several import SeveralEngines

KEYS = [AttemptKey("j", number, 1) for number in range(4)]


class Telling:
    """An engine that writes down what it is told; ``fault``: what `launch` and `start` raise."""

    def __init__(self, name: str, known: list[AttemptKey] | None = None, fault: Exception | None = None) -> None:
        self.name, self.known, self.fault = name, known or [], fault
        self.told: list[str] = []
        self.says: asyncio.Queue[list[Report] | None] = asyncio.Queue()

    def _note(self, what: str, keys: list[AttemptKey]) -> None:
        self.told.append(f"{what} {' '.join(str(key.index) for key in keys)}")

    async def start(self) -> None:
        if self.fault:
            raise self.fault
        self.told.append("start")

    async def close(self) -> None:
        self.told.append("close")

    def capacity(self) -> Capacity:
        return Capacity(len(self.name))

    async def launch(self, orders: list[Order]) -> None:
        if self.fault:
            raise self.fault
        self._note("launch", [order.key for order in orders])

    async def kill(self, keys: list[AttemptKey], grace: int) -> None:
        self._note(f"kill {grace}", keys)

    async def withdraw(self, keys: list[AttemptKey]) -> None:
        self._note("withdraw", keys)

    async def survey(self) -> dict[AttemptKey, Survey]:
        return {key: Survey(key, "running") for key in self.known}

    async def reports(self) -> AsyncIterator[list[Report]]:
        while (batch := await self.says.get()) is not None:
            yield batch

    async def ack(self, keys: list[AttemptKey]) -> None:
        self._note("ack", keys)

    def facts(self) -> dict[str, str]:
        return {"runs": self.name}


def order(key: AttemptKey, engine: str) -> Order:
    return Order(key, "t", (), Resources(1000, 1), "p", 1000, "e", engine=engine)


@pytest.fixture
def here() -> Telling:
    return Telling("here")


@pytest.fixture
def there() -> Telling:
    return Telling("there!", known=[KEYS[3]])


@pytest.fixture
def both(here: Telling, there: Telling) -> SeveralEngines:
    return SeveralEngines({"here": here, "there": there}, lambda name, kind: "there" if name == "far" else "here")


async def test_effects_go_where_the_order_went(both: SeveralEngines, here: Telling, there: Telling) -> None:
    await both.launch([order(KEYS[0], "here"), order(KEYS[1], "there"), order(KEYS[2], "here")])
    await both.kill([KEYS[1]], 5)
    await both.withdraw([KEYS[0], KEYS[1]])
    await both.ack(KEYS[:2])
    assert here.told == ["launch 0 2", "withdraw 0", "ack 0"]
    assert there.told == ["launch 1", "kill 5 1", "withdraw 1", "ack 1"]


async def test_what_was_acknowledged_or_never_heard_of_is_told_to_all(
    both: SeveralEngines, here: Telling, there: Telling
) -> None:
    await both.launch([order(KEYS[0], "here")])
    await both.ack([KEYS[0]])
    await both.kill([KEYS[0]], 1)
    assert (here.told[-1], there.told) == ("kill 1 0", ["kill 1 0"])


async def test_a_survey_tells_where_attempts_are(both: SeveralEngines, here: Telling, there: Telling) -> None:
    assert set(await both.survey()) == {KEYS[3]}
    await both.kill([KEYS[3]], 1)
    assert (here.told, there.told) == ([], ["kill 1 3"])


async def test_if_one_fails_the_others_have_been_told(both: SeveralEngines, here: Telling, there: Telling) -> None:
    here.fault = EngineError("away")
    with pytest.raises(EngineError, match="away"):
        await both.launch([order(KEYS[0], "here"), order(KEYS[1], "there")])
    assert there.told == ["launch 1"]


async def test_all_start_or_none(both: SeveralEngines, here: Telling, there: Telling) -> None:
    there.fault = EngineError("not installed")
    with pytest.raises(EngineError, match="not installed"):
        await both.start()
    assert here.told == ["start", "close"]
    there.fault = None
    await both.start()
    await both.close()
    assert there.told == ["start", "close"]


async def test_reports_of_all_come_in_one_stream(both: SeveralEngines, here: Telling, there: Telling) -> None:
    async with aclosing(both.reports()) as stream:
        there.says.put_nowait([Started(KEYS[0], 1)])
        assert await anext(stream) == [Started(KEYS[0], 1)]
        here.says.put_nowait([Started(KEYS[1], 2)])
        assert await anext(stream) == [Started(KEYS[1], 2)]
        here.says.put_nowait(None)
        with suppress(StopAsyncIteration):
            raise AssertionError(await anext(stream))


def test_what_is_said_of_them(both: SeveralEngines, here: Telling) -> None:
    assert both.capacity() == Capacity(4)
    assert both.facts() == {"here: runs": "here", "there: runs": "there!"}
    assert both.name == "here+there"
    assert list(members(both)) == ["here", "there"]
    assert engine_of(both)("far", "EC2") == "there"
    assert members(here) == {"": here}
    assert engine_of(here)("far", "EC2") == ""
