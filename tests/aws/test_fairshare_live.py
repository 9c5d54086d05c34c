"""Scheduling policies and fair share over the wire, with jobs that really run.

Sources: API_CreateSchedulingPolicy, API_FairsharePolicy, API_ShareAttributes, API_SubmitJob, API_ListJobs.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

_NUMBERS = itertools.count()


def policy(pipeline: Pipeline, weights: dict[str, float] | None = None, **members: Any) -> str:
    """A fair-share policy; its ARN."""
    entries = [{"shareIdentifier": share, "weightFactor": weight} for share, weight in (weights or {}).items()]
    fair = {"shareDistribution": entries, **members}
    made = pipeline.batch.create_scheduling_policy(name=f"policy-{next(_NUMBERS)}", fairsharePolicy=fair)
    return str(made["arn"])


def fair_queue(pipeline: Pipeline, vcpus: int, rule: str, state: str = "ENABLED") -> tuple[str, str]:
    """A queue with this policy and its environment."""
    environment = pipeline.new_environment(vcpus, state)
    name = f"fair-{next(_NUMBERS)}"
    pipeline.batch.create_job_queue(
        jobQueueName=name,
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
        schedulingPolicyArn=rule,
    )
    until(lambda: queue_detail(pipeline, name)["status"] == "VALID", "the queue is VALID")
    return name, environment


def queue_detail(pipeline: Pipeline, name: str) -> dict[str, Any]:
    return dict(pipeline.batch.describe_job_queues(jobQueues=[name])["jobQueues"][0])


def refused(what: Callable[..., Any], **members: Any) -> str:
    with pytest.raises(ClientError) as caught:
        what(**members)
    assert caught.value.response["Error"]["Code"] == "ClientException"
    return str(caught.value.response["Error"]["Message"])


def children(pipeline: Pipeline, array: str, size: int) -> list[dict[str, Any]]:
    refs = [f"{array}:{index}" for index in range(size)]
    return [
        job
        for first in range(0, size, 100)
        for job in pipeline.batch.describe_jobs(jobs=refs[first : first + 100])["jobs"]
    ]


# -------------------------------------------------------------------------------------------------------- policies


def test_a_policy_from_its_creation_to_its_end(pipeline: Pipeline) -> None:
    batch = pipeline.batch
    fair = {
        "shareDecaySeconds": 1200,
        "computeReservation": 10,
        "shareDistribution": [{"shareIdentifier": "A", "weightFactor": 0.5}, {"shareIdentifier": "B*"}],
    }
    made = batch.create_scheduling_policy(name="from-to", fairsharePolicy=fair, tags={"team": "blue"})
    assert made["name"] == "from-to"
    arn = made["arn"]

    def shown() -> dict[str, Any]:
        (found,) = batch.describe_scheduling_policies(arns=[arn, arn + "-none"])["schedulingPolicies"]
        return dict(found)

    assert shown() == {"name": "from-to", "arn": arn, "fairsharePolicy": fair, "tags": {"team": "blue"}}
    assert refused(batch.create_scheduling_policy, name="from-to") == "Object already exists"
    batch.update_scheduling_policy(arn=arn, fairsharePolicy={"shareDecaySeconds": 700})
    assert shown()["fairsharePolicy"] == {"shareDecaySeconds": 700}
    assert {"arn": arn} in batch.list_scheduling_policies()["schedulingPolicies"]
    batch.tag_resource(resourceArn=arn, tags={"more": "x"})
    assert batch.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "blue", "more": "x"}
    queue, _ = fair_queue(pipeline, 1, arn)
    assert queue_detail(pipeline, queue)["schedulingPolicyArn"] == arn
    assert "JobQueue relationship" in refused(batch.delete_scheduling_policy, arn=arn)
    other = policy(pipeline)
    batch.update_job_queue(jobQueue=queue, schedulingPolicyArn=other)
    until(lambda: queue_detail(pipeline, queue)["status"] == "VALID", "the queue is VALID")
    assert queue_detail(pipeline, queue)["schedulingPolicyArn"] == other
    batch.delete_scheduling_policy(arn=arn)
    batch.delete_scheduling_policy(arn=arn)
    trail = pipeline.server.client("cloudtrail")
    calls = ("CreateSchedulingPolicy", "UpdateSchedulingPolicy", "DeleteSchedulingPolicy")

    def recorded() -> bool:
        attribute = [{"AttributeKey": "ResourceName", "AttributeValue": arn}]
        events = trail.lookup_events(LookupAttributes=attribute)["Events"]
        return {event["EventName"] for event in events} >= set(calls)

    until(recorded, "the activity log has the calls by the policy's ARN")
    assert batch.describe_scheduling_policies(arns=[arn])["schedulingPolicies"] == []


def test_a_quota_share_policy_is_for_service_queues(pipeline: Pipeline) -> None:
    batch = pipeline.batch
    quota = {"idleResourceAssignmentStrategy": "FIFO"}
    arn = batch.create_scheduling_policy(name="quota", quotaSharePolicy=quota)["arn"]
    batch.update_scheduling_policy(arn=arn, quotaSharePolicy=quota)
    assert batch.describe_scheduling_policies(arns=[arn])["schedulingPolicies"][0]["quotaSharePolicy"] == quota
    assert "can not be changed" in refused(batch.update_scheduling_policy, arn=arn, fairsharePolicy={})
    environment = pipeline.new_environment()
    order = [{"order": 1, "computeEnvironment": environment}]
    words = refused(
        batch.create_job_queue,
        jobQueueName="no-quota",
        priority=1,
        computeEnvironmentOrder=order,
        schedulingPolicyArn=arn,
    )
    assert "Quota Management feature is only supported for SageMaker Training job queues." in words


def test_a_fifo_queue_gets_no_policy_and_a_fair_one_keeps_its(pipeline: Pipeline) -> None:
    fifo = pipeline.queue()
    until(lambda: queue_detail(pipeline, fifo)["status"] == "VALID", "the queue is VALID")
    assert "schedulingPolicyArn" not in queue_detail(pipeline, fifo)
    rule = policy(pipeline)
    assert "FIFO" in refused(pipeline.batch.update_job_queue, jobQueue=fifo, schedulingPolicyArn=rule)
    queue, _ = fair_queue(pipeline, 1, rule)
    pipeline.batch.update_job_queue(jobQueue=queue, priority=3)
    assert queue_detail(pipeline, queue)["schedulingPolicyArn"] == rule


# ------------------------------------------------------------------------------------------------------------ jobs


def test_a_job_needs_a_share_and_a_priority_where_there_is_a_policy(pipeline: Pipeline) -> None:
    queue, _ = fair_queue(pipeline, 2, policy(pipeline))
    definition = pipeline.definition(["true"])
    batch = pipeline.batch
    asked = {"jobName": "j", "jobQueue": queue, "jobDefinition": definition}
    assert refused(batch.submit_job, **asked) == "shareIdentifier must be specified."
    assert refused(batch.submit_job, **asked, shareIdentifier="a") == (
        "Either schedulingPriority in job definition or schedulingPriorityOverride should be specified."
    )
    assert "ShareIdentifier name should match a valid pattern." in refused(
        batch.submit_job, **asked, shareIdentifier="a b", schedulingPriorityOverride=1
    )
    assert "between 0 and 9999" in refused(
        batch.submit_job, **asked, shareIdentifier="a", schedulingPriorityOverride=10_000
    )
    fifo = {**asked, "jobQueue": pipeline.queue()}
    for more in ({"shareIdentifier": "a"}, {"schedulingPriorityOverride": 1}):
        assert refused(batch.submit_job, **fifo, **more) == (
            "Job with shareIdentifier or schedulingPriority can onlybe submitted to job queue with fair share "
            "scheduling policy."
        )
    first = batch.submit_job(**asked, shareIdentifier="team-a_1*", schedulingPriorityOverride=0)["jobId"]
    registered = pipeline.definition(["true"], schedulingPriority=7)
    second = pipeline.submit(queue, registered, shareIdentifier="a")
    assert batch.describe_job_definitions(jobDefinitions=[registered])["jobDefinitions"][0]["schedulingPriority"] == 7
    for job, share, priority in ((first, "team-a_1*", 0), (second, "a", 7)):
        seen = pipeline.wait(job, "SUCCEEDED")
        assert (seen["shareIdentifier"], seen["schedulingPriority"]) == (share, priority)
    plain = pipeline.wait(pipeline.submit(fifo["jobQueue"], registered), "SUCCEEDED")
    assert "shareIdentifier" not in plain, "a definition's priority is for fair-share queues"


def test_the_share_limit_is_a_setting(
    own_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHERY_LIMITS_SHARE_IDENTIFIERS", "2")
    pipeline = Pipeline(own_server(), tmp_path)
    queue, _ = fair_queue(pipeline, 2, policy(pipeline))
    definition = pipeline.definition(["true"], schedulingPriority=1)
    for share in ("a", "b", "a"):
        pipeline.submit(queue, definition, shareIdentifier=share)
    asked = {"jobName": "j", "jobQueue": queue, "jobDefinition": definition, "shareIdentifier": "c"}
    assert "2 active share identifiers" in refused(pipeline.batch.submit_job, **asked)


def test_priority_decides_within_a_share(pipeline: Pipeline) -> None:
    queue, environment = fair_queue(pipeline, 1, policy(pipeline), "DISABLED")
    trace = pipeline.folder / "trace"
    definition = pipeline.definition(["sh", "-c", f"echo Ref::word >>{trace}"], schedulingPriority=5)
    asked = {"low": 1, "middle": None, "high": 9}
    for word, priority in asked.items():
        more = {} if priority is None else {"schedulingPriorityOverride": priority}
        pipeline.submit(queue, definition, shareIdentifier="a", parameters={"word": word}, **more)
    pipeline.set_environment(environment, state="ENABLED")
    until(lambda: trace.exists() and len(trace.read_text().split()) == 3, "all have run")
    assert trace.read_text().split() == ["high", "middle", "low"]


def test_jobs_are_listed_by_share(pipeline: Pipeline) -> None:
    queue, environment = fair_queue(pipeline, 4, policy(pipeline))
    definition = pipeline.definition(["true"], schedulingPriority=1)
    done = [pipeline.submit(queue, definition, shareIdentifier="a") for _ in range(3)]
    for job in done:
        pipeline.wait(job, "SUCCEEDED")
    pipeline.set_environment(environment, state="DISABLED")
    waiting = [pipeline.submit(queue, definition, shareIdentifier=share) for share in "aba"]
    for job in waiting:
        pipeline.wait(job, "RUNNABLE")
    by_share = {"jobQueue": queue, "filters": [{"name": "SHARE_IDENTIFIER", "values": ["a"]}]}

    def found(**more: Any) -> list[str]:
        pages = pipeline.batch.get_paginator("list_jobs").paginate(**by_share, **more, PaginationConfig={"PageSize": 2})
        jobs = [job for page in pages for job in page["jobSummaryList"]]
        assert all(job["shareIdentifier"] == "a" for job in jobs)
        return [job["jobId"] for job in jobs]

    mine = [*done, waiting[0], waiting[2]]
    assert found() == mine[::-1]
    assert found(jobStatus="RUNNABLE") == mine[:2:-1]
    assert found(jobStatus="SUCCEEDED") == done[::-1]
    assert found(jobStatus="FAILED") == []


def served(jobs: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """vCPU-ms by share, from the first start until one share has nothing waiting any more."""
    end = min(max(job["startedAt"] for job in mine) for mine in jobs.values())
    return {
        share: sum(max(min(job["stoppedAt"], end) - job["startedAt"], 0) for job in mine)
        for share, mine in jobs.items()
    }


def test_shares_get_time_inversely_to_their_weights(pipeline: Pipeline) -> None:
    """Three shares that always have jobs waiting, by name, by prefix and by default: 6 : 3 : 2."""
    queue, environment = fair_queue(pipeline, 6, policy(pipeline, {"heavy": 3.0, "team*": 2.0}), "DISABLED")
    definition = pipeline.definition(["sleep", "0.3"], schedulingPriority=1)
    sizes = {"most": 66, "team1": 40, "heavy": 30}
    arrays = {
        share: pipeline.submit(queue, definition, shareIdentifier=share, arrayProperties={"size": size})
        for share, size in sizes.items()
    }
    for array in arrays.values():
        until(lambda array=array: pipeline.counts(array).get("RUNNABLE"), "all are ready")
    pipeline.set_environment(environment, state="ENABLED")
    for array in arrays.values():
        pipeline.wait(array, "SUCCEEDED")
    got = served({share: children(pipeline, array, sizes[share]) for share, array in arrays.items()})
    whole = sum(got.values())
    for share, part in {"most": 6 / 11, "team1": 3 / 11, "heavy": 2 / 11}.items():
        assert got[share] / whole == pytest.approx(part, rel=0.15), got


def test_usage_outlives_a_crash(own_server: Callable[..., Server], tmp_path: Path) -> None:
    """What a share used before the crash still counts against it."""
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    queue, environment = fair_queue(pipeline, 1, policy(pipeline))
    slow = pipeline.definition(["sleep", "1"], schedulingPriority=1)
    pipeline.wait(pipeline.submit(queue, slow, shareIdentifier="a"), "SUCCEEDED")
    pipeline.set_environment(environment, state="DISABLED")
    trace = tmp_path / "trace"
    note = pipeline.definition(["sh", "-c", f"echo Ref::word >>{trace}"], schedulingPriority=1)
    jobs = [
        pipeline.submit(queue, note, shareIdentifier=share, parameters={"word": share})
        for share in ("a", "b", "a", "b")
    ]
    for job in jobs:
        pipeline.wait(job, "RUNNABLE")
    server.kill()
    server.start()
    pipeline = Pipeline(server, tmp_path)
    pipeline.set_environment(environment, state="ENABLED")
    for job in jobs:
        pipeline.wait(job, "SUCCEEDED")
    assert trace.read_text().split() == ["b", "b", "a", "a"]


def test_the_reservation_leaves_room_for_the_next_share(pipeline: Pipeline) -> None:
    queue, _ = fair_queue(pipeline, 4, policy(pipeline, computeReservation=50))
    gate = pipeline.gate()
    definition = pipeline.waiting(gate, schedulingPriority=1)
    first = [pipeline.submit(queue, definition, shareIdentifier="a") for _ in range(4)]
    for job in first[:2]:
        pipeline.wait(job, "RUNNING")
    assert [pipeline.status(job) for job in first[2:]] == ["RUNNABLE"] * 2, "half is kept"
    second = pipeline.submit(queue, definition, shareIdentifier="b")
    pipeline.wait(second, "RUNNING")
    gate.touch()
    for job in first:
        pipeline.wait(job, "SUCCEEDED")
