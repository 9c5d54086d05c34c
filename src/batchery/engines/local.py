"""The process engine: jobs are processes of this host, children of an agent that outlives servers.

This is the server's side: it finds or starts the agent of its data directory, sends it what the service wants and
hands on what it reports. If the agent goes away, it is started again and hears once more of every order that was not
seen to begin and of every kill that was not seen to work; both are idempotent there (agent.py).
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import batchery
from batchery.config import Process
from batchery.core.messages import Exited, Report
from batchery.core.model import START_FAILED, AttemptKey, Capacity, ContainerEnd
from batchery.engines import places, reaper, wire
from batchery.engines.engine import Container, EngineError, Order, Survey
from batchery.engines.images import Entry, entry
from batchery.engines.line import Line
from batchery.engines.podfiles import Place
from batchery.engines.spawn import identity_of
from batchery.engines.ulimits import ulimits

AHEAD: Final = 64  # placements beyond capacity: enough to keep the agent busy for the time of a commit
START_SECONDS: Final = 20.0
REMEMBERED: Final = 10_000
#: The agent's environment: nothing of the server's that a job could find there.
_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "LANG", "TZ", "XDG_RUNTIME_DIR", "PYTHONPATH", "LD_LIBRARY_PATH")

_log = logging.getLogger(__name__)


class LocalEngine:
    """Engine of host processes. ``data_dir``: where the agent keeps what it must not forget.

    ``cgroups`` False does without them though they could be had, as an ordinary user does (a new agent only).
    """

    name = "process"

    def __init__(self, data_dir: Path, process: Process, *, logs_dir: Path, cgroups: bool = True) -> None:
        self._data = data_dir.resolve()
        self._logs = logs_dir
        self._process = process
        self._options = [] if cgroups else ["--no-cgroups"]
        self._line: Line | None = None
        self._welcome: wire.Welcome | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False
        self._orders: dict[AttemptKey, wire.Task] = {}  # not seen to begin
        self._kills: dict[AttemptKey, int] = {}  # not seen to work
        self._withdrawn: dict[AttemptKey, None] = {}  # not answered
        self._acks: dict[AttemptKey, None] = {}  # the last ones, for reports that crossed them
        self._inbox: list[Report] = []
        self._arrived = asyncio.Event()
        self._surveys: dict[int, asyncio.Future[list[wire.State]]] = {}
        self._number = 0
        self._connected = asyncio.Event()

    # ---------------------------------------------------------------------------------------------- finding the agent

    async def start(self) -> None:
        """Connect to the agent, starting it if there is none."""
        self._check()
        self._closing = False
        await self._connect()
        self._keeper = asyncio.create_task(self._keep())

    def _check(self) -> None:
        try:
            identity_of(self._process.user)
            for directory in (places.agent_dir(self._data), self._logs):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except LookupError as error:
            raise EngineError(str(error.args[0])) from None
        except OSError as error:
            text = f"{error.filename}: {error.strerror}" if error.filename else str(error.args[0])
            raise EngineError(text) from None

    async def _connect(self) -> None:
        """Greet an agent, then say again what an agent before it may not have heard."""
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        spawned = 0.0
        while True:
            line = await self._dial()
            if line is not None:
                break
            now = asyncio.get_running_loop().time()
            if now > deadline:
                raise EngineError(f"The agent that runs jobs does not start. It says: {self._agent_says()}")
            if now - spawned > 2:
                await self._spawn_reaper()
                spawned = now
            await asyncio.sleep(0.02)
        self._line = line
        self._welcome = line.welcome.result()
        if self._welcome.version != batchery.__version__ and not spawned:
            line.send(wire.Retire())
        self._say_again(line)
        self._connected.set()

    def _say_again(self, line: Line) -> None:
        if self._acks:
            line.send(wire.AckThese(list(self._acks)))
        by_grace: dict[int, list[AttemptKey]] = {}
        for key, grace in self._kills.items():
            by_grace.setdefault(grace, []).append(key)
        for grace, keys in by_grace.items():
            line.send(wire.KillThese(keys, grace))
        if self._withdrawn:
            line.send(wire.WithdrawThese(list(self._withdrawn)))
        if self._orders:
            line.send(wire.Launch(list(self._orders.values())))

    async def _dial(self) -> Line | None:
        """A greeted connection; None if nobody answers."""
        try:
            path = places.socket_note(self._data).read_text()
            _, line = await asyncio.get_running_loop().create_unix_connection(lambda: Line(self._heard), path)
        except PermissionError:
            raise EngineError(
                f"The agent of {self._data} belongs to another user: run the server as that one."
            ) from None
        except OSError:
            return None
        process = self._process
        settings = wire.Settings(
            process.memory,
            process.gpus,
            process.user,
            tuple(process.prolog),
            process.keep_workdirs,
            process.agent_linger,
        )
        line.send(wire.Hello(wire.PROTOCOL, batchery.__version__, settings))
        try:
            async with asyncio.timeout(10):
                welcome = await asyncio.shield(line.welcome)
        except (OSError, TimeoutError):
            line.close()
            return None
        if welcome.protocol > wire.PROTOCOL:
            line.close()
            raise EngineError(
                f"Jobs of {self._data} are run by an agent of Batchery {welcome.version}, newer than this one: "
                "use that version, or wait until its jobs are done."
            )
        return line

    async def _spawn_reaper(self) -> None:
        """Start the process above the agent; it leaves this one at once (it forks), so no child remains."""
        package = str(Path(batchery.__file__).parent.parent)
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
        try:
            path = places.new_socket_path(self._data)
        except OSError as error:
            raise EngineError(f"The agent's socket has no place: {error}. Set XDG_RUNTIME_DIR.") from None
        log = str(places.agent_dir(self._data) / "agent.log")
        argv = [sys.executable, "-P", "-m", "batchery.engines.reaper", str(self._data), str(path), *self._options]
        pid = os.posix_spawn(
            sys.executable,
            argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
        )
        with contextlib.suppress(ChildProcessError):  # a child watcher of somebody else was quicker
            try:
                while os.waitpid(pid, os.WNOHANG)[0] == 0:
                    await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                os.waitpid(pid, 0)
                raise

    def _agent_says(self) -> str:
        try:
            lines = (places.agent_dir(self._data) / "agent.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "nothing"

    async def _keep(self) -> None:
        """Notice when the agent goes away, and find or start another."""
        while True:
            assert self._line is not None
            await self._line.lost.wait()
            self._line = None
            self._connected.clear()
            self._fail_surveys()
            while self._line is None:
                try:
                    await self._connect()
                except EngineError as error:
                    _log.error("%s", error)
                    await asyncio.sleep(5)

    async def close(self) -> None:
        """Let go of the agent; jobs go on."""
        self._closing = True
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        self._connected.clear()
        if self._line is not None:
            self._line.close()
            await self._line.lost.wait()
            self._line = None
        self._fail_surveys()
        self._arrived.set()

    async def stop_agent(self) -> None:
        """Kill every job, and end the agent. Returns when both are gone. Works whether or not `start` was called."""
        line = self._line
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        self._orders.clear()
        while (held := reaper.lock(str(self._data))) < 0:
            if line is None or line.lost.is_set():  # it may be about to come up
                line = self._line = await self._dial()
            if line is not None:
                line.send(wire.Quit())
                await line.lost.wait()
            await asyncio.sleep(0.01)
        os.close(held)
        await self.close()

    # ---------------------------------------------------------------------------------------------- effects

    def capacity(self) -> Capacity:
        """What the agent hands out. Raises EngineError before `start`."""
        if self._welcome is None:
            raise EngineError("The engine has not been started.")
        clamp = self._process.oversize == "clamp"
        return Capacity(self._welcome.memory, self._welcome.gpus, clamp, AHEAD)

    async def launch(self, orders: list[Order]) -> None:
        tasks = [self._task(order) for order in orders]
        if strange := [task for task in tasks if not self._knows(task)]:
            self._refuse(strange)
            tasks = [task for task in tasks if task not in strange]
        for task in tasks:
            if task.key not in self._acks:
                self._orders[task.key] = task
        self._send(wire.Launch(tasks))

    def _task(self, order: Order) -> wire.Task:
        if order.several:
            places = tuple(self._place(container) for container in order.containers)
            return wire.task_of(order, ("-",), places[0].environment, pod=places)
        container = order.containers[0]
        run = self._entry(container)
        return wire.task_of(order, run.argv, run.environment, ulimits(container.spec))

    def _entry(self, container: Container) -> Entry:
        rules = self._process.images
        return entry(rules, container.image, container.command, container.environment, container.entrypoint)

    def _place(self, container: Container) -> Place:
        run = self._entry(container)
        return Place(
            *(container.name, container.image, run.argv, run.environment, container.log_path),
            *(container.resources.memory, container.resources.gpus, container.essential, container.decides),
            *(container.after, container.start_timeout, container.stop_timeout, tuple(ulimits(container.spec))),
            forgiving=container.forgiving,
        )

    def _knows(self, task: wire.Task) -> bool:
        """Whether the agent, which may be older, runs such a task as it is meant."""
        needs = wire.HOSTS if any(place.forgiving for place in task.pod) else wire.SEVERAL
        return not task.pod or (self._welcome is not None and self._welcome.protocol >= needs)

    def _refuse(self, tasks: list[wire.Task]) -> None:
        """An agent of an older version would run something else: these fail to start."""
        version = self._welcome.version if self._welcome is not None else ""
        words = f"CannotStartContainerError: jobs are run by an agent of Batchery {version}, which does not know jobs "
        words += "of such containers; it ends with the last of its jobs"
        now = time.time_ns() // 1_000_000
        for task in tasks:
            ends = tuple(ContainerEnd(place.name, None, words, place.decides) for place in task.pod)
            self._inbox.append(Exited(task.key, now, START_FAILED, containers=ends))
            self._arrived.set()

    async def kill(self, keys: list[AttemptKey], grace: int) -> None:
        for key in keys:
            if key not in self._acks:
                self._kills[key] = min(grace, self._kills.get(key, grace))
        while len(self._kills) > REMEMBERED:
            del self._kills[next(iter(self._kills))]
        self._send(wire.KillThese(keys, grace))

    async def withdraw(self, keys: list[AttemptKey]) -> None:
        for key in keys:
            self._orders.pop(key, None)
            self._withdrawn[key] = None
        self._send(wire.WithdrawThese(keys))

    async def ack(self, keys: list[AttemptKey]) -> None:
        for key in keys:
            self._acks[key] = None
            self._forget(key)
        while len(self._acks) > REMEMBERED:
            del self._acks[next(iter(self._acks))]
        self._send(wire.AckThese(keys))

    async def survey(self) -> dict[AttemptKey, Survey]:
        """Waits for an agent if there is none."""
        while True:
            await self._connected.wait()
            self._number += 1
            answer: asyncio.Future[list[wire.State]] = asyncio.get_running_loop().create_future()
            self._surveys[self._number] = answer
            self._send(wire.Ask(self._number))
            try:
                states = await answer
            except ConnectionResetError:
                if self._closing:
                    raise
                continue
            return {s.key: Survey(s.key, s.state, wire.report_of(s.end) if s.end else None) for s in states}

    def _fail_surveys(self) -> None:
        for answer in self._surveys.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the agent is gone"))
        self._surveys.clear()

    def _send(self, message: object) -> None:
        """To the agent; what an agent that is gone misses is said again to the next."""
        if self._line is not None:
            self._line.send(message)

    # ---------------------------------------------------------------------------------------------- reports

    def _heard(self, message: wire.Told | wire.Surveyed) -> None:
        if isinstance(message, wire.Surveyed):
            answer = self._surveys.pop(message.number, None)
            if answer is not None and not answer.done():
                answer.set_result(message.states)
            return
        again: list[AttemptKey] = []
        for news in message.news:
            if news.key in self._acks:
                again.append(news.key)  # it crossed the acknowledgement
                continue
            if news.kind == wire.STARTING or news.kind == wire.STARTED:
                self._orders.pop(news.key, None)
                self._withdrawn.pop(news.key, None)
            else:
                self._forget(news.key)
            self._inbox.append(wire.report_of(news))
        if again:
            self._send(wire.AckThese(again))
        if self._inbox:
            self._arrived.set()

    def _forget(self, key: AttemptKey) -> None:
        self._orders.pop(key, None)
        self._kills.pop(key, None)
        self._withdrawn.pop(key, None)

    async def reports(self) -> AsyncIterator[list[Report]]:
        """Everything that has come since the last batch, until `close`."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._inbox:
                batch, self._inbox = self._inbox, []
                yield batch
            elif self._closing:
                return

    def facts(self) -> dict[str, str]:
        if self._welcome is None:
            return {"engine": self.name, "agent": "not running"}
        return {
            "engine": self.name,
            "agent": f"{self._welcome.pid} (Batchery {self._welcome.version})",
            "user": self._process.user or "the server's own",
            "memory": f"{self._welcome.memory} MiB",
            "gpus": str(self._welcome.gpus),
            **self._welcome.facts,
        }
