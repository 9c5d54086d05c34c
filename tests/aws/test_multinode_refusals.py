"""Multi-node parallel jobs that are refused when they are submitted, and why."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from test_multinode import container, define
from wire_pipeline import Pipeline, Server, until


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for the tests of this file; each leaves it empty."""
    return Pipeline(server, tmp_path_factory.mktemp("queue")).queue(vcpus=8)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"nodeOverrides": {"nodePropertyOverrides": [{"targetNodes": "0:0"}]}}, "Non matching targets - 0:0"),
        ({"nodeOverrides": {"numNodes": 1}}, "numNodes must be greater than the index of the main node"),
        ({"arrayProperties": {"size": 2}}, "An array job cannot be a multi-node parallel job"),
        ({"containerOverrides": {"command": ["true"]}}, "containerOverrides does not match the kind"),
    ],
)
def test_refusals(pipeline: Pipeline, queue: str, members: dict[str, Any], words: str) -> None:
    definition = define(pipeline, {"0:": container("true")}, nodes=2, main=1)
    with pytest.raises(ClientError, match=words):
        pipeline.submit(queue, definition, **members)


def test_no_environment_of_spot_instances_takes_it(pipeline: Pipeline) -> None:
    name = f"spot-{pipeline.folder.name}"
    resources = {
        "type": "SPOT",
        "allocationStrategy": "SPOT_CAPACITY_OPTIMIZED",
        "minvCpus": 0,
        "maxvCpus": 4,
        "instanceTypes": ["optimal"],
        "subnets": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
        "instanceRole": "ecsInstanceRole",
    }
    pipeline.batch.create_compute_environment(computeEnvironmentName=name, type="MANAGED", computeResources=resources)
    until(lambda: pipeline.environment(name)["status"] == "VALID", "the environment is VALID")
    queue = pipeline.queue_on(name)
    with pytest.raises(ClientError, match="Multi-node parallel jobs cannot run on SPOT"):
        pipeline.submit(queue, define(pipeline, {"0:": container("true")}))
