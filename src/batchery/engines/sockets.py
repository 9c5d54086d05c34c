"""Where container runtimes listen, and a service of Podman's for whoever has none.

Podman has no daemon: its API is there while `podman system service` runs. Where systemd does not start that on demand,
the engine does, and ends it when it is closed; containers do not notice. After a crash the
next server uses the one that is there, or the warden ends it.
"""

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from batchery.config import Container
from batchery.engines import census, places
from batchery.engines.dockerapi import DockerApi
from batchery.engines.engine import EngineError

DOCKER: Final = "docker"
PODMAN: Final = "podman"
START_S: Final = 20.0


def candidates(kind: str, environ: Mapping[str, str]) -> list[str]:
    """Paths of sockets, the likeliest first."""
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    if kind == DOCKER:
        named = environ.get("DOCKER_HOST", "")
        usual = [f"{runtime}/docker.sock", "/var/run/docker.sock"]
    else:
        named = environ.get("CONTAINER_HOST", "")
        usual = [f"{runtime}/podman/podman.sock", *(["/run/podman/podman.sock"] if os.geteuid() == 0 else [])]
    return [path_of(named), *usual] if named.startswith("unix://") else usual


def path_of(address: str) -> str:
    """The path in ``unix:///path``, or the path itself."""
    return address.removeprefix("unix://")


def problem(path: str) -> str:
    """Why nobody can be spoken to there; "" if somebody answers."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        try:
            sock.connect(path)
            sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: batchery\r\nConnection: close\r\n\r\n")
            return "" if sock.recv(64).startswith(b"HTTP/1.1 200") else f"{path} does not answer as a runtime does"
        except PermissionError:
            return f"{path} is not ours to use: be in its group (`docker`), or run Podman rootless"
        except OSError as error:
            return f"{path}: {error.strerror or error}"


def runtime_for(kind: str, settings: Container, data: Path) -> "OwnedApi":
    """A runtime that answers. Raises EngineError with what was tried."""
    given = path_of(settings.socket)
    problems = []
    for path in [given] if given else candidates(kind, os.environ):
        said = problem(path)
        if not said:
            return OwnedApi(path, kind)
        problems.append(said)
    if kind == PODMAN and not given and shutil.which(PODMAN):
        return _serve_podman(data)
    raise EngineError(f"{kind.capitalize()} cannot be used: {'; '.join(problems)}.")


class OwnedApi(DockerApi):
    """A runtime; ``service`` is the pid of what is to be ended with it, 0 for nothing."""

    def __init__(self, path: str, name: str, service: int = 0) -> None:
        super().__init__(path, name)
        self.service = service

    async def close(self, *, leave: bool = False) -> None:
        await super().close()
        if self.service and not leave:
            _end(self.service)
        self.service = 0


def _end(pid: int) -> None:
    """SIGTERM, and up to five seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 5
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    """Of a child, which is waited for, or of what a server before this one left."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        stat = census.stat_of(pid)
        return stat is not None and stat.state not in "ZX"


def _serve_podman(data: Path) -> OwnedApi:
    """Podman's service of this data directory, started if it is not there. Raises EngineError."""
    note = data / "podman.pid"
    try:
        data.mkdir(parents=True, exist_ok=True)
        path = places.new_socket_path(data).with_name("podman.sock")
        if not problem(str(path)):  # of a server that was killed
            return OwnedApi(str(path), PODMAN, int(note.read_text()))
        path.unlink(missing_ok=True)
        pid = _spawn_podman(data, path)
        note.write_text(str(pid))
    except (OSError, ValueError) as error:
        raise EngineError(f"Podman's service cannot be started: {error}.") from None
    end = time.monotonic() + START_S
    while (why := problem(str(path))) and (alive := _alive(pid)) and time.monotonic() < end:
        time.sleep(0.02)
    if why:
        if alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        lines = (data / "podman.log").read_text(errors="replace").strip().splitlines()
        raise EngineError(f"Podman's service does not start: {lines[-1] if lines else why}")
    return OwnedApi(str(path), PODMAN, pid)


def _spawn_podman(data: Path, path: Path) -> int:
    """In the data directory: conmon leaves a file "oom" where the service was started."""
    podman = shutil.which(PODMAN) or PODMAN
    command = [podman, "system", "service", "--time=0", f"unix://{path}"]
    log = str(data / "podman.log")
    return os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", 'cd "$0" && exec "$@"', str(data), *command],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def any_runtime(settings: Container, data: Path, notice: Callable[[str], None]) -> OwnedApi | None:
    """The first that works, Docker before Podman; None, and ``notice`` says why, if there is none."""
    problems = []
    for kind in (DOCKER, PODMAN):
        try:
            return runtime_for(kind, settings, data)
        except EngineError as error:
            problems.append(str(error))
    notice(" ".join(problems))
    return None
