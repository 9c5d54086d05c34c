"""A Slurm cluster to be broken, and the engine on it."""

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio
from tests.conformance.rigs import SlurmRig
from tests.outside.slurm import EVERY_DRIVER, HOWS

from batchery.core.messages import Exited

SLOW = 120.0


@pytest.fixture
def cluster(slurm):
    """The cluster, whole."""
    slurm.repair()
    yield slurm
    slurm.repair()


class ClusterRig(SlurmRig):
    """Over all nodes."""

    partition = "main"

    async def truth(self, condition, what):
        """Waits for it, with a deadline for what Slurm takes its time for."""
        async with asyncio.timeout(SLOW):
            while not condition():
                await asyncio.sleep(0.05)
        assert condition(), what

    async def ends(self, *orders):
        """Waits for the ends of these."""
        for order in orders:
            await self.truth(lambda order=order: self.of(order, Exited), f"{order.key} has ended")
        return [self.of(order, Exited)[0] for order in orders]

    def node_of(self, order):
        """Where it runs."""
        return self._started(order)[0]

    def slurm_id(self, order):
        """Slurm's number of what runs it."""
        return self._started(order)[1]

    def wrapper_of(self, order):
        """The process of the wrapper."""
        return int(Path(self.engine._spool.place(order.task_id), "claim").read_text().split()[1])

    def _started(self, order):
        return Path(self.engine._spool.place(order.task_id), "started").read_text().split()

    @staticmethod
    def alive_of(order):
        """Processes of an attempt."""
        mark = f"BATCHERY_ATTEMPT={order.key}\0".encode()
        found = []
        for proc in Path("/proc").iterdir():
            try:
                if proc.name.isdigit() and mark in (proc / "environ").read_bytes():
                    found.append(proc.name)
            except OSError:
                continue
        return found


@pytest.fixture(params=HOWS[:2] if EVERY_DRIVER else HOWS[:1])
def how(request):
    """How Slurm is spoken to."""
    return request.param


@pytest.fixture
def make_rig(how, cluster, tmp_path):
    """A rig on the cluster, not yet connected."""

    def make(**target) -> ClusterRig:
        one = ClusterRig(tmp_path)
        one.how, one.cluster = how, cluster
        one.target = target
        return one

    return make


@pytest_asyncio.fixture
async def rig(make_rig):
    one = make_rig()
    await one.connect()
    try:
        yield one
    finally:
        await one.tear_down()
