"""That a server is there, and that limits are kept when it is not: the server's side of warden.py."""

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

import batchery
from batchery.engines import warden
from batchery.engines.engine import EngineError

WAIT_S: Final = 10.0  # for the lock: a warden has it for a moment at a time


class Serving:
    """Of one data directory, with the runtime at ``socket``. ``service``: see warden.py."""

    def __init__(self, data: Path, socket: str, service: int) -> None:
        self._data, self._socket, self._service = data, socket, service
        self._lock = -1
        self._pid = 0  # of a warden that is our child
        tag = hashlib.sha256(os.fsencode(socket)).hexdigest()[:8]
        self._mark = str(data / f"warden-{tag}")
        self._serving = str(data / f"serving-{tag}")

    async def begin(self) -> None:
        """Raises EngineError if another server has this data directory's containers, and OSError."""
        end = asyncio.get_running_loop().time() + WAIT_S
        while (fd := warden.lock(self._serving, wait=False)) < 0:
            if asyncio.get_running_loop().time() > end:
                raise EngineError(f"Another server looks after the containers of {self._data}.")
            await asyncio.sleep(0.01)
        self._lock = fd

    def guard(self, owner: str) -> None:
        """From now on somebody has to outlive us: a warden is started, unless there is one."""
        self.reap()
        if self._pid:
            return
        free = warden.lock(self._mark, wait=False)
        if free < 0:
            return
        os.close(free)
        package = str(Path(batchery.__file__).parent.parent)
        environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": package}
        said = str(self._data / "warden.log")
        argv = [sys.executable, "-P", "-m", "batchery.engines.warden"]
        self._pid = os.posix_spawn(
            sys.executable,
            [*argv, self._serving, self._mark, self._socket, owner, str(self._service)],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
        )

    @property
    def guarded(self) -> bool:
        """Whether a warden of ours is there."""
        self.reap()
        return self._pid != 0

    def reap(self) -> None:
        """Notice that it has gone."""
        if self._pid:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                    return
            self._pid = 0

    def end(self, dismiss: bool = False) -> None:
        """The warden may wake, or has nothing to wake for."""
        if dismiss and self.guarded:
            os.kill(self._pid, signal.SIGTERM)
            os.waitpid(self._pid, 0)
            self._pid = 0
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
