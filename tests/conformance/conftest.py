"""Engines to be tested, each behind a rig of rigs.py."""

import asyncio

import pytest
import pytest_asyncio
from tests.conformance.podding import Pods
from tests.conformance.rigs import (
    AutoRig,
    BareRig,
    ContainerRig,
    DockerRig,
    FakeRig,
    PodmanRig,
    ProcessRig,
    QueueRig,
    Rig,
    SlurmRig,
    alive,
)
from tests.outside.slurm import EVERY_DRIVER, HOWS

from batchery.config import Process
from batchery.engines.local import LocalEngine

CONTAINER_RIGS = {"docker": DockerRig, "podman": PodmanRig}
RIGS = {"fake": FakeRig, "fake-queue": QueueRig, "process": ProcessRig, "process-without-cgroups": BareRig}
RIGS |= CONTAINER_RIGS | {"auto": AutoRig, "slurm": SlurmRig}
RIGS |= {f"slurm-{how}": type(how, (SlurmRig,), {"how": how}) for how in HOWS[1 : 3 if EVERY_DRIVER else 2]}


def _find_outside(request, rig: Rig) -> None:
    """What the engine speaks to, started if it is not there yet."""
    if isinstance(rig, ContainerRig):
        rig.socket = request.getfixturevalue("runtimes").socket(rig.kind)
    elif isinstance(rig, SlurmRig):
        rig.cluster = request.getfixturevalue("slurm")


async def _use(rig: Rig, settings: dict):
    rig.settings = settings
    await rig.connect()
    try:
        yield rig
    finally:
        await rig.tear_down()


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory):
    """A data directory for each kind of agent, so that not every test starts one."""
    kinds = {name: kind for name, kind in RIGS.items() if kind in (ProcessRig, BareRig)}
    places = {name: tmp_path_factory.mktemp(name) for name in kinds}
    yield places
    for name in kinds:
        asyncio.run(LocalEngine(places[name], Process(), logs_dir=places[name]).stop_agent())


@pytest_asyncio.fixture(params=RIGS)
async def rig(request, tmp_path, shared_data):
    """Every engine in turn."""
    kind = RIGS[request.param]
    made = kind(tmp_path, shared_data[request.param]) if request.param in shared_data else kind(tmp_path)
    _find_outside(request, made)
    async for one in _use(made, {}):
        yield one


@pytest.fixture
def settings():
    """[process], overridden by `@pytest.mark.parametrize("settings", [...])`."""
    return {}


@pytest_asyncio.fixture(params=["process", "process-without-cgroups"])
async def host(request, tmp_path, settings, shared_data):
    """The process engine."""
    async for one in _use(RIGS[request.param](tmp_path, shared_data[request.param]), settings):
        yield one


@pytest_asyncio.fixture(params=["process", "process-without-cgroups"])
async def own_host(request, tmp_path, settings):
    """The process engine with an agent of its own, to be killed."""
    async for one in _use(RIGS[request.param](tmp_path), settings):
        yield one


@pytest_asyncio.fixture(params=CONTAINER_RIGS)
async def box(request, tmp_path, settings):
    """The container engine, on each runtime."""
    made = CONTAINER_RIGS[request.param](tmp_path)
    _find_outside(request, made)
    async for one in _use(made, settings):
        yield one


@pytest.fixture
def is_alive():
    return alive


#: What a driver for Slurm does is the same for every job.
POD_RIGS = ["process", "process-without-cgroups", *CONTAINER_RIGS, "slurm"]


@pytest_asyncio.fixture(params=POD_RIGS)
async def pods(request, tmp_path, shared_data):
    """Every engine that runs several containers, with a way to make orders of them."""
    kind = RIGS[request.param]
    made = kind(tmp_path, shared_data[request.param]) if request.param in shared_data else kind(tmp_path)
    _find_outside(request, made)
    async for one in _use(made, {}):
        yield Pods(one)
