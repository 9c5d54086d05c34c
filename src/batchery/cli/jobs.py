"""`batchery jobs`: open and recent jobs, with what they used."""

import json
import time
from datetime import datetime
from typing import Any

import click

from batchery.api.story import duration
from batchery.cli.problem import told
from batchery.cli.screen import columns
from batchery.cli.target import find

STATUSES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
HEADING = ("JOB", "NAME", "QUEUE", "STATUS", "SINCE", "RAN", "CPU", "PEAK", "EXIT", "REASON")
Json = dict[str, Any]


@click.command("jobs", short_help="List open and recent jobs.")
@click.option("--queue", metavar="NAME", help="Of this queue only.")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(STATUSES, case_sensitive=False), help="May be repeated."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document: times in ms, memory in MiB.")
@click.pass_obj
def command(options: tuple[str, str], queue: str | None, statuses: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List open and recent jobs, newest first, with CPU time and peak memory of their attempts.

    An array is one line; its REASON begins with how many children are in which state.

    \b
    Examples:
      batchery jobs
      batchery jobs --status RUNNING --status RUNNABLE --queue default
      batchery jobs --json | jq '.jobs[] | select(.exitCode == 137).id'
    """
    with told(), find(url=options[0], region=options[1]).client() as client:
        answer = client.own("jobs", queue=queue, statuses=list(statuses) or None, limit=limit)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    if not answer["jobs"]:
        click.echo("No jobs." if not (queue or statuses) else "No such jobs.")
        return
    now = int(time.time() * 1000)
    rows = [HEADING, *(row(job, now) for job in answer["jobs"])]
    for line in columns(rows, painted=HEADING.index("STATUS")):
        click.echo(line)
    if answer["more"]:
        click.echo(f"... and older ones: --limit shows up to 1000 (now {limit}).", err=True)


def row(job: Json, now: int) -> tuple[str, ...]:
    """One line of the list. ``now`` in ms, for what still runs."""
    started, stopped = job.get("started"), job.get("stopped")
    used = job["attempts"] > 0 and not job.get("size")
    return (
        job["id"],
        job["name"] + (f" [{job['size']}]" if job.get("size") else ""),
        job["queue"],
        job["status"],
        since(job.get("stopped") or started or job["created"], now),
        duration(max(0, (stopped or now) - started)) if started else "",
        duration(job["cpuMs"]) if used else "",
        f"{job['peakMiB']} MiB" if used else "",
        str(job.get("exitCode", "")),
        reason(job),
    )


def since(at: int, now: int) -> str:
    """A time of day today, else the date."""
    when, today = datetime.fromtimestamp(at / 1000), datetime.fromtimestamp(now / 1000)
    return f"{when:%H:%M:%S}" if when.date() == today.date() else f"{when:%Y-%m-%d}"


def reason(job: Json) -> str:
    """The reason; of an array first the states of its children."""
    counts = job.get("summary") or {}
    states = ", ".join(f"{counts[name]} {name}" for name in STATUSES if counts.get(name))
    return ". ".join(part for part in (states, job["reason"]) if part)
