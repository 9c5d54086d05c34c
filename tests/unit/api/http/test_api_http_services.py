"""CloudWatch Logs and our own endpoints on the same port."""

import json
from typing import Any

import msgspec
import pytest

from batchery.api import targets, wire
from batchery.api.call import ApiError, Call
from batchery.api.keys import Key, Keys


def allowing(keys: Keys, action: str, resource: str = "*") -> Key:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return keys.add("123456789012", "bob", {"Version": "2012-10-17", "Statement": [statement]})


class Group(msgspec.Struct, rename="camel"):
    log_group_name: str


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "TARGETS", {})
    monkeypatch.setattr(wire, "TARGETS", targets.TARGETS)
    monkeypatch.setattr(targets, "OWN", {})
    monkeypatch.setattr(wire, "OWN", targets.OWN)


@pytest.mark.usefixtures("registries")
def test_cloudwatch_logs(client: Any, service: Any) -> None:
    @targets.target("Logs_20140328", Group)
    async def describe_log_streams(call: Call, ask: Group) -> dict[str, Any]:
        if ask.log_group_name == "none":
            raise ApiError(400, "ResourceNotFoundException", "The specified log group does not exist.")
        return {"logStreams": []}

    @targets.target("Logs_20140328", Group)
    async def get_log_events(call: Call, ask: Group) -> None:
        return None

    def send(operation: str, body: bytes, service: str = "logs") -> Any:
        return client.send("/", body, service=service, headers={"x-amz-target": f"Logs_20140328.{operation}"})

    answer = send("DescribeLogStreams", b'{"logGroupName":"g"}')
    assert (answer.status, answer.body) == (200, b'{"logStreams":[]}')
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    answer = send("DescribeLogStreams", b'{"logGroupName":"none"}')
    assert (answer.status, json.loads(answer.body)) == (
        400,
        {"__type": "ResourceNotFoundException", "message": "The specified log group does not exist."},
    )
    answer = send("DescribeLogStreams", b"{}")
    assert json.loads(answer.body)["__type"] == "InvalidParameterException"
    assert send("GetLogEvents", b'{"logGroupName":"g"}').body == b"{}"
    assert json.loads(send("StartQuery", b"{}").body)["__type"] == "UnknownOperationException"
    answer = send("DescribeLogStreams", b"{}", service="batch")
    assert (answer.status, json.loads(answer.body)["__type"]) == (400, "InvalidSignatureException")
    assert [(record["eventName"], record["eventSource"]) for record in service.records] == [
        (name, "logs.amazonaws.com")
        for name in (
            "DescribeLogStreams",
            "DescribeLogStreams",
            "DescribeLogStreams",
            "StartQuery",
            "DescribeLogStreams",
        )
    ]


@pytest.mark.usefixtures("registries")
def test_our_own_endpoints(client: Any, service: Any, keys: Keys) -> None:
    @targets.own("spare")
    async def spare(call: Call, ask: dict[str, Any]) -> dict[str, Any]:
        if not ask:
            raise call.refuse("Give a job.", wrapped=False)
        return {"got": ask}

    assert json.loads(client.send("/batchery/spare", b'{"job":"a"}').body) == {"got": {"job": "a"}}
    assert client.send("/batchery/spare").error == (400, "ClientException", "Give a job.")
    assert client.send("/batchery/spare", signed=False).status == 403
    assert service.records == []
    key = allowing(keys, "batch:*")
    client.keys = (key.id, key.secret)
    assert client.send("/batchery/spare", b'{"job":"a"}').error[1] == "AccessDeniedException"
    key = allowing(keys, "batchery:sp*")
    client.keys = (key.id, key.secret)
    assert client.send("/batchery/spare", b'{"job":"a"}').status == 200
