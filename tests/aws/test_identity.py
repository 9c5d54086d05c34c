"""Keys, policies and accounts over the wire."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError
from wire_pipeline import Server, free_port, until


def batchery(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "batchery", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def add_key(server: Server, *options: str) -> tuple[str, str]:
    done = batchery("keys", "--data", str(server.folder / "data"), "add", *options)
    assert done.returncode == 0, done.stderr
    key = re.search(r"\bAKIA[A-Z0-9]{16}\b", done.stdout)
    secret = re.search(r"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])", done.stdout)
    assert key is not None, done.stdout
    assert secret is not None, done.stdout
    return key.group(), secret.group()


def client(server: Server, key: tuple[str, str], service: str = "batch") -> Any:
    session = boto3.session.Session(*key, region_name="us-east-1")
    return session.client(service, endpoint_url=server.url, config=BotoConfig(retries={"total_max_attempts": 1}))


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def test_another_address_wants_keys(tmp_path: Path) -> None:
    done = batchery("serve", "--host", "0.0.0.0", "--port", str(free_port()), "--data", str(tmp_path))
    assert done.returncode != 0
    assert "batchery keys add" in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_made_while_the_server_runs(own_server: Callable[..., Server]) -> None:
    server = own_server("require_keys = true", before=add_key)
    stranger = server.client()
    assert code(stranger.describe_job_queues) == "UnrecognizedClientException"
    key = add_key(server, "--name", "ada")
    until(lambda: client(server, key).describe_job_queues()["jobQueues"], "the key is known")
    wrong = (key[0], "x" * 40)
    assert code(client(server, wrong).describe_job_queues) == "InvalidSignatureException"
    assert batchery("keys", "--data", str(server.folder / "data"), "revoke", key[0]).returncode == 0
    assert code(client(server, key).describe_job_queues) == "UnrecognizedClientException"


def test_a_denial_is_in_the_words_of_aws_and_recorded(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server("require_keys = true", before=add_key)
    policy = tmp_path / "policy.json"
    statements = [
        {"Effect": "Allow", "Action": ["batch:*", "cloudtrail:LookupEvents"], "Resource": "*"},
        {"Effect": "Deny", "Action": "batch:Cancel*", "Resource": "*"},
    ]
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    key = add_key(server, "--name", "ada", "--policy", str(policy))
    batch = client(server, key)
    until(lambda: batch.describe_job_queues()["jobQueues"], "the key is known")
    job = "0b1a2c3d-0000-4000-8000-000000000000"
    with pytest.raises(ClientError) as caught:
        batch.cancel_job(jobId=job, reason="no")
    error = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert error["Error"]["Code"] == "AccessDeniedException"
    words = error["Error"]["Message"]
    assert (
        "is not authorized to perform: batch:CancelJob on resource: arn:aws:batch:us-east-1:123456789012:job/" in words
    )
    batch.terminate_job(jobId=job, reason="allowed")
    trail = client(server, key, "cloudtrail")

    def recorded() -> list[Any]:
        attribute = {"AttributeKey": "EventName", "AttributeValue": "CancelJob"}
        return list(trail.lookup_events(LookupAttributes=[attribute])["Events"])

    events = until(recorded, "the denial is recorded")
    record = json.loads(events[0]["CloudTrailEvent"])
    assert record["errorCode"] in ("AccessDenied", "AccessDeniedException")
    assert record["userIdentity"]["accessKeyId"] == key[0]
    assert record["requestParameters"] == {"jobId": job, "reason": "no"}


def test_accounts_do_not_see_each_other(own_server: Callable[..., Server]) -> None:
    server = own_server("require_keys = true", before=add_key)
    one = client(server, add_key(server))
    two = client(server, add_key(server, "--account", "999999999999"))
    definition = one.register_job_definition(
        jobDefinitionName="d",
        type="container",
        containerProperties={
            "image": "x",
            "command": ["true"],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
        },
    )["jobDefinitionArn"]
    job = one.submit_job(jobName="j", jobQueue="default", jobDefinition="d")["jobId"]
    assert ":123456789012:" in definition
    assert two.describe_jobs(jobs=[job])["jobs"] == []
    assert two.describe_job_definitions()["jobDefinitions"] == []
    assert ":999999999999:" in two.describe_job_queues()["jobQueues"][0]["jobQueueArn"]
    two.terminate_job(jobId=job, reason="not mine")

    def ended() -> bool:
        return one.describe_jobs(jobs=[job])["jobs"][0]["status"] == "SUCCEEDED"

    until(ended, "the job of the first account ends by itself")
