"""The files of service jobs: written before an attempt begins, read when it has ended, swept when it is forgotten.

What they are is spec/servicefiles.py's to say.
"""

import hashlib
import logging
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec.structs import replace

from batchery.config import Config
from batchery.core.messages import Command, Exited
from batchery.core.model import EXIT, AttemptKey, ContainerEnd, World, task_id
from batchery.spec.service import host_name, template_of
from batchery.spec.servicefiles import FAILURE, FAILURE_CHARS, Files

log = logging.getLogger("batchery.services")


def root_of(config: Config) -> Path:
    """Where the directories of all attempts are.

    The data directory is nobody's but the server's: jobs of another host user (process.user) could not come to theirs,
    so then they are beside the working directories, below /var/tmp.
    """
    if config.services.directory:
        return Path(config.services.directory).absolute()
    data = Path(config.data).absolute()
    if not config.process.user:
        return data / "services"
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    return Path("/var/tmp") / f"batchery-services-{os.geteuid()}-{name}"


def folder_of(config: Config, task: str) -> Path:
    """The directory of an attempt."""
    return root_of(config) / task[-2:] / task


def write(root: Path, files: Files, user: str) -> None:
    """Make them, for the host user that jobs run as ("": ours), below ``root`` (root_of). Again does no harm. Raises
    OSError."""
    _ours(root)
    files.root.mkdir(mode=0o755, parents=True, exist_ok=True)
    for folder in files.folders:
        (files.root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.texts.items():
        (files.root / name).write_text(text, encoding="utf-8")
    for name, target in files.links.items():
        path = files.root / name
        if path.is_symlink() and os.readlink(path) != target:
            path.unlink()
        if not path.is_symlink():
            path.symlink_to(target)
    if files.open:
        files.root.chmod(0o700)
    for folder in files.open:
        (files.root / folder).chmod(0o777)
    if user and os.geteuid() == 0:
        owner = pwd.getpwnam(user)
        for path in (files.root, *files.root.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def _ours(root: Path) -> None:
    """It is there, and nobody else's where anybody could have made it."""
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    found = root.lstat()
    if root.parent == Path("/var/tmp") and (not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid()):
        raise PermissionError(f"{root} belongs to somebody else: say where it is to be in services.directory")


def told(world: World, config: Config, command: Command) -> Command:
    """The report of an attempt's end, with what the training scripts wrote of their failure."""
    if not isinstance(command, Exited) or command.cause != EXIT or command.key not in world.live:
        return command
    if not world.jobs[command.key.job].service or not any(end.exit_code for end in command.containers):
        return command
    root = folder_of(config, task_id(command.key))
    return replace(command, containers=tuple(_with_words(root, end) for end in command.containers))


def _with_words(root: Path, end: ContainerEnd) -> ContainerEnd:
    """Of one host: algo-1, which a job with one instance calls "default", has its files in the directory itself."""
    base = root if end.name in ("default", host_name(1)) else root / end.name
    try:
        with open(base / FAILURE, encoding="utf-8", errors="replace") as file:
            words = file.read(FAILURE_CHARS).strip()
    except OSError:
        return end
    return replace(end, reason=words) if words and end.exit_code else end


def grace_of(world: World, config: Config, key: AttemptKey) -> int:
    """Seconds between SIGTERM and SIGKILL."""
    attempt = world.live.get(key)
    if attempt is None or not world.jobs[key.job].service:
        return config.kill_grace
    return template_of(config, world.environments[attempt.environment].name).stop_timeout


def longest_grace(world: World, config: Config) -> int:
    """Of all attempts that are alive: how long it takes to stop them, in s."""
    return max((grace_of(world, config, key) for key in world.live), default=config.kill_grace)


def by_grace(world: World, config: Config, keys: Iterable[AttemptKey]) -> dict[int, list[AttemptKey]]:
    """Attempts by the seconds that they have between SIGTERM and SIGKILL."""
    found: dict[int, list[AttemptKey]] = {}
    for key in keys:
        found.setdefault(grace_of(world, config, key), []).append(key)
    return found


class Sweeper:
    """Removes what is forgotten. What it may not remove it tells of, once: containers leave files of other users."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._told: set[str] = set()

    def sweep(self, before: int, living: Callable[[str], bool]) -> int:
        """The directories of attempts that are not ``living`` and older than ``before`` (ms); how many went."""
        gone = 0
        stay: list[str] = []
        for shelf in self._root.glob("??"):
            for path in shelf.iterdir():
                if path.stat().st_mtime_ns // 1_000_000 >= before or living(path.name):
                    continue
                shutil.rmtree(path, ignore_errors=True)
                if path.exists():
                    stay.append(str(path))
                else:
                    gone += 1
        self._tell([path for path in stay if path not in self._told])
        return gone

    def _tell(self, stay: list[str]) -> None:
        self._told.update(stay)
        if stay:
            log.warning(
                "%d directories of service jobs have files that are not ours to remove, left by containers, and stay: "
                "%s. Remove them as root, or with `podman unshare rm -r` where Podman is rootless.",
                *(len(stay), ", ".join(stay[:3]) + (", ..." if len(stay) > 3 else "")),
            )
