"""A cgroup per attempt: its memory limit, whether that killed it, its peak, and everything alive in it.

Theory of operation. Two layouts are known. *v1* (and hybrid): the memory controller has a hierarchy of its own; our
subtree is made below the cgroup we were started in. *v2*: one hierarchy, and a cgroup with processes cannot hand
controllers to children; so our subtree goes below the nearest ancestor that hands out `memory` and lets us in, and
the agent moves to a leaf of it.

    <ancestor>/batchery-<name>/          limits are handed out here
                               agent/    v2 only: the agent itself
                               1/ 2/ …   one attempt each

A job is put into its cgroup without a process in between: the agent enters it, spawns (the child inherits it) and goes
back. Moving one's own thread takes no lock in v1 (3 µs there and back); in v2 it takes one (60 µs, some ms when cold).
Making and removing a cgroup costs 200 µs, so a few are kept and used again, unless what ended left much memory charged.
Decision 022.
"""

import os
import signal
from pathlib import Path
from typing import Final, NamedTuple

from batchery.engines import census

KEEP: Final = 64  # cgroups kept for reuse
LEFT_BYTES: Final = 4 * 1024 * 1024  # a cgroup with more left charged is not used again
_MIB: Final = 1024 * 1024


class NoCgroups(Exception):
    """No subtree can be had; the text says why."""


class Layout(NamedTuple):
    """The hierarchy that has the memory controller. ``own`` is the cgroup of this process in it."""

    version: int
    mount: Path
    own: Path


class _Files(NamedTuple):
    enter: str
    limit: str
    peak: str
    usage: str
    events: str


_FILES: Final = {
    1: _Files(
        "tasks", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.usage_in_bytes", "memory.oom_control"
    ),
    2: _Files("cgroup.procs", "memory.max", "memory.peak", "memory.current", "memory.events"),
}


def layout(cgroup: str, mountinfo: str) -> Layout:
    """Take /proc/self/cgroup and /proc/self/mountinfo apart. Raises NoCgroups."""
    paths: dict[str, str] = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, mount = left.split(" ")[3:5]
        version = 1 if kind == "cgroup" and "memory" in options.split(",") else 2 if kind == "cgroup2" else 0
        if version == 0 or (version == 2 and "memory" in paths):
            continue
        path = paths.get("memory" if version == 1 else "", "/")
        inside = path[len(root) :] if root != "/" and path.startswith(root) else path
        own = Path(mount) / inside.strip("/")
        return Layout(version, Path(mount), own if own.is_dir() else Path(mount))
    raise NoCgroups("this system has no cgroup hierarchy with a memory controller")


def host_layout() -> Layout:
    """The layout of this host. Raises NoCgroups."""
    try:
        return layout(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    except OSError:
        raise NoCgroups("this system has no cgroups") from None


class Cgroup:
    """One cgroup. Counters that cannot be reset are read against what they were when it was taken."""

    def __init__(self, path: Path, version: int) -> None:
        self.path = path
        self.name = str(path)
        self.limit = 0  # MiB
        self._procs = self.name + "/cgroup.procs"
        self._files = _FILES[version]
        self._version = version
        self.enter_fd = os.open(path / self._files.enter, os.O_WRONLY | os.O_CLOEXEC)
        self._peak_fd = self._open(self._files.peak, os.O_RDWR)
        self._usage_fd = self._open(self._files.usage, os.O_RDONLY)
        self._events_fd = self._open(self._files.events, os.O_RDONLY)
        self._kills = self.oom_kills()

    def _open(self, name: str, flags: int) -> int:
        try:
            return os.open(self.path / name, flags | os.O_CLOEXEC)
        except OSError:  # memory.peak came with Linux 5.19; only root may reset it in some
            return -1

    def close(self) -> None:
        for fd in (self.enter_fd, self._peak_fd, self._usage_fd, self._events_fd):
            if fd >= 0:
                os.close(fd)

    def start(self, memory: int) -> None:
        """Set the limit (MiB) and begin counting."""
        if memory != self.limit:
            self._set_limit(memory)
            self.limit = memory
        self._kills = self.oom_kills()
        if self._peak_fd >= 0:
            try:
                os.pwrite(self._peak_fd, b"0", 0)  # v2: from Linux 6.12 on, for this descriptor
            except OSError:
                pass

    def _set_limit(self, memory: int) -> None:
        data = str(memory * _MIB)
        if self._version == 2:
            (self.path / self._files.limit).write_text(data)
            self._try("memory.swap.max", "0")
            return
        self._try("memory.memsw.limit_in_bytes", "-1")
        (self.path / self._files.limit).write_text(data)
        self._try("memory.memsw.limit_in_bytes", data)

    def _try(self, name: str, text: str) -> None:
        """Without swap accounting these files are not there."""
        try:
            (self.path / name).write_text(text)
        except OSError:
            pass

    def oom_kills(self) -> int:
        """How many processes the limit has killed here, ever."""
        if self._events_fd < 0:
            return 0
        for line in os.pread(self._events_fd, 4096, 0).split(b"\n"):
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
        return 0

    @property
    def out_of_memory(self) -> bool:
        """The limit killed a process since `start`."""
        return self.oom_kills() > self._kills

    def peak_mib(self) -> int:
        """The most memory used since `start`, in MiB rounded up; 0 if not known."""
        if self._peak_fd < 0:
            return 0
        return -(-int(os.pread(self._peak_fd, 64, 0)) // _MIB)

    @property
    def clean(self) -> bool:
        """Little enough is left charged that the next attempt would not notice."""
        return self._usage_fd >= 0 and int(os.pread(self._usage_fd, 64, 0)) < LEFT_BYTES

    def pids(self) -> list[int]:
        """Live processes in it. Opened anew each time: v1 gives an open file the same list for a second."""
        try:
            fd = os.open(self._procs, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return []
        try:
            return [int(text) for text in os.read(fd, 1 << 20).split()]
        finally:
            os.close(fd)

    def kill(self) -> None:
        """SIGKILL to all of it: at once where the kernel can (v2), else one by one; again until `pids` is empty."""
        if self._version == 2:
            try:
                (self.path / "cgroup.kill").write_text("1")
                return
            except OSError:  # before Linux 5.14
                pass
        for pid in self.pids():
            census.signal_pid(pid, signal.SIGKILL)


class Cgroups:
    """Our subtree. Raises NoCgroups with the reason if none can be had."""

    def __init__(self, name: str, found: Layout, controller: str = "memory") -> None:
        self.version = found.version
        self._controller = controller
        self._free: dict[int, list[Cgroup]] = {}
        self._kept = 0
        self._last = 0
        if found.version == 1:
            self.root = self._make(found.own / name)
            home = found.own / "tasks"
        else:
            self.root, home = self._settle(name, found)
        self.home = str(home)  # the file that moves a thread of ours back
        self.enter_file = _FILES[found.version].enter  # of any cgroup
        try:
            self._home = os.open(home, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NoCgroups(f"{home}: {error.strerror}") from None

    def _make(self, path: Path) -> Path:
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise NoCgroups(f"{path} cannot be made: {error.strerror}") from None
        return path

    def _settle(self, name: str, found: Layout) -> tuple[Path, Path]:
        """v2: the nearest ancestor that hands out the controller and lets us in."""
        why = ""
        ancestors = [found.own, *found.own.parents]
        for ancestor in ancestors[: ancestors.index(found.mount) + 1]:
            try:
                return self._settle_below(ancestor, name)
            except OSError as error:
                why = why or f"{error.filename or ancestor}: {error.strerror}"
        raise NoCgroups(why)

    def _settle_below(self, ancestor: Path, name: str) -> tuple[Path, Path]:
        root = ancestor / name
        root.mkdir(exist_ok=True)
        try:
            if self._controller:
                for directory in (ancestor, root):
                    if self._controller not in (directory / "cgroup.subtree_control").read_text().split():
                        (directory / "cgroup.subtree_control").write_text("+" + self._controller)
            agent = root / "agent"
            agent.mkdir(exist_ok=True)
            (agent / "cgroup.procs").write_text("0")
        except OSError:
            _remove(root / "agent")
            _remove(root)
            raise
        return root, agent / "cgroup.procs"

    def take(self, memory: int) -> Cgroup:
        """A cgroup with this limit (MiB). Raises OSError."""
        cgroup = self._kept_one(memory) or Cgroup(self._fresh(), self.version)
        try:
            cgroup.start(memory)
        except OSError:
            self._discard(cgroup)
            raise
        return cgroup

    def _kept_one(self, memory: int) -> Cgroup | None:
        """One that is still there: systemd removes empty ones of a unit that it stops, while the agent lives on."""
        kept = self._free.get(memory, [])
        while kept:
            self._kept -= 1
            cgroup = kept.pop()
            if os.path.isdir(cgroup.name):
                return cgroup
            cgroup.close()
        return None

    def _fresh(self) -> Path:
        while True:
            self._last += 1
            path = self.root / str(self._last)
            try:
                path.mkdir()
            except FileExistsError:  # another agent's, still in use
                continue
            except FileNotFoundError:  # somebody tidied up while it was empty (v1)
                self.root.mkdir()
                continue
            return path

    def give(self, cgroup: Cgroup) -> None:
        """It is empty: keep it for another attempt, or remove it."""
        if self._kept < KEEP and cgroup.clean:
            self._kept += 1
            self._free.setdefault(cgroup.limit, []).append(cgroup)
        else:
            self._discard(cgroup)

    def _discard(self, cgroup: Cgroup) -> None:
        cgroup.close()
        _remove(cgroup.path)

    def enter(self, cgroup: Cgroup) -> None:
        """What is spawned from now on is in this cgroup, until `leave`."""
        os.write(cgroup.enter_fd, b"0")

    def leave(self) -> None:
        os.write(self._home, b"0")

    def adopt(self, path: str) -> Cgroup | None:
        """The cgroup that an agent before this one used, if it is there."""
        try:
            return Cgroup(Path(path), self.version)
        except OSError:
            return None

    def sweep(self, used: set[str]) -> None:
        """Remove what agents before this one left, except ``used``."""
        for path in self.root.iterdir():
            if path.is_dir() and path.name != "agent" and str(path) not in used:
                _remove(path)

    def close(self) -> None:
        """Give back what is empty; the subtree goes if all of it is."""
        for kept in self._free.values():
            for cgroup in kept:
                self._discard(cgroup)
        self._free.clear()
        os.close(self._home)
        if self.version == 2 and not any(p.is_dir() and p.name != "agent" for p in self.root.iterdir()):
            try:
                (self.root.parent / "cgroup.procs").write_text("0")
            except OSError:
                return  # the agent's own leaf goes with the next one
            _remove(self.root / "agent")
        _remove(self.root)


def _remove(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        pass


def host_memory_mib() -> int:
    """Memory of this host in MiB, or what our own cgroup may use if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        found = host_layout()
    except NoCgroups:
        return total // _MIB
    name = _FILES[found.version].limit
    for directory in (found.own, *found.own.parents):
        try:
            text = (directory / name).read_text().strip()
        except OSError:
            text = "max"
        if text.isdigit():
            total = min(total, int(text))
        if directory == found.mount:
            break
    return total // _MIB
