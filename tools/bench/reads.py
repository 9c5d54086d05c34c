"""Describe and List with 1,000 jobs and definitions and with 100,000: what a read costs does not grow with those."""

from collections.abc import Callable
from typing import Any, Final

from msgspec import json

from tools.bench.load import drive
from tools.bench.report import Ratio, Report
from tools.bench.servers import WAITING, Batchery, container

FEW: Final = 1_000
MANY: Final = 100_000
QUICK: Final = 10_000

Measure = Callable[[], dict[str, float]]


def few_and_many(report: Report, ours: Batchery, rounds: int, seconds: float, many: int) -> None:
    """Rates of both, the second after the queue has grown to ``many`` jobs."""
    _fill(ours, FEW)
    few = [_reads(ours, seconds) for _ in range(rounds)]
    _fill(ours, many - FEW)
    lots = [_reads(ours, seconds) for _ in range(rounds)]
    for name in few[0]:
        before, after = [found[name] for found in few], [found[name] for found in lots]
        report.ratios.append(Ratio(f"{name}, {many:,} jobs", "/s", after, before, f"{FEW:,} jobs"))


def _fill(ours: Batchery, count: int) -> None:
    drive(ours.address, ours.signer.submits(2_000), 64, 240, count=count)
    names = [ours.signer.request("RegisterJobDefinition", **_definition(f"read-{number}")) for number in range(2_000)]
    drive(ours.address, names, 64, 240, count=count)


def _definition(name: str) -> dict[str, Any]:
    return {"jobDefinitionName": name, "type": "container", "containerProperties": container("true")}


def _reads(ours: Batchery, seconds: float) -> dict[str, float]:
    """Answers per second with 8 connections."""
    page = json.decode(
        drive(
            ours.address,
            [ours.signer.request("ListJobs", jobQueue=WAITING, jobStatus="RUNNABLE", maxResults=100)],
            1,
            5,
            count=1,
            keep=True,
        ).bodies[0]
    )
    ids = [job["jobId"] for job in page["jobSummaryList"]]
    requests = {
        "DescribeJobs of 1": [ours.signer.request("DescribeJobs", jobs=[job]) for job in ids],
        "ListJobs, a page of 100": [
            ours.signer.request("ListJobs", jobQueue=WAITING, jobStatus="RUNNABLE", maxResults=100)
        ],
    }
    described: dict[str, dict[str, Any]] = {
        "a page of 100": {"maxResults": 100},
        "a page of a name's revisions": {"jobDefinitionName": "read-7", "maxResults": 1},
        "INACTIVE, of which there are none": {"status": "INACTIVE"},
    }
    for what, members in described.items():
        asked = ours.signer.request("DescribeJobDefinitions", **members)
        requests[f"DescribeJobDefinitions, {what}"] = [asked]
    page_of = {"jobQueue": WAITING, "maxResults": 100}
    for what, values in {
        "a name": ("JOB_NAME", page["jobSummaryList"][0]["jobName"]),
        "a name that nobody has": ("JOB_NAME", "nobody*"),
        "a definition": ("JOB_DEFINITION", page["jobSummaryList"][0]["jobDefinition"]),
        "age": ("BEFORE_CREATED_AT", str(page["jobSummaryList"][-1]["createdAt"])),
    }.items():
        filters = [{"name": values[0], "values": [values[1]]}]
        requests[f"ListJobs by {what}"] = [ours.signer.request("ListJobs", **page_of, filters=filters)]
    return {name: drive(ours.address, asked, 8, seconds).rate for name, asked in requests.items()}
