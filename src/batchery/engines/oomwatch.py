"""Whether the kernel killed something of a container for its memory limit, for runtimes that do not notice.

Podman's monitor misses it in v1: the kernel signals an eventfd, and the monitor then reads a counter that is raised
only after the signal. The same signal comes when the cgroup is removed, and only then is its directory gone; so a
signal while it is there is believed. In v2 the monitor notices by itself.
"""

import asyncio
import contextlib
import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup/memory")


class OomWatch:
    """Of the cgroup of one process. ``seen`` once something was killed."""

    __slots__ = ("_control", "_event", "seen")

    def __init__(self, pid: int, root: Path = ROOT, proc: Path = Path("/proc")) -> None:
        self.seen = False
        self._event = -1
        self._control = root
        if not pid or not hasattr(os, "eventfd"):
            return
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = (proc / str(pid) / "cgroup").read_text().splitlines()
            path = next(line.split(":", 2)[2] for line in lines if "memory" in line.split(":", 2)[1].split(","))
            self._control = root / path.strip("/") / "memory.oom_control"
            self._register()

    def _register(self) -> None:
        control = os.open(self._control, os.O_RDONLY | os.O_CLOEXEC)
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._control.with_name("cgroup.event_control").write_text(f"{self._event} {control}")
            asyncio.get_running_loop().add_reader(self._event, self._signalled)
        except OSError:
            self.close()
            raise
        finally:
            os.close(control)

    def _signalled(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.seen = self.seen or os.eventfd_read(self._event) > 1 or self._control.exists()

    def close(self) -> None:
        if self._event >= 0:
            asyncio.get_running_loop().remove_reader(self._event)
            os.close(self._event)
            self._event = -1
