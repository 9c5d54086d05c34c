"""Cgroups: finding the hierarchy, and using it where this host lets us."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchery.engines.cgroups import Cgroups, Layout, NoCgroups, host_layout, host_memory_mib, layout

V1 = "30 25 0:26 {root} {mount} rw,relatime - cgroup cgroup rw,memory"
V2 = "31 25 0:27 / {mount} rw - cgroup2 cgroup2 rw"


def test_the_memory_hierarchy_of_v1_is_found_also_beside_a_v2_one(tmp_path):
    (tmp_path / "m/a/b").mkdir(parents=True)
    mounts = V2.format(mount=tmp_path / "u") + "\n" + V1.format(root="/", mount=tmp_path / "m")
    found = layout("4:memory:/a/b\n1:cpu:/\n0::/c", mounts)
    assert found == Layout(1, tmp_path / "m", tmp_path / "m/a/b")


def test_a_v1_hierarchy_that_is_mounted_in_part_is_entered_below_its_root(tmp_path):
    (tmp_path / "x").mkdir()
    mounts = V1.format(root="/docker/1", mount=tmp_path)
    assert layout("4:memory:/docker/1/x", mounts).own == tmp_path / "x"
    assert layout("4:memory:/docker/1/not-here", mounts).own == tmp_path


def test_v2_alone(tmp_path):
    (tmp_path / "user.slice").mkdir()
    assert layout("0::/user.slice", V2.format(mount=tmp_path)) == Layout(2, tmp_path, tmp_path / "user.slice")


def test_a_v2_hierarchy_beside_a_memory_hierarchy_that_is_not_mounted_is_of_no_use(tmp_path):
    with pytest.raises(NoCgroups, match="no cgroup hierarchy with a memory controller"):
        layout("4:memory:/\n0::/", V2.format(mount=tmp_path))
    with pytest.raises(NoCgroups):
        layout("", "22 1 8:1 / / rw - ext4 /dev/sda rw")


def test_in_v2_the_nearest_ancestor_that_hands_out_memory_is_used(tmp_path):
    """On plain files: what is written where."""
    own = tmp_path / "slice" / "service"
    own.mkdir(parents=True)
    (tmp_path / "slice" / "cgroup.subtree_control").write_text("cpu memory")
    (tmp_path / "slice" / "batchery").mkdir()
    (tmp_path / "slice" / "batchery" / "cgroup.subtree_control").write_text("")
    cgroups = Cgroups("batchery", Layout(2, tmp_path, own))
    assert cgroups.root == tmp_path / "slice" / "batchery"
    assert (cgroups.root / "cgroup.subtree_control").read_text() == "+memory"
    assert (cgroups.root / "agent" / "cgroup.procs").read_text() == "0"
    assert not (own / "batchery").exists()


def test_where_nothing_can_be_made_the_reason_is_told(tmp_path):
    with pytest.raises(NoCgroups, match="subtree_control: No such file"):
        Cgroups("batchery", Layout(2, tmp_path, tmp_path))
    assert os.listdir(tmp_path) == []
    with pytest.raises(NoCgroups, match="cannot be made: No such file"):
        Cgroups("batchery", Layout(1, tmp_path, tmp_path / "gone"))


def test_the_hosts_memory_is_known():
    assert 16 < host_memory_mib() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def unified() -> Layout:
    """A v2 hierarchy that we may write to; in a hybrid layout it has no memory controller, and all else."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            mount = Path(line.split(" ")[4])
            if os.access(mount, os.W_OK):
                return Layout(2, mount, mount)
    pytest.skip("not run: no v2 cgroup hierarchy that we may write to")


def memory_of_v1() -> Layout:
    try:
        found = host_layout()
    except NoCgroups as why:
        pytest.skip(f"not run: {why}")
    if found.version != 1 or not os.access(found.own, os.W_OK):
        pytest.skip("not run: no v1 memory hierarchy that we may write to")
    return found


PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from batchery.engines.cgroups import Cgroups, Layout
version, mount, own, controller, name = sys.argv[1:]
cgroups = Cgroups(name, Layout(int(version), Path(mount), Path(own)), controller)
path = cgroups.root / "1"
if controller:
    one = cgroups.take(32)
else:
    from batchery.engines import cgroups as module
    path.mkdir()
    one = module.Cgroup(path, int(version))
cgroups.enter(one)
child = subprocess.Popen(["sh", "-c", "setsid sleep 600 & sleep 600"])
cgroups.leave()
print(one.path, flush=True)
sys.stdin.readline()
print(len(one.pids()), os.getpid() in one.pids(), flush=True)
while one.pids():
    one.kill()
child.wait()
if controller:
    cgroups.give(one)
    print(cgroups.take(32) is one, cgroups.take(48) is one, one.peak_mib() <= 32, one.out_of_memory)
    cgroups.give(one)
else:
    one.close()
    path.rmdir()
cgroups.sweep(set())
cgroups.close()
print(cgroups.root.exists(), flush=True)
"""


@pytest.mark.parametrize(("where", "controller"), [(unified, ""), (memory_of_v1, "memory")])
def test_what_is_spawned_inside_is_inside_and_dies_with_it(where, controller):
    found = where()
    name = f"batchery-test-{os.getpid()}"
    arguments = [str(found.version), str(found.mount), str(found.own), controller, name]
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with program:
        path = Path(program.stdout.readline().strip())
        deadline = time.monotonic() + 20
        while len((path / "cgroup.procs").read_text().split()) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        rest, _ = program.communicate("\n", timeout=20)
    lines = rest.splitlines()
    assert lines[0] == "3 False"
    assert lines[-1] == "False"
    if controller:
        assert lines[1] == "True False True False"
    assert program.returncode == 0


def test_a_subtree_that_was_tidied_away_is_made_again():
    found = memory_of_v1()
    cgroups = Cgroups(f"batchery-test-{os.getpid()}-again", found)
    cgroups.root.rmdir()
    cgroups.give(cgroups.take(16))
    cgroups.close()
    assert not cgroups.root.exists()


def test_a_kept_cgroup_that_was_tidied_away_is_not_handed_out():
    cgroups = Cgroups(f"batchery-test-{os.getpid()}-kept", memory_of_v1())
    gone, there = cgroups.take(16), cgroups.take(16)
    cgroups.give(there)
    cgroups.give(gone)
    gone.path.rmdir()  # as systemd does with a unit's empty ones when it stops it
    again = cgroups.take(16)
    assert again.path == there.path
    cgroups.give(again)
    cgroups.close()
    assert not cgroups.root.exists()
