"""The agent: jobs are its children, so that no end of a server harms them.

    python -m batchery.engines.agent DATA SOCKET [LOCK_FD [--no-cgroups]]

One thread, one loop: look at descriptors, wait for children, do what is due, begin what has room, write the journal,
then tell. It starts nothing by itself and decides nothing but who may begin (room.py); a server tells it everything
over a Unix socket (wire.py). It ends when no server has been there for `agent_linger` seconds after its last job, or
when it is told to. If it is killed, the reaper above it starts another, which takes over (orphans.py).
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final

import batchery
from batchery.core.model import AttemptKey
from batchery.engines import places, wire
from batchery.engines.cgroups import Cgroups, NoCgroups, host_layout, host_memory_mib
from batchery.engines.clocks import clock
from batchery.engines.host import become_subreaper, count_gpus
from batchery.engines.journal import Journal
from batchery.engines.orphans import Orphans
from batchery.engines.podhost import names_of
from batchery.engines.reaper import lock
from batchery.engines.room import Room
from batchery.engines.runner import Runner
from batchery.engines.spawn import ends, identity_of, raise_open_files
from batchery.engines.wire import Settings
from batchery.engines.workdirs import Workdirs

READ_BYTES: Final = 1 << 18
SOCKET_CHECK: Final = 5000  # ms between looks whether the socket is still there
GATHER: Final = 3  # ms between reports to the server
FIRST_LINGER: Final = 60  # s, until a server says otherwise


class Connection:
    """A server's end of the socket."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.frames = wire.Frames()
        self.greeted = False
        self.out = bytearray()
        self.full = False  # the socket takes no more for now


class Agent:
    """The loop."""

    def __init__(self, data: Path, path: Path, use_cgroups: bool = True) -> None:
        self.data, self.path = data, path
        self.selector = selectors.DefaultSelector()
        self.connections: dict[int, Connection] = {}
        self.current: Connection | None = None  # the one that greeted last: it gets the reports
        self.retiring = self.quitting = False
        self.linger = FIRST_LINGER
        self.alone_since = clock()
        self.checked = 0
        self.told_at = 0
        self.parent = os.getppid()
        self.facts: dict[str, str] = {}
        directory = places.agent_dir(data)
        self.journal = Journal(directory / "journal")
        memories = self.journal.open()
        self.cgroups = self._cgroups(use_cgroups)
        used = {m.slip.workdir for m in memories.values() if m.slip and not m.over}
        self.runner = Runner(
            self.journal,
            Workdirs(data / "work", used),
            Room(host_memory_mib(), count_gpus()),
            self.cgroups,
            identity_of(""),
            self._watch,
            self._unwatch,
        )
        self.facts["orphans"] = become_subreaper() or "adopted"
        self.orphans = Orphans(self.runner, directory / "orphans")
        self.orphans.take_over(memories, self.journal.same_boot)
        if self.cgroups is not None:
            slips = [m.slip for m in memories.values() if m.slip and not m.over]
            self.cgroups.sweep({name for slip in slips for name in names_of(slip)})
        self.listener = self._listen()
        self.wakeup = self._hear_children()

    def _cgroups(self, wanted: bool) -> Cgroups | None:
        try:
            if not wanted:
                raise NoCgroups("cgroups are switched off")
            cgroups = Cgroups(f"batchery-{places.tag(self.data)}", host_layout())
        except NoCgroups as why:
            self.facts["memory limits"] = f"not enforced: {why}"
            return None
        self.facts["memory limits"] = f"enforced (cgroup v{cgroups.version}, {cgroups.root})"
        return cgroups

    def _hear_children(self) -> socket.socket:
        reading, writing = socket.socketpair()
        reading.setblocking(False)
        writing.setblocking(False)
        self._writing = writing
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.selector.register(reading, selectors.EVENT_READ, self._drain)
        return reading

    def _drain(self) -> None:
        try:
            while self.wakeup.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _listen(self) -> socket.socket:
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(str(self.path))
        os.chmod(self.path, 0o600)
        listener.listen(16)
        note = places.socket_note(self.data)
        fresh = note.with_suffix(".new")
        fresh.write_text(str(self.path))
        os.replace(fresh, note)
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        return listener

    def _watch(self, fd: int, key: AttemptKey) -> None:
        self.selector.register(fd, selectors.EVENT_READ, lambda: self.runner.shim_said(key))

    def _unwatch(self, fd: int) -> None:
        self.selector.unregister(fd)

    # ---------------------------------------------------------------------------------------------- the loop

    def run(self) -> None:
        """Until told to end, or left alone."""
        runner = self.runner
        while True:
            for chosen, _ in self.selector.select(self._patience()):
                chosen.data()
            for end in ends(runner.ending):
                runner.child_ended(end)
            self.orphans.look()
            runner.alarms(heard=self.current is not None)
            if not self.quitting:
                runner.admit()
            self.journal.flush()
            self._tell()
            if self._finished():
                return
            if self.journal.large:
                self.journal.compact(runner.memories())
            if clock() - self.checked > SOCKET_CHECK:
                self._check_socket()

    def _patience(self) -> float:
        """Seconds until something is due."""
        times = [t for t in (self.runner.next_alarm(), self.orphans.next_look) if t is not None]
        if self.runner.told and self.current is not None:
            times.append(self.told_at + GATHER)
        if self.current is None:
            times.append(self.alone_since + self.linger * 1000 + 1 if not self.runner.live else clock() + SOCKET_CHECK)
        return max(0.0, (min(times) - clock()) / 1000) if times else SOCKET_CHECK / 1000

    def _finished(self) -> bool:
        runner = self.runner
        if runner.live:
            self.alone_since = clock()
            return False
        if self.quitting:
            return True
        if self.retiring and not runner.room.held and not runner.attempts:
            return True
        if os.getppid() != self.parent and not runner.room.held and not runner.attempts:
            return True  # the reaper is gone: the next agent comes with a new one
        return self.current is None and clock() - self.alone_since >= self.linger * 1000

    def _check_socket(self) -> None:
        """Whoever tidies run-time directories must not cut us off."""
        self.checked = clock()
        if not self.path.exists() and self.data.exists():
            self.selector.unregister(self.listener)
            self.listener.close()
            places.own_directory(self.path.parent)
            self.listener = self._listen()

    def close(self) -> None:
        """Leave nothing behind but the journal."""
        if self.current is not None:
            self._tell_now(self.current)
        for connection in list(self.connections.values()):
            self._drop(connection)
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()
        self.runner.workdirs.close()
        if self.cgroups is not None:
            self.cgroups.close()
        self.journal.close()

    # ---------------------------------------------------------------------------------------------- the socket

    def _accept(self) -> None:
        try:
            channel, _ = self.listener.accept()
        except OSError:
            return
        channel.setblocking(False)
        connection = Connection(channel)
        self.connections[channel.fileno()] = connection
        self.selector.register(channel, selectors.EVENT_READ, lambda: self._ready(connection))

    def _ready(self, connection: Connection) -> None:
        self._write(connection)
        try:
            data = connection.channel.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        try:
            for body in connection.frames.feed(data):
                for message in wire.to_agent.decode(body):
                    self._handle(connection, message)
        except (ValueError, LookupError, PermissionError) as error:  # not a server of ours
            print(f"connection dropped: {error}", file=sys.stderr, flush=True)
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if self.connections.pop(connection.channel.fileno(), None) is None:
            return
        self.selector.unregister(connection.channel)
        connection.channel.close()
        if connection is self.current:
            self.current = None
            self.alone_since = clock()

    def _handle(self, connection: Connection, message: wire.ToAgent) -> None:
        runner = self.runner
        if isinstance(message, wire.Hello):
            self._greet(connection, message)
        elif not connection.greeted:
            raise ValueError("no greeting")
        elif isinstance(message, wire.Launch):
            runner.launch(message.tasks)
        elif isinstance(message, wire.KillThese):
            runner.kill(message.keys, message.grace)
        elif isinstance(message, wire.WithdrawThese):
            runner.withdraw(message.keys)
        elif isinstance(message, wire.AckThese):
            runner.ack(message.keys)
        elif isinstance(message, wire.Ask):
            self._send(connection, [wire.Surveyed(message.number, runner.survey())])
        elif isinstance(message, wire.Retire):
            self.retiring = True
        else:
            self.quitting = True
            runner.room.held.clear()
            runner.kill(list(runner.attempts), 0)

    def _greet(self, connection: Connection, hello: wire.Hello) -> None:
        self._apply(hello.settings)
        connection.greeted = True
        self.current = connection
        room = self.runner.room
        self._send(
            connection,
            [wire.Welcome(wire.PROTOCOL, batchery.__version__, os.getpid(), room.memory, room.gpus, self.facts)],
        )
        self.runner.retell()

    def _apply(self, settings: Settings) -> None:
        runner = self.runner
        identity = identity_of(settings.user)
        root = places.work_root(self.data, not identity.is_self)
        if root != runner.workdirs.root:
            used = {a.slip.workdir for a in runner.attempts.values()}
            runner.workdirs.close()
            runner.workdirs = Workdirs(root, used)
        runner.settings = settings
        runner.identity = identity
        runner.basics = {"TMPDIR": os.environ.get("TMPDIR", "/tmp"), "LANG": "C.UTF-8"}
        gpus = count_gpus() if settings.gpus < 0 else settings.gpus
        runner.room.resize(settings.memory or host_memory_mib(), gpus)
        self.linger = settings.linger

    def _tell(self) -> None:
        """At once after a pause, else what has gathered: a message wakes the server, which costs more than a spawn."""
        if self.current is None:
            self.runner.told.clear()  # the next one hears everything
        elif self.runner.told and clock() >= self.told_at + GATHER:
            self._tell_now(self.current)

    def _tell_now(self, connection: Connection) -> None:
        news, self.runner.told = self.runner.told, []
        self.told_at = clock()
        self._send(connection, [wire.Told(news)])

    def _send(self, connection: Connection, messages: list[wire.FromAgent]) -> None:
        connection.out += wire.frame(messages)
        self._write(connection)

    def _write(self, connection: Connection) -> None:
        while connection.out:
            try:
                sent = connection.channel.send(connection.out)
            except BlockingIOError:
                break
            except OSError:
                connection.out.clear()  # the reading side will see the end
                break
            del connection.out[:sent]
        full = bool(connection.out)
        if full != connection.full and connection.channel.fileno() >= 0:
            connection.full = full
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if full else 0)
            self.selector.modify(connection.channel, wanted, lambda: self._ready(connection))


def main() -> int:
    data, path = Path(sys.argv[1]), Path(sys.argv[2])
    os.chdir("/")
    os.umask(0o022)
    if len(sys.argv) > 3:
        os.set_inheritable(int(sys.argv[3]), False)
    elif lock(str(data)) < 0:
        print(f"{data} has an agent", file=sys.stderr)
        return 1
    raise_open_files()  # a running attempt holds four, of its cgroup
    agent = Agent(data, path, "--no-cgroups" not in sys.argv)
    started = time.time()
    print(f"agent {os.getpid()} of {data}", file=sys.stderr, flush=True)
    try:
        agent.run()
        agent.close()
    finally:
        print(f"agent {os.getpid()} ends after {time.time() - started:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
