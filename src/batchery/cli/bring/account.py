"""The two accounts that `batchery import` speaks to: the one it reads, by boto3, and Batchery, by our own client.

Both are seen through one call, ``(operation, members) -> answer``, so that what is there is read in the same way on
both sides and can be compared.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from batchery.cli.problem import Problem
from batchery.cli.target import Target
from batchery.client import Client, ServiceError

Json = dict[str, Any]
Call = Callable[[str, Json], Json]

#: Of an endpoint that is not AWS's, where there are no credentials.
_ANY: Final = "batchery"
_AT_ONCE: Final = 100


class CallFailed(Exception):
    """The account refused, or does not know the operation; the text says which."""


def batchery(client: Client) -> Call:
    """The account that is written. Raises CallFailed; what is wrong with the connection passes through."""

    def call(operation: str, members: Json) -> Json:
        try:
            if operation == "TagResource":
                return client.tag(members["resourceArn"], members["tags"])
            return client.batch(operation, **members)
        except ServiceError as error:
            raise CallFailed(error.message or error.code) from None

    return call


def aws(endpoint: str, profile: str, region: str, target: Target) -> tuple[Call, str]:
    """The account that is read, and what to call it. ``target``: what is written, which it must not be. Raises
    Problem."""
    try:
        import boto3
        from botocore import xform_name
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise Problem("Reading an AWS account needs boto3: install it with `pip install 'batchery[aws]'`.") from None
    try:
        session = boto3.session.Session(profile_name=profile or None, region_name=region or None)
        keys = {}
        if endpoint and session.get_credentials() is None:
            keys = {"aws_access_key_id": _ANY, "aws_secret_access_key": _ANY}
        config = Config(retries={"mode": "standard"})
        client = session.client("batch", endpoint_url=endpoint or None, config=config, **keys)
    except (BotoCoreError, ValueError) as error:
        raise Problem(f"The account cannot be read: {error}") from None
    where = str(client.meta.endpoint_url)
    if (where.rstrip("/"), client.meta.region_name) == (target.url.rstrip("/"), target.region):
        raise Problem(
            f"{where} is the Batchery to import into: say which account to read with --endpoint-url, or take "
            "AWS_ENDPOINT_URL_BATCH out of the environment."
        )

    def call(operation: str, members: Json) -> Json:
        method = getattr(client, xform_name(operation), None)
        if method is None:
            raise CallFailed(f"this version of boto3 does not know {operation}")
        try:
            answer: Json = method(**members)
        except ClientError as error:
            about = error.response.get("Error", {})
            raise CallFailed(f"{about.get('Code')}: {about.get('Message')}") from None
        except BotoCoreError as error:
            raise Problem(f"The account cannot be read: {error}") from None
        return answer

    return call, f"{where} ({client.meta.region_name})"


# ------------------------------------------------------------------------------------------------------- what is there


def pages(call: Call, operation: str, member: str, **asked: Any) -> Iterator[Json]:
    """Every item of a paged answer."""
    token = None
    while True:
        answer = call(operation, {**asked, **({"nextToken": token} if token else {})})
        yield from answer.get(member) or ()
        token = answer.get("nextToken")
        if not token:
            return


def policies(call: Call) -> list[Json]:
    arns = [item["arn"] for item in pages(call, "ListSchedulingPolicies", "schedulingPolicies")]
    found: list[Json] = []
    for start in range(0, len(arns), _AT_ONCE):
        answer = call("DescribeSchedulingPolicies", {"arns": arns[start : start + _AT_ONCE]})
        found += answer["schedulingPolicies"]
    return found


def consumables(call: Call) -> list[Json]:
    arns = [item["consumableResourceArn"] for item in pages(call, "ListConsumableResources", "consumableResources")]
    return [call("DescribeConsumableResource", {"consumableResource": arn}) for arn in arns]


def environments(call: Call) -> list[Json]:
    return list(pages(call, "DescribeComputeEnvironments", "computeEnvironments"))


def service_environments(call: Call) -> list[Json]:
    return list(pages(call, "DescribeServiceEnvironments", "serviceEnvironments"))


def queues(call: Call) -> list[Json]:
    return list(pages(call, "DescribeJobQueues", "jobQueues"))


def quota_shares(call: Call) -> list[Json]:
    """Of all quota-managed queues. ``quotaShare`` is what each is called here: queue/share."""
    managed = {one["arn"] for one in policies(call) if one.get("quotaSharePolicy")}
    found = []
    for queue in queues(call):
        if queue.get("schedulingPolicyArn") not in managed:
            continue
        name = queue["jobQueueName"]
        for share in pages(call, "ListQuotaShares", "quotaShares", jobQueue=name):
            told = call("DescribeQuotaShare", {"quotaShareArn": share["quotaShareArn"]})  # its tags too
            found.append({**told, "jobQueue": name, "quotaShare": f"{name}/{told['quotaShareName']}"})
    return found


def definitions(call: Call) -> list[Json]:
    """ACTIVE revisions, the oldest of each name first."""
    found = list(pages(call, "DescribeJobDefinitions", "jobDefinitions", status="ACTIVE"))
    return sorted(found, key=lambda item: (item["jobDefinitionName"], item["revision"]))
