"""Rates and quotas over the wire: nothing is limited until a setting says so, and then as AWS does it.

Sources: user guide, "Service quotas"; general reference, "AWS Batch endpoints and quotas".
"""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, _session

RATES = "kill_grace = 2\nrates = {SubmitJob = 2, DescribeJobs = 500}"
LIMITS = {
    "queues": 2,
    "environments": 3,
    "tags": 2,
    "dependencies": 1,
    "array_size": 3,
    "attempts": 2,
    "page": 2,
}


def code(call: Callable[[], Any]) -> str:
    try:
        call()
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return f"{status} {error.response['Error']['Code']}: {error.response['Error']['Message']}"
    return "ok"


def test_calls_that_come_too_fast(own_server: Callable[..., Server], pipeline: Pipeline) -> None:
    server = own_server(RATES)
    own = Pipeline(server, pipeline.folder)
    queue, definition = own.queue(), own.definition(["true"])
    answers = [code(lambda: own.submit(queue, definition)) for _ in range(12)]
    assert "429 TooManyRequestsException: Too Many Requests" in answers
    assert answers[0] == "ok"
    assert {code(lambda: own.batch.describe_jobs(jobs=["x"])) for _ in range(12)} == {"ok"}, "each has its own"
    patient = _session().client(
        "batch", "us-east-1", endpoint_url=server.url, config=Config(retries={"max_attempts": 10, "mode": "standard"})
    )
    for _ in range(4):  # an SDK tries again, as at AWS
        patient.submit_job(jobName="j", jobQueue=queue, jobDefinition=definition)
    trail = server.client("cloudtrail").lookup_events(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "SubmitJob"}]
    )["Events"]
    assert any("TooManyRequestsException" in event["CloudTrailEvent"] for event in trail)


def test_nothing_is_limited_by_default(pipeline: Pipeline) -> None:
    queue, definition = pipeline.queue(vcpus=8), pipeline.definition(["true"])
    jobs = [pipeline.submit(queue, definition) for _ in range(120)]
    for job in jobs[-3:]:
        pipeline.wait(job, "SUCCEEDED")


def test_quotas_are_settings(
    own_server: Callable[..., Server], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in LIMITS.items():
        monkeypatch.setenv(f"BATCHERY_LIMITS_{name.upper()}", str(most))
    own = Pipeline(own_server(), pipeline.folder)
    environment, definition = own.new_environment(), own.definition(["true"])  # beside the ready-made ones
    queue = own.queue_on(environment)
    own.new_environment()
    first, second = own.submit(queue, definition), own.submit(queue, definition)
    both = [{"jobId": first}, {"jobId": second}]
    refused = {
        "Cannot create more than 2 job queues": lambda: own.queue_on(environment),
        "Cannot create more than 3 compute environments": lambda: own.new_environment(),
        "A resource can have at most 2 tags": lambda: own.submit(queue, definition, tags=dict.fromkeys("abc", "")),
        "Job cannot have more than 1 dependencies": lambda: own.submit(queue, definition, dependsOn=both),
        "Array size must be between 2 and 3": lambda: own.submit(queue, definition, arrayProperties={"size": 4}),
        "RetryAttempts must be between 1 and 2.": lambda: own.submit(queue, definition, retryStrategy={"attempts": 3}),
        "maxResults must be between 1 and 2": lambda: own.batch.describe_job_queues(maxResults=3),
    }
    for words, call in refused.items():
        with pytest.raises(ClientError, match=words):
            call()


def test_jobs_that_nobody_has_looked_at(
    own_server: Callable[..., Server], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHERY_LIMITS_SUBMITTED", "2")
    own = Pipeline(own_server("kill_grace = 2\nsubmitted_for = 600000"), pipeline.folder)
    queue, definition = own.queue(), own.definition(["true"])
    for _ in range(2):
        assert own.status(own.submit(queue, definition)) == "SUBMITTED"
    with pytest.raises(ClientError, match="There can be at most 2 jobs in SUBMITTED"):
        own.submit(queue, definition)
