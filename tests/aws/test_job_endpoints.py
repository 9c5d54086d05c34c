"""Jobs with a role call Batchery with temporary keys that AWS's SDKs find by themselves."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

from batchery.api.keys import Keys

ROLE = "arn:aws:iam::123456789012:role/submitters"


def inside(pipeline: Pipeline, gate: Path, role: str = ROLE) -> tuple[str, dict[str, str]]:
    """A running job, and its environment."""
    seen = pipeline.folder / f"{gate.name}.env"
    script = f'env > "{seen}.new"; mv "{seen}.new" "{seen}"; while [ ! -e "{gate}" ]; do sleep 0.02; done'
    container = {
        "image": "busybox",
        "command": ["sh", "-c", script],
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
        **({"jobRoleArn": role} if role else {}),
    }
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName=gate.name, type="container", containerProperties=container
    )
    job = pipeline.submit(pipeline.queue(), reply["jobDefinitionArn"])
    until(seen.exists, "the job runs")
    pipeline.wait(job, "RUNNING")
    return job, dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)


def as_the_job(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A boto3 client made as a program in the job makes it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    for name, value in environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return boto3.session.Session().client("batch", region_name="us-east-1")


def test_a_job_submits_a_job(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = pipeline.gate()
    job, environment = inside(pipeline, gate)
    batch = as_the_job(environment, monkeypatch)
    made = batch.submit_job(jobName="child", jobQueue="default", jobDefinition=pipeline.definition(["true"]))
    pipeline.wait(made["jobId"], "SUCCEEDED")
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")


def test_a_role_may_do_what_the_key_of_its_name_may(
    own_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "batch:Describe*", "Resource": "*"}]}

    def add(server: Server) -> None:
        Keys(server.folder / "data" / "keys.json").add("123456789012", "submitters", policy)

    pipeline = Pipeline(own_server("kill_grace = 2", before=add), tmp_path)
    gate = pipeline.gate()
    job, environment = inside(pipeline, gate)
    batch = as_the_job(environment, monkeypatch)
    assert batch.describe_jobs(jobs=[job])["jobs"][0]["jobId"] == job
    with pytest.raises(ClientError, match=rf"assumed-role/submitters/{job} is not authorized"):
        batch.terminate_job(jobId=job, reason="no")
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")
    with pytest.raises(ClientError, match="security token"):  # only as long as the attempt lives
        batch.describe_jobs(jobs=[job])


def test_a_token_of_somebody_else_is_refused(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    _, environment = inside(pipeline, gate)
    url, token = (environment[f"AWS_CONTAINER_{name}"] for name in ("CREDENTIALS_FULL_URI", "AUTHORIZATION_TOKEN"))
    for wrong in ("", token[:-1] + ("0" if token[-1] != "0" else "1"), "x" + token):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": wrong}))
        assert refused.value.code == 403
        refused.value.close()
    gate.touch()


def test_without_a_role_there_are_no_credentials_and_in_a_container_there_is_metadata(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    job, environment = inside(pipeline, gate, role="")
    assert not [name for name in environment if "CREDENTIALS" in name]
    if not pipeline.server.in_containers:
        assert "ECS_CONTAINER_METADATA_URI_V4" not in environment
    else:
        with urllib.request.urlopen(environment["ECS_CONTAINER_METADATA_URI_V4"] + "/task") as reply:
            assert json.load(reply)["Family"] == job
    gate.touch()
