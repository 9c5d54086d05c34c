"""A Slurm cluster of three nodes for tests: installed and started by the tests themselves on Debian as root.

There a cluster that does not come up fails what needs it. Elsewhere such tests say "not run: why".
BATCHERY_TEST_SLURM names a folder that `tools/slurm up` left, which is then used and left running.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "slurm"
#: A node's memory is what the conformance suite hands out; first in, first out, as it expects of an engine without a
#: queue of its own; a node that died is found dead soon.
SETTINGS = ("SchedulerType=sched/builtin", "SlurmdTimeout=8", "SlurmctldTimeout=10", "MaxJobCount=15000")

#: Ways to speak to Slurm: its commands, slurmrestd's socket, slurmrestd over TCP with a token.
HOWS = ("commands", "rest", "token")
#: Whether every test is made with every driver (`make test-slurm`), or a selection (`make test`).
EVERY_DRIVER = os.environ.get("BATCHERY_TEST_SLURM_DRIVERS") == "all"


def lacking() -> str:
    """Why there can be no cluster of our own here, "" if there can."""
    if not os.path.exists("/etc/debian_version") or not shutil.which("apt-get"):
        return "Slurm is installed for the tests on Debian only"
    return "only root can start a Slurm cluster for the tests" if os.geteuid() else ""


class Cluster:
    """Daemons by their pid files, settings by ``conf``."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.conf = str(folder / "etc" / "slurm.conf")
        self._options = options or ("--rest", "--mem", "1000", *(word for line in SETTINGS for word in ("--set", line)))

    def spoken(self, how: str) -> dict[str, str]:
        """Settings of [slurm] for one of HOWS."""
        if how == "commands":
            return {"conf": self.conf}
        if how == "rest":
            return {"rest": f"unix:{self.folder}/rest.sock"}
        return {"rest": (self.folder / "rest.url").read_text().strip(), "rest_token": str(self.folder / "token")}

    def up(self) -> None:
        """Also what was killed comes up again."""
        up = subprocess.run([TOOL, "up", self.folder, *self._options], capture_output=True, check=False)
        assert up.returncode == 0, up.stderr.decode(errors="replace")

    def repair(self) -> None:
        """As an administrator does after "Duplicate jobid"."""
        self.up_daemons()
        self.resume()
        self.up()

    def resume(self) -> None:
        """Nodes that Slurm has drained are taken back."""
        for line in self.say("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").splitlines():
            name, state = line.split()
            if "drain" in state:
                self.say("scontrol", "update", f"NodeName={name}", "State=RESUME")

    def up_daemons(self) -> None:
        """What is not there comes up; drained nodes may stay so."""
        subprocess.run([TOOL, "up", self.folder, *self._options], capture_output=True, check=False)

    def down(self) -> None:
        subprocess.run([TOOL, "down", self.folder], capture_output=True, check=True)

    def kill(self, daemon: str) -> None:
        """SIGKILL to slurmctld, slurmd.n1, rest or rest-jwt (both slurmrestd)."""
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
                    wrapper = (b"/wrapper-" in line or b"/host-" in line) and f"\0{node}\0".encode() in line
                    if step or wrapper or (mine in environ and b"BATCHERY_ATTEMPT" in environ):
                        found.append(int(proc.name))
            except OSError:
                continue
        for number in (signal.SIGSTOP, signal.SIGKILL):  # at once, as far as any of them can see
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def say(self, *command: str) -> str:
        """What a command of Slurm's says."""
        environment = {**os.environ, "SLURM_CONF": self.conf}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def reconfigure(self, *lines: str, restart: bool = False) -> None:
        """These lines of slurm.conf besides the others; none: as it was made. Some settings need a ``restart``."""
        path = Path(self.conf)
        kept = path.read_text().partition("# for one test\n")[0]
        path.write_text(kept + ("# for one test\n" + "".join(f"{line}\n" for line in lines) if lines else ""))
        if restart:
            self.say("scontrol", "shutdown", "slurmctld")
            end = time.monotonic() + 30
            while (self.folder / "run" / "slurmctld.pid").exists():
                assert time.monotonic() < end, "slurmctld ends"
                time.sleep(0.05)
            self.up()
        else:
            self.say("scontrol", "reconfigure")


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A cluster; what a test breaks it repairs."""
    if given := os.environ.get("BATCHERY_TEST_SLURM"):
        yield Cluster(Path(given))
        return
    if why := lacking():
        pytest.skip(f"not run: {why}")
    install = subprocess.run([TOOL, "install"], capture_output=True, check=False)
    assert install.returncode == 0, install.stderr.decode(errors="replace")
    folder = Path(tempfile.mkdtemp(prefix="bt-slurm-"))
    folder.chmod(0o755)
    cluster = Cluster(folder)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(folder, ignore_errors=True)
