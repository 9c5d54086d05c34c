"""What waits for the next turn, and when that is.

Commands make the loop turn at once. Engines' reports of a busy time come one by one, a few hundred microseconds apart,
and nobody waits for an answer to them: they make it turn at once when it has rested for `REPORTS_S`, else once it has,
so that the commits of a busy time carry several each (decision 102). Whoever commands meanwhile takes them along.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from batchery.core.messages import Answer, Command
from batchery.run.port import Note

REPORTS_S: Final = 0.005  #: between two turns that are made for reports alone


class Pending:
    """A command on its way, and who waits for its answer."""

    __slots__ = ("answer", "command", "future", "note")

    answer: Answer  # once its turn has come

    def __init__(self, command: Command, future: "asyncio.Future[Any] | None", note: Note | None) -> None:
        self.command, self.future, self.note = command, future, note


class Inbox:
    """Made in the loop that uses it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._commands: list[Pending] = []
        self._reports: list[Pending] = []
        self._wake = asyncio.Event()
        self._ripe = False  # something has waited long enough
        self._timer: asyncio.TimerHandle | None = None
        self._taken = 0.0  # when the last batch was taken, on the loop's clock

    def __len__(self) -> int:
        """How many commands wait."""
        return len(self._commands)

    def __bool__(self) -> bool:
        return bool(self._commands or self._reports)

    def put(self, pending: Pending) -> None:
        """A command that somebody waits for."""
        self._commands.append(pending)
        self._wake.set()

    def report(self, commands: list[Command]) -> None:
        """What an engine reports."""
        self._reports += [Pending(command, None, None) for command in commands]
        rest = self._taken + REPORTS_S - self._loop.time()
        if rest <= 0:
            self.knock()
        elif self._timer is None:
            self._timer = self._loop.call_later(rest, self.knock)

    def knock(self) -> None:
        """Make the loop turn, whatever is here."""
        self._ripe = True
        self._wake.set()

    def knock_in(self, seconds: float) -> None:
        """`knock`, then."""
        self._loop.call_later(seconds, self.knock)

    async def gather(self, rest: Callable[[], float | None]) -> None:
        """Return when it is time to turn. ``rest()``: s until an alarm of the World, None for never."""
        while not (self._commands or self._ripe):
            seconds = rest()
            if seconds is not None and seconds <= 0:
                await asyncio.sleep(0)
                return
            self._wake.clear()
            timer = None if seconds is None else self._loop.call_later(seconds, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def take(self, most: int) -> list[Pending]:
        """Up to so many: reports first, each kind in the order of its coming."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._taken = self._loop.time()
        batch = self._reports + self._commands
        left = max(0, len(self._reports) - most)
        self._reports, self._commands = batch[most : most + left], batch[most + left :]
        self._ripe = bool(self._reports)
        return batch[:most]

    def empty(self) -> list[Pending]:
        """Drop everything; the commands that somebody waits for."""
        commands, self._commands, self._reports = self._commands, [], []
        return commands
