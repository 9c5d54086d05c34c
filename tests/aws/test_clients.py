"""The clients that users have: the AWS CLI that pip installs (v1) and Debian's own (v2), through `batchery aws`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wire_pipeline import Server, until

CONTAINER = {
    "image": "busybox",
    "command": ["sh", "-c", "echo one; echo two >&2; while [ ! -e Ref::gate ]; do sleep 0.02; done; echo three"],
    "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
}


def pip_cli() -> str:
    """The v1 that the development extra installs."""
    return str(Path(sys.executable).with_name("aws"))


def debian_cli() -> str:
    """Debian's v2. As root on Debian it is installed if it is not there, and not to have it is a failure."""
    found = "/usr/bin/aws"
    if os.path.exists(found):
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("not run: Debian's awscli is not installed, and only root on Debian can install it")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "awscli"]):
        subprocess.run(["apt-get", *words], env=environment, check=True, capture_output=True, timeout=600)
    return found


class Shell:
    """`batchery aws ...` with one CLI first on the PATH."""

    def __init__(self, server: Server, cli: str) -> None:
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BATCHERY_"))},
            "PATH": f"{Path(cli).parent}:/usr/bin:/bin",
            "BATCHERY_URL": server.url,
            "PYTHONUNBUFFERED": "1",  # as on a terminal: lines are seen when they are printed
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "batchery", *words]

    def run(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            self.command(*words), env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def aws(self, *words: str) -> Any:
        out = self.run("aws", *words, "--output", "json")
        return json.loads(out) if out.strip() else None


@pytest.fixture(params=[pip_cli, debian_cli], ids=["v1", "v2"])
def shell(request: pytest.FixtureRequest, server: Server) -> Shell:
    make: Callable[[], str] = request.param
    return Shell(server, make())


def test_a_session(shell: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    definition = ["--job-definition-name", "cli", "--type", "container"]
    properties = json.dumps(CONTAINER)
    shell.aws("batch", "register-job-definition", *definition, "--container-properties", properties)
    submit = ["batch", "submit-job", "--job-queue", "default", "--job-definition", "cli"]
    submit += ["--parameters", f"gate={gate}"]
    job = shell.aws(*submit, "--job-name", "first")["jobId"]
    after = shell.aws(*submit, "--job-name", "after", "--depends-on", f"jobId={job}")["jobId"]

    def described(ref: str) -> Any:
        return shell.aws("batch", "describe-jobs", "--jobs", ref)["jobs"][0]

    until(lambda: described(job)["status"] == "RUNNING", "it runs")
    assert described(after)["status"] == "PENDING"
    assert shell.aws("batch", "cancel-job", "--job-id", after, "--reason", "Cancelling job.") in (None, {})
    assert described(after)["isCancelled"] is True
    gate.touch()
    until(lambda: described(job)["status"] == "SUCCEEDED", "it ends")
    until(lambda: described(after)["status"] == "FAILED", "the cancelled one ends")
    assert described(after)["statusReason"] == "Cancelling job."
    stream = described(job)["container"]["logStreamName"]
    events = shell.aws(
        "logs", "get-log-events", "--log-group-name", "/aws/batch/job", "--log-stream-name", stream,
        "--start-from-head",
    )  # fmt: skip
    assert [event["message"] for event in events["events"]] == ["one", "two", "three"]
    listed = shell.aws("batch", "list-jobs", "--job-queue", "default", "--job-status", "FAILED")
    assert after in [found["jobId"] for found in listed["jobSummaryList"]]
    attribute = "AttributeKey=EventName,AttributeValue=CancelJob"
    found = shell.aws("cloudtrail", "lookup-events", "--lookup-attributes", attribute)
    assert "Cancelling job." in found["Events"][0]["CloudTrailEvent"]
    assert "three" in shell.run("logs", job)
    assert "Cancelling job." in shell.run("why", after)


def test_other_services_are_refused(shell: Shell) -> None:
    assert "s3" in subprocess.run(
        shell.command("aws", "s3", "ls"), env=shell.environment, capture_output=True, text=True, check=False
    ).stderr  # fmt: skip


def test_logs_tail_follows_live(server: Server, tmp_path: Path) -> None:
    """`aws logs tail --follow` of v2 shows lines while the job runs."""
    shell = Shell(server, debian_cli())
    gate = tmp_path / "gate"
    properties = json.dumps(CONTAINER)
    definition = ["--job-definition-name", "tail", "--type", "container"]
    shell.aws("batch", "register-job-definition", *definition, "--container-properties", properties)
    job = shell.aws(
        "batch", "submit-job", "--job-name", "j", "--job-queue", "default", "--job-definition", "tail",
        "--parameters", f"gate={gate}",
    )["jobId"]  # fmt: skip

    def stream() -> Any:
        container = shell.aws("batch", "describe-jobs", "--jobs", job)["jobs"][0]["container"]
        return container.get("logStreamName")

    name = until(stream, "it has a stream")
    out = tmp_path / "tail.out"
    words = ["aws", "logs", "tail", "/aws/batch/job", "--follow", "--log-stream-names", name, "--format", "short"]
    with open(out, "wb") as file:
        tail = subprocess.Popen(shell.command(*words), env=shell.environment, stdout=file, stderr=file)
    try:
        until(lambda: "two" in out.read_text(), "the first lines are shown while it runs")
        assert "three" not in out.read_text()
        gate.touch()
        until(lambda: "three" in out.read_text(), "the last line follows")
    finally:
        tail.terminate()
        tail.wait(30)
