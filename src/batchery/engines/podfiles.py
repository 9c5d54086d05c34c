"""What the agent and the process that runs a pod on a host say to each other: two files.

The *plan* (mode 0600: it holds the jobs' environments) is written by the agent before it starts the process (podrun.py)
and tells it everything. The *tale* is a file of JSON lines, appended by that process and read by the agent, or by an
agent after it: what began, what ended and how, and a last line when all is over. A tale without its last line is one
of a process that was killed; then whatever had begun and not ended was killed with it.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from batchery.core.model import EXIT, ContainerEnd

KILLED: Final = 137


class Place(Struct, array_like=True, frozen=True):
    """One container on its way to the agent, and in the plan. Timeouts in ms; ``limits``: name, soft, hard."""

    name: str
    image: str  # for hints only
    argv: tuple[str, ...]
    environment: dict[str, str]
    log_path: str
    memory: int  # MiB
    gpus: int
    essential: bool
    decides: bool
    after: tuple[tuple[str, str], ...]
    start_timeout: int
    stop_timeout: int
    limits: tuple[tuple[str, int, int], ...] = ()
    forgiving: bool = False


class Plan(Struct):
    """``user``: (uid, gid, groups, home) to become, None for this process's own; ``cgroups``: name -> directory."""

    places: list[Place]
    workdir: str
    tale: str
    user: tuple[int, int, tuple[int, ...], str] | None = None
    cgroups: dict[str, str] = {}
    enter: str = ""  # the file of a cgroup that moves a thread into it
    home: str = ""  # this process's own cgroup's file


class Begun(Struct, tag="begun", omit_defaults=True):
    name: str
    at: int  # ms since the epoch


class Running(Struct, tag="running"):
    """Everything that ever will be has been started."""

    at: int


class Over(Struct, tag="over", omit_defaults=True):
    name: str
    code: int | None
    reason: str = ""
    decides: bool = True
    cpu_ms: int = 0
    peak_mib: int = 0


class Closed(Struct, tag="closed"):
    """Nothing more will happen. ``cause``: EXIT or START_FAILED, of an end that nobody asked for."""

    cause: str


Line = Begun | Running | Over | Closed
_lines: Final = msgspec.json.Decoder(Line)
_encoder: Final = msgspec.json.Encoder()
_plans: Final = msgspec.json.Decoder(Plan)


class Tale(Struct):
    """All that was told. Times in ms since the epoch, 0 for what has not happened."""

    first: int = 0  # when the first one began
    running: int = 0
    begun: dict[str, int] = {}
    over: dict[str, Over] = {}
    closed: str = ""  # cause

    def ends(self, places: list[str], aside: list[str]) -> tuple[ContainerEnd, ...]:
        """In the order of the ends; what began and told no end was killed with the process, what never began is last.

        ``aside``: those that do not decide.
        """
        found = [ContainerEnd(one.name, one.code, one.reason, one.decides) for one in self.over.values()]
        rest = [name for name in places if name not in self.over]
        found += [ContainerEnd(name, KILLED, "", name not in aside) for name in rest if name in self.begun]
        found += [ContainerEnd(name, None, "", name not in aside) for name in rest if name not in self.begun]
        return tuple(found)

    @property
    def cause(self) -> str:
        return self.closed or EXIT


def write_plan(path: str, plan: Plan) -> None:
    """Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(_encoder.encode(plan))


def read_plan(path: str) -> Plan:
    return _plans.decode(Path(path).read_bytes())


def tell(fd: int, line: Line) -> None:
    """One line, in one call."""
    os.write(fd, _encoder.encode(line) + b"\n")


def read_tale(path: str) -> Tale:
    """What was told so far; nothing if there is no such file."""
    tale = Tale()
    try:
        data = Path(path).read_bytes()
    except OSError:
        return tale
    for text in data.split(b"\n"):
        try:
            line = _lines.decode(text)
        except msgspec.MsgspecError:
            continue  # the last line, not whole yet
        if isinstance(line, Begun):
            tale.begun[line.name] = line.at
            tale.first = tale.first or line.at
        elif isinstance(line, Running):
            tale.running = line.at
        elif isinstance(line, Over):
            tale.over[line.name] = line
        else:
            tale.closed = line.cause
    return tale


def forget(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
