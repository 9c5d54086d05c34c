"""Servers that are killed while containers start and run: nothing is done twice, and limits hold meanwhile."""

import os
import re
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
    """One heeds SIGTERM, one has to be killed after the grace, one has no limit; and one has two containers."""
    script = "trap 'echo term >>{0}.term; {1}' TERM; echo $$ >{0}.pid; while :; do sleep 0.05; echo >{0}.alive; done"
    marks = [tmp_path / name for name in ("heeds", "ignores", "unlimited")]
    jobs, queue = {}, pipeline.queue(vcpus=8)
    for mark, then, limit in ((marks[2], ":", 0), (marks[1], ":", 6), (marks[0], "exit 3", 6)):
        members = {"timeout": {"attemptDurationSeconds": limit}} if limit else {}
        jobs[mark] = pipeline.submit(queue, pipeline.definition(["sh", "-c", script.format(mark, then)]), **members)
        until(mark.with_suffix(".pid").exists, f"{mark.name} runs")
    both = [tmp_path / "one", tmp_path / "other"]
    pair = several(pipeline, queue, [["sh", "-c", script.format(mark, "exit 4")] for mark in both], 6)
    until(lambda: pipeline.status(pair) == "RUNNING", "both containers run")
    pipeline.server.kill()
    until(lambda: all(mark.with_suffix(".term").exists() for mark in (*marks[:2], *both)), "all got SIGTERM")
    until(lambda: all(still(mark) for mark in (*marks[:2], *both)), "all have ended")
    assert not still(marks[2])
    pipeline.server.start()
    seen = [pipeline.wait(jobs[mark], "FAILED") for mark in marks[:2]]
    assert [one["statusReason"] for one in seen] == ["Job attempt duration exceeded timeout"] * 2
    assert [one["container"]["exitCode"] for one in seen] == [3, 137]
    assert all(mark.with_suffix(".term").read_text() == "term\n" for mark in marks[:2])
    of_pair = pipeline.wait(pair, "FAILED")
    assert of_pair["statusReason"] == "Job attempt duration exceeded timeout"
    ends = of_pair["attempts"][0]["taskProperties"][0]["containers"]
    assert sorted((one["name"], one["exitCode"]) for one in ends) == [("c0", 4), ("c1", 4)]
    assert pipeline.status(jobs[marks[2]]) == "RUNNING"
    pipeline.batch.terminate_job(jobId=jobs[marks[2]], reason="enough")
    pipeline.wait(jobs[marks[2]], "FAILED")


def test_an_engine_that_has_jobs_is_not_left_out_of_the_settings(
    own_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    gate = pipeline.gate()
    job = pipeline.submit("default", pipeline.waiting(gate))
    pipeline.wait(job, "RUNNING")
    server.kill()
    settings = server.config.read_text()
    server.config.write_text(re.sub("engine = '[a-z]+'", "engine = 'process'", settings))
    with pytest.raises(AssertionError, match=f"1 jobs may still be at the engine (docker|podman).*: {job}"):
        server.start()
    server.config.write_text(settings)
    server.start()
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")
    assert len(pipeline.job(job)["attempts"]) == 1


def several(pipeline: Pipeline, queue: str, commands: list[list[str]], limit: int) -> str:
    """A job of so many essential containers."""
    given = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}]
    init = {"initProcessEnabled": True}
    containers = [
        {"name": f"c{n}", "image": "busybox", "command": one, "resourceRequirements": given, "linuxParameters": init}
        for n, one in enumerate(commands)
    ]
    definition = pipeline.batch.register_job_definition(
        jobDefinitionName="several-with-a-limit",
        type="container",
        ecsProperties={"taskProperties": [{"containers": containers}]},
        timeout={"attemptDurationSeconds": limit},
    )
    return pipeline.submit(queue, definition["jobDefinitionArn"])


def still(mark: Path) -> bool:
    """Nothing has been written for a while: loops write twenty times a second."""
    alive = mark.with_suffix(".alive")
    before = alive.stat().st_mtime_ns
    time.sleep(1)
    return alive.stat().st_mtime_ns == before
