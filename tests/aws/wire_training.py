"""What the tests of service jobs share: a training script, and what a user does with a queue of training jobs."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, until

_NAMES = itertools.count()

#: A training script: what it finds is what it writes to the model, and it ends as its hyperparameters say.
TRAIN = """#!/bin/sh
set -e
test "$1" = train
cat "$SM_INPUT_CONFIG_DIR/hyperparameters.json" > "$SM_MODEL_DIR/hyperparameters.json"
cat "$SM_INPUT_CONFIG_DIR/resourceconfig.json" > "$SM_MODEL_DIR/resourceconfig.json"
cat "$SM_INPUT_CONFIG_DIR/inputdataconfig.json" > "$SM_MODEL_DIR/inputdataconfig.json"
test -z "$SM_CHANNEL_TRAINING" || cat "$SM_CHANNEL_TRAINING/rows.csv" > "$SM_MODEL_DIR/rows.csv"
cat "$BATCHERY_SERVICE_REQUEST" > "$SM_MODEL_DIR/request.json"
echo "$TRAINING_JOB_NAME on $SM_CURRENT_HOST, attempt $AWS_BATCH_JOB_ATTEMPT, rate $SM_HP_RATE, colour $COLOUR"
if [ -n "$SM_HP_GATE" ]; then
  : > "$SM_HP_GATE.$AWS_BATCH_JOB_ID.started"
  while [ ! -e "$SM_HP_GATE" ]; do sleep 0.02; done
fi
test -z "$SM_HP_FAILS" || { printf '%s' "$SM_HP_FAILS" > "$SM_OUTPUT_DIR/failure"; exit 3; }
"""


class Training(Pipeline):
    """What a user does with a queue of service jobs."""

    def service_environment(self, most: int = 4, **members: Any) -> str:
        name = members.pop("name", "") or f"se-{next(_NAMES)}"
        limits = members.pop("capacityLimits", [{"maxCapacity": most, "capacityUnit": "NUM_INSTANCES"}])
        self.batch.create_service_environment(
            serviceEnvironmentName=name, serviceEnvironmentType="SAGEMAKER_TRAINING", capacityLimits=limits, **members
        )
        until(lambda: self.shown_environment(name)["status"] == "VALID", "the service environment is VALID")
        return name

    def shown_environment(self, name: str) -> dict[str, Any]:
        (found,) = self.batch.describe_service_environments(serviceEnvironments=[name])["serviceEnvironments"]
        return dict(found)

    def service_queue(self, environment: str, **members: Any) -> str:
        name = f"sq-{next(_NAMES)}"
        self.batch.create_job_queue(
            jobQueueName=name,
            priority=1,
            jobQueueType="SAGEMAKER_TRAINING",
            serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": environment}],
            **members,
        )
        until(lambda: self.shown_queue(name)["status"] == "VALID", "the queue is VALID")
        return name

    def shown_queue(self, name: str) -> dict[str, Any]:
        return dict(self.batch.describe_job_queues(jobQueues=[name])["jobQueues"][0])

    def payload(self, count: int = 1, kind: str = "ml.m5.large", **members: Any) -> str:
        hyper = {key: str(value) for key, value in members.pop("hyper", {}).items()}
        asked = {
            "TrainingJobName": "training",
            "AlgorithmSpecification": {"TrainingImage": "trainer:1", "TrainingInputMode": "File"},
            "HyperParameters": hyper,
            "ResourceConfig": {"InstanceType": kind, "InstanceCount": count, "VolumeSizeInGB": 1},
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            "RoleArn": "arn:aws:iam::123456789012:role/Training",
        }
        return json.dumps(asked | members)

    def train(self, queue: str, payload: str = "", name: str = "job", **members: Any) -> str:
        reply = self.batch.submit_service_job(
            jobName=name,
            jobQueue=queue,
            serviceJobType="SAGEMAKER_TRAINING",
            serviceRequestPayload=payload or self.payload(),
            **members,
        )
        assert reply["jobArn"].endswith(":service-job/" + reply["jobId"])
        assert reply["jobName"] == name
        return str(reply["jobId"])

    def waiting_job(self, queue: str, gate: Path, count: int = 1, **members: Any) -> str:
        """A job that runs until the gate is there."""
        kind = members.pop("kind", "ml.m5.large")
        return self.train(queue, self.payload(count, kind, hyper={"GATE": gate}), **members)

    def seen(self, job: str) -> dict[str, Any]:
        return dict(self.batch.describe_service_job(jobId=job))

    def until(self, job: str, *statuses: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            seen = self.seen(job)
            if seen["status"] in statuses:
                return seen
            assert seen["status"] not in ("SUCCEEDED", "FAILED"), seen
            return None

        return dict(until(found, f"{job} is {statuses}"))

    def listed(self, queue: str, **members: Any) -> list[str]:
        return [one["jobId"] for one in self.batch.list_service_jobs(jobQueue=queue, **members)["jobSummaryList"]]

    def left(self, job: str) -> Path:
        """The model of a job's last attempt."""
        arn = self.seen(job)["latestAttempt"]["serviceResourceId"]["value"]
        task = arn[-32:]
        return self.server.folder / "data" / "services" / task[-2:] / task / "ml" / "model"


def refused(what: Callable[..., Any], **members: Any) -> str:
    with pytest.raises(ClientError) as caught:
        what(**members)
    assert caught.value.response["Error"]["Code"] == "ClientException"
    return str(caught.value.response["Error"]["Message"])
