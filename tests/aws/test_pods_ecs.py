"""Jobs of several containers (ecsProperties) over the wire, on real processes or containers.

Sources: API_EcsTaskProperties, API_TaskContainerProperties, API_TaskContainerDependency, API_TaskContainerOverrides;
AWS Batch user guide, "Multi-container jobs".
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until
from wire_pods import by_name, container, ended, lines, register, task_of, waits

EXITED = "Essential container in task exited"
ROLE = "arn:aws:iam::123456789012:role/job"


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return Pipeline(server, tmp_path_factory.mktemp("queue")).queue(vcpus=16)


# ------------------------------------------------------------------------------------------------------------- life


def test_each_container_has_a_code_a_log_and_its_part_of_the_description(pipeline: Pipeline, queue: str) -> None:
    definition = register(
        pipeline,
        container("main", "echo from main; exit 0"),
        container("side", "echo from side; exit 3", essential=False),
        task={"taskRoleArn": ROLE, "executionRoleArn": ROLE},
    )
    gate, with_role = pipeline.gate(), "echo from main${AWS_CONTAINER_CREDENTIALS_FULL_URI:+ with keys}"
    held = {"ecsPropertiesOverride": {"taskProperties": [{"containers": [
        {"name": "main", "command": ["sh", "-c", waits(gate, with_role)]}]}]}}  # fmt: skip
    job = pipeline.submit(queue, definition, **held)
    running = pipeline.wait(job, "RUNNING")
    assert task_of(running)["taskArn"].startswith("arn:aws:ecs:")
    assert running["container"] == {}
    assert running["attempts"] == []
    gate.touch()
    seen = ended(pipeline, job)
    assert (seen["status"], seen["statusReason"]) == ("SUCCEEDED", EXITED)
    task = task_of(seen)
    assert (task["taskRoleArn"], task["executionRoleArn"]) == (ROLE, ROLE)
    shown = by_name(task["containers"])
    assert {name: one["exitCode"] for name, one in shown.items()} == {"main": 0, "side": 3}
    task_id = task["taskArn"].rpartition("/")[2]
    prefix = definition.rpartition("/")[2].partition(":")[0]
    for name, one in shown.items():
        assert one["logStreamName"] == f"{prefix}/{name}/{task_id}"
        assert lines(pipeline, one["logStreamName"]) == [{"main": "from main with keys", "side": "from side"}[name]]
        assert one["networkInterfaces"] == []
    (attempt,) = seen["attempts"]
    assert attempt["container"] == {}
    (told,) = attempt["taskProperties"]
    assert told["taskArn"] == task["taskArn"]
    assert told["containerInstanceArn"] == task["containerInstanceArn"]
    assert {one["name"]: one["exitCode"] for one in told["containers"]} == {"main": 0, "side": 3}
    described = pipeline.batch.describe_job_definitions(jobDefinitions=[definition])["jobDefinitions"][0]
    assert described["containerOrchestrationType"] == "ECS"
    assert [one["name"] for one in described["ecsProperties"]["taskProperties"][0]["containers"]] == ["main", "side"]


def test_the_end_of_an_essential_container_stops_the_others(pipeline: Pipeline, queue: str) -> None:
    side = "trap 'echo stopped; exit 7' TERM; while :; do sleep 0.05; done"
    gate = pipeline.gate()
    definition = register(pipeline, container("side", side, essential=False), container("main", waits(gate)))
    job = pipeline.submit(queue, definition)
    pipeline.wait(job, "RUNNING")
    gate.touch()
    seen = ended(pipeline, job)
    assert seen["status"] == "SUCCEEDED"
    shown = by_name(task_of(seen)["containers"])
    assert (shown["main"]["exitCode"], shown["side"]["exitCode"]) == (0, 7)
    assert lines(pipeline, shown["side"]["logStreamName"])[-1] == "stopped"


def test_what_is_not_essential_may_fail(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    definition = register(pipeline, container("side", "exit 9", essential=False), container("main", waits(gate)))
    job = pipeline.submit(queue, definition)
    pipeline.wait(job, "RUNNING")
    gate.touch()
    assert ended(pipeline, job)["status"] == "SUCCEEDED"


def test_a_container_that_does_not_stop_is_killed_after_its_stop_timeout(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    side = f"trap '' TERM; : >{gate}.side; while :; do sleep 0.05; done"
    definition = register(
        pipeline, container("side", side, essential=False, stopTimeout=2), container("main", waits(gate))
    )
    job = pipeline.submit(queue, definition)
    until(lambda: gate.with_name(gate.name + ".side").exists(), "the side runs")
    gate.touch()
    seen = ended(pipeline, job)
    assert by_name(task_of(seen)["containers"])["side"]["exitCode"] == 137
    assert seen["stoppedAt"] - seen["startedAt"] >= 1900


def test_dependencies_decide_the_order(pipeline: Pipeline, queue: str) -> None:
    record = pipeline.gate()
    definition = register(
        pipeline,
        container("main", f"echo main >>{record}", dependsOn=[{"containerName": "second", "condition": "SUCCESS"}]),
        container("first", f"echo first >>{record}; exit 4", essential=False),
        container(
            "second",
            f"echo second >>{record}",
            essential=False,
            dependsOn=[{"containerName": "first", "condition": "COMPLETE"}],
        ),
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert seen["status"] == "SUCCEEDED"
    assert record.read_text().split() == ["first", "second", "main"]


def test_a_container_may_wait_for_the_start_of_another_and_the_job_is_starting_until_all_have(
    pipeline: Pipeline, queue: str
) -> None:
    gate, end = pipeline.gate(), pipeline.gate()
    definition = register(
        pipeline,
        container("log", waits(end), essential=False, dependsOn=[{"containerName": "setup", "condition": "SUCCESS"}]),
        container("setup", waits(gate), essential=False),
        container("main", waits(end), dependsOn=[{"containerName": "log", "condition": "START"}]),
    )
    job = pipeline.submit(queue, definition)
    pipeline.wait(job, "STARTING")
    gate.touch()
    pipeline.wait(job, "RUNNING")
    end.touch()
    assert ended(pipeline, job)["status"] == "SUCCEEDED"


def test_a_dependency_that_fails_is_a_failure_to_start_and_is_retried(pipeline: Pipeline, queue: str) -> None:
    definition = register(
        pipeline,
        container("main", dependsOn=[{"containerName": "setup", "condition": "SUCCESS"}]),
        container("setup", "exit 3", essential=False),
        retryStrategy={"attempts": 2},
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert (seen["status"], seen["statusReason"]) == ("FAILED", "Task failed to start")
    assert len(seen["attempts"]) == 2
    for attempt in seen["attempts"]:
        assert "startedAt" not in attempt
        told = by_name(attempt["taskProperties"][0]["containers"])
        assert told["setup"]["exitCode"] == 3
        assert "exitCode" not in told["main"]
        assert told["main"]["reason"] == "CannotStartContainerError: dependency setup exited with 3"
        assert "logStreamName" in told["setup"]
        assert "logStreamName" not in told["main"]


def test_nobody_waits_longer_than_the_start_timeout(pipeline: Pipeline, queue: str) -> None:
    definition = register(
        pipeline,
        container("main", dependsOn=[{"containerName": "setup", "condition": "COMPLETE"}]),
        container("setup", waits(pipeline.gate()), essential=False, startTimeout=2),
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert seen["statusReason"] == "Task failed to start"
    reason = by_name(task_of(seen)["containers"])["main"]["reason"]
    assert reason == "CannotStartContainerError: dependency setup did not reach COMPLETE in 2 s"


def test_retry_rules_look_at_the_first_essential_container_that_failed(pipeline: Pipeline, queue: str) -> None:
    definition = register(
        pipeline,
        container("other", waits(pipeline.gate())),
        container("main", 'exit "$AWS_BATCH_JOB_ATTEMPT"'),
        retryStrategy={"attempts": 4, "evaluateOnExit": [{"onExitCode": "2", "action": "EXIT"}]},
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert seen["status"] == "FAILED"
    codes = [by_name(a["taskProperties"][0]["containers"])["main"]["exitCode"] for a in seen["attempts"]]
    assert codes == [1, 2]


def test_a_termination_ends_all_of_it(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    definition = register(pipeline, container("a", waits(gate)), container("b", waits(gate)))
    job = pipeline.submit(queue, definition)
    pipeline.wait(job, "RUNNING")
    pipeline.batch.terminate_job(jobId=job, reason="enough")
    seen = ended(pipeline, job)
    assert (seen["status"], seen["statusReason"]) == ("FAILED", "enough")
    assert {one["exitCode"] for one in task_of(seen)["containers"]} <= {137, 143}


def test_children_of_an_array_have_several_containers_too(pipeline: Pipeline, queue: str) -> None:
    definition = register(
        pipeline, container("main", 'echo "$AWS_BATCH_JOB_ARRAY_INDEX"'), container("side", essential=False)
    )
    job = pipeline.submit(queue, definition, arrayProperties={"size": 2})
    pipeline.wait(job, "SUCCEEDED")
    for index in ("0", "1"):
        shown = by_name(task_of(pipeline.job(f"{job}:{index}"))["containers"])
        assert lines(pipeline, shown["main"]["logStreamName"]) == [index]


# -------------------------------------------------------------------------------------- overrides, members of a task


def test_overrides_reach_containers_by_name(pipeline: Pipeline, queue: str) -> None:
    definition = register(
        pipeline,
        container("main", 'echo "$A $B"', environment=[{"name": "A", "value": "a"}, {"name": "B", "value": "b"}]),
        container("side", "echo Ref::word", essential=False),
        parameters={"word": "default"},
    )
    sent = {
        "name": "main",
        "environment": [{"name": "B", "value": "changed"}],
        "resourceRequirements": [{"type": "MEMORY", "value": "48"}],
    }
    job = pipeline.submit(
        queue,
        definition,
        parameters={"word": "given"},
        ecsPropertiesOverride={"taskProperties": [{"containers": [sent]}]},
    )
    seen = ended(pipeline, job)
    shown = by_name(task_of(seen)["containers"])
    assert lines(pipeline, shown["main"]["logStreamName"]) == ["a changed"]
    assert lines(pipeline, shown["side"]["logStreamName"]) in (["given"], [])  # main may end first
    assert shown["side"]["command"] == ["sh", "-c", "echo given"]
    assert shown["main"]["environment"] == [{"name": "A", "value": "a"}, {"name": "B", "value": "changed"}]
    assert {r["type"]: r["value"] for r in shown["main"]["resourceRequirements"]} == {"VCPU": "1", "MEMORY": "48"}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"ecsPropertiesOverride": {"taskProperties": [{"containers": [{"name": "other"}]}]}}, "other"),
        ({"containerOverrides": {"command": ["true"]}}, "containerOverrides"),
        ({"eksPropertiesOverride": {}}, "eksPropertiesOverride"),
        ({"ecsPropertiesOverride": {"taskProperties": [{"containers": []}, {"containers": []}]}}, "at most one"),
        ({"ecsPropertiesOverride": {"taskProperties": [{"containers": [{"name": "main", "command": [""]}]}]}}, "empty"),
    ],
)
def test_overrides_that_do_not_fit_are_refused(
    pipeline: Pipeline, queue: str, override: dict[str, Any], words: str
) -> None:
    definition = register(pipeline, container("main"))
    with pytest.raises(ClientError, match=words):
        pipeline.submit(queue, definition, **override)


def test_resources_are_those_of_all_containers_together(pipeline: Pipeline) -> None:
    queue, gate = pipeline.queue(vcpus=3), pipeline.gate()
    definition = register(pipeline, container("a", waits(gate)), container("b", waits(gate)))
    first, second = pipeline.submit(queue, definition), pipeline.submit(queue, definition)
    pipeline.wait(first, "RUNNING")
    assert pipeline.status(second) == "RUNNABLE"
    gate.touch()
    ended(pipeline, second)


def test_a_volume_of_the_host_is_seen_by_all(pipeline: Pipeline, queue: str) -> None:
    shared = pipeline.folder / "shared"
    shared.mkdir()
    mounts = [{"sourceVolume": "data", "containerPath": str(shared)}]
    definition = register(
        pipeline,
        container("write", f"echo hello >{shared}/file", essential=False, mountPoints=mounts),
        container(
            "read",
            f"cat {shared}/file",
            mountPoints=[{**mounts[0], "readOnly": False}],
            dependsOn=[{"containerName": "write", "condition": "SUCCESS"}],
        ),
        task={"volumes": [{"name": "data", "host": {"sourcePath": str(shared)}}]},
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert seen["status"] == "SUCCEEDED"
    assert lines(pipeline, by_name(task_of(seen)["containers"])["read"]["logStreamName"]) == ["hello"]


def test_each_container_may_have_a_log_group_and_prefix_of_its_own(pipeline: Pipeline, queue: str) -> None:
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "mine", "awslogs-stream-prefix": "here"}}
    definition = register(
        pipeline,
        container("main", "echo of main", dependsOn=[{"containerName": "side", "condition": "COMPLETE"}]),
        container("side", "echo of side", essential=False, logConfiguration=logs),
    )
    shown = by_name(task_of(ended(pipeline, pipeline.submit(queue, definition)))["containers"])
    assert shown["side"]["logStreamName"].startswith("here/side/")
    assert lines(pipeline, shown["side"]["logStreamName"], "mine") == ["of side"]
    assert lines(pipeline, shown["main"]["logStreamName"]) == ["of main"]


def test_limits_of_a_container_are_its_own(pipeline: Pipeline, queue: str) -> None:
    limit = [{"name": "nofile", "softLimit": 77, "hardLimit": 88}]
    definition = register(
        pipeline,
        container("main", "ulimit -n", ulimits=limit),
        container("side", "exit 0", essential=False),
    )
    shown = by_name(task_of(ended(pipeline, pipeline.submit(queue, definition)))["containers"])
    assert lines(pipeline, shown["main"]["logStreamName"]) == ["77"]


def test_what_has_no_meaning_here_is_kept_and_shown(pipeline: Pipeline, queue: str) -> None:
    definition = register(
        pipeline,
        container("main", firelensConfiguration={"type": "fluentbit", "options": {"enable-ecs-log-metadata": "true"}}),
        task={"enableExecuteCommand": True, "runtimePlatform": {"cpuArchitecture": "X86_64"}},
    )
    task = task_of(ended(pipeline, pipeline.submit(queue, definition)))
    assert task["enableExecuteCommand"] is True
    assert task["runtimePlatform"] == {"cpuArchitecture": "X86_64"}
    assert task["containers"][0]["firelensConfiguration"]["type"] == "fluentbit"


def test_a_secret_is_seen_by_the_container_that_names_it_alone(
    own_server: Callable[..., Server], tmp_path: Path
) -> None:
    values = tmp_path / "secrets.toml"
    values.touch(0o600)
    values.write_text('"/team/token" = "hidden"\n')
    server = own_server(process=f"[secrets]\nfile = '{values}'\n")
    pipeline = Pipeline(server, tmp_path)
    look = 'echo "${TOKEN-none}"'
    definition = register(
        pipeline,
        container("main", look, secrets=[{"name": "TOKEN", "valueFrom": "/team/token"}]),
        container("side", look),
        task={"executionRoleArn": ROLE},
    )
    seen = ended(pipeline, pipeline.submit("default", definition))
    shown = by_name(task_of(seen)["containers"])
    assert lines(pipeline, shown["main"]["logStreamName"]) == ["hidden"]
    assert lines(pipeline, shown["side"]["logStreamName"]) in (["none"], [])  # it may be stopped before
    assert "hidden" not in str(seen)


def test_jobs_for_windows_are_refused(pipeline: Pipeline, queue: str) -> None:
    one = container("main")
    del one["linuxParameters"]
    task = {"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2019_CORE"}}
    definition = register(pipeline, one, task=task)
    with pytest.raises(ClientError, match="WINDOWS_SERVER_2019_CORE"):
        pipeline.submit(queue, definition)
