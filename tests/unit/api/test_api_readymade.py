"""The ready-made environment and queue."""

import asyncio
from typing import Any

import msgspec

from batchery.api.readymade import READY_MADE, ensure_realm_command, host_vcpus
from batchery.core.messages import EnsureRealm
from batchery.core.model import Realm


def disable(desk: Any, kind: str, name: str) -> None:
    desk.call(f"Update{kind}", **{kind[0].lower() + kind[1:]: name}, state="DISABLED")


def test_what_a_realm_finds_ready_made(desk: Any, ready_made: EnsureRealm) -> None:
    asyncio.run(desk.service.submit(ready_made))
    (queue,) = desk.call("DescribeJobQueues")["jobQueues"]
    assert (queue["jobQueueName"], queue["state"], queue["status"], queue["priority"]) == (
        "default",
        "ENABLED",
        "VALID",
        1,
    )
    (order,) = queue["computeEnvironmentOrder"]
    (found,) = desk.call("DescribeComputeEnvironments", computeEnvironments=[order["computeEnvironment"]])[
        "computeEnvironments"
    ]
    assert found["statusReason"] == "ComputeEnvironment Healthy"
    assert (found["computeResources"]["type"], found["computeResources"]["maxvCpus"]) == ("EC2", 4)
    made = desk.world.environments[found["computeEnvironmentArn"]]
    assert (made.max_vcpus, made.pool) == (4000, READY_MADE)


def test_the_ready_made_environment_can_be_copied_updated_and_deleted_for_good(
    desk: Any, ready_made: EnsureRealm
) -> None:
    asyncio.run(desk.service.submit(ready_made))
    (found,) = desk.call("DescribeComputeEnvironments")["computeEnvironments"]
    desk.create(found["computeResources"])
    desk.call("UpdateComputeEnvironment", computeEnvironment="default", computeResources={"maxvCpus": 2})
    assert desk.world.environments[found["computeEnvironmentArn"]].max_vcpus == 2000
    disable(desk, "JobQueue", "default")
    desk.call("DeleteJobQueue", jobQueue="default")
    disable(desk, "ComputeEnvironment", "default")
    desk.call("DeleteComputeEnvironment", computeEnvironment="default")
    asyncio.run(desk.service.submit(ready_made))
    assert desk.call("DescribeJobQueues") == {"jobQueues": []}


def test_every_realm_has_its_own_on_one_capacity() -> None:
    one = ensure_realm_command(Realm("1", "us-east-1"), 8, 5, "u1")
    two = ensure_realm_command(Realm("2", "cn-north-1"), 8, 5, "u2")
    assert one.environment.arn != two.environment.arn
    assert one.environment.pool == two.environment.pool
    assert two.queue.arn == "arn:aws-cn:batch:cn-north-1:2:job-queue/default"
    assert msgspec.json.decode(one.environment.doc)["containerOrchestrationType"] == "ECS"
    assert host_vcpus() >= 1
