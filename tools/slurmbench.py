"""Short jobs through Batchery on a Slurm cluster, against Slurm's own array of the same jobs, in one run.

python -m tools.slurmbench DIR [JOBS]      DIR: of `tools/slurm up`; Batchery's data go to DIR/bench
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3

PORT = 8699


def slurms_own(conf: str, jobs: int) -> float:
    """Seconds from the submission of an array of `true` until Slurm has nothing left of it."""
    environment = {"PATH": os.environ["PATH"], "SLURM_CONF": conf}
    submit = ["sbatch", "--parsable", "--output=/dev/null", f"--array=0-{jobs - 1}", "--mem=16M", "--job-name=own"]
    began = time.monotonic()
    subprocess.run(submit, input=b"#!/bin/sh\ntrue\n", env=environment, cwd="/", check=True, capture_output=True)
    while subprocess.run(["squeue", "-h", "--name=own"], env=environment, capture_output=True, check=True).stdout:
        time.sleep(0.2)
    return time.monotonic() - began


def ours(folder: Path, jobs: int) -> float:
    """Seconds from the submission of an array job until DescribeJobs says SUCCEEDED."""
    shutil.rmtree(folder / "bench", ignore_errors=True)
    command = [sys.executable, "-m", "batchery", "serve", "--config", str(folder / "batchery.toml")]
    command += ["--data", str(folder / "bench"), "--port", str(PORT)]
    environment = {**os.environ, "BATCHERY_LOGS": str(folder / "bench" / "logs")}
    with open(folder / "bench.log", "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        batch = boto3.client(
            "batch",
            "us-east-1",
            endpoint_url=f"http://127.0.0.1:{PORT}",
            aws_access_key_id="A",
            aws_secret_access_key="S",
        )
        _until(lambda: batch.describe_job_queues()["jobQueues"])
        return _timed(batch, jobs)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _timed(batch: Any, jobs: int) -> float:
    container = {"image": "any", "command": ["true"], "vcpus": 1, "memory": 16}
    batch.register_job_definition(jobDefinitionName="short", type="container", containerProperties=container)
    resources = {"type": "EC2", "maxvCpus": 10 * jobs, "minvCpus": 0, "instanceTypes": ["optimal"]}
    resources |= {"subnets": ["subnet-1"], "securityGroupIds": ["sg-1"], "instanceRole": "ecsInstanceRole"}
    batch.create_compute_environment(computeEnvironmentName="all", type="MANAGED", computeResources=resources)
    time.sleep(0.5)
    order = [{"order": 1, "computeEnvironment": "all"}]
    batch.create_job_queue(jobQueueName="all", priority=1, state="ENABLED", computeEnvironmentOrder=order)
    began = time.monotonic()
    job = batch.submit_job(jobName="bench", jobQueue="all", jobDefinition="short", arrayProperties={"size": jobs})[
        "jobId"
    ]
    seen = _until(
        lambda: [j for j in batch.describe_jobs(jobs=[job])["jobs"] if j["status"] in ("SUCCEEDED", "FAILED")]
    )
    took = time.monotonic() - began
    assert seen[0]["status"] == "SUCCEEDED", seen
    return took


def _until(found: Any) -> Any:
    end = time.monotonic() + 600
    while time.monotonic() < end:
        with contextlib.suppress(Exception):
            if value := found():
                return value
        time.sleep(0.2)
    raise SystemExit("not in ten minutes")


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0]).resolve()
    jobs = int(arguments[1]) if len(arguments) > 1 else 1000
    conf = str(folder / "etc" / "slurm.conf")
    before, batchery, after = slurms_own(conf, jobs), ours(folder, jobs), slurms_own(conf, jobs)
    own = (before + after) / 2
    print(
        f"{jobs} jobs: Slurm's own array {before:.1f} s and {after:.1f} s, "
        f"Batchery {batchery:.1f} s: {batchery / own:.2f}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
