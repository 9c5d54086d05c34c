"""What a container runtime does for the container engine: the verbs, and what it is told by them.

`dockerapi.py` is the one implementation: Docker, and Podman through the same API.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

from msgspec import Struct


class RuntimeFault(Exception):
    """The runtime refused, in its own words. ``status``: of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Box(Struct, frozen=True):
    """One container as the runtime knows it. Times are ms since the epoch, 0 for never.

    ``state``: created, running, exited (whatever the runtime calls its shades).
    """

    id: str
    state: str
    labels: Mapping[str, str]
    exit_code: int = 0
    out_of_memory: bool = False
    pid: int = 0
    started: int = 0
    finished: int = 0
    address: str = ""
    error: str = ""


class Image(Struct, frozen=True):
    """An image that is here, and what it is for."""

    system: str
    architecture: str

    def fits(self, platform: str) -> bool:
        """Whether it is for a platform, "os/architecture"; every image is for "" """
        return platform in ("", f"{self.system}/{self.architecture}")


class Runtime(Protocol):
    """Every call raises RuntimeFault for a refusal and ConnectionError when the runtime does not answer."""

    name: str  # docker | podman
    version: str
    socket: str  # where its API is
    service: int  # pid of what has to be ended with it, 0 for nothing

    async def look(self) -> dict[str, str]:
        """Whether it works: what it says of itself. Raises RuntimeFault or ConnectionError."""
        ...

    async def create(self, name: str, request: Mapping[str, Any], platform: str = "") -> str:
        """Make a container; its id. 409 if there is one of this name, 404 if the image is not here."""
        ...

    async def start(self, box: str) -> None:
        """Start it; one that runs already is a success."""
        ...

    async def inspect(self, box: str) -> Box | None:
        """None if there is none."""
        ...

    async def wait(self, box: str) -> None:
        """Returns when it does not run any more, or is gone."""
        ...

    def output(self, box: str, follow: bool) -> AsyncGenerator[bytes, None]:
        """What it has written to stdout and stderr so far, in order; with ``follow`` also the rest, until it ends."""
        ...

    async def kill(self, box: str, signal: str) -> None:
        """One that does not run is a success."""
        ...

    async def remove(self, box: str) -> None:
        """With its anonymous volumes, even if it runs; one that is gone is a success."""
        ...

    async def pull(self, image: str, auth: Mapping[str, str] | None, platform: str = "") -> None: ...

    async def image(self, name: str) -> Image | None:
        """None if it is not here."""
        ...

    async def labelled(self, label: str) -> list[Box]:
        """All containers with ``name=value``, running or not."""
        ...

    async def make_volume(self, name: str, memory: int | None) -> str:
        """A named volume, on disk or, with ``memory`` (bytes, 0 for no limit), in memory; where it is on the host.

        One of this name that is there is a success.
        """
        ...

    async def remove_volume(self, name: str) -> None:
        """One that is gone is a success."""
        ...

    async def close(self, *, leave: bool = False) -> None:
        """Let go of it. ``leave``: somebody else ends the service."""
        ...
