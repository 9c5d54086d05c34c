"""A fresh, empty working directory for each attempt, removed afterwards.

Making and removing one costs about 75 µs on ext4, nearly all of it the removal; so a directory that was given back
untouched is given out again (same owner, mode and change time, nothing in it). Directories that are to be kept are
named for their attempt.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from batchery.engines.spawn import Identity

KEEP: Final = 64  # untouched ones kept for reuse


class Workdirs:
    """Directories below ``root``; those left by an agent before this one are removed unless ``used`` or kept."""

    def __init__(self, root: Path, used: set[str]) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        os.chmod(root, 0o711)  # jobs of another user pass through, and do not look around
        self._free: list[tuple[str, int, tuple[int, int, int]]] = []
        self._out: dict[str, tuple[int, tuple[int, int, int]]] = {}
        self._last = 0
        for entry in os.scandir(root):
            if entry.name.isdigit() and len(entry.name) < 32 and entry.path not in used:
                remove_tree(entry.path)

    def take(self, task_id: str, identity: Identity, keep: bool) -> str:
        """An empty directory that this user may write. Raises OSError."""
        if keep:
            path = str(self.root / task_id)
            self._make(path, identity)
            return path
        while self._free:
            path, owner, stamp = self._free.pop()
            if owner == identity.uid:
                self._out[path] = (owner, stamp)
                return path
            self._remove(path)
        while True:
            self._last += 1
            path = str(self.root / str(self._last))
            try:
                self._make(path, identity)
            except FileExistsError:  # of an attempt that an agent before this one began
                continue
            self._out[path] = (identity.uid, _stamp(path))
            return path

    def give(self, path: str, keep: bool) -> None:
        """The attempt is over. ``keep``: its directory stays."""
        if keep:
            return
        owner, stamp = self._out.pop(path, (-1, (0, 0, 0)))
        try:
            if owner >= 0 and len(self._free) < KEEP and _stamp(path) == stamp and not os.listdir(path):
                self._free.append((path, owner, stamp))
                return
        except OSError:
            pass
        self._remove(path)

    def close(self) -> None:
        for path, _, _ in self._free:
            self._remove(path)
        self._free.clear()

    def _make(self, path: str, identity: Identity) -> None:
        os.mkdir(path, 0o700)
        if not identity.is_self:
            os.chown(path, identity.uid, identity.gid)

    def _remove(self, path: str) -> None:
        try:
            os.rmdir(path)
        except OSError:
            remove_tree(path)


def remove_tree(path: str) -> None:
    """All of it, directories that nobody may write (caches of build tools) included; what cannot go stays."""

    def allow(function: Callable[..., Any], failed: str, error: object) -> None:
        for one in (os.path.dirname(failed), failed):
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(os.lstat(one).st_mode):
                    os.chmod(one, 0o700)

    for _ in range(64):  # each time one level deeper can be read
        shutil.rmtree(path, onerror=allow)
        if not os.path.lexists(path):
            return


def _stamp(path: str) -> tuple[int, int, int]:
    found = os.stat(path)
    return (found.st_ctime_ns, found.st_mode, found.st_uid)
