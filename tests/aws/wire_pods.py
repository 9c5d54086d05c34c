"""Definitions of several containers, and what their jobs show: what the tests of them share."""

import itertools
import os
from typing import Any

from wire_pipeline import Pipeline, until

_NAMES = itertools.count()

# -------------------------------------------------------------------------------------------------------------- both


def waits(gate: Any, then: str = "exit 0") -> str:
    return f'until [ -e "{gate}" ]; do sleep 0.02; done; {then}'


def by_name(containers: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in containers}


def task_of(job: dict[str, Any]) -> dict[str, Any]:
    (task,) = job["ecsProperties"]["taskProperties"]
    return dict(task)


def lines(pipeline: Pipeline, stream: str, group: str = "/aws/batch/job") -> list[str]:
    reply = pipeline.logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
    return [str(event["message"]) for event in reply["events"]]


def ended(pipeline: Pipeline, ref: str) -> dict[str, Any]:
    return pipeline.wait(ref, "SUCCEEDED", "FAILED")


# ------------------------------------------------------------------------------------------------------------- ECS


def container(name: str, script: str = "exit 0", **members: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": "busybox",
        "command": ["sh", "-c", script],
        "linuxParameters": {"initProcessEnabled": True},
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "32"}],
        **members,
    }


def register(
    pipeline: Pipeline, *containers: dict[str, Any], task: dict[str, Any] | None = None, **members: Any
) -> str:
    name = f"task-{os.getpid()}-{next(_NAMES)}"
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName=name,
        type="container",
        ecsProperties={"taskProperties": [{"containers": list(containers), **(task or {})}]},
        **members,
    )
    return str(reply["jobDefinitionArn"])


# ------------------------------------------------------------------------------------------------------------- EKS

CLUSTER = "arn:aws:eks:us-east-1:123456789012:cluster/mine"


def on_eks(pipeline: Pipeline, name: str) -> str:
    """A queue on an environment of an EKS cluster."""
    pipeline.batch.create_compute_environment(
        computeEnvironmentName=name,
        type="MANAGED",
        eksConfiguration={"eksClusterArn": CLUSTER, "kubernetesNamespace": "batch"},
        computeResources={
            "type": "EC2",
            "allocationStrategy": "BEST_FIT_PROGRESSIVE",
            "minvCpus": 0,
            "maxvCpus": 16,
            "instanceTypes": ["m5"],
            "subnets": ["subnet-1"],
            "securityGroupIds": ["sg-1"],
            "instanceRole": "role",
        },
    )
    until(lambda: pipeline.environment(name)["status"] == "VALID", "the environment is VALID")
    return pipeline.queue_on(name)


SMALL = {"limits": {"cpu": "1", "memory": "32Mi"}}


def in_pod(script: str = "exit 0", name: str | None = None, **members: Any) -> dict[str, Any]:
    """Its entry point is a shell, its argument a script that gets SIGTERM's default action."""
    given = {"image": "busybox", "command": ["sh", "-c"], "args": [script], "resources": SMALL, **members}
    return given if name is None else {"name": name, **given}


def register_pod(
    pipeline: Pipeline,
    *containers: dict[str, Any],
    first: list[dict[str, Any]] | None = None,
    pod: dict[str, Any] | None = None,
    **members: Any,
) -> str:
    """``first``: init containers; ``pod``: other members of podProperties."""
    properties = {"containers": list(containers), **({"initContainers": first} if first else {}), **(pod or {})}
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName=f"pod-{os.getpid()}-{next(_NAMES)}",
        type="container",
        eksProperties={"podProperties": properties},
        **members,
    )
    return str(reply["jobDefinitionArn"])


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    return dict(job["eksProperties"]["podProperties"])


def output(pipeline: Pipeline, job: dict[str, Any], name: str) -> list[str]:
    """Of one container of the last attempt; streams are named as those of ECS jobs are."""
    task = job["eksProperties"]["podProperties"]["podName"].partition(".")[2].replace("-", "")
    definition = job["jobDefinition"].rpartition("/")[2].partition(":")[0]
    reply = pipeline.logs.get_log_events(
        logGroupName="/aws/batch/job", logStreamName=f"{definition}/{name}/{task}", startFromHead=True
    )
    return [str(event["message"]) for event in reply["events"]]
