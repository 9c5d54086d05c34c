"""How uvicorn serves the app: HTTP settings and guards against slow or endless clients.

uvicorn bounds idle connections; it does not bound how long a request may take to arrive, how large its head may be,
or how long a client may leave an answer unread. `Guarded` does. The size of bodies is bounded by the app (http.py).
"""

import asyncio
import resource
import socket
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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


def uvicorn_config(app: Any, config: Config, sock: socket.socket | None = None) -> uvicorn.Config:
    """Settings for ``uvicorn.Server(...).serve(sockets=[sock])``. Logging is left as the caller set it up."""
    host, port = sock.getsockname()[:2] if sock is not None else (config.host, config.port)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return uvicorn.Config(
        app,
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
