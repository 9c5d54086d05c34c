"""Signals to all that belongs to an attempt, and the end of what is left of it."""

import signal
from collections.abc import Container, Sequence

from batchery.engines import census
from batchery.engines.attempt import Attempt
from batchery.engines.strays import Strays


def signal_trees(attempts: Sequence[Attempt], number: signal.Signals) -> None:
    """To every process of each of these: by cgroup, or else by group and one look at all processes."""
    scan: list[Attempt] = []
    for attempt in attempts:
        if attempt.conducts:
            census.signal_pid(attempt.pid, number)
            if number == signal.SIGTERM:  # it tells the others, each in its turn
                continue
        if attempt.cgroup is None:
            census.signal_group(attempt.pid, number)
            scan.append(attempt)
        elif number == signal.SIGKILL:
            attempt.cgroup.kill()
        else:
            for pid in attempt.cgroup.pids():
                census.signal_pid(pid, number)
    if not scan:
        return
    groups = {a.pid for a in scan}
    for stats in census.members({a.pid: str(a.key) for a in scan}, [str(a.key) for a in scan]).values():
        for stat in stats:
            if stat.group not in groups:
                census.send(stat, number)


def kill_rest(attempt: Attempt, strays: Strays, mains: Container[int]) -> bool:
    """Its main process is gone: SIGKILL to what is alive of it. False if nothing was."""
    alive = census.signal_group(attempt.pid, signal.SIGKILL) if attempt.pid else False
    if attempt.adopted and alive:
        alive = _alive_in(attempt.pid)
    if attempt.cgroup is not None and attempt.cgroup.pids():
        attempt.cgroup.kill()
        return True
    key = str(attempt.key)
    if attempt.adopted:
        rest = census.members({}, [key]).get(key, [])
    elif attempt.cgroup is None:
        rest = strays.of(key, attempt.pid, mains)
    else:
        rest = []
    for stat in rest:
        census.send(stat, signal.SIGKILL)
    return alive or bool(rest)


def _alive_in(group: int) -> bool:
    """Whether more than zombies is there: of an agent and a reaper that were both killed the first process of the
    machine inherits them, and in a container that one may never wait for them."""
    everybody = census.everybody()
    return not everybody or any(stat.group == group for stat in everybody)
