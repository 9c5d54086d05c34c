"""`batchery exec -- COMMAND`: a private server for one command."""

import os
import shutil
import sys

import click

from batchery.cli.private import MARK, Forwarding, NotStarted, PrivateServer
from batchery.cli.problem import CANNOT_EXECUTE, EXEC_FAILED, NO_COMMAND, Problem, told
from batchery.cli.target import UNSET, Target


@click.command(
    "exec",
    short_help="Run a command with a private server.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGS]...")
def command(arguments: tuple[str, ...]) -> None:
    """Run COMMAND with a private Batchery that is there for it alone.

    The server listens on a free port and keeps its data in a temporary place. COMMAND gets the variables of `batchery
    env`, so AWS's clients find it. When COMMAND has ended, jobs and server end, and its exit code is passed on.
    Signals are passed on too.

    \b
    Examples:
      batchery exec -- pytest tests/pipeline
      batchery exec -- sh -c 'batchery aws batch describe-job-queues'
    """
    if not shutil.which(arguments[0]):  # before a server is started in vain
        if os.path.exists(arguments[0]):
            raise Problem(f"{arguments[0]} cannot be executed.", CANNOT_EXECUTE)
        raise Problem(f"{arguments[0]}: there is no such command.", NO_COMMAND)
    waiting = sys.stderr.isatty()
    if waiting:
        click.echo("Starting a private Batchery ...", nl=False, err=True)
    try:
        with Forwarding() as signals, told(), PrivateServer() as server:
            if waiting:
                click.echo(f"\r\033[KA private Batchery is on {server.target.url}", err=True)
            code = _run(arguments, server.target, signals)
    except NotStarted as error:
        raise Problem(str(error), EXEC_FAILED) from None
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _run(arguments: tuple[str, ...], target: Target, signals: Forwarding) -> int:
    try:
        child = signals.start(arguments, command_environment(target))
    except OSError as error:
        raise Problem(f"{arguments[0]}: {error.strerror}.", CANNOT_EXECUTE) from None
    code = child.wait()
    return code if code >= 0 else 128 - code


def command_environment(target: Target) -> dict[str, str]:
    """What the command sees: this environment, pointed at the private server."""
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    ours = {"BATCHERY_URL": target.url, "BATCHERY_REGION": target.region, MARK: "1"}
    return kept | target.environment() | ours
