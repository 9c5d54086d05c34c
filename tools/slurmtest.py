"""`make test-slurm`: the tests that need a Slurm cluster, on one of three nodes that is made for them and ended after.

Where there can be none it says "not run: why", and that is no failure. Further arguments go to pytest.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOL = Path(__file__).with_name("slurm")
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch")
#: One node's memory is what the conformance suite hands out; FIFO, as it expects of an engine without a queue.
CLUSTER = ("--mem", "1000", "--set", "SchedulerType=sched/builtin")
WIRE = ["tests/aws/test_cancel_single.py", "tests/aws/test_cancel_arrays.py", "tests/aws/test_jobs.py"]


def lacking() -> str:
    """Why there can be no cluster here, "" if there can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a cluster of our own needs Linux and root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in NEEDED if not shutil.which(name, path=path)]
    return f"not there: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)" if missing else ""


def suites(folder: Path, arguments: list[str]) -> int:
    """Run them one after the other; the exit code."""
    conf = str(folder / "etc" / "slurm.conf")
    environment = {**os.environ, "BATCHERY_TEST_SLURM": conf, "SLURM_CONF": conf}
    pytest = [sys.executable, "-m", "pytest", "-q", *arguments]
    runs = (
        ([*pytest, "tests/conformance/test_engine.py", "-k", "slurm"], environment),
        ([*pytest, "tests/slurm"], environment),
        ([*pytest, *WIRE], {**environment, "BATCHERY_TEST_CONFIG": str(folder / "batchery.toml")}),
    )
    return max(subprocess.run(command, env=env, check=False).returncode for command, env in runs)


def main(arguments: list[str]) -> int:
    if why := lacking():
        print(f"make test-slurm: not run: {why}")
        return 0
    folder = Path(tempfile.mkdtemp(prefix="bt-slurm-"))
    try:
        subprocess.run([TOOL, "up", folder, *CLUSTER], check=True)
        return suites(folder, arguments)
    finally:
        subprocess.run([TOOL, "down", folder], check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
