"""The life of one container where a runtime would have to be slow at the right moment."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from batchery.core.model import WITHDRAWN, AttemptKey
from batchery.engines import boxed
from batchery.engines.boxed import Boxed
from batchery.engines.containerspec import Facts


class SlowMaking:
    """The runtime is asked to make it, and takes its time."""

    asked: asyncio.Event
    made: asyncio.Event

    def __init__(self, *_: Any) -> None:
        self.creating = False

    async def run(self) -> None:
        self.creating = True
        self.asked.set()
        await self.made.wait()


async def test_one_of_several_that_is_not_needed_any_more_while_it_is_made_goes(
    tmp_path: Path, monkeypatch: Any
) -> None:
    SlowMaking.asked, SlowMaking.made = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(boxed, "Making", SlowMaking)
    removed: list[str] = []

    async def remove(name: str) -> None:
        removed.append(name)

    async def sure(ask: Any) -> Any:
        return await ask()

    async def end(key: AttemptKey) -> None:
        pass

    over: list[Boxed] = []
    engine: Any = SimpleNamespace(
        runtime=SimpleNamespace(remove=remove), sure=sure, over=over.append, prologs=SimpleNamespace(end=end)
    )
    facts = Facts("side", str(tmp_path / "log"), 0, 2000, "pool", 1000, 64, ())
    share: Any = None
    order: Any = object()
    one = Boxed(engine, AttemptKey("job", 0, 1), "name-0", facts, share, order)
    one.gate = asyncio.Event()
    life = asyncio.create_task(one.live())
    await SlowMaking.asked.wait()
    one.doom(WITHDRAWN, 0)
    await asyncio.sleep(0.01)  # it has heard
    SlowMaking.made.set()
    async with asyncio.timeout(5):
        await life
    assert removed == ["name-0"]
    assert over == [one]
    assert one.report is not None
