"""An array of 10,000 children costs about what a single job costs: SubmitJob and CancelJob of both, in turns."""

import socket
import statistics
import time
from typing import Final

from tools.bench.load import drive
from tools.bench.report import Ratio, Report
from tools.bench.servers import DEFINITION, WAITING, Batchery

CHILDREN: Final = 10_000
MOST: Final = 5.0
BURST: Final = 10  #: calls of one kind before the other kind has its turn

Times = dict[tuple[str, str], list[float]]  # (operation, kind) -> ms of each call


def array_jobs(report: Report, ours: Batchery, calls: int) -> None:
    """Medians of ``calls`` calls of each kind on one connection."""
    times: Times = {(operation, kind): [] for operation in ("SubmitJob", "CancelJob") for kind in ("single", "array")}
    for _ in range(-(-calls // BURST)):
        for kind in ("single", "array"):
            _burst(ours, kind, times)
    for operation in ("SubmitJob", "CancelJob"):
        array, single = times[operation, "array"], times[operation, "single"]
        name = f"{operation} of an array of {CHILDREN:,}"
        report.ratios.append(Ratio(name, "ms", array, single, "a single job", most=MOST))


def _burst(ours: Batchery, kind: str, times: Times) -> None:
    members: dict[str, object] = {"arrayProperties": {"size": CHILDREN}} if kind == "array" else {}
    jobs = []
    for number in range(BURST):
        asked: dict[str, object] = {
            "jobName": f"{kind}-{number}",
            "jobQueue": WAITING,
            "jobDefinition": DEFINITION,
            **members,
        }
        jobs.append(_timed(ours, "SubmitJob", asked, times["SubmitJob", kind])["jobId"])
    for job in jobs:
        _timed(ours, "CancelJob", {"jobId": job, "reason": "No longer needed."}, times["CancelJob", kind])


def _timed(ours: Batchery, operation: str, members: dict[str, object], into: list[float]) -> dict[str, str]:
    start = time.perf_counter()
    answer: dict[str, str] = ours.client.batch(operation, **members)
    into.append((time.perf_counter() - start) * 1000)
    return answer


def mass_cancel(report: Report, ours: Batchery, arrays: int, seconds: float) -> None:
    """CancelJobs of many such arrays at once: how long a DescribeJobs of another client takes meanwhile."""
    asked = {"jobName": "many", "jobQueue": WAITING, "jobDefinition": DEFINITION, "arrayProperties": {"size": CHILDREN}}
    jobs = [ours.client.batch("SubmitJob", **asked)["jobId"] for _ in range(arrays)]
    other = ours.client.batch("SubmitJob", **{**asked, "jobName": "other", "arrayProperties": {}})["jobId"]
    describe = ours.signer.request("DescribeJobs", jobs=[other])
    quiet = drive(ours.address, [describe], 1, seconds)
    batches = [jobs[at : at + 50] for at in range(0, arrays, 50)]
    cancels = [ours.signer.request("CancelJobs", jobs=batch, reason="No longer needed.") for batch in batches]
    worst = [_worst_while(ours, describe, cancel) for cancel in cancels]
    report.figure("DescribeJobs, nobody cancels: median", "ms", [quiet.p50])
    report.figure(f"DescribeJobs sent right behind a CancelJobs of {len(batches[0])} such arrays", "ms", worst)
    report.notes.append(
        f"{arrays} arrays of {CHILDREN:,} children cancelled in {statistics.mean(worst):.1f} ms per call."
    )


def _worst_while(ours: Batchery, describe: bytes, cancel: bytes) -> float:
    """ms until a read is answered that was sent while a mass cancel was at work."""
    with socket.create_connection(ours.address, timeout=30) as first:
        first.sendall(cancel)
        result = drive(ours.address, [describe], 1, 10, count=1)
        first.recv(65536)
    return result.p99
