"""`batchery why JOB`: why it waits, or how it ended."""

import json

import click

from batchery.cli.problem import NOT_FOUND, Problem, told
from batchery.cli.refs import resolve
from batchery.cli.screen import paint
from batchery.cli.target import find
from batchery.client import ServiceError


@click.command("why", short_help="Say why a job is in its state.")
@click.argument("job", metavar="JOB")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(options: tuple[str, str], job: str, as_json: bool) -> None:
    """Say why a job is in its state.

    Of a waiting job: its place in the order, what it waits for, what each compute environment lacks. Of one that has
    ended: who or what ended it, and each attempt with its exit code, CPU time and peak memory. JOB is an id (ID:INDEX
    for a child of an array), its beginning, or a job's name.

    \b
    Examples:
      batchery why hello
      batchery why 3f2a91c4:17
    """
    with told(), find(url=options[0], region=options[1]).client() as client:
        try:
            answer = client.own("why", job=resolve(client, job))
        except ServiceError as error:
            if error.code != "JobNotFound":
                raise
            raise Problem(error.message, NOT_FOUND) from None
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"{answer['name']} ({answer['id']}) is {paint(answer['status'], answer['status'])}.")
    for line in answer["lines"]:
        click.echo(f"  {line}")
    for environment, lack in answer["lacks"].items():
        click.echo(f"  {environment}: {lack}.")
