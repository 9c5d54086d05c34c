"""Secrets on every engine: a job has them, and nobody else finds them."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire_pipeline import Pipeline, Server, until

ROLE = "arn:aws:iam::123456789012:role/execution"
VALUE = "v4lue-6c1d 'quoted' $HOME"


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secrets")
    file = folder / "secrets.toml"
    file.touch(mode=0o600)
    file.write_text(f'"/token" = "{VALUE}"\nregistry = {{ username = "ci", password = "p4ss-2be0" }}\n')
    made = Server(folder, "kill_grace = 2", "[secrets]\nfile = 'secrets.toml'", engine)
    try:
        yield made.start()
    finally:
        made.end()


def submit(pipeline: Pipeline, name: str, script: str, **container: Any) -> str:
    given = {
        "image": "busybox",
        "command": ["sh", "-c", script],
        "executionRoleArn": ROLE,
        "linuxParameters": {"initProcessEnabled": True},
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
    }
    pipeline.batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties={**given, **container}
    )
    return pipeline.submit("default", name)


def holding(folder: Path, text: bytes) -> list[Path]:
    """Files with this text, which may go while they are looked for."""
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and text in path.read_bytes():
                found.append(path)
        except FileNotFoundError:
            continue
    return found


def test_a_job_has_its_secrets_and_nobody_else(pipeline: Pipeline, engine: str) -> None:
    gate, seen = pipeline.gate(), pipeline.folder / "seen"
    script = f'printf %s "$TOKEN" > "{seen}"; while [ ! -e "{gate}" ]; do sleep 0.02; done'
    job = submit(pipeline, "holding", script, secrets=[{"name": "TOKEN", "valueFrom": "/token"}])
    pipeline.wait(job, "RUNNING")
    until(lambda: seen.exists() and seen.read_text() == VALUE, "the job has it")
    shown = pipeline.job(job)["container"]
    assert shown["secrets"] == [{"name": "TOKEN", "valueFrom": "/token"}]
    assert shown["environment"] == []
    value = VALUE.partition(" ")[0].encode()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            assert value not in (place / "cmdline").read_bytes()
            environment = (place / "environ").read_bytes()
        except OSError:
            continue
        assert value not in environment or f"AWS_BATCH_JOB_ID={job}".encode() in environment, place
    for path in holding(pipeline.server.folder / "data", value):  # the order of a job on a cluster
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert "slurm" in engine, path
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")
    until(lambda: not holding(pipeline.server.folder / "data", value), "nothing of it is left")


def test_a_secret_that_is_not_there(pipeline: Pipeline) -> None:
    job = pipeline.wait(submit(pipeline, "lacking", "true", secrets=[{"name": "A", "valueFrom": "/no"}]), "FAILED")
    assert job["statusReason"] == "Task failed to start"
    assert job["container"]["reason"].startswith("ResourceInitializationError: unable to pull secrets or registry auth")
    assert job["attempts"][0]["container"]["reason"] == job["container"]["reason"]


def test_the_login_of_a_registry_is_a_secret_where_images_are_pulled(pipeline: Pipeline, engine: str) -> None:
    login = {"credentialsParameter": "registry"}
    pipeline.wait(submit(pipeline, "login", "true", repositoryCredentials=login), "SUCCEEDED")
    unknown = submit(pipeline, "no-login", "true", repositoryCredentials={"credentialsParameter": "unknown"})
    if "[container]" not in engine:
        pipeline.wait(unknown, "SUCCEEDED")
        return
    assert "failed to fetch secret unknown" in pipeline.wait(unknown, "FAILED")["container"]["reason"]
