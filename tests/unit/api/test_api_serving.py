"""uvicorn with our settings, on a real socket: headers, keep-alive, slow and endless clients."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from batchery.api import serving
from batchery.api.http import make_app
from batchery.api.keys import Keys
from batchery.api.serving import uvicorn_config
from batchery.config import Config

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@contextlib.asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[int]:
    """A server on a free port."""
    sock = socket.create_server(("127.0.0.1", 0))
    config = Config()
    app = make_app(_NoService(), Keys(tmp_path / "keys.json"), config)
    server = uvicorn.Server(uvicorn_config(app, config, sock))
    running = asyncio.create_task(server.serve([sock]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield sock.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        await running


class _NoService:
    """Nothing that is asked here reaches the service."""

    config = Config()
    reads: Any = None

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)

    def record(self, activity: Any) -> None:
        return None

    def now(self) -> int:
        return 0


async def answer(reader: Reader, head: bool = False) -> tuple[str, list[tuple[str, str]], bytes]:
    lines = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode().split("\r\n")
    headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines[1:] if line)]
    size = 0 if head else int(dict(headers)["content-length"])
    return lines[0], headers, await asyncio.wait_for(reader.readexactly(size), 5)


async def test_health_on_a_kept_connection(tmp_path: Path) -> None:
    async with served(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for method in ("GET", "HEAD", "GET"):
            writer.write(f"{method} /health HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            status, headers, body = await answer(reader, method == "HEAD")
            assert status == "HTTP/1.1 200 OK"
            names = [name for name, _ in headers]
            assert sorted(names) == ["content-length", "content-type", "date", "x-amzn-requestid", "x-amzn-trace-id"]
            assert method == "HEAD" or json.loads(body)["status"] == "serving"
        writer.close()


async def test_an_error_over_the_wire(tmp_path: Path) -> None:
    async with served(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/canceljob HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        status, headers, body = await answer(reader)
        assert status == "HTTP/1.1 403 Forbidden"
        assert dict(headers)["x-amzn-errortype"] == "MissingAuthenticationTokenException"
        assert json.loads(body) == {"message": "Missing Authentication Token"}
        writer.close()


async def test_a_body_beyond_the_limit_closes_the_connection(tmp_path: Path) -> None:
    async with served(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/canceljob HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        status, headers, _ = await answer(reader)
        assert status.startswith("HTTP/1.1 413")
        assert dict(headers)["connection"] == "close"
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
CANCEL = b"POST /v1/canceljob HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        CANCEL[:10],
        HEALTH + b"GET /hea",
        CANCEL + b"Content-Length: 9\r\n\r\n{",
        HEALTH + CANCEL + b"Content-Length: 9\r\n\r\n{",
    ],
    ids=["nothing", "head", "second head", "body", "second body"],
)
async def test_a_slow_request_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr(serving, "REQUEST_SECONDS", 0.05)
    async with served(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begin)
        with contextlib.suppress(ConnectionResetError):
            rest = await asyncio.wait_for(reader.read(), 5)
            assert rest.count(b"HTTP/1.1 200 OK") == begin.count(HEALTH)
        writer.close()


async def test_an_endless_head_is_cut_off(tmp_path: Path) -> None:
    async with served(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range(100):
                writer.write(b"X-Header-%d: " % number + b"x" * 1000 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 431 ")
        writer.close()


async def test_a_request_in_pieces(tmp_path: Path) -> None:
    async with served(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            for piece in (CANCEL[:20], CANCEL[20:], b"Content-Length: 2\r\n", b"\r\n", b"{", b"}"):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.002)
            assert (await answer(reader))[0] == "HTTP/1.1 403 Forbidden"
        writer.close()


async def test_a_kept_connection_outlives_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REQUEST_SECONDS", 0.05)
    async with served(tmp_path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await answer(reader))[0] == "HTTP/1.1 200 OK"
            await asyncio.sleep(0.1)
        writer.close()
