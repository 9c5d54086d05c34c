"""Starting a process for an attempt, and hearing of its end.

`os.posix_spawn` and nothing else: glibc does it with vfork, so its price does not grow with the caller. What it cannot
do for the child the caller takes on for that moment: the working directory and the cgroup are inherited (the agent
has one thread). Another user and resource limits need `shim.py`.

Ends are heard through SIGCHLD and wait4, not pidfds: the agent adopts the orphans of its jobs (it is a subreaper) and
so has to wait for any child anyway, one call tells the code and the usage, and it works where there are no pidfds.
Decision 021.
"""

import errno
import json
import os
import pwd
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

#: Python ignores these, and what is ignored stays so across exec.
_IGNORED: Final = tuple(
    number
    for number in (getattr(signal, name, None) for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ"))
    if number is not None
)
_LOG_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_LOG_MODE: Final = 0o640
_SHIM: Final = str(Path(__file__).with_name("shim.py"))


class Identity(NamedTuple):
    """A host user. ``home`` is "" if there is no such directory."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    @property
    def is_self(self) -> bool:
        return self.uid == os.geteuid()


class Usage(NamedTuple):
    """What a process and the children it waited for used."""

    cpu_ms: int
    peak_mib: int


class End(NamedTuple):
    """The end of a child. ``code``: as a shell says it, 128 + signal if killed."""

    pid: int
    code: int
    signal: int
    usage: Usage


class Program(NamedTuple):
    """What to start."""

    argv: Sequence[str]
    environment: dict[str, str]
    log_path: str
    identity: Identity
    limits: Sequence[tuple[str, int, int]] = ()


class Spawned(NamedTuple):
    """A process. ``status`` is the descriptor to watch until the shim has executed the program, -1 without a shim."""

    pid: int
    status: int = -1


def identity_of(user: str) -> Identity:
    """A host user by name or number, "" for the caller's own. Raises LookupError or PermissionError with a sentence."""
    own = os.geteuid()
    try:
        entry = pwd.getpwnam(user) if user and not user.isdigit() else pwd.getpwuid(int(user or own))
    except KeyError:
        if user:
            raise LookupError(f'There is no user "{user}" on this host: change `user` in [process].') from None
        return Identity(own, os.getegid(), (), "")
    home = entry.pw_dir if os.path.isdir(entry.pw_dir) else ""
    if entry.pw_uid == own:
        return Identity(own, os.getegid(), (), home)
    if own != 0:
        name = pwd.getpwuid(own).pw_name
        raise PermissionError(
            f'Jobs are to run as "{user}", but only root can start processes of other users and this is "{name}": '
            "start the server as root, or take `user` out of [process]."
        )
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Identity(entry.pw_uid, entry.pw_gid, groups, home)


_found: dict[tuple[str, str], str] = {}


def program_path(name: str, path: str) -> str:
    """Where this command is, by the job's own PATH, remembered until it is not there. Raises OSError like exec."""
    if "/" in name:
        return name
    if (name, path) in _found:
        return _found[name, path]
    denied = False
    for directory in path.split(":"):
        candidate = os.path.join(directory or ".", name)
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                if len(_found) > 10_000:
                    _found.clear()
                if directory.startswith("/"):
                    _found[name, path] = candidate
                return candidate
            denied = True
    number = errno.EACCES if denied else errno.ENOENT
    raise OSError(number, os.strerror(number), name)


_files: tuple[int, int] | None = None  # limits of open files that children get, if ours are others


def raise_open_files() -> None:
    """This process may open as many files as it can get; what it spawns keeps the limit there was."""
    global _files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS has a limit below the hard one
        return
    _files = (soft, hard)


def _actions(log_path: str) -> list[tuple[Any, ...]]:
    return [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log_path, _LOG_FLAGS, _LOG_MODE),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]


def spawn(program: Program) -> Spawned:
    """Start it in a session of its own, here (the caller's directory and cgroup). Raises OSError like exec does."""
    if program.limits or not program.identity.is_self:
        return _spawn_shim(program)
    name = program.argv[0]
    path = program_path(name, program.environment.get("PATH", ""))
    try:
        return Spawned(_spawn(path, program.argv, program.environment, _actions(program.log_path)))
    except FileNotFoundError:
        if _found.pop((name, program.environment.get("PATH", "")), None) is None:
            raise
    path = program_path(name, program.environment.get("PATH", ""))  # it has moved
    return Spawned(_spawn(path, program.argv, program.environment, _actions(program.log_path)))


def _spawn(path: str, argv: Sequence[str], environment: dict[str, str], actions: Sequence[tuple[Any, ...]]) -> int:
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, _files)
    try:
        return os.posix_spawn(
            path, list(argv), environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_IGNORED
        )
    finally:
        if _files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, own)


def _spawn_shim(program: Program) -> Spawned:
    identity = program.identity
    user = None if identity.is_self else (identity.uid, identity.gid, identity.groups)
    spec = {
        "argv": list(program.argv),
        "environment": program.environment,
        "user": user,
        "limits": list(capped(program.limits)),
    }
    reading, writing = os.pipe()
    try:
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps(spec).encode())
            file.seek(0)
            source = _above(file.fileno())
            target = _above(writing)
            actions = _actions(program.log_path)
            actions += [(os.POSIX_SPAWN_DUP2, source, 3), (os.POSIX_SPAWN_DUP2, target, 4)]
            try:
                pid = _spawn(sys.executable, [sys.executable, "-I", "-S", _SHIM], {}, actions)
            finally:
                os.close(source)
                os.close(target)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    os.set_blocking(reading, False)
    return Spawned(pid, reading)


def _above(fd: int) -> int:
    """A copy above the numbers that the shim's descriptors get, so that none overwrites another."""
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)


def capped(limits: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Limits as this process may set them: only root raises hard ones. Names this system lacks are left out."""
    result = []
    for name, soft, hard in limits:
        number = getattr(resource, "RLIMIT_" + name.upper(), None)
        if number is None:
            continue
        most = resource.getrlimit(number)[1]
        if os.geteuid() != 0 and most != resource.RLIM_INFINITY:
            hard = most if hard < 0 else min(hard, most)
        result.append((name, hard if hard >= 0 and not 0 <= soft <= hard else soft, hard))
    return result


def exec_error(status: int) -> int | None:
    """What the shim says: None not yet, 0 executed, else the errno."""
    try:
        data = os.read(status, 16)
    except BlockingIOError:
        return None
    return int(data) if data else 0


def ends(before: Callable[[int], None]) -> list[End]:
    """Children that have ended. ``before`` is told each pid while its number cannot be taken by another process."""
    result: list[End] = []
    while True:
        try:
            if hasattr(os, "waitid"):
                peek = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if peek is None:
                    return result
                before(peek.si_pid)
                pid, status, used = os.wait4(peek.si_pid, 0)
            else:  # pragma: no cover - systems whose Python lacks waitid
                pid, status, used = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return result
                before(pid)
        except ChildProcessError:
            return result
        result.append(end_of(pid, status, used))


def end_of(pid: int, status: int, used: resource.struct_rusage) -> End:
    """A wait status in words. ru_maxrss is KiB, on macOS bytes."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 128 + number if number else os.WEXITSTATUS(status)
    peak = used.ru_maxrss if sys.platform == "darwin" else used.ru_maxrss * 1024
    return End(pid, code, number, Usage(round((used.ru_utime + used.ru_stime) * 1000), -(-peak // 1048576)))
