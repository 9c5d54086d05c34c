"""`batchery serve`: the service itself."""

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from batchery import __version__
from batchery.cli.problem import Problem, told
from batchery.cli.target import PRIVATE, find, leave_note, take_note_away
from batchery.config import Config, load


@click.command(
    "serve",
    short_help="Start the service.",
    epilog="Every setting, with its variable and its line in the TOML file: docs/configuration.md.",
)
@click.option("--host", metavar="ADDRESS", help="Where to listen (BATCHERY_HOST). Default: 127.0.0.1")
@click.option("--port", type=int, metavar="N", help="(BATCHERY_PORT) Default: 8642")
@click.option("--data", metavar="DIR", help="(BATCHERY_DATA) Default: $XDG_DATA_HOME/batchery")
@click.option("--config", "path", default="", metavar="FILE", help="A TOML file (BATCHERY_CONFIG).")
@click.option("--engine", metavar="NAME", help="process, docker, podman or auto (BATCHERY_ENGINE). Default: process")
@click.option("--stop-jobs", is_flag=True, help="At the end of the server end its jobs too.")
@click.option("--fd", type=int, hidden=True, help="Serve on this socket, bound and listening, that we inherited.")
@click.option("--while-open", type=int, hidden=True, help="End when the other end of this pipe is closed.")
def command(path: str, stop_jobs: bool, fd: int | None, while_open: int | None, **options: Any) -> None:
    """Start the service, and stay until Ctrl-C or SIGTERM.

    No configuration is needed: it listens on loopback, port 8642, keeps its data in ~/.local/share/batchery, runs jobs
    as processes of this host, and has a queue `default` ready. Jobs outlive the server: at its end it says how many go
    on, and the next start finds them. A second Ctrl-C ends the server at once.

    \b
    Examples:
      batchery serve
      batchery serve --port 9000 --data /srv/batchery
      batchery serve --host 0.0.0.0        needs keys: batchery keys add
    """
    with told():
        config = load(path, options=options)
    going_on = _run(lambda: _serve(config, stop_jobs, fd, while_open))
    folder = Path(config.data).parent
    if while_open is not None and folder.name.startswith(PRIVATE):
        shutil.rmtree(folder, ignore_errors=True)  # whoever was to do it may have been killed
    if stop_jobs:
        click.echo("Batchery has ended, and its jobs too.")
    elif going_on:
        click.echo(
            f"Batchery has ended. {_jobs(going_on)} on; the next start finds {'them' if going_on > 1 else 'it'}."
        )
    else:
        click.echo("Batchery has ended. No job was running.")


def _run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run the event loop (uvloop where it is there); what prevents the start becomes a Problem."""
    from batchery.app import StartError

    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):  # a platform without uvloop
        from uvloop import new_event_loop as factory
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())
    except StartError as error:
        raise Problem(str(error)) from None


async def _serve(config: Config, stop_jobs: bool, fd: int | None, while_open: int | None) -> int:
    from batchery.app import serve

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if stop.is_set():
            click.echo("Batchery ended at once; running jobs go on.", err=True)
            os._exit(130)
        click.echo("Ending ... (once more to end at once)", err=True)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    if while_open is not None:
        loop.add_reader(while_open, _closed, loop, while_open, stop)
    sock = None if fd is None else socket.socket(fileno=fd)

    enforced: dict[str, str] = {}

    def ready(url: str) -> None:
        leave_note(config, url)
        greet(config, url, enforced)

    try:
        return await serve(config, ready=ready, stop=stop, stop_jobs=stop_jobs, sock=sock, facts=enforced.update)
    finally:
        take_note_away(config)


def _closed(loop: asyncio.AbstractEventLoop, pipe: int, stop: asyncio.Event) -> None:
    """Whoever held the other end is gone."""
    loop.remove_reader(pipe)
    stop.set()


def greet(config: Config, url: str, enforced: dict[str, str]) -> None:
    """Where it serves, how to point the AWS CLI at it, and whether memory limits hold."""
    me = invoked_as() + ("" if find().url == url else f" --url {url}")
    click.echo(f"Batchery {__version__} serves on {url}   (data: {config.data})")
    if "memory limits" in enforced:
        jobs = f"containers of {enforced['runtime']}" if "runtime" in enforced else "processes of this host"
        click.echo(f"Jobs are {jobs}; memory limits: {enforced['memory limits']}.")
    click.echo(f'  AWS CLI and boto3, from this shell on:   eval "$({me} env)"')
    click.echo(f"  any AWS CLI, one command:                {me} aws batch describe-job-queues")
    click.echo(f"  what happens:                            {me} jobs")
    click.echo("Ctrl-C ends the server; jobs that run go on.")
    sys.stdout.flush()


def invoked_as() -> str:
    """How to call this command from here: `batchery` if that is on the PATH, else its path."""
    own = Path(sys.argv[0])
    found = shutil.which("batchery")
    if found and own.exists() and Path(found).resolve() == own.resolve():
        return "batchery"
    if own.name != "batchery":
        return f"{sys.executable} -m batchery"
    relative = os.path.relpath(own)
    return str(own) if relative.startswith("..") or os.getcwd() == "/" else relative


def _jobs(count: int) -> str:
    return "1 job goes" if count == 1 else f"{count} jobs go"
