"""The server's end of the socket to the agent."""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from batchery.engines import wire

_log = logging.getLogger(__name__)


class Line(asyncio.Protocol):
    """The socket to the agent."""

    def __init__(self, heard: Callable[[wire.Told | wire.Surveyed], None]) -> None:
        self._heard = heard
        self._frames = wire.Frames()
        self.transport: asyncio.Transport | None = None
        self.welcome: asyncio.Future[wire.Welcome] = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                for message in wire.from_agent.decode(body):
                    if not isinstance(message, wire.Welcome):
                        self._heard(message)
                    elif not self.welcome.done():
                        self.welcome.set_result(message)
        except ValueError as error:
            _log.error("the agent says what cannot be understood: %s", error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.lost.set()
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionResetError("the agent hung up"))
            self.welcome.exception()  # whether or not anybody waits for it

    def send(self, *messages: object) -> None:
        if self.transport is not None:
            self.transport.write(wire.frame(messages))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()
