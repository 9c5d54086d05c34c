"""Orders of several containers for the rigs of conftest.py, and how to see what became of each.

Containers are scripts of sh; ``{order}`` in one is a file that they may write to. They wait for files that tests open.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from batchery.core.model import Resources
from batchery.core.pod import SUCCESS
from batchery.engines.engine import Order

DEADLINE = 60.0  # s
INIT = '{"linuxParameters":{"initProcessEnabled":true}}'  # a shell that is the first process ignores SIGTERM


class Pods:
    """A rig that makes pods too."""

    def __init__(self, rig: Any) -> None:
        self.rig = rig

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rig, name)

    def pod(
        self,
        scripts: Mapping[str, str | None],
        *,
        aside: Sequence[str] = (),
        after: Mapping[str, Sequence[tuple[str, str]]] | None = None,
        stop: Mapping[str, int] | None = None,
        start: Mapping[str, int] | None = None,
        timeout: int = 0,
        essential: bool = True,
    ) -> Order:
        """``aside``: those that are not essential. None for a script is one that cannot be started."""
        order = self.rig.order("sh", timeout=timeout)
        first = order.containers[0]
        containers = tuple(
            replace(
                first,
                name=name,
                command=self._command(order, name, script),
                log_path=first.log_path.replace(".log", f".{name}.log"),
                resources=Resources(200, 32),
                essential=essential and name not in aside,
                decides=name not in aside,
                after=tuple((after or {}).get(name, ())),
                stop_timeout=(stop or {}).get(name, 30_000),
                start_timeout=(start or {}).get(name, 0),
                spec=INIT if script is not None else "",
            )
            for name, script in scripts.items()
        )
        return replace(order, containers=containers, several=True)

    def kubernetes(self, first: Mapping[str, str], scripts: Mapping[str, str]) -> Order:
        """Init containers, and containers."""
        after: dict[str, list[tuple[str, str]]] = {}
        last = ""
        for name in first:
            after[name] = [(last, SUCCESS)] if last else []
            last = name
        after |= {name: [(last, SUCCESS)] for name in scripts}
        return self.pod({**first, **scripts}, after=after, essential=False)

    def _command(self, order: Order, name: str, script: str | None) -> tuple[str, ...]:
        if script is None:
            return ("/no/such/program",)
        text = script.replace("{order}", str(self.rig.tmp / f"{order.key.job}.order"))
        return ("sh", "-c", text.replace("{mark}", str(self._mark(order, name))))

    def _mark(self, order: Order, name: str) -> Path:
        return Path(self.rig.tmp) / f"{order.key.job}.{name}.begun"

    def mark(self, name: str) -> str:
        """Part of a script: says that it runs (see `begun`)."""
        return ": >{mark}"

    def wait(self, gate: str) -> str:
        """A script that says that it runs, and waits for `open`."""
        return f": >{{mark}}; until [ -e {self.rig.tmp}/{gate}.gate ]; do sleep .05; done"

    def open(self, gate: str) -> None:
        (Path(self.rig.tmp) / f"{gate}.gate").touch()

    async def begun(self, order: Order, name: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while not self._mark(order, name).exists():
                await asyncio.sleep(0.02)

    def log_of(self, order: Order, name: str) -> str:
        one = next(container for container in order.containers if container.name == name)
        return Path(one.log_path).read_text()
