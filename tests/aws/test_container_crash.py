"""Servers that are killed while containers start and run: nothing is done twice, and limits hold meanwhile."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from wire_pipeline import Pipeline, Server, until

from batchery.engines import census

PROLOG = """prolog = ["sh", "-c", '''test -z "$GATE" || { echo begun >>"$GATE.begun"; """
PROLOG += """while [ ! -e "$GATE" ]; do sleep 0.02; done; echo ended >>"$GATE.begun"; }''']\n"""


@pytest.fixture
def pipeline(own_server: Callable[..., Server], tmp_path: Path) -> Pipeline:
    return Pipeline(own_server("kill_grace = 2", PROLOG), tmp_path)


def submit(pipeline: Pipeline, command: list[str], gate: Path, **members: object) -> str:
    environment = [{"name": "GATE", "value": str(gate)}]
    return pipeline.submit(
        "default", pipeline.definition(command), containerOverrides={"environment": environment}, **members
    )


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_prolog_goes_on_without_a_server_and_is_not_begun_twice(pipeline: Pipeline, how: str) -> None:
    gate = pipeline.gate()
    begun = Path(f"{gate}.begun")
    job = submit(pipeline, ["sh", "-c", f"echo job >>{begun}"], gate)
    until(begun.exists, "the prolog has begun")
    getattr(pipeline.server, how)()
    gate.touch()
    until(lambda: "ended" in begun.read_text(), "the prolog ends by itself")
    pipeline.server.start()
    pipeline.wait(job, "SUCCEEDED")
    assert begun.read_text().split() == ["begun", "ended", "job"]


def test_a_prolog_that_still_runs_is_waited_for_and_ends_with_its_job(pipeline: Pipeline) -> None:
    gates = pipeline.gate(), pipeline.gate()
    jobs = [submit(pipeline, ["true"], gate) for gate in gates]
    until(lambda: all(Path(f"{gate}.begun").exists() for gate in gates), "the prologs have begun")
    pipeline.server.kill()
    pipeline.server.start()
    for job in jobs:
        pipeline.wait(job, "STARTING")
    gates[0].touch()
    pipeline.wait(jobs[0], "SUCCEEDED")
    pipeline.batch.terminate_job(jobId=jobs[1], reason="enough")
    pipeline.wait(jobs[1], "FAILED")
    assert [Path(f"{gate}.begun").read_text().split() for gate in gates] == [["begun", "ended"], ["begun"]]
    assert not [stat for stat in census.everybody() if jobs[1] in census.key_of(stat.pid)]


def test_a_prolog_that_was_killed_with_the_server_fails_its_attempt(pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    job = submit(pipeline, ["true"], gate)
    until(Path(f"{gate}.begun").exists, "the prolog has begun")
    pipeline.server.kill()
    for stat in census.everybody():
        if job in census.key_of(stat.pid):
            os.kill(stat.pid, 9)
    pipeline.server.start()
    seen = pipeline.wait(job, "FAILED")
    assert seen["statusReason"] == "Task failed to start"
    assert seen["container"]["reason"] == "CannotStartContainerError: prolog was interrupted, and is not begun twice"
    assert Path(f"{gate}.begun").read_text().split() == ["begun"]


def test_time_limits_hold_while_no_server_is_there(pipeline: Pipeline, tmp_path: Path) -> None:
    """One heeds SIGTERM, one has to be killed after the grace, one has no limit."""
    script = "trap 'echo term >>{0}.term; {1}' TERM; echo $$ >{0}.pid; while :; do sleep 0.05; echo >{0}.alive; done"
    marks = [tmp_path / name for name in ("heeds", "ignores", "unlimited")]
    jobs = {}
    for mark, then, limit in ((marks[2], ":", 0), (marks[1], ":", 6), (marks[0], "exit 3", 6)):
        members = {"timeout": {"attemptDurationSeconds": limit}} if limit else {}
        jobs[mark] = pipeline.submit("default", pipeline.definition(["sh", "-c", script.format(mark, then)]), **members)
        until(mark.with_suffix(".pid").exists, f"{mark.name} runs")
    pipeline.server.kill()
    until(lambda: all(mark.with_suffix(".term").exists() for mark in marks[:2]), "both got SIGTERM")
    until(lambda: still(marks[0]) and still(marks[1]), "both have ended")
    assert not still(marks[2])
    pipeline.server.start()
    seen = [pipeline.wait(jobs[mark], "FAILED") for mark in marks[:2]]
    assert [one["statusReason"] for one in seen] == ["Job attempt duration exceeded timeout"] * 2
    assert [one["container"]["exitCode"] for one in seen] == [3, 137]
    assert all(mark.with_suffix(".term").read_text() == "term\n" for mark in marks[:2])
    assert pipeline.status(jobs[marks[2]]) == "RUNNING"
    pipeline.batch.terminate_job(jobId=jobs[marks[2]], reason="enough")
    pipeline.wait(jobs[marks[2]], "FAILED")


def still(mark: Path) -> bool:
    """Nothing has been written for a while: loops write twenty times a second."""
    alive = mark.with_suffix(".alive")
    before = alive.stat().st_mtime_ns
    time.sleep(1)
    return alive.stat().st_mtime_ns == before
