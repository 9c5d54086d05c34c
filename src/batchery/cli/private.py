"""A private server: its own process, a free port, its data in a temporary place, its jobs ended with it.

`exec`, `demo` and the pytest plugin use it. The port is bound and listening before the server starts and is handed to
it, so there is no race for a free one, and the first request simply waits in the backlog until the server is ready.
The server's life hangs on a pipe whose other end only we hold: however we end, SIGKILL included, it reads the end of
the pipe, ends its jobs, removes its data and goes. It is in a session of its own, so a Ctrl-C at the terminal reaches
the command that uses it and not the server, which has to be there while that command cleans up. Decision 080.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from batchery.cli.target import PRIVATE, Target
from batchery.client import NoServer
from batchery.config import load

#: Set for commands run by `exec`: the server named in BATCHERY_URL is private, so tests may empty it.
MARK: Final = "BATCHERY_PRIVATE"
START_SECONDS: Final = 30.0
#: On top of the time that jobs have between SIGTERM and SIGKILL.
STOP_SECONDS: Final = 30.0


class NotStarted(Exception):
    """The private server did not start; the text says why."""


class PrivateServer:
    """A context manager. ``settings`` are environment variables for the server (BATCHERY_LIMITS_...)."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self.folder = Path()
        self.target = Target("", "")

    def __enter__(self) -> "PrivateServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the server answers. Raises NotStarted."""
        self.folder = Path(tempfile.mkdtemp(prefix=PRIVATE))
        read, self._lifeline = os.pipe()  # neither is inherited, but for `read` by the server
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            self.target = Target(
                url=f"http://127.0.0.1:{listener.getsockname()[1]}",
                region=os.environ.get("BATCHERY_REGION") or load(environ=self._environment()).region,
            )
            with (self.folder / "server.log").open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "batchery", "serve", "--stop-jobs", "--data", str(self.folder / "data"),
                     "--fd", str(listener.fileno()), "--while-open", str(read)],
                    env=self._environment(), pass_fds=(listener.fileno(), read), stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        os.close(read)
        try:
            self.target.health(START_SECONDS)
        except NoServer as error:
            self._end()  # it may be about to say why
            said = (self.folder / "server.log").read_text(errors="replace").strip().removeprefix("batchery: ")
            self.stop()
            raise NotStarted(f"The private server did not start: {said or error}") from None

    def stop(self) -> None:
        """End the jobs, then the server, then remove the data. Once is enough; more is harmless."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._process is not None:
            grace = load(environ=self._environment()).kill_grace
            try:
                self._process.wait(grace + STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _environment(self) -> dict[str, str]:
        """Ours, without what says where another server is; the agent goes as soon as the server does."""
        ours = {
            name: value
            for name, value in os.environ.items()
            if name not in ("BATCHERY_URL", "BATCHERY_PORT", "BATCHERY_DATA", "BATCHERY_LOGS", MARK)
        }
        private = {
            "BATCHERY_HOST": "127.0.0.1",
            "BATCHERY_PROCESS_AGENT_LINGER": "0",
            "XDG_RUNTIME_DIR": str(self.folder),  # of the agent's socket, so that it goes with the rest
        }
        return ours | private | self._settings


def inherited(environ: Mapping[str, str] | None = None) -> Target | None:
    """The private server that `batchery exec` made for this process, if it did."""
    environ = os.environ if environ is None else environ
    url = environ.get("BATCHERY_URL")
    if not url or not environ.get(MARK):
        return None
    return Target(url, environ.get("BATCHERY_REGION") or environ.get("AWS_REGION") or "us-east-1")


class Forwarding:
    """While it is open, signals sent to us go on to a child instead of ending us.

    At a terminal Ctrl-C and Ctrl-\\ reach the child by themselves (it is in our process group), so they are not sent
    a second time.
    """

    SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self._before: dict[int, object] = {}
        self._held: list[int] | None = None  # signals that came while the child was being started

    def __enter__(self) -> "Forwarding":
        for name in self.SIGNALS:
            number = getattr(signal, name)
            self._before[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Start the child; a signal that comes before Popen has returned reaches it as well. Raises OSError."""
        self._held = []
        try:
            self.child = subprocess.Popen(arguments, env=environment)
        finally:
            held, self._held = self._held, None
        for number in held:
            self._forward(number, None)
        return self.child

    def _forward(self, number: int, _: FrameType | None) -> None:
        if self._held is not None:
            self._held.append(number)
            return
        if self.child is None:
            raise KeyboardInterrupt
        if number in (signal.SIGINT, signal.SIGQUIT) and _at_our_terminal():
            return
        self.child.send_signal(number)


def _at_our_terminal() -> bool:
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
