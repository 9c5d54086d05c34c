"""The form of CancelJob, TerminateJob and their bulk kin: what is refused, and the exact bytes of a success."""

import http.client
import json
import time
from datetime import UTC, datetime
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server


def post(server: Server, path: str, body: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """A signed POST of anything, without boto3's own checks."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = botocore.awsrequest.AWSRequest("POST", server.url + path, data=data, headers=headers)
    credentials = botocore.credentials.Credentials("AKIAEXAMPLE", "secret")
    botocore.auth.SigV4Auth(credentials, "batch", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("POST", path, data, dict(request.headers))
        reply = connection.getresponse()
        return reply.status, {key.lower(): value for key, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize("operation", ["canceljob", "terminatejob"])
def test_success_is_200_and_two_bytes(server: Server, operation: str) -> None:
    status, headers, body = post(server, f"/v1/{operation}", {"jobId": "nobody", "reason": "Cancelling job."})
    assert (status, body) == (200, b"{}")
    assert headers["content-length"] == "2"
    assert headers["content-type"] == "application/json"
    assert len(headers["x-amzn-requestid"]) == 36
    assert headers["x-amzn-trace-id"].startswith("Root=1-")
    sent = datetime.strptime(headers["date"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert abs(sent.timestamp() - time.time()) < 10


@pytest.mark.parametrize("operation", ["canceljob", "terminatejob"])
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "jobId"),
        ({"jobId": "a"}, "reason"),
        ({"reason": "r"}, "jobId"),
        ({"jobId": "", "reason": "r"}, "jobId"),
        ({"jobId": None, "reason": "r"}, "jobId"),
        ({"jobId": 7, "reason": "r"}, "jobId"),
        ({"jobId": ["a"], "reason": "r"}, "jobId"),
        ({"jobId": "a", "reason": ""}, "reason"),
        ({"jobId": "a", "reason": 1}, "reason"),
        ({"jobId": "a", "reason": "x" * 1025}, "1024"),
        ({"jobId": "a", "reason": "nul: \0"}, "NUL"),
    ],
)
def test_what_is_refused(server: Server, operation: str, body: Any, named: str) -> None:
    status, headers, reply = post(server, f"/v1/{operation}", body)
    assert status == 400
    assert headers["x-amzn-errortype"] == "ClientException"
    assert named in json.loads(reply)["message"]


def test_an_empty_field_is_named_in_the_words_of_aws(pipeline: Pipeline) -> None:
    with pytest.raises(ClientError, match="'reason' is a required field \\(cannot be an empty string\\)"):
        pipeline.batch.cancel_job(jobId="a", reason="")


def test_a_reason_of_1024_characters_comes_back_whole(pipeline: Pipeline) -> None:
    reason = "ü" * 1024
    job = pipeline.submit(pipeline.queue(state="DISABLED"), pipeline.definition(["true"]))
    pipeline.batch.cancel_job(jobId=job, reason=reason)
    assert pipeline.wait(job, "FAILED")["statusReason"] == reason


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff"])
def test_malformed_json(server: Server, body: bytes) -> None:
    status, headers, _ = post(server, "/v1/canceljob", body)
    assert (status, headers["x-amzn-errortype"]) == (400, "SerializationException")


@pytest.mark.parametrize("kind", ["cancel", "terminate"])
def test_bulk_reports_per_job(pipeline: Pipeline, kind: str) -> None:
    queue = pipeline.queue(state="DISABLED")
    definition = pipeline.definition(["true"])
    jobs = [pipeline.submit(queue, definition) for _ in range(3)]
    array = pipeline.submit(queue, definition, arrayProperties={"size": 3})
    asked = [*jobs, f"{array}:1", "no-such-job"]
    reply = getattr(pipeline.batch, f"{kind}_jobs")(jobs=asked, reason="all of them")
    assert sorted(reply["successful"]) == sorted(asked)
    assert reply["errors"] == []
    for job in (*jobs, f"{array}:1"):
        assert pipeline.wait(job, "FAILED")["statusReason"] == "all of them"
    assert pipeline.status(f"{array}:0") == "RUNNABLE"


@pytest.mark.parametrize("kind", ["cancel", "terminate"])
def test_bulk_takes_at_most_50_ids(server: Server, kind: str) -> None:
    status, headers, _ = post(server, f"/v1/{kind}jobs", {"jobs": [f"j{n}" for n in range(51)], "reason": "r"})
    assert (status, headers["x-amzn-errortype"]) == (400, "ClientException")
    status, _, body = post(server, f"/v1/{kind}jobs", {"jobs": [f"j{n}" for n in range(50)], "reason": "r"})
    assert status == 200
    assert len(json.loads(body)["successful"]) == 50


def test_a_cancelled_job_and_its_reason_are_in_the_activity_log(server: Server, pipeline: Pipeline) -> None:
    job = pipeline.submit(pipeline.queue(state="DISABLED"), pipeline.definition(["true"]))
    pipeline.batch.cancel_job(jobId=job, reason="for the record")
    trail = server.client("cloudtrail")
    found = trail.lookup_events(LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "CancelJob"}])
    records = [json.loads(event["CloudTrailEvent"]) for event in found["Events"]]
    mine = [record for record in records if (record["requestParameters"] or {}).get("jobId") == job]
    assert len(mine) == 1
    assert mine[0]["requestParameters"]["reason"] == "for the record"
    assert mine[0]["eventSource"] == "batch.amazonaws.com"
