"""Bad input gets AWS's error in AWS's form, and nothing changes."""

import http.client
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from botocore.exceptions import ClientError
from test_cancel_requests import post
from wire_pipeline import Pipeline, Server

DEFINITION = {
    "jobDefinitionName": "d",
    "type": "container",
    "containerProperties": {
        "image": "busybox",
        "command": ["true"],
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
    },
}


@pytest.fixture
def jobs_before(pipeline: Pipeline) -> Any:
    """The jobs, queues and definitions that are there; the same after the test."""
    if not pipeline.batch.describe_job_definitions(jobDefinitionName="d")["jobDefinitions"]:
        pipeline.batch.register_job_definition(**DEFINITION)

    def seen() -> Any:
        queues = [q["jobQueueArn"] for q in pipeline.batch.describe_job_queues()["jobQueues"]]
        definitions = pipeline.batch.describe_job_definitions()["jobDefinitions"]
        counts = []
        for queue in queues:
            for status in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"):
                found = pipeline.batch.list_jobs(jobQueue=queue, jobStatus=status)["jobSummaryList"]
                counts.append((queue, status, len(found)))
        return queues, [d["jobDefinitionArn"] for d in definitions], counts

    before = seen()
    yield
    assert seen() == before


SUBMIT = {"jobName": "j", "jobQueue": "default", "jobDefinition": "d"}


@pytest.mark.usefixtures("jobs_before")
@pytest.mark.parametrize(
    ("operation", "body", "words"),
    [
        ("submitjob", {}, "required"),
        ("submitjob", {**SUBMIT, "jobName": "-bad"}, "Job name should match valid pattern"),
        ("submitjob", {**SUBMIT, "jobName": "x" * 129}, "Job name should match valid pattern"),
        ("submitjob", {**SUBMIT, "jobQueue": "nowhere"}, "JobQueue nowhere not found."),
        ("submitjob", {**SUBMIT, "jobDefinition": "nothing"}, "does not exist or is not in ACTIVE status"),
        ("submitjob", {**SUBMIT, "jobDefinition": "d:latest"}, "is not supported pattern"),
        ("submitjob", {**SUBMIT, "arrayProperties": {"size": 1}}, "rray"),
        ("submitjob", {**SUBMIT, "arrayProperties": {"size": 10_001}}, "rray"),
        ("submitjob", {**SUBMIT, "arrayProperties": {"size": "3"}}, "size"),
        ("submitjob", {**SUBMIT, "dependsOn": [{"jobId": "x"}] * 21}, "Job cannot have more than 20 dependencies"),
        ("submitjob", {**SUBMIT, "dependsOn": [{"jobId": "no-such-job"}]}, "no-such-job"),
        ("submitjob", {**SUBMIT, "retryStrategy": {"attempts": 11}}, "ttempts"),
        ("submitjob", {**SUBMIT, "timeout": {"attemptDurationSeconds": 0}}, "imeout"),
        ("submitjob", {**SUBMIT, "parameters": {"p": "x" * 40_000}}, "Job size must be less than 30 KiB"),
        ("submitjob", {**SUBMIT, "shareIdentifier": "a"}, "onlybe submitted"),
        ("submitjob", {**SUBMIT, "nodeOverrides": {"numNodes": 2}}, "nodeOverrides"),
        ("describejobs", {"jobs": ["x"] * 101}, "Maximum number of jobs supported is  100 ."),
        ("describejobs", {"jobs": "x"}, "jobs"),
        ("describejobs", {}, "jobs"),
        ("listjobs", {}, "jobQueue"),
        ("listjobs", {"jobQueue": "nowhere"}, "JobQueue nowhere not found."),
        ("listjobs", {"jobQueue": "default", "jobStatus": "DONE"}, "jobStatus"),
        ("listjobs", {"jobQueue": "default", "nextToken": "garbage"}, "oken"),
        ("registerjobdefinition", {**DEFINITION, "type": "multinode"}, "multinode"),
        ("registerjobdefinition", {**DEFINITION, "jobDefinitionName": "a b"}, "ame"),
        ("registerjobdefinition", {**DEFINITION, "containerProperties": {"image": "x"}}, "vCPU is not provided."),
        ("createjobqueue", {"jobQueueName": "default", "priority": 1, "computeEnvironmentOrder": []}, ""),
        ("deletejobqueue", {"jobQueue": "default"}, "DISABLED"),
        ("deletecomputeenvironment", {"computeEnvironment": "default"}, "DISABLED"),
        ("createquotashare", {"quotaShareName": "p"}, "'jobQueue' is a required field (cannot be an empty string)"),
    ],
)
def test_bad_requests(server: Server, operation: str, body: Any, words: str) -> None:
    status, headers, reply = post(server, f"/v1/{operation}", body)
    assert (status, headers["x-amzn-errortype"]) == (400, "ClientException")
    message = json.loads(reply)["message"]
    assert words in message, message


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/nothing"), ("GET", "/v1/submitjob"), ("POST", "/")])
def test_unknown_routes(server: Server, method: str, path: str) -> None:
    status, headers, _ = raw(server, method, path, {})
    assert (status, headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")


def raw(server: Server, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, b"{}", headers)
        reply = connection.getresponse()
        return reply.status, {key.lower(): value for key, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def test_no_signature(server: Server) -> None:
    status, headers, body = raw(server, "POST", "/v1/describejobqueues", {})
    assert (status, headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")
    assert json.loads(body)["message"] == "Missing Authentication Token"


def test_a_malformed_signature(server: Server) -> None:
    status, headers, _ = raw(server, "POST", "/v1/describejobqueues", {"Authorization": "AWS4-HMAC-SHA256 nonsense"})
    assert (status, headers["x-amzn-errortype"]) == (403, "IncompleteSignatureException")


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_is_off(server: Server, minutes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    request = botocore.awsrequest.AWSRequest("POST", server.url + "/v1/describejobqueues", data=b"{}")
    credentials = botocore.credentials.Credentials("AKIAEXAMPLE", "secret")
    then = (datetime.now(UTC) + timedelta(minutes=minutes)).replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: then)
    botocore.auth.SigV4Auth(credentials, "batch", "us-east-1").add_auth(request)
    status, headers, body = raw(server, "POST", "/v1/describejobqueues", dict(request.headers))
    assert (status, headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")
    assert ("expired" if minutes < 0 else "not yet current") in json.loads(body)["message"]


def test_a_body_over_the_limit(server: Server) -> None:
    """Refused by its length, before it is read."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.putrequest("POST", "/v1/describejobs")
        connection.putheader("Content-Length", "2000000")
        connection.endheaders()
        assert connection.getresponse().status == 413
    finally:
        connection.close()


def test_names_live_in_their_region(server: Server, pipeline: Pipeline) -> None:
    """The region is the signature's: another region has the ready-made queue of its own, and none of our jobs."""
    job = pipeline.submit(pipeline.queue(state="DISABLED"), pipeline.definition(["true"]))
    other = server.client(region="eu-west-1")
    assert [queue["jobQueueName"] for queue in other.describe_job_queues()["jobQueues"]] == ["default"]
    assert other.describe_jobs(jobs=[job])["jobs"] == []
    other.cancel_job(jobId=job, reason="not yours")
    assert pipeline.wait(job, "RUNNABLE")
    with pytest.raises(ClientError, match="does not exist"):
        other.submit_job(jobName="j", jobQueue="default", jobDefinition="d", dependsOn=[{"jobId": job}])


def test_slow_clients_do_not_hold_the_server(server: Server, pipeline: Pipeline) -> None:
    """Many connections that never finish their request; others are answered meanwhile."""
    slow = []
    for _ in range(200):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.connect()
        connection.sock.sendall(b"POST /v1/describejobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        slow.append(connection)
    try:
        start = time.monotonic()
        assert pipeline.batch.describe_job_queues()["jobQueues"]
        assert time.monotonic() - start < 10
    finally:
        for connection in slow:
            connection.close()
