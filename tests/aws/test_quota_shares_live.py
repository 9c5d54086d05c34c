"""Quota shares over the wire, with jobs that really run. Sources: API_CreateQuotaShare, API_UpdateQuotaShare,
API_QuotaShareResourceSharingConfiguration; user guide, "Preemption".
"""

import itertools
from pathlib import Path
from typing import Any

import pytest
from test_services_live import server as server
from wire_pipeline import until
from wire_training import Training, refused

_NAMES = itertools.count()
LARGE = "ml.m5.large"


@pytest.fixture
def training(server: Any, tmp_path: Path) -> Training:
    return Training(server, tmp_path)


def managed(training: Training, most: int) -> str:
    """A quota-managed queue with so many instances."""
    policy = {"idleResourceAssignmentStrategy": "FIFO"}
    made = training.batch.create_scheduling_policy(name=f"quota-{next(_NAMES)}", quotaSharePolicy=policy)
    limits = [{"maxCapacity": most, "capacityUnit": LARGE}]
    return training.service_queue(training.service_environment(capacityLimits=limits), schedulingPolicyArn=made["arn"])


def share(training: Training, queue: str, name: str, most: int, strategy: str = "LEND_AND_BORROW", **more: Any) -> str:
    borrow = {"borrowLimit": more["borrowLimit"]} if "borrowLimit" in more else {}
    made = training.batch.create_quota_share(
        quotaShareName=name,
        jobQueue=queue,
        capacityLimits=[{"maxCapacity": most, "capacityUnit": LARGE}],
        resourceSharingConfiguration={"strategy": strategy, **borrow},
        preemptionConfiguration={"inSharePreemption": more.get("inShare", "DISABLED")},
    )
    until(lambda: shown(training, made["quotaShareArn"])["status"] == "VALID", "the quota share is VALID")
    return str(made["quotaShareArn"])


def shown(training: Training, arn: str) -> dict[str, Any]:
    found = dict(training.batch.describe_quota_share(quotaShareArn=arn))
    found.pop("ResponseMetadata")
    return found


def update(training: Training, arn: str, **members: Any) -> None:
    training.batch.update_quota_share(quotaShareArn=arn, **members)
    until(lambda: shown(training, arn)["status"] == "VALID", "the quota share is VALID")


def test_a_quota_share_from_its_creation_to_its_end(training: Training) -> None:
    batch, queue = training.batch, managed(training, 4)
    use = batch.get_job_queue_snapshot(jobQueue=queue)["queueUtilization"]
    assert use["quotaShareUtilization"] == {"topCapacityUtilization": []}
    assert "fairshareUtilization" not in use
    limits = [{"maxCapacity": 2, "capacityUnit": LARGE}]
    members: dict[str, Any] = {
        "capacityLimits": limits,
        "resourceSharingConfiguration": {"strategy": "LEND_AND_BORROW", "borrowLimit": 50},
        "preemptionConfiguration": {"inSharePreemption": "ENABLED"},
        "state": "ENABLED",
        "tags": {"team": "blue"},
    }
    made = batch.create_quota_share(quotaShareName="blue", jobQueue=queue, **members)
    arn = made["quotaShareArn"]
    assert arn.endswith(f":job-queue/{queue}/quota-share/blue")
    until(lambda: shown(training, arn)["status"] == "VALID", "VALID")
    queue_arn = training.shown_queue(queue)["jobQueueArn"]
    ids = {"quotaShareName": "blue", "quotaShareArn": arn, "jobQueueArn": queue_arn}
    assert shown(training, arn) == members | ids | {"status": "VALID"}
    batch.tag_resource(resourceArn=arn, tags={"more": "x"})
    assert batch.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "blue", "more": "x"}
    assert "already exists" in refused(batch.create_quota_share, quotaShareName="blue", jobQueue=queue, **members)
    rule, fifo = training.shown_queue(queue)["schedulingPolicyArn"], {"idleResourceAssignmentStrategy": "FIFO"}
    batch.update_scheduling_policy(arn=rule, quotaSharePolicy=fifo)
    assert batch.describe_scheduling_policies(arns=[rule])["schedulingPolicies"][0]["quotaSharePolicy"] == fifo
    lend = {"strategy": "LEND", "borrowLimit": 5}
    assert "borrowLimit" in refused(batch.update_quota_share, quotaShareArn=arn, resourceSharingConfiguration=lend)
    for name in ("green", "red"):
        share(training, queue, name, 1, "LEND")
    pages = batch.get_paginator("list_quota_shares").paginate(jobQueue=queue, PaginationConfig={"PageSize": 2})
    found = [[one["quotaShareName"] for one in page["quotaShares"]] for page in pages]
    assert found == [["blue", "green"], ["red"]]
    gate = training.gate()
    job = training.waiting_job(queue, gate, quotaShareName="blue")
    training.until(job, "RUNNING")
    assert "DISABLED" in refused(batch.delete_quota_share, quotaShareArn=arn)
    update(training, arn, state="DISABLED", preemptionConfiguration={"inSharePreemption": "DISABLED"})
    assert shown(training, arn)["preemptionConfiguration"] == {"inSharePreemption": "DISABLED"}
    assert "not ENABLED" in refused(lambda: training.train(queue, quotaShareName="blue"))
    assert "quotaShareName" in refused(lambda: training.train(queue))
    batch.delete_quota_share(quotaShareArn=arn)
    assert training.until(job, "FAILED")["statusReason"] == "QuotaShare deleted"
    until(lambda: len(batch.list_quota_shares(jobQueue=queue)["quotaShares"]) == 2, "it is gone")
    assert "does not exist" in refused(batch.describe_quota_share, quotaShareArn=arn)


def test_borrowed_instances_are_taken_back_and_the_preempted_job_comes_back(training: Training) -> None:
    queue, gate = managed(training, 2), training.gate()
    share(training, queue, "blue", 1)
    share(training, queue, "red", 1)
    jobs = [training.waiting_job(queue, gate, quotaShareName="blue", schedulingPriority=p) for p in (5, 1)]
    for job in jobs:
        training.until(job, "RUNNING")
    front = training.batch.get_job_queue_snapshot(jobQueue=queue)
    use = front["queueUtilization"]["quotaShareUtilization"]["topCapacityUtilization"]
    assert use == [{"quotaShareName": "blue", "capacityUsage": [{"capacityUnit": LARGE, "quantity": 2.0}]}]
    mine = training.waiting_job(queue, training.gate(), quotaShareName="red")
    training.until(mine, "RUNNING")
    back = training.until(jobs[1], "RUNNABLE")
    assert back["preemptionSummary"]["preemptedAttemptCount"] == 1
    (attempt,) = back["preemptionSummary"]["recentPreemptedAttempts"]
    assert attempt["statusReason"].startswith("PREEMPTION_IN_PROGRESS: Cross-share preemption")
    assert attempt["startedAt"] <= attempt["stoppedAt"]
    assert (back["attempts"], back["quotaShareName"]) == ([], "blue")
    snapshot = training.batch.get_job_queue_snapshot(jobQueue=queue)["frontOfQuotaShares"]["quotaShares"]
    assert [one["jobArn"] for one in snapshot["blue"]] == [back["jobArn"]]
    share_filter = [{"name": "QUOTA_SHARE_NAME", "values": ["blue"]}]
    assert training.listed(queue, filters=share_filter) == jobs[::-1]
    assert training.listed(queue, filters=share_filter, jobStatus="RUNNABLE") == [jobs[1]]
    assert training.seen(jobs[0])["status"] == "RUNNING"
    training.batch.terminate_service_job(jobId=mine, reason="enough")
    gate.touch()
    seen = training.until(jobs[1], "SUCCEEDED")
    assert (len(seen["attempts"]), seen["preemptionSummary"]["preemptedAttemptCount"]) == (1, 1)


def test_a_limit_of_borrowing_and_a_reserve_hold(training: Training) -> None:
    queue, gate = managed(training, 6), training.gate()
    arn = share(training, queue, "half", 2, borrowLimit=50)
    share(training, queue, "keep", 2, "RESERVE")
    huge = training.train(queue, training.payload(4), quotaShareName="half", schedulingPriority=9)
    jobs = [training.waiting_job(queue, gate, quotaShareName="half") for _ in range(5)]
    for job in jobs[:3]:
        training.until(job, "RUNNING")  # they pass the one that its share could never have
    reason = "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requirements exceed quota share capacity limits"
    assert training.seen(huge)["statusReason"] == f"{reason} and borrow limits."
    assert f"{reason} and borrow limits." in training.server.cli("why", huge)
    training.batch.terminate_service_job(jobId=huge, reason="too large")
    training.until(jobs[3], "RUNNABLE")
    update(training, arn, resourceSharingConfiguration={"strategy": "LEND_AND_BORROW", "borrowLimit": -1})
    training.until(jobs[3], "RUNNING")
    assert training.seen(jobs[4])["status"] == "RUNNABLE"  # two are kept
    update(training, arn, capacityLimits=[{"maxCapacity": 6, "capacityUnit": LARGE}])
    training.until(jobs[4], "RUNNING")
    training.batch.terminate_service_jobs(jobs=jobs, reason="enough")


def test_a_higher_priority_preempts_in_its_share_and_retries_are_counted(training: Training) -> None:
    queue, gate = managed(training, 1), training.gate()
    share(training, queue, "blue", 1, "LEND", inShare="ENABLED")
    retries = {"preemptionRetriesBeforeTermination": 0}
    low = training.waiting_job(queue, gate, quotaShareName="blue", preemptionConfiguration=retries)
    training.until(low, "RUNNING")
    high = training.waiting_job(queue, gate, quotaShareName="blue")
    training.until(high, "RUNNABLE")
    training.batch.update_service_job(jobId=high, schedulingPriority=9)
    training.until(high, "RUNNING")
    seen = training.until(low, "FAILED")
    assert seen["statusReason"].startswith("PREEMPTION_IN_PROGRESS: In-share preemption")
    assert (seen["preemptionSummary"]["preemptedAttemptCount"], seen["preemptionConfiguration"]) == (1, retries)
    gate.touch()
    training.until(high, "SUCCEEDED")
