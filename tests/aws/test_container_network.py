"""Jobs on a bridge of their own: they have an address, and reach the server by a name for their host."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from wire_pipeline import Pipeline, Server
from wire_training import Training

from batchery.api.keys import Key, Keys

ROLE = "arn:aws:iam::123456789012:role/submitters"
SCRIPT = """
readlink /proc/self/ns/net
echo $AWS_ENDPOINT_URL_BATCH
env | grep -c '^AWS_ACCESS_KEY_ID='
wget -q -O - $ECS_CONTAINER_METADATA_URI_V4/task
"""


@pytest.fixture
def pipeline(own_server: Callable[..., Server], tmp_path: Path) -> Pipeline:
    """A server that listens everywhere, and so asks for keys."""
    keys: list[Key] = []

    def add(server: Server) -> None:
        book = Keys(server.folder / "data" / "keys.json")
        keys.append(book.add("123456789012", "tester"))
        allowed = {"Effect": "Allow", "Action": "batch:Describe*", "Resource": "*"}
        book.add("123456789012", "submitters", {"Version": "2012-10-17", "Statement": [allowed]})

    made = Pipeline(own_server("kill_grace = 2\nhost = '0.0.0.0'", "network = 'bridge'\n", before=add), tmp_path)
    own = {"aws_access_key_id": keys[0].id, "aws_secret_access_key": keys[0].secret}
    made.batch = made.server.client(**own)
    made.logs = made.server.client("logs", **own)
    return made


#: The main node says its address, and the one at which it was called. Its nc has an input without an end, which the
#: caller's would take for the end of the call.
NODES = """
main=$AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS
if [ "$main" ]; then until echo "$main" | nc "$main" 5011; do sleep 0.1; done
else hostname -i; mkfifo /open; nc -l -p 5011 <>/open; fi
"""


def test_jobs_on_a_bridge_reach_the_server_with_keys_of_their_role_and_nodes_each_other(pipeline: Pipeline) -> None:
    needs = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}]
    definition = pipeline.batch.register_job_definition(
        jobDefinitionName="bridged",
        type="container",
        containerProperties={
            "image": "busybox",
            "command": ["sh", "-c", SCRIPT],
            "resourceRequirements": needs,
            "jobRoleArn": ROLE,
        },
    )["jobDefinitionArn"]
    job = pipeline.submit("default", definition)
    assert pipeline.wait(job, "SUCCEEDED", "FAILED")["status"] == "SUCCEEDED", pipeline.output(job)
    space, endpoint, keys, task = pipeline.output(job)
    assert space != str(Path("/proc/self/ns/net").readlink())
    names = ("host.docker.internal", "host.containers.internal")
    assert endpoint in [f"http://{name}:{pipeline.server.port}" for name in names]
    assert keys == "1"
    assert json.loads(task)["Family"] == job
    node = {"image": "busybox", "command": ["sh", "-c", NODES], "resourceRequirements": needs}
    nodes = pipeline.batch.register_job_definition(
        jobDefinitionName="bridged-nodes",
        type="multinode",
        nodeProperties={
            "numNodes": 2,
            "mainNode": 0,
            "nodeRangeProperties": [{"targetNodes": "0:", "container": node}],
        },
    )["jobDefinitionArn"]
    job = pipeline.submit("default", nodes)
    pipeline.wait(job, "SUCCEEDED")
    own, called = pipeline.output(f"{job}#0")
    assert own == called
    assert not own.startswith("127.")


#: algo-1 hears what algo-2 says to it by its name.
TALK = """
set -e
if [ "$SM_CURRENT_HOST" = algo-1 ]; then mkfifo /open; nc -l -p 5010 <>/open >"$SM_MODEL_DIR/heard"
else until echo hello | nc algo-1 5010; do sleep 0.1; done; fi
readlink /proc/self/ns/net >"$SM_MODEL_DIR/space"
"""


def test_hosts_of_a_training_job_share_a_network_of_their_own(
    own_server: Callable[..., Server], tmp_path: Path
) -> None:
    training = Training(own_server("kill_grace = 2", "network = 'bridge'\n"), tmp_path)
    queue = training.service_queue(training.service_environment())
    algorithm = {"TrainingImage": "busybox", "ContainerEntrypoint": ["sh", "-c", TALK]}
    job = training.train(queue, training.payload(2, AlgorithmSpecification=algorithm))
    training.until(job, "SUCCEEDED")
    model = training.left(job)
    assert (model / "heard").read_text() == "hello\n"
    spaces = {(path / "space").read_text().strip() for path in (model, model.parents[1] / "algo-2/ml/model")}
    assert len(spaces) == 1
    assert spaces != {str(Path("/proc/self/ns/net").readlink())}
