"""The judge of all answers (judging.py) at work on jobs in every state, and on resources of every kind."""

import pytest
from botocore.exceptions import ClientError
from judging import ANSWERED, faults, missing, verdict
from wire_pipeline import Pipeline, Server, until

CONTAINER = {
    "image": "busybox",
    "command": ["sh", "-c", "echo one; echo two"],
    "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
    "environment": [{"name": "A", "value": "b"}],
    "ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": 1024}],
    "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "shapes", "awslogs-stream-prefix": "s"}},
    "linuxParameters": {"initProcessEnabled": True},
    "volumes": [{"name": "v", "host": {"sourcePath": "/tmp"}}],
    "mountPoints": [{"sourceVolume": "v", "containerPath": "/tmp", "readOnly": True}],
}
ON_FARGATE = {
    "image": "busybox",
    "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
    "resourceRequirements": [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "512"}],
    "networkConfiguration": {"assignPublicIp": "ENABLED"},
    "runtimePlatform": {"operatingSystemFamily": "LINUX", "cpuArchitecture": "X86_64"},
    "ephemeralStorage": {"sizeInGiB": 21},
}


def test_jobs_in_every_state(pipeline: Pipeline) -> None:
    seen = jobs_in_every_state(pipeline)
    assert seen >= {"PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"}
    assert {"DescribeJobs", "ListJobs", "CancelJobs", "TerminateJobs"} <= ANSWERED, "the judge has seen them"


def test_queues_environments_and_definitions(pipeline: Pipeline) -> None:
    queues_environments_and_definitions(pipeline)


def test_logs_and_the_activity_log(pipeline: Pipeline) -> None:
    logs_and_the_activity_log(pipeline)
    assert {"GetLogEvents", "LookupEvents"} <= ANSWERED


def jobs_in_every_state(judged: Pipeline) -> set[str]:
    """The statuses that were seen."""
    batch, gate, starting = judged.batch, judged.gate(), judged.gate()
    queue = judged.queue(vcpus=20)
    quick, waiting = judged.definition(["true"]), judged.waiting(gate)
    held = {"environment": [{"name": "STARTING_GATE", "value": str(starting)}]}
    large = {"resourceRequirements": [{"type": "VCPU", "value": "99"}]}
    batch.register_job_definition(
        jobDefinitionName="shapes", type="container", containerProperties=CONTAINER, parameters={"a": "b"},
        retryStrategy={"attempts": 2, "evaluateOnExit": [{"action": "RETRY", "onReason": "*"}]},
        timeout={"attemptDurationSeconds": 60}, tags={"a": "b"}, propagateTags=True, platformCapabilities=["EC2"],
    )  # fmt: skip
    jobs = {
        judged.submit(queue, "shapes", tags={"c": "d"}): "SUCCEEDED",
        judged.submit(queue, quick): "SUCCEEDED",
        judged.submit(queue, judged.definition(["sh", "-c", "exit 3"]), retryStrategy={"attempts": 2}): "FAILED",
        judged.submit(queue, judged.definition(["no-such-program"])): "FAILED",
        (running := judged.submit(queue, waiting)): "RUNNING",
        judged.submit(queue, quick, dependsOn=[{"jobId": running}]): "PENDING",
        judged.submit(queue, waiting, containerOverrides=held): "STARTING",
        judged.submit(queue, quick, containerOverrides=large): "RUNNABLE",
        (array := judged.submit(queue, waiting, arrayProperties={"size": 2})): "PENDING",
        judged.submit(queue, quick, arrayProperties={"size": 2}): "SUCCEEDED",
    }
    cancelled = judged.submit(queue, quick, dependsOn=[{"jobId": running}])
    terminated = judged.submit(queue, waiting)
    judged.wait(terminated, "RUNNING")
    batch.cancel_job(jobId=cancelled, reason="shape")
    batch.terminate_job(jobId=terminated, reason="shape")
    judged.wait(terminated, "FAILED")
    for job, status in jobs.items():
        judged.wait(job, status)
    found = batch.describe_jobs(jobs=[*jobs, cancelled, terminated, f"{array}:0", f"{array}:1", "nobody"])["jobs"]
    for status in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"):
        batch.list_jobs(jobQueue=queue, jobStatus=status, maxResults=2)
    batch.list_jobs(arrayJobId=array)
    batch.list_jobs(jobQueue=queue, filters=[{"name": "JOB_NAME", "values": ["*"]}])
    gate.touch()
    starting.touch()
    judged.wait(cancelled, "FAILED")
    batch.cancel_jobs(jobs=[array, "nobody"], reason="bulk")
    batch.terminate_jobs(jobs=[array, "nobody"], reason="bulk")
    return {job["status"] for job in found}


def queues_environments_and_definitions(judged: Pipeline) -> None:
    batch = judged.batch
    queue = judged.queue()
    arn = batch.describe_job_queues(jobQueues=[queue])["jobQueues"][0]["jobQueueArn"]
    batch.tag_resource(resourceArn=arn, tags={"a": "b"})
    batch.list_tags_for_resource(resourceArn=arn)
    batch.untag_resource(resourceArn=arn, tagKeys=["a"])
    fargate = {"type": "FARGATE", "maxvCpus": 4, "subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    batch.create_compute_environment(
        computeEnvironmentName="shapes-fargate", type="MANAGED", computeResources=fargate, tags={"a": "b"}
    )
    batch.create_compute_environment(
        computeEnvironmentName="shapes-unmanaged", type="UNMANAGED", unmanagedvCpus=3, serviceRole="role"
    )
    judged.set_environment(queue, state="DISABLED")
    definition = batch.register_job_definition(
        jobDefinitionName="shapes-fargate",
        type="container",
        platformCapabilities=["FARGATE"],
        containerProperties=ON_FARGATE,
    )["jobDefinitionArn"]
    for size in (2, 100):
        batch.describe_compute_environments(maxResults=size)
        batch.describe_job_queues(maxResults=size)
        batch.describe_job_definitions(maxResults=size)
    batch.deregister_job_definition(jobDefinition=definition)
    batch.describe_job_definitions(status="INACTIVE")
    batch.update_job_queue(jobQueue=queue, state="DISABLED")
    until(lambda: batch.describe_job_queues(jobQueues=[queue])["jobQueues"][0]["status"] == "VALID", "it is VALID")
    batch.delete_job_queue(jobQueue=queue)
    until(lambda: not batch.describe_job_queues(jobQueues=[queue])["jobQueues"], "it goes")
    batch.delete_compute_environment(computeEnvironment=queue)


def logs_and_the_activity_log(judged: Pipeline) -> None:
    logs, trail = judged.logs, judged.server.client("cloudtrail")
    judged.batch.register_job_definition(
        jobDefinitionName="shapes-logs", type="container", containerProperties=CONTAINER
    )
    job = judged.submit(judged.queue(), "shapes-logs")
    stream = judged.wait(job, "SUCCEEDED")["container"]["logStreamName"]
    logs.describe_log_groups(limit=1)
    logs.describe_log_streams(logGroupName="shapes", limit=1)
    logs.get_log_events(logGroupName="shapes", logStreamName=stream, limit=1)
    logs.filter_log_events(logGroupName="shapes", limit=1)
    logs.create_log_group(logGroupName="shapes-new")
    logs.put_retention_policy(logGroupName="shapes-new", retentionInDays=1)
    logs.describe_log_groups()
    logs.delete_retention_policy(logGroupName="shapes-new")
    logs.delete_log_stream(logGroupName="shapes", logStreamName=stream)
    logs.delete_log_group(logGroupName="shapes-new")
    trail.lookup_events()
    trail.lookup_events(MaxResults=1)


def test_the_judge_finds_faults(server: Server) -> None:
    """It is not blind: members of another type, unknown, null, and missing."""
    shape = server.client().meta.service_model.operation_model("DescribeJobs").output_shape
    job = {"jobName": 1, "status": "DONE", "isCancelled": "yes", "createdAt": True, "tags": None, "new": 1}
    found = faults({"jobs": [job]}, shape, "x")
    assert sorted(line.split(" is ")[0].rpartition(".")[2] for line in found) == sorted(job)
    lines = missing({"jobs": [{"jobName": "n"}]}, shape)
    names = sorted(line.split(": ")[1].strip('"') for line in lines)
    assert names == ["jobDefinition", "jobId", "jobQueue", "status"]


def test_the_judge_reads_raw_answers() -> None:
    good = {"content-length": "2", "content-type": "application/json"}
    assert verdict("batch", "CancelJob", {"headers": good, "body": b"{}"}, {}) == []
    bad = {"content-length": "3", "content-type": "text/plain"}
    found = verdict("batch", "DescribeJobs", {"headers": bad, "body": b'{"jobs": [], "more": 1}'}, {"jobs": []})
    assert len(found) == 3


def test_errors_have_one_shape(server: Server) -> None:
    """Code and message where every SDK looks for them; nothing else."""
    with pytest.raises(ClientError) as caught:
        server.client().submit_job(jobName="j", jobQueue="nowhere", jobDefinition="d")
    reply = caught.value.response
    assert reply["Error"] == {"Message": "JobQueue nowhere not found.", "Code": "ClientException"}
    assert reply["message"] == "JobQueue nowhere not found."
    assert type(caught.value).__name__ == "ClientException"  # as the client's own exceptions class
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amzn-errortype"], headers["content-type"]) == ("ClientException", "application/json")
    assert headers["x-amzn-requestid"] == reply["ResponseMetadata"]["RequestId"]
    assert {"date", "content-length", "x-amzn-trace-id"} <= set(headers)
