"""The command line: `batchery COMMAND`. One file per command; a command is imported when it is called."""

from importlib import import_module
from typing import Final

import click

from batchery import __version__

#: Command -> its module here, in the order that --help shows them.
COMMANDS: Final = {
    "serve": "serve",
    "exec": "run_with",
    "aws": "aws",
    "env": "env",
    "jobs": "jobs",
    "why": "why",
    "logs": "logs",
    "keys": "keys",
    "import": "importing",
    "reset": "reset",
    "doctor": "doctor",
    "demo": "demo",
    "sim": "sim",
    "version": "version",
}


class Commands(click.Group):
    """Imports a command when it is asked for, so that `batchery env` does not pay for `batchery serve`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"batchery.cli.{COMMANDS[cmd_name]}").command
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--url", metavar="URL", default="", help="The server to speak to (BATCHERY_URL). Default: the running one."
)
@click.option("--region", metavar="NAME", default="", help="The region to speak in (BATCHERY_REGION).")
@click.version_option(__version__, prog_name="batchery", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context, url: str, region: str) -> None:
    """Batchery: AWS Batch that you run yourself.

    \b
      batchery serve                        start the service
      eval "$(batchery env)"                point the AWS CLI and boto3 at it
      batchery aws batch submit-job ...     or run the AWS CLI against it, once
      batchery exec -- pytest tests         a private server for one command

    Exit codes: 0 done, 1 failed (a sentence on stderr says why), 2 wrong usage, 3 no server answers, 4 no such job.
    `exec` and `aws` pass on the exit code of what they run; 125: the private server did not start, 126 and 127: the
    command cannot be run, or is not there.
    """
    ctx.obj = (url, region)
