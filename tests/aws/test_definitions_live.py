"""Job definitions: what each member does to jobs that really run, revisions and their numbers, and what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

ROLE = "arn:aws:iam::123456789012:role/execution"
SMALL = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}]
ON_FARGATE = [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "512"}]
FILES = "arn:aws:s3files:us-east-1:123456789012:file-system/fs-2"
FILES_POINT = f"{FILES}/access-point/fsap-2"


@pytest.fixture(scope="module")
def mounting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a host where file systems of AWS are mounted, as its settings say."""
    folder = tmp_path_factory.mktemp("mounting")
    mounts = {name: folder / "mnt" / name for name in ("efs", "point", "files", "files-point")}
    for name, path in mounts.items():
        (path / "jobs").mkdir(parents=True)
        (path / "who").write_text(f"{name}\n")
        (path / "jobs" / "who").write_text(f"jobs of {name}\n")
    settings = (
        f"[volumes.efs]\nfs-1 = '{mounts['efs']}'\nfsap-1 = '{mounts['point']}'\n"
        f"[volumes.s3files]\n'{FILES}' = '{mounts['files']}'\n'{FILES_POINT}' = '{mounts['files-point']}'\n"
    )
    made = Server(folder, "kill_grace = 2", settings)
    try:
        yield made.start()
    finally:
        made.end()


@pytest.fixture
def on_mounts(mounting: Server, tmp_path: Path) -> Pipeline:
    return Pipeline(mounting, tmp_path)


def register(pipeline: Pipeline, name: str, container: dict[str, Any] | None = None, **members: Any) -> str:
    given = {"image": "busybox", "command": ["true"], "resourceRequirements": SMALL, **(container or {})}
    properties = {member: value for member, value in given.items() if value is not None}
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties=properties, **members
    )
    assert reply["jobDefinitionName"] == name
    assert reply["jobDefinitionArn"].endswith(f":job-definition/{name}:{reply['revision']}")
    return str(reply["jobDefinitionArn"])


def refusal(pipeline: Pipeline, container: dict[str, Any] | None = None, **members: Any) -> str:
    with pytest.raises(ClientError) as caught:
        register(pipeline, "refused", container, **members)
    assert caught.value.response["Error"]["Code"] == "ClientException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return str(caught.value.response["Error"]["Message"])


def described(pipeline: Pipeline, **asked: Any) -> list[dict[str, Any]]:
    return list(pipeline.batch.describe_job_definitions(**asked)["jobDefinitions"])


# ------------------------------------------------------------------------------------------------ what definitions do


def test_command_variables_and_defaults_of_parameters(pipeline: Pipeline) -> None:
    seen = pipeline.folder / "seen"
    arn = register(
        pipeline,
        "greeting",
        {
            "command": ["sh", "-c", f'echo "$GREETING" Ref::whom > "{seen}"'],
            "environment": [{"name": "GREETING", "value": "moin"}],
        },
        parameters={"whom": "ada"},
    )
    pipeline.wait(pipeline.submit("default", arn), "SUCCEEDED")
    assert seen.read_text() == "moin ada\n"


def test_retries_and_the_time_limit_of_a_definition(pipeline: Pipeline) -> None:
    failing = register(pipeline, "failing", {"command": ["sh", "-c", "exit 3"]}, retryStrategy={"attempts": 3})
    assert len(pipeline.wait(pipeline.submit("default", failing), "FAILED")["attempts"]) == 3
    slow = register(pipeline, "slow", {"command": ["sleep", "600"]}, timeout={"attemptDurationSeconds": 1})
    job = pipeline.wait(pipeline.submit("default", slow), "FAILED")
    assert job["statusReason"] == "Job attempt duration exceeded timeout"


def test_resources_in_either_spelling_hold_jobs_back(pipeline: Pipeline) -> None:
    queue, gate = pipeline.queue(vcpus=2), pipeline.gate()
    wait = {"command": ["sh", "-c", f'while [ ! -e "{gate}" ]; do sleep 0.02; done']}
    legacy = register(pipeline, "legacy", {**wait, "resourceRequirements": None, "vcpus": 2, "memory": 16})
    first = pipeline.submit(queue, legacy)
    pipeline.wait(first, "RUNNING")
    shown = pipeline.job(first)["container"]
    assert (shown["vcpus"], shown["memory"]) == (2, 16)
    second = pipeline.submit(queue, register(pipeline, "small"))
    pipeline.wait(pipeline.submit("default", register(pipeline, "small")), "SUCCEEDED")
    assert pipeline.status(second) == "RUNNABLE"
    gate.touch()
    pipeline.wait(first, "SUCCEEDED")
    pipeline.wait(second, "SUCCEEDED")


def test_output_goes_to_the_group_and_stream_of_the_definition(pipeline: Pipeline) -> None:
    options = {"awslogs-group": "of-the-team", "awslogs-stream-prefix": "nightly", "awslogs-region": "us-east-1"}
    arn = register(
        pipeline,
        "logging",
        {"command": ["echo", "here"], "logConfiguration": {"logDriver": "awslogs", "options": options}},
    )
    stream = pipeline.wait(pipeline.submit("default", arn), "SUCCEEDED")["container"]["logStreamName"]
    assert stream.startswith("nightly/default/")

    def lines() -> list[str]:
        reply = pipeline.logs.get_log_events(logGroupName="of-the-team", logStreamName=stream, startFromHead=True)
        return [event["message"] for event in reply["events"]]

    until(lambda: lines() == ["here"], "its output is there")


def test_limits_of_the_process(pipeline: Pipeline) -> None:
    seen = pipeline.folder / "limits"
    arn = register(
        pipeline,
        "limited",
        {
            "command": ["sh", "-c", f'ulimit -Sn > "{seen}"; ulimit -Hn >> "{seen}"'],
            "ulimits": [{"name": "nofile", "softLimit": 123, "hardLimit": 234}],
        },
    )
    pipeline.wait(pipeline.submit("default", arn), "SUCCEEDED")
    assert seen.read_text().split() == ["123", "234"]


def test_the_host_s_directory(pipeline: Pipeline) -> None:
    data = pipeline.folder / "data"
    data.mkdir()
    (data / "input").write_text("input\n")
    arn = register(
        pipeline,
        "mounting",
        {
            "command": ["cp", f"{data}/input", f"{data}/output"],
            "volumes": [{"name": "data", "host": {"sourcePath": str(data)}}],
            "mountPoints": [{"sourceVolume": "data", "containerPath": str(data), "readOnly": False}],
        },
    )
    pipeline.wait(pipeline.submit("default", arn), "SUCCEEDED")
    assert (data / "output").read_text() == "input\n"


EFS = {"fileSystemId": "fs-1"}
POINT = {
    "fileSystemId": "fs-1",
    "transitEncryption": "ENABLED",
    "transitEncryptionPort": 2049,
    "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"},
}


@pytest.mark.parametrize(
    ("member", "config", "directory", "words"),
    [
        ("efsVolumeConfiguration", EFS, "efs", "efs"),
        ("efsVolumeConfiguration", {**EFS, "rootDirectory": "/jobs"}, "efs/jobs", "jobs of efs"),
        ("efsVolumeConfiguration", POINT, "point", "point"),
        (
            "s3filesVolumeConfiguration",
            {"fileSystemArn": FILES, "rootDirectory": "/jobs"},
            "files/jobs",
            "jobs of files",
        ),
        (
            "s3filesVolumeConfiguration",
            {"fileSystemArn": FILES, "accessPointArn": FILES_POINT, "transitEncryptionPort": 1},
            "files-point",
            "files-point",
        ),
    ],
)
def test_a_file_system_of_aws_is_where_the_settings_say(
    on_mounts: Pipeline, member: str, config: dict[str, Any], directory: str, words: str
) -> None:
    path = on_mounts.server.folder / "mnt" / directory
    volume = {"name": "shared", member: config}
    arn = register(
        on_mounts,
        "sharing",
        {
            "command": ["sh", "-c", f'cat "{path}/who" > "{on_mounts.folder}/who"'],
            "jobRoleArn": ROLE,
            "volumes": [volume],
            "mountPoints": [{"sourceVolume": "shared", "containerPath": str(path)}],
        },
    )
    job = on_mounts.submit("default", arn)
    assert on_mounts.wait(job, "SUCCEEDED")["container"]["volumes"] == [volume]
    assert (on_mounts.folder / "who").read_text() == f"{words}\n"


def test_a_file_system_that_is_not_mounted_here(on_mounts: Pipeline) -> None:
    arn = register(
        on_mounts,
        "elsewhere",
        {
            "volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-9"}}],
            "mountPoints": [{"sourceVolume": "v", "containerPath": "/data"}],
        },
    )
    with pytest.raises(ClientError, match="fs-9 is not mounted here"):
        on_mounts.submit("default", arn)


# ------------------------------------------------------------------------------------------------------- platforms


@pytest.fixture(scope="module")
def fargate(server: Server) -> str:
    """A queue on Fargate."""
    batch = server.client()
    resources = {"type": "FARGATE", "maxvCpus": 8, "subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    batch.create_compute_environment(
        computeEnvironmentName="on-fargate", type="MANAGED", state="ENABLED", computeResources=resources
    )

    def status() -> str:
        found = batch.describe_compute_environments(computeEnvironments=["on-fargate"])["computeEnvironments"]
        return str(found[0]["status"])

    until(lambda: status() == "VALID", "the environment is VALID")
    order = [{"order": 1, "computeEnvironment": "on-fargate"}]
    batch.create_job_queue(jobQueueName="on-fargate", priority=1, computeEnvironmentOrder=order)
    return "on-fargate"


def serverless(pipeline: Pipeline, name: str, **container: Any) -> str:
    given = {"executionRoleArn": ROLE, "resourceRequirements": ON_FARGATE, **container}
    return register(pipeline, name, given, platformCapabilities=["FARGATE"])


def test_a_definition_runs_where_its_platform_is(pipeline: Pipeline, fargate: str) -> None:
    given = {
        "networkConfiguration": {"assignPublicIp": "ENABLED"},
        "fargatePlatformConfiguration": {"platformVersion": "1.4.0"},
        "ephemeralStorage": {"sizeInGiB": 21},
        "runtimePlatform": {"operatingSystemFamily": "LINUX", "cpuArchitecture": "X86_64"},
        "enableExecuteCommand": True,
    }
    arn = serverless(pipeline, "serverless", **given)
    job = pipeline.wait(pipeline.submit(fargate, arn), "SUCCEEDED")
    assert job["platformCapabilities"] == ["FARGATE"]
    assert {member: job["container"][member] for member in given} == given
    plain = register(pipeline, "on-ec2", platformCapabilities=["EC2"])
    words = "Job Queue is attached to Compute Environment that can not run Jobs with capability "
    with pytest.raises(ClientError, match=f"{words}EC2."):
        pipeline.submit(fargate, plain)
    with pytest.raises(ClientError, match=f"{words}FARGATE."):
        pipeline.submit("default", arn)
    pipeline.wait(pipeline.submit("default", plain), "SUCCEEDED")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"vcpus": 1}, "vcpus is not applicable for Fargate. Use resource requirements instead."),
        ({"memory": 512}, "memory is not applicable for Fargate. Use resource requirements instead."),
        (
            {"resourceRequirements": [{"type": "MEMORY", "value": "8192"}]},
            "Fargate resource requirements (0.25 vCPU, 8192 MiB) not valid.",
        ),
        ({"resourceRequirements": [{"type": "GPU", "value": "1"}]}, "GPU is not applicable for Fargate."),
    ],
)
def test_overrides_on_fargate(pipeline: Pipeline, fargate: str, overrides: dict[str, Any], words: str) -> None:
    arn = serverless(pipeline, "overridden")
    with pytest.raises(ClientError) as caught:
        pipeline.submit(fargate, arn, containerOverrides=overrides)
    assert words in caught.value.response["Error"]["Message"]
    pair = [{"type": "VCPU", "value": "0.5"}, {"type": "MEMORY", "value": "1024"}]
    pipeline.wait(pipeline.submit(fargate, arn, containerOverrides={"resourceRequirements": pair}), "SUCCEEDED")


# ------------------------------------------------------------------------------------------------------ registering


def test_refusals_in_aws_words(pipeline: Pipeline) -> None:
    def wrapped(message: str) -> str:
        return f"Error executing request, Exception : {message}, RequestId: "

    def only(kind: str, value: str) -> dict[str, Any]:
        return {"resourceRequirements": [{"type": kind, "value": value}]}

    assert refusal(pipeline, only("MEMORY", "16")).startswith(wrapped("vCPU is not provided."))
    assert refusal(pipeline, only("VCPU", "1.0")) == (
        "Value 1.0 for type VCPU in resourceRequirement is not valid. Please provide a numeric value."
    )
    network = {"networkConfiguration": {"assignPublicIp": "DISABLED"}}
    assert refusal(pipeline, network).startswith(wrapped("networkConfiguration not applicable for EC2."))
    assert refusal(pipeline, {"user": "$(id"}).startswith(wrapped("User '$(id' does not match regex"))
    assert refusal(pipeline, retryStrategy={}).startswith(wrapped("RetryAttempts must be provided with retry strategy"))
    old = {
        "executionRoleArn": ROLE,
        "resourceRequirements": ON_FARGATE,
        "fargatePlatformConfiguration": {"platformVersion": "1.3.0"},
        "volumes": [{"name": "v", "efsVolumeConfiguration": EFS}],
    }
    assert refusal(pipeline, old, platformCapabilities=["FARGATE"]).startswith(
        wrapped("EFS is supported for Fargate platform version 1.4.0")
    )
    assert "executionRoleArn cannot be empty when using secrets or secretOptions" in refusal(
        pipeline, {"secrets": [{"name": "A", "valueFrom": "/a"}]}
    )
    assert "must be less than 24 KiB, got 25 KiB" in refusal(pipeline, parameters={"a": "x" * 24 * 1024})
    assert "length less than or equal to 50" in refusal(pipeline, tags={f"t{number}": "" for number in range(51)})
    with pytest.raises(ClientError, match="Container properties should not be empty"):
        pipeline.batch.register_job_definition(jobDefinitionName="empty", type="container")
    assert described(pipeline, jobDefinitionName="refused") == []


def test_revisions_and_their_numbers(pipeline: Pipeline) -> None:
    base = register(pipeline, "numbered", tags={"team": "ada"})[:-1]
    assert [register(pipeline, "numbered") for _ in range(2)] == [f"{base}2", f"{base}3"], "alike, and new all the same"
    gate = pipeline.gate()
    held = pipeline.submit("default", pipeline.waiting(gate))
    waiting = pipeline.submit("default", "numbered", dependsOn=[{"jobId": held}])
    pipeline.batch.deregister_job_definition(jobDefinition="numbered:3")
    assert pipeline.job(pipeline.submit("default", "numbered"))["jobDefinition"] == f"{base}2"
    with pytest.raises(ClientError, match="JobDefinition name numbered:3 does not exist or is not in ACTIVE status"):
        pipeline.submit("default", "numbered:3")
    for revision in (1, 2, 2):
        pipeline.batch.deregister_job_definition(jobDefinition=f"{base}{revision}")
    with pytest.raises(ClientError, match="JobDefinition name numbered does not exist or is not in ACTIVE status"):
        pipeline.submit("default", "numbered")
    gate.touch()
    assert pipeline.wait(waiting, "SUCCEEDED")["jobDefinition"] == f"{base}3", "what was submitted runs"
    assert register(pipeline, "numbered") == f"{base}4"
    with pytest.raises(ClientError, match="A revision must be given"):
        pipeline.batch.deregister_job_definition(jobDefinition="numbered")
    pipeline.batch.deregister_job_definition(jobDefinition="nobody:1")


def test_describing(pipeline: Pipeline) -> None:
    first = register(pipeline, "listed-a", {"environment": [{"name": "A", "value": "1"}]}, tags={"team": "ada"})
    arns = [register(pipeline, "listed-a"), register(pipeline, "listed-b")]
    pipeline.batch.deregister_job_definition(jobDefinition=first)

    def names(**asked: Any) -> list[str]:
        return [one["jobDefinitionArn"].rpartition("/")[2] for one in described(pipeline, **asked)]

    assert names(jobDefinitionName="listed-a") == ["listed-a:2", "listed-a:1"]
    assert names(jobDefinitionName="listed-a", status="ACTIVE") == ["listed-a:2"]
    assert names(jobDefinitionName="listed-a", status="INACTIVE") == ["listed-a:1"]
    assert names(jobDefinitions=["listed-a", arns[1], "listed-b:7", "nobody"]) == [
        "listed-a:2",
        "listed-a:1",
        "listed-b:1",
    ]
    inactive = described(pipeline, jobDefinitions=["listed-a:1"])[0]
    assert (inactive["status"], inactive["tags"]) == ("INACTIVE", {"team": "ada"})
    assert inactive["containerProperties"]["environment"] == [{"name": "A", "value": "1"}]
    found, token = [], {}
    while True:
        page = pipeline.batch.describe_job_definitions(maxResults=1, jobDefinitionName="listed-a", **token)
        assert len(page["jobDefinitions"]) == 1
        found += [one["revision"] for one in page["jobDefinitions"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == [2, 1]
    for other in ({"maxResults": 1}, {"status": "ACTIVE"}, {"jobDefinitionName": "listed-b"}, {"nextToken": "x"}):
        with pytest.raises(ClientError, match="cannot both be set"):
            described(pipeline, jobDefinitions=["listed-a"], **other)
    with pytest.raises(ClientError, match="status must be ACTIVE or INACTIVE"):
        described(pipeline, status="GONE")
