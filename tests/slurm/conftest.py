"""A Slurm cluster of three nodes to be broken, and the engine on it."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
import pytest_asyncio
from tests.conformance.conftest import SlurmRig
from tools.slurmtest import lacking

TOOL = Path(__file__).parents[2] / "tools" / "slurm"
FAST = ("--set", "SlurmdTimeout=8", "--set", "SlurmctldTimeout=10", "--set", "MaxJobCount=2000")


class Cluster:
    """Daemons by their pid files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = str(folder / "etc" / "slurm.conf")

    def up(self) -> None:
        """Also what was killed comes up again."""
        subprocess.run([TOOL, "up", self.folder, "--mem", "1000", *FAST], check=True, stdout=subprocess.DEVNULL)

    def repair(self) -> None:
        """As an administrator does after "Duplicate jobid"."""
        self.up_daemons()
        if "drain" in self.say("sinfo", "-h", "-o", "%T"):
            self.say("scontrol", "update", "NodeName=n[1-3]", "State=RESUME")
        self.up()

    def up_daemons(self) -> None:
        """What is not there comes up; drained nodes may stay so."""
        command = [TOOL, "up", self.folder, "--mem", "1000", *FAST]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def down(self) -> None:
        subprocess.run([TOOL, "down", self.folder], check=True)

    def kill(self, daemon: str) -> None:
        """SIGKILL to slurmctld, or slurmd.n1."""
        os.kill(int((self.folder / "run" / f"{daemon}.pid").read_text()), signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """slurmd, the daemons of its steps, and what runs there."""
        self.kill(f"slurmd.{node}")
        mine = f"SLURMD_NODENAME={node}".encode()
        conf = f"SLURM_CONF={self.conf}".encode()
        found = []
        for proc in Path("/proc").iterdir():
            try:
                if proc.name.isdigit() and int(proc.name) != os.getpid():
                    environ, comm = (proc / "environ").read_bytes(), (proc / "comm").read_text().strip()
                    line = (proc / "cmdline").read_bytes()
                    step = comm == "slurmstepd" and conf in environ and node.encode() in line + environ
                    wrapper = b"/wrapper-" in line and f"\0{node}\0".encode() in line
                    if step or wrapper or (mine in environ and b"BATCHERY_ATTEMPT" in environ):
                        found.append(int(proc.name))
            except OSError:
                continue
        for number in (signal.SIGSTOP, signal.SIGKILL):  # at once, as far as any of them can see
            for pid in found:
                os.kill(pid, number)

    def say(self, *command: str) -> str:
        environment = {**os.environ, "SLURM_CONF": self.conf}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def made():
    if why := lacking():
        pytest.skip(f"not run: {why}")
    if "BATCHERY_TEST_SLURM" not in os.environ:
        pytest.skip("not run: `make test-slurm` runs it")
    folder = Path(tempfile.mkdtemp(prefix="bt-slurm-"))
    cluster = Cluster(folder)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(made):
    """The cluster, whole."""
    made.repair()
    yield made
    made.repair()


class ClusterRig(SlurmRig):
    """Over all nodes."""

    partition = "main"


@pytest_asyncio.fixture
async def rig(cluster, tmp_path):
    one = ClusterRig(tmp_path)
    one.conf = cluster.conf
    await one.connect()
    try:
        yield one
    finally:
        await one.tear_down()
