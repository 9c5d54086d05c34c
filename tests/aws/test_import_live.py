"""`batchery import` from an AWS account (moto's server) and from another Batchery; what is imported runs jobs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from motoserver import Moto
from wire_pipeline import Pipeline, Server, until
from wire_training import Training

REQUIREMENTS = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}]


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as made:
        fill(made)
        yield made


def fill(moto: Moto) -> None:
    """Two environments, two queues, a policy, three definitions, one of which nobody could run."""
    ec2, iam, batch = moto.client("ec2"), moto.client("iam"), moto.client("batch")
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.create_security_group(GroupName="batch", Description="batch", VpcId=subnet["VpcId"])["GroupId"]
    role = iam.create_role(RoleName="service", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    profile = iam.create_instance_profile(InstanceProfileName="instance")["InstanceProfile"]["Arn"]
    network = {"subnets": [subnet["SubnetId"]], "securityGroupIds": [group]}
    ec2_resources = {"type": "EC2", "minvCpus": 0, "maxvCpus": 6, "desiredvCpus": 2, "instanceTypes": ["optimal"]}
    for name, resources in (
        ("workers", {**ec2_resources, "instanceRole": profile, **network}),
        ("serverless", {"type": "FARGATE", "maxvCpus": 16, **network}),
    ):
        batch.create_compute_environment(
            computeEnvironmentName=name, type="MANAGED", state="ENABLED", computeResources=resources, serviceRole=role
        )
    for name, environment in (("day", "workers"), ("night", "serverless")):
        batch.create_job_queue(
            jobQueueName=name,
            priority=7,
            state="ENABLED",
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
            tags={"team": "ada"},
        )
    policy = {"shareDecaySeconds": 60, "shareDistribution": [{"shareIdentifier": "a*", "weightFactor": 2.0}]}
    fair = batch.create_scheduling_policy(name="fair", fairsharePolicy=policy)["arn"]
    batch.create_job_queue(
        jobQueueName="shared",
        priority=1,
        state="ENABLED",
        schedulingPolicyArn=fair,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "workers"}],
    )
    for command in (["false"], ["sh", "-c", "echo Ref::word"]):
        container = {"image": "busybox", "command": command, "resourceRequirements": REQUIREMENTS}
        batch.register_job_definition(
            jobDefinitionName="hello",
            type="container",
            containerProperties={**container, "environment": [{"name": "A", "value": "1"}]},
            parameters={"word": "moin"},
            retryStrategy={"attempts": 2, "evaluateOnExit": [{"onExitCode": "1*", "action": "RETRY"}]},
            timeout={"attemptDurationSeconds": 120},
            tags={"team": "ada"},
        )
    batch.register_job_definition(
        jobDefinitionName="odd",
        type="container",
        containerProperties={"image": "busybox", "user": "$(id", "resourceRequirements": REQUIREMENTS},
    )


def run(server: Server, *words: str, code: int = 0, **variables: str) -> str:
    """What `batchery import` prints on stdout, and on stderr if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "batchery", "import", *words],
        env={**os.environ, "BATCHERY_URL": server.url, "AWS_DEFAULT_REGION": "us-east-1", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def outcomes(server: Server, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """The report by "kind name"."""
    text = run(server, "--json", *words, code=code)
    document, _ = json.JSONDecoder().raw_decode(text)
    return {f"{line['kind']} {line.get('name', '')}".strip(): line for line in document["resources"]}


def test_an_account_of_aws(own_server: Callable[..., Server], moto: Moto, tmp_path: Path) -> None:
    server = own_server("kill_grace = 2")
    source = ("--endpoint-url", moto.url)

    planned = outcomes(server, *source, "--dry-run", code=1)
    assert planned["job definition hello:2"]["outcome"] == "created"
    batch = server.client()
    assert batch.describe_job_definitions()["jobDefinitions"] == []
    assert [queue["jobQueueName"] for queue in batch.describe_job_queues()["jobQueues"]] in ([], ["default"])

    done = outcomes(server, *source, code=1)
    created = [name for name, line in done.items() if line["outcome"] == "created"]
    assert created == [
        "scheduling policy fair",
        "compute environment workers",
        "compute environment serverless",
        "job queue day",
        "job queue night",
        "job queue shared",
        "job definition hello:2",
    ]
    assert done["job definition odd:1"]["outcome"] == "FAILED"
    assert "User '$(id' does not match regex" in done["job definition odd:1"]["notes"][0]
    assert done["job definition hello:2"]["notes"] == ["revision 1 here"]
    workers = done["compute environment workers"]["notes"]
    assert any("without effect here: instanceRole, instanceTypes" in note for note in workers)

    pipeline = Pipeline(server, tmp_path)
    environment = pipeline.environment("workers")
    assert (environment["computeResources"]["maxvCpus"], environment["state"]) == (6, "ENABLED")
    queue = batch.describe_job_queues(jobQueues=["day"])["jobQueues"][0]
    assert (queue["priority"], queue["tags"]) == (7, {"team": "ada"})
    assert queue["computeEnvironmentOrder"][0]["computeEnvironment"] == environment["computeEnvironmentArn"]
    (definition,) = batch.describe_job_definitions(jobDefinitionName="hello")["jobDefinitions"]
    assert definition["retryStrategy"]["attempts"] == 2
    assert definition["tags"] == {"team": "ada"}
    job = pipeline.submit("day", "hello", parameters={"word": "tach"})
    pipeline.wait(job, "SUCCEEDED")
    until(lambda: pipeline.output(job) == ["tach"], "its output")
    (listed,) = batch.list_scheduling_policies()["schedulingPolicies"]
    shared = batch.describe_job_queues(jobQueues=["shared"])["jobQueues"][0]
    assert shared["schedulingPolicyArn"] == listed["arn"]
    mine = {"shareIdentifier": "ada", "schedulingPriorityOverride": 1}
    pipeline.wait(pipeline.submit("shared", "hello", **mine), "SUCCEEDED")

    again = outcomes(server, *source, code=1)
    rest = [line for name, line in again.items() if name != "job definition odd:1"]
    assert {line["outcome"] for line in rest} <= {"unchanged", "left out"}, rest
    assert len(batch.describe_job_definitions(jobDefinitionName="hello")["jobDefinitions"]) == 1


def test_another_batchery(own_server: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    first, second = own_server("kill_grace = 2"), own_server("kill_grace = 2")
    there = Pipeline(first, tmp_path / "one")
    queue = there.queue(vcpus=3)
    name = there.definition(["true"]).rpartition("/")[2].partition(":")[0]
    there.batch.register_job_definition(
        jobDefinitionName=name,
        type="container",
        containerProperties={
            "image": "busybox",
            "command": ["sh", "-c", "exit 0"],
            "executionRoleArn": "arn:aws:iam::123456789012:role/x",
            "resourceRequirements": REQUIREMENTS,
            "secrets": [{"name": "A", "valueFrom": "/a"}],
        },
    )
    source = ("--endpoint-url", first.url, "--definition", f"{name[:-1]}*")
    done = outcomes(second, *source, "--all-revisions")
    assert done[f"job queue {queue}"]["outcome"] == "created"
    assert [done[f"job definition {name}:{revision}"]["outcome"] for revision in (1, 2)] == ["created", "created"]
    assert "its secrets are looked for where [secrets] says" in done[f"job definition {name}:2"]["notes"]
    here = Pipeline(second, tmp_path)
    here.wait(here.submit(queue, f"{name}:1"), "SUCCEEDED")

    there.batch.update_job_queue(jobQueue=queue, priority=9)
    there.set_environment(queue, computeResources={"maxvCpus": 5})
    arn = there.batch.describe_job_queues(jobQueues=[queue])["jobQueues"][0]["jobQueueArn"]
    there.batch.tag_resource(resourceArn=arn, tags={"team": "ada"})
    kept = outcomes(second, *source, "--keep")
    assert kept[f"job queue {queue}"]["outcome"] == "differs, kept"
    assert here.environment(queue)["computeResources"]["maxvCpus"] == 3
    changed = outcomes(second, *source)
    assert changed[f"job queue {queue}"]["notes"][0] == "changed: priority, tags"
    assert changed[f"job definition {name}:2"]["outcome"] == "unchanged"
    assert here.environment(queue)["computeResources"]["maxvCpus"] == 5
    found = here.batch.describe_job_queues(jobQueues=[queue])["jobQueues"][0]
    assert (found["priority"], found["tags"]) == (9, {"team": "ada"})
    text = run(second, *source)
    assert "unchanged" in text.splitlines()[-1]
    assert "updated" not in text.splitlines()[-1]


def test_consumable_resources_and_what_asks_for_them(own_server: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    first, second = own_server("kill_grace = 2"), own_server("kill_grace = 2")
    there, here = Pipeline(first, tmp_path / "one"), Pipeline(second, tmp_path)
    there.batch.create_consumable_resource(consumableResourceName="licence", totalQuantity=1)
    gate = here.gate()
    arn = there.waiting(
        gate,
        consumableResourceProperties={"consumableResourceList": [{"consumableResource": "licence", "quantity": 1}]},
    )
    name = arn.rpartition("/")[2].partition(":")[0]
    source = ("--endpoint-url", first.url)
    done = outcomes(second, *source)
    assert done["consumable resource licence"]["outcome"] == "created"
    assert done[f"job definition {name}:1"]["outcome"] == "created"
    jobs = [here.submit("default", name) for _ in range(2)]
    here.wait(jobs[0], "RUNNING")
    assert here.status(jobs[1]) == "RUNNABLE"
    there.batch.update_consumable_resource(consumableResource="licence", operation="SET", quantity=2)
    assert outcomes(second, *source)["consumable resource licence"]["notes"] == ["changed: totalQuantity"]
    here.wait(jobs[1], "RUNNING")
    gate.touch()
    for job in jobs:
        here.wait(job, "SUCCEEDED")
    assert outcomes(second, *source)["consumable resource licence"]["outcome"] == "unchanged"


def test_quota_shares_and_what_only_an_update_sets(own_server: Callable[..., Server], tmp_path: Path) -> None:
    first, second = own_server("kill_grace = 2"), own_server("kill_grace = 2")
    there, here = Training(first, tmp_path), Training(second, tmp_path)
    policy = {"terminateJobsOnUpdate": True, "jobExecutionTimeoutMinutes": 10}
    environment = there.new_environment(vcpus=1)
    there.set_environment(environment, state="DISABLED", updatePolicy=policy)
    rule = there.batch.create_scheduling_policy(
        name="quota", quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"}
    )
    limits = [{"maxCapacity": 2, "capacityUnit": "ml.m5.large"}]
    queue = there.service_queue(there.service_environment(capacityLimits=limits), schedulingPolicyArn=rule["arn"])
    members = {
        "capacityLimits": limits,
        "resourceSharingConfiguration": {"strategy": "LEND_AND_BORROW", "borrowLimit": 50},
        "preemptionConfiguration": {"inSharePreemption": "ENABLED"},
        "tags": {"team": "ada"},
    }
    arn = there.batch.create_quota_share(quotaShareName="blue", jobQueue=queue, **members)["quotaShareArn"]
    source = ("--endpoint-url", first.url)
    done = outcomes(second, *source)
    assert done[f"quota share {queue}/blue"]["outcome"] == "created"
    shown = here.batch.describe_quota_share(quotaShareArn=arn)
    assert {name: shown[name] for name in members} == members
    copied = here.environment(environment)
    assert (copied["state"], copied["updatePolicy"]) == ("DISABLED", policy)
    image = {"TrainingImage": "x", "TrainingInputMode": "File", "ContainerEntrypoint": ["true"]}
    payload = here.payload(AlgorithmSpecification=image)
    here.until(here.train(queue, payload, quotaShareName="blue"), "SUCCEEDED")
    there.batch.update_quota_share(quotaShareArn=arn, state="DISABLED")
    changed = outcomes(second, *source)
    assert changed[f"quota share {queue}/blue"]["notes"] == ["changed: state"]
    assert here.batch.describe_quota_share(quotaShareArn=arn)["state"] == "DISABLED"
    assert {line["outcome"] for line in outcomes(second, *source).values()} == {"unchanged"}


def test_what_cannot_be_read(server: Server) -> None:
    assert "is the Batchery to import into" in run(server, "--endpoint-url", server.url, code=1)
    assert "is the Batchery to import into" in run(server, code=1, AWS_ENDPOINT_URL_BATCH=server.url)
    assert "cannot be read" in run(server, "--endpoint-url", "http://127.0.0.1:9", code=1)
    assert "cannot be read" in run(server, "--profile", "nobody", code=1, AWS_CONFIG_FILE="/dev/null")
    other = run(server, "--endpoint-url", server.url, "--region", "eu-west-1")
    assert "to " + server.url in other
