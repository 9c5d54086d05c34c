"""Secrets of job definitions: jobs that really get them, from moto's Secrets Manager and Parameter Store and from a
file, and nowhere else a trace of them."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from motoserver import Moto
from wire_pipeline import Pipeline, Server, until

ROLE = "arn:aws:iam::123456789012:role/execution"
PLAIN, OLD, TOKEN, FAR = "pl4in-7f3a", "0ld-93bd", "t0ken-51ce", "f4r-2a9e"
VALUES = (PLAIN, OLD, TOKEN, FAR, "us3r-c41d", "p4ss-88aa", "fr0m-file-11bb")


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as made:
        yield made


@pytest.fixture(scope="module")
def stored(moto: Moto) -> dict[str, str]:
    """What there is, by a short name: references."""
    secrets, parameters = moto.client("secretsmanager"), moto.client("ssm")
    plain = secrets.create_secret(Name="team/plain", SecretString=OLD)["ARN"]
    secrets.put_secret_value(SecretId=plain, SecretString=PLAIN)
    login = {"user": "us3r-c41d", "password": "p4ss-88aa", "port": 5432}
    keyed = secrets.create_secret(Name="db", SecretString=json.dumps(login))["ARN"]
    binary = secrets.create_secret(Name="binary", SecretBinary=b"\1\2")["ARN"]
    parameters.put_parameter(Name="/team/token", Value=TOKEN, Type="SecureString")
    parameters.put_parameter(Name="top", Value=TOKEN, Type="String")
    moto.client("ssm", "eu-west-1").put_parameter(Name="/far/away", Value=FAR, Type="String")
    arn = "arn:aws:ssm:{}:123456789012:parameter{}"
    return {
        "plain": plain,
        "keyed": keyed,
        "binary": binary,
        "parameter": arn.format("us-east-1", "/team/token"),
        "top": arn.format("us-east-1", "/top"),
        "far": arn.format("eu-west-1", "/far/away"),
    }


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory, moto: Moto) -> Iterator[Server]:
    """A server that knows moto and a file."""
    folder = tmp_path_factory.mktemp("keeping")
    write_secrets(folder, '"/local/token" = "fr0m-file-11bb"\n')
    made = Server(folder, "kill_grace = 2", secrets_settings(moto.url))
    try:
        yield made.start()
    finally:
        made.end()


def secrets_settings(endpoint: str) -> str:
    """[secrets], after the settings of the engine under test."""
    return f"[secrets]\nfile = 'secrets.toml'\nendpoint = '{endpoint}'\ntries = 2\ntimeout = 2\n"


def write_secrets(folder: Path, text: str) -> None:
    file = folder / "secrets.toml"
    file.touch(mode=0o600)
    file.write_text(text)


@pytest.fixture
def pipeline(keeping: Server, tmp_path: Path) -> Pipeline:
    return Pipeline(keeping, tmp_path)


def register(pipeline: Pipeline, name: str, script: str, secrets: dict[str, str], **members: Any) -> str:
    container = {
        "image": "busybox",
        "command": ["sh", "-c", script],
        "executionRoleArn": ROLE,
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
        "secrets": [{"name": variable, "valueFrom": reference} for variable, reference in secrets.items()],
        **members.pop("container", {}),
    }
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties=container, **members
    )
    return str(reply["jobDefinitionArn"])


def run(pipeline: Pipeline, name: str, secrets: dict[str, str], **members: Any) -> dict[str, str]:
    """What a job finds in its environment."""
    seen = pipeline.folder / f"{name}.env"
    definition = register(pipeline, name, f'env > "{seen}"', secrets)
    pipeline.wait(pipeline.submit("default", definition, **members), "SUCCEEDED")
    return dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)


def failure(pipeline: Pipeline, name: str, reference: str) -> str:
    """container.reason of a job whose secret cannot be had."""
    ran = pipeline.folder / "ran"
    job = pipeline.wait(pipeline.submit("default", register(pipeline, name, f": > {ran}", {"A": reference})), "FAILED")
    assert job["statusReason"] == "Task failed to start"
    assert "startedAt" not in job
    assert "exitCode" not in job["container"]
    assert not ran.exists()
    return str(job["container"]["reason"])


def test_a_job_gets_the_values(pipeline: Pipeline, stored: dict[str, str]) -> None:
    found = run(
        pipeline,
        "values",
        {
            "WHOLE": stored["plain"],
            "BEFORE": f"{stored['plain']}::AWSPREVIOUS:",
            "DB_USER": f"{stored['keyed']}:user::",
            "DB_PASSWORD": f"{stored['keyed']}:password",
            "DB_PORT": f"{stored['keyed']}:port",
            "BY_ARN": stored["parameter"],
            "BY_NAME": "/team/token",
            "TOP": stored["top"],
            "FAR": stored["far"],
            "LOCAL": "/local/token",
        },
        containerOverrides={"environment": [{"name": "WHOLE", "value": "overridden"}]},
    )
    assert {name: found[name] for name in ("WHOLE", "BEFORE", "DB_USER", "DB_PASSWORD", "DB_PORT")} == {
        "WHOLE": PLAIN,
        "BEFORE": OLD,
        "DB_USER": "us3r-c41d",
        "DB_PASSWORD": "p4ss-88aa",
        "DB_PORT": "5432",
    }
    assert [found[name] for name in ("BY_ARN", "BY_NAME", "TOP", "FAR")] == [TOKEN, TOKEN, TOKEN, FAR]
    assert found["LOCAL"] == "fr0m-file-11bb"


def test_a_version_by_its_id(pipeline: Pipeline, stored: dict[str, str], moto: Moto) -> None:
    versions = moto.client("secretsmanager").list_secret_version_ids(SecretId=stored["plain"])["Versions"]
    old = next(one["VersionId"] for one in versions if "AWSPREVIOUS" in one.get("VersionStages", []))
    assert run(pipeline, "by-id", {"A": f"{stored['plain']}:::{old}"})["A"] == OLD


def test_a_secret_is_read_when_the_job_starts(pipeline: Pipeline, moto: Moto) -> None:
    secrets = moto.client("secretsmanager")
    arn = secrets.create_secret(Name="turning", SecretString="first")["ARN"]
    definition = register(pipeline, "turning", f'echo "$A" >> "{pipeline.folder}/turned"', {"A": arn})
    pipeline.wait(pipeline.submit("default", definition), "SUCCEEDED")
    secrets.put_secret_value(SecretId=arn, SecretString="second")
    pipeline.wait(pipeline.submit("default", definition), "SUCCEEDED")
    assert (pipeline.folder / "turned").read_text().split() == ["first", "second"]


def test_each_container_of_a_task_gets_its_own(pipeline: Pipeline, stored: dict[str, str]) -> None:
    def container(name: str, secrets: dict[str, str]) -> dict[str, Any]:
        return {
            "name": name,
            "image": "busybox",
            "command": ["sh", "-c", f'echo "$A" > "{pipeline.folder}/{name}"'],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
            "secrets": [{"name": variable, "valueFrom": reference} for variable, reference in secrets.items()],
        }

    containers = [container("first", {"A": stored["plain"]}), container("second", {"A": f"{stored['keyed']}:user"})]
    after = [{"containerName": one["name"], "condition": "SUCCESS"} for one in containers]
    last = {**container("third", {}), "dependsOn": after}
    task = {"executionRoleArn": ROLE, "containers": [*({**one, "essential": False} for one in containers), last]}
    pipeline.batch.register_job_definition(
        jobDefinitionName="several", type="container", ecsProperties={"taskProperties": [task]}
    )
    pipeline.wait(pipeline.submit(pipeline.queue(vcpus=4), "several"), "SUCCEEDED")
    found = {name: (pipeline.folder / name).read_text().strip() for name in ("first", "second", "third")}
    assert found == {"first": PLAIN, "second": "us3r-c41d", "third": ""}


def test_children_of_an_array_get_them_too(pipeline: Pipeline, stored: dict[str, str]) -> None:
    script = f'echo "$A" > "{pipeline.folder}/child-$AWS_BATCH_JOB_ARRAY_INDEX"'
    definition = register(pipeline, "children", script, {"A": stored["plain"]})
    pipeline.wait(pipeline.submit("default", definition, arrayProperties={"size": 5}), "SUCCEEDED")
    assert {(pipeline.folder / f"child-{index}").read_text() for index in range(5)} == {f"{PLAIN}\n"}


def test_references_are_shown_and_values_are_not(pipeline: Pipeline, stored: dict[str, str]) -> None:
    gate = pipeline.gate()
    script = f': > "{gate}.up"; while [ ! -e "{gate}" ]; do sleep 0.02; done'
    wanted = {"A": stored["plain"], "B": f"{stored['keyed']}:password", "C": "/local/token"}
    options = [{"name": "splunk-token", "valueFrom": "/team/token"}]
    definition = register(
        pipeline,
        "shown",
        script,
        wanted,
        container={"logConfiguration": {"logDriver": "awslogs", "secretOptions": options}},
    )
    job = pipeline.submit("default", definition)
    until(Path(f"{gate}.up").exists, "the job runs")
    running = pipeline.job(job)
    assert {one["name"]: one["valueFrom"] for one in running["container"]["secrets"]} == wanted
    assert running["container"]["environment"] == []
    assert running["container"]["logConfiguration"]["secretOptions"] == options
    ps = b"".join(line for line in all_command_lines())
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")
    told = json.dumps(pipeline.batch.describe_jobs(jobs=[job]), default=str) + json.dumps(running)
    told += json.dumps(pipeline.batch.describe_job_definitions(jobDefinitions=[definition]))
    told += pipeline.server.cli("jobs") + pipeline.server.log()
    told += json.dumps(pipeline.server.client("cloudtrail").lookup_events(), default=str)
    for value in VALUES:
        assert value not in told
        assert value.encode() not in ps
        assert not files_with(pipeline.server.folder / "data", value.encode())


def all_command_lines() -> Iterator[bytes]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            yield Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue


def files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


ASM = (
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
    "unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret {} from "
    "secrets manager: "
)


def test_a_secret_that_is_not_there(pipeline: Pipeline, stored: dict[str, str]) -> None:
    unknown = "arn:aws:secretsmanager:us-east-1:123456789012:secret:unknown-AbCdEf"
    assert failure(pipeline, "unknown", unknown).startswith(f"{ASM.format(unknown)}ResourceNotFoundException: ")
    keyed = stored["keyed"]
    assert failure(pipeline, "no-key", f"{keyed}:no-such").startswith(
        f"{ASM.format(keyed)}retrieved secret from Secrets Manager did not contain json key no-such"
    )
    assert failure(pipeline, "no-json", f"{stored['plain']}:user").startswith(f"{ASM.format(stored['plain'])}its text")
    assert "only texts" in failure(pipeline, "binary", stored["binary"])
    assert failure(pipeline, "no-parameter", "/no/such").endswith(
        "unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid ssm parameters: /no/such"
    )


def test_retry_rules_see_the_reason(pipeline: Pipeline) -> None:
    rules = {
        "attempts": 3,
        "evaluateOnExit": [
            {"onReason": "ResourceInitializationError*", "onStatusReason": "Task failed to start", "action": "RETRY"},
            {"onReason": "*", "action": "EXIT"},
        ],
    }
    definition = register(pipeline, "again", "true", {"A": "/not/yet"}, retryStrategy=rules)
    job = pipeline.wait(pipeline.submit("default", definition), "FAILED")
    assert len(job["attempts"]) == 3
    assert all("invalid ssm parameters: /not/yet" in one["container"]["reason"] for one in job["attempts"])


def test_a_file_that_has_changed_is_read_again(pipeline: Pipeline) -> None:
    definition = register(pipeline, "late", f'echo "$A" > "{pipeline.folder}/late"', {"A": "/late"})
    pipeline.wait(pipeline.submit("default", definition), "FAILED")
    file = pipeline.server.folder / "secrets.toml"
    before = file.read_text()
    file.write_text(f'{before}"/late" = "here"\n')
    pipeline.wait(pipeline.submit("default", definition), "SUCCEEDED")
    assert (pipeline.folder / "late").read_text() == "here\n"
    file.chmod(0o644)
    job = pipeline.wait(pipeline.submit("default", definition), "FAILED")
    assert "can be used by others than its owner" in job["container"]["reason"]
    file.chmod(0o600)


def silent_server() -> socket.socket:
    """It takes connections and never answers."""
    return socket.create_server(("127.0.0.1", 0))


def test_waiting_for_a_secret_holds_back_nobody_and_can_be_terminated(
    own_server: Callable[..., Server], tmp_path: Path
) -> None:
    with silent_server() as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = f"[secrets]\nendpoint = '{endpoint}'\ntries = 1\ntimeout = 60\n"
        server = own_server("kill_grace = 2", settings)
        pipeline = Pipeline(server, tmp_path)
        definition = register(pipeline, "silent", "true", {"A": "/a"})
        queue = pipeline.queue()
        cancelled, terminated = pipeline.submit(queue, definition), pipeline.submit(queue, definition)
        free = pipeline.submit(queue, pipeline.definition(["true"]))
        pipeline.wait(free, "SUCCEEDED")
        pipeline.batch.terminate_job(jobId=terminated, reason="enough")
        assert pipeline.wait(terminated, "FAILED")["statusReason"] == "enough"
        pipeline.batch.cancel_job(jobId=cancelled, reason="no more")
        seen = pipeline.wait(cancelled, "FAILED")
        assert (seen["statusReason"], seen["attempts"]) == ("no more", [])


def test_a_crash_while_a_secret_is_awaited_runs_the_job_once(own_server: Callable[..., Server], tmp_path: Path) -> None:
    with silent_server() as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server = own_server("kill_grace = 2", f"[secrets]\nendpoint = '{endpoint}'\ntries = 1\ntimeout = 60\n")
        pipeline = Pipeline(server, tmp_path)
        job = pipeline.submit("default", register(pipeline, "crash", f'echo "$A" >> "{tmp_path}/ran"', {"A": "/a"}))
        asked, _ = silent.accept()
        server.kill()
        asked.close()
    write_secrets(server.folder, '"/a" = "after"\n')
    server.config.write_text(server.config.read_text().replace("[secrets]", "[secrets]\nfile = 'secrets.toml'"))
    server.start()
    pipeline.wait(job, "SUCCEEDED")
    assert (tmp_path / "ran").read_text() == "after\n"


def test_a_service_that_does_not_answer(own_server: Callable[..., Server], tmp_path: Path) -> None:
    settings = "[secrets]\nendpoint = 'http://127.0.0.1:9'\ntries = 2\ntimeout = 2\nallow = ['/a*']\n"
    pipeline = Pipeline(own_server("kill_grace = 2", settings), tmp_path)
    reason = failure(pipeline, "nobody", "/a")
    assert "service call has been retried 2 time(s): EndpointConnectionError" in reason
    assert "AccessDeniedException: the setting secrets.allow" in failure(pipeline, "not-allowed", "/b")


def test_without_a_source(server: Server, tmp_path: Path) -> None:
    assert "no source of secrets is configured" in failure(Pipeline(server, tmp_path), "no-source", "/a")
