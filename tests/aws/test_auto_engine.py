"""`engine = "auto"` over the wire: image by image, and nobody has to guess which."""

from pathlib import Path

import pytest
from tests.outside.runtimes import Runtimes
from wire_pipeline import Pipeline, Server
from wire_training import Training

NO_IMAGE = "localhost:1/team/tool:1"


@pytest.fixture
def pipeline(runtimes: Runtimes, tmp_path: Path):
    settings = f"engine = 'auto'\n[container]\nsocket = '{runtimes.socket('docker')}'"
    server = Server(tmp_path, "kill_grace = 2", engine=settings)
    try:
        yield Pipeline(server.start(), tmp_path)
    finally:
        server.end()


def where(pipeline: Pipeline, image: str) -> str:
    """The job that says where it runs: busybox's image has nothing of Debian."""
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName="where",
        type="container",
        containerProperties={
            "image": image,
            "command": ["sh", "-c", "if [ -e /var/lib/dpkg ]; then echo host; else echo container; fi"],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
        },
    )
    return pipeline.submit("default", reply["jobDefinitionArn"])


def test_an_image_that_is_here_is_used_and_one_that_is_not_to_be_had_is_not_needed(pipeline: Pipeline) -> None:
    jobs = [where(pipeline, image) for image in ("busybox", NO_IMAGE, NO_IMAGE)]
    for job in jobs:
        assert pipeline.wait(job, "SUCCEEDED")["attempts"][0]["container"]["exitCode"] == 0
    assert [pipeline.output(job) for job in jobs] == [["container"], ["host"], ["host"]]
    said = [line for line in pipeline.server.log().splitlines() if NO_IMAGE in line and "cannot be had" in line]
    assert len(said) == 1


def test_jobs_on_the_host_go_on_without_the_server_too(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    definition = pipeline.waiting(gate, "exit 4")
    container = dict(pipeline.batch.describe_job_definitions(jobDefinitions=[definition])["jobDefinitions"][0])
    properties = container["containerProperties"] | {"image": NO_IMAGE}
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName="waiting", type="container", containerProperties=properties
    )
    job = pipeline.submit("default", reply["jobDefinitionArn"])
    pipeline.wait(job, "RUNNING")
    pipeline.server.kill()
    gate.touch()
    pipeline.server.start()
    assert pipeline.wait(job, "FAILED")["container"]["exitCode"] == 4


def test_a_training_job_finds_its_files_wherever_it_runs(pipeline: Pipeline) -> None:
    data = pipeline.folder / "bucket"
    data.mkdir()
    (data / "rows").write_text("1\n")
    channel = {"ChannelName": "x", "DataSource": {"S3DataSource": {"S3Uri": f"file://{data}"}}}
    training = Training(pipeline.server, pipeline.folder)
    queue = training.service_queue(training.service_environment())
    script = 'cp "$SM_CHANNEL_X/rows" "$SM_MODEL_DIR"; if [ ! -e /var/lib/dpkg ]; then '
    script += "cp /opt/ml/input/data/x/rows /opt/ml/model/box; fi"
    jobs = []
    for image in ("busybox", NO_IMAGE):
        algorithm = {"TrainingImage": image, "ContainerEntrypoint": ["sh", "-c", script]}
        jobs.append(
            training.train(queue, training.payload(AlgorithmSpecification=algorithm, InputDataConfig=[channel]))
        )
    for job, files in zip(jobs, (["box", "rows"], ["rows"]), strict=True):
        training.until(job, "SUCCEEDED")
        assert sorted(path.name for path in training.left(job).iterdir()) == files
