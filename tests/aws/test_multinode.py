"""Multi-node parallel jobs over the wire, on real processes: each node has an address, and the main one decides.

Source: AWS Batch user guide, "Multi-node parallel jobs"; API_NodeProperties, API_NodeOverrides, API_NodeDetails.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wire_pipeline import Ask, Pipeline, Server, free_port, until

WAIT = 'until [ -e "{gate}" ]; do sleep 0.02; done'
REQUIRED = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}]
#: The main node takes a word from each of the others, at its own address; then it says them.
HEAR = """
import os, socket
own = os.environ.get("BATCHERY_NODE_IPV4_ADDRESS", "")
here = socket.create_server((own, 0))
open(os.environ["PORT"] + ".new", "w").write(str(here.getsockname()[1]))
os.rename(os.environ["PORT"] + ".new", os.environ["PORT"])
words = []
for _ in range(int(os.environ["AWS_BATCH_JOB_NUM_NODES"]) - 1):
    with here.accept()[0] as one:
        words.append(one.makefile().read())
print(*sorted(words), flush=True)
"""
SAY = """
import os, socket, time
while not os.path.exists(os.environ["PORT"]):
    time.sleep(0.02)
main = os.environ["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"]
own = os.environ.get("BATCHERY_NODE_IPV4_ADDRESS", "")
with socket.create_connection((main, int(open(os.environ["PORT"]).read())), source_address=(own, 0)) as there:
    there.sendall(f"{os.environ['AWS_BATCH_JOB_NODE_INDEX']}@{own}".encode())
"""


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for the tests of this file; each leaves it empty."""
    return Pipeline(server, tmp_path_factory.mktemp("queue")).queue(vcpus=8)


def container(*command: str, **members: Any) -> dict[str, Any]:
    return {"image": "busybox", "command": list(command), "resourceRequirements": REQUIRED, **members}


def define(pipeline: Pipeline, ranges: dict[str, dict[str, Any]], nodes: int = 3, main: int = 0, **members: Any) -> str:
    """``ranges``: targetNodes -> container."""
    properties = {
        "numNodes": nodes,
        "mainNode": main,
        "nodeRangeProperties": [{"targetNodes": target, "container": one} for target, one in ranges.items()],
    }
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName=f"nodes-{pipeline.folder.name}", type="multinode", nodeProperties=properties, **members
    )
    return str(reply["jobDefinitionArn"])


def gated(pipeline: Pipeline, gate: Path, then: str = "exit 0") -> dict[str, Any]:
    """Nodes touch GATE.<index>.<attempt>; the main one waits for the gate, then does ``then``; the others go on."""
    script = f': > "{gate}.$AWS_BATCH_JOB_NODE_INDEX.$AWS_BATCH_JOB_ATTEMPT"; '
    script += 'if [ "$AWS_BATCH_JOB_NODE_INDEX" = "$AWS_BATCH_JOB_MAIN_NODE_INDEX" ]; '
    script += f'then until [ -e "{gate}" ]; do sleep 0.02; done; {then}; else exec sleep 600; fi'
    return container("sh", "-c", script)


def all_run(pipeline: Pipeline, job: str, nodes: int = 3) -> None:
    refs = [f"{job}#{index}" for index in range(nodes)]
    until(lambda: {pipeline.status(ref) for ref in refs} == {"RUNNING"}, "all nodes run")


def talking(pipeline: Pipeline, engine: str) -> tuple[dict[str, Any], ...]:
    """A node that says a word to the main node, and one that hears three."""
    if "docker" in engine or "podman" in engine:  # busybox is all that their image has
        port = free_port()
        main, own = "$AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS", "$BATCHERY_NODE_IPV4_ADDRESS"
        say = f'until echo "$AWS_BATCH_JOB_NODE_INDEX@{own}" | nc "{main}" {port}; do sleep 0.1; done'
        hear = f': >/tmp/heard; nc -ll -p {port} -e sh -c "cat >>/tmp/heard" & '
        hear += "until [ $(wc -l </tmp/heard) = 3 ]; do sleep 0.1; done; sort /tmp/heard | xargs echo"
        return container("sh", "-c", say), container("sh", "-c", hear)
    environment = [{"name": "PORT", "value": str(pipeline.folder / "port")}]
    return tuple(container(sys.executable, "-c", what, environment=environment) for what in (SAY, HEAR))


def test_four_nodes_see_all_addresses(pipeline: Pipeline, queue: str, engine: str) -> None:
    say, hear = talking(pipeline, engine)
    job = pipeline.submit(queue, define(pipeline, {"0:": say, "1:1": hear}, nodes=4, main=1))
    seen = pipeline.wait(job, "SUCCEEDED")
    heard = pipeline.output(f"{job}#1")[0].split()
    assert [word.partition("@")[0] for word in heard] == ["0", "2", "3"]
    addresses = [word.partition("@")[2] for word in heard]
    if "slurm" in engine:  # the nodes of a cluster have addresses already
        assert addresses == [""] * 3
    else:
        assert len(set(addresses)) == 3
        assert all(address.startswith("127.") for address in addresses)
    assert seen["container"]["exitCode"] == 0
    assert pipeline.status(f"{job}#1") == "SUCCEEDED"  # the others may be stopped on their way out


def test_what_a_job_and_its_nodes_show(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    ranges = {"0:": gated(pipeline, gate)}
    job = pipeline.submit(queue, define(pipeline, ranges, nodes=3, main=2))
    all_run(pipeline, job)
    parent, node, main = (pipeline.job(ref) for ref in (job, f"{job}#0", f"{job}#2"))
    assert parent["status"] == "RUNNING"
    assert parent["nodeProperties"]["numNodes"] == 3
    assert parent["nodeProperties"]["mainNode"] == 2
    (shown,) = parent["nodeProperties"]["nodeRangeProperties"]
    assert shown["targetNodes"] == "0:"
    (asked,) = pipeline.batch.describe_job_definitions(jobDefinitions=[parent["jobDefinition"]])["jobDefinitions"]
    (defined,) = asked["nodeProperties"]["nodeRangeProperties"]
    for one in (shown["container"], defined["container"]):  # as of a definition of one container
        assert one["command"][0] == "sh"
        assert all(one[name] == [] for name in ("volumes", "environment", "mountPoints", "ulimits", "secrets"))
    assert "arrayProperties" not in parent
    assert "nodeDetails" not in parent
    assert parent["startedAt"] == main["startedAt"]
    assert node["jobId"] == f"{job}#0"
    assert node["jobArn"] == parent["jobArn"] + "#0"
    assert node["nodeDetails"] == {"nodeIndex": 0, "isMainNode": False}
    assert main["nodeDetails"] == {"nodeIndex": 2, "isMainNode": True}
    assert pipeline.batch.describe_jobs(jobs=[f"{job}:0", f"{job}#3"])["jobs"] == []
    listed = pipeline.batch.list_jobs(multiNodeJobId=job)["jobSummaryList"]
    assert [(one["jobId"], one["nodeProperties"]) for one in listed] == [
        (f"{job}#{index}", {"isMainNode": index == 2, "numNodes": 3, "nodeIndex": index}) for index in range(3)
    ]
    pages = pipeline.batch.get_paginator("list_jobs").paginate(multiNodeJobId=job, PaginationConfig={"PageSize": 2})
    assert [len(page["jobSummaryList"]) for page in pages] == [2, 1]
    assert pipeline.batch.list_jobs(arrayJobId=job)["jobSummaryList"] == []
    mine = [one for one in pipeline.batch.list_jobs(jobQueue=queue)["jobSummaryList"] if one["jobId"] == job]
    assert mine[0]["nodeProperties"] == {"numNodes": 3}
    gate.touch()
    ended = pipeline.wait(job, "SUCCEEDED")
    assert len(ended["attempts"]) == 1
    assert ended["statusReason"] == "Essential container in task exited"
    assert {pipeline.status(f"{job}#{index}") for index in (0, 1)} == {"FAILED"}
    after = pipeline.batch.list_jobs(multiNodeJobId=job, jobStatus="FAILED")["jobSummaryList"]
    assert [one["jobId"] for one in after] == [f"{job}#0", f"{job}#1"]


def test_variables_of_nodes(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    script = f'env | grep -E "^(AWS_BATCH_JOB|BATCHERY_NODE)" | sort; {WAIT.format(gate=gate)}'
    job = pipeline.submit(queue, define(pipeline, {"0:": container("sh", "-c", script)}, 2))
    all_run(pipeline, job, 2)
    main, other = (
        dict(line.split("=", 1) for line in until(lambda ref=ref: pipeline.output(ref), "it speaks"))
        for ref in (f"{job}#0", f"{job}#1")
    )
    gate.touch()
    assert main["AWS_BATCH_JOB_ID"] == f"{job}#0"
    assert other["AWS_BATCH_JOB_ID"] == f"{job}#1"
    for index, one in enumerate((main, other)):
        assert one["AWS_BATCH_JOB_NODE_INDEX"] == str(index)
        assert one["AWS_BATCH_JOB_NUM_NODES"] == "2"
        assert one["AWS_BATCH_JOB_MAIN_NODE_INDEX"] == "0"
        assert one["AWS_BATCH_JOB_ATTEMPT"] == "1"
        assert "AWS_BATCH_JOB_ARRAY_INDEX" not in one
    assert "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS" not in main
    expected = main.get("BATCHERY_NODE_IPV4_ADDRESS", "127.0.0.1")  # that of every node of the tests' cluster
    assert other["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] == expected
    pipeline.wait(job, "SUCCEEDED")


def test_a_child_that_dies_changes_nothing_and_the_main_nodes_code_decides(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    ranges = {"0:0": gated(pipeline, gate, "exit 7"), "1:": container("sh", "-c", "exit $AWS_BATCH_JOB_NODE_INDEX")}
    job = pipeline.submit(queue, define(pipeline, ranges))
    until(lambda: pipeline.status(f"{job}#2") == "FAILED", "a child has died")
    assert pipeline.status(job) == "RUNNING"
    assert pipeline.job(f"{job}#2")["container"]["exitCode"] == 2
    gate.touch()
    seen = pipeline.wait(job, "FAILED")
    assert seen["container"]["exitCode"] == 7
    assert [attempt["container"]["exitCode"] for attempt in seen["attempts"]] == [7]


def test_retries_run_every_node_again(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    ranges = {"0:": gated(pipeline, gate, "exit $((2 - AWS_BATCH_JOB_ATTEMPT))")}
    job = pipeline.submit(queue, define(pipeline, ranges), retryStrategy={"attempts": 2})
    all_run(pipeline, job)
    gate.touch()
    seen = pipeline.wait(job, "SUCCEEDED")
    assert [attempt["container"]["exitCode"] for attempt in seen["attempts"]] == [1, 0]
    assert len(pipeline.job(f"{job}#1")["attempts"]) == 2
    assert Path(f"{gate}.0.2").exists()
    assert all(Path(f"{gate}.{node}.1").exists() for node in range(3))


def test_overrides_and_a_larger_number_of_nodes(pipeline: Pipeline, queue: str) -> None:
    script = 'echo "$WORD $AWS_BATCH_JOB_NODE_INDEX of $AWS_BATCH_JOB_NUM_NODES"'
    one = container("sh", "-c", script, environment=[{"name": "WORD", "value": "given"}])
    waits = container("sh", "-c", f'{script}; until [ -e "{pipeline.folder}/all" ]; do sleep 0.02; done')
    definition = define(pipeline, {"0:0": waits, "1:": one}, nodes=2)
    overrides = {
        "numNodes": 4,
        "nodePropertyOverrides": [
            {
                "targetNodes": "1:",
                "instanceTypes": ["m5.large"],
                "containerOverrides": {"environment": [{"name": "WORD", "value": "sent"}]},
            }
        ],
    }
    job = pipeline.submit(queue, definition, nodeOverrides=overrides)
    until(lambda: {pipeline.status(f"{job}#{i}") for i in (1, 2, 3)} == {"SUCCEEDED"}, "the others have ended")
    (pipeline.folder / "all").touch()
    shown = pipeline.wait(job, "SUCCEEDED")["nodeProperties"]
    assert shown["numNodes"] == 4
    ranges = shown["nodeRangeProperties"]
    assert ranges[1]["container"]["environment"] == [{"name": "WORD", "value": "sent"}]
    assert ranges[1]["instanceTypes"] == ["m5.large"]
    assert [pipeline.output(f"{job}#{i}") for i in (1, 3)] == [["sent 1 of 4"], ["sent 3 of 4"]]


def test_all_or_nothing(pipeline: Pipeline) -> None:
    queue, gate, other = pipeline.queue(vcpus=3), pipeline.gate(), pipeline.gate()
    first = pipeline.submit(queue, pipeline.waiting(gate))
    pipeline.wait(first, "RUNNING")
    job = pipeline.submit(queue, define(pipeline, {"0:": gated(pipeline, other)}))
    until(lambda: pipeline.status(job) == "RUNNABLE", "it waits")
    assert {pipeline.status(f"{job}#{index}") for index in range(3)} == {"RUNNABLE"}
    assert not list(pipeline.folder.glob(f"{other.name}.*"))
    assert "number 1 of those ready" in pipeline.server.cli("why", job)
    gate.touch()
    all_run(pipeline, job)
    other.touch()
    pipeline.wait(job, "SUCCEEDED")


def test_a_time_limit_is_the_whole_jobs(pipeline: Pipeline, queue: str) -> None:
    definition = define(pipeline, {"0:": gated(pipeline, pipeline.gate())}, timeout={"attemptDurationSeconds": 2})
    job = pipeline.submit(queue, definition)
    assert pipeline.wait(job, "FAILED")["statusReason"] == "Job attempt duration exceeded timeout"
    assert {pipeline.status(f"{job}#{index}") for index in range(3)} == {"FAILED"}


@pytest.mark.parametrize("ask", [Ask("cancel"), Ask("terminate")], ids=str)
def test_cells_of_a_job_that_waits(pipeline: Pipeline, ask: Ask) -> None:
    queue, gate = pipeline.queue(vcpus=4, state="DISABLED"), pipeline.gate()
    runnable = pipeline.submit(queue, define(pipeline, {"0:": gated(pipeline, gate)}))
    pipeline.wait(runnable, "RUNNABLE")
    ask(pipeline, f"{runnable}#1", "a node")
    assert pipeline.status(runnable) == "RUNNABLE"
    waits = pipeline.submit(queue, define(pipeline, {"0:": gated(pipeline, gate)}), dependsOn=[{"jobId": runnable}])
    ask(pipeline, waits, "not now")
    seen = pipeline.job(waits)
    assert (seen["status"], seen[ask.flag]) == ("PENDING", True)
    ask(pipeline, runnable, "no more")
    for ref in (runnable, f"{runnable}#1"):
        ask.check(pipeline.wait(ref, "FAILED"), "no more")
    ask.check(pipeline.wait(waits, "FAILED"), "not now")


def test_cancel_of_a_running_job_has_no_effect(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    job = pipeline.submit(queue, define(pipeline, {"0:": gated(pipeline, gate)}))
    all_run(pipeline, job)
    for ref in (job, f"{job}#1", f"{job}#0"):
        Ask("cancel")(pipeline, ref, "no")
    assert "isCancelled" not in pipeline.job(job)
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")


def test_terminate_of_a_running_job_stops_every_node(pipeline: Pipeline, queue: str) -> None:
    job = pipeline.submit(
        queue, define(pipeline, {"0:": gated(pipeline, pipeline.gate())}), retryStrategy={"attempts": 3}
    )
    all_run(pipeline, job)
    ask = Ask("terminate")
    ask(pipeline, f"{job}#1", "this node")
    stopped = pipeline.wait(f"{job}#1", "FAILED")
    assert stopped["statusReason"] == "this node"
    assert pipeline.status(job) == "RUNNING"
    ask(pipeline, job, "enough")
    seen = pipeline.wait(job, "FAILED")
    ask.check(seen, "enough", attempts=1)
    assert pipeline.job(f"{job}#2")["statusReason"] == "enough"


def test_a_crash_in_the_middle_starts_no_node_twice(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    queue, gate = pipeline.queue(vcpus=8), pipeline.gate()
    script = f'echo x >> "{tmp_path}/ran.$AWS_BATCH_JOB_NODE_INDEX"; {WAIT.format(gate=gate)}'
    jobs = [pipeline.submit(queue, define(pipeline, {"0:": container("sh", "-c", script)}, nodes=4)) for _ in range(2)]
    until((tmp_path / "ran.0").exists, "a main node runs")
    server.kill()
    server.start()
    for job in jobs:
        all_run(pipeline, job, 4)
    gate.touch()
    for job in jobs:
        assert pipeline.wait(job, "SUCCEEDED")["attempts"][0]["container"]["exitCode"] == 0
    assert [(tmp_path / f"ran.{node}").read_text() for node in range(4)] == ["x\nx\n"] * 4


def define_ranges(pipeline: Pipeline, *ranges: dict[str, Any]) -> str:
    """Two nodes; ``ranges`` as they are sent."""
    properties = {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": list(ranges)}
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName=f"ranges-{pipeline.folder.name}", type="multinode", nodeProperties=properties
    )
    return str(reply["jobDefinitionArn"])


def test_nodes_of_several_containers(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    echo = {"name": "echo", **container("sh", "-c", 'echo "node $AWS_BATCH_JOB_NODE_INDEX"'), "essential": False}
    wait = {"name": "wait", **container("sh", "-c", f'{WAIT.format(gate=gate)}; test "$CODE" = 0')}
    several = {"taskProperties": [{"containers": [echo, wait]}]}
    definition = define_ranges(pipeline, {"targetNodes": "0:1", "ecsProperties": several})
    code = {"name": "wait", "environment": [{"name": "CODE", "value": "0"}]}
    override = {"targetNodes": "0:1", "ecsPropertiesOverride": {"taskProperties": [{"containers": [code]}]}}
    job = pipeline.submit(queue, definition, nodeOverrides={"nodePropertyOverrides": [override]})
    all_run(pipeline, job, 2)
    gate.touch()
    seen = pipeline.wait(job, "SUCCEEDED")
    main = {one["name"]: one for one in seen["ecsProperties"]["taskProperties"][0]["containers"]}
    assert (main["echo"]["exitCode"], main["wait"]["exitCode"]) == (0, 0)
    other = pipeline.job(f"{job}#1")["ecsProperties"]["taskProperties"][0]["containers"]
    stream = next(one["logStreamName"] for one in other if one["name"] == "echo")
    reply = pipeline.logs.get_log_events(logGroupName="/aws/batch/job", logStreamName=stream, startFromHead=True)
    assert [event["message"] for event in reply["events"]] == ["node 1"]


def test_nodes_that_are_pods(pipeline: Pipeline) -> None:
    name = f"eks-{pipeline.folder.name}"
    cluster = {"eksClusterArn": "arn:aws:eks:us-east-1:123456789012:cluster/c", "kubernetesNamespace": "batch"}
    resources = {
        "type": "EC2",
        "minvCpus": 0,
        "maxvCpus": 4,
        "allocationStrategy": "BEST_FIT_PROGRESSIVE",
        "instanceTypes": ["optimal"],
        "subnets": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
        "instanceRole": "ecsInstanceRole",
    }
    pipeline.batch.create_compute_environment(
        computeEnvironmentName=name, type="MANAGED", computeResources=resources, eksConfiguration=cluster
    )
    until(lambda: pipeline.environment(name)["status"] == "VALID", "the environment is VALID")
    queue, gate = pipeline.queue_on(name), pipeline.gate()
    pod = {
        "containers": [
            {
                "name": "one",
                "image": "busybox",
                "command": ["sh", "-c", f'{WAIT.format(gate=gate)}; test "$WORD" = sent'],
                "resources": {"requests": {"cpu": "1", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "16Mi"}},
            }
        ]
    }
    definition = define_ranges(pipeline, {"targetNodes": "0:1", "eksProperties": {"podProperties": pod}})
    env = {"containers": [{"name": "one", "env": [{"name": "WORD", "value": "sent"}]}]}
    override = {"targetNodes": "0:1", "eksPropertiesOverride": {"podProperties": env}}
    job = pipeline.submit(queue, definition, nodeOverrides={"nodePropertyOverrides": [override]})
    all_run(pipeline, job, 2)
    gate.touch()
    assert len(pipeline.wait(job, "SUCCEEDED")["eksAttempts"]) == 1


def test_each_node_holds_its_units(pipeline: Pipeline, queue: str) -> None:
    seats, gate = f"seats-{pipeline.folder.name}", pipeline.gate()
    pipeline.batch.create_consumable_resource(consumableResourceName=seats, totalQuantity=5)

    def units(count: int) -> dict[str, Any]:
        return {"consumableResourceList": [{"consumableResource": seats, "quantity": count}]}

    one = {"targetNodes": "0:0", "container": gated(pipeline, gate), "consumableResourceProperties": units(1)}
    other = {"targetNodes": "1:1", "container": gated(pipeline, gate), "consumableResourceProperties": units(2)}
    definition = define_ranges(pipeline, one, other)
    override = {"targetNodes": "1:1", "consumableResourcePropertiesOverride": units(3)}
    job = pipeline.submit(queue, definition, nodeOverrides={"nodePropertyOverrides": [override]})
    behind = pipeline.submit(queue, definition)
    all_run(pipeline, job, 2)
    assert pipeline.batch.describe_consumable_resource(consumableResource=seats)["inUseQuantity"] == 4
    assert pipeline.status(behind) == "RUNNABLE"
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")
    pipeline.wait(behind, "SUCCEEDED")
