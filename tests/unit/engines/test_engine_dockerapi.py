"""The client of the runtimes' API, against a script on a Unix socket."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from batchery.engines.dockerapi import DockerApi, Pieces, box_of, stamp
from batchery.engines.runtime import RuntimeFault
from batchery.engines.unixhttp import Hangup, UnixHttp


@contextlib.asynccontextmanager
async def scripted(path: Path, *answers: bytes) -> AsyncIterator[list[bytes]]:
    """Each connection gets the next answers, one a request; b"" hangs up. What was asked is collected."""
    heard: list[bytes] = []
    left = list(answers)
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
                heard.append(head + await reader.readexactly(size))
                answer = left.pop(0)
                if not answer:
                    break
                writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield heard
    finally:
        server.close()
        await asyncio.gather(*filter(None, serving))


def whole(status: int, document: Any) -> bytes:
    body = json.dumps(document).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body


async def test_a_connection_is_used_again_and_a_closed_one_is_replaced(tmp_path: Path) -> None:
    async with scripted(tmp_path / "s", whole(200, 1), whole(200, 2), b"", whole(200, 3)) as heard:
        http = UnixHttp(str(tmp_path / "s"))
        assert [(await http.request("GET", "/")).json() for _ in range(3)] == [1, 2, 3]
        assert len(heard) == 4
        await http.close()


async def test_what_must_not_be_repeated_is_not(tmp_path: Path) -> None:
    async with scripted(tmp_path / "s", whole(200, 1), b"") as heard:
        http = UnixHttp(str(tmp_path / "s"))
        await http.request("GET", "/")
        with pytest.raises(Hangup):
            await http.request("POST", "/start", once=True)
        assert len(heard) == 2
        await http.close()


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(Hangup, match="No such file"):
        await UnixHttp(str(tmp_path / "nothing")).request("GET", "/")


async def test_a_refusal_has_the_runtimes_words(tmp_path: Path) -> None:
    async with scripted(tmp_path / "s", whole(409, {"message": "in use"})):
        api = DockerApi(str(tmp_path / "s"))
        with pytest.raises(RuntimeFault, match="in use") as fault:
            await api.create("x", {})
        assert fault.value.status == 409
        await api.close()


async def test_a_container_whose_process_ends_while_it_is_looked_at_is_looked_at_again(tmp_path: Path) -> None:
    ended = whole(500, {"message": "read /proc/1148/cgroup: no such process"})
    async with scripted(tmp_path / "s", ended, ended, whole(404, {"message": "gone"})) as heard:
        api = DockerApi(str(tmp_path / "s"))
        assert await api.inspect("x") is None
        assert len(heard) == 3
        await api.close()


async def test_a_pull_says_who_we_are_and_hears_of_an_error_in_the_middle(tmp_path: Path) -> None:
    progress = chunked(b'{"status":"pul', b'ling"}\n', b'{"error":"denied"}\n')
    async with scripted(tmp_path / "s", progress, chunked(b'{"status":"done"}\n')) as heard:
        api = DockerApi(str(tmp_path / "s"))
        auth = {"username": "u", "password": "p"}
        with pytest.raises(RuntimeFault, match="denied"):
            await api.pull("a.example/b", auth)
        await api.pull("a.example/b:3", None, "linux/arm64")
        sent = next(line for line in heard[0].split(b"\r\n") if line.startswith(b"X-Registry-Auth: "))
        assert json.loads(base64.urlsafe_b64decode(sent[17:])) == auth
        assert b"fromImage=a.example%2Fb&tag=latest " in heard[0]
        assert b"fromImage=a.example%2Fb%3A3&platform=linux%2Farm64 " in heard[1]
        await api.close()


async def test_output_comes_in_pieces(tmp_path: Path) -> None:
    one, two = b"\x01\0\0\0\0\0\0\x03abc", b"\x02\0\0\0\0\0\0\x02de"
    async with scripted(tmp_path / "s", chunked(one[:5], one[5:] + two[:9], two[9:])):
        api = DockerApi(str(tmp_path / "s"))
        assert [piece async for piece in api.output("x", follow=True)] == [b"abc", b"de"]
        await api.close()


def test_pieces_wait_for_their_rest() -> None:
    pieces = Pieces()
    assert pieces.feed(b"\x01\0\0\0\0\0\0") == []
    assert pieces.feed(b"\x01") == []
    assert pieces.feed(b"x") == [b"x"]


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0001-01-01T00:00:00Z", 0),
        ("", 0),
        ("1970-01-01T00:00:01.5Z", 1500),
        ("1970-01-01T01:00:00.123456789+01:00", 123),
    ],
)
def test_stamps(text: str, ms: int) -> None:
    assert stamp(text) == ms


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("running", "running"),
        ("paused", "running"),
        ("configured", "created"),
        ("stopped", "exited"),
        ("dead", "exited"),
    ],
)
def test_states(status: str, state: str) -> None:
    assert box_of({"Id": "a", "State": {"Status": status}}).state == state
