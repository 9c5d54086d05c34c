"""Service jobs over the wire, which really run.

Sources: API_SubmitServiceJob, API_ListServiceJobs and their structures; SageMaker developer guide, "How SageMaker
provides training information".
"""

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire_pipeline import PROLOG, Server, until
from wire_training import TRAIN, Training, refused

from batchery.config import Config, Process
from batchery.run.services import root_of

_NAMES = itertools.count()
_EXCEEDED = "QUOTA_MANAGEMENT_LIMIT_EXCEEDED"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    script = folder / "train.sh"
    script.write_text(TRAIN)
    rows = folder / "bucket" / "in"
    rows.mkdir(parents=True)
    (rows / "rows.csv").write_text("1,2\n")
    services = f"""
[services.data]
"s3://bucket/data" = "{folder}/bucket"
[services.environments."own-*"]
command = ["sh", "-c", "cp {{request}} {{directory}}/model/{{name}}; echo $COLOUR"]
memory = 32
environment = {{ COLOUR = "green" }}
[services.environments."*"]
memory = 16
"""
    process = f'{PROLOG}[process.images."trainer:*"]\nentrypoint = ["sh", "{script}"]\n'
    made = Server(folder, "kill_grace = 2", process + services)
    try:
        yield made.start()
    finally:
        made.end()


@pytest.fixture
def training(server: Server, tmp_path: Path) -> Training:
    return Training(server, tmp_path)


def test_a_training_script_finds_what_sagemaker_would_tell_it(training: Training) -> None:
    """The published contract: the argument, the files below input/config, channels, the model."""
    queue = training.service_queue(training.service_environment())
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/in"}}
    payload = training.payload(
        hyper={"RATE": "0.5"},
        InputDataConfig=[{"ChannelName": "training", "DataSource": source, "ContentType": "text/csv"}],
        Environment={"COLOUR": "blue"},
    )
    job = training.train(queue, payload, "my-job", tags={"team": "blue"})
    seen = training.until(job, "SUCCEEDED")
    assert seen["statusReason"] == "Received status from SageMaker: Training job completed"
    assert seen["serviceRequestPayload"] == payload
    assert seen["serviceJobType"] == "SAGEMAKER_TRAINING"
    assert seen["capacityUsage"] == [{"capacityUnit": "ml.m5.large", "quantity": 1.0}]
    assert (seen["jobName"], seen["tags"]) == ("my-job", {"team": "blue"})
    assert seen["createdAt"] <= seen["scheduledAt"] <= seen["startedAt"] <= seen["stoppedAt"]
    (attempt,) = seen["attempts"]
    assert attempt["serviceResourceId"]["name"] == "TrainingJobArn"
    assert ":training-job/AWSBatchtraining" in attempt["serviceResourceId"]["value"]
    assert seen["latestAttempt"]["serviceResourceId"] == attempt["serviceResourceId"]
    left = training.left(job)
    assert json.loads((left / "hyperparameters.json").read_text()) == {"RATE": "0.5"}
    config = json.loads((left / "resourceconfig.json").read_text())
    assert (config["current_host"], config["hosts"]) == ("algo-1", ["algo-1"])
    assert json.loads((left / "inputdataconfig.json").read_text())["training"]["ContentType"] == "text/csv"
    assert (left / "rows.csv").read_text() == "1,2\n"
    assert (left / "request.json").read_text() == payload
    name = attempt["serviceResourceId"]["value"].rpartition("/")[2]
    stream = training.logs.describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"training/algo-1/{name[-32:]}"
    )["logStreams"][0]["logStreamName"]
    events = training.logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=stream)["events"]
    assert events[0]["message"] == f"{name} on algo-1, attempt 1, rate 0.5, colour blue"
    assert training.batch.describe_jobs(jobs=[job])["jobs"] == []
    assert training.batch.list_tags_for_resource(resourceArn=seen["jobArn"])["tags"] == {"team": "blue"}


def test_a_failure_file_is_a_part_of_the_reason_and_retries_look_at_it(training: Training) -> None:
    queue = training.service_queue(training.service_environment())
    retry: dict[str, Any] = {
        "attempts": 3,
        "evaluateOnExit": [{"action": "exit", "onStatusReason": "*: nothing of it*"}],
    }
    assert "asterisk" in refused(lambda: training.train(queue, retryStrategy=retry))
    retry["evaluateOnExit"] = [
        {"action": "RETRY", "onStatusReason": "Received status from SageMaker: AlgorithmError: disk*"},
        {"action": "EXIT"},
    ]
    words = "Received status from SageMaker: AlgorithmError: {}, exit code: 3"
    again = training.train(queue, training.payload(hyper={"FAILS": "disk full"}), retryStrategy=retry)
    seen = training.until(again, "FAILED")
    assert seen["statusReason"] == words.format("disk full")
    assert [one["statusReason"] for one in seen["attempts"]] == [seen["statusReason"]] * 3
    assert len({one["serviceResourceId"]["value"] for one in seen["attempts"]}) == 3
    assert [entry["action"] for entry in seen["retryStrategy"]["evaluateOnExit"]] == ["RETRY", "EXIT"]
    once = training.train(queue, training.payload(hyper={"FAILS": "bad rows"}), retryStrategy=retry)
    seen = training.until(once, "FAILED")
    assert (seen["statusReason"], len(seen["attempts"])) == (words.format("bad rows"), 1)


def test_a_command_of_the_settings_runs_instead(training: Training) -> None:
    training.batch.create_service_environment(
        serviceEnvironmentName="own-one",
        serviceEnvironmentType="SAGEMAKER_TRAINING",
        capacityLimits=[{"maxCapacity": 1, "capacityUnit": "NUM_INSTANCES"}],
    )
    until(lambda: training.shown_environment("own-one")["status"] == "VALID", "VALID")
    queue = training.service_queue("own-one")
    payload = json.dumps(
        {
            "ResourceConfig": {
                "InstanceGroups": [{"InstanceType": "ml.m5.large", "InstanceCount": 1, "InstanceGroupName": "a"}]
            }
        }
    )
    job = training.train(queue, payload)
    seen = training.until(job, "SUCCEEDED")
    name = seen["latestAttempt"]["serviceResourceId"]["value"].rpartition("/")[2]
    assert (training.left(job) / name).read_text() == payload


@pytest.mark.parametrize("limit", ["MaxRuntimeInSeconds", "attemptDurationSeconds"])
def test_the_shorter_time_limit_ends_a_job(training: Training, limit: str) -> None:
    queue, gate = training.service_queue(training.service_environment()), training.gate()
    runtime = 1 if limit == "MaxRuntimeInSeconds" else 3600
    payload = training.payload(hyper={"GATE": gate}, StoppingCondition={"MaxRuntimeInSeconds": runtime})
    job = training.train(queue, payload, timeoutConfig={"attemptDurationSeconds": 3600 if runtime == 1 else 1})
    seen = training.until(job, "FAILED")
    assert seen["statusReason"] == "Job attempt duration exceeded timeout"
    assert seen["timeoutConfig"] == {"attemptDurationSeconds": 3600 if runtime == 1 else 1}


def test_instances_are_what_limits_a_service_environment(training: Training) -> None:
    environment = training.service_environment(3)
    queue, gate = training.service_queue(environment), training.gate()
    first = training.waiting_job(queue, gate, 2)
    training.until(first, "RUNNING")
    second = training.waiting_job(queue, gate, 2)
    third = training.waiting_job(queue, gate, 1)
    training.until(second, "RUNNABLE")
    assert training.seen(third)["status"] == "RUNNABLE"  # the head keeps its place
    training.batch.update_service_environment(
        serviceEnvironment=environment, capacityLimits=[{"maxCapacity": 5, "capacityUnit": "NUM_INSTANCES"}]
    )
    training.until(second, "RUNNING")
    training.until(third, "RUNNING")
    used = training.batch.get_job_queue_snapshot(jobQueue=queue)["queueUtilization"]["totalCapacityUsage"]
    assert used == [{"capacityUnit": "ml.m5.large", "quantity": 5.0}]
    never = training.waiting_job(queue, gate, 6)
    waits = "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE - "
    until(lambda: training.seen(never).get("statusReason", "").startswith(waits), "it says why it waits")
    gate.touch()
    for job in (first, second, third):
        training.until(job, "SUCCEEDED")
    training.batch.terminate_service_job(jobId=never, reason="never")


def test_a_job_that_is_made_ready_is_starting(training: Training) -> None:
    """A prolog holds it in STARTING; it was SCHEDULED before, and is not any more."""
    queue, gate = training.service_queue(training.service_environment()), training.gate()
    starting = Path(f"{gate}.prolog")
    payload = training.payload(hyper={"GATE": gate}, Environment={"STARTING_GATE": str(starting)})
    job = training.train(queue, payload)
    training.until(job, "STARTING")
    assert training.seen(job)["scheduledAt"]
    assert training.listed(queue, jobStatus="STARTING") == [job]
    assert training.listed(queue, jobStatus="SCHEDULED") == []
    starting.touch()
    training.until(job, "RUNNING")
    gate.touch()
    training.until(job, "SUCCEEDED")


def test_terminating_ends_what_runs_and_what_waits(training: Training) -> None:
    queue, gate = training.service_queue(training.service_environment(1)), training.gate()
    runs, waits, more = (training.waiting_job(queue, gate) for _ in range(3))
    training.until(runs, "RUNNING")
    training.batch.cancel_job(jobId=waits, reason="not of this kind")
    training.batch.terminate_job(jobId=runs, reason="not of this kind")
    assert training.seen(waits)["status"] == "RUNNABLE"
    training.batch.terminate_service_job(jobId=waits, reason="not needed")
    seen = training.seen(waits)
    assert (seen["status"], seen["statusReason"], seen["isTerminated"]) == ("FAILED", "not needed", True)
    reply = training.batch.terminate_service_jobs(jobs=[runs, more, "nobody"], reason="all of them")
    assert (reply["successful"], reply["errors"]) == ([runs, more, "nobody"], [])
    seen = training.until(runs, "FAILED")
    assert (seen["statusReason"], seen["isTerminated"], len(seen["attempts"])) == ("all of them", True, 1)
    training.until(more, "FAILED")
    assert "does not exist" in refused(training.batch.describe_service_job, jobId="nobody")


def test_a_higher_priority_comes_first_in_its_share_and_can_be_changed(training: Training) -> None:
    batch, gate = training.batch, training.gate()
    policy = batch.create_scheduling_policy(name=f"fair-{next(_NAMES)}", fairsharePolicy={})["arn"]
    queue = training.service_queue(training.service_environment(1), schedulingPolicyArn=policy)
    assert "shareIdentifier" in refused(lambda: training.train(queue))
    share = {"shareIdentifier": "red"}
    first = training.waiting_job(queue, gate, **share)
    training.until(first, "RUNNING")
    low = training.waiting_job(queue, training.gate(), schedulingPriority=1, **share)
    middle = training.waiting_job(queue, training.gate(), schedulingPriority=5, **share)
    training.until(low, "RUNNABLE")
    training.until(middle, "RUNNABLE")

    def front() -> list[str]:
        found = batch.get_job_queue_snapshot(jobQueue=queue)["frontOfQueue"]["jobs"]
        return [one["jobArn"].rpartition("/")[2] for one in found]

    assert front() == [middle, low]
    assert "schedulingPriority" in refused(batch.update_service_job, jobId=low, schedulingPriority=10_000)
    reply = batch.update_service_job(jobId=low, schedulingPriority=9)
    assert (reply["jobId"], reply["jobName"]) == (low, "job")
    assert reply["jobArn"] == training.seen(low)["jobArn"]
    assert training.seen(low)["schedulingPriority"] == 9
    assert front() == [low, middle]
    gate.touch()
    training.until(low, "RUNNING")
    assert training.seen(middle)["status"] == "RUNNABLE"
    assert training.listed(queue, filters=[{"name": "SHARE_IDENTIFIER", "values": ["red"]}]) == [middle, low, first]
    assert training.seen(low)["shareIdentifier"] == "red"
    used = batch.get_job_queue_snapshot(jobQueue=queue)["queueUtilization"]["fairshareUtilization"]
    usage = [{"capacityUnit": "ml.m5.large", "quantity": 1.0}]
    assert used == {
        "activeShareCount": 1,
        "topCapacityUtilization": [{"shareIdentifier": "red", "capacityUsage": usage}],
    }
    batch.terminate_service_jobs(jobs=[low, middle], reason="enough")
    training.until(low, "FAILED")
    assert "has ended" in refused(batch.update_service_job, jobId=low, schedulingPriority=1)


def test_listing_by_status_name_time_and_in_pages(training: Training) -> None:
    queue, gate = training.service_queue(training.service_environment(2)), training.gate()
    done = training.train(queue, name="Done-1")
    training.until(done, "SUCCEEDED")
    running = [training.waiting_job(queue, gate, name=f"run-{number}") for number in range(2)]
    for job in running:
        training.until(job, "RUNNING")
    waiting = training.waiting_job(queue, gate, name="run-waits")
    training.until(waiting, "RUNNABLE")
    assert training.listed(queue) == running[::-1]
    assert training.listed(queue, jobStatus="RUNNABLE") == [waiting]
    assert training.listed(queue, jobStatus="SUCCEEDED") == [done]
    assert training.listed(queue, filters=[{"name": "JOB_NAME", "values": ["done-1"]}]) == [done]
    assert training.listed(queue, filters=[{"name": "JOB_NAME", "values": ["RUN-*"]}]) == [waiting, *running[::-1]]
    since = str(training.seen(done)["stoppedAt"] - 1)
    assert training.listed(queue, filters=[{"name": "AFTER_CREATED_AT", "values": [since]}]) == [
        waiting,
        *running[::-1],
    ]
    assert training.listed(queue, filters=[{"name": "BEFORE_CREATED_AT", "values": [since]}]) == [done]
    pages = training.batch.get_paginator("list_service_jobs").paginate(
        jobQueue=queue, jobStatus="RUNNING", PaginationConfig={"PageSize": 1}
    )
    assert [[one["jobId"] for one in page["jobSummaryList"]] for page in pages if page["jobSummaryList"]] == [
        [running[1]],
        [running[0]],
    ]
    page = training.batch.list_service_jobs(jobQueue=queue, maxResults=1)
    assert training.batch.list_service_jobs(jobQueue=queue, maxResults=1, nextToken=page["nextToken"])
    (shown,) = training.batch.list_service_jobs(jobQueue=queue, jobStatus="SUCCEEDED")["jobSummaryList"]
    assert (shown["jobName"], shown["status"], shown["serviceJobType"]) == ("Done-1", "SUCCEEDED", "SAGEMAKER_TRAINING")
    assert shown["capacityUsage"] == [{"capacityUnit": "ml.m5.large", "quantity": 1.0}]
    assert training.batch.list_jobs(jobQueue=queue, jobStatus="RUNNING")["jobSummaryList"] == []
    assert "Filter name" in refused(
        lambda: training.listed(queue, filters=[{"name": "JOB_DEFINITION", "values": ["x"]}])
    )
    training.batch.terminate_service_jobs(jobs=[waiting, *running], reason="enough")


def test_the_same_request_with_the_same_token_is_rejected(training: Training) -> None:
    queue = training.service_queue(training.service_environment())
    job = training.train(queue, clientToken="one")
    assert "clientToken" in refused(lambda: training.train(queue, clientToken="one"))
    other = training.train(queue, name="other", clientToken="one")
    for one in (job, other):
        training.until(one, "SUCCEEDED")


def test_a_head_that_can_never_run_is_terminated_by_the_queue(
    own_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHERY_LIMITS_STATE_SECONDS", "1")
    training = Training(own_server(), tmp_path)
    reasons = [f"MISCONFIGURATION:{word}" for word in ("SERVICE_ENVIRONMENT_MAX_RESOURCE", _EXCEEDED)]
    actions = [{"reason": each, "state": "RUNNABLE", "maxTimeSeconds": 1, "action": "TERMINATE"} for each in reasons]
    limits = [{"maxCapacity": 2, "capacityUnit": "ml.m5.large"}]
    environment = training.service_environment(capacityLimits=limits)
    cancelled = [actions[0] | {"action": "CANCEL"}]
    text = refused(lambda: training.service_queue(environment, jobStateTimeLimitActions=cancelled))
    assert "TERMINATE" in text
    policy = {"idleResourceAssignmentStrategy": "FIFO"}
    rule = training.batch.create_scheduling_policy(name="quota", quotaSharePolicy=policy)["arn"]
    queue = training.service_queue(environment, jobStateTimeLimitActions=actions, schedulingPolicyArn=rule)
    assert training.shown_queue(queue)["jobStateTimeLimitActions"] == actions
    training.batch.create_quota_share(
        quotaShareName="one",
        jobQueue=queue,
        capacityLimits=[{"maxCapacity": 1, "capacityUnit": "ml.m5.large"}],
        resourceSharingConfiguration={"strategy": "LEND"},
        preemptionConfiguration={"inSharePreemption": "DISABLED"},
    )
    jobs = [training.train(queue, training.payload(size), quotaShareName="one") for size in (3, 2)]
    for job, reason in zip(jobs, reasons, strict=True):
        seen = training.until(job, "FAILED")
        assert seen["statusReason"] == f"Terminated by JobStateTimeLimit action due to reason: {reason}"


def test_jobs_and_environments_survive_a_crash(own_server: Callable[..., Server], tmp_path: Path) -> None:
    def before(server: Server) -> None:
        (tmp_path / "train.sh").write_text(TRAIN)

    entry = f'[process.images."trainer:*"]\nentrypoint = ["sh", "{tmp_path}/train.sh"]\n'
    server = own_server("kill_grace = 2", entry, before)
    training, gate = Training(server, tmp_path), tmp_path / "gate"
    environment = training.service_environment(2)
    queue = training.service_queue(environment)
    runs = training.waiting_job(queue, gate, 2)
    waits = training.train(queue, training.payload(hyper={"FAILS": "no"}), clientToken="one")
    training.until(runs, "RUNNING")
    training.batch.update_service_job(jobId=waits, schedulingPriority=7)
    server.kill()
    server.start()
    assert training.seen(runs)["status"] == "RUNNING"
    assert training.seen(waits)["schedulingPriority"] == 7
    assert training.shown_environment(environment)["status"] == "VALID"
    members = {"clientToken": "one"}
    assert "clientToken" in refused(lambda: training.train(queue, training.payload(hyper={"FAILS": "no"}), **members))
    gate.touch()
    training.until(runs, "SUCCEEDED")
    assert "AlgorithmError: no, exit code: 3" in training.until(waits, "FAILED")["statusReason"]
    shutil.rmtree(tmp_path / "server-0" / "data" / "services")


def test_payloads_that_can_not_run_are_refused(training: Training) -> None:
    queue = training.service_queue(training.service_environment())

    def said(payload: Any, **members: Any) -> str:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        return refused(lambda: training.train(queue, text, **members))

    good = json.loads(training.payload())
    assert "JSON" in said("{")
    assert "bytes" in said(good | {"Environment": {"X": "x" * 11_000}})
    assert "resourceConfig" in said({}).replace("ResourceConfig", "resourceConfig")
    assert "InstanceCount" in said(good | {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 0}})
    assert "TrainingImage" in said(good | {"AlgorithmSpecification": {"AlgorithmName": "x"}})
    assert "MaxRuntimeInSeconds" in said(good | {"StoppingCondition": {"MaxRuntimeInSeconds": 0}})
    assert "TrainingJobName" in said(good | {"TrainingJobName": "-x"})
    channel = {"ChannelName": "x", "DataSource": {"S3DataSource": {"S3Uri": "s3://elsewhere/x"}}}
    assert "services.data" in said(good | {"InputDataConfig": [channel]})
    assert "attempts" in said(good, retryStrategy={"attempts": 11})
    assert "attemptDurationSeconds" in said(good, timeoutConfig={"attemptDurationSeconds": 0})
    assert "quotaSharePolicy" in said(good, quotaShareName="x")
    assert "share" in said(good, shareIdentifier="x")


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root runs jobs as another user")
def test_jobs_of_another_user_have_directories_where_that_user_can_come(
    own_server: Callable[..., Server], tmp_path: Path
) -> None:
    training = Training(own_server("kill_grace = 2", "user = 'nobody'\n"), tmp_path)
    queue = training.service_queue(training.service_environment())
    script = """
[ "$SM_CURRENT_HOST" = algo-1 ] || exec sleep 600
id -un > "$SM_MODEL_DIR/user"; printf "of %s" "$SM_CURRENT_HOST" > "$SM_OUTPUT_DIR/failure"; exit 2"""
    algorithm = {"TrainingImage": "any", "ContainerEntrypoint": ["sh", "-c", script]}
    job = training.train(queue, training.payload(2, AlgorithmSpecification=algorithm))
    reason = training.until(job, "FAILED")["statusReason"]
    assert reason == "Received status from SageMaker: AlgorithmError: of algo-1, exit code: 2"
    root = root_of(Config(data=str(training.server.folder / "data"), process=Process(user="nobody")))
    try:
        assert {path.read_text() for path in root.glob("??/*/ml/model/user")} == {"nobody\n"}
    finally:
        shutil.rmtree(root)
