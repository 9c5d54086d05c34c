"""The activity log over the wire: a record of every call, by LookupEvents and as lines of a file.

Sources: CloudTrail user guide, "CloudTrail record contents"; API_LookupEvents.
"""

import http.client
import json
import re
import stat
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

NOBODY = "00000000-0000-4000-8000-000000000000"


class Trail:
    """A server whose records also go to a file, and a caller whose key nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "activity.jsonl"
        self.server = Server(folder, f'kill_grace = 2\nactivity_log = "{self.file.name}"')

    def client(self, service: str = "batch", key: str = "") -> Any:
        options = {"aws_access_key_id": key, "aws_secret_access_key": "x"} if key else {}
        return self.server.client(service, **options)

    def records(self, key: str, count: int) -> list[dict[str, Any]]:
        """Those of a caller, oldest first, once there are as many."""

        def found() -> list[dict[str, Any]]:
            lines = self.file.read_text().splitlines() if self.file.exists() else []
            records = [json.loads(line) for line in lines]
            return [record for record in records if record["userIdentity"].get("accessKeyId") == key]

        until(lambda: len(found()) >= count, f"{count} records")
        assert len(found()) == count
        return found()

    def lookup(self, **members: Any) -> list[dict[str, Any]]:
        pages = self.client("cloudtrail").get_paginator("lookup_events").paginate(**members)
        return [event for page in pages for event in page["Events"]]

    def by(self, key: str, value: str, **members: Any) -> list[dict[str, Any]]:
        return self.lookup(LookupAttributes=[{"AttributeKey": key, "AttributeValue": value}], **members)


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trail]:
    made = Trail(tmp_path_factory.mktemp("trail"))
    try:
        made.server.start()
        yield made
    finally:
        made.server.end()


@pytest.fixture
def key() -> str:
    """An access key of the test's own."""
    return "AKIA" + uuid.uuid4().hex[:16].upper()


def request_id(reply: dict[str, Any]) -> str:
    return str(reply["ResponseMetadata"]["RequestId"])


def failing(call: Callable[..., Any], **members: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**members)
    return dict(caught.value.response)


# ----------------------------------------------------------------------------------------------------------- records


def test_one_record_for_each_call_of_any_kind(trail: Trail, tmp_path: Path, key: str) -> None:
    pipeline = Pipeline(trail.server, tmp_path)
    definition = pipeline.waiting(pipeline.gate())
    batch, logs = trail.client(key=key), trail.client("logs", key)
    submit = {"jobName": "j", "jobQueue": "default", "jobDefinition": definition}
    job = batch.submit_job(**submit)["jobId"]
    arn = pipeline.job(job)["jobArn"]
    failing(batch.submit_job, **{**submit, "jobQueue": "nowhere"})
    batch.describe_jobs(jobs=[job])
    batch.list_jobs(jobQueue="default")
    batch.cancel_job(jobId=NOBODY, reason="nobody")
    batch.cancel_jobs(jobs=[job, NOBODY], reason="all of them")
    batch.terminate_job(jobId=job, reason="enough")
    batch.tag_resource(resourceArn=arn, tags={"a": "b"})
    batch.list_tags_for_resource(resourceArn=arn)
    batch.untag_resource(resourceArn=arn, tagKeys=["a"])
    batch.list_scheduling_policies()
    logs.describe_log_groups()
    trail.client("cloudtrail", key).lookup_events(MaxResults=1)
    names = [
        "SubmitJob", "SubmitJob", "DescribeJobs", "ListJobs", "CancelJob", "CancelJobs", "TerminateJob", "TagResource",
        "ListTagsForResource", "UntagResource", "ListSchedulingPolicies", "DescribeLogGroups", "LookupEvents",
    ]  # fmt: skip
    records = trail.records(key, len(names))
    assert sorted(record["eventName"] for record in records) == sorted(names)
    reads = {"DescribeJobs", "ListJobs", "ListTagsForResource", "ListSchedulingPolicies", "DescribeLogGroups"}
    for record in records:
        assert record["readOnly"] is (record["eventName"] in reads | {"LookupEvents"})
    sources = {record["eventName"]: record["eventSource"] for record in records}
    assert sources["SubmitJob"] == "batch.amazonaws.com"
    assert sources["DescribeLogGroups"] == "logs.amazonaws.com"
    assert sources["LookupEvents"] == "cloudtrail.amazonaws.com"
    assert len({record["eventID"] for record in records}) == len({record["requestID"] for record in records})
    tagged = next(record for record in records if record["eventName"] == "TagResource")
    assert tagged["requestParameters"] == {"resourceArn": arn, "tags": {"a": "b"}}
    untagged = next(record for record in records if record["eventName"] == "UntagResource")
    assert untagged["requestParameters"] == {"resourceArn": arn, "tagKeys": ["a"]}


def test_what_a_record_says(trail: Trail, tmp_path: Path, key: str) -> None:
    pipeline = Pipeline(trail.server, tmp_path)
    definition = pipeline.definition(["true"])
    before = datetime.now(UTC).replace(microsecond=0)
    members = {"jobName": "named", "jobQueue": "default", "jobDefinition": definition, "tags": {"ä": "ö"}}
    reply = trail.client(key=key).submit_job(**members)
    (record,) = trail.records(key, 1)
    assert uuid.UUID(record.pop("eventID"))
    time = datetime.strptime(record.pop("eventTime"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert before <= time <= datetime.now(UTC)
    assert re.fullmatch(r"1\.\d\d", record.pop("eventVersion"))
    assert record.pop("userAgent").startswith("Boto3/")
    resources = record.pop("resources")
    assert "arn:aws:batch:us-east-1:123456789012:job-queue/default" in [item["ARN"] for item in resources]
    assert definition in [item["ARN"] for item in resources]
    identity = record.pop("userIdentity")
    assert (identity["type"], identity["accountId"], identity["accessKeyId"]) == ("IAMUser", "123456789012", key)
    assert identity["arn"].startswith("arn:aws:iam::123456789012:user/")
    assert record == {
        "eventSource": "batch.amazonaws.com",
        "eventName": "SubmitJob",
        "awsRegion": "us-east-1",
        "sourceIPAddress": "127.0.0.1",
        "requestParameters": members,
        "responseElements": {name: reply[name] for name in ("jobArn", "jobName", "jobId")},
        "requestID": request_id(reply),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "eventCategory": "Management",
        "recipientAccountId": "123456789012",
    }


def test_the_reason_of_cancel_and_terminate_is_kept(trail: Trail, key: str) -> None:
    batch = trail.client(key=key)
    batch.cancel_job(jobId=NOBODY, reason="wrong input")
    batch.terminate_job(jobId=NOBODY, reason="wrong again")
    batch.cancel_jobs(jobs=[NOBODY, f"{NOBODY}:1"], reason="in bulk")
    batch.terminate_jobs(jobs=[NOBODY], reason="in bulk too")
    records = {record["eventName"]: record for record in trail.records(key, 4)}
    assert records["CancelJob"]["requestParameters"] == {"jobId": NOBODY, "reason": "wrong input"}
    assert records["CancelJob"]["responseElements"] is None
    assert records["TerminateJob"]["requestParameters"] == {"jobId": NOBODY, "reason": "wrong again"}
    assert records["CancelJobs"]["requestParameters"] == {"jobs": [NOBODY, f"{NOBODY}:1"], "reason": "in bulk"}
    assert records["TerminateJobs"]["requestParameters"] == {"jobs": [NOBODY], "reason": "in bulk too"}


def test_reads_and_failures(trail: Trail, key: str) -> None:
    batch = trail.client(key=key)
    read = batch.describe_jobs(jobs=[NOBODY])
    empty = failing(batch.cancel_job, jobId=NOBODY, reason="")
    unknown = failing(batch.submit_job, jobName="j", jobQueue="nowhere", jobDefinition="d")
    records = {record["eventName"]: record for record in trail.records(key, 3)}
    assert records["DescribeJobs"]["responseElements"] is None
    assert records["DescribeJobs"]["requestID"] == request_id(read)
    assert not {"errorCode", "errorMessage"} & set(records["DescribeJobs"])
    for name, reply in (("CancelJob", empty), ("SubmitJob", unknown)):
        record = records[name]
        assert (record["errorCode"], record["errorMessage"]) == ("ClientException", reply["Error"]["Message"])
        assert record["responseElements"] is None
        assert record["requestID"] == request_id(reply)
    assert records["CancelJob"]["requestParameters"] == {"jobId": NOBODY, "reason": ""}


def test_a_call_that_nobody_signed(trail: Trail) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", trail.server.port, timeout=30)
    try:
        connection.request("POST", "/v1/canceljob", b'{"jobId": "x", "reason": "y"}', {"User-Agent": "nobody we know"})
        reply = connection.getresponse()
        assert reply.status == 403
        asked = reply.getheader("x-amzn-requestid")
    finally:
        connection.close()

    def recorded() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in trail.file.read_text().splitlines()]
        return [record for record in lines if record["requestID"] == asked]

    (record,) = until(recorded, "it is recorded")
    assert (record["eventName"], record["userAgent"]) == ("CancelJob", "nobody we know")
    assert record["errorCode"] == "MissingAuthenticationTokenException"
    assert record["requestParameters"] is None  # of nobody we know, nothing is kept


# ------------------------------------------------------------------------------------------------------------ lookup


def test_looking_up_by_each_attribute(trail: Trail, tmp_path: Path, key: str) -> None:
    pipeline = Pipeline(trail.server, tmp_path)
    definition = pipeline.definition(["true"])
    batch = trail.client(key=key)
    job = batch.submit_job(jobName="j", jobQueue="default", jobDefinition=definition)["jobId"]
    batch.describe_jobs(jobs=[job])
    trail.records(key, 2)
    (submitted,) = (event for event in trail.by("AccessKeyId", key) if event["EventName"] == "SubmitJob")
    assert len(trail.by("AccessKeyId", key)) == 2
    assert [event["EventName"] for event in trail.by("AccessKeyId", key)] == ["DescribeJobs", "SubmitJob"]
    record = json.loads(submitted["CloudTrailEvent"])
    assert record["eventID"] == submitted["EventId"]
    assert submitted["EventTime"] == datetime.fromisoformat(record["eventTime"])
    assert (submitted["EventSource"], submitted["ReadOnly"]) == ("batch.amazonaws.com", "false")
    assert (submitted["AccessKeyId"], submitted["Username"]) == (key, record["userIdentity"]["userName"])

    def ids(attribute: str, value: str) -> list[str]:
        return [event["EventId"] for event in trail.by(attribute, value)]

    wanted = submitted["EventId"]
    assert ids("EventId", wanted) == [wanted]
    assert wanted in ids("EventName", "SubmitJob")
    assert wanted in ids("EventSource", "batch.amazonaws.com")
    assert wanted in ids("ReadOnly", "false")
    assert wanted not in ids("ReadOnly", "true")
    assert wanted in ids("Username", submitted["Username"])
    assert wanted in ids("ResourceName", "default")
    assert wanted in ids("ResourceName", definition)
    assert wanted in ids("ResourceType", "AWS::Batch::JobQueue")
    assert ids("EventName", "Nothing") == ids("EventId", str(uuid.uuid4())) == []


def test_looking_up_by_time(trail: Trail, key: str) -> None:
    batch = trail.client(key=key)
    batch.cancel_job(jobId=NOBODY, reason="x")
    (record,) = trail.records(key, 1)
    at = datetime.strptime(record["eventTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    second = timedelta(seconds=1)

    def found(**members: Any) -> int:
        return len(trail.by("AccessKeyId", key, **members))

    assert found(StartTime=at, EndTime=at) == 1
    assert found(StartTime=at - second) == found(EndTime=at + second) == 1
    assert found(StartTime=at + second) == found(EndTime=at - second) == 0


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"MaxResults": 51}, "InvalidMaxResultsException"),
        ({"NextToken": "garbage"}, "InvalidNextTokenException"),
        (
            {"StartTime": datetime(2026, 1, 2, tzinfo=UTC), "EndTime": datetime(2026, 1, 1, tzinfo=UTC)},
            "InvalidTimeRangeException",
        ),
        (
            {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "x"}] * 2},
            "InvalidLookupAttributesException",
        ),
    ],
)
def test_lookups_that_are_refused(trail: Trail, members: dict[str, Any], code: str) -> None:
    reply = failing(trail.client("cloudtrail").lookup_events, **members)
    assert reply["Error"]["Code"] == code


# -------------------------------------------------------------------------------------------------------------- file


def test_the_file_has_what_lookup_events_has(trail: Trail, key: str) -> None:
    batch = trail.client(key=key)
    for number in range(5):
        batch.cancel_job(jobId=NOBODY, reason=f"number {number}")
    records = trail.records(key, 5)
    looked_up = [json.loads(event["CloudTrailEvent"]) for event in trail.by("AccessKeyId", key)]
    assert looked_up == records[::-1]  # newest first
    assert [record["requestParameters"]["reason"] for record in records] == [f"number {n}" for n in range(5)]
    assert stat.S_IMODE(trail.file.stat().st_mode) == 0o600


def test_a_rotated_file_is_made_anew(trail: Trail, key: str) -> None:
    batch = trail.client(key=key)
    batch.cancel_job(jobId=NOBODY, reason="before")
    trail.records(key, 1)
    trail.file.rename(trail.file.with_suffix(".1"))
    batch.cancel_job(jobId=NOBODY, reason="after")
    (record,) = trail.records(key, 1)
    assert record["requestParameters"]["reason"] == "after"
    assert len(trail.by("AccessKeyId", key)) == 2
