"""Hosts of a training job on a Slurm cluster: what each task is given, and the script of all but the first."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchery.config import Process, Slurm
from batchery.core.model import AttemptKey, Resources
from batchery.engines.engine import Container, Order
from batchery.engines.slurmfiles import Spool
from batchery.engines.slurmhosts import FAR, FAR_NAME, hosts_script
from batchery.engines.slurmjobs import attempt_of
from batchery.engines.slurmpod import Run, pod_text
from batchery.engines.slurmscript import WRAPPER_NAME
from batchery.engines.slurmstate import Node

META = {"task": "t", "limit": 0, "grace": 5, "log": "/dev/null"}


def container(name: str, folder: Path, *argv: str, **members: object) -> Container:
    return Container(
        name, "busybox", argv, {"A": f"of {name}"}, f"{folder}/{name}.log", Resources(1000, 100),
        forgiving=True, hosts_file=f"{folder}/{name}.hosts", **members,
    )  # fmt: skip


def test_a_job_with_a_task_for_each_host(tmp_path: Path) -> None:
    both = tuple(container(name, tmp_path, "true") for name in ("algo-1", "algo-2"))
    order = Order(AttemptKey("j", 0, 1), "t", both, Resources(2000, 200), "p", 9000, "e", several=True)
    attempt, words = attempt_of(order, Slurm(), Process(), 1000)
    assert words == ""
    assert (attempt.options.tasks, attempt.options.cpus, attempt.options.memory) == (2, 1, 100)
    assert (attempt.meta["gang"], attempt.rider, attempt.hosts) == (True, False, True)
    alone, _ = attempt_of(
        Order(AttemptKey("j", 0, 2), "t", both[:1], Resources(1, 1), "p", 1, "e"), Slurm(), Process(), 9
    )
    assert (alone.options.tasks, "gang" in alone.meta) == (1, False)


def test_each_task_says_where_it_is(tmp_path: Path) -> None:
    """By what Slurm knows of its node, else by its name; run here as one task after another, with no Slurm."""
    nodes = [Node("n1", part, True, 1, 1, 0, "", "10.0.0.1") for part in ("a", "b")]
    script = hosts_script(str(tmp_path), "sub", [*nodes, Node("n2", "a", True, 1, 1, 0, "")])
    place = tmp_path / "sent/sub/0"
    place.mkdir(parents=True)
    for name in (WRAPPER_NAME, FAR_NAME):
        (tmp_path / name).write_text(f'echo {name[:4]} "$@" >>"{tmp_path}/ran"\n')
    fake = tmp_path / "bin"
    fake.mkdir()
    getent = '#!/bin/sh\n[ "$2" = n3 ] && echo "10.0.0.3       STREAM n3"\n'
    for name, text in (("srun", '#!/bin/sh\nfor last; do :; done\nexec /bin/sh -c "$last"\n'), ("getent", getent)):
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    for rank, node in enumerate(["n1", "n3", "n4"]):
        environment = {
            "PATH": f"{fake}:/usr/bin:/bin",
            "HOME": "/",
            "SLURM_PROCID": str(rank),
            "SLURMD_NODENAME": node,
            "SLURM_JOB_ID": "7",
            "SLURM_CPUS_PER_TASK": "1",
        }
        subprocess.run(["/bin/sh", "-c", script], env=environment, check=True)
    said = [(place / f"host.{rank}").read_text().strip() for rank in range(3)]
    assert said == ["10.0.0.1", "10.0.0.3", "n4"]
    ran = (tmp_path / "ran").read_text().splitlines()
    assert ran[0].split() == ["wrap", str(place), f"{tmp_path}/news", "7", "n1"]
    assert ran[1].split() == ["host", str(place), "1", "7", "n3"]


class Task:
    """The script of host 1, in a directory as an attempt has it."""

    def __init__(self, folder: Path, *argv: str) -> None:
        self.at = folder / "at"
        (self.at / "work").mkdir(parents=True)
        (self.at / "host.1").write_text("10.0.0.2\n")
        runs = [
            Run(one, one.command, one.environment)
            for one in (container("algo-1", folder, "false"), container("algo-2", folder, *argv))
        ]
        (self.at / "order").write_text(pod_text(META, runs, (), 0))
        script = folder / "far"
        script.write_text(FAR)
        self.log = folder / "algo-2.log"
        self.process = subprocess.Popen(["/bin/sh", script, self.at, "1", "3", "7", "n2"])

    def until(self, found: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not found():
            assert time.monotonic() < end
            time.sleep(0.02)

    def go(self) -> None:
        (self.at / "go.1").touch()

    def code(self) -> str:
        self.process.wait(30)
        return (self.at / "code.1").read_text().strip()


@pytest.fixture
def task(tmp_path: Path) -> Iterator[Callable[..., Task]]:
    made: list[Task] = []

    def make(*argv: str) -> Task:
        made.append(Task(tmp_path, *argv))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()


def test_a_host_begins_when_it_is_told_and_leaves_its_code(task: Callable[..., Task]) -> None:
    one = task(
        "sh", "-c", 'echo "$A at $BATCHERY_NODE_IPV4_ADDRESS on $SLURMD_NODENAME, $CUDA_VISIBLE_DEVICES"; exit 4'
    )
    time.sleep(0.3)
    assert not (one.at / "begun.1").exists()
    one.go()
    assert one.code() == "4"
    assert (one.at / "begun.1").exists()
    assert one.log.read_text() == "of algo-2 at 10.0.0.2 on n2, 3\n"


@pytest.mark.parametrize(("signal", "code"), [("TERM", "9"), ("KILL", "137")])
def test_a_host_is_signalled_by_a_file(task: Callable[..., Task], signal: str, code: str) -> None:
    one = task("sh", "-c", 'trap "exit 9" TERM; echo ready; while :; do sleep 0.05; done')
    one.go()
    one.until(lambda: one.log.exists() and one.log.read_text() == "ready\n")
    (one.at / f"{signal}.1").touch()
    assert one.code() == code


def test_a_program_that_is_not_there_is_told(task: Callable[..., Task]) -> None:
    one = task("no-such-program")
    one.go()
    assert one.code() == "127"
    assert (one.at / "failed.1").read_text() == "no such file or directory\n"
    assert not (one.at / "begun.1").exists()


def test_a_host_of_an_attempt_that_is_over_ends(task: Callable[..., Task]) -> None:
    one = task("sh", "-c", "echo ready; sleep 600")
    one.go()
    one.until(lambda: one.log.exists() and one.log.read_text() == "ready\n")
    (one.at / "exit").write_text("0")
    assert one.code() == "137"


def test_a_host_that_is_not_wanted_any_more_never_begins(task: Callable[..., Task]) -> None:
    one = task("true")
    (one.at / "order").unlink()
    assert one.process.wait(30) == 0
    assert not (one.at / "code.1").exists()


def test_what_slurm_has_made_twice_runs_once(task: Callable[..., Task]) -> None:
    one = task("true")
    (one.at / "claim.1").touch()
    one.go()
    assert one.process.wait(30) == 0
    assert not (one.at / "code.1").exists()


SRUN = """#!/bin/sh
for last; do :; done
for rank in 0 1 2; do SLURM_PROCID=$rank /bin/sh -c "$last" & done
wait
"""


@pytest.mark.parametrize(
    ("scripts", "tale", "code"),
    [
        (["cat {hosts}; exit 0"] * 3, ["over 0 0", "over 1 0", "over 2 0", "closed EXIT"], [0, 0, 0]),
        (
            ["sleep 600", "until [ -e {ready} ]; do sleep 0.05; done; exit 3", ": >{ready}; sleep 600"],
            None,
            [143, 3, 143],
        ),
    ],
)
def test_all_tasks_together(tmp_path: Path, scripts: list[str], tale: list[str] | None, code: list[int]) -> None:
    """What a cluster runs, on this machine, with an srun that starts three tasks here."""
    ready = tmp_path / "ready"
    containers = tuple(
        container(
            f"algo-{number}", tmp_path, "sh", "-c", script.format(hosts=f"{tmp_path}/algo-{number}.hosts", ready=ready)
        )
        for number, script in enumerate(scripts, 1)
    )
    order = Order(AttemptKey("j", 0, 1), "0" * 32, containers, Resources(3000, 300), "p", 9000, "e", several=True)
    attempt, _ = attempt_of(order, Slurm(), Process(), 1000)
    spool = Spool(tmp_path / "slurm")
    spool.open()
    spool.write_order(attempt.task, attempt.text, attempt.meta["log"])
    spool.link("sub", [attempt.task])
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "HOME": "/",
        "SLURMD_NODENAME": "n1",
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_PER_TASK": "1",
    }
    script = hosts_script(str(spool.root), "sub", [Node("n1", "a", True, 1, 1, 0, "", "10.0.0.1")])
    subprocess.run(["/bin/sh", "-c", script], env=environment, check=True, timeout=60)
    found = spool.look(attempt.task)
    assert found.started > 0
    end = attempt.ends_by(found, "")
    assert {one.name: one.exit_code for one in end.containers} == dict(
        zip(("algo-1", "algo-2", "algo-3"), code, strict=True)
    )
    if tale:
        assert sorted(line for line in found.tale.splitlines() if not line.startswith("begun")) == sorted(tale)
        assert (tmp_path / "algo-2.log").read_text() == "10.0.0.1 algo-1\n10.0.0.1 algo-2\n10.0.0.1 algo-3\n"
    else:
        assert end.containers[0].name == "algo-2"  # the first to fail
