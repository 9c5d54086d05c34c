"""No-op jobs per second, end to end, against a loop in C that does no more than vfork, exec and wait.

Ours is everything: placed by the scheduler, states durable before they show, run by the agent in a cgroup (where
there is one) and a working directory of its own, output to a log of its own, the end judged and stored. The jobs go
to the ready-made queue, which runs as many at a time as there are CPUs: the loop in C has as many slots.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.bench.load import drive
from tools.bench.report import Ratio, Report
from tools.bench.servers import DEFINITION, Batchery, container

LEAST = 0.7
DEADLINE = 120.0  # s for the jobs of one round


class Loop:
    """The loop in C, compiled now. Raises OSError or CalledProcessError where there is no compiler."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "loop"
        source = Path(__file__).with_name("loop.c")
        subprocess.run(["cc", "-O2", "-o", self.program, source], check=True, capture_output=True)

    def rate(self, count: int, slots: int) -> float:
        """Processes per second."""
        logs = Path(tempfile.mkdtemp(dir=self.folder))
        done = subprocess.run([self.program, str(count), str(slots), logs], check=True, capture_output=True)
        shutil.rmtree(logs)
        return count / (int(done.stdout) / 1e9)


def noop_jobs(report: Report, ours: Batchery, rounds: int, count: int) -> None:
    """In turns: the loop, single jobs that all wait for one, the loop, an array of as many."""
    slots = len(os.sched_getaffinity(0))
    loop = Loop(ours.server.folder)
    limits: list[float] = []
    singles: list[float] = []
    children: list[float] = []
    for _ in range(rounds):
        limits.append(loop.rate(count, slots))
        singles.append(count / _singles(ours, count))
        limits.append(loop.rate(count, slots))
        children.append(count / _array(ours, count))
    against = f"vfork, exec, wait in C, {slots} slots"
    report.ratios.append(Ratio("no-op jobs, an array", "/s", children, limits, against, least=LEAST))
    report.ratios.append(Ratio("no-op jobs, single ones", "/s", singles, limits, against, least=LEAST))


def _array(ours: Batchery, count: int) -> float:
    """Seconds from the SubmitJob of an array until it shows SUCCEEDED."""
    start = time.perf_counter()
    asked = {"jobName": "noop", "jobQueue": "default", "jobDefinition": DEFINITION, "arrayProperties": {"size": count}}
    _until_ended(ours, ours.client.batch("SubmitJob", **asked)["jobId"])
    return time.perf_counter() - start


def _singles(ours: Batchery, count: int) -> float:
    """Seconds from the end of the job that all wait for until the last of them shows SUCCEEDED."""
    gate = Path(tempfile.mkdtemp(dir=ours.server.folder)) / "gate"
    os.mkfifo(gate)
    ours.client.batch(
        "RegisterJobDefinition",
        jobDefinitionName="gate",
        type="container",
        containerProperties=container("cat", str(gate)),
    )
    first = ours.client.batch("SubmitJob", jobName="gate", jobQueue="default", jobDefinition="gate")["jobId"]
    needs = [{"jobId": first}]
    requests = [
        ours.signer.request(
            "SubmitJob", jobName=f"noop-{number}", jobQueue="default", jobDefinition=DEFINITION, dependsOn=needs
        )
        for number in range(count)
    ]
    drive(ours.address, requests, 8, DEADLINE, count=count)
    last = ours.client.batch(
        "SubmitJob", jobName="last", jobQueue="default", jobDefinition=DEFINITION, dependsOn=needs
    )["jobId"]
    with gate.open("w"):  # returns when the job reads
        start = time.perf_counter()
    _until_ended(ours, last)
    return time.perf_counter() - start


def _until_ended(ours: Batchery, job: str) -> None:
    end = time.monotonic() + DEADLINE
    while True:
        found: dict[str, Any] = ours.client.batch("DescribeJobs", jobs=[job])["jobs"][0]
        if found["status"] == "SUCCEEDED":
            return
        if found["status"] == "FAILED" or time.monotonic() > end:
            raise RuntimeError(f"the jobs did not end well: {found.get('statusReason', found['status'])}")
        time.sleep(0.05)
