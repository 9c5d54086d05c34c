"""Jobs over the wire, on real processes: what they are given, and what DescribeJobs shows of them.

Sources: API_SubmitJob, API_JobDetail; AWS Batch user guide, "Job environment variables", "Job definition parameters".
"""

import os
import re
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

EXITED = "Essential container in task exited"


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for the tests of this file; each leaves it empty."""
    return Pipeline(server, tmp_path_factory.mktemp("queue")).queue(vcpus=8)


def overrides(**members: Any) -> dict[str, Any]:
    return {"containerOverrides": members}


def pairs(**variables: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


# ----------------------------------------------------------------------------------------------------- environment


def test_the_environment_is_the_job_s_and_the_service_s_alone(pipeline: Pipeline, queue: str) -> None:
    assert os.environ.get("PYTEST_CURRENT_TEST"), "the server has variables of its own to leak"
    job = pipeline.submit(queue, pipeline.definition(["env"]), **overrides(environment=pairs(MINE="1 2=3")))
    seen = pipeline.wait(job, "SUCCEEDED")
    environment = dict(line.split("=", 1) for line in pipeline.output(job))
    batch = {name: value for name, value in environment.items() if name.startswith("AWS")}
    assert batch == {
        "AWS_BATCH_CE_NAME": queue,  # its environment has the same name
        "AWS_BATCH_JQ_NAME": queue,
        "AWS_BATCH_JOB_ID": job,
        "AWS_BATCH_JOB_ATTEMPT": "1",
        "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
    }
    assert environment["MINE"] == "1 2=3"
    of_gpus = {"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"}  # on hosts that have some
    basics = {"PATH", "HOME", "TMPDIR", "LANG", "BATCHERY_ATTEMPT"}
    if "'slurm'" in pipeline.server.config.read_text():
        basics |= {"SLURM_JOB_ID", "SLURMD_NODENAME"}  # of the allocation that the job is in
    assert set(environment) - of_gpus == {*batch, "MINE", *basics}
    assert seen["container"]["environment"] == pairs(MINE="1 2=3")  # nothing of the service's is shown


def test_variables_of_an_array_child(pipeline: Pipeline, queue: str) -> None:
    job = pipeline.submit(queue, pipeline.definition(["env"]), arrayProperties={"size": 2})
    pipeline.wait(job, "SUCCEEDED")
    environment = dict(line.split("=", 1) for line in pipeline.output(f"{job}:1"))
    assert {name: value for name, value in environment.items() if name.startswith("AWS_BATCH_JOB")} == {
        "AWS_BATCH_JOB_ID": f"{job}:1",
        "AWS_BATCH_JOB_ATTEMPT": "1",
        "AWS_BATCH_JOB_ARRAY_INDEX": "1",
        "AWS_BATCH_JOB_ARRAY_SIZE": "2",
    }


def test_names_of_the_service_are_reserved(pipeline: Pipeline, queue: str) -> None:
    definition = pipeline.definition(["env"])
    with pytest.raises(ClientError, match="AWS_BATCH"):
        pipeline.submit(queue, definition, **overrides(environment=pairs(AWS_BATCH_MINE="1")))


# -------------------------------------------------------------------------------------- parameters and overrides


def test_parameters_have_defaults_and_submit_job_overrides_them(pipeline: Pipeline, queue: str) -> None:
    command = ["printf", "%s\\n", "Ref::whole", "--in=Ref::part/Ref::whole", "Ref::other", "Ref:single"]
    definition = pipeline.definition(command, parameters={"whole": "a default", "part": "p", "unused": "u"})
    job = pipeline.submit(queue, definition, parameters={"part": "given", "other": "$HOME; echo no shell here"})
    seen = pipeline.wait(job, "SUCCEEDED")
    expected = ["a default", "--in=given/a default", "$HOME; echo no shell here", "Ref:single"]
    assert pipeline.output(job) == expected
    assert seen["container"]["command"] == ["printf", "%s\\n", *expected]
    assert seen["parameters"] == {
        "whole": "a default",
        "part": "given",
        "unused": "u",
        "other": "$HOME; echo no shell here",
    }


def test_a_reference_without_a_value_is_refused(pipeline: Pipeline, queue: str) -> None:
    definition = pipeline.definition(["echo", "Ref::job_id"], parameters={"other": "x"})
    words = "Unable to substitute value. No parameter found for reference job_id"
    with pytest.raises(ClientError, match=words):
        pipeline.submit(queue, definition)
    pipeline.wait(pipeline.submit(queue, definition, **overrides(command=["true"])), "SUCCEEDED")


def test_only_the_command_is_substituted(pipeline: Pipeline, queue: str) -> None:
    definition = pipeline.definition(["sh", "-c", 'echo "$WORD"'], parameters={"word": "w"})
    job = pipeline.submit(queue, definition, **overrides(environment=pairs(WORD="Ref::word")))
    pipeline.wait(job, "SUCCEEDED")
    assert pipeline.output(job) == ["Ref::word"]


def test_overrides_are_merged(pipeline: Pipeline, queue: str) -> None:
    """Command replaced whole, environment united by name, resources by type, retries and timeout as a whole."""
    container = {
        "image": "busybox",
        "command": ["false"],
        "environment": pairs(FIRST="1", SECOND="2"),
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
    }
    definition = pipeline.batch.register_job_definition(
        jobDefinitionName="merged",
        type="container",
        containerProperties=container,
        retryStrategy={"attempts": 4, "evaluateOnExit": [{"action": "RETRY", "onExitCode": "9"}]},
        timeout={"attemptDurationSeconds": 100},
    )["jobDefinitionArn"]
    job = pipeline.submit(
        queue,
        definition,
        retryStrategy={"attempts": 2},
        timeout={"attemptDurationSeconds": 200},
        **overrides(
            command=["sh", "-c", 'echo "$FIRST $SECOND $THIRD"'],
            environment=pairs(SECOND="two", THIRD="3"),
            resourceRequirements=[{"type": "VCPU", "value": "2"}],
        ),
    )
    seen = pipeline.wait(job, "SUCCEEDED")
    assert pipeline.output(job) == ["1 two 3"]
    assert seen["container"]["command"] == ["sh", "-c", 'echo "$FIRST $SECOND $THIRD"']
    assert seen["container"]["environment"] == pairs(FIRST="1", SECOND="two", THIRD="3")
    requirements = {item["type"]: item["value"] for item in seen["container"]["resourceRequirements"]}
    assert requirements == {"VCPU": "2", "MEMORY": "16"}
    assert seen["retryStrategy"] == {"attempts": 2, "evaluateOnExit": []}
    assert seen["timeout"] == {"attemptDurationSeconds": 200}
    plain = pipeline.submit(queue, definition, **overrides(command=["true"]))
    assert pipeline.wait(plain, "SUCCEEDED")["timeout"] == {"attemptDurationSeconds": 100}
    assert pipeline.job(plain)["retryStrategy"]["attempts"] == 4


def test_overrides_that_are_too_large_fail_the_job_later(pipeline: Pipeline, queue: str) -> None:
    definition = pipeline.definition(["true"])
    job = pipeline.submit(queue, definition, **overrides(environment=pairs(LONG="x" * 8200)))
    seen = pipeline.wait(job, "FAILED")
    assert seen["statusReason"] == "Container Overrides length must be at most 8192"
    assert seen["attempts"] == []
    assert "startedAt" not in seen
    fits = pipeline.submit(queue, definition, **overrides(environment=pairs(LONG="x" * 7000)))
    pipeline.wait(fits, "SUCCEEDED")


# ------------------------------------------------------------------------------------------------------ what shows


def test_what_a_job_shows_from_its_start_to_its_end(pipeline: Pipeline, queue: str) -> None:
    before = time.time() * 1000
    gate = pipeline.gate()
    definition = pipeline.waiting(gate)
    job = pipeline.submit(queue, definition, tags={"team": "a"}, propagateTags=True)
    running = pipeline.wait(job, "RUNNING")
    assert running["attempts"] == []
    assert {"startedAt", "createdAt"} <= set(running)
    assert not {"stoppedAt", "statusReason", "isCancelled", "isTerminated", "arrayProperties"} & set(running)
    assert not {"exitCode", "reason"} & set(running["container"])
    task = running["container"]["taskArn"].rpartition("/")[2]
    assert re.fullmatch(r"[0-9a-f]{32}", task)
    name = definition.rpartition("/")[2].partition(":")[0]
    assert running["container"]["logStreamName"] == f"{name}/default/{task}"
    gate.touch()
    ended = pipeline.wait(job, "SUCCEEDED")
    assert ended["statusReason"] == EXITED
    assert before - 1 <= ended["createdAt"] <= ended["startedAt"] <= ended["stoppedAt"] <= time.time() * 1000 + 1
    assert all(isinstance(ended[name], int) for name in ("createdAt", "startedAt", "stoppedAt"))
    (attempt,) = ended["attempts"]
    assert attempt == {
        "container": {
            "containerInstanceArn": running["container"]["containerInstanceArn"],
            "taskArn": running["container"]["taskArn"],
            "exitCode": 0,
            "logStreamName": running["container"]["logStreamName"],
            "networkInterfaces": [],
        },
        "startedAt": running["startedAt"],
        "stoppedAt": attempt["stoppedAt"],
        "statusReason": EXITED,
    }
    assert attempt["startedAt"] <= attempt["stoppedAt"] <= ended["stoppedAt"]
    same = ("containerInstanceArn", "taskArn", "exitCode", "logStreamName")
    assert {name: ended["container"][name] for name in same} == {name: attempt["container"][name] for name in same}
    assert (ended["jobQueue"].rpartition("/")[2], ended["jobDefinition"]) == (queue, definition)
    assert (ended["tags"], ended["propagateTags"]) == ({"team": "a"}, True)
    assert (ended["dependsOn"], ended["eksAttempts"], ended["platformCapabilities"]) == ([], [], [])
    assert not {"retryStrategy", "timeout"} & set(ended)  # shown only where they were set


@pytest.mark.parametrize(
    ("script", "code"), [("exit 3", 3), ("kill -KILL $$", 137), ("kill -TERM $$", 143), ("exit 255", 255)]
)
def test_exit_codes(pipeline: Pipeline, queue: str, script: str, code: int) -> None:
    seen = pipeline.wait(pipeline.submit(queue, pipeline.definition(["sh", "-c", script])), "FAILED")
    assert seen["statusReason"] == EXITED
    assert seen["container"]["exitCode"] == seen["attempts"][0]["container"]["exitCode"] == code
    assert "reason" not in seen["container"]
    assert not {"isCancelled", "isTerminated"} & set(seen)


def test_a_job_that_waits_has_no_times_of_a_run(pipeline: Pipeline) -> None:
    seen = pipeline.wait(pipeline.submit(pipeline.queue(state="DISABLED"), pipeline.definition(["true"])), "RUNNABLE")
    assert not {"startedAt", "stoppedAt"} & set(seen)
    assert not {"taskArn", "logStreamName", "exitCode"} & set(seen["container"])
    assert seen["attempts"] == []


def test_a_definition_may_be_named_in_any_way(pipeline: Pipeline, queue: str) -> None:
    """By name it is the newest ACTIVE revision; a revision deregistered since runs for those that have it."""
    arn = pipeline.definition(["echo", "first"])
    name = arn.rpartition("/")[2].partition(":")[0]
    gate = pipeline.gate()
    waiting = pipeline.submit(queue, pipeline.waiting(gate))
    on_first = pipeline.submit(queue, f"{name}:1", dependsOn=[{"jobId": waiting}])
    container = pipeline.job(on_first)["container"]
    wanted = {key: container[key] for key in ("image", "resourceRequirements")} | {"command": ["echo", "second"]}
    pipeline.batch.register_job_definition(jobDefinitionName=name, type="container", containerProperties=wanted)
    for ref in (name, arn.rpartition(":")[0], f"{name}:2"):
        job = pipeline.submit(queue, ref)
        assert pipeline.wait(job, "SUCCEEDED")["jobDefinition"].endswith(f"/{name}:2")
        assert pipeline.output(job) == ["second"]
    pipeline.batch.deregister_job_definition(jobDefinition=arn)
    with pytest.raises(ClientError, match="ACTIVE"):
        pipeline.submit(queue, f"{name}:1")
    pipeline.batch.deregister_job_definition(jobDefinition=f"{name}:2")
    with pytest.raises(ClientError, match="ACTIVE"):
        pipeline.submit(queue, name)
    gate.touch()
    pipeline.wait(on_first, "SUCCEEDED")
    assert pipeline.output(on_first) == ["first"]


def test_describe_jobs_keeps_the_order_that_was_asked_for(pipeline: Pipeline, queue: str) -> None:
    definition = pipeline.definition(["true"])
    one, two = (pipeline.submit(queue, definition) for _ in range(2))
    array = pipeline.submit(queue, definition, arrayProperties={"size": 3})
    for job in (one, two, array):
        pipeline.wait(job, "SUCCEEDED")
    wanted = [two, f"{array}:2", one, array, f"{array}:0"]
    nobody = [f"{array}:3", f"{one}:0", "no-such-job", "00000000-0000-4000-8000-000000000000"]
    found = pipeline.batch.describe_jobs(jobs=[wanted[0], *nobody, *wanted[1:], two])["jobs"]
    assert [job["jobId"] for job in found] == wanted


def test_every_state_is_passed_in_order(pipeline: Pipeline) -> None:
    """SUBMITTED, RUNNABLE, STARTING, RUNNING, each held until it was seen."""
    queue = pipeline.queue(vcpus=1, state="DISABLED")
    gate, starting = pipeline.gate(), pipeline.gate()
    variable = overrides(environment=pairs(STARTING_GATE=str(starting)))
    job = pipeline.submit(queue, pipeline.waiting(gate), **variable)
    pipeline.wait(job, "RUNNABLE")
    pipeline.set_environment(queue, state="ENABLED")
    seen = pipeline.wait(job, "STARTING")
    assert "startedAt" not in seen
    assert "taskArn" in seen["container"]
    assert "logStreamName" not in seen["container"]  # the container does not run yet
    until(lambda: starting.with_name(starting.name + ".reached").exists(), "the prolog runs")
    starting.touch()
    assert "startedAt" in pipeline.wait(job, "RUNNING")
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")
