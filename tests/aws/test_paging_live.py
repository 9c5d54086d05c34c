"""Every paginator of boto3: pages of two have, in the same order, exactly what one page has.

An operation that is new joins by one line in `STOCK`, which makes at least three items and returns the other members
of the request; one that botocore can page, that is served and has no line, fails here.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

import batchery.app  # with it every operation that is served
from batchery.api.call import HANDLERS

Members = dict[str, Any]
CONTAINER = {
    "image": "busybox",
    "command": ["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done"],
    "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
    "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "paged/a"}},
}


def environments(p: Pipeline) -> Members:
    for _ in range(3):
        p.new_environment()
    return {}


def queues(p: Pipeline) -> Members:
    environment = p.new_environment()
    for _ in range(3):
        p.queue_on(environment)
    until(lambda: all(q["status"] == "VALID" for q in p.batch.describe_job_queues()["jobQueues"]), "all are VALID")
    return {}


def definitions(p: Pipeline) -> Members:
    for _ in range(5):
        p.batch.register_job_definition(jobDefinitionName="paged", type="container", containerProperties=CONTAINER)
    return {}


def revisions(p: Pipeline) -> Members:
    return {**definitions(p), "jobDefinitionName": "paged", "status": "ACTIVE"}


def jobs(p: Pipeline) -> Members:
    definitions(p)
    queue = p.queue()
    for job in [p.submit(queue, "paged") for _ in range(5)]:
        p.wait(job, "SUCCEEDED")
    return {"jobQueue": queue, "jobStatus": "SUCCEEDED"}


def found_jobs(p: Pipeline) -> Members:
    queue = jobs(p)["jobQueue"]
    return {"jobQueue": queue, "filters": [{"name": "JOB_NAME", "values": ["J*"]}]}


def children(p: Pipeline) -> Members:
    queue = jobs(p)["jobQueue"]
    array = p.submit(queue, "paged", arrayProperties={"size": 5})
    p.wait(array, "SUCCEEDED")
    return {"arrayJobId": array, "jobStatus": "SUCCEEDED"}


def policies(p: Pipeline) -> Members:
    for name in ("one", "two", "three"):
        p.batch.create_scheduling_policy(name=f"paged-{name}")
    return {}


def consumables(p: Pipeline) -> Members:
    for number in range(5):
        p.batch.create_consumable_resource(consumableResourceName=f"paged-{number}", totalQuantity=9)
    return {}


def jobs_by_consumable(p: Pipeline) -> Members:
    p.batch.create_consumable_resource(consumableResourceName="paged-asked", totalQuantity=9)
    asks = {"consumableResourceList": [{"consumableResource": "paged-asked", "quantity": 1}]}
    definition, queue = p.definition(["true"], consumableResourceProperties=asks), p.queue()
    for job in [p.submit(queue, definition) for _ in range(5)]:
        p.wait(job, "SUCCEEDED")
    return {"consumableResource": "paged-asked"}


def service_environments(p: Pipeline, most: int = 1) -> Members:
    for name, unit in {"one": "NUM_INSTANCES", "two": "ml.m5.large", "three": "NUM_INSTANCES"}.items():
        p.batch.create_service_environment(
            serviceEnvironmentName=f"paged-{name}",
            serviceEnvironmentType="SAGEMAKER_TRAINING",
            capacityLimits=[{"maxCapacity": most, "capacityUnit": unit}],
        )
    found = p.batch.describe_service_environments
    until(lambda: {one["status"] for one in found()["serviceEnvironments"]} == {"VALID"}, "all are VALID")
    return {}


def service_jobs(p: Pipeline) -> Members:
    order = [{"order": 1, "serviceEnvironment": "paged-one"}]
    p.batch.create_job_queue(
        jobQueueName="trains", priority=1, jobQueueType="SAGEMAKER_TRAINING", serviceEnvironmentOrder=order
    )
    payload = {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2}}
    payload["AlgorithmSpecification"] = {"TrainingImage": "trainer"}
    for _ in range(5):
        p.batch.submit_service_job(
            jobName="train",
            jobQueue="trains",
            serviceJobType="SAGEMAKER_TRAINING",
            serviceRequestPayload=json.dumps(payload),
        )
    members = {"jobQueue": "trains", "jobStatus": "RUNNABLE"}
    until(lambda: len(p.batch.list_service_jobs(**members)["jobSummaryList"]) == 5, "all are RUNNABLE")
    return members


def quota_shares(p: Pipeline) -> Members:
    policy = {"idleResourceAssignmentStrategy": "FIFO"}
    rule = p.batch.create_scheduling_policy(name="paged-quota", quotaSharePolicy=policy)["arn"]
    order = [{"order": 1, "serviceEnvironment": "paged-two"}]
    members = {"jobQueueName": "shared", "priority": 1, "jobQueueType": "SAGEMAKER_TRAINING"}
    p.batch.create_job_queue(serviceEnvironmentOrder=order, schedulingPolicyArn=rule, **members)
    found = p.batch.describe_job_queues
    until(lambda: found(jobQueues=["shared"])["jobQueues"][0]["status"] == "VALID", "it is VALID")
    for name in "abcde":
        p.batch.create_quota_share(
            quotaShareName=name,
            jobQueue="shared",
            capacityLimits=[{"maxCapacity": 1, "capacityUnit": "ml.m5.large"}],
            resourceSharingConfiguration={"strategy": "LEND"},
            preemptionConfiguration={"inSharePreemption": "DISABLED"},
        )
    shares = p.batch.list_quota_shares
    until(lambda: {one["status"] for one in shares(jobQueue="shared")["quotaShares"]} == {"VALID"}, "all are VALID")
    return {"jobQueue": "shared"}


#: What makes items for a paginator of Batch, and the name of the result's list.
STOCK: dict[str, list[tuple[Callable[[Pipeline], Members], str]]] = {
    "describe_compute_environments": [(environments, "computeEnvironments")],
    "describe_job_definitions": [(definitions, "jobDefinitions"), (revisions, "jobDefinitions")],
    "describe_job_queues": [(queues, "jobQueues")],
    "list_consumable_resources": [(consumables, "consumableResources")],
    "list_jobs_by_consumable_resource": [(jobs_by_consumable, "jobs")],
    "describe_service_environments": [(service_environments, "serviceEnvironments")],
    "list_service_jobs": [(service_jobs, "jobSummaryList")],
    "list_quota_shares": [(quota_shares, "quotaShares")],
    "list_scheduling_policies": [(policies, "schedulingPolicies")],
    "list_jobs": [(jobs, "jobSummaryList"), (found_jobs, "jobSummaryList"), (children, "jobSummaryList")],
}


def test_every_paginator_of_batch(pipeline: Pipeline) -> None:
    """One that is not served says so by its name, and is not answered with nothing."""
    assert batchery.app
    batch = pipeline.batch
    for method, operation in batch.meta.method_to_api_mapping.items():
        if not batch.can_paginate(method):
            continue
        if operation not in HANDLERS:
            shape = batch.meta.service_model.operation_model(operation).input_shape
            with pytest.raises(ClientError, match=operation):
                list(batch.get_paginator(method).paginate(**dict.fromkeys(shape.required_members, "x")))
            continue
        assert method in STOCK, f"{method} is served and can be paged: it wants a line in STOCK"
        for make, items in STOCK[method]:
            in_pages_of_two(batch, method, items, make(pipeline))


def in_pages_of_two(client: Any, method: str, items: str, members: Members) -> None:
    whole = getattr(client, method)(**members)
    assert "nextToken" not in whole, f"{method}: one page has all"
    assert len(whole[items]) >= 3, method
    pages = client.get_paginator(method).paginate(PaginationConfig={"PageSize": 2}, **members)
    parts = [page[items] for page in pages]
    assert all(len(part) == 2 for part in parts[:-1]), method
    assert len(parts[-1]) <= 2, method
    assert parts[-1] or method == "lookup_events", f"{method}: only CloudTrail ends with an empty page"
    assert [item for part in parts for item in part] == whole[items], method


@pytest.mark.parametrize(
    ("service", "method", "items", "members"),
    [
        ("logs", "describe_log_groups", "logGroups", {}),
        ("logs", "describe_log_streams", "logStreams", {"logGroupName": "paged/a"}),
        ("logs", "filter_log_events", "events", {"logGroupName": "paged/a"}),
        ("cloudtrail", "lookup_events", "Events",
         {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "RegisterJobDefinition"}]}),
    ],
)  # fmt: skip
def test_other_paginators(
    pipeline: Pipeline, server: Server, service: str, method: str, items: str, members: Members
) -> None:
    jobs(pipeline)
    client = server.client(service)
    if method == "describe_log_groups":
        client.create_log_group(logGroupName=f"paged/{pipeline.folder.name}")
    in_pages_of_two(client, method, items, members)
