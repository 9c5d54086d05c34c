"""Compute environments over the wire: what an update does to the jobs that run in them, and what is shown.

Sources: API_UpdateComputeEnvironment, API_UpdatePolicy, API_ComputeResource; user guide "Perform infrastructure
updates", "Amazon EKS compute environments".
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import PROLOG, Pipeline, Server, until

GONE = "Host EC2 (instance replaced) terminated."
PROVIDER = {
    "infrastructureRoleArn": "arn:aws:iam::123456789012:role/infrastructure",
    "instanceLaunchTemplate": {
        "ec2InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/profile",
        "capacityOptionType": "ON_DEMAND",
        "networkConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]},
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A minute of an update policy lasts a second."""
    made = Server(tmp_path_factory.mktemp("server"), "kill_grace = 2\nupdate_minute = 1", PROLOG)
    try:
        yield made.start()
    finally:
        made.end()


def resources(**members: Any) -> dict[str, Any]:
    given = {
        "type": "EC2",
        "allocationStrategy": "BEST_FIT_PROGRESSIVE",
        "minvCpus": 0,
        "maxvCpus": 4,
        "instanceTypes": ["optimal"],
        "subnets": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
        "instanceRole": "ecsInstanceRole",
    }
    return {name: value for name, value in (given | members).items() if value is not None}


@pytest.fixture
def environment(pipeline: Pipeline) -> Callable[..., str]:
    """Makes environments; ``given``: other members than computeResources."""

    def make(name: str, compute: dict[str, Any], **given: Any) -> str:
        pipeline.batch.create_compute_environment(
            computeEnvironmentName=name, type="MANAGED", computeResources=compute, **given
        )
        until(lambda: pipeline.environment(name)["status"] == "VALID", "it is VALID")
        return name

    return make


def settled(pipeline: Pipeline, name: str) -> None:
    until(lambda: pipeline.environment(name)["status"] == "VALID", f"{name} is VALID")


# ------------------------------------------------------------------------------------------ infrastructure updates


def test_jobs_are_ended_and_tried_again_under_their_own_strategy(
    pipeline: Pipeline, environment: Callable[..., str]
) -> None:
    name = environment("replaced-at-once", resources())
    queue = pipeline.queue_on(name)
    gate = pipeline.gate()
    definition = pipeline.waiting(gate)
    once = pipeline.submit(queue, definition)
    twice = pipeline.submit(queue, definition, retryStrategy={"attempts": 2})
    for job in (once, twice):
        pipeline.wait(job, "RUNNING")
    pipeline.batch.update_compute_environment(
        computeEnvironment=name,
        computeResources={"instanceTypes": ["m6i"]},
        updatePolicy={"terminateJobsOnUpdate": True, "jobExecutionTimeoutMinutes": 5},
    )
    ended = pipeline.wait(once, "FAILED")
    assert (ended["statusReason"], len(ended["attempts"])) == (GONE, 1)
    assert "isTerminated" not in ended
    again = until(lambda: (job := pipeline.job(twice))["status"] == "RUNNING" and job["attempts"] and job, "it is back")
    assert again["attempts"][0]["statusReason"] == GONE
    settled(pipeline, name)
    shown = pipeline.environment(name)
    assert shown["computeResources"]["instanceTypes"] == ["m6i"]
    assert shown["updatePolicy"] == {"terminateJobsOnUpdate": True, "jobExecutionTimeoutMinutes": 5}
    gate.touch()
    pipeline.wait(twice, "SUCCEEDED")


def test_jobs_have_their_time_while_new_ones_begin(pipeline: Pipeline, environment: Callable[..., str]) -> None:
    name = environment("replaced-later", resources())
    queue = pipeline.queue_on(name)
    quick, never = pipeline.gate(), pipeline.gate()
    first, second = pipeline.submit(queue, pipeline.waiting(quick)), pipeline.submit(queue, pipeline.waiting(never))
    for job in (first, second):
        pipeline.wait(job, "RUNNING")
    pipeline.batch.update_compute_environment(
        computeEnvironment=name,
        computeResources={"updateToLatestImageVersion": True},
        updatePolicy={"jobExecutionTimeoutMinutes": 4},  # seconds here
    )
    assert pipeline.environment(name)["status"] == "UPDATING"
    with pytest.raises(ClientError, match="resource is being modified"):
        pipeline.batch.update_compute_environment(computeEnvironment=name, state="DISABLED")
    pipeline.wait(pipeline.submit(queue, pipeline.definition(["true"])), "SUCCEEDED")
    quick.touch()
    pipeline.wait(first, "SUCCEEDED")
    late = pipeline.wait(second, "FAILED")
    assert late["statusReason"] == GONE
    assert late["stoppedAt"] - late["startedAt"] >= 4_000
    settled(pipeline, name)


def test_an_update_under_way_survives_a_crash(own_server: Callable[..., Server], pipeline: Pipeline) -> None:
    server = own_server("kill_grace = 2\nupdate_minute = 1")
    own = Pipeline(server, pipeline.folder)
    own.batch.create_compute_environment(computeEnvironmentName="crashed", type="MANAGED", computeResources=resources())
    settled(own, "crashed")
    job = own.submit(own.queue_on("crashed"), own.waiting(own.gate()))
    own.wait(job, "RUNNING")
    own.batch.update_compute_environment(
        computeEnvironment="crashed",
        computeResources={"imageId": "ami-1"},
        updatePolicy={"jobExecutionTimeoutMinutes": 5},
    )
    server.kill()
    server.start()
    assert own.environment("crashed")["status"] == "UPDATING"
    assert own.wait(job, "FAILED")["statusReason"] == GONE
    settled(own, "crashed")


def test_scaling_updates_end_no_job(pipeline: Pipeline, environment: Callable[..., str]) -> None:
    name = environment("scaled", resources(allocationStrategy="BEST_FIT"))
    queue = pipeline.queue_on(name)
    gate = pipeline.gate()
    job = pipeline.submit(queue, pipeline.waiting(gate))
    pipeline.wait(job, "RUNNING")
    scaled = {"minvCpus": 1, "maxvCpus": 9, "desiredvCpus": 3}
    pipeline.set_environment(name, computeResources=scaled, updatePolicy={"terminateJobsOnUpdate": True})
    assert pipeline.status(job) == "RUNNING"
    with pytest.raises(ClientError, match="requires an allocation strategy other than BEST_FIT"):
        pipeline.set_environment(name, computeResources={"instanceTypes": ["m6i"]})
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")


# ---------------------------------------------------------------------------------------------------- what is shown


def test_desired_vcpus_are_those_in_use(pipeline: Pipeline, environment: Callable[..., str]) -> None:
    def desired() -> int:
        return int(pipeline.environment(name)["computeResources"]["desiredvCpus"])

    name = environment("desired", resources(minvCpus=1, maxvCpus=8))
    assert desired() == 1
    gate = pipeline.gate()
    queue = pipeline.queue_on(name)
    jobs = [pipeline.submit(queue, pipeline.waiting(gate)) for _ in range(3)]
    for job in jobs:
        pipeline.wait(job, "RUNNING")
    assert desired() == 3
    with pytest.raises(ClientError, match="Manually scaling down compute environment is not supported"):
        pipeline.batch.update_compute_environment(computeEnvironment=name, computeResources={"desiredvCpus": 2})
    pipeline.set_environment(name, computeResources={"desiredvCpus": 5})
    assert desired() == 5
    gate.touch()
    for job in jobs:
        pipeline.wait(job, "SUCCEEDED")
    assert desired() == 5, "what was asked for by hand stays"


def test_fargate_jobs_have_fargate_s_environment(pipeline: Pipeline, environment: Callable[..., str]) -> None:
    compute = {"type": "FARGATE_SPOT", "maxvCpus": 2, "subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    name = environment("fargate-spot", compute)
    assert pipeline.environment(name)["computeResources"] == compute
    container = {
        "image": "busybox",
        "command": ["sh", "-c", 'echo "$AWS_EXECUTION_ENV $AWS_REGION $AWS_DEFAULT_REGION $AWS_BATCH_CE_NAME"'],
        "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        "resourceRequirements": [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "512"}],
    }
    pipeline.batch.register_job_definition(
        jobDefinitionName="on-fargate",
        type="container",
        platformCapabilities=["FARGATE"],
        containerProperties=container,
    )
    queue = pipeline.queue_on(name)
    job = pipeline.submit(queue, "on-fargate")
    pipeline.wait(job, "SUCCEEDED")
    assert pipeline.output(job) == ["AWS_ECS_FARGATE us-east-1 us-east-1 fargate-spot"]
    with pytest.raises(ClientError, match="can not run Jobs with capability EC2"):
        pipeline.submit(queue, pipeline.definition(["true"]))


def test_managed_instances_run_jobs_and_show_their_provider(
    pipeline: Pipeline, environment: Callable[..., str]
) -> None:
    compute = {
        "type": "ECS_MANAGED_INSTANCES",
        "maxvCpus": 1,
        "managedInstancesProvider": PROVIDER,
        "capacityTags": {"team": "a"},
    }
    name = environment("managed-instances", compute)
    assert pipeline.environment(name)["computeResources"] == compute
    queue = pipeline.queue_on(name)
    gate = pipeline.gate()
    first, second = (pipeline.submit(queue, pipeline.waiting(gate)) for _ in range(2))
    pipeline.wait(first, "RUNNING")
    pipeline.set_environment(name, computeResources={"maxvCpus": 2})
    pipeline.wait(second, "RUNNING")
    gate.touch()
    for job in (first, second):
        pipeline.wait(job, "SUCCEEDED")


def test_unmanaged_environments_run_as_many_as_unmanaged_vcpus(pipeline: Pipeline) -> None:
    pipeline.batch.create_compute_environment(
        computeEnvironmentName="unmanaged", type="UNMANAGED", unmanagedvCpus=1, serviceRole="role", state="ENABLED"
    )
    settled(pipeline, "unmanaged")
    queue = pipeline.queue_on("unmanaged")
    gate = pipeline.gate()
    first, second = (pipeline.submit(queue, pipeline.waiting(gate)) for _ in range(2))
    pipeline.wait(first, "RUNNING")
    assert pipeline.status(second) == "RUNNABLE"
    pipeline.set_environment("unmanaged", unmanagedvCpus=2)
    assert pipeline.environment("unmanaged")["unmanagedvCpus"] == 2
    pipeline.wait(second, "RUNNING")
    gate.touch()
    for job in (first, second):
        pipeline.wait(job, "SUCCEEDED")


def test_an_environment_on_eks_takes_no_container_jobs(pipeline: Pipeline, environment: Callable[..., str]) -> None:
    cluster = "arn:aws:eks:us-east-1:123456789012:cluster/mine"
    eks = {"eksClusterArn": cluster, "kubernetesNamespace": "batch", "accessEntry": {"desiredState": "ENABLED"}}
    name = environment("on-eks", resources(), eksConfiguration=eks)
    shown = pipeline.environment(name)
    assert shown["containerOrchestrationType"] == "EKS"
    eks["accessEntry"] = {"desiredState": "ENABLED", "status": "ACTIVE"}
    assert shown["eksConfiguration"] == eks
    pipeline.set_environment(name, eksConfiguration={"accessEntry": {"desiredState": "DISABLED"}})
    assert pipeline.environment(name)["eksConfiguration"]["accessEntry"]["status"] == "INACTIVE"
    queue = pipeline.queue_on(name)
    assert pipeline.batch.describe_job_queues(jobQueues=[queue])["jobQueues"][0]["jobQueueType"] == "EKS"
    with pytest.raises(ClientError, match="can not run Jobs with capability EC2"):
        pipeline.submit(queue, pipeline.definition(["true"]))


def test_every_member_reads_back_as_it_was_sent(pipeline: Pipeline, environment: Callable[..., str]) -> None:
    compute = resources(
        type="SPOT",
        allocationStrategy="SPOT_CAPACITY_OPTIMIZED",
        desiredvCpus=2,
        instanceTypes=["c6i", "m6i.large"],
        imageId="ami-1",
        ec2KeyPair="key",
        tags={"Name": "node"},
        placementGroup="group",
        bidPercentage=60,
        spotIamFleetRole="arn:aws:iam::123456789012:role/fleet",
        launchTemplate={
            "launchTemplateId": "lt-1",
            "version": "$Latest",
            "userdataType": "EKS_BOOTSTRAP_SH",
            "overrides": [{"launchTemplateName": "big", "version": "3", "targetInstanceTypes": ["c6i.xlarge"]}],
        },
        ec2Configuration=[{"imageType": "ECS_AL2023", "imageIdOverride": "ami-2"}],
        scalingPolicy={"minScaleDownDelayMinutes": 20},
    )
    members = {
        "serviceRole": "arn:aws:iam::123456789012:role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch",
        "context": "c",
        "ecsSettings": {"containerInsights": "ENABLED"},
        "tags": {"a": "b"},
    }
    name = environment("read-back", compute, **members)
    shown = pipeline.environment(name)
    assert shown["computeResources"] == compute
    assert {member: shown[member] for member in members} == members
    update = {
        "allocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED",
        "instanceTypes": ["r6i"],
        "subnets": ["subnet-2"],
        "securityGroupIds": ["sg-2"],
        "ec2KeyPair": "other",
        "instanceRole": "other",
        "tags": {"Name": "other"},
        "placementGroup": "other",
        "bidPercentage": 70,
        "launchTemplate": {"launchTemplateName": "small"},
        "ec2Configuration": [{"imageType": "ECS_AL2"}],
        "imageId": "ami-3",
        "scalingPolicy": {"minScaleDownDelayMinutes": 30},
    }
    pipeline.set_environment(name, computeResources=update, context="d", ecsSettings={"containerInsights": "DISABLED"})
    shown = pipeline.environment(name)
    assert shown["computeResources"] == compute | update
    assert (shown["context"], shown["ecsSettings"]) == ("d", {"containerInsights": "DISABLED"})


#: One change of each member that is replaced with the instances.
REPLACING: dict[str, Any] = {
    "allocationStrategy": "BEST_FIT_PROGRESSIVE_ORDERED",
    "bidPercentage": 50,
    "ec2Configuration": [{"imageType": "ECS_AL2"}],
    "ec2KeyPair": "key",
    "imageId": "ami-9",
    "instanceRole": "other",
    "instanceTypes": ["r6i"],
    "launchTemplate": {"launchTemplateId": "lt-9"},
    "placementGroup": "group",
    "securityGroupIds": ["sg-9"],
    "subnets": ["subnet-9"],
    "tags": {"Name": "other"},
    "type": "SPOT",
}


def test_each_member_that_is_replaced_with_the_instances(pipeline: Pipeline, environment: Callable[..., str]) -> None:
    name = environment("each-member", resources(instanceTypes=["m6i"]))
    queue, definition = pipeline.queue_on(name), pipeline.waiting(pipeline.gate())
    pipeline.set_environment(name, updatePolicy={"terminateJobsOnUpdate": True})
    for member, value in REPLACING.items():
        job = pipeline.submit(queue, definition)
        pipeline.wait(job, "RUNNING")
        given = {member: value} | ({"allocationStrategy": "BEST_FIT_PROGRESSIVE"} if member == "type" else {})
        pipeline.batch.update_compute_environment(computeEnvironment=name, computeResources=given)
        assert pipeline.wait(job, "FAILED")["statusReason"] == GONE, member
        settled(pipeline, name)
        assert pipeline.environment(name)["computeResources"][member] == value


def test_deleting_wants_it_disabled_and_in_no_queue(pipeline: Pipeline, environment: Callable[..., str]) -> None:
    name = environment("deleted", resources())
    queue = pipeline.queue_on(name)
    pipeline.set_environment(name, state="DISABLED", serviceRole="")
    with pytest.raises(ClientError, match="Cannot delete, found existing JobQueue relationship"):
        pipeline.batch.delete_compute_environment(computeEnvironment=name)
    pipeline.batch.update_job_queue(jobQueue=queue, state="DISABLED")
    until(lambda: pipeline.batch.describe_job_queues(jobQueues=[queue])["jobQueues"][0]["status"] == "VALID", "settled")
    pipeline.batch.delete_job_queue(jobQueue=queue)
    until(lambda: not pipeline.batch.describe_job_queues(jobQueues=[queue])["jobQueues"], "the queue is gone")
    pipeline.batch.delete_compute_environment(computeEnvironment=name)
    describe = pipeline.batch.describe_compute_environments
    until(lambda: not describe(computeEnvironments=[name])["computeEnvironments"], "it is gone")
