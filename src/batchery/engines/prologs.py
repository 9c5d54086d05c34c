"""Prologs of containers: a command on the host before each, run once whatever happens to the server.

Theory of operation. A prolog is a process of the host in a session of its own, which a server that is killed leaves
behind. Its folder, DATA/prologs/<task id>, is made before it begins and is the claim that it has begun; the shell
around it writes its exit code there. A later server that is given the same attempt finds the folder: it waits for what
still runs, takes the code that was written, and of a prolog that ended without writing one (somebody killed it) says
so. It begins none a second time.
"""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL
from typing import Final

from batchery.core.model import AttemptKey, task_id
from batchery.engines import census

LOOK_S: Final = 0.02
KEPT_S: Final = 7 * 86_400  # folders of attempts that nobody asked about again
#: $0 is where the exit code goes, "$@" the prolog. Renamed when it is written, so that half a code is never read.
_SHELL: Final = '"$@"; code=$?; echo $code >"$0.new" && mv "$0.new" "$0"'


class Prologs:
    """Of one data directory."""

    def __init__(self, data: Path, command: Sequence[str]) -> None:
        self._root = data / "prologs"
        self._command = tuple(command)
        self._children: set[int] = set()  # not waited for yet

    def __bool__(self) -> bool:
        return bool(self._command)

    def prune(self) -> None:
        """Forget those of attempts that nobody has asked about for a week."""
        with contextlib.suppress(FileNotFoundError):
            for folder in self._root.iterdir():
                if time.time() - folder.stat().st_mtime > KEPT_S:
                    shutil.rmtree(folder, ignore_errors=True)

    async def run(self, key: AttemptKey, environment: Mapping[str, str], log_path: str) -> int | None:
        """The exit code of the attempt's prolog, None if it was interrupted. Whoever cancels this leaves it running.

        Raises OSError if it cannot be begun.
        """
        folder = self._folder(key)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            pid = 0
        else:
            pid = self._begin(key, folder, environment, log_path)
            self._children.add(pid)
        code = folder / "code"
        while _running(pid) if pid else not code.exists() and self._alive(key):
            await asyncio.sleep(LOOK_S)
        self._children.discard(pid)
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(code.read_text())
        return None

    def _begin(self, key: AttemptKey, folder: Path, environment: Mapping[str, str], log_path: str) -> int:
        appended = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _SHELL, str(folder / "code"), *self._command],
            {"PATH": os.defpath, **environment, "BATCHERY_ATTEMPT": str(key)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log_path, appended, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
        )

    def _alive(self, key: AttemptKey) -> list[census.Stat]:
        return census.members({}, [str(key)]).get(str(key), [])

    async def end(self, key: AttemptKey) -> None:
        """Kill it, and wait until nothing of it is left."""
        while self._folder(key).exists() and self._alive(key):
            self.kill(key)
            await asyncio.sleep(LOOK_S)
        self._children = {pid for pid in self._children if _running(pid)}

    def kill(self, key: AttemptKey) -> None:
        """End a prolog that runs; it does not matter whose it is."""
        if self._folder(key).exists():
            for stat in self._alive(key):
                census.send(stat, SIGKILL)

    def forget(self, key: AttemptKey) -> None:
        """The attempt is over."""
        if self._command:
            shutil.rmtree(self._folder(key), ignore_errors=True)

    def _folder(self, key: AttemptKey) -> Path:
        return self._root / task_id(key)


def _running(pid: int) -> bool:
    """Of a child of ours."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False
