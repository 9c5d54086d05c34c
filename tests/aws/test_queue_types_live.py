"""jobQueueType, and which compute environments go together in a queue. Source: API_CreateJobQueue."""

from typing import Any

from test_fairshare_live import queue_detail, refused
from wire_pipeline import Pipeline, until


def fargate(pipeline: Pipeline, name: str) -> str:
    resources = {"type": "FARGATE", "maxvCpus": 4, "subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    pipeline.batch.create_compute_environment(
        computeEnvironmentName=name, type="MANAGED", state="ENABLED", computeResources=resources
    )
    until(lambda: pipeline.environment(name)["status"] == "VALID", "the environment is VALID")
    return name


def order(*environments: str) -> list[dict[str, Any]]:
    return [{"order": number, "computeEnvironment": name} for number, name in enumerate(environments, 1)]


def test_a_queue_has_the_type_of_its_environments(pipeline: Pipeline) -> None:
    batch, ec2, serverless = pipeline.batch, pipeline.new_environment(), fargate(pipeline, "typed-fargate")
    for name, environment, sent, shown in (
        ("typed-1", ec2, "ECS", "ECS"),
        ("typed-2", ec2, None, "ECS"),
        ("typed-3", serverless, None, "ECS_FARGATE"),
        ("typed-4", serverless, "ECS_FARGATE", "ECS_FARGATE"),
    ):
        more = {} if sent is None else {"jobQueueType": sent}
        made = batch.create_job_queue(
            jobQueueName=name, priority=1, computeEnvironmentOrder=order(environment), tags={"kind": shown}, **more
        )
        detail = queue_detail(pipeline, name)
        assert (detail["jobQueueType"], detail["tags"]) == (shown, {"kind": shown})
        assert detail["jobQueueArn"] == made["jobQueueArn"]
    asked = {"jobQueueName": "typed-5", "priority": 1}
    words = refused(batch.create_job_queue, **asked, computeEnvironmentOrder=order(ec2), jobQueueType="ECS_FARGATE")
    assert "type ECS_FARGATE" in words
    assert "not mixed" in refused(batch.create_job_queue, **asked, computeEnvironmentOrder=order(ec2, serverless))
    until(lambda: queue_detail(pipeline, "typed-1")["status"] == "VALID", "the queue is VALID")
    mixed = order(serverless, ec2)
    assert "not mixed" in refused(batch.update_job_queue, jobQueue="typed-1", computeEnvironmentOrder=mixed)
    job = pipeline.submit("typed-1", pipeline.definition(["true"]))
    pipeline.wait(job, "SUCCEEDED")
