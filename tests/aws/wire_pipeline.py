"""Real servers on loopback, spoken to with boto3 as users do, running real processes: what the tests share."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config as BotoConfig

#: Holds an attempt in STARTING: the prolog waits for the gate that the job's environment names.
PROLOG = """prolog = ["sh", "-c", '''test -z "$STARTING_GATE" || { : > "$STARTING_GATE.reached"; """
PROLOG += """while [ ! -e "$STARTING_GATE" ]; do sleep 0.02; done; }''']\n"""

DEADLINE_S = 60.0
_NAMES = itertools.count()
_ONE_AT_A_TIME = threading.Lock()  # sessions of boto3 are not for several threads; their clients are


def until(found: Callable[[], Any], what: str = "", seconds: float = DEADLINE_S) -> Any:
    """Wait for a truth, with a deadline."""
    end = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@cache
def _session() -> Any:
    """One for all: it keeps the service models, which take longer to read than most tests."""
    return boto3.session.Session(aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="secret")


PROCESSES = "engine = 'process'"


def _settings(folder: Path, settings: str, process: str, engine: str) -> str:
    """The TOML of a test's server. Jobs in containers see the folder of all tests under its own name."""
    limits = "[limits]\ntimeout_seconds = 1\n[process]\nagent_linger = 1\n"
    if "[container]" in engine:
        all_tests = next(path for path in folder.parents if path.name.startswith("pytest-of-"))
        return f"{settings}\n{engine}\nvolumes = ['{all_tests}']\n{process}\n{limits}"
    return f"{settings}\n{engine}\n{limits}{process}"


class Server:
    """A server with its data in ``folder``; it can be killed and started again."""

    def __init__(self, folder: Path, settings: str = "", process: str = "", engine: str = PROCESSES) -> None:
        self.folder = folder
        self.in_containers = "[container]" in engine
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = folder / "batchery.toml"
        self.config.write_text(_settings(folder, settings, process, engine))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> "Server":
        """Returns when /health answers."""
        command = [sys.executable, "-m", "batchery", "serve", "--config", str(self.config), "--port", str(self.port)]
        command += ["--data", str(self.folder / "data"), *options]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(self._healthy, "the server answers", 30)
        return self

    def _healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """SIGTERM, as a user; returns what it printed."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        return self.log()

    def end(self) -> None:
        """The server, its agent and every job."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        ours = str(self.folder).encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as command:
                    mine = ours in command.read() or ours in os.readlink(f"/proc/{pid}/cwd").encode()
                if mine and int(pid) != os.getpid():
                    os.kill(int(pid), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                continue

    def cli(self, *words: str) -> str:
        """What `batchery WORDS` prints, asked of this server."""
        environment = {**os.environ, "BATCHERY_URL": self.url}
        done = subprocess.run(
            [sys.executable, "-m", "batchery", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self, service: str = "batch", region: str = "us-east-1", **options: Any) -> Any:
        config = BotoConfig(retries={"total_max_attempts": 1}, max_pool_connections=64, read_timeout=60)
        with _ONE_AT_A_TIME:
            return _session().client(service, region, endpoint_url=self.url, config=config, **options)


class Pipeline:
    """What a user does with a queue: submit, wait, look. Jobs wait for gates, which are files."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.batch = server.client()
        self.folder = folder
        self._gates = itertools.count()

    @cached_property
    def logs(self) -> Any:
        return self.server.client("logs")

    def gate(self) -> Path:
        return self.folder / f"gate-{next(self._gates)}"

    def definition(self, command: list[str], init: bool = True, **members: Any) -> str:
        container = {
            "image": "busybox",
            "command": command,
            "linuxParameters": {"initProcessEnabled": init},  # a shell that is the first process ignores SIGTERM
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
        }
        name = f"def-{next(_NAMES)}-{os.getpid()}"
        reply = self.batch.register_job_definition(
            jobDefinitionName=name, type="container", containerProperties=container, **members
        )
        return str(reply["jobDefinitionArn"])

    def waiting(self, gate: Path, then: str = "exit 0", starting_gate: Path | None = None, **members: Any) -> str:
        """A definition whose jobs touch GATE.<id>.started, wait for the gate, then do ``then``."""
        script = f': > "{gate}.$AWS_BATCH_JOB_ID.started"; while [ ! -e "{gate}" ]; do sleep 0.02; done; {then}'
        return self.definition(["sh", "-c", script], **members)

    def new_environment(self, vcpus: int = 4, state: str = "ENABLED") -> str:
        """An environment of its own; its name."""
        name = f"ce-{next(_NAMES)}-{os.getpid()}"
        resources = {
            "type": "EC2",
            "minvCpus": 0,
            "maxvCpus": vcpus,
            "instanceTypes": ["optimal"],
            "subnets": ["subnet-1"],
            "securityGroupIds": ["sg-1"],
            "instanceRole": "ecsInstanceRole",
        }
        self.batch.create_compute_environment(
            computeEnvironmentName=name, type="MANAGED", state="ENABLED", computeResources=resources
        )
        until(lambda: self.environment(name)["status"] == "VALID", "the environment is VALID")
        if state != "ENABLED":
            self.set_environment(name, state=state)
        return name

    def set_environment(self, name: str, **members: Any) -> None:
        """UpdateComputeEnvironment, and the wait for its end."""
        self.batch.update_compute_environment(computeEnvironment=name, **members)
        until(lambda: self.environment(name)["status"] == "VALID", "the environment is VALID")

    def queue_on(self, *environments: str, priority: int = 1, name: str = "") -> str:
        """A queue on these environments, in this order; its name."""
        name = name or f"q-{next(_NAMES)}-{os.getpid()}"
        order = [{"order": place, "computeEnvironment": one} for place, one in enumerate(environments, 1)]
        self.batch.create_job_queue(
            jobQueueName=name, priority=priority, state="ENABLED", computeEnvironmentOrder=order
        )
        return name

    def queue(self, vcpus: int = 4, state: str = "ENABLED", priority: int = 1) -> str:
        """A queue on an environment of its own, with the same name. DISABLED: its jobs stay RUNNABLE."""
        name = self.new_environment(vcpus, state)
        return self.queue_on(name, priority=priority, name=name)

    def environment(self, name: str) -> dict[str, Any]:
        found = self.batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"]
        return dict(found[0])

    def submit(self, queue: str, definition: str, **members: Any) -> str:
        reply = self.batch.submit_job(jobName="job", jobQueue=queue, jobDefinition=definition, **members)
        return str(reply["jobId"])

    def job(self, ref: str) -> dict[str, Any]:
        found = self.batch.describe_jobs(jobs=[ref])["jobs"]
        assert len(found) == 1, f"{ref}: {found}"
        return dict(found[0])

    def status(self, ref: str) -> str:
        return str(self.job(ref)["status"])

    def counts(self, array: str) -> dict[str, int]:
        """statusSummary without its zeros."""
        summary = self.job(array)["arrayProperties"]["statusSummary"]
        return {status: count for status, count in summary.items() if count}

    def output(self, ref: str) -> list[str]:
        """What the job's last attempt has written so far, by GetLogEvents."""
        stream = self.job(ref)["container"]["logStreamName"]
        reply = self.logs.get_log_events(logGroupName="/aws/batch/job", logStreamName=stream, startFromHead=True)
        return [str(event["message"]) for event in reply["events"]]

    def wait(self, ref: str, *statuses: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            job = self.job(ref)
            if job["status"] in statuses:
                return job
            assert job["status"] not in ("SUCCEEDED", "FAILED"), f"{ref} is {job['status']}: {job.get('statusReason')}"
            return None

        return dict(until(found, f"{ref} is {statuses}"))


class Ask:
    """CancelJob or TerminateJob, and what each leaves behind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.flag = {"cancel": "isCancelled", "terminate": "isTerminated"}[kind]
        self.other = {"cancel": "isTerminated", "terminate": "isCancelled"}[kind]

    def __str__(self) -> str:
        return self.kind

    def __call__(self, pipeline: Pipeline, ref: str, reason: str) -> None:
        """Ask; success is 200 with nothing in it."""
        reply = getattr(pipeline.batch, f"{self.kind}_job")(jobId=ref, reason=reason)
        meta = reply.pop("ResponseMetadata")
        assert meta["HTTPStatusCode"] == 200
        assert reply == {}

    def check(self, seen: dict[str, Any], reason: str, attempts: int = 0) -> None:
        """What DescribeJobs shows of a job that it ended."""
        assert seen["status"] == "FAILED"
        assert seen["statusReason"] == reason
        assert seen[self.flag] is True
        assert self.other not in seen
        assert len(seen["attempts"]) == attempts
        assert seen["stoppedAt"] >= seen["createdAt"]
        if not attempts:
            assert "startedAt" not in seen
