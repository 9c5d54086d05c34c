"""HTTP/1.1 over a Unix socket, as much of it as a container runtime's API needs.

Connections are kept and used again; a stream has one of its own, which is closed with it. A request on a kept
connection that turns out to be closed is sent once more on a fresh one: the runtime closes idle ones at will, and had
not read it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import httptools
import msgspec

READ_BYTES: Final = 65_536
KEPT: Final = 16  # idle connections
#: Of an answer that is not a stream; none of ours takes longer unless the runtime hangs.
PATIENCE_S: Final = 300.0


class Hangup(ConnectionError):
    """The runtime closed the connection, or is not there."""


class Answer:
    """A whole answer."""

    __slots__ = ("body", "status")

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    def json(self) -> Any:
        """Raises msgspec.DecodeError."""
        return msgspec.json.decode(self.body)


class Connection:
    """One connection, and the answer that is being read from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = "batchery") -> None:
        self.reader, self.writer, self.host = reader, writer, host
        self._expect()

    def _expect(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.chunks: list[bytes] = []
        self.headed = self.complete = False
        self.keep = False

    def on_headers_complete(self) -> None:
        self.headed = True
        self.keep = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.complete = True

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self._expect()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)

    async def feed(self) -> bool:
        """Read on. False at the end of the connection. Raises Hangup."""
        try:
            data = await self.reader.read(READ_BYTES)
            if data:
                self.parser.feed_data(data)
        except (OSError, httptools.HttpParserError) as error:
            raise Hangup(str(error)) from None
        return bool(data)

    @property
    def status(self) -> int:
        return int(self.parser.get_status_code())

    def take(self) -> bytes:
        body = b"".join(self.chunks)
        self.chunks.clear()
        return body

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class UnixHttp:
    """A client of the API behind one socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._idle: list[Connection] = []
        self._closing: set[asyncio.Task[None]] = set()

    async def request(
        self,
        method: str,
        path: str,
        document: Any = None,
        headers: Mapping[str, str] | None = None,
        patience: float | None = PATIENCE_S,
        once: bool = False,
    ) -> Answer:
        """One request, its whole answer. Raises Hangup, or TimeoutError after ``patience`` seconds.

        ``once``: never sent twice, so on a fresh connection.
        """
        body = b"" if document is None else msgspec.json.encode(document)
        sent = {"Content-Type": "application/json", **(headers or {})}
        async with asyncio.timeout(patience):
            while self._idle and not once:
                connection = self._idle.pop()
                if connection.reader.at_eof():
                    self._close(connection)
                    continue
                with contextlib.suppress(Hangup):
                    return await self._answer(connection, method, path, sent, body)
            return await self._answer(await self._open(), method, path, sent, body)

    async def _open(self) -> Connection:
        try:
            return Connection(*await asyncio.open_unix_connection(self.path))
        except OSError as error:
            raise Hangup(f"{self.path}: {error.strerror or error}") from None

    async def _answer(
        self, connection: Connection, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        try:
            connection.send(method, path, headers, body)
            while not connection.complete:
                if not await connection.feed() and not connection.complete:
                    raise Hangup(f"{self.path} was closed during {method} {path.partition('?')[0]}")
        except BaseException:
            self._close(connection)
            raise
        answer = Answer(connection.status, connection.take())
        if connection.keep and len(self._idle) < KEPT:
            self._idle.append(connection)
        else:
            self._close(connection)
        return answer

    async def stream(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Status and bytes of the body as they come. Raises Hangup at an end that was not announced."""
        connection = await self._open()
        try:
            connection.send(method, path, headers or {}, b"")
            while not connection.complete:
                alive = await connection.feed()
                if connection.headed and connection.chunks:
                    yield connection.status, connection.take()
                if not alive and not connection.complete:
                    if connection.headed and not connection.keep:
                        return  # a body that ends with the connection
                    raise Hangup(f"{self.path} was closed")
            if connection.chunks:
                yield connection.status, connection.take()
        finally:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        """Begin to; `close` waits for its end."""
        task = asyncio.get_running_loop().create_task(connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close what is idle, and wait for what is being closed."""
        while self._idle:
            self._close(self._idle.pop())
        await asyncio.gather(*self._closing, return_exceptions=True)
