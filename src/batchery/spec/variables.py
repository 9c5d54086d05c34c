"""The environment of a job: what it was given, and what the service adds.

Source: AWS Batch user guide, "AWS Batch job environment variables". Names starting with AWS_BATCH are the service's.
Not set, because nothing answers there: ECS_CONTAINER_METADATA_URI, ECS_AGENT_URI and
AWS_CONTAINER_CREDENTIALS_RELATIVE_URI. What says where the service itself is comes from api/jobendpoints.py.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from batchery.api.shapes import KeyValuePair
from batchery.core.model import AttemptKey, Environment, Realm


class Node(Struct, frozen=True):
    """One node of a multi-node job. Addresses are "" where they are not known (yet)."""

    index: int
    main: int
    count: int
    address: str
    main_address: str

    @property
    def is_main(self) -> bool:
        return self.index == self.main


def node_variables(node: Node) -> dict[str, str]:
    """What a node is told of its job. Its own address is ours to tell: on AWS it is the machine's."""
    variables = {
        "AWS_BATCH_JOB_MAIN_NODE_INDEX": str(node.main),
        "AWS_BATCH_JOB_NODE_INDEX": str(node.index),
        "AWS_BATCH_JOB_NUM_NODES": str(node.count),
    }
    if not node.is_main:
        variables["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = node.main_address
    if node.address:
        variables["BATCHERY_NODE_IPV4_ADDRESS"] = node.address
    return variables


def batch_variables(
    *, key: AttemptKey, used: int, size: int, queue_name: str, environment_name: str, node: Node | None = None
) -> dict[str, str]:
    """AWS_BATCH_*. ``used``: attempts before this one; ``size``: of the array, 0 for a plain job."""
    if node is not None:
        own = batch_variables(key=key, used=used, size=0, queue_name=queue_name, environment_name=environment_name)
        return {**own, **node_variables(node), "AWS_BATCH_JOB_ID": f"{key.job}#{key.index}"}
    variables = {
        "AWS_BATCH_CE_NAME": environment_name,
        "AWS_BATCH_JQ_NAME": queue_name,
        "AWS_BATCH_JOB_ID": f"{key.job}:{key.index}" if size else key.job,
        "AWS_BATCH_JOB_ATTEMPT": str(used + 1),
    }
    if size:
        variables["AWS_BATCH_JOB_ARRAY_INDEX"] = str(key.index)
        variables["AWS_BATCH_JOB_ARRAY_SIZE"] = str(size)
    return variables


def ecs_variables(environment: Environment, realm: Realm) -> dict[str, str]:
    """What ECS sets that is true here too: the kind of place, and on Fargate the region. On EKS there is no ECS."""
    if environment.kind.startswith("EKS"):
        return {}
    if not environment.kind.startswith("FARGATE"):
        return {"AWS_EXECUTION_ENV": "AWS_ECS_EC2"}
    return {
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "AWS_REGION": realm.region,
        "AWS_DEFAULT_REGION": realm.region,
    }


def complete(
    ecs: Mapping[str, str],
    configured: Mapping[str, str],
    own: Iterable[KeyValuePair],
    batch: Mapping[str, str],
) -> dict[str, str]:
    """All of it; what comes later wins: ECS's, the operator's, the job's own, AWS_BATCH_*."""
    return {**ecs, **configured, **{pair.name: pair.value or "" for pair in own if pair.name}, **batch}
