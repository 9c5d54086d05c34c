"""Answers and refusals, bodies and doors."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from batchery.api.call import HANDLERS, ApiError, Call
from batchery.api.http import make_app
from batchery.api.keys import Keys
from batchery.config import Config, Limits
from batchery.core.keys import Ref
from batchery.core.messages import Cancel, Refused
from batchery.core.model import Realm
from batchery.run.port import Busy, Unavailable

QUEUE = "arn:aws:batch:us-east-1:123456789012:job-queue/q"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


CANCEL = b'{"jobId":"a1","reason":"No more"}'


def test_a_success(client: Any, service: Any) -> None:
    answer = client.send("/v1/canceljob", CANCEL)
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == "2"
    assert UUID.fullmatch(answer.headers["x-amzn-requestid"])
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", answer.headers["x-amzn-trace-id"])
    assert "x-amzn-errortype" not in answer.headers
    assert service.commands == [Cancel(Realm("123456789012", "us-east-1"), Ref("a1", None), "No more")]


def test_request_ids_differ(client: Any) -> None:
    ids = {client.send("/v1/canceljob", CANCEL).headers["x-amzn-requestid"] for _ in range(50)}
    assert len(ids) == 50


def test_an_answer_with_members(client: Any) -> None:
    answer = client.send("/v1/describejobs", b'{"jobs":["a","b"]}')
    assert json.loads(answer.body) == {"jobs": [{"jobId": "a"}, {"jobId": "b"}]}


def test_the_tag_routes(client: Any, serve: Callable[..., None], service: Any) -> None:
    async def untag(call: Call, ask: Any) -> None:
        assert (ask.resource_arn, ask.tag_keys) == (QUEUE, ["a", "b"])
        await call.submit(Cancel(call.realm, Ref("", None), ""))

    serve(UntagResource=untag)
    answer = client.send(f"/v1/tags/{quote(QUEUE, safe='')}?tagKeys=a&tagKeys=b", b"", "DELETE")
    assert (answer.status, answer.body) == (200, b"{}")
    assert service.records[0]["requestParameters"] == {"resourceArn": QUEUE, "tagKeys": ["a", "b"]}


def test_a_body_in_pieces(client: Any, service: Any) -> None:
    answer = client.send("/v1/canceljob", CANCEL, chunks=[CANCEL[:5], b"", CANCEL[5:]])
    assert answer.status == 200
    assert len(service.commands) == 1


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (Refused("JobQueue q not found."), (400, "ClientException", "JobQueue q not found.")),
        (Busy(), (429, "TooManyRequestsException", "Too Many Requests")),
        (ApiError(404, "ResourceNotFoundException", "gone"), (404, "ResourceNotFoundException", "gone")),
    ],
)
def test_refusals(client: Any, service: Any, raised: Exception, expected: tuple[int, str, str]) -> None:
    service.answer = raised
    assert client.send("/v1/canceljob", CANCEL).error == expected
    assert service.records[0]["errorCode"] == expected[1]


def test_a_wrapped_refusal_names_the_request(client: Any, service: Any) -> None:
    service.answer = Refused("Job name should match valid pattern", wrapped=True)
    answer = client.send("/v1/canceljob", CANCEL)
    request_id = answer.headers["x-amzn-requestid"]
    text = f"Error executing request, Exception : Job name should match valid pattern, RequestId: {request_id}"
    assert answer.error == (400, "ClientException", text)


def test_what_cannot_be_committed(client: Any, service: Any, caplog: pytest.LogCaptureFixture) -> None:
    service.answer = Unavailable("The disk is full.")
    status, code, message = client.send("/v1/canceljob", CANCEL).error
    assert (status, code) == (500, "ServerException")
    assert message.startswith("The disk is full. Please retry. RequestId: ")
    assert not service.committed
    assert not caplog.records


def test_the_unexpected_is_logged_once(client: Any, service: Any, caplog: pytest.LogCaptureFixture) -> None:
    service.answer = ZeroDivisionError("secret")
    answer = client.send("/v1/canceljob", CANCEL)
    request_id = answer.headers["x-amzn-requestid"]
    assert answer.error == (500, "ServerException", f"An internal error occurred. RequestId: {request_id}")
    assert [record.getMessage() for record in caplog.records] == [f"Request {request_id} failed unexpectedly"]
    assert "ZeroDivisionError" in caplog.text


def test_an_operation_without_a_handler(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(HANDLERS, "CreateQuotaShare", raising=False)
    text = "CreateQuotaShare is not served by this version of Batchery."
    assert client.send("/v1/createquotashare").error == (400, "ClientException", text)


def test_bad_members(client: Any, service: Any) -> None:
    status, code, message = client.send("/v1/canceljob", b'{"reason":"r"}').error
    assert (status, code) == (400, "ClientException")
    assert message == "'jobId' is a required field (cannot be an empty string)"
    assert client.send("/v1/canceljob", b"{").error[1] == "SerializationException"
    assert not service.commands


# ------------------------------------------------------------------------------------------------- bodies, doors


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_the_limit(service: Any, keys: Keys, declared: bool, new_client: Any) -> None:
    client = new_client(make_app(service, keys, Config(limits=Limits(body_bytes=10))))
    headers = {} if declared else {"transfer-encoding": "chunked", "content-length": ""}
    for chunks in ([b"x" * 11], [b"x" * 6, b"x" * 6], [b"x" * 6] * 3):
        answer = client.send("/v1/canceljob", b"x" * 11, headers=headers, chunks=chunks)
        assert answer.error[:2] == (413, "RequestEntityTooLargeException")
        assert answer.headers["connection"] == "close"
    assert client.send("/v1/listjobs", b"{        }").error[:2] != (413, "RequestEntityTooLargeException")


@pytest.mark.parametrize("begun", [True, False])
async def test_a_client_that_goes_away(client: Any, begun: bool) -> None:
    out: list[Any] = []
    waiting = [{"type": "http.request", "body": b"{", "more_body": True}] if begun else []

    async def receive() -> dict[str, Any]:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        out.append(message)

    headers = [(b"content-length", b"5")]
    scope = {"type": "http", "method": "POST", "path": "/v1/canceljob", "query_string": b"", "headers": headers}
    await client.app(scope, receive, send)
    assert out == []


def test_unknown_routes_are_missing_tokens(client: Any, service: Any) -> None:
    expected = (403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    assert client.send("/v1/nothing").error == expected
    assert client.send("/v1/canceljob", method="PUT").error == expected
    assert client.send("/v1/canceljob", CANCEL, signed=False).error == expected
    head = client.send("/v1/canceljob", b"", method="HEAD")
    assert (head.status, head.body) == (403, b"")
    assert [record["eventName"] for record in service.records] == ["CancelJob"]


def test_health(service: Any, keys: Keys, new_client: Any) -> None:
    serving = False
    client = new_client(make_app(service, keys, Config(), ready=lambda: serving))
    answer = client.send("/health", b"", "GET", signed=False)
    assert (answer.status, json.loads(answer.body)["status"]) == (503, "starting")
    serving = True
    answer = client.send("/health", b"", "GET", signed=False)
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "serving")
    head = client.send("/health", b"", "HEAD", signed=False)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(answer.body)))


async def test_lifespan(client: Any) -> None:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    out: list[str] = []

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        out.append(message["type"])

    await client.app({"type": "lifespan"}, receive, send)
    assert out == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(ValueError, match="websocket"):
        await client.app({"type": "websocket"}, receive, send)
