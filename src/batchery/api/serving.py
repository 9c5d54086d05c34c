"""How uvicorn serves the app: HTTP settings and guards against slow or endless clients.

uvicorn bounds idle connections; it does not bound how long a request may take to arrive, how large its head may be,
or how long a client may leave an answer unread. `Guarded` does. The size of bodies is bounded by the app (http.py).
"""

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from batchery.config import Config

REQUEST_SECONDS: Final = 30  # a client has this long to send a request, from connecting or from its first byte
HEAD_BYTES: Final = 64 * 1024
IDLE_SECONDS: Final = 75  # a kept connection may be silent this long
UNREAD_SECONDS: Final = 60  # an answer may stay unread (unacknowledged by the client's TCP) this long
CONNECTIONS: Final = 8192

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Guarded(HttpToolsProtocol):
    """uvicorn's protocol with a deadline for each request and a limit for its head.

    Most requests arrive in one piece, and then cost no timer.
    """

    _in_head = True
    _arriving = True
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._give_up)
        connected = transport.get_extra_info("socket")
        if connected is not None and hasattr(socket, "TCP_USER_TIMEOUT") and connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._in_head = self._arriving = True
        self._head_bytes = 0
        self._calm()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._arriving = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._arriving:
            if self._deadline is not None:
                self._calm()
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _calm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.abort()


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Answer:
    """An ASGI ``send`` for answers of one piece: head and body leave in one write.

    uvicorn writes them one after the other, which costs a system call, a packet and a wake-up of the client more, and
    looks at every header with two regular expressions; ours are made by us. Decision 100.
    """

    __slots__ = ("_cycle", "_head")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._head: list[bytes] = []

    async def send(self, message: Message) -> None:
        cycle = self._cycle
        if message["type"] == "http.response.start":
            self._start(message)
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self._head.append(message["body"])
        cycle.transport.write(b"".join(self._head))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def _start(self, message: Message) -> None:
        cycle, head = self._cycle, self._head
        head.append(STATUS_LINE[message["status"]])
        for name, value in (*cycle.default_headers, *message["headers"]):
            head += (name, b": ", value, b"\r\n")
            if name == b"connection":
                cycle.keep_alive = False
        closes = not cycle.keep_alive and all(name != b"connection" for name, _ in message["headers"])
        head.append(b"connection: close\r\n\r\n" if closes else b"\r\n")


def in_one_piece(app: Any) -> Any:
    """The app, with `Answer` as its ``send`` where uvicorn serves it."""

    async def served(scope: Message, receive: Receive, send: Send) -> None:
        cycle = getattr(send, "__self__", None)
        await app(scope, receive, Answer(cycle).send if isinstance(cycle, RequestResponseCycle) else send)

    return served


def uvicorn_config(app: Any, config: Config, sock: socket.socket | None = None) -> uvicorn.Config:
    """Settings for ``uvicorn.Server(...).serve(sockets=[sock])``. Logging is left as the caller set it up."""
    host, port = sock.getsockname()[:2] if sock is not None else (config.host, config.port)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return uvicorn.Config(
        in_one_piece(app),
        host=host,
        port=port,
        http=Guarded,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, max(64, soft // 2)),
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=5,
    )
