"""Which processes belong to which attempt, from /proc.

A process belongs to an attempt if it is in the session of the attempt's main process, if it carries the attempt's
key in its environment (every process of a job does, unless it takes it away), or if its parent belongs to it. Used
where there is no cgroup that knows better: to end a whole tree, and to find again what an agent that was killed left.
On systems without /proc only the process group is known.
"""

import os
import signal
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

VARIABLE: Final = b"BATCHERY_ATTEMPT="


class Stat(NamedTuple):
    """A line of /proc/PID/stat. ``born``: start time in clock ticks since boot; with the pid it names a process."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    born: int


def parse_stat(text: bytes) -> Stat:
    """Fields after the last parenthesis: a program's name may hold anything."""
    head, _, tail = text.rpartition(b")")
    fields = tail.split()
    return Stat(
        int(head.split(b" ", 1)[0]),
        fields[0].decode(),
        int(fields[1]),
        int(fields[2]),
        int(fields[3]),
        int(fields[19]),
    )


def stat_of(pid: int) -> Stat | None:
    """The process of this pid, None if there is none (or no /proc)."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return parse_stat(file.read(4096))
    except (OSError, ValueError, IndexError):
        return None


def key_of(pid: int) -> str:
    """The attempt that this process says it belongs to, "" if none or not readable."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            data = file.read()
    except OSError:
        return ""
    for variable in data.split(b"\0"):
        if variable.startswith(VARIABLE):
            return variable[len(VARIABLE) :].decode(errors="replace")
    return ""


def everybody() -> list[Stat]:
    """All processes of the host that are not zombies; empty without /proc."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    found = (stat_of(int(name)) for name in names if name.isdigit())
    return [stat for stat in found if stat is not None and stat.state not in "ZX"]


def children() -> list[int] | None:
    """Pids of this process's children, zombies included; None where the kernel does not say."""
    pid = os.getpid()
    try:
        with open(f"/proc/self/task/{pid}/children", "rb", buffering=0) as file:
            return [int(text) for text in file.read(1 << 20).split()]
    except OSError:
        return None


def members(sessions: Mapping[int, str], keys: Iterable[str]) -> dict[str, list[Stat]]:
    """Live processes by attempt. ``sessions``: main pid -> key of attempts known here; ``keys``: those wanted."""
    wanted = set(keys)
    stats = everybody()
    owner: dict[int, str] = {}
    own = os.getpid()
    for stat in stats:
        if stat.pid == own or stat.session == 0:
            continue
        key = sessions.get(stat.session) or key_of(stat.pid)
        if key in wanted:
            owner[stat.pid] = key
    grown = True
    while grown:  # a child of a member is a member, whatever it did to its environment
        grown = False
        for stat in stats:
            if stat.pid not in owner and stat.parent in owner:
                owner[stat.pid] = owner[stat.parent]
                grown = True
    found: dict[str, list[Stat]] = {}
    for stat in stats:
        if stat.pid in owner:
            found.setdefault(owner[stat.pid], []).append(stat)
    return found


def send(stat: Stat, number: signal.Signals) -> None:
    """Signal exactly this process: never another one that has its number by now, where pidfds can be had."""
    if not hasattr(os, "pidfd_open"):
        signal_pid(stat.pid, number)
        return
    try:
        fd = os.pidfd_open(stat.pid)
    except OSError:
        return
    try:
        now = stat_of(stat.pid)
        if now is not None and now.born == stat.born:
            signal.pidfd_send_signal(fd, number)
    except OSError:
        pass
    finally:
        os.close(fd)


def signal_pid(pid: int, number: signal.Signals) -> bool:
    """Signal a process; False if there is none."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def signal_group(pid: int, number: int) -> bool:
    """Signal a process group (0: only look); False if there is nobody in it."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
