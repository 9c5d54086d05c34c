"""Service environments over the wire. Source: API_CreateServiceEnvironment and its structures."""

from pathlib import Path
from typing import Any

import pytest
from wire_pipeline import Server, until
from wire_training import Training, refused


@pytest.fixture
def training(server: Server, tmp_path: Path) -> Training:
    return Training(server, tmp_path)


def test_a_service_environment_from_its_creation_to_its_end(training: Training) -> None:
    batch = training.batch
    limits = [{"maxCapacity": 2, "capacityUnit": "NUM_INSTANCES"}]
    made = batch.create_service_environment(
        serviceEnvironmentName="from-to",
        serviceEnvironmentType="SAGEMAKER_TRAINING",
        state="ENABLED",
        capacityLimits=limits,
        tags={"team": "blue"},
    )
    arn = made["serviceEnvironmentArn"]
    assert arn.endswith(":service-environment/from-to")
    until(lambda: training.shown_environment("from-to")["status"] == "VALID", "VALID")
    assert training.shown_environment(arn) == {
        "serviceEnvironmentName": "from-to",
        "serviceEnvironmentArn": arn,
        "serviceEnvironmentType": "SAGEMAKER_TRAINING",
        "state": "ENABLED",
        "status": "VALID",
        "capacityLimits": limits,
        "tags": {"team": "blue"},
    }
    batch.tag_resource(resourceArn=arn, tags={"more": "x"})
    assert batch.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "blue", "more": "x"}
    taken = {"serviceEnvironmentType": "SAGEMAKER_TRAINING", "capacityLimits": limits}
    assert (
        refused(batch.create_service_environment, serviceEnvironmentName="from-to", **taken) == "Object already exists"
    )
    assert batch.describe_compute_environments(computeEnvironments=[arn])["computeEnvironments"] == []
    queue = training.service_queue("from-to")
    assert "DISABLED" in refused(batch.delete_service_environment, serviceEnvironment="from-to")
    wider = [{"maxCapacity": 3, "capacityUnit": "NUM_INSTANCES"}]
    reply = batch.update_service_environment(serviceEnvironment="from-to", state="DISABLED", capacityLimits=wider)
    assert (reply["serviceEnvironmentName"], reply["serviceEnvironmentArn"]) == ("from-to", arn)
    until(lambda: training.shown_environment("from-to")["status"] == "VALID", "VALID")
    assert training.shown_environment("from-to")["capacityLimits"] == wider
    assert training.shown_environment("from-to")["state"] == "DISABLED"
    assert "JobQueue relationship" in refused(batch.delete_service_environment, serviceEnvironment=arn)
    other = training.service_environment()
    order = [{"order": 1, "serviceEnvironment": other}]
    batch.update_job_queue(jobQueue=queue, serviceEnvironmentOrder=order)
    until(lambda: training.shown_queue(queue)["status"] == "VALID", "the queue is VALID")
    batch.delete_service_environment(serviceEnvironment=arn)
    gone = {"serviceEnvironments": ["from-to"]}
    until(lambda: not batch.describe_service_environments(**gone)["serviceEnvironments"], "it is gone")
    batch.delete_service_environment(serviceEnvironment="never-was")


def test_service_environments_are_listed_by_name_in_pages(training: Training) -> None:
    mine = sorted(training.service_environment() for _ in range(3))
    pages = training.batch.get_paginator("describe_service_environments").paginate(PaginationConfig={"PageSize": 1})
    names = [one["serviceEnvironmentName"] for page in pages for one in page["serviceEnvironments"]]
    assert names == sorted(names)
    assert set(mine) <= set(names)


def test_limits_that_make_no_sense_are_refused(training: Training) -> None:
    def made(*limits: dict[str, Any]) -> str:
        members = {"serviceEnvironmentName": "odd", "serviceEnvironmentType": "SAGEMAKER_TRAINING"}
        return refused(training.batch.create_service_environment, capacityLimits=list(limits), **members)

    one = {"maxCapacity": 1, "capacityUnit": "NUM_INSTANCES"}
    assert "Capacitylimits are required." in made()
    assert "Max capacity must be more than 0." in made({"maxCapacity": 0, "capacityUnit": "NUM_INSTANCES"})
    assert "VCPU is unknown capacity unit in [NUM_INSTANCES, " in made({"maxCapacity": 1, "capacityUnit": "VCPU"})
    assert "exceeds 5." in made(*({"maxCapacity": 1, "capacityUnit": f"ml.m5.{n}xlarge"} for n in range(6)))
    assert "twice" in made(one, one)
    assert "not both" in made(one, {"maxCapacity": 1, "capacityUnit": "ml.m5.large"})


def orders_of(environment: str) -> dict[str, Any]:
    return {"serviceEnvironmentOrder": [{"order": 1, "serviceEnvironment": environment}]}


def test_a_queue_has_environments_of_its_type_only(training: Training) -> None:
    batch, service, compute = training.batch, training.service_environment(), training.new_environment()
    orders = orders_of(service) | {"computeEnvironmentOrder": [{"order": 1, "computeEnvironment": compute}]}

    def made(kind: str | None, *names: str) -> str:
        members = {name: orders[name] for name in names} | ({"jobQueueType": kind} if kind else {})
        return refused(batch.create_job_queue, jobQueueName="odd", priority=1, **members)

    assert "serviceEnvironmentOrder" in made("ECS", "serviceEnvironmentOrder")
    assert "serviceEnvironmentOrder" in made("SAGEMAKER_TRAINING", "computeEnvironmentOrder")
    assert "serviceEnvironmentOrder" in made("SAGEMAKER_TRAINING")
    queue = training.service_queue(service)
    shown = training.shown_queue(queue)
    assert shown["jobQueueType"] == "SAGEMAKER_TRAINING"
    arn = training.shown_environment(service)["serviceEnvironmentArn"]
    assert shown["serviceEnvironmentOrder"] == [{"order": 1, "serviceEnvironment": arn}]
    assert shown["computeEnvironmentOrder"] == []
    definition = training.definition(["true"])
    managed = training.service_environment(capacityLimits=[{"maxCapacity": 1, "capacityUnit": "ml.m5.large"}])
    rule = batch.create_scheduling_policy(
        name=f"for-{managed}", quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"}
    )["arn"]
    asked = {"jobQueueName": "odd", "priority": 1, "jobQueueType": "SAGEMAKER_TRAINING", "schedulingPolicyArn": rule}
    assert "by instance type" in refused(batch.create_job_queue, **asked, **orders_of(service))
    training.service_queue(managed, schedulingPolicyArn=rule)
    assert "no other job queue" in refused(batch.create_job_queue, **asked, **orders_of(managed))
    text = refused(batch.submit_job, jobName="x", jobQueue=queue, jobDefinition=definition)
    assert "service jobs only" in text
    other = training.queue()
    members = {"serviceJobType": "SAGEMAKER_TRAINING", "serviceRequestPayload": training.payload()}
    assert "SAGEMAKER_TRAINING" in refused(batch.submit_service_job, jobName="x", jobQueue=other, **members)
