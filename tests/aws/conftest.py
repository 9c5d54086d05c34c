"""Fixtures of the tests over the wire."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import judging
import pytest
from tests.outside.runtimes import ENGINES, Runtimes
from tests.outside.slurm import EVERY_DRIVER, Cluster
from wire_pipeline import PROLOG, Pipeline, Server

judging.install()

#: Files whose tests run on other engines than host processes, or not on these alone.
ON_ENGINES = {
    "test_cancel_single": ("process", *ENGINES, "slurm"),
    "test_cancel_arrays": ("process", *ENGINES, "slurm"),
    "test_job_endpoints": ("process", *ENGINES, "slurm"),
    "test_jobs": ("process", "slurm"),
    "test_multinode": ("process", "docker", "slurm"),
    "test_readme": ("process", "slurm"),
    "test_readme_containers": ENGINES,
    "test_containers": ENGINES,
    "test_container_images": ENGINES,
    "test_secrets_engines": ("process", *ENGINES, "slurm"),
    "test_container_crash": ENGINES,
    "test_container_network": ENGINES,
    "test_pods_containers": ENGINES,
    "test_services_engines": ("process", *ENGINES, "slurm", "slurm-images"),
}


PODMAN_FILES = {"CONF": "containers", "STORAGE_CONF": "storage"}
#: Files whose rules know no engine: on host processes, and by BATCHERY_TEST_ENGINES=all on what else there is.
ON_ALL = (
    "test_arrays",
    "test_consumables_live",
    "test_dependencies",
    "test_fairshare_live",
    "test_queues_live",
    "test_retries",
)

if os.environ.get("BATCHERY_TEST_ENGINES") == "all":
    ON_ENGINES |= dict.fromkeys(ON_ALL, ("process", *ENGINES, "slurm"))
if EVERY_DRIVER:
    ON_ENGINES |= {name: (*kinds, "slurm-rest") for name, kinds in ON_ENGINES.items()}


@pytest.fixture(autouse=True)
def judged() -> Iterator[None]:
    """No test passes with an answer that was not as the model says, wherever it was asked."""
    before = len(judging.PROBLEMS)
    yield
    assert not judging.PROBLEMS[before:], "\n".join(dict.fromkeys(judging.PROBLEMS[before:]))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    engines = ON_ENGINES.get(metafunc.module.__name__.rpartition(".")[2])
    if engines and "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", engines, indirect=True, scope="module")


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> str:
    """What runs the jobs: settings of a server."""
    kind = getattr(request, "param", "process")
    if kind == "process":
        return "engine = 'process'"
    if kind == "slurm-images":
        return _in_images_of_nodes(request.getfixturevalue("slurm"), request.getfixturevalue("runtimes"))
    if kind.startswith("slurm"):
        cluster: Cluster = request.getfixturevalue("slurm")
        spoken = cluster.spoken(kind.partition("-")[2] or "commands")
        return "engine = 'slurm'\n[slurm]\n" + "\n".join(f"{name} = '{value}'" for name, value in spoken.items())
    runtimes: Runtimes = request.getfixturevalue("runtimes")
    return f"engine = {kind!r}\n[container]\nsocket = '{runtimes.socket(kind)}'"


def _in_images_of_nodes(cluster: Cluster, runtimes: Runtimes) -> str:
    """Slurm whose nodes start jobs in containers of Podman."""
    settings = [f"CONTAINERS_{name}={runtimes.folder}/{file}.conf" for name, file in PODMAN_FILES.items()]
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]  # root of a container may not raise any
    volume = f"--volume={Path(tempfile.gettempdir())}:{Path(tempfile.gettempdir())}"
    run = ["podman", "run", "--rm", "--init", "--network=host", *limits, volume]
    words = ["/usr/bin/env", *settings, *run, "{environment}", "{mounts}", "{entrypoint}", "{image}"]
    return f"engine = 'slurm'\n[slurm]\nconf = '{cluster.conf}'\ncontainer = {words}"


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a file."""
    made = Server(tmp_path_factory.mktemp("server"), "kill_grace = 2", PROLOG, engine)
    try:
        yield made.start()
    finally:
        made.end()


@pytest.fixture
def own_server(engine: str, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers for one test: they may be killed."""
    made: list[Server] = []

    def make(settings: str = "kill_grace = 2", process: str = "", before: Callable[[Server], object] = bool) -> Server:
        folder = tmp_path / f"server-{len(made)}"
        folder.mkdir()
        made.append(Server(folder, settings, process, engine))
        before(made[-1])
        return made[-1].start()

    try:
        yield make
    finally:
        for one in made:
            one.end()


@pytest.fixture
def pipeline(server: Server, tmp_path: Path) -> Pipeline:
    return Pipeline(server, tmp_path)
