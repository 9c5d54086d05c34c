"""What a new agent does about attempts of one that was killed: find them, wait for them, learn how they ended.

They are children of the reaper now, which writes down how they end (reaper.py). A noted process is still the one that
was noted if the reaper is its parent or it carries the attempt's key. A key without process and without code is Lost,
and never started again; what is alive of it is killed first.
"""

import os
import signal
import time
from pathlib import Path

from batchery.core.model import AttemptKey
from batchery.engines import census
from batchery.engines.attempt import CLEARING, ENDED, POD, RUNNING, Attempt
from batchery.engines.clocks import clock, wall
from batchery.engines.journal import Begun, Memory
from batchery.engines.podhost import adopt_cgroups, indexes_of
from batchery.engines.runner import DEADLINE, LOOK, Runner
from batchery.engines.spawn import Usage

POLL = 50  # ms between looks
PATIENCE = 200  # ms that the reaper may take to write down an end


class Orphans:
    """Attempts that this agent did not start itself."""

    def __init__(self, runner: Runner, path: Path) -> None:
        self._runner = runner
        self._path = path
        self._reaper = os.getppid()
        self._size = -1
        self._ends: dict[int, tuple[int, Usage, int]] = {}  # pid -> code, usage, when (ms since the epoch)
        self._waiting: dict[AttemptKey, int] = {}  # -> monotonic ms at which we give up, 0 while it lives

    def take_over(self, memories: dict[AttemptKey, Memory], same_boot: bool) -> None:
        """Everything that the journal knows and nobody has acknowledged."""
        self._read()
        open_keys = [key for key, memory in memories.items() if memory.over is None and memory.slip is not None]
        living = census.members({}, [str(key) for key in open_keys]) if open_keys and same_boot else {}
        for key, memory in memories.items():
            if memory.slip is None:
                continue
            attempt = Attempt(memory.slip, self._runner.identity)
            self._runner.attempts[key] = attempt
            if memory.over is not None:
                attempt.phase, attempt.news = ENDED, memory.over
            else:
                self._take(attempt, memory.begun, living.get(str(key), []), same_boot)
        if not self._waiting and self._path.exists():
            os.truncate(self._path, 0)

    def _take(self, attempt: Attempt, begun: Begun | None, living: list[census.Stat], same_boot: bool) -> None:
        runner = self._runner
        runner.live += 1
        runner.room.take_again(attempt.slip.share)
        attempt.adopted = True
        attempt.index = indexes_of(attempt.slip, resume=True)
        if runner.cgroups is not None and attempt.slip.cgroup and same_boot:
            attempt.cgroup = adopt_cgroups(runner.cgroups, attempt.slip)
        if begun is None:
            begun = _unnoted(attempt.key, living)
        conducted = begun is not None and begun.pod and bool(attempt.slip.places)
        if begun is None or not (begun.started or conducted) or not same_boot:
            runner.main_ended(attempt, None)
            return
        attempt.pid, attempt.started, attempt.clock = begun.pid, begun.started, begun.clock
        attempt.phase = RUNNING
        self._waiting[attempt.key] = 0
        if conducted:  # its tale says whether it has started
            attempt.phase, attempt.started, attempt.starting = POD, 0, wall()
            runner.alarm(clock(), attempt, LOOK)
            return
        if attempt.slip.timeout:
            runner.alarm(begun.clock + attempt.slip.timeout, attempt, DEADLINE)

    @property
    def next_look(self) -> int | None:
        """Monotonic ms; None while there is nothing to look for."""
        return clock() + POLL if self._waiting else None

    def look(self) -> None:
        """See which have ended."""
        if not self._waiting:
            return
        self._read()
        now = clock()
        for key, until in list(self._waiting.items()):
            attempt = self._runner.attempts[key]
            if self._alive(attempt):
                continue
            end = self._ends.get(attempt.pid)
            if end is not None and end[2] >= attempt.started:
                attempt.usage = end[1]
                self._end(attempt, end[0])
            elif not until:
                self._waiting[key] = now + PATIENCE
            elif now >= until:
                self._end(attempt, None)

    def _end(self, attempt: Attempt, code: int | None) -> None:
        del self._waiting[attempt.key]
        if attempt.phase != CLEARING:
            census.signal_group(attempt.pid, signal.SIGKILL)
            self._runner.main_ended(attempt, code)

    def _alive(self, attempt: Attempt) -> bool:
        stat = census.stat_of(attempt.pid)
        if stat is None:
            return False
        if stat.state in "ZX":  # the reaper has yet to wait for it
            return stat.parent == self._reaper == os.getppid()
        return stat.parent == self._reaper or census.key_of(attempt.pid) == str(attempt.key)

    def _read(self) -> None:
        try:
            size = self._path.stat().st_size
            if size == self._size:
                return
            text = self._path.read_text()
        except OSError:
            return
        self._size = size
        for line in text.splitlines():
            fields = line.split()
            if len(fields) == 5:
                pid, code, cpu, peak, at = map(int, fields)
                self._ends[pid] = (code, Usage(cpu, -(-peak // 1024)), at)


def _unnoted(key: AttemptKey, living: list[census.Stat]) -> Begun | None:
    """The agent was killed between the spawn and the note: the leader of a session is the main process, and its
    parent none of the attempt's."""
    pids = {stat.pid for stat in living}
    for stat in living:
        if stat.session == stat.pid and stat.parent not in pids and census.key_of(stat.pid) == str(key):
            age = max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - stat.born / os.sysconf("SC_CLK_TCK"))
            ms = round(age * 1000)
            return Begun(key, stat.pid, wall() - ms, clock() - ms, pod=True)
    return None
