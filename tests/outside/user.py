"""An ordinary user who runs servers and, rootless, Podman: made and removed by the tests, which are root."""

import grp
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.outside.runtimes import Runtimes
from wire_pipeline import Server, until

NAME = "batchery-boxes"
CODE = (Path(__file__).parents[2] / "src", Path(sys.executable), Path(os.__file__))
_CONF = """[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
lock_type = "file"
tmp_dir = "{0}/tmp"
"""
_STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "{0}/graph"\nrunroot = "{0}/runroot"\n'


def _all_may_read(path: Path) -> bool:
    return all(os.stat(part).st_mode & 0o001 for place in (path, path.resolve()) for part in place.parents)


class User:
    """``folder`` belongs to it; others may pass."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entry = pwd.getpwnam(NAME)
        for name, text in (("containers.conf", _CONF), ("storage.conf", _STORAGE)):
            (folder / name).write_text(text.format(folder))
        for name in ("run", "scratch"):
            (folder / name).mkdir()
        self.own(folder, *folder.iterdir())
        os.chmod(folder, 0o711)

    def own(self, *paths: Path) -> None:
        for path in paths:
            os.chown(path, self.entry.pw_uid, self.entry.pw_gid)

    def environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            **os.environ,
            "HOME": folder,
            "USER": NAME,
            "XDG_RUNTIME_DIR": f"{folder}/run",
            "TMPDIR": f"{folder}/scratch",
            "CONTAINERS_CONF": f"{folder}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        }

    def become(self, *groups: str) -> list[str]:
        """The start of a command."""
        listed = ",".join(str(grp.getgrnam(name).gr_gid) for name in groups)
        more = [f"--groups={listed}"] if groups else ["--clear-groups"]
        return ["setpriv", f"--reuid={self.entry.pw_uid}", f"--regid={self.entry.pw_gid}", *more]

    def run(self, *command: str) -> None:
        done = subprocess.run(
            [*self.become(), *command], env=self.environment(), cwd=self.folder, capture_output=True, check=False
        )
        assert not done.returncode, done.stderr.decode()


class UsersServer(Server):
    """A server of the user's. Code that only root can read is made readable to it by the one capability that does
    nothing else."""

    def __init__(self, user: User, folder: Path, engine: str, *groups: str, **variables: str) -> None:
        super().__init__(folder, "kill_grace = 2", engine=engine)
        self.user, self.groups, self.variables = user, groups, variables
        user.own(folder, self.config)

    def spawn(self) -> "subprocess.Popen[bytes]":
        become = self.user.become(*self.groups)
        if not all(map(_all_may_read, CODE)):
            become += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        command = [sys.executable, "-m", "batchery", "serve", "--config", str(self.config), "--port", str(self.port)]
        command += ["--data", str(self.folder / "data")]
        environment = self.user.environment() | self.variables
        with open(self.folder / "server.log", "ab") as log:
            return subprocess.Popen(
                [*become, *command], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder
            )

    def start(self, *options: str) -> "UsersServer":
        self.process = self.spawn()
        until(self._healthy, "the server answers", 60)
        return self


@pytest.fixture(scope="session")
def user(runtimes: Runtimes) -> Iterator[User]:
    """With ranges of subordinate ids, as `useradd` gives them, and an image in its Podman."""
    subprocess.run(["userdel", NAME], capture_output=True, check=False)
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", NAME], check=True)
    if NAME not in Path("/etc/subuid").read_text():
        subprocess.run(
            ["usermod", "--add-subuids", "1000000-1065535", "--add-subgids", "1000000-1065535", NAME], check=True
        )
    base = Path(tempfile.mkdtemp(prefix="bt-user-", dir="/var/tmp"))
    os.chmod(base, 0o711)
    folder = base / "pytest-of-user"
    folder.mkdir()
    try:
        made = User(folder)
        shutil.copy(runtimes.folder / "busybox.tar", folder)
        made.own(folder / "busybox.tar")
        made.run("podman", "import", "-q", str(folder / "busybox.tar"), "docker.io/library/busybox:latest")
        yield made
    finally:
        _end_all()
        shutil.rmtree(base, ignore_errors=True)
        subprocess.run(["userdel", NAME], check=False, capture_output=True)


def _end_all() -> None:
    """Nothing of the user's runs any more."""
    uid = pwd.getpwnam(NAME).pw_uid
    mine: Any = True
    while mine:
        mine = [int(name) for name in os.listdir("/proc") if name.isdigit() and _owner(name) == uid]
        for pid in mine:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def _owner(pid: str) -> int:
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
            return -1
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1
