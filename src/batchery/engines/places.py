"""Where the agent of a data directory is found."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

SOCKET_MAX: Final = 103  # bytes of a Unix socket's path that every system takes


def tag(data: Path) -> str:
    """A short name for a data directory."""
    return hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:12]


def agent_dir(data: Path) -> Path:
    """Where the agent keeps its journal, its log, its lock, and the path of its socket."""
    return data / "agent"


def socket_note(data: Path) -> Path:
    """The file that says where the agent's socket is: a later server may have other run-time directories."""
    return agent_dir(data) / "socket"


def new_socket_path(data: Path) -> Path:
    """A short path for a socket, in a directory of our own. Raises OSError if there is no safe one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    candidates = [Path(runtime) / f"batchery-{tag(data)}"] if runtime and os.access(runtime, os.W_OK) else []
    candidates += [Path(tmp) / f"batchery-{os.geteuid()}-{tag(data)}" for tmp in (tempfile.gettempdir(), "/tmp")]
    for directory in candidates:
        path = directory / "agent.sock"
        if len(os.fsencode(path)) <= SOCKET_MAX:
            own_directory(directory)
            return path
    raise OSError(f"no directory for a socket is short enough: {candidates[0]}")


def own_directory(directory: Path, mode: int = 0o700) -> None:
    """Make it, or make sure that it is nobody else's. Raises OSError."""
    try:
        directory.mkdir(mode=mode)
        return
    except FileExistsError:
        found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{directory} belongs to somebody else")
    directory.chmod(mode)


def reachable(directory: Path) -> bool:
    """Every user may pass through it and all above it."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (directory, *directory.resolve().parents))


def work_root(data: Path, other_user: bool) -> Path:
    """Where working directories are made; for jobs of another user, where that user can come."""
    root = data / "work"
    if not other_user or (data.is_dir() and reachable(data)):
        return root
    directory = Path("/var/tmp") / f"batchery-{os.geteuid()}-{tag(data)}"
    own_directory(directory, 0o711)
    return directory / "work"
