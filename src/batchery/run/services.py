"""The files of service jobs: written before an attempt begins, read when it has ended, swept when it is forgotten.

What they are is spec/serviceorder.py's to say.
"""

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from batchery.config import Config
from batchery.core.messages import Command, Exited
from batchery.core.model import EXIT, World, task_id
from batchery.spec.serviceorder import FAILURE, FAILURE_CHARS, Files, folder_of


def write(files: Files, user: str) -> None:
    """Make them, for the host user that jobs run as ("": ours). Again does no harm. Raises OSError."""
    made: list[Path] = [files.root]
    files.root.mkdir(mode=0o755, parents=True, exist_ok=True)
    for folder in files.folders:
        path = files.root / folder
        path.mkdir(parents=True, exist_ok=True)
    for name, text in files.texts.items():
        (files.root / name).write_text(text, encoding="utf-8")
    for name, target in files.links.items():
        path = files.root / name
        if path.is_symlink():
            path.unlink()
        path.symlink_to(target)
    if user and os.geteuid() == 0:
        owner = pwd.getpwnam(user)
        made += files.root.rglob("*")
        for path in made:
            os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def told(world: World, config: Config, command: Command) -> Command:
    """The report of an attempt's end, with what a training script wrote of its failure."""
    if not isinstance(command, Exited) or command.cause != EXIT or command.key not in world.live:
        return command
    if not world.jobs[command.key.job].service or not any(end.exit_code for end in command.containers):
        return command
    try:
        with open(folder_of(config, task_id(command.key)) / "ml" / FAILURE, encoding="utf-8", errors="replace") as file:
            words = file.read(FAILURE_CHARS).strip()
    except OSError:
        return command
    if not words:
        return command
    return replace(command, containers=tuple(replace(end, reason=words) for end in command.containers))


def sweep(root: Path, before: int, living: Callable[[str], bool]) -> int:
    """Remove the directories of attempts that are not ``living`` and older than ``before`` (ms); how many."""
    count = 0
    for shelf in root.glob("??"):
        for path in shelf.iterdir():
            if path.stat().st_mtime_ns // 1_000_000 < before and not living(path.name):
                shutil.rmtree(path, ignore_errors=True)
                count += 1
    return count
