"""jobs, why, logs and the pytest plugin, against a server of the plugin."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from batchery.cli import main
from batchery.testing import Batchery

Cli = Callable[..., Result]
Eventually = Callable[[Callable[[], object], str], None]
NEED = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]


@pytest.fixture
def cli(batchery: Batchery, batchery_reset: None) -> Cli:
    """Runs `batchery ARGUMENTS` against the session's server, which is empty."""
    return lambda *arguments: CliRunner().invoke(main, ["--url", batchery.url, *arguments])


@pytest.fixture
def batch(batchery: Batchery) -> Any:
    return batchery.client("batch")


@pytest.fixture
def submit(batch: Any) -> Callable[..., str]:
    """Submit a shell script; its id."""

    def submit(name: str, script: str, **members: Any) -> str:
        definition = batch.register_job_definition(
            jobDefinitionName="shell",
            type="container",
            containerProperties={"image": "x", "command": ["sh", "-c", script], "resourceRequirements": NEED},
        )["jobDefinitionArn"]
        job = batch.submit_job(jobName=name, jobQueue="default", jobDefinition=definition, **members)
        return str(job["jobId"])

    return submit


@pytest.fixture
def status(batch: Any) -> Callable[[str], str]:
    return lambda job: str(batch.describe_jobs(jobs=[job])["jobs"][0]["status"])


def test_an_ended_job_everywhere(
    cli: Cli, submit: Callable[..., str], status: Callable[[str], str], eventually: Eventually
) -> None:
    job = submit("hello", "echo out; echo err >&2; exit 3")
    followed = cli("logs", "--follow", "hello")
    assert (followed.output, followed.exit_code) == ("out\nerr\n", 0)
    assert cli("logs", job[:13], "--attempt", "1").output == "out\nerr\n"
    eventually(lambda: status(job) == "FAILED", "the job ended")
    (shown,) = json.loads(cli("jobs", "--json").output)["jobs"]
    assert (shown["id"], shown["name"], shown["status"], shown["exitCode"]) == (job, "hello", "FAILED", 3)
    assert shown["created"] <= shown["started"] <= shown["stopped"]
    assert (shown["attempts"], shown["definition"].partition(":")[0]) == (1, "shell")
    assert job in cli("jobs", "--status", "FAILED").output
    assert cli("jobs", "--status", "succeeded").output == "No such jobs.\n"
    why = cli("why", "hello").output
    assert why.startswith(f"hello ({job}) is FAILED.\n  Attempt 1 ran 0.")
    assert "exit code 3; CPU time 0." in why
    assert json.loads(cli("why", job, "--json").output)["status"] == "FAILED"


def test_output_of_each_attempt(
    cli: Cli, submit: Callable[..., str], status: Callable[[str], str], eventually: Eventually
) -> None:
    job = submit("twice", "echo attempt $AWS_BATCH_JOB_ATTEMPT; exit 1", retryStrategy={"attempts": 2})
    eventually(lambda: status(job) == "FAILED", "the job ended")
    assert cli("logs", job).output == "attempt 2\n"
    assert cli("logs", job, "--attempt", "1").output == "attempt 1\n"
    assert cli("logs", job, "--attempt", "3").exit_code == 4
    assert "The job was tried again." in cli("why", job).output
    assert cli("logs", "--timestamps", job).output.endswith(" attempt 2\n")


def test_arrays_and_dependents(
    cli: Cli, submit: Callable[..., str], status: Callable[[str], str], tmp_path: Path, eventually: Eventually
) -> None:
    gate = tmp_path / "gate"
    script = f"while [ ! -e {gate} ]; do sleep 0.02; done; test $AWS_BATCH_JOB_ARRAY_INDEX != 1"
    array = submit("array", script, arrayProperties={"size": 3})
    after = submit("after", "true", dependsOn=[{"jobId": array}])
    assert f"It waits for {array}" in cli("why", after).output
    assert "3 of its 3 children have not ended." in cli("why", array).output
    assert cli("logs", array).exit_code == 4
    gate.touch()
    eventually(lambda: status(after) == "FAILED", "the dependent ended")
    why = cli("why", array).output
    assert "2 children SUCCEEDED.\n" in why
    assert "1 child FAILED (1): Essential container in task exited" in why
    assert "exit code 1" in cli("why", f"{array}:1").output
    assert f"It depends on {array} (array), which FAILED: Array Child Job failed" in cli("why", after).output
    shown = {job["name"]: job for job in json.loads(cli("jobs", "--json").output)["jobs"]}
    assert (shown["array"]["size"], shown["array"]["summary"]["SUCCEEDED"]) == (3, 2)
    assert "2 SUCCEEDED, 1 FAILED. Array Child Job failed" in cli("jobs").output
    assert [job["name"] for job in json.loads(cli("jobs", "--json", "--limit", "1").output)["jobs"]] == ["after"]


def test_a_cancelled_job_says_who_asked(
    cli: Cli, submit: Callable[..., str], batch: Any, tmp_path: Path, eventually: Eventually
) -> None:
    gate = tmp_path / "gate"
    first = submit("first", f"while [ ! -e {gate} ]; do sleep 0.02; done")
    second = submit("second", "true", dependsOn=[{"jobId": first}])
    batch.cancel_job(jobId=second, reason="Not today.")
    waiting = json.loads(cli("why", second, "--json").output)
    assert (waiting["status"], waiting["waitsFor"]) == ("PENDING", [first])
    assert "It was asked to end: Not today." in waiting["lines"]
    gate.touch()
    eventually(lambda: json.loads(cli("why", second, "--json").output)["status"] == "FAILED", "it is FAILED")
    assert "CancelJob asked for its end: Not today." in cli("why", second).output


def test_a_job_that_fits_nowhere_says_what_each_environment_lacks(
    cli: Cli, submit: Callable[..., str], batch: Any
) -> None:
    much = {"resourceRequirements": [{"type": "VCPU", "value": "4096"}]}
    job = submit("much", "true", containerOverrides=much)
    told = cli("why", job).output
    assert "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE" in told
    assert "  default: too small: 4096 vCPU" in told
    batch.terminate_job(jobId=job, reason="It never runs.")


@pytest.mark.parametrize("command", ["why", "logs"])
def test_jobs_that_are_not_there(cli: Cli, command: str) -> None:
    for ref in ("nosuch", "01a20658-a265-702d-ba95-dd8cbcf0b3b2", "01a20658-a265-702d-ba95-dd8cbcf0b3b2:3"):
        result = cli(command, ref)
        assert (result.exit_code, result.stdout) == (4, "")
        assert ref in result.stderr


def test_wrong_questions_are_refused(cli: Cli) -> None:
    assert cli("jobs", "--queue", "nosuch").exit_code == 1
    assert cli("jobs", "--status", "DONE").exit_code == 2
    assert cli("jobs", "--limit", "0").exit_code == 2


def test_nobody_answers() -> None:
    for arguments in (["jobs"], ["why", "x"], ["logs", "x"]):
        result = CliRunner().invoke(main, ["--url", "http://127.0.0.1:1", *arguments])
        assert result.exit_code == 3
        assert "Start one with `batchery serve`" in result.stderr
    assert CliRunner().invoke(main, ["--url", "nonsense", "jobs"]).exit_code == 3


def test_output_of_a_service_job(cli: Cli, batch: Any, eventually: Eventually) -> None:
    _quota_managed(batch, eventually)
    payload = {
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2},
        "AlgorithmSpecification": {"ContainerEntrypoint": ["sh", "-c", "echo I am $SM_CURRENT_HOST"]},
    }
    job = batch.submit_service_job(
        jobName="first",
        jobQueue="trains",
        serviceJobType="SAGEMAKER_TRAINING",
        quotaShareName="blue",
        serviceRequestPayload=json.dumps(payload),
    )["jobId"]
    assert cli("logs", "--follow", job).output == "I am algo-1\n"
    eventually(lambda: batch.describe_service_job(jobId=job)["status"] == "SUCCEEDED", "the job ended")
    assert cli("logs", job, "--attempt", "1").output == "I am algo-1\n"
    assert cli("logs", job, "--attempt", "2").exit_code == 4


def test_reset_leaves_nothing(
    batchery: Batchery, batch: Any, submit: Callable[..., str], eventually: Eventually
) -> None:
    resources = {"type": "EC2", "minvCpus": 0, "maxvCpus": 4, "instanceTypes": ["optimal"], "subnets": ["subnet-1"],
                 "securityGroupIds": ["sg-1"], "instanceRole": "ecsInstanceRole"}  # fmt: skip
    batch.create_compute_environment(computeEnvironmentName="mine", type="MANAGED", computeResources=resources)

    def valid(operation: str, member: str) -> bool:
        return all(item["status"] == "VALID" for item in getattr(batch, operation)()[member])

    eventually(lambda: valid("describe_compute_environments", "computeEnvironments"), "the environment is VALID")
    batch.create_job_queue(
        jobQueueName="mine", priority=1, computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "mine"}]
    )
    batch.create_consumable_resource(consumableResourceName="mine", totalQuantity=1)
    _quota_managed(batch, eventually)
    limit = {"reason": "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", "state": "RUNNABLE", "maxTimeSeconds": 600}
    batch.update_job_queue(jobQueue="default", priority=7, jobStateTimeLimitActions=[limit | {"action": "CANCEL"}])
    job = submit("long", "sleep 600")
    eventually(lambda: batch.describe_jobs(jobs=[job])["jobs"][0]["status"] == "RUNNING", "the job runs")
    batch.update_compute_environment(computeEnvironment="default", state="DISABLED")
    logs = batchery.client("logs")
    logs.create_log_group(logGroupName="mine")
    batchery.reset()
    assert batch.describe_jobs(jobs=[job])["jobs"] == []
    assert batch.list_jobs(jobQueue="default", jobStatus="FAILED")["jobSummaryList"] == []
    assert [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]] == ["/aws/batch/job"]
    assert logs.describe_log_streams(logGroupName="/aws/batch/job")["logStreams"] == []
    (queue,) = batch.describe_job_queues()["jobQueues"]
    (environment,) = batch.describe_compute_environments()["computeEnvironments"]
    assert (queue["jobQueueName"], environment["computeEnvironmentName"]) == ("default", "default")
    assert (queue["state"], queue["priority"], environment["state"]) == ("ENABLED", 1, "ENABLED")
    assert "jobStateTimeLimitActions" not in queue
    assert batch.describe_service_environments()["serviceEnvironments"] == []
    assert batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"] == []
    assert batch.list_consumable_resources()["consumableResources"] == []
    assert batch.list_scheduling_policies()["schedulingPolicies"] == []


def _quota_managed(batch: Any, eventually: Eventually) -> None:
    """A queue of service jobs with a quota share."""
    limits = [{"maxCapacity": 2, "capacityUnit": "ml.m5.large"}]
    kind = "SAGEMAKER_TRAINING"
    rule = batch.create_scheduling_policy(name="mine", quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"})
    batch.create_service_environment(
        serviceEnvironmentName="trains", serviceEnvironmentType=kind, capacityLimits=limits
    )
    there = batch.describe_service_environments
    eventually(lambda: there()["serviceEnvironments"][0]["status"] == "VALID", "the service environment is VALID")
    order = [{"order": 1, "serviceEnvironment": "trains"}]
    named = {"jobQueueName": "trains", "jobQueueType": kind, "priority": 1}
    batch.create_job_queue(**named, serviceEnvironmentOrder=order, schedulingPolicyArn=rule["arn"])
    found = batch.describe_job_queues
    eventually(lambda: found(jobQueues=["trains"])["jobQueues"][0]["status"] == "VALID", "the queue is VALID")
    batch.create_quota_share(
        quotaShareName="blue",
        jobQueue="trains",
        capacityLimits=limits,
        resourceSharingConfiguration={"strategy": "RESERVE"},
        preemptionConfiguration={"inSharePreemption": "DISABLED"},
    )


def test_what_is_ready_made_comes_back(
    batchery: Batchery, batch: Any, submit: Callable[..., str], status: Callable[[str], str], eventually: Eventually
) -> None:
    batch.update_job_queue(jobQueue="default", state="DISABLED")
    eventually(lambda: batch.describe_job_queues()["jobQueues"][0]["status"] == "VALID", "it is DISABLED")
    batch.delete_job_queue(jobQueue="default")
    eventually(lambda: not batch.describe_job_queues()["jobQueues"], "it is gone")
    batch.update_compute_environment(computeEnvironment="default", state="DISABLED")
    found = batch.describe_compute_environments
    eventually(lambda: found()["computeEnvironments"][0]["status"] == "VALID", "it is DISABLED")
    batch.delete_compute_environment(computeEnvironment="default")
    eventually(lambda: not found()["computeEnvironments"], "it is gone")
    batchery.reset()
    job = submit("after", "true")
    eventually(lambda: status(job) == "SUCCEEDED", "the job runs")


def test_a_server_that_is_not_private_is_emptied_if_told_to(
    cli: Cli, batchery: Batchery, batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch.create_consumable_resource(consumableResourceName="mine", totalQuantity=1)
    assert "say --yes" in (kept := cli("reset")).stderr
    assert kept.exit_code == 2
    assert batch.list_consumable_resources()["consumableResources"] != []
    assert cli("reset", "--yes").exit_code == 0
    assert batch.list_consumable_resources()["consumableResources"] == []
    monkeypatch.setenv("BATCHERY_URL", batchery.url)
    monkeypatch.setenv("BATCHERY_PRIVATE", "1")
    assert cli("reset").exit_code == 0


def test_the_plugin_points_this_process_at_the_server(batchery: Batchery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    batchery.apply(monkeypatch)
    import boto3

    assert boto3.session.Session().client("batch").meta.endpoint_url == batchery.url
    assert boto3.session.Session().client("batch").describe_job_queues()["jobQueues"]
