"""Where container runtimes listen, and a service of Podman's for whoever has none.

Podman has no daemon: its API is there while `podman system service` runs. Where systemd does not start that on demand,
the engine does, and ends it when it is closed; containers do not notice.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from batchery.config import Container
from batchery.engines import places
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
    """A runtime; ``service`` is the process to end with it, if it is ours."""

    def __init__(self, path: str, name: str, service: "subprocess.Popen[bytes] | None" = None) -> None:
        super().__init__(path, name)
        self.service = service

    async def close(self) -> None:
        await super().close()
        if self.service is not None:
            self.service.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.service.wait(5)
            self.service = None


def _serve_podman(data: Path) -> OwnedApi:
    """Start `podman system service`. Raises EngineError."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        path = places.new_socket_path(data).with_name("podman.sock")
        path.unlink(missing_ok=True)
        with open(data / "podman.log", "ab") as said:
            service = subprocess.Popen(
                [PODMAN, "system", "service", "--time=0", f"unix://{path}"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=data,  # conmon leaves a file "oom" there
                start_new_session=True,
            )
    except OSError as error:
        raise EngineError(f"Podman's service cannot be started: {error}.") from None
    end = time.monotonic() + START_S
    while (why := problem(str(path))) and service.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    if why:
        service.kill()
        service.wait()
        lines = (data / "podman.log").read_text(errors="replace").strip().splitlines()
        raise EngineError(f"Podman's service does not start: {lines[-1] if lines else why}")
    return OwnedApi(str(path), PODMAN, service)


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
