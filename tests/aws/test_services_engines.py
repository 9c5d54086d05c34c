"""SageMaker's container contract on every engine: what a training script finds, leaves and is told, how it is ended.

Sources: SageMaker developer guide, "How SageMaker provides training information", "processes training output", "signals
algorithm success and failure".
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.outside.runtimes import Runtimes
from wire_pipeline import Server, until
from wire_training import TRAIN, Training

#: An entry point of an image: a script that the job names, with the arguments that the container gets.
ENTRY = ["sh", "-c", 'exec sh "$SCRIPT" "$@"', "entry"]
#: What a script in a container sees; it may not write to its data, and knows the network's other hosts by name.
BOX = """
test "$1" = train
test -f /opt/ml/input/config/resourceconfig.json
if echo x 2>/dev/null >/opt/ml/input/data/training/x; then echo "data can be written"; fi
cat /opt/ml/input/data/training/rows.csv >/opt/ml/model/seen
id -u >/opt/ml/model/user
"""
#: One that is told to end, and saves what it has.
SAVE = """
trap 'echo saved >"$SM_MODEL_DIR/saved"; exit 0' TERM
: >"$GATE.$SM_CURRENT_HOST"
while [ ! -e "$GATE" ]; do sleep 0.05; done
"""
#: Each host says its name to algo-1, by its address; algo-1 hears them.
HOSTS = """
address() { while read -r a n; do if [ "$n" = "$1" ]; then echo "$a"; fi; done <"$BATCHERY_HOSTS_FILE"; }
cp "$SM_INPUT_CONFIG_DIR/resourceconfig.json" "$BATCHERY_HOSTS_FILE" "$SM_MODEL_DIR"
test "$(address "$SM_CURRENT_HOST")" = "$BATCHERY_NODE_IPV4_ADDRESS"
if [ -n "$RESOLVES" ]; then grep -q "^$(address algo-2)[[:space:]].*algo-2" /etc/hosts; fi
echo "here is $SM_CURRENT_HOST"
: >"$GATE.$SM_CURRENT_HOST"
until [ -e "$GATE" ]; do sleep 0.05; done
if [ "$SM_CURRENT_HOST" = "$FAILS" ]; then printf 'no luck' >"$SM_OUTPUT_DIR/failure"; exit 7; fi
trap 'exit 0' TERM
while [ -n "$FAILS" ]; do sleep 0.05; done
"""


@pytest.fixture(scope="module")
def image(engine: str, request: pytest.FixtureRequest) -> str:
    """An image with an entry point of its own, where there are images."""
    kind = next((kind for kind in ("docker", "podman") if kind in engine), "")
    if not kind:
        return "trainer:1"
    runtimes: Runtimes = request.getfixturevalue("runtimes")
    change = f"ENTRYPOINT {json.dumps(ENTRY)}"
    command = ["import", "--change", change, str(runtimes.folder / "busybox.tar"), "localhost/trainer:1"]
    environment = {
        **os.environ,
        "DOCKER_HOST": f"unix://{runtimes.socket('docker')}",
        "CONTAINERS_CONF": str(runtimes.folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(runtimes.folder / "storage.conf"),
    }
    done = subprocess.run([kind, *command], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return "localhost/trainer:1"


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    rows = folder / "bucket" / "in"
    rows.mkdir(parents=True)
    (rows / "rows.csv").write_text("1,2\n")
    process = f"""
[process.images."trainer:*"]
entrypoint = {json.dumps(ENTRY)}
[services.data]
"s3://bucket/data" = "{folder}/bucket"
[services.environments."*"]
memory = 16
stop_timeout = 20
"""
    made = Server(folder, "kill_grace = 2", "", engine)
    made.config.write_text(made.config.read_text() + process)
    try:
        yield made.start()
    finally:
        made.end()


class Engines(Training):
    """Training jobs whose image runs the script that they name."""

    image = ""
    boxed = False

    def job(self, script: str, queue: str, count: int = 1, **members: object) -> str:
        path = self.folder / f"script-{len(list(self.folder.iterdir()))}"
        path.write_text("set -e\n" + script)
        environment = {"SCRIPT": str(path), "GATE": str(self.folder / "gate"), **members.pop("variables", {})}
        algorithm = {"TrainingImage": self.image, "TrainingInputMode": "File", **members.pop("algorithm", {})}
        payload = self.payload(count, Environment=environment, AlgorithmSpecification=algorithm, **members)
        return self.train(queue, payload)

    def said(self, job: str, host: str = "algo-1") -> list[str]:
        """What a host has written."""
        name = self.seen(job)["latestAttempt"]["serviceResourceId"]["value"].rpartition("/")[2]
        where = {"logGroupName": "/aws/sagemaker/TrainingJobs"}
        streams = self.logs.describe_log_streams(**where, logStreamNamePrefix=f"training/{host}/{name[-32:]}")
        stream = streams["logStreams"][0]["logStreamName"]
        events = self.logs.get_log_events(**where, logStreamName=stream, startFromHead=True)["events"]
        return [event["message"] for event in events]


@pytest.fixture
def training(server: Server, engine: str, image: str, tmp_path: Path) -> Engines:
    made = Engines(server, tmp_path)
    made.image, made.boxed = image, "localhost" in image
    return made


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    made = Training(server, tmp_path_factory.mktemp("queue"))
    return made.service_queue(made.service_environment(8))


CHANNEL = {
    "ChannelName": "training",
    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/in"}},
}


def test_what_a_training_job_finds_and_leaves(training: Engines, queue: str) -> None:
    script = (BOX if training.boxed else "") + TRAIN
    job = training.job(script, queue, hyper={"RATE": "0.5"}, InputDataConfig=[CHANNEL], variables={"COLOUR": "blue"})
    failing = training.job(TRAIN, queue, hyper={"FAILS": "bad rows"})
    own = {"ContainerEntrypoint": ["sh", "-c", 'echo "$0 $1" >$SM_MODEL_DIR/own'], "ContainerArguments": ["a", "b"]}
    other = training.job("exit 9", queue, algorithm=own)
    seen = training.until(job, "SUCCEEDED", "FAILED")
    assert seen["status"] == "SUCCEEDED", (seen["statusReason"], training.said(job))
    left = training.left(job)
    assert json.loads((left / "hyperparameters.json").read_text()) == {"RATE": "0.5"}
    assert json.loads((left / "resourceconfig.json").read_text())["hosts"] == ["algo-1"]
    assert (left / "rows.csv").read_text() == "1,2\n"
    assert (left / "rows.csv").stat().st_uid == os.geteuid()
    assert (left / "request.json").read_text() == seen["serviceRequestPayload"]
    name = seen["latestAttempt"]["serviceResourceId"]["value"].rpartition("/")[2]
    assert training.said(job) == [f"{name} on algo-1, attempt 1, rate 0.5, colour blue"]
    if training.boxed:
        assert ((left / "seen").read_text(), (left / "user").read_text()) == ("1,2\n", "0\n")
    failed = training.until(failing, "FAILED")
    assert failed["statusReason"] == "Received status from SageMaker: AlgorithmError: bad rows, exit code: 3"
    training.until(other, "SUCCEEDED")
    assert (training.left(other) / "own").read_text() == "a b\n"


def test_a_stopped_job_has_its_time_to_save(training: Engines, queue: str) -> None:
    stopped = training.job(SAVE, queue)
    late = training.job(
        SAVE, queue, StoppingCondition={"MaxRuntimeInSeconds": 5}, variables={"GATE": f"{training.folder}/late"}
    )
    until((training.folder / "gate.algo-1").exists, "it runs")
    training.until(stopped, "RUNNING")
    training.batch.terminate_service_job(jobId=stopped, reason="enough")
    assert training.until(stopped, "FAILED")["statusReason"] == "enough"
    assert (training.left(stopped) / "saved").read_text() == "saved\n"
    assert training.until(late, "FAILED")["statusReason"] == "Job attempt duration exceeded timeout"
    assert (training.left(late) / "saved").read_text() == "saved\n"


def test_every_instance_is_a_host(training: Engines, queue: str, engine: str) -> None:
    """One job to the outside: its hosts begin together, know each other, and each has files of its own."""
    gate = training.folder / "gate"
    groups = [
        {"InstanceGroupName": "first", "InstanceType": "ml.m5.large", "InstanceCount": 1},
        {"InstanceGroupName": "second", "InstanceType": "ml.m5.large", "InstanceCount": 2},
    ]
    names = [f"algo-{number}" for number in (1, 2, 3)]
    variables = {"RESOLVES": "1"} if "socket" in engine else {}  # not in containers that nodes start
    job = training.job(HOSTS, queue, ResourceConfig={"InstanceGroups": groups}, variables=variables)
    for name in names:
        until(Path(f"{gate}.{name}").exists, f"{name} runs")
    seen = training.until(job, "RUNNING")
    assert training.listed(queue) == [job]
    assert seen["capacityUsage"] == [{"capacityUnit": "ml.m5.large", "quantity": 3.0}]
    gate.touch()
    seen = training.until(job, "SUCCEEDED", "FAILED")
    assert seen["status"] == "SUCCEEDED", (seen["statusReason"], [training.said(job, name) for name in names])
    assert len(seen["attempts"]) == 1
    root = training.left(job).parents[1]
    for name in names:
        model = root / ("" if name == "algo-1" else name) / "ml" / "model"
        config = json.loads((model / "resourceconfig.json").read_text())
        assert (config["current_host"], config["hosts"]) == (name, names)
        assert config["current_group_name"] == ("first" if name == "algo-1" else "second")
        assert [group["hosts"] for group in config["instance_groups"]] == [names[:1], names[1:]]
        assert [line.split()[1] for line in (model / "hosts").read_text().splitlines()] == names
        assert training.said(job, name) == [f"here is {name}"]


def test_the_first_host_that_fails_ends_the_others(training: Engines, queue: str) -> None:
    gate = training.folder / "gate"
    job = training.job(HOSTS, queue, 2, variables={"FAILS": "algo-2"})
    for name in ("algo-1", "algo-2"):
        until(Path(f"{gate}.{name}").exists, f"{name} runs")
    gate.touch()
    seen = training.until(job, "FAILED")
    assert seen["statusReason"] == "Received status from SageMaker: AlgorithmError: no luck, exit code: 7"
    stopped = training.job(SAVE, queue, 2, variables={"GATE": f"{training.folder}/stop"})
    for name in ("algo-1", "algo-2"):
        until((training.folder / f"stop.{name}").exists, f"{name} runs")
    training.until(stopped, "RUNNING")
    training.batch.terminate_service_job(jobId=stopped, reason="enough")
    assert training.until(stopped, "FAILED")["statusReason"] == "enough"
    root = training.left(stopped).parents[1]
    assert all((root / base / "ml/model/saved").exists() for base in ("", "algo-2"))
