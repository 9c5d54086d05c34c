"""The app through its ASGI interface, with a service that does nothing: who gets in, what leaves, what is recorded."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from batchery.api import targets, wire
from batchery.api.call import HANDLERS, ApiError, Call
from batchery.api.http import App, make_app
from batchery.api.keys import Key, Keys
from batchery.api.shapes import (
    CancelJobRequest,
    DescribeJobsRequest,
    DescribeJobsResponse,
    JobDetail,
    SubmitJobRequest,
    SubmitJobResponse,
)
from batchery.api.signing import sign
from batchery.config import Config, Limits
from batchery.core.messages import Cancel, Command, Refused
from batchery.core.model import Realm
from batchery.run.port import Busy, Unavailable
from batchery.store.store import Activity

QUEUE = "arn:aws:batch:us-east-1:123456789012:job-queue/q"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class FakeService:
    """A loop's port that answers ``answer`` (or raises it) and keeps what it was given."""

    def __init__(self) -> None:
        self.config = Config()
        self.reads: Any = None
        self.answer: Any = None
        self.commands: list[Command] = []
        self.committed: list[Activity] = []
        self.queued: list[Activity] = []
        self.realms: list[Realm] = []

    def now(self) -> int:
        return 1_767_225_600_123

    def new_id(self) -> str:
        return "id"

    def look(self, question: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def ask(self, question: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def barrier(self) -> None: ...

    async def submit(self, command: Command, note: Any = None) -> Any:
        self.commands.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        if note is not None:
            self.committed.append(note(self.answer))
        return self.answer

    def record(self, activity: Activity) -> None:
        self.queued.append(activity)

    async def ensure_realm(self, realm: Realm) -> None:
        self.realms.append(realm)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(activity.doc) for activity in [*self.committed, *self.queued]]


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> tuple[int, str, str]:
        document = json.loads(self.body)
        return self.status, self.headers["x-amzn-errortype"], document.get("message") or document.get("Message")


class Client:
    """Sends one request through the ASGI interface."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.keys = ("test", "test")
        self.region = "us-east-1"

    def send(
        self,
        path: str,
        body: bytes = b"{}",
        method: str = "POST",
        service: str = "batch",
        headers: dict[str, str] | None = None,
        chunks: list[bytes] | None = None,
        signed: bool = True,
    ) -> Answer:
        sent = {"host": "127.0.0.1:8642", "user-agent": "unit", **(headers or {})}
        if body:
            sent.setdefault("content-length", str(len(body)))
        if signed:
            sent = sign(method, path, sent, body, *self.keys, self.region, service, time.time())
        raw, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": raw,
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": ("203.0.113.9", 5),
        }
        return asyncio.run(self.exchange(scope, chunks or [body]))

    async def exchange(self, scope: dict[str, Any], chunks: list[bytes]) -> Answer:
        waiting = list(chunks)
        out: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not waiting:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

        async def send(message: Any) -> None:
            out.append(message)

        await self.app(scope, receive, send)
        start, *bodies = out
        names = [name for name, _ in start["headers"]]
        assert len(names) == len(set(names))
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(message["body"] for message in bodies))


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


@pytest.fixture
def client(service: FakeService, keys: Keys) -> Client:
    return Client(make_app(service, keys, Config()))


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put handlers in place of the real ones."""

    def put(**handlers: Any) -> None:
        for name, handler in handlers.items():
            monkeypatch.setitem(HANDLERS, name, handler)

    return put


@pytest.fixture(autouse=True)
def stand_ins(serve: Callable[..., None]) -> None:
    async def cancel(call: Call, ask: CancelJobRequest) -> None:
        call.allow("batch:CancelJob", f"arn:aws:batch:{call.realm.region}:{call.realm.account}:job/{ask.job_id}")
        await call.submit(Cancel(call.realm, ask.job_id, None, ask.reason))

    async def submit(call: Call, ask: SubmitJobRequest) -> Any:
        answer = SubmitJobResponse(job_name=ask.job_name, job_id="j1")
        return await call.submit(Cancel(call.realm, "", None, ""), lambda _: answer)

    async def describe(call: Call, ask: DescribeJobsRequest) -> DescribeJobsResponse:
        return DescribeJobsResponse(jobs=[JobDetail(job_id=job) for job in ask.jobs])

    serve(CancelJob=cancel, SubmitJob=submit, DescribeJobs=describe)


CANCEL = b'{"jobId":"a1","reason":"No more"}'
SUBMIT = b'{"jobName":"n","jobQueue":"q","jobDefinition":"d"}'


# ----------------------------------------------------------------------------------------------------- answers


def test_a_success(client: Client, service: FakeService) -> None:
    answer = client.send("/v1/canceljob", CANCEL)
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == "2"
    assert UUID.fullmatch(answer.headers["x-amzn-requestid"])
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", answer.headers["x-amzn-trace-id"])
    assert "x-amzn-errortype" not in answer.headers
    assert service.commands == [Cancel(Realm("123456789012", "us-east-1"), "a1", None, "No more")]


def test_request_ids_differ(client: Client) -> None:
    ids = {client.send("/v1/canceljob", CANCEL).headers["x-amzn-requestid"] for _ in range(50)}
    assert len(ids) == 50


def test_an_answer_with_members(client: Client) -> None:
    answer = client.send("/v1/describejobs", b'{"jobs":["a","b"]}')
    assert json.loads(answer.body) == {"jobs": [{"jobId": "a"}, {"jobId": "b"}]}


def test_the_tag_routes(client: Client, serve: Callable[..., None], service: FakeService) -> None:
    async def untag(call: Call, ask: Any) -> None:
        assert (ask.resource_arn, ask.tag_keys) == (QUEUE, ["a", "b"])
        await call.submit(Cancel(call.realm, "", None, ""))

    serve(UntagResource=untag)
    answer = client.send(f"/v1/tags/{quote(QUEUE, safe='')}?tagKeys=a&tagKeys=b", b"", "DELETE")
    assert (answer.status, answer.body) == (200, b"{}")
    assert service.records[0]["requestParameters"] == {"resourceArn": QUEUE, "tagKeys": ["a", "b"]}


def test_a_body_in_pieces(client: Client, service: FakeService) -> None:
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
def test_refusals(client: Client, service: FakeService, raised: Exception, expected: tuple[int, str, str]) -> None:
    service.answer = raised
    assert client.send("/v1/canceljob", CANCEL).error == expected
    assert service.records[0]["errorCode"] == expected[1]


def test_a_wrapped_refusal_names_the_request(client: Client, service: FakeService) -> None:
    service.answer = Refused("Job name should match valid pattern", wrapped=True)
    answer = client.send("/v1/canceljob", CANCEL)
    request_id = answer.headers["x-amzn-requestid"]
    text = f"Error executing request, Exception : Job name should match valid pattern, RequestId: {request_id}"
    assert answer.error == (400, "ClientException", text)


def test_what_cannot_be_committed(client: Client, service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    service.answer = Unavailable("The disk is full.")
    status, code, message = client.send("/v1/canceljob", CANCEL).error
    assert (status, code) == (500, "ServerException")
    assert message.startswith("The disk is full. Please retry. RequestId: ")
    assert not service.committed
    assert not caplog.records


def test_the_unexpected_is_logged_once(client: Client, service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    service.answer = ZeroDivisionError("secret")
    answer = client.send("/v1/canceljob", CANCEL)
    request_id = answer.headers["x-amzn-requestid"]
    assert answer.error == (500, "ServerException", f"An internal error occurred. RequestId: {request_id}")
    assert [record.getMessage() for record in caplog.records] == [f"Request {request_id} failed unexpectedly"]
    assert "ZeroDivisionError" in caplog.text


def test_an_operation_without_a_handler(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(HANDLERS, "CreateQuotaShare", raising=False)
    text = "CreateQuotaShare is not served by this version of Batchery."
    assert client.send("/v1/createquotashare").error == (400, "ClientException", text)


def test_bad_members(client: Client, service: FakeService) -> None:
    status, code, message = client.send("/v1/canceljob", b'{"reason":"r"}').error
    assert (status, code) == (400, "ClientException")
    assert message == "'jobId' is a required field (cannot be an empty string)"
    assert client.send("/v1/canceljob", b"{").error[1] == "SerializationException"
    assert not service.commands


# ------------------------------------------------------------------------------------------------- bodies, doors


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_the_limit(service: FakeService, keys: Keys, declared: bool) -> None:
    client = Client(make_app(service, keys, Config(limits=Limits(body_bytes=10))))
    headers = {} if declared else {"transfer-encoding": "chunked", "content-length": ""}
    for chunks in ([b"x" * 11], [b"x" * 6, b"x" * 6], [b"x" * 6] * 3):
        answer = client.send("/v1/canceljob", b"x" * 11, headers=headers, chunks=chunks)
        assert answer.error[:2] == (413, "RequestEntityTooLargeException")
        assert answer.headers["connection"] == "close"
    assert client.send("/v1/listjobs", b"{        }").error[:2] != (413, "RequestEntityTooLargeException")


@pytest.mark.parametrize("begun", [True, False])
async def test_a_client_that_goes_away(client: Client, begun: bool) -> None:
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


def test_unknown_routes_are_missing_tokens(client: Client, service: FakeService) -> None:
    expected = (403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    assert client.send("/v1/nothing").error == expected
    assert client.send("/v1/canceljob", method="PUT").error == expected
    assert client.send("/v1/canceljob", CANCEL, signed=False).error == expected
    head = client.send("/v1/canceljob", b"", method="HEAD")
    assert (head.status, head.body) == (403, b"")
    assert [record["eventName"] for record in service.records] == ["CancelJob"]


def test_health(service: FakeService, keys: Keys) -> None:
    serving = False
    client = Client(make_app(service, keys, Config(), ready=lambda: serving))
    answer = client.send("/health", b"", "GET", signed=False)
    assert (answer.status, json.loads(answer.body)["status"]) == (503, "starting")
    serving = True
    answer = client.send("/health", b"", "GET", signed=False)
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "serving")
    head = client.send("/health", b"", "HEAD", signed=False)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(answer.body)))


async def test_lifespan(client: Client) -> None:
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


# ---------------------------------------------------------------------------------------------- who, and where


def test_the_realm_is_the_keys_account_and_the_signatures_region(
    client: Client, service: FakeService, keys: Keys
) -> None:
    key = keys.add("999999999999", "ann")
    client.send("/v1/canceljob", CANCEL)
    client.region = "eu-west-1"
    client.send("/v1/canceljob", CANCEL)
    client.send("/v1/canceljob", CANCEL)
    client.keys = (key.id, key.secret)
    client.send("/v1/canceljob", CANCEL)
    wanted = [
        Realm("123456789012", "us-east-1"),
        Realm("123456789012", "eu-west-1"),
        Realm("999999999999", "eu-west-1"),
    ]
    assert service.realms == wanted
    assert [command.realm for command in service.commands if isinstance(command, Cancel)] == [*wanted[:2], *wanted[1:]]
    identity = service.records[-1]["userIdentity"]
    assert identity == {
        "type": "IAMUser",
        "principalId": key.id,
        "arn": "arn:aws:iam::999999999999:user/ann",
        "accountId": "999999999999",
        "accessKeyId": key.id,
        "userName": "ann",
    }


def test_a_realm_that_could_not_be_made_is_tried_again(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(realm: Realm) -> None:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(service, "ensure_realm", fails)
        assert client.send("/v1/canceljob", CANCEL).status == 500
    assert client.send("/v1/canceljob", CANCEL).status == 200
    assert len(service.realms) == 1


def test_keys_required(service: FakeService, keys: Keys) -> None:
    key = keys.add("123456789012")
    client = Client(make_app(service, keys, Config(require_keys=True)))
    assert client.send("/v1/canceljob", CANCEL).error[1] == "UnrecognizedClientException"
    client.keys = (key.id, key.secret)
    assert client.send("/v1/canceljob", CANCEL).status == 200
    client.keys = (key.id, "wrong")
    assert client.send("/v1/canceljob", CANCEL).error[1] == "InvalidSignatureException"
    assert [record.get("errorCode") for record in service.records] == [
        None,
        "UnrecognizedClientException",
        "InvalidSignatureException",
    ]
    assert service.records[1]["userIdentity"] == {"type": "Unknown", "accountId": "123456789012"}
    assert service.records[1]["requestParameters"] is None


def allowing(keys: Keys, action: str, resource: str = "*") -> Key:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return keys.add("123456789012", "bob", {"Version": "2012-10-17", "Statement": [statement]})


def test_a_denial(client: Client, service: FakeService, keys: Keys) -> None:
    key = allowing(keys, "batch:CancelJob", "arn:aws:batch:*:*:job/b*")
    client.keys = (key.id, key.secret)
    assert client.send("/v1/canceljob", b'{"jobId":"b1","reason":"r"}').status == 200
    answer = client.send("/v1/canceljob", CANCEL)
    text = (
        "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: batch:CancelJob on resource: "
        "arn:aws:batch:us-east-1:123456789012:job/a1 because no identity-based policy allows the batch:CancelJob action"
    )
    assert answer.error == (403, "AccessDeniedException", text)
    assert json.loads(answer.body) == {"Message": text}
    record = service.records[-1]
    assert (record["errorCode"], record["errorMessage"]) == ("AccessDenied", text)
    assert record["requestParameters"] == {"jobId": "a1", "reason": "No more"}
    assert len(service.commands) == 1


def test_an_explicit_denial(client: Client, keys: Keys) -> None:
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "*", "Resource": "*"},
    ]
    key = keys.add("123456789012", "bob", {"Statement": statements})
    client.keys = (key.id, key.secret)
    assert client.send("/v1/canceljob", CANCEL).error[2].endswith("with an explicit deny in an identity-based policy")


def test_operations_on_everything_are_checked_before_the_body_is_read(client: Client, keys: Keys) -> None:
    key = allowing(keys, "batch:CancelJob")
    client.keys = (key.id, key.secret)
    assert client.send("/v1/describejobs", b"{}").error[1] == "AccessDeniedException"


def test_a_change_by_a_handler_that_asks_nothing_is_checked(client: Client, service: FakeService, keys: Keys) -> None:
    key = allowing(keys, "batch:CancelJob")
    client.keys = (key.id, key.secret)
    assert client.send("/v1/submitjob", SUBMIT).error[1] == "AccessDeniedException"
    assert service.commands == []
    other = allowing(keys, "batch:SubmitJob")
    client.keys = (other.id, other.secret)
    assert client.send("/v1/submitjob", SUBMIT).status == 200


def test_a_read_by_a_handler_that_asks_nothing_is_checked(
    client: Client, keys: Keys, serve: Callable[..., None]
) -> None:
    async def snapshot(call: Call, ask: Any) -> None:
        return None

    serve(GetJobQueueSnapshot=snapshot)
    key = allowing(keys, "batch:CancelJob")
    client.keys = (key.id, key.secret)
    body = b'{"jobQueue":"q"}'
    assert client.send("/v1/getjobqueuesnapshot", body).error[1] == "AccessDeniedException"


# ----------------------------------------------------------------------------------------------------- records


def test_the_record_of_a_change_rides_in_its_commit(client: Client, service: FakeService) -> None:
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


def test_the_record_of_a_cancel_has_its_reason_and_its_job(client: Client, service: FakeService) -> None:
    client.send("/v1/canceljob", CANCEL)
    (record,) = service.records
    assert record["requestParameters"] == {"jobId": "a1", "reason": "No more"}
    assert record["responseElements"] is None
    arn = "arn:aws:batch:us-east-1:123456789012:job/a1"
    assert record["resources"] == [{"ARN": arn, "accountId": "123456789012", "type": "AWS::Batch::Job"}]


def test_the_record_of_a_read(client: Client, service: FakeService) -> None:
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
def test_parameters_are_as_sent_and_fit_in_a_line(
    client: Client, service: FakeService, body: bytes, parameters: Any
) -> None:
    client.send("/v1/canceljob", body)
    (activity,) = [*service.committed, *service.queued]
    assert "\n" not in activity.doc
    assert json.loads(activity.doc)["requestParameters"] == parameters


def test_a_handler_that_sends_two_commands_is_one_record(
    client: Client, service: FakeService, serve: Callable[..., None]
) -> None:
    async def twice(call: Call, ask: Any) -> Any:
        await call.submit(Cancel(call.realm, "1", None, ""))
        return await call.submit(Cancel(call.realm, "2", None, ""), lambda _: SubmitJobResponse(job_id="x"))

    serve(SubmitJob=twice)
    assert json.loads(client.send("/v1/submitjob", SUBMIT).body) == {"jobId": "x"}
    assert (len(service.commands), len(service.records)) == (2, 1)


# ------------------------------------------------------------------------------------- other services, our own


class Group(msgspec.Struct, rename="camel"):
    log_group_name: str


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "TARGETS", {})
    monkeypatch.setattr(wire, "TARGETS", targets.TARGETS)
    monkeypatch.setattr(targets, "OWN", {})
    monkeypatch.setattr(wire, "OWN", targets.OWN)


@pytest.mark.usefixtures("registries")
def test_cloudwatch_logs(client: Client, service: FakeService) -> None:
    @targets.target("Logs_20140328", Group)
    async def describe_log_streams(call: Call, ask: Group) -> dict[str, Any]:
        if ask.log_group_name == "none":
            raise ApiError(400, "ResourceNotFoundException", "The specified log group does not exist.")
        return {"logStreams": []}

    @targets.target("Logs_20140328", Group)
    async def get_log_events(call: Call, ask: Group) -> None:
        return None

    def send(operation: str, body: bytes, service: str = "logs") -> Answer:
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
def test_our_own_endpoints(client: Client, service: FakeService, keys: Keys) -> None:
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
