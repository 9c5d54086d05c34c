"""The servers that are measured, each private and ended with the run, and the requests that are sent to them."""

import itertools
import json
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from batchery.api.keys import Keys
from batchery.api.signing import sign
from batchery.cli.private import PrivateServer
from batchery.client import Client

REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
#: As boto3 sends them, but for those that hold no more than its versions.
AGENT: Final = "Boto3/1.44.0 md/Botocore#1.44.0 ua/2.1 os/linux#6 md/arch#x86_64 lang/python#3.11 cfg/retry-mode#legacy"
#: A queue whose environment is disabled: what is submitted there waits, so that no job takes CPU from the server.
WAITING: Final = "waiting"
DEFINITION: Final = "bench"


class Signer:
    """Makes whole HTTP requests, signed, for one server."""

    def __init__(self, host: str, access_key: str, secret: str) -> None:
        self.host, self.keys = host, (access_key, secret)

    def request(self, operation: str, **members: Any) -> bytes:
        """An operation of AWS Batch that is a POST."""
        path, body = f"/v1/{operation.lower()}", json.dumps(members).encode()
        signed = sign(
            "POST", path, {"host": self.host, "content-type": "application/json"}, body,
            *self.keys, REGION, "batch", time.time(),
        )  # fmt: skip
        headers = {
            "Host": signed["host"],
            "Accept-Encoding": "identity",
            "Content-Type": signed["content-type"],
            "User-Agent": AGENT,
            "X-Amz-Date": signed["x-amz-date"],
            "Authorization": signed["authorization"],
            "amz-sdk-invocation-id": "0d5b2a3e-98c4-4b30-a2e0-6a7e5b3f0d11",
            "amz-sdk-request": "attempt=1",
            "Content-Length": str(len(body)),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    def submits(self, count: int, queue: str = WAITING) -> list[bytes]:
        """Jobs as pipelines send them: a command and a variable of its own for each."""
        return [self.request("SubmitJob", **members) for members in itertools.islice(submissions(queue), count)]


def submissions(queue: str) -> Iterable[dict[str, Any]]:
    """SubmitJob requests, none like another, of about 310 bytes."""
    for number in itertools.count(1):
        name = f"sample-{number:06d}"
        yield {
            "jobName": name,
            "jobQueue": queue,
            "jobDefinition": DEFINITION,
            "containerOverrides": {
                "command": ["align", "--reference", "s3://genomes/hg38", "--input", f"s3://reads/{name}.fastq"],
                "environment": [{"name": "SAMPLE", "value": name}],
                "resourceRequirements": [{"type": "MEMORY", "value": "64"}],
            },
        }


class Batchery:
    """A private Batchery server with a key, so that signatures are verified; its data goes with it."""

    name = "batchery"

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self.server = PrivateServer({"BATCHERY_KILL_GRACE": "1", **(settings or {})})

    def __enter__(self) -> "Batchery":
        self.server.start()
        key = Keys(self.server.folder / "data" / "keys.json").add(ACCOUNT)
        host = self.server.target.url.partition("//")[2]
        self.address = ("127.0.0.1", int(host.rpartition(":")[2]))
        self.signer = Signer(host, key.id, key.secret)
        self.client = Client(self.server.target.url, REGION, key.id, key.secret)
        self.client.batch(
            "RegisterJobDefinition",
            jobDefinitionName=DEFINITION,
            type="container",
            containerProperties=container("true"),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.stop()

    def make_waiting_queue(self) -> None:
        """The queue WAITING."""
        self.client.batch("CreateComputeEnvironment", **environment())
        wait_valid(self.client, "DescribeComputeEnvironments", "computeEnvironments", WAITING)
        self.client.batch("UpdateComputeEnvironment", computeEnvironment=WAITING, state="DISABLED")
        wait_valid(self.client, "DescribeComputeEnvironments", "computeEnvironments", WAITING)
        self.client.batch("CreateJobQueue", **queue_of(WAITING))
        wait_valid(self.client, "DescribeJobQueues", "jobQueues", WAITING)


class Moto:
    """moto's server, with its jobs made by no container. ``python``: an interpreter that has moto[server,batch]."""

    name = "moto"

    def __init__(self, python: str) -> None:
        self.python = python
        self.folder = Path()

    def __enter__(self) -> "Moto":
        self.folder = Path(tempfile.mkdtemp(prefix="batchery-bench-"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        self.address = ("127.0.0.1", port)
        self.signer = Signer(f"127.0.0.1:{port}", "batchery", "batchery")
        try:
            self._wait()
            self._set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(self.address, timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((self.folder / "log").read_text(errors="replace")) from None
                time.sleep(0.1)

    def _set_up(self) -> None:
        """Its environments need a role that its IAM knows, and a subnet and group that its EC2 knows."""
        import boto3

        url = f"http://127.0.0.1:{self.address[1]}"
        given = {
            "endpoint_url": url,
            "region_name": REGION,
            "aws_access_key_id": "batchery",
            "aws_secret_access_key": "batchery",
        }
        self._post("/moto-api/config", {"batch": {"use_docker": False}})
        role = boto3.client("iam", **given).create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        batch = boto3.client("batch", **given)
        asked = {**environment(), "serviceRole": role, "type": "UNMANAGED"}
        batch.create_compute_environment(**{k: v for k, v in asked.items() if k != "computeResources"})
        batch.create_job_queue(**queue_of(WAITING))
        batch.register_job_definition(
            jobDefinitionName=DEFINITION, type="container", containerProperties=container("true")
        )

    def _post(self, path: str, document: Any) -> None:
        from urllib.request import Request, urlopen

        request = Request(f"http://127.0.0.1:{self.address[1]}{path}", json.dumps(document).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        urlopen(request, timeout=30).close()


def has_moto(python: str) -> bool:
    """Whether this interpreter can run moto's server."""
    code = "import moto.server, moto.batch.models"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def container(*command: str) -> dict[str, Any]:
    """containerProperties of a job that takes one vCPU and little memory."""
    return {
        "image": "none",
        "command": list(command),
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
    }


def environment() -> dict[str, Any]:
    """CreateComputeEnvironment of WAITING."""
    return {
        "computeEnvironmentName": WAITING,
        "type": "MANAGED",
        "state": "ENABLED",
        "computeResources": {
            "type": "EC2", "minvCpus": 0, "maxvCpus": 4, "instanceTypes": ["optimal"], "subnets": ["subnet-bench"],
            "securityGroupIds": ["sg-bench"], "instanceRole": "ecsInstanceRole",
        },
    }  # fmt: skip


def queue_of(environment: str) -> dict[str, Any]:
    """CreateJobQueue of WAITING."""
    order = [{"order": 1, "computeEnvironment": environment}]
    return {"jobQueueName": WAITING, "state": "ENABLED", "priority": 1, "computeEnvironmentOrder": order}


def wait_valid(client: Client, operation: str, member: str, name: str) -> None:
    """Until a queue or an environment is VALID."""
    end = time.monotonic() + 20
    while client.batch(operation, **{member: [name]})[member][0]["status"] != "VALID":
        if time.monotonic() > end:
            raise RuntimeError(f"{name} does not become VALID")
        time.sleep(0.02)


def interpreter() -> str:
    """Which Python the servers run on. How it was built shows in how long a million additions take."""
    times = []
    for _ in range(5):
        start, total = time.perf_counter(), 0
        for number in range(1_000_000):
            total += number
        times.append(time.perf_counter() - start)
    name = f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})"
    return f"{name}, a million additions in {min(times) * 1000:.0f} ms"
