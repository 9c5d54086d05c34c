"""The process that runs the containers of one attempt on a host: a child of the agent, and their parent.

    python -m batchery.engines.podrun PLAN

Theory of operation. It is the main process of its attempt, so an agent that is killed takes nothing along: the next
one finds it by its number and reads its tale (podfiles.py). It drives the machine of core/pod.py: begins what is due,
each in a session of its own and, where there are cgroups, in a cgroup of its own; waits; signals whole sessions.
SIGTERM means that all is to end, each in its time. It waits in `select` on the pipe that signals write to.
"""

import contextlib
import os
import select
import signal
import sys
import time
from typing import Final

from batchery.core.pod import BEGIN, TERM, Act, Part, Pod
from batchery.engines import census
from batchery.engines.clocks import clock, wall
from batchery.engines.host import become_subreaper
from batchery.engines.images import cannot_start
from batchery.engines.podfiles import Begun, Closed, Over, Place, Plan, Running, read_plan, tell
from batchery.engines.spawn import End, Identity, Program, Spawned, ends, exec_error, spawn

#: How often to look for what left the session of a container whose main process has ended, in s.
LOOK: Final = 0.05


class PodRun:
    """``tale``: descriptor of the file that the agent reads."""

    def __init__(self, plan: Plan, tale: int) -> None:
        self.plan = plan
        self.tale = tale
        self.places = {place.name: place for place in plan.places}
        self.pod = Pod(
            Part(p.name, p.essential, p.decides, p.after, p.start_timeout, p.stop_timeout, p.forgiving)
            for p in plan.places
        )
        self.identity = _identity(plan)
        self.home = os.open(plan.home, os.O_WRONLY | os.O_CLOEXEC) if plan.home else -1
        self.pids: dict[int, str] = {}
        self.status: dict[int, str] = {}  # descriptor of a shim -> the container that it becomes
        self.usage: dict[str, tuple[int, int]] = {}
        self.told = 0  # ends
        self.running = False
        self.asked = False
        self.wakeup, writing = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        self.asked = True

    def run(self) -> None:
        """Until nothing is alive and nothing will be."""
        while True:
            for end in ends(self._ending):
                self._ended(end)
            if self.asked:
                self.pod.stop()
            while acts := self.pod.step(clock()):  # what begins may let others begin
                for act in acts:
                    self._do(act)
                if not any(act.what == BEGIN for act in acts):
                    break
            self._tell()
            if self.pod.over:
                tell(self.tale, Closed(self.pod.cause))
                return
            self._wait()

    def _wait(self) -> None:
        wake = self.pod.wake
        patience = None if wake is None else max(0, wake - clock()) / 1000
        ready, _, _ = select.select([self.wakeup, *self.status], [], [], patience)
        if self.wakeup in ready:
            with contextlib.suppress(BlockingIOError):
                while os.read(self.wakeup, 4096):
                    pass
        for fd in ready:
            if fd in self.status:
                self._shim_said(fd)

    # ---------------------------------------------------------------------------------------------- acts

    def _do(self, act: Act) -> None:
        if act.what == BEGIN:
            self._begin(self.places[act.name])
            return
        number = signal.SIGTERM if act.what == TERM else signal.SIGKILL
        for pid, name in self.pids.items():
            if name == act.name:
                self._signal(pid, name, number)

    def _signal(self, pid: int, name: str, number: signal.Signals) -> None:
        """To all that belongs to it: by its cgroup, else by its session."""
        pids = _pids(self.plan.cgroups.get(name, ""))
        for one in pids:
            census.signal_pid(one, number)
        if not pids:
            census.signal_group(pid, number)
            for stat in census.everybody():
                if stat.session == pid and stat.group != pid:
                    census.send(stat, number)

    def _begin(self, place: Place) -> None:
        if not place.argv or not place.argv[0]:
            self.pod.refused(place.name, cannot_start(place.argv, place.image, 0))
            return
        program = Program(place.argv, place.environment, place.log_path, self.identity, place.limits)
        try:
            spawned = self._spawn(place.name, program)
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", None) or 22
            self.pod.refused(place.name, cannot_start(place.argv, place.image, number))
            return
        self.pids[spawned.pid] = place.name
        if spawned.status >= 0:
            self.status[spawned.status] = place.name
        else:
            self._begun(place.name)

    def _spawn(self, name: str, program: Program) -> Spawned:
        group = self.plan.cgroups.get(name)
        if group is None:
            return spawn(program)
        with open(f"{group}/{self.plan.enter}", "wb", buffering=0) as file:
            file.write(b"0")
        try:
            return spawn(program)
        finally:
            os.write(self.home, b"0")

    def _begun(self, name: str) -> None:
        self.pod.begun(name, clock())
        tell(self.tale, Begun(name, wall()))

    def _shim_said(self, fd: int) -> None:
        number = exec_error(fd)
        if number is None:
            return
        name = self.status.pop(fd)
        os.close(fd)
        if number == 0:
            self._begun(name)
            return
        place = self.places[name]
        self.pids = {pid: one for pid, one in self.pids.items() if one != name}
        self.pod.refused(name, cannot_start(place.argv, place.image, number))

    # ---------------------------------------------------------------------------------------------- ends

    def _ending(self, pid: int) -> None:
        """It still has its number: end its group, and what else is in its cgroup or session."""
        name = self.pids.get(pid)
        if name is None:
            return
        census.signal_group(pid, signal.SIGKILL)
        group = self.plan.cgroups.get(name, "")
        while rest := [one for one in _pids(group) if one != pid and not _dead(one)]:
            for one in rest:
                census.signal_pid(one, signal.SIGKILL)
            time.sleep(LOOK)
        if not group:
            for stat in census.everybody():
                if stat.session == pid and stat.pid != pid:
                    census.send(stat, signal.SIGKILL)

    def _ended(self, end: End) -> None:
        for fd in [fd for fd, one in self.status.items() if one == self.pids.get(end.pid)]:
            self._shim_said(fd)
        name = self.pids.pop(end.pid, None)
        if name is None:
            return
        self.usage[name] = (end.usage.cpu_ms, end.usage.peak_mib)
        self.pod.ended(name, end.code)

    def _tell(self) -> None:
        for one in self.pod.ends[self.told :]:
            cpu, peak = self.usage.get(one.name, (0, 0))
            tell(self.tale, Over(one.name, one.exit_code, one.reason, one.decides, cpu, peak))
        self.told = len(self.pod.ends)
        if self.pod.running and not self.running:
            self.running = True
            tell(self.tale, Running(wall()))


def _identity(plan: Plan) -> Identity:
    if plan.user is None:
        return Identity(os.geteuid(), os.getegid(), (), "")
    return Identity(*plan.user)


def _pids(group: str) -> list[int]:
    """Live processes of a cgroup; none for ""."""
    if not group:
        return []
    try:
        with open(f"{group}/cgroup.procs") as file:
            return [int(text) for text in file.read().split()]
    except OSError:
        return []


def _dead(pid: int) -> bool:
    stat = census.stat_of(pid)
    return stat is None or stat.state in "ZX"


def main() -> None:
    become_subreaper()  # what outlives its container's main process is ours to wait for
    plan = read_plan(sys.argv[1])
    os.unlink(sys.argv[1])  # nobody else needs the environments
    os.chdir(plan.workdir)
    tale = os.open(plan.tale, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    PodRun(plan, tale).run()


if __name__ == "__main__":
    main()
