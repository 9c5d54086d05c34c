"""Three engines in one server, each for the compute environments that the settings name: host processes, containers,
a Slurm cluster."""

from pathlib import Path
from typing import Any

import pytest
from tests.outside.runtimes import Runtimes
from tests.outside.slurm import Cluster
from wire_pipeline import Pipeline, Server, until
from wire_training import Training

WHERE = """
place=process
if [ "$ECS_CONTAINER_METADATA_URI_V4" ]; then place=docker; fi
if [ "$SLURM_JOB_ID" ]; then place=slurm; fi
echo "$place $AWS_BATCH_CE_NAME $AWS_EXECUTION_ENV"
while [ ! -e "{gate}" ]; do sleep 0.05; done
"""


@pytest.fixture(scope="module")
def engine(runtimes: Runtimes, slurm: Cluster) -> str:
    return (
        "engine = 'process'\n[engines.names]\n'far-*' = 'slurm'\n'boxes-*' = 'docker'\n"
        "[engines.kinds]\nFARGATE = 'docker'\n"
        f"[slurm]\nconf = '{slurm.conf}'\n[slurm.environments.'far-apart*']\noptions = ['--ntasks-per-node=1']\n"
        f"[container]\nsocket = '{runtimes.socket('docker')}'"
    )


class Places:
    """A queue on an environment of each engine; jobs there say where they are, and wait for a gate."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.gate = pipeline, pipeline.gate()
        name = pipeline.folder.name.replace("[", "-").replace("]", "")
        fargate = {"type": "FARGATE", "maxvCpus": 4, "subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}
        ec2 = {
            "type": "EC2",
            "minvCpus": 0,
            "maxvCpus": 4,
            "instanceTypes": ["optimal"],
            "instanceRole": "role",
            "subnets": ["subnet-1"],
            "securityGroupIds": ["sg-1"],
        }
        kinds = {
            "process": (f"near-{name}", ec2),
            "docker": (f"fargate-{name}", fargate),
            "slurm": (f"far-{name}", ec2),
        }
        self.names = {place: named for place, (named, _) in kinds.items()}
        for named, resources in kinds.values():
            pipeline.batch.create_compute_environment(
                computeEnvironmentName=named, type="MANAGED", computeResources=resources
            )
            until(lambda named=named: pipeline.environment(named)["status"] == "VALID", f"{named} is VALID")
        self.queues = {place: pipeline.queue_on(named) for place, named in self.names.items()}
        self.definitions = {place: self._definition(place) for place in kinds}

    def _definition(self, place: str) -> str:
        name = f"where-{place}"
        container: dict[str, Any] = {
            "image": "busybox",
            "command": ["sh", "-c", WHERE.format(gate=self.gate)],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
        }
        members: dict[str, Any] = {}
        if place == "docker":
            container["resourceRequirements"] = [
                {"type": "VCPU", "value": "0.25"},
                {"type": "MEMORY", "value": "512"},
            ]
            container["executionRoleArn"] = "arn:aws:iam::123456789012:role/execution"
            members["platformCapabilities"] = ["FARGATE"]
        return str(
            self.pipeline.batch.register_job_definition(
                jobDefinitionName=name, type="container", containerProperties=container, **members
            )["jobDefinitionArn"]
        )

    def submit(self) -> dict[str, str]:
        """A job at each place, all of them running."""
        jobs = {place: self.pipeline.submit(self.queues[place], self.definitions[place]) for place in self.queues}
        for job in jobs.values():
            self.pipeline.wait(job, "RUNNING")
        return jobs


@pytest.fixture
def places(pipeline: Pipeline) -> Places:
    return Places(pipeline)


def test_each_environment_s_jobs_run_on_its_own_engine(places: Places) -> None:
    pipeline = places.pipeline
    jobs = places.submit()
    places.gate.touch()
    for place, job in jobs.items():
        pipeline.wait(job, "SUCCEEDED")
        kind = "AWS_ECS_FARGATE" if place == "docker" else "AWS_ECS_EC2"
        assert pipeline.output(job) == [f"{place} {places.names[place]} {kind}"]


def test_a_service_job_is_composed_for_the_engine_of_its_environment(server: Server, tmp_path: Path) -> None:
    training = Training(server, tmp_path)
    script = f'echo "$SM_MODEL_DIR" >>"{tmp_path}/where"; echo "${{SLURM_JOB_ID:+slurm}}" >"$SM_MODEL_DIR/place"'
    algorithm = {"TrainingImage": "busybox", "ContainerEntrypoint": ["sh", "-c", script]}
    jobs = {}
    for name in ("boxes", "far", "near"):
        environment = training.service_environment(name=f"{name}-{tmp_path.name[:8]}")
        queue = training.service_queue(environment)
        jobs[name] = training.train(queue, training.payload(AlgorithmSpecification=algorithm))
    for job in jobs.values():
        training.until(job, "SUCCEEDED")
    places = {name: (training.left(job) / "place").read_text().strip() for name, job in jobs.items()}
    assert places == {"boxes": "", "far": "slurm", "near": ""}
    seen = (tmp_path / "where").read_text().split()
    assert sorted(seen) == sorted(["/opt/ml/model", str(training.left(jobs["far"])), str(training.left(jobs["near"]))])


def test_hosts_of_a_training_job_have_nodes_of_a_cluster(server: Server, tmp_path: Path) -> None:
    training = Training(server, tmp_path)
    queue = training.service_queue(training.service_environment(5, name="far-apart"))
    script = 'echo "$SLURMD_NODENAME" >"$SM_MODEL_DIR/node"; cp "$BATCHERY_HOSTS_FILE" "$SM_MODEL_DIR"; '
    script += f'until [ -e "{tmp_path}/gate" ]; do sleep 0.1; done; test "$SM_CURRENT_HOST" != "$SM_HP_FAILS"'
    algorithm = {"TrainingImage": "busybox", "ContainerEntrypoint": ["sh", "-c", script]}
    jobs = [training.train(queue, training.payload(3, AlgorithmSpecification=algorithm))]
    training.until(jobs[0], "RUNNING")
    failing = training.payload(2, AlgorithmSpecification=algorithm, hyper={"FAILS": "algo-2"})
    jobs.append(training.train(queue, failing))
    training.until(jobs[1], "SCHEDULED", "RUNNING")
    (tmp_path / "gate").touch()
    training.until(jobs[0], "SUCCEEDED")
    models = [training.left(jobs[0]).parents[1] / base / "ml/model" for base in ("", "algo-2", "algo-3")]
    assert {(model / "node").read_text().strip() for model in models} == {"n1", "n2", "n3"}
    for model in models:
        lines = [line.split() for line in (model / "hosts").read_text().splitlines()]
        assert lines == [["127.0.0.1", f"algo-{number}"] for number in (1, 2, 3)]  # so are the nodes of this cluster
    reason = "Received status from SageMaker: AlgorithmError: exit code: 1"
    assert training.until(jobs[1], "FAILED")["statusReason"] == reason


def test_a_service_job_that_its_engine_has_not_begun_is_scheduled(
    server: Server, slurm: Cluster, tmp_path: Path
) -> None:
    """Slurm has a queue of its own, and keeps them waiting there."""
    training = Training(server, tmp_path)
    queue = training.service_queue(training.service_environment(name=f"far-{tmp_path.name[:16]}"))
    algorithm = {"TrainingImage": "busybox", "ContainerEntrypoint": ["true"]}
    slurm.say("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        job, never = (training.train(queue, training.payload(AlgorithmSpecification=algorithm)) for _ in range(2))
        seen = training.until(job, "SCHEDULED")
        assert seen["scheduledAt"] >= seen["createdAt"]
        assert "startedAt" not in seen
        assert seen["latestAttempt"]["serviceResourceId"]["name"] == "TrainingJobArn"
        until(lambda: training.seen(job).get("statusReason"), "Slurm says why it waits")
        training.until(never, "SCHEDULED")
        assert training.listed(queue, jobStatus="SCHEDULED") == [never, job]
        assert training.listed(queue, jobStatus="RUNNABLE") == []
        snapshot = training.batch.get_job_queue_snapshot(jobQueue=queue)
        assert snapshot["frontOfQueue"]["jobs"] == []
        used = snapshot["queueUtilization"]["totalCapacityUsage"]
        assert used == [{"capacityUnit": "ml.m5.large", "quantity": 2.0}]
        training.batch.terminate_service_job(jobId=never, reason="not needed")
        ended = training.until(never, "FAILED")
        assert (ended["statusReason"], ended["attempts"]) == ("not needed", [])
    finally:
        slurm.say("scontrol", "update", "PartitionName=main", "State=UP")
    training.until(job, "SUCCEEDED")
    assert training.listed(queue, jobStatus="SCHEDULED") == []


def test_a_job_spills_over_from_one_engine_to_the_next(places: Places) -> None:
    pipeline = places.pipeline
    pipeline.set_environment(places.names["process"], computeResources={"maxvCpus": 1})
    queue = pipeline.queue_on(places.names["process"], places.names["slurm"])
    jobs = [pipeline.submit(queue, places.definitions["process"]) for _ in range(2)]
    for job in jobs:
        pipeline.wait(job, "RUNNING")
    places.gate.touch()
    for job in jobs:
        pipeline.wait(job, "SUCCEEDED")
    assert sorted(pipeline.output(job)[0].split()[0] for job in jobs) == ["process", "slurm"]


def test_a_crash_leaves_all_of_them_running_and_each_can_be_ended(server: Server, places: Places) -> None:
    pipeline = places.pipeline
    go_on, end = places.submit(), places.submit()
    server.kill()
    server.start()
    for job in end.values():
        assert pipeline.status(job) == "RUNNING"
        pipeline.batch.terminate_job(jobId=job, reason="enough")
    for job in end.values():
        assert pipeline.wait(job, "FAILED")["statusReason"] == "enough"
    places.gate.touch()
    for job in go_on.values():
        found = pipeline.wait(job, "SUCCEEDED")
        assert len(found["attempts"]) == 1, "it was not run again"


def test_an_engine_that_is_away_shows_where_its_environments_are_alone(
    places: Places, slurm: Cluster, tmp_path: Path
) -> None:
    pipeline = places.pipeline
    slurm.kill("slurmctld")
    try:
        waits = pipeline.submit(places.queues["slurm"], places.definitions["slurm"])
        far, near = places.names["slurm"], places.names["process"]
        healthy = "ComputeEnvironment Healthy"
        until(lambda: pipeline.environment(far)["statusReason"] != healthy, "the environment says what is wrong")
        assert pipeline.environment(near)["statusReason"] == healthy
        job = pipeline.submit(places.queues["process"], places.definitions["process"])
        pipeline.wait(job, "RUNNING")
        assert pipeline.status(waits) == "RUNNABLE"
    finally:
        slurm.up()
    pipeline.wait(waits, "RUNNING")
    places.gate.touch()
    for one in (job, waits):
        pipeline.wait(one, "SUCCEEDED")
