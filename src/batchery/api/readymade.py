"""What a realm finds when it is used for the first time: environment `default` and queue `default`, ready to use.

Every realm has its own, all on one capacity, the host's: their environments share the pool READY_MADE. Who deletes
them does not get them back. The environment's document is one that CreateComputeEnvironment would accept, so that it
can be updated, and copied, like any other; subnet, security group and role name nothing.
"""

import os
from typing import Final

import msgspec

from batchery.api.shapes import ComputeEnvironmentDetail, ComputeResource
from batchery.core.messages import EnsureRealm
from batchery.core.model import ENABLED, VALID, Environment, Queue, Realm
from batchery.spec.names import environment_arn, queue_arn

READY_MADE: Final = "ready-made"
READY_MADE_NAME: Final = "default"


def host_vcpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ready_made_resources(host_vcpus: int) -> ComputeResource:
    """Of the environment."""
    return ComputeResource(
        type="EC2",
        allocation_strategy="BEST_FIT_PROGRESSIVE",
        min_vcpus=0,
        max_vcpus=host_vcpus,
        instance_types=["optimal"],
        subnets=["subnet-ready-made"],
        security_group_ids=["sg-ready-made"],
        instance_role="ecsInstanceRole",
    )


def ensure_realm_command(realm: Realm, host_vcpus: int, now: int, uuid: str) -> EnsureRealm:
    """``uuid``: of the environment; ``now``: ms since the epoch."""
    resources = ready_made_resources(host_vcpus)
    doc = ComputeEnvironmentDetail(type="MANAGED", compute_resources=resources, container_orchestration_type="ECS")
    environment = Environment(
        arn=environment_arn(realm, READY_MADE_NAME),
        name=READY_MADE_NAME,
        realm=realm,
        kind=resources.type,
        max_vcpus=host_vcpus * 1000,
        pool=READY_MADE,
        doc=msgspec.json.encode(doc).decode(),
        state=ENABLED,
        status=VALID,
        status_reason="ComputeEnvironment Healthy",
        uuid=uuid,
        created=now,
    )
    queue = Queue(
        arn=queue_arn(realm, READY_MADE_NAME),
        name=READY_MADE_NAME,
        realm=realm,
        priority=1,
        order=((1, environment.arn),),
        state=ENABLED,
        status=VALID,
        created=now,
    )
    return EnsureRealm(realm, environment, queue)
