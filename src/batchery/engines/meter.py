"""CPU time and peak memory of a container, read from its cgroup while it runs.

The runtime removes the cgroup with the container, so what is known is what was read last: right after the start, after
a tenth of a second, and then twice a second.
"""

from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
_V1: Final = Path("/sys/fs/cgroup")


class Meter:
    """One container's."""

    __slots__ = ("_cpu", "_peak", "cpu_ms", "peak_mib")

    def __init__(self, pid: int, proc: Path = Path("/proc"), root: Path = _V1) -> None:
        self.cpu_ms = 0
        self.peak_mib = 0
        self._cpu, self._peak = _files(pid, proc, root) if pid else ([], [])

    def sample(self) -> None:
        """Read again; what cannot be read any more keeps its last value."""
        for path in self._cpu:
            if (value := _cpu(path)) is not None:
                self.cpu_ms = max(self.cpu_ms, value)
                break
        for path in self._peak:
            try:
                peak = int(path.read_text())
            except (OSError, ValueError):
                continue
            self.peak_mib = max(self.peak_mib, -(-peak // MIB))
            break


def _files(pid: int, proc: Path, root: Path) -> tuple[list[Path], list[Path]]:
    """Where to look, best first, for what the cgroup of this process has used."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return [], []
    cpu: list[Path] = []
    peak: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if "cpuacct" in names:
            cpu += [root / name / path.strip("/") / "cpuacct.usage" for name in ("cpuacct", controllers)]
        if "memory" in names:
            peak.append(root / "memory" / path.strip("/") / "memory.max_usage_in_bytes")
        if not controllers:
            cpu.append(root / path.strip("/") / "cpu.stat")
            peak += [root / path.strip("/") / name for name in ("memory.peak", "memory.current")]
    return cpu, peak


def _cpu(path: Path) -> int | None:
    """Milliseconds."""
    try:
        text = path.read_text()
        if path.name == "cpuacct.usage":
            return int(text) // 1_000_000
        return next(int(line.split()[1]) // 1000 for line in text.splitlines() if line.startswith("usage_usec"))
    except (OSError, ValueError, StopIteration):
        return None
