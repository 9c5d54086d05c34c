"""Container jobs per second, end to end, against the runtime's own command line in a loop, in turns in one run.

Both make a container of the same image with the same network and memory limit that prints a line, take its output and
remove it. The loop is what a shell script does: one after the other.
"""

import os
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from tools.bench.jobs import DEADLINE
from tools.bench.report import Ratio, Report
from tools.bench.servers import Batchery

RUNTIMES: Final = ("docker", "podman")
IMAGE: Final = "busybox"
COMMAND: Final = ("echo", "done")
LEAST: Final = 1.0


def environment(runtime: str, left: Path) -> dict[str, str]:
    """What the command line of a runtime needs to speak to what `tools/containers up` left in ``left``."""
    if runtime == "docker":
        return {"DOCKER_HOST": f"unix://{left}/docker.sock"}
    return {"CONTAINERS_CONF": f"{left}/containers.conf", "CONTAINERS_STORAGE_CONF": f"{left}/storage.conf"}


def container_jobs(report: Report, runtime: str, left: Path, rounds: int, count: int) -> None:
    """``count`` jobs a round as an array on the ready-made queue, and as many runs in a loop."""
    settings = {"BATCHERY_ENGINE": runtime, "BATCHERY_CONTAINER_SOCKET": f"{left}/{runtime}.sock"}
    with Batchery(settings) as ours:
        properties = {
            "image": IMAGE,
            "command": list(COMMAND),
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
        }
        ours.client.batch(
            "RegisterJobDefinition", jobDefinitionName="boxed", type="container", containerProperties=properties
        )
        loops, jobs = [], []
        for _ in range(rounds):
            loops.append(count / _loop(runtime, left, count))
            jobs.append(count / _array(ours, count))
            loops.append(count / _loop(runtime, left, count))
    report.ratios.append(Ratio(f"{runtime} jobs", "/s", jobs, loops, f"`{runtime} run --rm` in a loop", least=LEAST))


def _loop(runtime: str, left: Path, count: int) -> float:
    """Seconds."""
    argv = [runtime, "run", "--rm", "--network", "host", "--memory", "64m"]
    if runtime == "podman":
        argv += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=16384:16384"]
    start = time.perf_counter()
    for _ in range(count):
        subprocess.run(
            [*argv, IMAGE, *COMMAND], check=True, capture_output=True, env={**os.environ, **environment(runtime, left)}
        )
    return time.perf_counter() - start


def _array(ours: Batchery, count: int) -> float:
    """Seconds from SubmitJob until the array shows SUCCEEDED."""
    start = time.perf_counter()
    size = {"size": count}
    job = ours.client.batch(
        "SubmitJob", jobName="boxed", jobQueue="default", jobDefinition="boxed", arrayProperties=size
    )["jobId"]
    while time.perf_counter() - start < DEADLINE:
        found: dict[str, Any] = ours.client.batch("DescribeJobs", jobs=[job])["jobs"][0]
        if found["status"] == "SUCCEEDED":
            return time.perf_counter() - start
        if found["status"] == "FAILED":
            raise RuntimeError(f"the jobs did not end well: {found.get('statusReason')}")
        time.sleep(0.02)
    raise RuntimeError("the jobs do not end")
