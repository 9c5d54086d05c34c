"""A desk: handlers called as the wire would call them, on a real World, with botocore's model judging what comes out.

`desk.call("CreateJobQueue", jobQueueName=…)` takes and gives wire names. The service behind it decides and applies
with the core's own `turn`; only the store's part is a dict.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import botocore.session
import botocore.validate
import msgspec
import pytest

from batchery.api import environments, policies, queues, snapshots, tags  # noqa: F401  the handlers register themselves
from batchery.api.call import HANDLERS, ApiError, Call, Caller
from batchery.api.policy import Policy
from batchery.api.readymade import ensure_realm_command
from batchery.api.shapes import OPERATIONS
from batchery.config import Config
from batchery.core.changes import TagsSet
from batchery.core.messages import Command, EnsureRealm, Refused
from batchery.core.model import Realm, World
from batchery.core.step import turn
from batchery.store.store import JobRow

HOME = Realm("123456789012", "us-east-1")
MODEL = botocore.session.Session().get_service_model("batch")


class DeskReads:
    """The reads that these handlers do."""

    def __init__(self) -> None:
        self.tagged: dict[str, dict[str, str]] = {}
        self.rows: dict[str, JobRow] = {}

    async def tags(self, arns: list[str]) -> dict[str, dict[str, str]]:
        return {arn: dict(self.tagged[arn]) for arn in arns if self.tagged.get(arn)}

    async def jobs(self, ids: list[str]) -> dict[str, JobRow]:
        return {job: self.rows[job] for job in ids if job in self.rows}


class DeskService:
    """A service of one client: every command is a turn of its own and is committed at once."""

    def __init__(self) -> None:
        self.config = Config()
        self.reads = DeskReads()
        self.world = World()
        self.commands: list[Command] = []
        self.clock = 1_700_000_000_000

    def now(self) -> int:
        return self.clock

    def new_id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, str(len(self.commands))))

    def look(self, question: Any, *args: Any, **kwargs: Any) -> Any:
        return question(self.world, *args, **kwargs)

    async def ask(self, question: Any, *args: Any, **kwargs: Any) -> Any:
        return question(self.world, *args, **kwargs)

    async def barrier(self) -> None:
        return None

    def record(self, activity: Any) -> None:
        return None

    async def submit(self, command: Command, note: Any = None) -> Any:
        self.commands.append(command)
        changes, answers, _ = turn(self.world, [command], self.clock)
        for change in changes:
            if isinstance(change, TagsSet):
                held = self.reads.tagged.setdefault(change.arn, {})
                held.update(change.set)
                for key in list(held) if "*" in change.removed else change.removed:
                    held.pop(key, None)
        if answers[0].error is not None:
            raise answers[0].error
        if note is not None:
            note(answers[0].value)
        return answers[0].value


class Desk:
    """Calls operations; checks every answer against the service model."""

    def __init__(self) -> None:
        self.service = DeskService()
        self.policy: Policy | None = None
        self.allowed: list[str] = []

    @property
    def world(self) -> World:
        return self.service.world

    def call(self, name: str, /, realm: Realm = HOME, **members: Any) -> dict[str, Any]:
        """Answer of an operation, in wire names. Raises ApiError or Refused."""
        operation = OPERATIONS[name]
        ask = msgspec.json.decode(msgspec.json.encode(members), type=operation.request)
        caller = Caller(realm.account, "AKIA", f"arn:aws:iam::{realm.account}:user/u", "u", policy=self.policy)
        made = Call(self.service, realm, caller, "req-1", name, msgspec.json.encode(members), action=f"batch:{name}")
        answer = asyncio.run(HANDLERS[name](made, ask))
        self.allowed = made.resources
        body = msgspec.json.decode(msgspec.json.encode(answer if answer is not None else operation.response()))
        output = MODEL.operation_model(name).output_shape
        report = botocore.validate.ParamValidator().validate(body, output)
        assert not report.has_errors(), report.generate_report()
        return body

    def refused(self, name: str, /, realm: Realm = HOME, **members: Any) -> str:
        """Text of the ClientException that an operation answers; nothing may have changed."""
        before = msgspec.json.encode([list(self.world.queues.values()), list(self.world.environments.values())])
        with pytest.raises((ApiError, Refused)) as caught:
            self.call(name, realm, **members)
        after = msgspec.json.encode([list(self.world.queues.values()), list(self.world.environments.values())])
        assert before == after
        error = caught.value
        assert not isinstance(error, ApiError) or (error.status, error.code) == (400, "ClientException")
        return error.message

    def create(self, resources: dict[str, Any] | None, **members: Any) -> dict[str, Any]:
        """CreateComputeEnvironment, MANAGED and named "e" unless told otherwise."""
        return self.call("CreateComputeEnvironment", **environment_form(resources, members))

    def create_refused(self, resources: dict[str, Any] | None, **members: Any) -> str:
        return self.refused("CreateComputeEnvironment", **environment_form(resources, members))

    def shown(self) -> dict[str, Any]:
        """What DescribeComputeEnvironments says of "e"."""
        (item,) = self.call("DescribeComputeEnvironments", computeEnvironments=["e"])["computeEnvironments"]
        return item

    def update(self, **resources: Any) -> dict[str, Any]:
        """UpdateComputeEnvironment of the resources of "e", and what they are then."""
        self.call("UpdateComputeEnvironment", computeEnvironment="e", computeResources=resources)
        return self.shown()["computeResources"]

    def update_refused(self, **resources: Any) -> str:
        return self.refused("UpdateComputeEnvironment", computeEnvironment="e", computeResources=resources)


def environment_form(resources: dict[str, Any] | None, members: dict[str, Any]) -> dict[str, Any]:
    given = {"computeEnvironmentName": "e", "type": "MANAGED", **members}
    return given if resources is None else given | {"computeResources": resources}


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def fargate() -> dict[str, Any]:
    """computeResources that AWS accepts for a Fargate environment."""
    return {"type": "FARGATE", "maxvCpus": 8, "subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}


@pytest.fixture
def ec2() -> dict[str, Any]:
    """computeResources that AWS accepts for an EC2 environment."""
    return {
        "type": "EC2",
        "allocationStrategy": "BEST_FIT_PROGRESSIVE",
        "minvCpus": 0,
        "desiredvCpus": 0,
        "maxvCpus": 16,
        "instanceTypes": ["optimal"],
        "instanceRole": "ecsInstanceRole",
        "subnets": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
    }


@pytest.fixture
def ready_made() -> EnsureRealm:
    """The command that opens HOME, on a host of 4 CPUs."""
    return ensure_realm_command(HOME, 4, 1_700_000_000_000, "6a0f5f0e-0000-4000-8000-000000000000")


@pytest.fixture
def managed_instances() -> Callable[..., dict[str, Any]]:
    """Makes computeResources of ECS_MANAGED_INSTANCES with members of the provider, ``launch``: of its template."""

    def make(launch: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
        network = {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}
        template = {"ec2InstanceProfileArn": "p", "networkConfiguration": network, **(launch or {})}
        provider = {"infrastructureRoleArn": "r", "instanceLaunchTemplate": template, **members}
        return {"type": "ECS_MANAGED_INSTANCES", "maxvCpus": 8, "managedInstancesProvider": provider}

    return make
