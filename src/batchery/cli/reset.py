"""Empty a private server between tests: end every job, delete everything that a client made."""

import time
from collections.abc import Callable
from typing import Any, Final

from batchery.client import Client, ServiceError

READY_MADE: Final = "default"
PAUSE: Final = 0.02  # s between looks
OPEN: Final = ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"]


def reset(client: Client, timeout: float) -> None:
    """Raises TimeoutError if a job, a queue or an environment is still there after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    client.own("stop", reason="reset")
    _wait(deadline, "jobs that have not ended", lambda: client.own("jobs", statuses=OPEN, limit=1)["jobs"])
    for noun in ("jobQueue", "computeEnvironment"):  # in this order: a queue holds its environments
        operation = noun[0].upper() + noun[1:]
        for name in _made(client, operation, noun):
            _delete(client, deadline, operation, noun, name)
        _wait(deadline, f"{noun}s", lambda operation=operation, noun=noun: _made(client, operation, noun))  # type: ignore[misc]
    for definition in _all(client, "DescribeJobDefinitions", "jobDefinitions", status="ACTIVE"):
        client.batch("DeregisterJobDefinition", jobDefinition=definition["jobDefinitionArn"])
    for policy in _all(client, "ListSchedulingPolicies", "schedulingPolicies"):
        client.batch("DeleteSchedulingPolicy", arn=policy["arn"])
    for item in _all(client, "ListConsumableResources", "consumableResources"):
        client.batch("DeleteConsumableResource", consumableResource=item["consumableResourceArn"])


def _made(client: Client, operation: str, noun: str) -> list[str]:
    """Names of the queues or environments that clients made."""
    names = [str(item[f"{noun}Name"]) for item in _all(client, f"Describe{operation}s", f"{noun}s")]
    return [name for name in names if name != READY_MADE]


def _delete(client: Client, deadline: float, operation: str, noun: str, name: str) -> None:
    """Disable and delete; what is in transition refuses, so again until the deadline."""
    while True:
        try:
            client.batch(f"Update{operation}", **{noun: name, "state": "DISABLED"})
            client.batch(f"Delete{operation}", **{noun: name})
            return
        except ServiceError:
            if name not in _made(client, operation, noun):
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)


def _all(client: Client, operation: str, member: str, **members: Any) -> list[dict[str, Any]]:
    """Every item of every page."""
    items: list[dict[str, Any]] = []
    token: str | None = None
    while True:
        page = client.batch(operation, nextToken=token, **members)
        items += page[member]
        token = page.get("nextToken")
        if not token:
            return items


def _wait(deadline: float, what: str, remaining: Callable[[], list[Any]]) -> None:
    while left := remaining():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Still there: {what}: {left}")
        time.sleep(PAUSE)
