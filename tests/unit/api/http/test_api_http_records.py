"""What is recorded of a call."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from batchery.api.call import Call
from batchery.api.shapes import (
    SubmitJobResponse,
)
from batchery.core.keys import Ref
from batchery.core.messages import Cancel

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


CANCEL = b'{"jobId":"a1","reason":"No more"}'
SUBMIT = b'{"jobName":"n","jobQueue":"q","jobDefinition":"d"}'


def test_the_record_of_a_change_rides_in_its_commit(client: Any, service: Any) -> None:
    answer = client.send("/v1/submitjob", SUBMIT)
    assert service.queued == []
    (activity,) = service.committed
    assert (activity.at, activity.account, activity.region) == (1_767_225_600_123, "123456789012", "us-east-1")
    record = json.loads(activity.doc)
    assert UUID.fullmatch(record.pop("eventID"))
    assert record == {
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "test",
            "arn": "arn:aws:iam::123456789012:user/test",
            "accountId": "123456789012",
            "accessKeyId": "test",
            "userName": "test",
        },
        "eventTime": "2026-01-01T00:00:00Z",
        "eventSource": "batch.amazonaws.com",
        "eventName": "SubmitJob",
        "awsRegion": "us-east-1",
        "sourceIPAddress": "203.0.113.9",
        "userAgent": "unit",
        "requestParameters": json.loads(SUBMIT),
        "responseElements": {"jobName": "n", "jobId": "j1"},
        "requestID": answer.headers["x-amzn-requestid"],
        "readOnly": False,
        "recipientAccountId": "123456789012",
        "eventType": "AwsApiCall",
        "eventCategory": "Management",
        "eventVersion": "1.08",
    }


def test_the_record_of_a_cancel_has_its_reason_and_its_job(client: Any, service: Any) -> None:
    client.send("/v1/canceljob", CANCEL)
    (record,) = service.records
    assert record["requestParameters"] == {"jobId": "a1", "reason": "No more"}
    assert record["responseElements"] is None
    arn = "arn:aws:batch:us-east-1:123456789012:job/a1"
    assert record["resources"] == [{"ARN": arn, "accountId": "123456789012", "type": "AWS::Batch::Job"}]


def test_the_record_of_a_read(client: Any, service: Any) -> None:
    client.send("/v1/describejobs", b'{"jobs":["a"]}')
    assert service.committed == []
    (record,) = service.records
    assert (record["readOnly"], record["responseElements"]) == (True, None)
    assert record["requestParameters"] == {"jobs": ["a"]}


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        (b'{\n "jobId": "a1",\r\n "reason": "x"}', {"jobId": "a1", "reason": "x"}),
        ('{"jobId":"a1","reason":"Übel"}'.encode(), {"jobId": "a1", "reason": "Übel"}),
        (b'{"jobId":"","reason":"x"}', {"jobId": "", "reason": "x"}),
        (b"{", None),
        (b"[1]", None),
        (b"{}", None),
        (b'{"jobId":"a1","reason":"' + b"x" * 100_000 + b'"}', None),
    ],
)
def test_parameters_are_as_sent_and_fit_in_a_line(client: Any, service: Any, body: bytes, parameters: Any) -> None:
    client.send("/v1/canceljob", body)
    (activity,) = [*service.committed, *service.queued]
    assert "\n" not in activity.doc
    assert json.loads(activity.doc)["requestParameters"] == parameters


def test_a_handler_that_sends_two_commands_is_one_record(client: Any, service: Any, serve: Callable[..., None]) -> None:
    async def twice(call: Call, ask: Any) -> Any:
        await call.submit(Cancel(call.realm, Ref("1", None), ""))
        return await call.submit(Cancel(call.realm, Ref("2", None), ""), lambda _: SubmitJobResponse(job_id="x"))

    serve(SubmitJob=twice)
    assert json.loads(client.send("/v1/submitjob", SUBMIT).body) == {"jobId": "x"}
    assert (len(service.commands), len(service.records)) == (2, 1)
