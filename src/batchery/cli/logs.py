"""`batchery logs`: what a job printed, live with --follow. CloudWatch Logs' GetLogEvents underneath."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import click

from batchery.cli.problem import NOT_FOUND, Problem, told
from batchery.cli.refs import resolve
from batchery.cli.screen import progress
from batchery.cli.target import find
from batchery.client import Client, ServiceError

GROUP: Final = "/aws/batch/job"
POLL_SECONDS: Final = 0.25
ENDED: Final = ("SUCCEEDED", "FAILED")
Json = dict[str, Any]


@click.command("logs", short_help="Show what a job printed.")
@click.argument("job", metavar="JOB")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended; wait if it has not begun.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Of that attempt. Default: the newest.")
@click.option("--timestamps", "-t", is_flag=True, help="The time before each line.")
@click.pass_obj
def command(options: tuple[str, str], job: str, follow: bool, attempt: int | None, timestamps: bool) -> None:
    """Show the output of a job: stdout and stderr as they came.

    JOB is an id (ID:INDEX for a child of an array), its beginning, or a job's name (the newest of that name); of a
    service job its id, and the output is of its first host.

    \b
    Examples:
      batchery logs --follow hello
      batchery logs 3f2a91c4:17 --attempt 1
    """
    with told(), find(url=options[0], region=options[1]).client() as client:
        for event in read(client, resolve(client, job), attempt, follow, progress):
            click.echo(_line(event, timestamps))


def read(
    client: Client, ref: str, attempt: int | None, follow: bool, say: Callable[[str], None] = lambda _: None
) -> Iterator[Json]:
    """Events, {timestamp, message}, in order. ``say`` is told what is being waited for ("" for nothing any more).

    Raises Problem if there is no such job or attempt, or it is an array.
    """
    tokens: dict[str, str] = {}
    first: int | None = attempt
    while True:
        job = describe(client, ref)
        streams = dict(streams_of(job))
        ended = job["status"] in ENDED
        if first is None and streams:
            first = max(streams)  # later attempts follow by themselves
        wanted = [n for n in sorted(streams) if first is not None and (n >= first if attempt is None else n == attempt)]
        if wanted:
            say("")
        came = False
        for number in wanted:
            for event in _drain(client, group_of(job), streams[number], tokens):
                came = True
                yield event
        if ended or not follow or (attempt is not None and len(job.get("attempts", [])) >= attempt):
            if attempt is not None and attempt not in streams:
                raise Problem(f"Job {ref} has no output of an attempt {attempt}.", NOT_FOUND)
            say("")
            return
        if not wanted:
            say(f"{job['jobName']} is {job['status']} ...")
        if not came:
            time.sleep(POLL_SECONDS)


def describe(client: Client, ref: str) -> Json:
    """The job, which must not be an array. Raises Problem."""
    found: list[Json] = client.batch("DescribeJobs", jobs=[ref])["jobs"] or _service_job(client, ref)
    if not found:
        raise Problem(f"There is no job {ref} here. `batchery jobs` lists them.", NOT_FOUND)
    size = found[0].get("arrayProperties", {}).get("size")
    if size:
        raise Problem(f"{ref} is an array of {size}: each child has output of its own, as {ref}:0.", NOT_FOUND)
    return found[0]


def _service_job(client: Client, ref: str) -> list[Json]:
    """The service job, with the members of a job that are read here; [] if there is none."""
    from batchery.spec.service import LOG_GROUP, host_name  # 25 ms, which other jobs need not wait for

    try:
        job = client.batch("DescribeServiceJob", jobId=ref)
    except ServiceError:
        return []
    name = json.loads(job["serviceRequestPayload"]).get("TrainingJobName") or job["jobName"]

    def container(attempt: Json) -> Json:
        task = str(attempt.get("serviceResourceId", {}).get("value", ""))[-32:]
        options = {"options": {"awslogs-group": LOG_GROUP}}
        return {"logStreamName": f"{name}/{host_name(1)}/{task}" if task else "", "logConfiguration": options}

    attempts = [{"container": container(attempt)} for attempt in job.get("attempts", [])]
    return [{**job, "attempts": attempts, "container": container(job.get("latestAttempt", {}))}]


def streams_of(job: Json) -> Iterator[tuple[int, str]]:
    """(attempt from 1 on, log stream) of every attempt that has one."""
    attempts = [attempt["container"].get("logStreamName", "") for attempt in job.get("attempts", [])]
    live = job.get("container", {}).get("logStreamName", "")
    if live and live not in attempts:
        attempts.append(live)
    return ((number, stream) for number, stream in enumerate(attempts, 1) if stream)


def group_of(job: Json) -> str:
    """The log group of a job's streams."""
    options = job.get("container", {}).get("logConfiguration", {}).get("options", {})
    return str(options.get("awslogs-group") or GROUP)


def _drain(client: Client, group: str, stream: str, tokens: dict[str, str]) -> Iterator[Json]:
    """Whatever is there beyond the last token of the stream."""
    while True:
        token = tokens.get(stream)
        try:
            page = client.logs(
                "GetLogEvents", logGroupName=group, logStreamName=stream, startFromHead=True, nextToken=token
            )
        except ServiceError as error:
            if error.code == "ResourceNotFoundException":
                return  # named already, and not written yet; or deleted by hand
            raise
        yield from page["events"]
        tokens[stream] = page["nextForwardToken"]
        if page["nextForwardToken"] == token or not page["events"]:
            return


def _line(event: Json, timestamps: bool) -> str:
    if not timestamps:
        return str(event["message"])
    at = datetime.fromtimestamp(event["timestamp"] / 1000)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} {event['message']}"
