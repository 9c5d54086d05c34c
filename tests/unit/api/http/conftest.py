"""The app behind its ASGI interface, and a client that signs; the service does nothing but keep what it is given."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchery.api.call import HANDLERS, Call
from batchery.api.http import App, make_app
from batchery.api.keys import Keys
from batchery.api.shapes import (
    CancelJobRequest,
    DescribeJobsRequest,
    DescribeJobsResponse,
    JobDetail,
    SubmitJobRequest,
    SubmitJobResponse,
)
from batchery.api.signing import sign
from batchery.config import Config
from batchery.core.keys import Ref
from batchery.core.messages import Cancel, Command
from batchery.core.model import Realm
from batchery.store.store import Activity


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
        await call.submit(Cancel(call.realm, Ref(ask.job_id, None), ask.reason))

    async def submit(call: Call, ask: SubmitJobRequest) -> Any:
        answer = SubmitJobResponse(job_name=ask.job_name, job_id="j1")
        return await call.submit(Cancel(call.realm, Ref("", None), ""), lambda _: answer)

    async def describe(call: Call, ask: DescribeJobsRequest) -> DescribeJobsResponse:
        return DescribeJobsResponse(jobs=[JobDetail(job_id=job) for job in ask.jobs])

    serve(CancelJob=cancel, SubmitJob=submit, DescribeJobs=describe)


@pytest.fixture
def new_client() -> type[Client]:
    return Client
