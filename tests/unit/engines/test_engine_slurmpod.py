"""Several containers on a Slurm cluster: what is written for the node, and what its tale says."""

import subprocess
from pathlib import Path

import pytest

from batchery.core.model import ContainerEnd, Resources
from batchery.core.pod import SUCCESS
from batchery.engines.engine import Container
from batchery.engines.slurmpod import POD, Run, pod_text, told
from batchery.engines.slurmscript import meta_of

CONTAINERS = [
    {"name": "main", "image": "busybox", "program": "run", "decides": True, "log": "/logs/main"},
    {"name": "side", "image": "busybox", "program": "", "decides": False, "log": "/logs/side"},
]


def run(name: str, *argv: str, **members: object) -> Run:
    container = Container(name, "busybox", argv, {}, f"/logs/{name}.log", Resources(500, 32), **members)  # type: ignore[arg-type]
    return Run(container, argv, {"A": f"of {name}", "odd-name": "x"})


def test_the_tale_tells_how_each_ended_in_the_order_of_the_ends() -> None:
    found = told("begun 1\nbegun 0\nover 1 3\nover 0 0\nclosed EXIT\n", CONTAINERS)
    assert found == ((ContainerEnd("side", 3, "", False), ContainerEnd("main", 0)), "EXIT")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("never 0 dependency side exited with 3", "CannotStartContainerError: dependency side exited with 3"),
        ("never 0 no such file or directory", 'CannotStartContainerError: exec: "run": no such file or directory'),
        ("never 0", ""),
    ],
)
def test_why_one_never_began(line: str, reason: str) -> None:
    [end, _] = told(f"{line}\nclosed START_FAILED\n", CONTAINERS).ends
    assert end.exit_code is None
    assert end.reason.startswith(reason)
    assert bool(end.reason) == bool(reason)


def test_what_had_begun_when_the_script_was_killed_was_killed_with_it() -> None:
    found = told("begun 0\nnonsense\nbegun 77\nbeg", CONTAINERS)
    assert found.cause == ""
    assert [(end.name, end.exit_code) for end in found.ends] == [("main", 137), ("side", None)]


def text(tmp_path: Path, prolog: tuple[str, ...] = ()) -> Path:
    meta = {"task": "t", "limit": 9, "grace": 5, "log": "/logs/main.log", "containers": CONTAINERS}
    runs = [run("main", "echo", "it's", after=(("side", SUCCESS),)), run("side", "true", essential=False)]
    order = tmp_path / "order"
    order.write_text(pod_text(meta, runs, prolog, 9))
    assert meta_of(order.read_text()) == {**meta, "limit": 0}
    return order


def said(order: Path, phase: str, then: str) -> list[str]:
    script = f"_b_phase={phase} _b_number=0 _b_at=AT _b_news=/shared/news/t _b_node=N _b_job=J; . {order}; {then}"
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()


def test_each_phase_of_the_order_says_its_own(tmp_path: Path) -> None:
    order = text(tmp_path, ("prolog", "a b"))
    each = 'printf "%s\\n" "$@"'
    assert said(order, "prolog", each) == ["prolog", "a b"]
    shell, script, *rest = said(order, "job", f"{each}; echo ${{A-none}}")
    assert shell == "/bin/sh"
    assert script.startswith("/shared/pod-")
    assert (rest[:4], rest[5:]) == (["AT", "/shared/news/t", "N", "J"], ["9", "none"])
    assert said(order, "pod", f"{each}; echo $A") == ["env", "odd-name=x", "echo", "it's", "of main"]
    assert said(order, "table", 'echo "$_b_n $_after_0 $_essential_1 $_stop_0 $_log_1"') == [
        "2 1:SUCCESS 0 30 /logs/side.log"
    ]


def test_the_script_is_one_that_a_shell_can_read() -> None:
    subprocess.run(["sh", "-n"], input=POD, text=True, check=True)
