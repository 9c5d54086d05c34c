"""Job queues and compute environments over the wire: their states and statuses, and the rules of their deletion.

Sources: API_UpdateJobQueue, API_DeleteJobQueue, API_DeleteComputeEnvironment; what Terraform's provider waits for.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

COMPUTE = {
    "type": "EC2",
    "minvCpus": 0,
    "maxvCpus": 2,
    "instanceTypes": ["optimal"],
    "subnets": ["subnet-1"],
    "securityGroupIds": ["sg-1"],
    "instanceRole": "ecsInstanceRole",
}


def refused(words: str, call: Callable[..., Any], **members: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**members)
    assert caught.value.response["Error"]["Code"] == "ClientException"
    assert words in caught.value.response["Error"]["Message"]


def queue_of(pipeline: Pipeline, name: str) -> dict[str, Any] | None:
    found = pipeline.batch.describe_job_queues(jobQueues=[name])["jobQueues"]
    return dict(found[0]) if found else None


def environment_of(pipeline: Pipeline, name: str) -> dict[str, Any] | None:
    found = pipeline.batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"]
    return dict(found[0]) if found else None


class Waiter:
    """As Terraform's: poll until a target, and nothing but what may come before it on the way."""

    def __init__(self, look: Callable[[], dict[str, Any] | None]) -> None:
        self.look = look

    def until(self, *, pending: str, target: str | None) -> None:
        def there() -> bool:
            found = self.look()
            status = found["status"] if found else None
            assert status in (pending, target), f"{status} is neither {pending} nor {target}"
            return status == target

        until(there, f"from {pending} to {target}")


def switch_off(pipeline: Pipeline, queue: str) -> None:
    pipeline.batch.update_job_queue(jobQueue=queue, state="DISABLED")
    Waiter(lambda: queue_of(pipeline, queue)).until(pending="UPDATING", target="VALID")


# ------------------------------------------------------------------------------------------------- as Terraform does


def test_the_life_of_an_environment_and_a_queue_as_terraform_has_it(pipeline: Pipeline) -> None:
    batch = pipeline.batch
    environment = Waiter(lambda: environment_of(pipeline, "tf-ce"))
    queue = Waiter(lambda: queue_of(pipeline, "tf-q"))
    arn = batch.create_compute_environment(computeEnvironmentName="tf-ce", type="MANAGED", computeResources=COMPUTE)
    assert arn["computeEnvironmentArn"] == "arn:aws:batch:us-east-1:123456789012:compute-environment/tf-ce"
    environment.until(pending="CREATING", target="VALID")
    found = environment_of(pipeline, "tf-ce")
    assert found is not None
    # what is in use is shown, as on AWS; nothing else is invented: Terraform compares
    assert found["computeResources"] == COMPUTE | {"desiredvCpus": 0}
    assert (found["state"], found["statusReason"], found["tags"]) == ("ENABLED", "ComputeEnvironment Healthy", {})
    order = [{"order": 1, "computeEnvironment": arn["computeEnvironmentArn"]}]
    batch.create_job_queue(jobQueueName="tf-q", priority=1, state="ENABLED", computeEnvironmentOrder=order)
    queue.until(pending="CREATING", target="VALID")
    shown = queue_of(pipeline, "tf-q")
    assert shown is not None
    assert (shown["computeEnvironmentOrder"], shown["priority"], shown["tags"]) == (order, 1, {})
    batch.update_job_queue(jobQueue="tf-q", priority=2)
    queue.until(pending="UPDATING", target="VALID")
    batch.update_compute_environment(computeEnvironment="tf-ce", computeResources={"maxvCpus": 5})
    environment.until(pending="UPDATING", target="VALID")
    found = environment_of(pipeline, "tf-ce")
    assert found is not None
    assert found["computeResources"] == COMPUTE | {"desiredvCpus": 0, "maxvCpus": 5}
    # destroy: the queue DISABLED, VALID, deleted, gone; then the environment
    batch.update_job_queue(jobQueue="tf-q", state="DISABLED")
    queue.until(pending="UPDATING", target="VALID")
    batch.delete_job_queue(jobQueue="tf-q")
    queue.until(pending="DELETING", target=None)
    batch.update_compute_environment(computeEnvironment="tf-ce", state="DISABLED")
    environment.until(pending="UPDATING", target="VALID")
    batch.delete_compute_environment(computeEnvironment="tf-ce")
    environment.until(pending="DELETING", target=None)
    # gone for good, and the names are free again
    batch.delete_job_queue(jobQueue="tf-q")
    batch.delete_compute_environment(computeEnvironment="tf-ce")
    refused("does not exist", batch.update_job_queue, jobQueue="tf-q", priority=1)
    refused("does not exist", batch.update_compute_environment, computeEnvironment="tf-ce", state="ENABLED")
    batch.create_compute_environment(computeEnvironmentName="tf-ce", type="MANAGED", computeResources=COMPUTE)
    environment.until(pending="CREATING", target="VALID")


def test_names_are_taken_once(pipeline: Pipeline) -> None:
    name = pipeline.queue()
    order = [{"order": 1, "computeEnvironment": name}]
    refused(
        "Object already exists",
        pipeline.batch.create_compute_environment,
        computeEnvironmentName=name,
        type="MANAGED",
        computeResources=COMPUTE,
    )
    refused(
        "Object already exists",
        pipeline.batch.create_job_queue,
        jobQueueName=name,
        priority=1,
        computeEnvironmentOrder=order,
    )


# -------------------------------------------------------------------------------------------------------- DISABLED


def test_a_disabled_queue_takes_no_jobs_and_finishes_those_it_has(pipeline: Pipeline) -> None:
    queue = pipeline.queue(vcpus=1)
    gate = pipeline.gate()
    definition = pipeline.waiting(gate)
    running, waiting = (pipeline.submit(queue, definition) for _ in range(2))
    pipeline.wait(running, "RUNNING")
    switch_off(pipeline, queue)
    with pytest.raises(ClientError, match="ENABLED"):
        pipeline.submit(queue, definition)
    gate.touch()
    pipeline.wait(running, "SUCCEEDED")
    pipeline.wait(waiting, "SUCCEEDED")
    pipeline.batch.update_job_queue(jobQueue=queue, state="ENABLED")
    pipeline.wait(pipeline.submit(queue, definition), "SUCCEEDED")


def test_a_queue_can_get_other_environments(pipeline: Pipeline) -> None:
    queue = pipeline.queue(state="DISABLED")
    job = pipeline.submit(queue, pipeline.definition(["sh", "-c", "echo $AWS_BATCH_CE_NAME"]))
    pipeline.wait(job, "RUNNABLE")
    other = pipeline.new_environment()
    order = [{"order": 7, "computeEnvironment": other}]
    pipeline.batch.update_job_queue(jobQueue=queue, computeEnvironmentOrder=order)
    pipeline.wait(job, "SUCCEEDED")
    assert pipeline.output(job) == [other]
    pipeline.batch.delete_compute_environment(computeEnvironment=queue)  # in no queue any more
    until(lambda: environment_of(pipeline, queue) is None, "it goes")


# -------------------------------------------------------------------------------------------------------- deletion


def test_deleting_a_queue_ends_its_jobs(pipeline: Pipeline) -> None:
    environment = pipeline.new_environment(vcpus=2)
    queue, other = pipeline.queue_on(environment), pipeline.queue_on(environment)
    gate, other_gate = pipeline.gate(), pipeline.gate()
    definition = pipeline.waiting(gate, retryStrategy={"attempts": 3})
    elsewhere = pipeline.submit(other, pipeline.waiting(other_gate))
    pipeline.wait(elsewhere, "RUNNING")
    running = pipeline.submit(queue, definition)
    pipeline.wait(running, "RUNNING")
    runnable = pipeline.submit(queue, definition)
    pending = pipeline.submit(queue, definition, dependsOn=[{"jobId": elsewhere}])
    array = pipeline.submit(queue, definition, arrayProperties={"size": 3})
    dependent = pipeline.submit(other, definition, dependsOn=[{"jobId": runnable}])
    pipeline.wait(dependent, "PENDING")
    refused("DISABLED", pipeline.batch.delete_job_queue, jobQueue=queue)
    switch_off(pipeline, queue)
    pipeline.batch.delete_job_queue(jobQueue=queue)
    Waiter(lambda: queue_of(pipeline, queue)).until(pending="DELETING", target=None)
    for job in (running, runnable, pending, array, f"{array}:2"):
        seen = pipeline.wait(job, "FAILED")
        assert seen["statusReason"] == "JobQueue deleted"
        assert not {"isCancelled", "isTerminated"} & set(seen)
        assert len(seen["attempts"]) == (1 if job == running else 0)
    assert pipeline.job(running)["container"]["exitCode"] == 143
    assert pipeline.wait(dependent, "FAILED")["statusReason"] == "Dependent Job failed"
    with pytest.raises(ClientError, match="not found"):
        pipeline.submit(queue, definition)
    assert pipeline.status(elsewhere) == "RUNNING"
    other_gate.touch()
    pipeline.wait(elsewhere, "SUCCEEDED")


def test_a_queue_is_deleting_until_its_last_job_has_ended(own_server: Callable[..., Server], tmp_path: Path) -> None:
    pipeline = Pipeline(own_server("kill_grace = 60"), tmp_path)
    queue = pipeline.queue(vcpus=1)
    gate = pipeline.gate()
    stubborn = f'trap "" TERM; : >"{gate}.deaf"; while [ ! -e "{gate}" ]; do sleep 0.02; done'
    job = pipeline.submit(queue, pipeline.definition(["sh", "-c", stubborn]))
    until(lambda: gate.with_name(gate.name + ".deaf").exists(), "it ignores SIGTERM")
    pipeline.wait(job, "RUNNING")
    switch_off(pipeline, queue)
    pipeline.batch.delete_job_queue(jobQueue=queue)
    found = queue_of(pipeline, queue)
    assert found is not None
    assert (found["status"], found["state"]) == ("DELETING", "DISABLED")
    assert pipeline.status(job) == "RUNNING"
    for call, members in (
        (pipeline.batch.update_job_queue, {"state": "ENABLED"}),
        (pipeline.batch.delete_job_queue, {}),
    ):
        refused("resource is being modified", call, jobQueue=queue, **members)
    with pytest.raises(ClientError):
        pipeline.submit(queue, pipeline.definition(["true"]))
    pipeline.batch.update_compute_environment(computeEnvironment=queue, state="DISABLED")
    refused("JobQueue relationship", pipeline.batch.delete_compute_environment, computeEnvironment=queue)
    gate.touch()
    Waiter(lambda: queue_of(pipeline, queue)).until(pending="DELETING", target=None)
    # termination was asked for first: it is FAILED although it exits 0
    assert pipeline.wait(job, "FAILED")["statusReason"] == "JobQueue deleted"
    pipeline.batch.delete_compute_environment(computeEnvironment=queue)
    until(lambda: environment_of(pipeline, queue) is None, "it goes")


def test_rules_of_deleting_an_environment(pipeline: Pipeline) -> None:
    queue = pipeline.queue(vcpus=1)
    delete = pipeline.batch.delete_compute_environment
    refused("DISABLED", delete, computeEnvironment=queue)
    pipeline.set_environment(queue, state="DISABLED")
    refused("Cannot delete, found existing JobQueue relationship", delete, computeEnvironment=queue)
    assert environment_of(pipeline, queue) is not None


def test_an_environment_is_deleting_until_nothing_runs_in_it(pipeline: Pipeline) -> None:
    environment, other = pipeline.new_environment(vcpus=1), pipeline.new_environment(vcpus=1)
    queue = pipeline.queue_on(environment)
    gate = pipeline.gate()
    job = pipeline.submit(queue, pipeline.waiting(gate))
    pipeline.wait(job, "RUNNING")
    order = [{"order": 1, "computeEnvironment": other}]
    pipeline.batch.update_job_queue(jobQueue=queue, computeEnvironmentOrder=order)
    Waiter(lambda: queue_of(pipeline, queue)).until(pending="UPDATING", target="VALID")
    pipeline.set_environment(environment, state="DISABLED")
    pipeline.batch.delete_compute_environment(computeEnvironment=environment)
    found = environment_of(pipeline, environment)
    assert found is not None
    assert found["status"] == "DELETING"
    refused(
        "Compute Environments must be created and valid",
        pipeline.batch.create_job_queue,
        jobQueueName="too-late",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
    )
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")
    Waiter(lambda: environment_of(pipeline, environment)).until(pending="DELETING", target=None)
    assert (
        pipeline.wait(job, "SUCCEEDED")["container"]["taskArn"].partition(":task/AWSBatch-")[2].startswith(environment)
    )


def test_jobs_outlive_their_queue_and_its_name_can_be_used_again(pipeline: Pipeline) -> None:
    queue = pipeline.queue()
    quick = pipeline.definition(["true"])
    old = pipeline.submit(queue, quick)
    pipeline.wait(old, "SUCCEEDED")
    switch_off(pipeline, queue)
    pipeline.batch.delete_job_queue(jobQueue=queue)
    until(lambda: queue_of(pipeline, queue) is None, "it goes")
    refused(f"JobQueue {queue} not found.", pipeline.batch.list_jobs, jobQueue=queue)
    assert pipeline.status(old) == "SUCCEEDED"
    pipeline.queue_on(queue, name=queue)
    pipeline.wait(pipeline.submit(queue, quick, dependsOn=[{"jobId": old}]), "SUCCEEDED")


def test_the_ready_made_queue_can_be_deleted_and_does_not_come_back(pipeline: Pipeline) -> None:
    """In a region of its own; the others keep theirs."""
    batch = pipeline.server.client(region="ap-south-1")
    (queue,) = batch.describe_job_queues()["jobQueues"]
    (environment,) = batch.describe_compute_environments()["computeEnvironments"]
    assert (queue["jobQueueName"], queue["status"], queue["state"]) == ("default", "VALID", "ENABLED")
    assert environment["computeEnvironmentArn"] == queue["computeEnvironmentOrder"][0]["computeEnvironment"]
    batch.update_job_queue(jobQueue="default", state="DISABLED")
    until(lambda: batch.describe_job_queues()["jobQueues"][0]["status"] == "VALID", "it is VALID")
    batch.delete_job_queue(jobQueue="default")
    until(lambda: batch.describe_job_queues()["jobQueues"] == [], "it goes")
    name = environment["computeEnvironmentName"]
    batch.update_compute_environment(computeEnvironment=name, state="DISABLED")
    until(lambda: batch.describe_compute_environments()["computeEnvironments"][0]["status"] == "VALID", "it is VALID")
    batch.delete_compute_environment(computeEnvironment=name)
    until(lambda: batch.describe_compute_environments()["computeEnvironments"] == [], "it goes")
    assert batch.describe_job_queues()["jobQueues"] == []
    assert queue_of(pipeline, "default") is not None
