"""The life of attempts inside the agent: held, begun, running, killed, cleared, ended.

Theory of operation. Everything is driven by five calls of the agent's loop: orders and wishes (`launch`, `kill`,
`withdraw`, `ack`), ends of children (`child_ended`), the shim's word (`shim_said`), alarms (`alarms`), and `admit`,
which begins what has room. What is to be told collects in `told`.

An attempt is over when nothing of it is alive. When its main process ends, the rest of its group gets SIGKILL while
the number of the group cannot be anybody else's; then whatever is left (a process in a session of its own is found
by cgroup, or among the orphans that this process inherits as a subreaper) is killed until there is none. Only then is
the end told, and room made.
"""

import heapq
import os
import signal
from collections.abc import Callable, Iterable

from batchery.core.model import NO_CAPACITY, TERMINATED, TIMEOUT, WITHDRAWN, AttemptKey
from batchery.engines import census
from batchery.engines.attempt import CLEARING, ENDED, POD, PROLOG, RUNNING, SHIM, Attempt
from batchery.engines.cgroups import Cgroups
from batchery.engines.clocks import clock, wall
from batchery.engines.images import cannot_start
from batchery.engines.journal import Acked, Begun, Journal, Memory, Over
from batchery.engines.killing import kill_rest, signal_trees
from batchery.engines.logdirs import LogDirs
from batchery.engines.logindex import PERIOD
from batchery.engines.memo import Memo
from batchery.engines.podfiles import read_tale
from batchery.engines.podhost import LOOK_MS, CgroupSet, forget_pod, give_cgroups, program, slip_of, take_cgroups
from batchery.engines.room import Room
from batchery.engines.spawn import End, Identity, Program, exec_error, spawn
from batchery.engines.strays import Strays
from batchery.engines.wire import EXITED, S_HELD, News, Settings, State, Task
from batchery.engines.workdirs import Workdirs

LOOKS = 2  # rounds of sampling that an order is held for in vain: between one and one and a half seconds
KILL, CLEAR, DEADLINE, LOOK = "kill", "clear", "deadline", "look"  # kinds of alarms


class Runner:
    """``watch`` and ``unwatch`` have the loop look at a descriptor for the attempt of a key."""

    def __init__(
        self,
        journal: Journal,
        workdirs: Workdirs,
        room: Room,
        cgroups: Cgroups | None,
        identity: Identity,
        watch: Callable[[int, AttemptKey], None],
        unwatch: Callable[[int], None],
    ) -> None:
        self.journal = journal
        self.workdirs = workdirs
        self.room = room
        self.cgroups = cgroups
        self.identity = identity
        self.settings = Settings()
        self.basics: dict[str, str] = {}
        self.attempts: dict[AttemptKey, Attempt] = {}  # live, and ended but not acknowledged
        self.live = 0
        self.told: list[News] = []
        self._strays = Strays()
        self._pids: dict[int, Attempt] = {}
        self._refused = Memo()
        self._acked = Memo()
        self._alarms: list[tuple[int, AttemptKey, str]] = []
        self._sample_at = 0
        self._looks: dict[AttemptKey, int] = {}  # at what is held, and still was the time before
        self._logs = LogDirs()
        self._watch, self._unwatch = watch, unwatch

    # ---------------------------------------------------------------------------------------------- wishes

    def launch(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            known = self.attempts.get(task.key)
            if known is not None:
                self._tell_again(known)
            elif task.key in self._refused:
                self._hand_back(task.key, self._refused[task.key])
            elif task.key not in self._acked:
                self.room.held[task.key] = task

    def kill(self, keys: Iterable[AttemptKey], grace: int) -> None:
        """SIGTERM now, SIGKILL after ``grace`` ms. A cause that it is already being killed for stands."""
        doomed: list[Attempt] = []
        for key in keys:
            attempt = self.attempts.get(key)
            if attempt is None:
                self._refused.add(key)
                if self.room.held.pop(key, None) is not None:
                    self._hand_back(key)
            elif attempt.phase == ENDED:
                self._tell_again(attempt)
            elif attempt.phase != CLEARING:
                doomed.append(attempt)
        self._doom(doomed, TERMINATED, grace)

    def withdraw(self, keys: Iterable[AttemptKey]) -> None:
        for key in keys:
            attempt = self.attempts.get(key)
            if attempt is not None:
                self._tell_again(attempt)
            elif key not in self._acked:
                self.room.held.pop(key, None)
                self._refused.add(key)
                self._hand_back(key)

    def ack(self, keys: list[AttemptKey]) -> None:
        for key in keys:
            attempt = self.attempts.get(key)
            if attempt is not None and attempt.phase == ENDED:
                del self.attempts[key]
                self._acked.add(key)
        self.journal.add(Acked(keys))

    def survey(self) -> list[State]:
        held = [State(key, S_HELD) for key in self.room.held]
        return held + [State(a.key, a.survey_state, a.news) for a in self.attempts.values()]

    def retell(self) -> None:
        """A server has (re)connected: it hears of everything that is not acknowledged."""
        self.told = [news for a in self.attempts.values() if (news := a.status_news()) is not None]

    def memories(self) -> dict[AttemptKey, Memory]:
        """What a compact journal has to say."""
        return {
            a.key: Memory(a.slip, Begun(a.key, a.pid, a.started, a.clock, a.conducts) if a.pid else None, a.news)
            for a in self.attempts.values()
        }

    def _tell_again(self, attempt: Attempt) -> None:
        news = attempt.status_news()
        if news is not None:
            self.told.append(news)

    def _hand_back(self, key: AttemptKey, cause: str = WITHDRAWN) -> None:
        """It never began and never will. Not in the journal: a server that missed this asks again."""
        self.told.append(News(EXITED, key, wall(), cause))

    def _hand_back_late(self) -> None:
        """What was held because those before it are quick, and they are not: it may find room elsewhere sooner."""
        self._looks = {key: self._looks.get(key, 0) + 1 for key in self.room.held}
        for key in [key for key, looks in self._looks.items() if looks > LOOKS]:
            del self.room.held[key]
            self._refused.add(key, NO_CAPACITY)
            self._hand_back(key, NO_CAPACITY)

    # ---------------------------------------------------------------------------------------------- beginning

    def admit(self) -> None:
        """Begin what has room."""
        if self.room.held:
            for task in self.room.next_ones():
                self._begin(task)

    def _begin(self, task: Task) -> None:
        slip = slip_of(task, self.room.take(task), self.settings.keep_workdirs, self.journal.path.parent)
        attempt = Attempt(slip, self.identity, task)
        self.attempts[task.key] = attempt
        self.live += 1
        try:
            slip.workdir = self.workdirs.take(task.task_id, self.identity, slip.keep)
            if self.cgroups is not None and slip.share.memory:
                attempt.cgroup = take_cgroups(self.cgroups, task, slip)
                slip.cgroup = attempt.cgroup.name
            for path in slip.logs or (task.log_path,):
                self._logs.prepare(path)
            self.journal.note(slip)
        except OSError as error:
            self._fail(attempt, f"CannotStartContainerError: {error.strerror}: {error.filename}")
            return
        if (prolog := bool(self.settings.prolog and task.argv)) or task.pod:
            attempt.starting = wall()
            self._tell_again(attempt)
        if prolog:
            self._spawn(attempt, self.settings.prolog, PROLOG)
        else:
            self._main(attempt, task)

    def _main(self, attempt: Attempt, task: Task) -> None:
        """What the attempt is for: its only container, or the process that runs several."""
        if not task.pod:
            self._spawn(attempt, task.argv, RUNNING)
            return
        try:
            made = program(task, attempt.slip, self.identity, self.cgroups, self.basics, self.room.gpus)
            attempt.pid = spawn(made).pid
        except (OSError, ValueError) as error:
            self._fail(attempt, f"CannotStartContainerError: {error}")
            return
        self._pids[attempt.pid] = attempt
        attempt.phase = POD
        self.journal.add(Begun(attempt.key, attempt.pid, pod=True))
        self.alarm(clock() + LOOK_MS, attempt, LOOK)

    def _look(self, attempt: Attempt) -> None:
        """Whether all of several containers that are to be started have been."""
        if attempt.phase != POD:
            return
        if at := read_tale(attempt.slip.tale).running:
            self._started(attempt, at)
        else:
            self.alarm(clock() + LOOK_MS, attempt, LOOK)

    def _spawn(self, attempt: Attempt, argv: tuple[str, ...], phase: str) -> None:
        task = attempt.task
        assert task is not None
        if not argv or not argv[0]:
            self._fail(attempt, cannot_start(argv, task.image, 0))
            return
        program = Program(
            argv, attempt.environment(self.basics, self.room.gpus), task.log_path, attempt.identity, task.limits
        )
        try:
            os.chdir(attempt.slip.workdir)
            if attempt.cgroup is not None and self.cgroups is not None:
                inside = attempt.cgroup.each[0] if isinstance(attempt.cgroup, CgroupSet) else attempt.cgroup
                self.cgroups.enter(inside)
                try:
                    spawned = spawn(program)
                finally:
                    self.cgroups.leave()
            else:
                spawned = spawn(program)
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", None) or 22
            self._fail(attempt, cannot_start(argv, task.image, number))
            return
        attempt.pid = spawned.pid
        self._pids[spawned.pid] = attempt
        if spawned.status >= 0:
            attempt.status = spawned.status
            self._watch(spawned.status, attempt.key)
        attempt.phase = SHIM if spawned.status >= 0 and phase == RUNNING else phase
        if attempt.phase == RUNNING:
            self._started(attempt)
        else:
            self.journal.add(Begun(attempt.key, attempt.pid))

    def _started(self, attempt: Attempt, at: int = 0) -> None:
        """``at``: ms since the epoch, 0 for now."""
        attempt.phase = RUNNING
        attempt.started = at or wall()
        attempt.clock = clock() - (wall() - at if at else 0)
        self.journal.add(Begun(attempt.key, attempt.pid, attempt.started, attempt.clock, attempt.conducts))
        self._tell_again(attempt)
        if attempt.slip.timeout:
            self.alarm(attempt.clock + attempt.slip.timeout, attempt, DEADLINE)

    def shim_said(self, key: AttemptKey) -> None:
        """The shim's descriptor is readable: it has executed the program, or could not."""
        attempt = self.attempts[key]
        number = exec_error(attempt.status)
        if number is None:
            return
        self._drop_status(attempt)
        if number:
            task = attempt.task
            assert task is not None
            argv = self.settings.prolog if attempt.phase == PROLOG else task.argv
            attempt.error = cannot_start(argv, task.image, number)
        elif attempt.phase == SHIM and not attempt.cause:
            self._started(attempt)

    def _drop_status(self, attempt: Attempt) -> None:
        self._unwatch(attempt.status)
        os.close(attempt.status)
        attempt.status = -1

    # ---------------------------------------------------------------------------------------------- ends

    def ending(self, pid: int) -> None:
        """A child has ended and still has its number: end its group while that number is nobody else's."""
        attempt = self._pids.get(pid)
        if attempt is not None and attempt.phase != PROLOG:
            census.signal_group(pid, signal.SIGKILL)

    def child_ended(self, end: End) -> None:
        attempt = self._pids.pop(end.pid, None)
        if attempt is None:
            self._strays.ended(end.pid)
            return
        if attempt.status >= 0:
            self.shim_said(attempt.key)
        used = attempt.usage
        attempt.usage = end.usage._replace(
            cpu_ms=used.cpu_ms + end.usage.cpu_ms, peak_mib=max(used.peak_mib, end.usage.peak_mib)
        )
        if attempt.phase == PROLOG and not attempt.cause and not attempt.error:
            if end.code == 0:
                assert attempt.task is not None
                self._main(attempt, attempt.task)
                return
            attempt.error = f"CannotStartContainerError: prolog exited with {end.code}"
        self.main_ended(attempt, end.code)

    def main_ended(self, attempt: Attempt, code: int | None) -> None:
        """Its main process has ended (``code`` None: nobody knows how)."""
        attempt.code = code
        self._look(attempt)
        attempt.phase = CLEARING
        attempt.patience = 10
        self._clear(attempt)

    def _clear(self, attempt: Attempt) -> None:
        """Kill what is left of it; at its end when nothing is."""
        if kill_rest(attempt, self._strays, self._pids):
            attempt.patience = min(attempt.patience * 2, 500)
            self.alarm(clock() + attempt.patience, attempt, CLEAR)
        else:
            self._finish(attempt)

    def _fail(self, attempt: Attempt, error: str) -> None:
        attempt.error = error
        self.main_ended(attempt, None)

    def _finish(self, attempt: Attempt) -> None:
        now = wall()
        lost = attempt.code is None and not attempt.error and not attempt.cause and not attempt.told
        news = attempt.lost_news(now) if lost else attempt.close_news(now)
        attempt.phase = ENDED
        attempt.index.sample(now)
        self.live -= 1
        if attempt.cgroup is not None and self.cgroups is not None:
            give_cgroups(self.cgroups, attempt.cgroup)
            attempt.cgroup = None
        self.workdirs.give(attempt.slip.workdir, attempt.slip.keep)
        self.room.give(attempt.slip.share)
        forget_pod(attempt.slip)
        attempt.task = None
        self.journal.add(Over(news))
        self.told.append(news)

    # ---------------------------------------------------------------------------------------------- killing

    def _doom(self, attempts: list[Attempt], cause: str, grace: int) -> None:
        now = clock()
        fresh = [a for a in attempts if not a.cause]
        for attempt in attempts:
            attempt.cause = attempt.cause or cause
            patience = max(grace, attempt.slip.grace) if grace and attempt.conducts else grace
            if not attempt.deadline or now + patience < attempt.deadline:
                attempt.deadline = now + patience
                self.alarm(attempt.deadline, attempt, KILL)
        signal_trees(fresh, signal.SIGTERM)

    # ---------------------------------------------------------------------------------------------- time

    def alarm(self, at: int, attempt: Attempt, kind: str) -> None:
        heapq.heappush(self._alarms, (at, attempt.key, kind))
        if len(self._alarms) > 1000 + 8 * self.live:  # time limits of attempts long over
            alive = (a for a in self._alarms if a[1] in self.attempts and self.attempts[a[1]].phase != ENDED)
            self._alarms = list(alive)
            heapq.heapify(self._alarms)

    def next_alarm(self) -> int | None:
        """Monotonic ms of what is due next."""
        times = [self._alarms[0][0]] if self._alarms else []
        if self.live:
            times.append(self._sample_at)
        return min(times, default=None)

    def alarms(self, heard: bool = True) -> None:
        """Do what is due. ``heard``: a server is there; without one, what is held stays until there is room."""
        now = clock()
        if self.live and now >= self._sample_at:
            self._sample_at = now + PERIOD
            stamp = wall()
            for attempt in self.attempts.values():
                if attempt.phase != ENDED:
                    attempt.index.sample(stamp)
            if heard:
                self._hand_back_late()
        late: list[Attempt] = []
        while self._alarms and self._alarms[0][0] <= now:
            _, key, kind = heapq.heappop(self._alarms)
            attempt_or_none = self.attempts.get(key)
            if attempt_or_none is None or attempt_or_none.phase == ENDED:
                continue
            attempt = attempt_or_none
            if kind == CLEAR:
                self._clear(attempt)
            elif attempt.phase == CLEARING:
                continue
            elif kind == LOOK:
                self._look(attempt)
            elif kind == KILL:
                late.append(attempt)
                self.alarm(now + 500, attempt, KILL)
            elif not attempt.cause:
                self._doom([attempt], TIMEOUT, attempt.slip.grace)
        signal_trees(late, signal.SIGKILL)
