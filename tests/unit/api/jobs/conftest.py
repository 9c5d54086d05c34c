"""A jobs' desk: handlers on a real World and a real store, with the test in the engine's place.

`jobs.call("SubmitJob", jobName=…)` takes and gives wire names; every answer is checked against the service model and
read back by botocore's own parser. `jobs.start(id)` and `jobs.finish(id)` are what an engine would report.
"""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.parsers
import botocore.session
import botocore.validate
import msgspec
import pytest

from batchery.api import definitions, listing  # noqa: F401  the handlers register themselves
from batchery.api import jobs as _submit_and_end  # noqa: F401
from batchery.api.call import HANDLERS, ApiError, Call, Caller
from batchery.api.http import as_api_error
from batchery.api.policy import Policy
from batchery.api.readymade import ensure_realm_command
from batchery.api.shapes import OPERATIONS
from batchery.config import Config
from batchery.core.messages import (
    Capacities,
    Command,
    ContainerEnd,
    DeleteQueue,
    Exited,
    Lost,
    Started,
    Starting,
    UpdateQueue,
)
from batchery.core.model import DISABLED, EXIT, START_FAILED, AttemptKey, Capacity, Realm, World, task_ref
from batchery.core.step import forget, turn
from batchery.store.sqlite import SqliteStore
from batchery.store.store import encode

HOME = Realm("123456789012", "us-east-1")
MODEL = botocore.session.Session().get_service_model("batch")
PARSER = botocore.parsers.create_parser("rest-json")


class JobService:
    """A service of one client: every command is a turn of its own and is committed at once."""

    def __init__(self, store: SqliteStore) -> None:
        self.config = Config()
        self.store, self.reads = store, store.reads
        self.world: World = store.load()
        self.clock = 1_700_000_000_000
        self.made = 0

    def now(self) -> int:
        return self.clock

    def new_id(self) -> str:
        self.made += 1
        return str(uuid.UUID(int=(4 << 76) | (8 << 60) | (self.made << 96)))

    def look(self, question: Any, *args: Any, **kwargs: Any) -> Any:
        return question(self.world, *args, **kwargs)

    async def ask(self, question: Any, *args: Any, **kwargs: Any) -> Any:
        return question(self.world, *args, **kwargs)

    async def barrier(self) -> None:
        return None

    def record(self, activity: Any) -> None:
        return None

    async def submit(self, command: Command, note: Any = None) -> Any:
        answer = self.turn(command)
        if note is not None:
            note(answer)
        return answer

    def turn(self, *commands: Command) -> Any:
        """The value of the last command, once all is committed."""
        changes, answers, _ = turn(self.world, list(commands), self.clock)
        dirty, self.world.dirty = self.world.dirty, type(self.world.dirty)()
        self.store.commit(encode(dirty, changes), [])
        forget(self.world)
        if answers and answers[-1].error is not None:
            raise answers[-1].error
        return answers[-1].value if answers else None

    def reload(self) -> None:
        """As after a restart."""
        self.world = self.store.load()


class JobDesk:
    """See the module's docstring."""

    def __init__(self, store: SqliteStore) -> None:
        self.service = JobService(store)
        self.policy: Policy | None = None
        self.allowed: list[str] = []
        self.tell(ensure_realm_command(HOME, 4, self.service.clock, "6a0f5f0e-0000-4000-8000-000000000000"))
        self.tell(Capacities(Capacity(memory=100_000, gpus=0)))

    def tell(self, *commands: Command) -> Any:
        return self.service.turn(*commands)

    def later(self, ms: int = 1000) -> int:
        """Time goes on; what it is now."""
        self.service.clock += ms
        self.tell()
        return self.service.clock

    def call(self, name: str, realm: Realm = HOME, **members: Any) -> dict[str, Any]:
        """Answer of an operation. Raises ApiError."""
        operation = OPERATIONS[name]
        body = msgspec.json.encode(members)
        ask = msgspec.json.decode(body, type=operation.request)
        caller = Caller(realm.account, "AKIA", f"arn:aws:iam::{realm.account}:user/u", "u", policy=self.policy)
        made = Call(self.service, realm, caller, "req-1", name, body, action=f"batch:{name}")
        try:
            answer = asyncio.run(HANDLERS[name](made, ask))
        except Exception as error:
            told = as_api_error(error, "req-1")
            raise told from (None if told.status == 400 else error)
        self.allowed = made.resources
        return as_aws_sees_it(name, msgspec.json.encode(answer if answer is not None else operation.response()))

    def refused(self, name: str, realm: Realm = HOME, **members: Any) -> str:
        """Text of the ClientException; nothing may have changed."""
        before = msgspec.json.encode([self.service.world.next_seq, list(self.service.world.definitions)])
        with pytest.raises(ApiError) as caught:
            self.call(name, realm, **members)
        assert before == msgspec.json.encode([self.service.world.next_seq, list(self.service.world.definitions)])
        assert (caught.value.status, caught.value.code) == (400, "ClientException")
        return caught.value.message

    # what tests do again and again

    def register(self, name: str = "d", container: dict[str, Any] | None = None, **members: Any) -> str:
        """Register; the ARN."""
        properties = {
            "image": "busybox",
            "command": ["true"],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
        }
        properties |= container or {}
        arn: str = self.call(
            "RegisterJobDefinition",
            jobDefinitionName=name,
            type="container",
            containerProperties={key: value for key, value in properties.items() if value is not None},
            **members,
        )["jobDefinitionArn"]
        return arn

    def submit(self, name: str = "j", **members: Any) -> str:
        """SubmitJob to the ready-made queue; the id."""
        members = {"jobQueue": "default", "jobDefinition": "d", **members}
        job: str = self.call("SubmitJob", jobName=name, **members)["jobId"]
        return job

    def array(self, size: int, **members: Any) -> str:
        return self.submit(arrayProperties={"size": size}, **members)

    def describe(self, *ids: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("DescribeJobs", jobs=list(ids))["jobs"]
        return found

    def job(self, ref: str) -> dict[str, Any]:
        (found,) = self.describe(ref)
        return found

    def status(self, *ids: str) -> list[str]:
        return [job["status"] for job in self.describe(*ids)]

    def key(self, ref: str) -> AttemptKey:
        """Of the live attempt."""
        job, index, _ = task_ref(ref)
        live = self.service.world.jobs[job].tasks[index or 0].live
        assert live is not None, f"{ref} is not placed"
        return live.key

    def starting(self, ref: str) -> None:
        self.tell(Starting(self.key(ref), self.service.clock))

    def start(self, ref: str) -> None:
        self.tell(Started(self.key(ref), self.service.clock))

    def finish(self, ref: str, code: int | None = 0, reason: str = "", cause: str = EXIT) -> None:
        """The attempt is over; it ran if it was reported to have started."""
        key = self.key(ref)
        ends = (ContainerEnd("default", code, reason),)
        self.tell(Exited(key, self.service.clock, cause=cause, containers=ends))

    def run(self, ref: str, code: int = 0, reason: str = "") -> None:
        """Started, and a second later over."""
        self.start(ref)
        self.later()
        self.finish(ref, code, reason)

    def not_started(self, ref: str, reason: str) -> None:
        self.finish(ref, None, reason, START_FAILED)

    def lose(self, ref: str, host: str = "i-1") -> None:
        self.tell(Lost(self.key(ref), self.service.clock, host=host))

    def disable_queue(self) -> None:
        self.tell(UpdateQueue(self.queue_arn, state=DISABLED))
        self.later()

    def delete_queue(self) -> None:
        self.disable_queue()
        self.tell(DeleteQueue(self.queue_arn))

    @property
    def queue_arn(self) -> str:
        return "arn:aws:batch:us-east-1:123456789012:job-queue/default"


def as_aws_sees_it(name: str, body: bytes) -> dict[str, Any]:
    """The answer, once botocore's validator has no complaint and its parser has read it."""
    answer: dict[str, Any] = msgspec.json.decode(body)
    shape = MODEL.operation_model(name).output_shape
    if shape is None:
        assert answer == {}
        return answer
    report = botocore.validate.ParamValidator().validate(answer, shape)
    # the model calls startedAt of a job required, and AWS leaves it out until the job has started
    faults = [line for line in report.generate_report().splitlines() if '"startedAt"' not in line]
    assert not faults, faults
    parsed = PARSER.parse({"status_code": 200, "headers": {}, "body": body}, shape)
    parsed.pop("ResponseMetadata")
    assert parsed == answer
    return answer


@pytest.fixture
def jobs_store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "data")
    store.open()
    assert store.connection is not None
    store.connection.execute("PRAGMA synchronous = OFF")  # these tests are not about disks
    yield store
    store.close()


@pytest.fixture
def jobs(jobs_store: SqliteStore) -> JobDesk:
    """With the ready-made queue, 4 vCPUs and a definition `d`."""
    desk = JobDesk(jobs_store)
    desk.register()
    return desk
