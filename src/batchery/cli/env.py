"""`eval "$(batchery env)"`: point AWS's clients at the server, for the rest of a shell session."""

import os
import shlex

import click

from batchery.cli.clients import find_aws, find_boto3
from batchery.cli.problem import told
from batchery.cli.target import UNSET, Target, find
from batchery.client import NoServer


@click.command("env", short_help="Print what points AWS clients at the server.")
@click.option("--shell", type=click.Choice(["sh", "fish"]), default=None, help="Default: what $SHELL says, else sh.")
@click.pass_obj
def command(options: tuple[str, str], shell: str | None) -> None:
    """Print what points the AWS CLI and boto3 at the server, for `eval`.

    Sets the endpoints of Batch, CloudWatch Logs and CloudTrail (and of no other service), the region, a key pair and
    NO_PROXY; unsets AWS_PROFILE and AWS_SESSION_TOKEN. Keys: BATCHERY_ACCESS_KEY_ID and BATCHERY_SECRET_ACCESS_KEY if
    they are set, else a pair that a server on loopback accepts. Warnings go to stderr.

    \b
    Examples:
      eval "$(batchery env)"
      batchery env --shell fish | source
    """
    with told():
        target = find(url=options[0], region=options[1])
    shell = shell or ("fish" if os.path.basename(os.environ.get("SHELL", "")) == "fish" else "sh")
    for line in lines(target, shell):
        click.echo(line)
    for warning in warnings(target):
        click.echo(f"batchery: {warning}", err=True)


def lines(target: Target, shell: str) -> list[str]:
    """What `eval` is to read."""
    if shell == "fish":
        return [
            *(f"set -e {name};" for name in UNSET),
            *(f"set -gx {name} {_fish(value)};" for name, value in target.environment().items()),
        ]
    return [
        f"unset {' '.join(UNSET)}",
        *(f"export {name}={shlex.quote(value)}" for name, value in target.environment().items()),
    ]


def warnings(target: Target) -> list[str]:
    """Clients that are too old for this, and a server that is not there."""
    said = [found.warning() for found in (find_aws(), find_boto3()) if found]
    try:
        target.health()
    except NoServer as error:
        said.append(f"{error} Start one with `batchery serve`.")
    return [sentence for sentence in said if sentence]


def _fish(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
