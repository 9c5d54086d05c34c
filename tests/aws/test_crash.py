"""SIGKILL of the server and of the agent, at any moment: nothing acknowledged is lost, nothing runs twice."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from wire_pipeline import Ask, Pipeline, Server, until


def processes(word: str, server: Server) -> list[int]:
    """Pids of this server's processes with ``word`` in their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read().decode(errors="replace")
        except OSError:
            continue
        if word in line and str(server.folder) in line:
            found.append(int(pid))
    return found


def once(script: str, gate: Path) -> str:
    """A script that says each time it runs, waits for the gate, and goes on with ``script``."""
    mark = f'echo "$AWS_BATCH_JOB_ID $$" >> "{gate}.runs"'
    return f'{mark}; while [ ! -e "{gate}" ]; do sleep 0.02; done; {script}'


def runs(gate: Path) -> list[str]:
    path = gate.with_name(gate.name + ".runs")
    return sorted(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else []


def test_sigkill_of_the_server(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    gate = pipeline.gate()
    queue = pipeline.queue(vcpus=3)
    ends = [pipeline.definition(["sh", "-c", once(f"exit {code}", gate)]) for code in (0, 7, 0)]
    running = [pipeline.submit(queue, definition) for definition in ends]
    waiting = [pipeline.submit(queue, ends[0]) for _ in range(4)]
    depends = pipeline.submit(queue, ends[0], dependsOn=[{"jobId": running[0]}])
    for job in running:
        pipeline.wait(job, "RUNNING")
    until(lambda: len(runs(gate)) == 3, "three run")
    pipeline.batch.cancel_job(jobId=depends, reason="before the crash")

    server.kill()
    server.start()

    assert [pipeline.status(job) for job in running] == ["RUNNING"] * 3
    seen = pipeline.job(depends)
    assert (seen["status"], seen["isCancelled"], seen["statusReason"]) == ("PENDING", True, "before the crash")
    assert {pipeline.status(job) for job in waiting} == {"RUNNABLE"}
    gate.touch()
    codes = [pipeline.wait(job, "SUCCEEDED", "FAILED")["container"]["exitCode"] for job in running]
    assert codes == [0, 7, 0]
    Ask("cancel").check(pipeline.wait(depends, "FAILED"), "before the crash")
    for job in waiting:
        pipeline.wait(job, "SUCCEEDED")
    assert runs(gate) == sorted(running + waiting), "each ran once"


def test_jobs_that_end_while_the_server_is_away_keep_their_exit_codes(
    own_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    gate = pipeline.gate()
    queue = pipeline.queue(vcpus=2)
    job = pipeline.submit(queue, pipeline.definition(["sh", "-c", once(f': > "{gate}.gone"; exit 9', gate)]))
    child = {"arrayProperties": {"size": 2}, "dependsOn": [{"type": "SEQUENTIAL"}]}
    array = pipeline.submit(queue, pipeline.definition(["sh", "-c", once("exit 0", gate)]), **child)
    pipeline.wait(job, "RUNNING")
    pipeline.wait(f"{array}:0", "RUNNING")
    server.kill()
    gate.touch()
    until(lambda: gate.with_name(gate.name + ".gone").exists(), "the job has gone on alone")
    server.start()
    seen = pipeline.wait(job, "FAILED")
    assert seen["container"]["exitCode"] == 9
    pipeline.wait(array, "SUCCEEDED")
    assert runs(gate) == sorted([job, f"{array}:0", f"{array}:1"])


def test_sigkill_of_the_agent(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    gate = pipeline.gate()
    queue = pipeline.queue(vcpus=3)
    definitions = [pipeline.definition(["sh", "-c", once(f"exit {code}", gate)]) for code in (0, 5)]
    jobs = [pipeline.submit(queue, definition) for definition in definitions]
    until(lambda: len(runs(gate)) == 2, "both run")
    agents = processes("batchery.engines.agent", server)
    assert agents
    for pid in agents:
        os.kill(pid, signal.SIGKILL)
    later = pipeline.submit(queue, definitions[0])
    gate.touch()
    assert [pipeline.wait(job, "SUCCEEDED", "FAILED")["container"]["exitCode"] for job in jobs] == [0, 5]
    pipeline.wait(later, "SUCCEEDED")
    assert runs(gate) == sorted([*jobs, later])


def test_sigkill_of_agent_and_server_together(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    gate = pipeline.gate()
    job = pipeline.submit(pipeline.queue(), pipeline.definition(["sh", "-c", once("exit 6", gate)]))
    until(lambda: runs(gate), "it runs")
    server.kill()
    for pid in processes("batchery.engines.agent", server):
        os.kill(pid, signal.SIGKILL)
    gate.touch()
    server.start()
    assert pipeline.wait(job, "FAILED")["container"]["exitCode"] == 6
    assert runs(gate) == [job]


def test_every_acknowledged_submit_survives_a_crash_in_the_middle_of_a_burst(
    own_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    queue = pipeline.queue(state="DISABLED")
    definition = pipeline.definition(["true"])
    acknowledged: list[str] = []

    def submit() -> None:
        batch = server.client()
        while True:
            try:
                reply = batch.submit_job(jobName="j", jobQueue=queue, jobDefinition=definition)
            except (BotoCoreError, ClientError):
                return
            acknowledged.append(reply["jobId"])

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(acknowledged) > 200, "a burst is under way")
    server.kill()
    for thread in threads:
        thread.join()
    server.start()
    found: dict[str, str] = {}
    for at in range(0, len(acknowledged), 100):
        jobs = pipeline.batch.describe_jobs(jobs=acknowledged[at : at + 100])["jobs"]
        found.update({job["jobId"]: job["status"] for job in jobs})
    assert set(acknowledged) <= set(found)
    assert set(found.values()) <= {"SUBMITTED", "RUNNABLE"}


def test_the_end_of_the_server_says_how_many_jobs_go_on(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    gate = pipeline.gate()
    job = pipeline.submit(pipeline.queue(), pipeline.waiting(gate))
    pipeline.wait(job, "RUNNING")
    assert "1 job goes on" in server.stop()
    server.start("--stop-jobs")
    assert pipeline.status(job) == "RUNNING"
    server.stop()
    server.start()
    assert pipeline.wait(job, "FAILED")["isTerminated"] is True
