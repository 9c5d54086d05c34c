"""`batchery reset`: empty a private server between tests: end every job, delete everything that a client made.

What is ready-made is there again afterwards, as it was at first: the queue is made anew where a test changed it, the
environment is enabled. Only revisions of job definitions are numbered on, and the activity log goes on.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import click
import msgspec

from batchery.api.readymade import READY_MADE_NAME, host_vcpus, ready_made_resources
from batchery.cli.private import inherited
from batchery.cli.problem import USAGE, Problem, told
from batchery.cli.target import find
from batchery.client import Client, ServiceError
from batchery.core.instances import SERVICE
from batchery.spec.names import name_of
from batchery.spec.shape import LOG_GROUP

PAUSE: Final = 0.02  # s between looks
OPEN: Final = ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"]

Json = dict[str, Any]


@click.command("reset", short_help="Empty a server, between tests.")
@click.option("--yes", is_flag=True, help="Also if it is not the private server of `batchery exec`.")
@click.option("--timeout", metavar="SECONDS", default=60.0, show_default=True, help="How long jobs may take to end.")
@click.pass_obj
def command(options: tuple[str, str], yes: bool, timeout: float) -> None:
    """End every job and forget it; delete every queue, environment, quota share, policy, consumable resource and log
    group; deregister every job definition. The ready-made queue and environment are as they were at first.

    Of the private server of `batchery exec` it is done at once; of another one with --yes.

    \b
    Examples:
      batchery exec -- sh -c './test-one; batchery reset; ./test-two'
    """
    with told(), (target := find(url=options[0], region=options[1])).client() as client:
        mine = inherited()
        if not yes and (mine is None or mine.url != target.url):
            raise Problem(f"{target.url} is not a private server: to lose all that it has, say --yes.", USAGE)
        try:
            reset(client, timeout)
        except TimeoutError as error:
            raise Problem(str(error)) from None


def reset(client: Client, timeout: float) -> None:
    """Raises TimeoutError if a job, a queue or an environment is still there after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    client.own("stop", reason="reset")
    _wait(deadline, "jobs that have not ended", lambda: client.own("jobs", statuses=OPEN, limit=1)["jobs"])
    client.own("forget")
    for what, member, found in _HOLDERS:
        for ref in found(client):
            _delete(client, deadline, what, member, ref, found)
        _wait(deadline, f"{what}s", lambda found=found: found(client))  # type: ignore[misc]
    for definition in _all(client, "DescribeJobDefinitions", "jobDefinitions", status="ACTIVE"):
        client.batch("DeregisterJobDefinition", jobDefinition=definition["jobDefinitionArn"])
    for policy in _all(client, "ListSchedulingPolicies", "schedulingPolicies"):
        client.batch("DeleteSchedulingPolicy", arn=policy["arn"])
    for item in _all(client, "ListConsumableResources", "consumableResources"):
        client.batch("DeleteConsumableResource", consumableResource=item["consumableResourceArn"])
    for group in _groups(client):
        client.logs("DeleteLogGroup", logGroupName=group)
    _make_ready(client, deadline)


# ---------------------------------------------------------------------------------------------------- what clients made


def _quota_shares(client: Client) -> list[str]:
    """ARNs."""
    return [
        str(share["quotaShareArn"])
        for queue in _all(client, "DescribeJobQueues", "jobQueues")
        if queue.get("jobQueueType") == SERVICE
        for share in _all(client, "ListQuotaShares", "quotaShares", jobQueue=queue["jobQueueName"])
    ]


def _queues(client: Client) -> list[str]:
    """Names; the ready-made one's only if it is not as it was."""
    found = _all(client, "DescribeJobQueues", "jobQueues")
    return [str(queue["jobQueueName"]) for queue in found if not _is_ready_made(queue)]


def _environments(client: Client) -> list[str]:
    found = _all(client, "DescribeComputeEnvironments", "computeEnvironments")
    names = [str(environment["computeEnvironmentName"]) for environment in found]
    return [name for name in names if name != READY_MADE_NAME]


def _service_environments(client: Client) -> list[str]:
    found = _all(client, "DescribeServiceEnvironments", "serviceEnvironments")
    return [str(environment["serviceEnvironmentName"]) for environment in found]


def _groups(client: Client) -> list[str]:
    """Log groups that jobs or clients made."""
    found: list[str] = []
    token: str | None = None
    while True:
        page = client.logs("DescribeLogGroups", nextToken=token)
        found += [str(group["logGroupName"]) for group in page["logGroups"]]
        token = page.get("nextToken")
        if not token:
            return [name for name in found if name != LOG_GROUP]


#: What has a state, the member that names it, and those that are there. In this order: each holds what follows.
_HOLDERS: Final[list[tuple[str, str, Callable[[Client], list[str]]]]] = [
    ("QuotaShare", "quotaShareArn", _quota_shares),
    ("JobQueue", "jobQueue", _queues),
    ("ComputeEnvironment", "computeEnvironment", _environments),
    ("ServiceEnvironment", "serviceEnvironment", _service_environments),
]


def _delete(
    client: Client, deadline: float, what: str, member: str, ref: str, found: Callable[[Client], list[str]]
) -> None:
    """Disable and delete; what is in transition refuses, so again until the deadline."""
    while True:
        try:
            client.batch(f"Update{what}", **{member: ref, "state": "DISABLED"})
            client.batch(f"Delete{what}", **{member: ref})
            return
        except ServiceError:
            if ref not in found(client):
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)


# ------------------------------------------------------------------------------------------------- what is ready-made


def _is_ready_made(queue: Json) -> bool:
    """As it was at first."""
    order = [(place["order"], name_of(place["computeEnvironment"])) for place in queue["computeEnvironmentOrder"]]
    same = queue["jobQueueName"] == READY_MADE_NAME and queue["state"] == "ENABLED" and queue["priority"] == 1
    more = any(queue.get(member) for member in ("schedulingPolicyArn", "jobStateTimeLimitActions", "tags"))
    return same and order == [(1, READY_MADE_NAME)] and not more


def _make_ready(client: Client, deadline: float) -> None:
    """The ready-made environment and queue, where they are missing or DISABLED."""
    there = client.batch("DescribeComputeEnvironments", computeEnvironments=[READY_MADE_NAME])["computeEnvironments"]
    if not there:
        resources = msgspec.to_builtins(ready_made_resources(host_vcpus()))
        made: Json = {"computeEnvironmentName": READY_MADE_NAME, "type": "MANAGED", "computeResources": resources}
        client.batch("CreateComputeEnvironment", **made)
    elif there[0]["state"] != "ENABLED":
        client.batch("UpdateComputeEnvironment", computeEnvironment=READY_MADE_NAME, state="ENABLED")
    _wait(deadline, "an environment that is not VALID", lambda: _unready(client, "ComputeEnvironment"))
    if not client.batch("DescribeJobQueues", jobQueues=[READY_MADE_NAME])["jobQueues"]:
        order = [{"order": 1, "computeEnvironment": READY_MADE_NAME}]
        client.batch("CreateJobQueue", jobQueueName=READY_MADE_NAME, priority=1, computeEnvironmentOrder=order)
    _wait(deadline, "a queue that is not VALID", lambda: _unready(client, "JobQueue"))


def _unready(client: Client, what: str) -> list[str]:
    members = f"{what[0].lower()}{what[1:]}s"
    found = client.batch(f"Describe{what}s", **{members: [READY_MADE_NAME]})[members]
    return [one["status"] for one in found if one["status"] != "VALID"]


def _all(client: Client, operation: str, member: str, **members: Any) -> list[Json]:
    """Every item of every page."""
    items: list[Json] = []
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
