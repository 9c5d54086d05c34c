"""Every answer has the shape that AWS's model gives it, raw and as botocore parses it.

What the model knows and the answer has must be of the right type; what the answer has must be in the model; what the
model requires must be there, but for the few members that AWS itself leaves out while there is nothing to tell.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from wire_pipeline import Pipeline, Server, until

import batchery.app  # with it every operation that is served
from batchery.api.call import HANDLERS
from batchery.api.targets import TARGETS

#: Required by the model, and left out by AWS until a job has begun.
ABSENT = re.compile(r"jobs\[\d+\]\.startedAt")
#: AWS answers these in lower case, whatever the model says.
LOWER = re.compile(r"\.evaluateOnExit\[\d+\]\.action$")
KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
}
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


def faults(value: Any, shape: Any, place: str) -> Iterator[str]:
    """What of a raw JSON value is not as the shape says."""
    if shape.type_name == "structure":
        if not isinstance(value, dict):
            yield f"{place} is no object: {value!r}"
            return
        members = {inner.serialization.get("name", name): inner for name, inner in shape.members.items()}
        for name, inner in value.items():
            if name in members:
                yield from faults(inner, members[name], f"{place}.{name}")
            else:
                yield f"{place}.{name} is not in the model"
    elif shape.type_name == "list":
        if not isinstance(value, list):
            yield f"{place} is no list: {value!r}"
            return
        for number, inner in enumerate(value):
            yield from faults(inner, shape.member, f"{place}[{number}]")
    elif shape.type_name == "map":
        if not isinstance(value, dict):
            yield f"{place} is no map: {value!r}"
            return
        for name, inner in value.items():
            yield from faults(inner, shape.value, f"{place}[{name}]")
    else:
        kind = KINDS[shape.type_name]
        if LOWER.search(place) and isinstance(value, str):
            assert value == value.lower()
            value = value.upper()
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            yield f"{place} is no {shape.type_name}: {value!r}"
        elif shape.type_name == "string" and getattr(shape, "enum", None) and value not in shape.enum:
            yield f"{place} is none of {shape.enum}: {value!r}"


def missing(parsed: dict[str, Any], shape: Any) -> list[str]:
    """What botocore's own validator finds wrong with an answer as it parsed it."""
    members = {name: value for name, value in parsed.items() if name != "ResponseMetadata"}
    report = ParamValidator().validate(members, shape)
    lines = report.generate_report().splitlines() if report.has_errors() else []
    return [line for line in lines if not _allowed(line)]


def _allowed(line: str) -> bool:
    found = re.fullmatch(r'Missing required parameter in (\S+): "(\w+)"', line)
    return found is not None and ABSENT.fullmatch(f"{found[1]}.{found[2]}") is not None


class Judge:
    """Clients whose answers are all judged; ``answered`` are the operations that were."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answered: set[str] = set()
        self.problems: list[str] = []
        self.seen_statuses: set[str] = set()

    def client(self, service: str = "batch") -> Any:
        made = self.server.client(service)
        model = made.meta.service_model

        def judge(response_dict: dict[str, Any], parsed_response: dict[str, Any], **others: Any) -> None:
            operation = others["event_name"].rpartition(".")[2]
            if response_dict["status_code"] != 200:
                return
            shape = model.operation_model(operation).output_shape
            self.answered.add(operation)
            body = response_dict["body"]
            assert response_dict["headers"]["content-length"] == str(len(body))
            assert response_dict["headers"]["content-type"] in ("application/json", "application/x-amz-json-1.1")
            if shape is None or not shape.members:
                if body not in (b"", b"{}"):
                    self.problems.append(f"{operation} answers {body!r}")
                return
            self.problems += faults(json.loads(body), shape, operation)
            self.problems += [f"{operation}: {line}" for line in missing(parsed_response, shape)]
            self.seen_statuses |= {job["status"] for job in parsed_response.get("jobs", ())}

        made.meta.events.register("response-received", judge)
        return made


def test_every_served_operation(server: Server, tmp_path: Path) -> None:
    judge, pipeline = Judge(server), Pipeline(server, tmp_path)
    pipeline.batch, pipeline.logs = judge.client(), judge.client("logs")
    jobs_in_every_state(pipeline)
    queues_environments_and_definitions(pipeline)
    logs_and_the_activity_log(pipeline, judge.client("cloudtrail"))
    assert not judge.problems, "\n".join(dict.fromkeys(judge.problems))
    assert judge.seen_statuses >= {"PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"}
    assert batchery.app  # which knows them all
    assert judge.answered == {*HANDLERS, *(operation for _, operation in TARGETS)}


def jobs_in_every_state(judged: Pipeline) -> None:
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
    batch.describe_jobs(jobs=[*jobs, cancelled, terminated, f"{array}:0", f"{array}:1", "nobody"])
    for status in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"):
        batch.list_jobs(jobQueue=queue, jobStatus=status, maxResults=2)
    batch.list_jobs(arrayJobId=array)
    batch.list_jobs(jobQueue=queue, filters=[{"name": "JOB_NAME", "values": ["*"]}])
    gate.touch()
    starting.touch()
    judged.wait(cancelled, "FAILED")
    batch.cancel_jobs(jobs=[array, "nobody"], reason="bulk")
    batch.terminate_jobs(jobs=[array, "nobody"], reason="bulk")


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


def logs_and_the_activity_log(judged: Pipeline, trail: Any) -> None:
    logs = judged.logs
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
