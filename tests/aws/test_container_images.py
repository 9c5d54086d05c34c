"""Images from a registry with a password, over the wire: what users see of pulls that fail, are slow, are ended."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.outside.registry import PASSWORD, USER, Registry
from wire_pipeline import Ask, Pipeline, Server, until

_tags = itertools.count(1)


@pytest.fixture
def private(own_server: Callable[..., Server], registry: Registry, tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    """A server that knows a password of the registry."""

    def make(password: str = PASSWORD, more: str = "") -> Pipeline:
        known = f"[container.registries.'{registry.host}']\nusername = '{USER}'\npassword = '{password}'\n{more}\n"
        return Pipeline(own_server("kill_grace = 2", known), tmp_path)

    yield make
    registry.door.set()


def define(pipeline: Pipeline, image: str, **container: Any) -> str:
    needs = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}]
    properties = {"image": image, "resourceRequirements": needs, **container}
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName="private", type="container", containerProperties=properties
    )
    return str(reply["jobDefinitionArn"])


def new_image(registry: Registry, says: str, *more: str) -> str:
    return registry.push(f"team/box:{os.getpid()}-{next(_tags)}", says, *more)


def test_the_image_has_its_entry_point_its_command_and_its_environment(
    private: Callable[..., Pipeline], registry: Registry
) -> None:
    pipeline = private()
    image = new_image(
        registry, "of the image", 'ENTRYPOINT ["env", "A=of the entry point"]', "ENV B=one C=two", "WORKDIR /tmp"
    )
    plain = pipeline.submit("default", define(pipeline, image))
    pipeline.wait(plain, "SUCCEEDED")
    assert pipeline.output(plain) == ["of the image"]
    environment = [{"name": "C", "value": "of the job"}]
    script = 'echo "$A; $B; $C"; pwd'
    own = pipeline.submit("default", define(pipeline, image, command=["sh", "-c", script], environment=environment))
    pipeline.wait(own, "SUCCEEDED")
    assert pipeline.output(own) == ["of the entry point; one; of the job", "/tmp"]


def test_a_wrong_password_is_told_and_retries_see_it(private: Callable[..., Pipeline], registry: Registry) -> None:
    pipeline = private("wrong")
    definition = define(pipeline, new_image(registry, "never"))
    rules = [{"onReason": "CannotPullContainerError*", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
    job = pipeline.submit("default", definition, retryStrategy={"attempts": 2, "evaluateOnExit": rules})
    seen = pipeline.wait(job, "FAILED")
    assert seen["statusReason"] == "Task failed to start"
    assert len(seen["attempts"]) == 2
    for container in (seen["container"], *(attempt["container"] for attempt in seen["attempts"])):
        assert container["reason"].startswith("CannotPullContainerError: Error response from daemon: ")
        assert "unauthorized: authentication required" in container["reason"]
        assert "exitCode" not in container


def test_a_definition_brings_its_own_credentials(
    private: Callable[..., Pipeline], registry: Registry, tmp_path: Path
) -> None:
    values = tmp_path / "secrets.toml"
    values.touch(0o600)
    values.write_text(f'registry = {{ username = "{USER}", password = "{PASSWORD}" }}\n')
    pipeline = private("wrong", f"[secrets]\nfile = '{values}'")
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:registry-AbCdEf"
    image = new_image(registry, "with its own")
    credentials = {"credentialsParameter": arn}
    role = "arn:aws:iam::123456789012:role/execution"
    job = pipeline.submit("default", define(pipeline, image, repositoryCredentials=credentials, executionRoleArn=role))
    pipeline.wait(job, "SUCCEEDED")
    assert pipeline.output(job) == ["with its own"]


def test_a_slow_pull_is_starting_cancel_leaves_it_and_terminate_ends_it(
    private: Callable[..., Pipeline], registry: Registry
) -> None:
    pipeline = private()
    slow = define(pipeline, new_image(registry, "slow"))
    registry.door.clear()
    cancelled, terminated = pipeline.submit("default", slow), pipeline.submit("default", slow)
    for job in (cancelled, terminated):
        assert "startedAt" not in pipeline.wait(job, "STARTING")
    until(lambda: registry.knocked.acquire(blocking=False), "the pull has come to the registry")
    cancel, terminate = Ask("cancel"), Ask("terminate")
    cancel(pipeline, cancelled, "too late")
    terminate(pipeline, terminated, "now")
    terminate.check(pipeline.wait(terminated, "FAILED"), "now", attempts=1)
    assert pipeline.status(cancelled) == "STARTING"
    registry.door.set()
    seen = pipeline.wait(cancelled, "SUCCEEDED")
    assert "isCancelled" not in seen
    assert seen["statusReason"] == "Essential container in task exited"
