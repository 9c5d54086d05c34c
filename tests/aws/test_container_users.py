"""Servers of an ordinary user: with rootless Podman, and with a Docker whose socket the user's group may use."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.outside.runtimes import Runtimes
from tests.outside.user import NAME, User, UsersServer
from wire_pipeline import Ask, Pipeline, until
from wire_training import Training

GROUP = NAME  # of the same name as the user: nobody else is in it


def pipeline_of(server: UsersServer, name: str) -> Pipeline:
    folder = server.folder / name
    folder.mkdir()
    server.user.own(folder)
    return Pipeline(server, folder)


def new_folder(user: User, name: str) -> Path:
    folder = user.folder / name
    folder.mkdir()
    user.own(folder)
    return folder


@pytest.fixture
def rootless(user: User, request: pytest.FixtureRequest) -> Iterator[UsersServer]:
    server = UsersServer(user, new_folder(user, request.node.name[:30]), "engine = 'podman'\n[container]\n")
    try:
        yield server.start()
    finally:
        server.end()


@pytest.fixture
def opened(user: User, runtimes: Runtimes) -> Iterator[Path]:
    """Docker's socket, for the user's group; the way there is open."""
    socket = runtimes.socket("docker")
    before = runtimes.folder.stat().st_mode
    os.chmod(runtimes.folder, 0o711)
    os.chown(socket, 0, user.entry.pw_gid)
    os.chmod(socket, 0o660)
    try:
        yield socket
    finally:
        os.chown(socket, 0, 0)
        os.chmod(runtimes.folder, before)


def runs_and_ends(pipeline: Pipeline) -> list[str]:
    """A job that succeeds, one that fails with its own code, one that is terminated, one that is waited for; what the
    first says of itself."""
    folder = pipeline.folder
    gate = pipeline.gate()
    first = pipeline.submit("default", pipeline.definition(["sh", "-c", f"id -u; echo x >{folder}/made"]))
    failing = pipeline.submit("default", pipeline.definition(["sh", "-c", "exit 7"]))
    running = pipeline.submit("default", pipeline.waiting(gate))
    pipeline.wait(first, "SUCCEEDED")
    assert pipeline.wait(failing, "FAILED")["container"]["exitCode"] == 7
    until(gate.with_name(f"{gate.name}.{running}.started").exists, "it runs")
    ask = Ask("terminate")
    ask(pipeline, running, "enough")
    ask.check(pipeline.wait(running, "FAILED"), "enough", attempts=1)
    return pipeline.output(first)


def _trained(server: UsersServer, folder: Path) -> Path:
    """What a training job has left in its model."""
    training = Training(server, folder)
    algorithm = {"TrainingImage": "busybox", "ContainerEntrypoint": ["sh", "-c", "id -u >/opt/ml/model/user"]}
    queue = training.service_queue(training.service_environment())
    job = training.train(queue, training.payload(AlgorithmSpecification=algorithm))
    training.until(job, "SUCCEEDED")
    return training.left(job) / "user"


def test_rootless_podman_whose_service_the_server_runs(rootless: UsersServer, user: User) -> None:
    pipeline = pipeline_of(rootless, "jobs")
    assert runs_and_ends(pipeline) == ["0"]  # root inside,
    assert (pipeline.folder / "made").stat().st_uid == user.entry.pw_uid  # the user outside
    assert "Jobs are containers of podman" in rootless.log()
    assert "(rootless)" in rootless.log()
    assert _trained(rootless, pipeline.folder).stat().st_uid == user.entry.pw_uid


def test_what_a_rootless_server_left_is_found_again_and_the_service_ends_with_the_last(rootless: UsersServer) -> None:
    pipeline = pipeline_of(rootless, "jobs")
    gate = pipeline.gate()
    job = pipeline.submit("default", pipeline.waiting(gate, "exit 4"))
    until(gate.with_name(f"{gate.name}.{job}.started").exists, "it runs")
    service = int((rootless.folder / "data" / "podman.pid").read_text())
    rootless.kill()
    rootless.start()
    assert int((rootless.folder / "data" / "podman.pid").read_text()) == service
    gate.touch()
    assert pipeline.wait(job, "FAILED")["container"]["exitCode"] == 4
    rootless.stop()
    until(lambda: not os.path.exists(f"/proc/{service}"), "the service has ended")


def test_docker_for_the_group_of_its_socket(user: User, opened: Path) -> None:
    settings = f"engine = 'docker'\n[container]\nsocket = '{opened}'"
    server = UsersServer(user, new_folder(user, "docker"), settings)
    try:
        server.start()
        pipeline = pipeline_of(server, "jobs")
        assert runs_and_ends(pipeline) == ["0"]
        assert (pipeline.folder / "made").stat().st_uid == 0  # the group is root in all but name
        assert _trained(server, pipeline.folder).stat().st_uid == 0
    finally:
        server.end()


def test_who_may_not_use_the_socket_is_told_so(user: User, opened: Path) -> None:
    os.chmod(opened, 0o600)
    server = UsersServer(user, new_folder(user, "refused"), f"engine = 'docker'\n[container]\nsocket = '{opened}'")
    process = server.spawn()
    try:
        assert process.wait(60) != 0
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        raise
    assert "is not ours to use: be in its group (`docker`), or run Podman rootless" in server.log()
