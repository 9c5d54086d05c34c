"""Docker and Podman for tests: installed and started by the tests themselves on Debian as root.

There a runtime that does not work fails what needs it. Elsewhere such tests say "not run: why".
BATCHERY_TEST_CONTAINERS names a folder that `tools/containers up` left, which is then used and left alone.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "containers"
ENGINES = ("docker", "podman")


def lacking() -> str:
    """Why there can be no runtime of our own here, "" if there can."""
    if not os.path.exists("/etc/debian_version") or not shutil.which("apt-get"):
        return "Docker and Podman are installed for the tests on Debian only"
    return "only root can install and start Docker and Podman for the tests" if os.geteuid() else ""


class Runtimes:
    """What `tools/containers up` left in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def socket(self, engine: str) -> Path:
        return self.folder / f"{engine}.sock"


@pytest.fixture(scope="session")
def runtimes() -> Iterator[Runtimes]:
    """Both of them, with an image "busybox" each."""
    if given := os.environ.get("BATCHERY_TEST_CONTAINERS"):
        yield Runtimes(Path(given))
        return
    if why := lacking():
        pytest.skip(f"not run: {why}")
    folder = Path(tempfile.mkdtemp(prefix="bt-", dir="/var/tmp"))  # short: sockets are in it
    try:
        up = subprocess.run([TOOL, "up", folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if up.returncode:
            pytest.fail(up.stderr.decode(errors="replace"))
        yield Runtimes(folder)
    finally:
        subprocess.run([TOOL, "down", folder], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(folder, ignore_errors=True)
