"""`batchery aws ...`: the user's own AWS CLI, which can reach nothing but the server.

Works with every AWS CLI, v1 and v2, also those too old to read endpoint variables. Three walls, since a slip here
would act on somebody's real account: a service that Batchery does not serve is refused; --endpoint-url is given in
front, and any option that could replace it, or bring real keys in, is refused; and every endpoint variable, the general
one too, points at the server, with keys that are worth nothing at AWS.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Final

import click

from batchery.cli.clients import aws_command
from batchery.cli.problem import CANNOT_EXECUTE, NO_COMMAND, NO_SERVER, START_HINT, Problem, told
from batchery.cli.target import UNSET, Target, find
from batchery.client import NoServer

SERVICES: Final = ("batch", "logs", "cloudtrail")
#: Global options of the AWS CLI that take a value and may stand before the service.
VALUED: Final = frozenset(
    {"--output", "--query", "--region", "--ca-bundle", "--color", "--cli-read-timeout", "--cli-connect-timeout",
     "--cli-binary-format", "--cli-error-format"}
)  # fmt: skip
#: The AWS CLI understands shortened options; so does this.
REFUSED: Final = {
    "--endpoint-url": "the endpoint is the server's; to speak to AWS itself run `aws` without `batchery`",
    "--profile": "a profile is for AWS itself; keys are set by BATCHERY_ACCESS_KEY_ID and BATCHERY_SECRET_ACCESS_KEY",
    "--no-sign-request": "the server wants every request signed",
}


@click.command(
    "aws",
    short_help="Run your own AWS CLI against the server.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(options: tuple[str, str], arguments: tuple[str, ...]) -> None:
    """Run your own AWS CLI against the server: batch, logs and cloudtrail.

    Any version will do. Whatever else the AWS CLI can do is refused, so that nothing reaches AWS by accident.

    \b
    Examples:
      batchery aws batch list-jobs --job-queue default --job-status RUNNING
      batchery aws logs tail /aws/batch/job --follow       (AWS CLI v2)
      batchery aws --output text cloudtrail lookup-events
    """
    if not arguments or arguments[0] in ("--help", "-h"):
        click.echo(command.get_help(click.Context(command, info_name="batchery aws")))
        return
    with told():
        target = find(url=options[0], region=options[1])
    line = build(arguments, target)
    program = aws_command()
    if not program:
        raise Problem(
            "The AWS CLI is not installed: `pip install awscli`, or `apt-get install awscli`, then again.", NO_COMMAND
        )
    if "help" not in arguments:
        try:
            target.health()
        except NoServer as error:
            raise Problem(f"{error} {START_HINT}", NO_SERVER) from None
    try:
        os.execve(program, [program, *line], environment(target, os.environ))
    except OSError as error:
        raise Problem(f"{program}: {error.strerror}.", CANNOT_EXECUTE) from None


def build(arguments: Sequence[str], target: Target) -> list[str]:
    """The arguments of `aws`. Raises Problem for what could reach AWS."""
    for argument in arguments:
        name = argument.partition("=")[0]
        for option, why in REFUSED.items():
            # "--end-time" begins differently; "--e" and "--p" are too short to be this option alone.
            if len(name) > 3 and option.startswith(name):
                raise Problem(f"`batchery aws` does not take {option}: {why}.", 2)
    service = service_of(arguments)
    if service == "help":
        return list(arguments)
    if service not in SERVICES:
        raise Problem(
            f"`batchery aws` serves {', '.join(SERVICES)}, not {service or 'nothing'}: nothing was sent anywhere.", 2
        )
    return ["--endpoint-url", target.url, *arguments]


def service_of(arguments: Sequence[str]) -> str:
    """The first word that is not a global option or its value; "" if there is none."""
    words = iter(arguments)
    for word in words:
        if word == "--version":
            return "help"
        if not word.startswith("-"):
            return word
        if word in VALUED:
            next(words, None)
    return ""


def environment(target: Target, environ: Mapping[str, str]) -> dict[str, str]:
    """The child's: this one, without what leads to AWS."""
    kept = {
        name: value for name, value in environ.items() if name not in UNSET and not name.startswith("AWS_ENDPOINT_URL")
    }
    return kept | target.environment(environ) | {
        "AWS_ENDPOINT_URL": target.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
    }  # fmt: skip
