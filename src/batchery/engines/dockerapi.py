"""Docker's API (version 1.40 and later), which Podman's service speaks too. Decision 120.

Where the two differ: Podman's own `wait` is asked with an interval, since its Docker-like one looks only four times a
second; and it says "stopped" where Docker says "exited".
"""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from batchery.engines.runtime import Box, Image, RuntimeFault
from batchery.engines.unixhttp import Answer, UnixHttp

_API: Final = "/v1.40"
_LIBPOD: Final = "/v4.0.0/libpod"
_RUNS: Final = ("running", "paused", "stopping", "removing", "restarting")
_NEW: Final = ("created", "configured", "initialized")
#: Podman reads files of a process that may end meanwhile, and says so; a moment later it knows of the end.
_ENDING: Final = "no such process"
_ENDING_S: Final = (0.05, 0.2, 1.0, 3.0)
_QUICK_S: Final = 2.0  # how long Podman looks often
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")
_HEADER: Final = 8  # bytes before each piece of output: stream, three of nothing, length


_PAGE: Final = 4096


class DockerApi:
    """The runtime behind one Unix socket."""

    def __init__(self, socket_path: str, name: str = "docker") -> None:
        self.name = name
        self.version = ""
        self.socket = socket_path
        self.service = 0
        self.http = UnixHttp(socket_path)

    async def look(self) -> dict[str, str]:
        said = (await self._ask("GET", "/version", patience=20)).json()
        names = [str(part.get("Name", "")) for part in said.get("Components") or []]
        self.name = "podman" if any("Podman" in name for name in names) else "docker"
        self.version = str(said.get("Version", ""))
        info = (await self._ask("GET", f"{_API}/info", patience=60)).json()
        rootless = any("rootless" in str(option) for option in info.get("SecurityOptions") or [])
        limits = bool(info.get("MemoryLimit"))
        if self.name == "podman":  # what it says in Docker's words is not so for an ordinary user
            host = (await self._ask("GET", f"{_LIBPOD}/info", patience=60)).json().get("host") or {}
            rootless = bool((host.get("security") or {}).get("rootless"))
            limits = "memory" in (host.get("cgroupControllers") or [])
        return {
            "runtime": f"{self.name} {self.version}{' (rootless)' if rootless else ''}",
            "cgroups": f"{info.get('CgroupDriver', '')} v{info.get('CgroupVersion', '')}",
            "memory limits": "enforced" if limits else "not enforced: the runtime cannot",
        }

    async def create(self, name: str, request: Mapping[str, Any], platform: str = "") -> str:
        query = {"name": name, **({"platform": platform} if platform else {})}
        answer = await self._ask("POST", f"{_API}/containers/create?{urlencode(query)}", request)
        return str(answer.json()["Id"])

    async def start(self, box: str) -> None:
        await self._ask("POST", f"{_API}/containers/{box}/start", allow=(304,), once=True)

    async def inspect(self, box: str) -> Box | None:
        answer = await self._ask("GET", f"{_API}/containers/{box}/json", allow=(404, 500))
        for pause in _ENDING_S:
            if answer.status != 500 or _ENDING not in _message(answer.body):
                break
            await asyncio.sleep(pause)
            answer = await self._ask("GET", f"{_API}/containers/{box}/json", allow=(404, 500))
        if answer.status == 500 and "no such container" not in _message(answer.body).lower():
            raise RuntimeFault(500, _message(answer.body))
        return None if answer.status != 200 else box_of(answer.json())

    async def wait(self, box: str) -> None:
        if self.name != "podman":
            await self._ask("POST", f"{_API}/containers/{box}/wait", allow=(404,), patience=None)
            return
        path = f"{_LIBPOD}/containers/{box}/wait?condition=exited&condition=stopped&interval="
        try:
            await self._ask("POST", path + "20ms", allow=(404,), patience=_QUICK_S)
        except TimeoutError:
            await self._ask("POST", path + "250ms", allow=(404,), patience=None)

    async def output(self, box: str, follow: bool) -> AsyncGenerator[bytes, None]:
        path = f"{_API}/containers/{box}/logs?follow={int(follow)}&stdout=1&stderr=1"
        pieces = Pieces()
        async with aclosing(self.http.stream("GET", path)) as stream:
            async for status, data in stream:
                if status != 200:
                    raise RuntimeFault(status, _message(data))
                for piece in pieces.feed(data):
                    yield piece

    async def kill(self, box: str, signal: str) -> None:
        await self._ask("POST", f"{_API}/containers/{box}/kill?signal={signal}", allow=(404, 409))

    async def remove(self, box: str) -> None:
        await self._ask("DELETE", f"{_API}/containers/{box}?force=1&v=1", allow=(404, 409))

    async def pull(self, image: str, auth: Mapping[str, str] | None, platform: str = "") -> None:
        query = {"fromImage": image, **({"platform": platform} if platform else {})}
        if "@" not in image and ":" not in image.rpartition("/")[2]:
            query["tag"] = "latest"
        headers = {}
        if auth:
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(msgspec.json.encode(auth)).decode()
        said = b""
        path = f"{_API}/images/create?{urlencode(query)}"
        async with aclosing(self.http.stream("POST", path, headers)) as stream:
            async for status, data in stream:
                said += data
                if status == 200:
                    *lines, said = said.split(b"\n")
                    _check_progress(lines)
                elif len(said) > 65_536:
                    break
        if said.strip():
            if status != 200:
                raise RuntimeFault(status, _message(said))
            _check_progress([said])

    async def image(self, name: str) -> Image | None:
        answer = await self._ask("GET", f"{_API}/images/{quote(name, safe='/:@')}/json", allow=(404,))
        if answer.status != 200:
            return None
        said = answer.json()
        return Image(str(said.get("Os") or "linux"), str(said.get("Architecture", "")))

    async def labelled(self, label: str) -> list[Box]:
        query = urlencode({"all": "1", "filters": msgspec.json.encode({"label": [label]}).decode()})
        listed = (await self._list(f"{_API}/containers/json?{query}")).json()
        found = await asyncio.gather(*(self.inspect(str(one["Id"])) for one in listed))
        return [box for box in found if box is not None]

    async def _list(self, path: str) -> Answer:
        """Podman fails when a container goes while it lists."""
        while True:
            try:
                return await self._ask("GET", path)
            except RuntimeFault as fault:
                if "no such container" not in fault.message.lower():
                    raise

    async def make_volume(self, name: str, memory: int | None) -> str:
        wanted: dict[str, Any] = {"Name": name}
        if memory is not None:
            size = f"nr_blocks={-(-memory // _PAGE)}" if memory else "mode=1777"  # Podman has its own idea of size
            wanted["DriverOpts"] = {"type": "tmpfs", "device": "tmpfs", "o": size}
        said = (await self._ask("POST", f"{_API}/volumes/create", wanted)).json()
        return str(said.get("Mountpoint") or "")

    async def remove_volume(self, name: str) -> None:
        await self._ask("DELETE", f"{_API}/volumes/{name}?force=1", allow=(404, 409))

    async def close(self, *, leave: bool = False) -> None:
        await self.http.close()

    async def _ask(
        self,
        method: str,
        path: str,
        document: Any = None,
        allow: tuple[int, ...] = (),
        patience: float | None = 300.0,
        once: bool = False,
    ) -> Answer:
        answer = await self.http.request(method, path, document, patience=patience, once=once)
        if answer.status >= 400 and answer.status not in allow:
            raise RuntimeFault(answer.status, _message(answer.body))
        return answer


def box_of(said: Mapping[str, Any]) -> Box:
    """A container from what `inspect` says of it."""
    state = said.get("State") or {}
    status = str(state.get("Status", ""))
    networks = ((said.get("NetworkSettings") or {}).get("Networks") or {}).values()
    return Box(
        id=str(said["Id"]),
        state="running" if status in _RUNS else "created" if status in _NEW else "exited",
        labels=(said.get("Config") or {}).get("Labels") or {},
        exit_code=int(state.get("ExitCode") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        pid=int(state.get("Pid") or 0),
        started=stamp(str(state.get("StartedAt") or "")),
        finished=stamp(str(state.get("FinishedAt") or "")),
        address=next((str(one["IPAddress"]) for one in networks if one and one.get("IPAddress")), ""),
        error=str(state.get("Error") or ""),
    )


def stamp(text: str) -> int:
    """Milliseconds since the epoch of RFC 3339 with nanoseconds; 0 for the year 1, which means never."""
    match = _TIME.fullmatch(text)
    if match is None or text.startswith("0001-"):
        return 0
    zone = "+00:00" if match[3] == "Z" else match[3]
    whole = datetime.fromisoformat(match[1] + zone).astimezone(UTC)
    return int(whole.timestamp()) * 1000 + int((match[2] or ".0")[1:4].ljust(3, "0"))


def _message(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body)
        return str(said.get("message") or said.get("cause") or said.get("error") or "")
    except (msgspec.DecodeError, AttributeError):
        return body.decode(errors="replace").strip()[:1000]


def _check_progress(lines: list[bytes]) -> None:
    """Raise RuntimeFault if one of a pull's messages is an error: its status was sent long before."""
    for line in lines:
        if not line.strip():
            continue
        said = msgspec.json.decode(line)
        if isinstance(said, dict) and (error := said.get("error")):
            raise RuntimeFault(500, str(error))


class Pieces:
    """Takes the two streams of a log, which come in one, apart: what was written, in order."""

    def __init__(self) -> None:
        self._left = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that are complete now."""
        left = self._left
        left += data
        found: list[bytes] = []
        at = 0
        while len(left) - at >= _HEADER:
            end = at + _HEADER + int.from_bytes(left[at + 4 : at + 8], "big")
            if end > len(left):
                break
            found.append(bytes(left[at + _HEADER : end]))
            at = end
        del left[:at]
        return found
