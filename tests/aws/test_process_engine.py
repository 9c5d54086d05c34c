"""What the process engine does for jobs, seen over the wire: memory, trees, directories, users, images, usage."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
CONFIGURED = """
environment = { S3_ENDPOINT = "http://127.0.0.1:9000", COLOUR = "of the operator" }
[process.images."tool:*"]
entrypoint = ["/bin/sh", "-c", 'echo "entry $0 $*"; env']
path = "/opt/tool/bin:/usr/bin:/bin"
environment = { TOOL = "yes", COLOUR = "of the image", SHAPE = "of the image" }
[process.images."*"]
environment = { TOOL = "no" }
"""


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return Pipeline(server, tmp_path_factory.mktemp("queue")).queue(vcpus=8)


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with [process] settings; root's also switches users."""
    user = 'user = "nobody"' if os.geteuid() == 0 else ""
    made = Server(tmp_path_factory.mktemp("configured"), "kill_grace = 2", user + CONFIGURED)
    try:
        yield made.start()
    finally:
        made.end()


def register(pipeline: Pipeline, name: str, command: list[str], memory: int = 16, **container: Any) -> str:
    properties = {
        "image": "busybox",
        "command": command,
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": str(memory)}],
        **container,
    }
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties=properties
    )
    return str(reply["jobDefinitionArn"])


def usage(pipeline: Pipeline, job: str) -> dict[str, Any]:
    """Its line of `batchery jobs --json`."""
    listed = json.loads(pipeline.server.cli("jobs", "--json", "--limit", "1000"))["jobs"]
    (line,) = [item for item in listed if item["id"] == job]
    return dict(line)


# ----------------------------------------------------------------------------------------------- memory and CPU time


def test_a_memory_limit_ends_the_job_as_aws_does(pipeline: Pipeline, queue: str) -> None:
    limits = re.search(r"memory limits: (.*)\.$", pipeline.server.log(), re.MULTILINE)
    assert limits is not None, "the server says at its start whether they hold"
    if not limits[1].startswith("enforced"):
        assert limits[1].startswith("not enforced: ")
        pytest.skip(f"not run: {limits[1]}")
    large = ["python3", "-c", "print('ready', flush=True); x = bytearray(300 << 20)"]
    definition = register(pipeline, "large", large, memory=64)
    rules = [{"action": "RETRY", "onReason": "OutOfMemoryError*"}, {"action": "EXIT", "onReason": "*"}]
    job = pipeline.submit(queue, definition, retryStrategy={"attempts": 2, "evaluateOnExit": rules})
    seen = pipeline.wait(job, "FAILED")
    assert [attempt["container"]["exitCode"] for attempt in seen["attempts"]] == [137, 137]
    assert [attempt["container"]["reason"] for attempt in seen["attempts"]] == [OUT_OF_MEMORY] * 2
    assert (seen["container"]["exitCode"], seen["container"]["reason"]) == (137, OUT_OF_MEMORY)
    assert seen["statusReason"] == "Essential container in task exited"
    assert pipeline.output(job) == ["ready"]
    listed = pipeline.batch.list_jobs(jobQueue=queue, jobStatus="FAILED")["jobSummaryList"]
    assert listed[0]["container"] == {"exitCode": 137, "reason": OUT_OF_MEMORY}
    assert OUT_OF_MEMORY in pipeline.server.cli("why", job)
    assert usage(pipeline, job)["peakMiB"] <= 64
    more = pipeline.submit(
        queue, definition, containerOverrides={"resourceRequirements": [{"type": "MEMORY", "value": "600"}]}
    )
    pipeline.wait(more, "SUCCEEDED")


def test_cpu_time_and_peak_memory_are_shown(pipeline: Pipeline, queue: str) -> None:
    work = "import time\nx = bytearray(60 << 20)\nwhile time.process_time() < 0.2: pass\nraise SystemExit(3)"
    definition = register(pipeline, "works", ["python3", "-c", work], memory=600)
    job = pipeline.submit(queue, definition, retryStrategy={"attempts": 2})
    idle = pipeline.submit(queue, pipeline.definition(["true"]))
    pipeline.wait(job, "FAILED")
    pipeline.wait(idle, "SUCCEEDED")
    line = usage(pipeline, job)
    assert (line["attempts"], line["exitCode"]) == (2, 3)
    assert 400 <= line["cpuMs"] < 20_000  # of both attempts
    assert 60 <= line["peakMiB"] < 600
    assert usage(pipeline, idle)["cpuMs"] < 400
    text = pipeline.server.cli("why", job)
    assert len(re.findall(r"exit code 3; CPU time 0\.\d+ s, peak memory \d+ MiB", text)) == 2
    table = pipeline.server.cli("jobs", "--queue", queue)
    assert f"{line['peakMiB']} MiB" in next(row for row in table.splitlines() if job in row)


# ------------------------------------------------------------------------------------------------------------ trees


def alive(pid: str) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def family(pipeline: Pipeline, ending: str) -> str:
    """A definition whose job has a child, a grandchild in a session of its own and one that was left by its parent.

    Each writes its pid and does not heed SIGTERM.
    """
    deaf = f"trap '' TERM HUP; echo $$ >>{pipeline.folder}/pids; while :; do sleep 0.02; done"
    deaf_file = pipeline.folder / "deaf.sh"
    deaf_file.write_text(deaf)
    script = f"sh {deaf_file} & setsid sh {deaf_file} & (setsid sh -c 'sh {deaf_file} & exit' &) ; {ending}"
    return pipeline.definition(["sh", "-c", script])


def pids(pipeline: Pipeline) -> list[str]:
    file = pipeline.folder / "pids"
    return until(lambda: file.exists() and len(found := file.read_text().split()) == 3 and found, "all three are there")


def test_the_whole_tree_ends_at_termination(pipeline: Pipeline, queue: str) -> None:
    job = pipeline.submit(queue, family(pipeline, "while :; do sleep 0.02; done"))
    family_pids = pids(pipeline)
    assert all(alive(pid) for pid in family_pids)
    pipeline.batch.terminate_job(jobId=job, reason="all of it")
    seen = pipeline.wait(job, "FAILED")
    assert (seen["statusReason"], seen["container"]["exitCode"]) == ("all of it", 143)
    assert not any(alive(pid) for pid in family_pids), "it is FAILED only when nothing of it is left"


def test_what_a_job_leaves_behind_ends_with_it(pipeline: Pipeline, queue: str) -> None:
    ending = f"while [ $(wc -l <{pipeline.folder}/pids) -lt 3 ]; do sleep 0.02; done; exit 0"
    job = pipeline.submit(queue, family(pipeline, f": >>{pipeline.folder}/pids; {ending}"))
    pipeline.wait(job, "SUCCEEDED")
    assert not any(alive(pid) for pid in pids(pipeline))


def test_a_grace_period_is_given(pipeline: Pipeline, queue: str) -> None:
    """SIGTERM is heeded: the job ends in its own way, and is FAILED all the same."""
    ready = pipeline.gate()
    script = f"trap 'echo tidied up; exit 0' TERM; : >{ready}; while :; do sleep 0.02; done"
    job = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]))
    until(ready.exists, "it listens")
    pipeline.batch.terminate_job(jobId=job, reason="please end")
    seen = pipeline.wait(job, "FAILED")
    assert (seen["statusReason"], seen["container"]["exitCode"]) == ("please end", 0)
    assert pipeline.output(job)[-1] == "tidied up"


# ---------------------------------------------------------------------------------------- directory and environment


def test_a_working_directory_of_its_own_that_goes(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    script = f'pwd; ls -A; echo "$AWS_BATCH_JOB_ID" >mine; while [ ! -e {gate} ]; do sleep 0.02; done; cat mine'
    array = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]), arrayProperties={"size": 2})
    until(lambda: pipeline.counts(array) == {"RUNNING": 2}, "both run")
    gate.touch()
    pipeline.wait(array, "SUCCEEDED")
    places = []
    for index in range(2):
        place, mine = pipeline.output(f"{array}:{index}")  # nothing was there before
        assert mine == f"{array}:{index}"
        places.append(place)
    assert places[0] != places[1]
    assert not any(os.path.exists(place) for place in places)


def test_a_session_without_input_and_with_the_limits_of_the_definition(pipeline: Pipeline, queue: str) -> None:
    script = "cat; ulimit -n; cut -d' ' -f6 /proc/$$/stat; echo $$"
    ulimits = [{"name": "nofile", "softLimit": 123, "hardLimit": 456}]
    job = pipeline.submit(queue, register(pipeline, "limits", ["sh", "-c", script], ulimits=ulimits))
    pipeline.wait(job, "SUCCEEDED")
    limit, session, pid = pipeline.output(job)
    assert limit == "123"
    assert session == pid


# ------------------------------------------------------------------------------------------- [process] in the settings


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can run jobs as another user")
def test_jobs_run_as_the_user_of_the_settings(configured: Server, tmp_path: Path) -> None:
    pipeline = Pipeline(configured, tmp_path)
    script = "id -un; echo x >mine && ls -l mine | cut -d' ' -f3; ls /root; sleep 600"
    job = pipeline.submit("default", pipeline.definition(["sh", "-c", script]))
    pipeline.wait(job, "RUNNING")
    until(lambda: len(pipeline.output(job)) == 3, "its words are there")
    first, second, third = pipeline.output(job)
    assert (first, second) == ("nobody", "nobody")
    assert "ermission denied" in third
    pipeline.batch.terminate_job(jobId=job, reason="enough")
    assert pipeline.wait(job, "FAILED")["container"]["exitCode"] == 143


def test_variables_of_the_settings_and_of_images(configured: Server, tmp_path: Path) -> None:
    """The operator's go to every job, the image's under them, the job's own over both; AWS_BATCH_* over all."""
    pipeline = Pipeline(configured, tmp_path)
    mapped = register(pipeline, "mapped", ["one", "two words"], image="tool:3")
    other = register(pipeline, "other", ["env"], image="registry.example/other")
    own = {"environment": [{"name": "SHAPE", "value": "of the job"}]}
    jobs = [pipeline.submit("default", definition, containerOverrides=own) for definition in (mapped, other)]
    for job in jobs:
        pipeline.wait(job, "SUCCEEDED")
    first, *lines = pipeline.output(jobs[0])
    assert first == "entry one two words"
    variables = dict(line.split("=", 1) for line in lines)
    assert variables["PATH"] == "/opt/tool/bin:/usr/bin:/bin"
    assert (variables["TOOL"], variables["SHAPE"], variables["COLOUR"]) == ("yes", "of the job", "of the operator")
    assert variables["S3_ENDPOINT"] == "http://127.0.0.1:9000"
    variables = dict(line.split("=", 1) for line in pipeline.output(jobs[1]))
    assert (variables["TOOL"], variables["SHAPE"]) == ("no", "of the job")
    assert variables["S3_ENDPOINT"] == "http://127.0.0.1:9000"
    shown = pipeline.job(jobs[0])["container"]
    assert shown["command"] == ["one", "two words"]
    assert shown["environment"] == own["environment"]


# ------------------------------------------------------------------------------------------------- what cannot start


@pytest.mark.parametrize("command", [["no-such-program", "x"], ["/etc/passwd"], []], ids=str)
def test_what_cannot_be_started_says_why_and_what_to_do(pipeline: Pipeline, queue: str, command: list[str]) -> None:
    definition = register(pipeline, "cannot", command, image="me/mine:1")
    job = pipeline.submit(queue, definition)
    seen = pipeline.wait(job, "FAILED")
    assert seen["statusReason"] == "Task failed to start"
    (attempt,) = seen["attempts"]
    assert attempt["statusReason"] == "Task failed to start"
    reason = attempt["container"]["reason"]
    assert reason.startswith("CannotStartContainerError: ")
    assert seen["container"]["reason"] == reason
    assert '[process.images."me/mine:1"]' in reason  # the hint
    assert "stoppedAt" in attempt
    assert "startedAt" not in attempt
    assert not {"exitCode", "logStreamName"} & (set(attempt["container"]) | set(seen["container"]))
    assert "startedAt" not in seen
    why = pipeline.server.cli("why", job)
    assert "never ran" in why
    assert "Task failed to start" in why


def test_what_a_host_process_cannot_have_is_refused(pipeline: Pipeline, queue: str) -> None:
    volume = {"name": "v", "host": {"sourcePath": "/tmp"}}
    mount = {"sourceVolume": "v", "containerPath": "/somewhere/else"}
    definition = register(pipeline, "mounts", ["true"], volumes=[volume], mountPoints=[mount])
    with pytest.raises(ClientError, match="host processes"):
        pipeline.submit(queue, definition)
    same = register(pipeline, "same", ["ls", "/tmp"], volumes=[volume], mountPoints=[mount | {"containerPath": "/tmp"}])
    pipeline.wait(pipeline.submit(queue, same), "SUCCEEDED")
