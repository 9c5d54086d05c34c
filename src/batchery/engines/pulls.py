"""Pulling images: once for all attempts that want the same one, and only for as long as one of them does.

A runtime gives up a pull when the connection is closed, so a pull that nobody waits for any more is ended by that: a
job that is terminated while its image comes leaves nothing behind.
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from batchery.config import Registry
from batchery.engines.registries import credentials
from batchery.engines.runtime import Runtime


class Wanted(NamedTuple):
    """An image for a platform ("" is the host's), as whom ("", "" is who the settings say)."""

    image: str
    platform: str
    login: tuple[str, str]


class _Pull:
    def __init__(self, task: "asyncio.Task[None]") -> None:
        self.task = task
        self.waiting = 0


class Pulls:
    """Of one runtime."""

    def __init__(self, runtime: Runtime, registries: Mapping[str, Registry]) -> None:
        self._runtime = runtime
        self._registries = registries
        self._going: dict[Wanted, _Pull] = {}

    async def get(self, image: str, platform: str, login: tuple[str, str] = ("", "")) -> None:
        """Returns when the image is here. ``login``: user and password at its registry, before those of the settings.

        Raises RuntimeFault in the runtime's words, ConnectionError, or OSError if a password's file cannot be read.
        """
        wanted = Wanted(image, platform, login)
        pull = self._going.get(wanted)
        if pull is None:
            auth = credentials(image, self._registries, login)
            pull = self._going[wanted] = _Pull(asyncio.create_task(self._runtime.pull(image, auth, platform)))
        pull.waiting += 1
        try:
            await asyncio.shield(pull.task)
        finally:
            pull.waiting -= 1
            if not pull.waiting:
                del self._going[wanted]
                pull.task.cancel()

    async def close(self) -> None:
        """Give up what is being pulled."""
        tasks = [pull.task for pull in self._going.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
