"""The data directory: which file system it is on, and who has it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchery.store.directory import file_system, lock, refuse_network
from batchery.store.store import StoreError


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    real = os.path.realpath(tmp_path)
    file = tmp_path / "mounts"
    file.write_text(
        f"/dev/a / ext4 rw 0 0\nserver:/x {real}/far nfs4 rw 0 0\n//server/y {real}/far\\040away cifs rw 0 0\n"
        f"/dev/b {real}/far/near xfs rw 0 0\n/dev/c {real}/covered xfs rw 0 0\nme@x: {real}/covered fuse.sshfs rw 0 0\n"
    )
    return file


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (".", "ext4"),
        ("far", "nfs4"),
        ("far/deep/er", "nfs4"),
        ("farther", "ext4"),
        ("far away/data", "cifs"),
        ("far/near/data", "xfs"),
        ("covered/x", "fuse.sshfs"),
    ],
)
def test_the_innermost_mount_counts(tmp_path: Path, mounts: Path, place: str, kind: str) -> None:
    assert file_system(tmp_path / place, mounts) == kind


def test_links_are_followed(tmp_path: Path, mounts: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "far")
    assert file_system(tmp_path / "link" / "data", mounts) == "nfs4"


def test_a_network_file_system_is_refused(tmp_path: Path, mounts: Path) -> None:
    with pytest.raises(StoreError, match=r"is on a network file system \(nfs4\).*: give --data a directory on a disk"):
        refuse_network(tmp_path / "far", mounts)
    refuse_network(tmp_path, mounts)


def test_a_system_without_a_list_of_mounts_is_trusted(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "none") == ""


def test_this_machine_can_say(tmp_path: Path) -> None:
    """In a chroot the mount of the root itself is not listed: then nothing is known, and nothing refused."""
    mounts = Path("/proc/self/mounts")
    listed = [Path(line.split()[1]) for line in mounts.read_text().splitlines()] if mounts.exists() else []
    assert any(tmp_path.is_relative_to(point) for point in listed) == bool(file_system(tmp_path))


def test_the_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from batchery.store.directory import lock; lock(pathlib.Path(sys.argv[1])); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(StoreError, match=rf"^another Batchery server is using .* \(pid {other.pid}\): stop it or"):
            lock(tmp_path)
        other.kill()
    os.close(lock(tmp_path))


def test_the_lock_is_not_handed_to_children(tmp_path: Path) -> None:
    held = lock(tmp_path)
    assert not os.get_inheritable(held)
    os.close(held)
