"""The directory that the server shares with the nodes of a Slurm cluster: orders, claims, news, exit codes.

::

    <shared>/wrapper-<hash>                   what the nodes run (slurmscript.py)
    <shared>/instance                         six hex digits in the names of our jobs in Slurm
    <shared>/news/<task>.<began|over|...>     empty files: where to look
    <shared>/sent/<submission>/<index>        link to the attempt's directory
    <shared>/run/<2 digits>/<task>/           one attempt: order, claim, work/, started, exit, kill, told, verdict

Everything here blocks: call it in a thread. The claim decides who has an attempt: its wrapper, or we, who then know
that it never runs. A directory without ``order`` is one that is being removed.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from batchery.engines.slurmhosts import FAR, FAR_NAME
from batchery.engines.slurmpod import POD, POD_NAME
from batchery.engines.slurmscript import WRAPPER, WRAPPER_NAME, meta_of

KINDS: Final = ("begins", "began", "over")


class Exit(NamedTuple):
    """What the wrapper wrote at the end; ``at`` in ms since the epoch."""

    code: int
    ended_by: str
    peak_mib: int
    cpu_ms: int
    at: int


class Found(NamedTuple):
    """What the files of one attempt say. Times in ms, 0 for what has not happened."""

    claimed: bool = False
    starting: int = 0
    started: int = 0
    node: str = ""
    exit: Exit | None = None
    failed: str = ""
    tale: str = ""  # of several containers (slurmpod.py)


class Left(NamedTuple):
    """An attempt found at the start of the server."""

    meta: dict[str, Any]
    submission: str  # "" if it was not sent
    element: int
    verdict: dict[str, Any] | None


class Spool:
    """All of it, under ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.news_dir = str(root / "news")
        self._known: dict[str, tuple[str, int]] = {}  # task -> where it was sent

    def open(self) -> str:
        """Make what is missing; the instance's name. Raises OSError."""
        for name in ("news", "sent", "run"):
            (self.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in ((WRAPPER_NAME, WRAPPER), (POD_NAME, POD), (FAR_NAME, FAR)):
            script = self.root / name
            if not script.exists():
                part = script.with_suffix(".part")
                part.write_text(text)
                part.rename(script)
        instance = self.root / "instance"
        if not instance.exists():
            instance.write_text(os.urandom(3).hex())
        return instance.read_text().strip()

    def place(self, task: str) -> str:
        return f"{self.root}/run/{task[:2]}/{task}"

    # ------------------------------------------------------------------------------------------------- orders

    def write_order(self, task: str, text: str, log_path: str) -> None:
        """The attempt's directory. Raises OSError."""
        place = self.place(task)
        try:
            os.mkdir(place, 0o700)
        except OSError:
            os.makedirs(place, mode=0o700, exist_ok=True)
        try:
            os.mkdir(place + "/work", 0o700)
        except FileExistsError:
            pass
        if not os.path.isdir(folder := os.path.dirname(log_path)):  # children of an array have one
            os.makedirs(folder, exist_ok=True)
        fd = os.open(place + "/order.part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.rename(place + "/order.part", place + "/order")

    def link(self, submission: str, tasks: list[str]) -> None:
        """Element i of the submission is the i-th task. Raises OSError."""
        folder = f"{self.root}/sent/{submission}"
        os.mkdir(folder, 0o700)
        for index, task in enumerate(tasks):
            os.symlink(f"../../run/{task[:2]}/{task}", f"{folder}/{index}")
            self._known[task] = (submission, index)

    def ride(self, submission: str, index: int, task: str) -> None:
        """A task of a submission that was sent is this one. Raises OSError."""
        os.symlink(f"../../run/{task[:2]}/{task}", f"{self.root}/sent/{submission}/{index}")
        self._known[task] = (submission, index)

    def unlink(self, submission: str, index: int) -> None:
        """An element is not to be found there any more."""
        folder = f"{self.root}/sent/{submission}"
        _quietly(os.unlink, f"{folder}/{index}")
        _quietly(os.rmdir, folder)

    def retire(self, tasks: Iterable[str]) -> None:
        """These attempts are no more: a launch finds no order, and a new server none to adopt."""
        for task in tasks:
            _quietly(os.unlink, self.place(task) + "/order")

    def remove(self, tasks: Iterable[str]) -> None:
        """What is left of those that are no more."""
        for task in tasks:
            sent = self._known.pop(task, None)
            if sent is not None:
                self.unlink(*sent)
            shutil.rmtree(self.place(task), ignore_errors=True)
            for kind in KINDS:
                _quietly(os.unlink, f"{self.news_dir}/{task}.{kind}")

    # ------------------------------------------------------------------------------------------------- claims

    def claim(self, task: str) -> bool:
        """Take the attempt away from Slurm. False: it has begun."""
        try:
            os.close(os.open(self.place(task) + "/claim", os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True

    def order_kill(self, task: str, cause: str, grace: int) -> None:
        """What the wrapper reads when it gets SIGTERM; ``grace`` in whole seconds."""
        path = self.place(task) + "/kill"
        with open(path + ".part", "w") as file:
            file.write(f"{cause} {grace}\n")
        os.rename(path + ".part", path)

    def hurry(self, task: str) -> None:
        """Of several containers none is to be given time to end."""
        Path(self.place(task), "hurry").touch()

    def write_verdict(self, task: str, end: dict[str, Any]) -> None:
        """An end that we decided on stays decided over a restart."""
        path = self.place(task) + "/verdict"
        try:
            with open(path + ".part", "wb") as file:
                file.write(msgspec.json.encode(end))
            os.rename(path + ".part", path)
        except FileNotFoundError:
            pass

    # ------------------------------------------------------------------------------------------------- reading

    def news(self) -> dict[str, set[str]]:
        """Task -> kinds of news, each told once. Over NFS our own change makes the listing a fresh one."""
        _quietly(os.utime, self.news_dir)
        found: dict[str, set[str]] = {}
        with os.scandir(self.news_dir) as entries:
            for entry in entries:
                task, _, kind = entry.name.partition(".")
                found.setdefault(task, set()).add(kind)
        for task, kinds in found.items():
            for kind in kinds:
                _quietly(os.unlink, f"{self.news_dir}/{task}.{kind}")
        return found

    def look(self, task: str) -> Found:
        """What the files say now."""
        place = self.place(task)
        node, started = _line(place + "/started")
        starting = _line(place + "/starting")[1]
        ended = _exit(place + "/exit")
        failed = _line(place + "/failed")[0] if ended is not None else ""
        tale = _all(place + "/tale") if ended is not None else ""
        claimed = bool(started or starting or ended) or os.path.exists(place + "/claim")
        return Found(claimed, starting, started, node.partition(" ")[0], ended, failed, tale)

    def was_told(self, task: str) -> bool:
        """Whether its wrapper was asked to end, by whomever."""
        return os.path.exists(self.place(task) + "/told")

    def left(self) -> list[Left]:
        """Every attempt that is here, and where it was sent last; the remains of others are removed."""
        sent: dict[str, tuple[str, int]] = {}
        with os.scandir(self.root / "sent") as submissions:
            for folder in sorted(submissions, key=lambda entry: entry.stat().st_mtime_ns):
                for element in os.scandir(folder.path):
                    if element.name.isdigit():
                        sent[os.readlink(element.path).rpartition("/")[2]] = (folder.name, int(element.name))
                _quietly(os.rmdir, folder.path)
        found = []
        for digits in os.scandir(self.root / "run"):
            for attempt in os.scandir(digits.path):
                try:
                    meta = meta_of(Path(attempt.path, "order").read_text(encoding="utf-8", errors="surrogateescape"))
                except (OSError, ValueError):
                    shutil.rmtree(attempt.path, ignore_errors=True)
                    continue
                if attempt.name in sent:
                    self._known[attempt.name] = sent[attempt.name]
                found.append(Left(meta, *sent.get(attempt.name, ("", 0)), _verdict(attempt.path)))
        for task, where in sent.items():
            if task not in self._known:
                self.unlink(*where)
        return found


def _quietly(act: Any, *arguments: Any) -> None:
    try:
        act(*arguments)
    except OSError:
        pass


def _line(path: str) -> tuple[str, int]:
    """The first line of a file and its time in ms; ("", 0) until the line is whole."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(4096)
            at = os.fstat(file.fileno()).st_mtime_ns // 1_000_000
    except OSError:
        return "", 0
    line, newline, _ = text.partition("\n")
    return (line, at) if newline else ("", 0)


def _all(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _exit(path: str) -> Exit | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(4096).splitlines()
            at = os.fstat(file.fileno()).st_mtime_ns // 1_000_000
    except OSError:
        return None
    if len(lines) < 4 or lines[-1] != "end":
        return None
    code, ended_by, peak = lines[0].split(" ")
    return Exit(int(code), ended_by, int(peak) // 1048576, sum(map(_clock_ms, lines[2].split())), at)


def _clock_ms(text: str) -> int:
    """``1m2.345s``, as `times` says it."""
    minutes, _, seconds = text.rstrip("s").partition("m")
    try:
        return round((int(minutes) * 60 + float(seconds.replace(",", "."))) * 1000)
    except ValueError:
        return 0


def _verdict(place: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = msgspec.json.decode(Path(place, "verdict").read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return found
