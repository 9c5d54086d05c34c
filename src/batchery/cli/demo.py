"""`batchery demo`: a private server and a small pipeline, shown live."""

import sys
import time
from collections.abc import Callable
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from batchery.cli.pipeline import STEPS, Pipeline, summary
from batchery.cli.private import NotStarted, PrivateServer
from batchery.cli.problem import Problem, told
from batchery.cli.screen import COLOURS, paint

TICK_SECONDS: Final = 0.1
BAR: Final = 20  # cells
#: The order of an array's bar, from its left end.
BAR_ORDER: Final = ("SUCCEEDED", "FAILED", "RUNNING", "STARTING", "RUNNABLE", "PENDING", "SUBMITTED")


@click.command("demo", short_help="Run a small pipeline, shown live.")
def command() -> None:
    """Run a small pipeline on a private server, and show what becomes of each job and why.

    A job, an array of 100, an array that follows it child by child, a dependent; a job that is tried again; and three
    that are cancelled or terminated. About ten seconds; nothing is left behind. The exit code is 0 only if each job
    ended as it should.
    """
    click.echo("Starting a private server ...")
    try:
        with told(), PrivateServer() as server, server.target.client() as client:
            pipeline = Pipeline(client)
            pipeline.prepare()
            pipeline.submit()
            _watch(pipeline)
            _tell(pipeline)
            surprises = pipeline.surprises()
    except (NotStarted, TimeoutError) as error:
        raise Problem(str(error)) from None
    for sentence in surprises:
        click.echo(f"batchery: {sentence}", err=True)
    click.echo(
        f"{'Not a' if surprises else 'A'}ll as expected, in {pipeline.seconds:.1f} s. The server and its data are gone."
    )
    sys.exit(1 if surprises else 0)


def _watch(pipeline: Pipeline) -> None:
    console = Console()
    if not console.is_terminal:
        _drive(pipeline, Plain().show)
        return
    with Live(console=console, auto_refresh=False) as live:
        _drive(pipeline, lambda pipeline: live.update(picture(pipeline), refresh=True))


def _drive(pipeline: Pipeline, show: Callable[[Pipeline], None]) -> None:
    while True:
        pipeline.tick()
        show(pipeline)
        if pipeline.over:
            return
        time.sleep(TICK_SECONDS)


def picture(pipeline: Pipeline) -> Group:
    """The whole pipeline as it is now."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading, width in (("JOB", 8), ("WHAT", 27), ("STATUS", 9), ("CHILDREN", BAR + 8)):
        table.add_column(heading, no_wrap=True, min_width=width)
    for step in STEPS:
        job = pipeline.jobs[step.name]
        table.add_row(step.name, step.what, Text(job["status"], style=COLOURS[job["status"]]), bar(summary(job)))
    return Group(table, *(Text(f"  {event}", style="dim") for event in pipeline.events))


def bar(counts: dict[str, int]) -> Text:
    """An array's children as one bar, a colour per status."""
    text = Text()
    total = sum(counts.values())
    seen = cells = 0
    for status in BAR_ORDER if total else ():
        seen += counts.get(status, 0)
        upto = round(BAR * seen / total)
        text.append("━" * (upto - cells), style=COLOURS[status])
        cells = upto
    if total:
        text.append(f" {counts.get('SUCCEEDED', 0)}/{total}")
    return text


class Plain:
    """Without a terminal: a line for every change."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._events = 0

    def show(self, pipeline: Pipeline) -> None:
        for event in pipeline.events[self._events :]:
            self._say(pipeline, event)
        self._events = len(pipeline.events)
        for step in STEPS:
            job = pipeline.jobs[step.name]
            counts = summary(job)
            text = str(job["status"])
            if counts and text == "PENDING":
                text = ", ".join(f"{counts[name]} {name}" for name in BAR_ORDER if counts.get(name))
            if self._shown.get(step.name) != text:
                self._shown[step.name] = text
                self._say(pipeline, f"{step.name}: {text}")

    def _say(self, pipeline: Pipeline, text: str) -> None:
        click.echo(f"{pipeline.seconds:5.1f} s  {text}")


def _tell(pipeline: Pipeline) -> None:
    click.echo("\nWhat became of each, as `batchery why` tells it:")
    for step in STEPS:
        answer: dict[str, Any] = pipeline.client.own("why", job=pipeline.ids[step.name])
        click.echo(f"{paint(answer['status'], answer['status'])} {step.name}, {step.what}")
        for line in answer["lines"]:
            click.echo(f"    {line}")
    click.echo("")
