"""Consumable resources over the wire: real jobs wait for units, hold them, use them up and give them back.

Sources: API_CreateConsumableResource and its neighbours; user guide, "Resource-aware scheduling". Decision 150.
"""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

from batchery.client import Client

_NAMES = itertools.count()


def make(pipeline: Pipeline, total: int = 2, **members: Any) -> str:
    """A consumable resource; its name."""
    name = f"seats-{next(_NAMES)}-{os.getpid()}"
    pipeline.batch.create_consumable_resource(consumableResourceName=name, totalQuantity=total, **members)
    return name


def asking(*units: tuple[str, int]) -> dict[str, Any]:
    return {"consumableResourceList": [{"consumableResource": name, "quantity": count} for name, count in units]}


def stock(pipeline: Pipeline, name: str) -> tuple[int, int, int]:
    """Total, in use, available."""
    seen = pipeline.batch.describe_consumable_resource(consumableResource=name)
    return seen["totalQuantity"], seen["inUseQuantity"], seen["availableQuantity"]


def statuses(pipeline: Pipeline, jobs: list[str]) -> list[str]:
    return [pipeline.status(job) for job in jobs]


@pytest.fixture
def queue(pipeline: Pipeline) -> str:
    """With room for all that a test submits: units are all that is scarce."""
    return pipeline.queue(vcpus=16)


def a_look_later(pipeline: Pipeline, queue: str) -> None:
    """A job without wishes runs, behind those that wait: the scheduler has looked at everything meanwhile."""
    pipeline.wait(pipeline.submit(queue, pipeline.definition(["true"])), "SUCCEEDED")


def refusal(call: Callable[..., Any], **members: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**members)
    assert caught.value.response["Error"]["Code"] == "ClientException"
    return str(caught.value.response["Error"]["Message"])


# ----------------------------------------------------------------------------------------------------- what they do


def test_two_units_let_two_of_five_run_and_one_more_lets_one_more_in(pipeline: Pipeline, queue: str) -> None:
    name, gate = make(pipeline), pipeline.gate()
    definition = pipeline.waiting(gate, consumableResourceProperties=asking((name, 1)))
    jobs = [pipeline.submit(queue, definition) for _ in range(5)]
    for job in jobs[:2]:
        seen = pipeline.wait(job, "RUNNING")
        assert seen["consumableResourceProperties"] == asking((name, 1))
    a_look_later(pipeline, queue)
    assert statuses(pipeline, jobs) == ["RUNNING"] * 2 + ["RUNNABLE"] * 3
    words = f"Waiting for consumable resources: {name} (1 asked, 0 of 2 available)"
    assert pipeline.job(jobs[2])["statusReason"] == words
    with Client(pipeline.server.url) as client:
        assert words + "." in client.own("why", job=jobs[2])["lines"]
    assert stock(pipeline, name) == (2, 2, 0)
    added = pipeline.batch.update_consumable_resource(consumableResource=name, operation="ADD", quantity=1)
    assert added["totalQuantity"] == 3
    pipeline.wait(jobs[2], "RUNNING")
    a_look_later(pipeline, queue)
    assert statuses(pipeline, jobs) == ["RUNNING"] * 3 + ["RUNNABLE"] * 2
    gate.touch()
    for job in jobs:
        pipeline.wait(job, "SUCCEEDED")
    assert stock(pipeline, name) == (3, 0, 3)


@pytest.mark.parametrize("how", ["terminate", "cancel"])
def test_units_are_given_back_when_the_job_is_really_gone(pipeline: Pipeline, queue: str, how: str) -> None:
    """Terminated, it takes its time to end: until then nobody gets its units. CancelJob leaves it running."""
    name, gate, going = make(pipeline, 1), pipeline.gate(), pipeline.gate()
    script = f'trap \'while [ ! -e "{going}" ]; do sleep 0.02; done; exit 3\' TERM; : > "{gate}.ready"; '
    script += f'while [ ! -e "{gate}" ]; do sleep 0.02; done'
    definition = pipeline.definition(["sh", "-c", script], consumableResourceProperties=asking((name, 1)))
    first = pipeline.submit(queue, definition)
    until(lambda: gate.with_name(gate.name + ".ready").exists(), "it runs")
    second = pipeline.submit(queue, pipeline.definition(["true"], consumableResourceProperties=asking((name, 1))))
    getattr(pipeline.batch, f"{how}_job")(jobId=first, reason="enough")
    a_look_later(pipeline, queue)
    assert pipeline.status(second) == "RUNNABLE"
    assert stock(pipeline, name) == (1, 1, 0)
    (going if how == "terminate" else gate).touch()
    pipeline.wait(first, "FAILED" if how == "terminate" else "SUCCEEDED")
    pipeline.wait(second, "SUCCEEDED")
    assert stock(pipeline, name) == (1, 0, 1)


def test_what_is_cancelled_while_it_waits_holds_nothing(pipeline: Pipeline, queue: str) -> None:
    name = make(pipeline, 0)
    job = pipeline.submit(queue, pipeline.definition(["true"], consumableResourceProperties=asking((name, 1))))
    pipeline.wait(job, "RUNNABLE")
    pipeline.batch.cancel_job(jobId=job, reason="no seat")
    assert pipeline.wait(job, "FAILED")["statusReason"] == "no seat"
    assert stock(pipeline, name) == (0, 0, 0)


def test_what_can_be_used_up_is(pipeline: Pipeline, queue: str) -> None:
    name, gate = make(pipeline, 3, resourceType="NON_REPLENISHABLE"), pipeline.gate()
    definition = pipeline.waiting(gate, consumableResourceProperties=asking((name, 2)))
    first, second = (pipeline.submit(queue, definition) for _ in range(2))
    pipeline.wait(first, "RUNNING")
    assert stock(pipeline, name) == (1, 2, 1)
    gate.touch()
    pipeline.wait(first, "SUCCEEDED")
    a_look_later(pipeline, queue)
    assert stock(pipeline, name) == (1, 0, 1)
    assert pipeline.job(second)["statusReason"].endswith("(2 asked, 1 of 1 available)")
    pipeline.batch.update_consumable_resource(consumableResource=name, operation="SET", quantity=2)
    pipeline.wait(second, "SUCCEEDED")
    assert stock(pipeline, name) == (0, 0, 0)


def test_an_override_replaces_the_list_and_children_ask_each_for_themselves(pipeline: Pipeline, queue: str) -> None:
    seats, cups, gate = make(pipeline, 0), make(pipeline, 2), pipeline.gate()
    definition = pipeline.waiting(gate, consumableResourceProperties=asking((seats, 1)))
    cup = pipeline.batch.describe_consumable_resource(consumableResource=cups)["consumableResourceArn"]
    array = pipeline.submit(
        queue,
        definition,
        arrayProperties={"size": 3},
        consumableResourcePropertiesOverride=asking((cup, 1)),
    )
    until(lambda: pipeline.counts(array).get("RUNNING") == 2, "two children run")
    a_look_later(pipeline, queue)
    assert pipeline.counts(array) == {"RUNNING": 2, "RUNNABLE": 1}
    assert pipeline.job(f"{array}:1")["consumableResourceProperties"] == asking((cup, 1))
    assert (stock(pipeline, seats), stock(pipeline, cups)) == ((0, 0, 0), (2, 2, 0))
    gate.touch()
    pipeline.wait(array, "SUCCEEDED")


def test_units_are_free_between_attempts(pipeline: Pipeline, queue: str) -> None:
    """Two jobs and one seat: the first fails, and fails again, before it gives the seat up for good."""
    name, trace = make(pipeline, 1), pipeline.folder / "trace"
    script = f'echo "$AWS_BATCH_JOB_ATTEMPT" >> "{trace}"; exit 1'
    definition = pipeline.definition(["sh", "-c", script], consumableResourceProperties=asking((name, 1)))
    job = pipeline.submit(queue, definition, retryStrategy={"attempts": 2})
    other = pipeline.submit(queue, pipeline.definition(["true"], consumableResourceProperties=asking((name, 1))))
    pipeline.wait(job, "FAILED")
    pipeline.wait(other, "SUCCEEDED")
    assert trace.read_text().split() == ["1", "2"]
    assert stock(pipeline, name) == (1, 0, 1)


def test_a_crash_loses_no_lock_and_no_token(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    queue = pipeline.queue(vcpus=16)
    seats, tickets, gate = make(pipeline, 1), make(pipeline, 5, resourceType="NON_REPLENISHABLE"), pipeline.gate()
    definition = pipeline.waiting(gate, consumableResourceProperties=asking((seats, 1), (tickets, 2)))
    running, waiting = pipeline.submit(queue, definition), pipeline.submit(queue, definition)
    pipeline.wait(running, "RUNNING")
    once = {"consumableResource": tickets, "operation": "ADD", "quantity": 1, "clientToken": "once"}
    assert pipeline.batch.update_consumable_resource(**once)["totalQuantity"] == 4

    server.kill()
    server.start()

    assert pipeline.batch.update_consumable_resource(**once)["totalQuantity"] == 4
    a_look_later(pipeline, queue)
    assert statuses(pipeline, [running, waiting]) == ["RUNNING", "RUNNABLE"]
    assert (stock(pipeline, seats), stock(pipeline, tickets)) == ((1, 1, 0), (4, 2, 4))
    gate.touch()
    for job in (running, waiting):
        pipeline.wait(job, "SUCCEEDED")
    assert (stock(pipeline, seats), stock(pipeline, tickets)) == ((1, 0, 1), (2, 0, 2))


# ------------------------------------------------------------------------------------------------------- operations


def test_what_is_described_and_listed(pipeline: Pipeline) -> None:
    prefix = f"kind-{os.getpid()}-"
    before = pipeline.server.client()
    for number in range(5):
        kind = {"resourceType": "NON_REPLENISHABLE"} if number == 3 else {}
        before.create_consumable_resource(
            consumableResourceName=f"{prefix}{number}", totalQuantity=number, tags={"n": str(number)}, **kind
        )
    one = before.describe_consumable_resource(consumableResource=f"{prefix}3")
    arn = one["consumableResourceArn"]
    assert arn.endswith(f":consumable-resource/{prefix}3")
    assert one["createdAt"] > 1_600_000_000_000
    assert (one["resourceType"], one["totalQuantity"], one["tags"]) == ("NON_REPLENISHABLE", 3, {"n": "3"})
    before.tag_resource(resourceArn=arn, tags={"m": "1"})
    before.untag_resource(resourceArn=arn, tagKeys=["n"])
    assert before.list_tags_for_resource(resourceArn=arn)["tags"] == {"m": "1"}

    wanted = [{"name": "CONSUMABLE_RESOURCE_NAME", "values": [prefix.upper() + "*"]}]
    pages, token = [], {}
    while True:
        page = before.list_consumable_resources(filters=wanted, maxResults=2, **token)
        pages.append([item["consumableResourceName"] for item in page["consumableResources"]])
        if not page.get("nextToken"):
            break
        token = {"nextToken": page["nextToken"]}
    assert pages == [[f"{prefix}0", f"{prefix}1"], [f"{prefix}2", f"{prefix}3"], [f"{prefix}4"]]
    (item,) = before.list_consumable_resources(
        filters=[{"name": "CONSUMABLE_RESOURCE_NAME", "values": [f"{prefix}4"]}]
    )["consumableResources"]
    assert item == {
        "consumableResourceArn": arn[:-1] + "4",
        "consumableResourceName": f"{prefix}4",
        "totalQuantity": 4,
        "inUseQuantity": 0,
        "resourceType": "REPLENISHABLE",
    }
    assert "nextToken" in refusal(before.list_consumable_resources, filters=[], nextToken=token["nextToken"])


def asking_for(pipeline: Pipeline, name: str, *filters: tuple[str, list[str]]) -> list[dict[str, Any]]:
    """ListJobsByConsumableResource, by pages of two."""
    named = [{"name": key, "values": values} for key, values in filters]
    paginator = pipeline.batch.get_paginator("list_jobs_by_consumable_resource")
    pages = list(paginator.paginate(consumableResource=name, filters=named, PaginationConfig={"PageSize": 2}))
    assert all(len(page["jobs"]) <= 2 for page in pages)
    return [job for page in pages for job in page["jobs"]]


def test_which_jobs_ask_for_one(pipeline: Pipeline, queue: str) -> None:
    name, other, gate = make(pipeline, 3), make(pipeline, 9), pipeline.gate()
    batch, definition = pipeline.batch, pipeline.waiting(gate, consumableResourceProperties=asking((name, 1)))

    def submit(title: str, **members: Any) -> str:
        return str(batch.submit_job(jobName=title, jobQueue=queue, jobDefinition=definition, **members)["jobId"])

    def listed(*filters: tuple[str, list[str]]) -> list[dict[str, Any]]:
        return asking_for(pipeline, name, *filters)

    first, array = submit("First"), submit("Array", arrayProperties={"size": 2})
    wish = asking((other, 2), (name, 1))
    waits = submit("waits", consumableResourcePropertiesOverride=wish)
    submit("elsewhere", consumableResourcePropertiesOverride=asking((other, 1)))
    pipeline.wait(first, "RUNNING")
    until(lambda: pipeline.counts(array).get("RUNNING") == 2, "both children run")
    pipeline.wait(waits, "RUNNABLE")

    assert [job["jobName"] for job in listed()] == ["waits", "Array", "First"]
    mine = listed(("JOB_STATUS", ["RUNNING"]))
    seen = pipeline.job(first)
    assert mine == [
        {
            "jobArn": seen["jobArn"],
            "jobQueueArn": seen["jobQueue"],
            "jobName": "First",
            "jobDefinitionArn": definition,
            "jobStatus": "RUNNING",
            "quantity": 1,
            "startedAt": seen["startedAt"],
            "createdAt": seen["createdAt"],
            "consumableResourceProperties": asking((name, 1)),
        }
    ]
    (waiting,) = listed(("JOB_STATUS", ["RUNNABLE", "SUBMITTED"]))
    assert (waiting["quantity"], waiting["consumableResourceProperties"]) == (1, wish)
    assert waiting["statusReason"].startswith(f"Waiting for consumable resources: {name} (1 asked")
    assert "startedAt" not in waiting
    assert [job["jobName"] for job in listed(("JOB_NAME", ["F*", "ARRAY"]))] == ["Array", "First"]
    assert listed(("JOB_NAME", ["f*"]), ("JOB_STATUS", ["PENDING"])) == []
    gate.touch()
    for job in (first, array, waits):
        pipeline.wait(job, "SUCCEEDED")
    assert [job["jobName"] for job in listed(("JOB_STATUS", ["SUCCEEDED"]))] == ["waits", "Array", "First"]
    assert [job["jobName"] for job in listed(("JOB_NAME", ["waits"]), ("JOB_STATUS", ["SUCCEEDED", "PENDING"]))] == [
        "waits"
    ]


def test_deleting(pipeline: Pipeline, queue: str) -> None:
    """At any time: what runs goes on, what waits goes on waiting, one made again with the name is the same to both."""
    name, gate, batch = make(pipeline, 1), pipeline.gate(), pipeline.batch
    definition = pipeline.waiting(gate, consumableResourceProperties=asking((name, 1)))
    runs = pipeline.submit(queue, definition)
    pipeline.wait(runs, "RUNNING")
    waits = pipeline.submit(queue, definition)
    batch.delete_consumable_resource(consumableResource=name)
    batch.delete_consumable_resource(consumableResource=name)
    assert "does not exist" in refusal(batch.describe_consumable_resource, consumableResource=name)
    found = refusal(batch.submit_job, jobName="j", jobQueue=queue, jobDefinition=definition)
    assert found == f"ConsumableResource {name} not found."
    a_look_later(pipeline, queue)
    assert statuses(pipeline, [runs, waits]) == ["RUNNING", "RUNNABLE"]
    words = f"Waiting for consumable resources: {name} (1 asked, does not exist)"
    assert pipeline.job(waits)["statusReason"] == words
    batch.create_consumable_resource(consumableResourceName=name, totalQuantity=1)
    assert stock(pipeline, name) == (1, 1, 0)
    a_look_later(pipeline, queue)
    assert statuses(pipeline, [runs, waits]) == ["RUNNING", "RUNNABLE"]
    gate.touch()
    for job in (runs, waits):
        pipeline.wait(job, "SUCCEEDED")
    assert stock(pipeline, name) == (1, 0, 1)


def test_what_is_refused(pipeline: Pipeline) -> None:
    name, batch = make(pipeline, 2), pipeline.batch
    create, update = batch.create_consumable_resource, batch.update_consumable_resource
    assert "already exists" in refusal(create, consumableResourceName=name)
    assert "valid pattern" in refusal(create, consumableResourceName="a b")
    assert "totalQuantity cannot be a negative number." in refusal(create, consumableResourceName="a", totalQuantity=-1)
    assert "resourceType" in refusal(create, consumableResourceName="a", resourceType="SLOTS")
    assert "aws:" in refusal(create, consumableResourceName="a", tags={"aws:x": "1"})
    assert "operation" in refusal(update, consumableResource=name, quantity=1)
    assert "operation" in refusal(update, consumableResource=name, operation="MULTIPLY", quantity=1)
    assert "quantity" in refusal(update, consumableResource=name, operation="ADD")
    assert "negative" in refusal(update, consumableResource=name, operation="ADD", quantity=-1)
    assert "total quantity is 2" in refusal(update, consumableResource=name, operation="REMOVE", quantity=3)
    assert "does not exist" in refusal(update, consumableResource="none", operation="ADD", quantity=1)
    listing = batch.list_consumable_resources
    assert "maxResults" in refusal(listing, maxResults=101)
    assert "Filter name" in refusal(listing, filters=[{"name": "JOB_NAME", "values": ["a"]}])
    assert "must have a value" in refusal(listing, filters=[{"name": "CONSUMABLE_RESOURCE_NAME", "values": []}])
    jobs = batch.list_jobs_by_consumable_resource
    assert "does not exist" in refusal(jobs, consumableResource="none")
    assert "JOB_STATUS" in refusal(jobs, consumableResource=name, filters=[{"name": "JOB_STATUS", "values": ["X"]}])
    for wanted, words in (
        (asking(("none", 1)), "ConsumableResource none not found."),
        (asking((name, 0)), "must be at least 1"),
        (asking((name, 1), (name, 1)), "Cannot have duplicate consumableResource in consumableResourceProperties"),
    ):
        container = {"image": "i", "vcpus": 1, "memory": 16}
        members = {"jobDefinitionName": "d", "type": "container", "containerProperties": container}
        assert words in refusal(batch.register_job_definition, **members, consumableResourceProperties=wanted)
        definition = pipeline.definition(["true"])
        asked = {"jobName": "j", "jobQueue": "default", "jobDefinition": definition}
        assert words in refusal(batch.submit_job, **asked, consumableResourcePropertiesOverride=wanted)
    assert stock(pipeline, name) == (2, 0, 2)
