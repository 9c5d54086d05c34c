"""What `batchery import` makes of descriptions, and what it says of them."""

from typing import Any

import pytest

from batchery.cli.bring.account import Call, CallFailed, Json
from batchery.cli.bring.steps import Import, Line, Wishes
from batchery.cli.bring.translation import KINDS, addressed, remarks

BY_TITLE = {kind.title: kind for kind in KINDS}
ARN = "arn:aws:batch:eu-west-1:111122223333"


def request(title: str, **item: Any) -> Json:
    return BY_TITLE[title].request(item)[0]


def test_what_is_of_the_moment_or_empty_is_left_out() -> None:
    made = request(
        "compute environment",
        computeEnvironmentName="a",
        computeEnvironmentArn=f"{ARN}:compute-environment/a",
        type="MANAGED",
        status="VALID",
        state="ENABLED",
        uuid="x",
        tags={},
        unmanagedvCpus=0,
        computeResources={"type": "SPOT", "maxvCpus": 4, "desiredvCpus": 3, "instanceTypes": [], "tags": {}},
    )
    assert made == {
        "computeEnvironmentName": "a",
        "type": "MANAGED",
        "state": "ENABLED",
        "computeResources": {"type": "SPOT", "maxvCpus": 4},
    }


def test_environments_of_fargate_and_unmanaged_ones() -> None:
    resources = {"type": "FARGATE", "maxvCpus": 4, "minvCpus": 0, "subnets": ["s"], "instanceTypes": ["x"]}
    fargate = request("compute environment", computeEnvironmentName="a", type="MANAGED", computeResources=resources)
    assert fargate["computeResources"] == {"type": "FARGATE", "maxvCpus": 4, "subnets": ["s"]}
    own = request(
        "compute environment",
        computeEnvironmentName="a",
        type="UNMANAGED",
        computeResources={"maxvCpus": 1},
        unmanagedvCpus=0,
    )
    assert own == {"computeEnvironmentName": "a", "type": "UNMANAGED"}


def test_what_the_service_adds_to_what_was_sent_makes_no_difference() -> None:
    made = request(
        "compute environment",
        computeEnvironmentName="a",
        type="MANAGED",
        computeResources={
            "type": "EC2",
            "ec2Configuration": [{"imageType": "EKS_AL2023", "batchImageStatus": "LATEST"}],
        },
        eksConfiguration={"eksClusterArn": "c", "accessEntry": {"desiredState": "ENABLED", "status": "ACTIVE"}},
    )
    assert made["computeResources"]["ec2Configuration"] == [{"imageType": "EKS_AL2023"}]
    assert made["eksConfiguration"] == {"eksClusterArn": "c", "accessEntry": {"desiredState": "ENABLED"}}


def test_things_are_referred_to_by_name() -> None:
    queue = request(
        "job queue",
        jobQueueName="q",
        priority=1,
        schedulingPolicyArn=f"{ARN}:scheduling-policy/fair",
        computeEnvironmentOrder=[
            {"order": 2, "computeEnvironment": "b"},
            {"order": 1, "computeEnvironment": f"{ARN}:compute-environment/a"},
        ],
    )
    assert [place["computeEnvironment"] for place in queue["computeEnvironmentOrder"]] == ["a", "b"]
    assert queue["schedulingPolicyArn"] == "fair"
    assert addressed(queue, {"fair": "here"})["schedulingPolicyArn"] == "here"
    assert addressed({"a": 1}, {}) == {"a": 1}
    needs = {"consumableResourceList": [{"consumableResource": f"{ARN}:consumable-resource/lic", "quantity": 1}]}
    made = request(
        "job definition",
        jobDefinitionName="d",
        type="multinode",
        revision=3,
        nodeProperties={"nodeRangeProperties": [{"consumableResourceProperties": needs}]},
        retryStrategy={"attempts": 1, "evaluateOnExit": [{"action": "exit"}]},
    )
    (entry,) = made["nodeProperties"]["nodeRangeProperties"][0]["consumableResourceProperties"][
        "consumableResourceList"
    ]
    assert entry["consumableResource"] == "lic"
    assert made["retryStrategy"]["evaluateOnExit"] == [{"action": "EXIT"}]


def test_remarks() -> None:
    made, notes = BY_TITLE["job definition"].request(
        {
            "jobDefinitionName": "d",
            "type": "container",
            "tags": {"aws:cloudformation:stack-name": "s", "subnets": "not a member"},
            "containerProperties": {
                "secrets": [{"name": "A", "valueFrom": "a"}],
                "executionRoleArn": "r",
                "volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
            },
        }
    )
    assert notes == ["reserved tags left out: aws:cloudformation:stack-name"]
    assert remarks(made) == [
        "without effect here: executionRoleArn",
        "its secrets are looked for where [secrets] says",
        "its EFS volumes are where [volumes.efs] says",
    ]
    assert remarks({"jobDefinitionName": "d"}) == []


class Account:
    """Answers from tables, takes down what it is told, refuses what it does not have."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.told = answers, list[tuple[str, Json]]()

    def __call__(self, operation: str, members: Json) -> Json:
        if operation.startswith(("Describe", "List")):
            if operation not in self.answers:
                raise CallFailed(f"{operation} is not served")
            return dict(self.answers[operation])
        self.told.append((operation, members))
        if members.get("serviceEnvironmentName") == "bad":
            raise CallFailed("no")
        return {"revision": 1, "jobDefinitionArn": f"{ARN}:job-definition/d:1"}


def bring(source: Call, target: Call, **wishes: Any) -> list[Line]:
    return list(Import(source, target, Wishes(**wishes)).run())


@pytest.fixture
def policies() -> dict[str, Any]:
    arn = f"{ARN}:scheduling-policy/fair"
    detail = {"name": "fair", "arn": arn, "fairsharePolicy": {"shareDecaySeconds": 60}, "tags": {}}
    return {
        "ListSchedulingPolicies": {"schedulingPolicies": [{"arn": arn}]},
        "DescribeSchedulingPolicies": {"schedulingPolicies": [detail]},
    }


def test_what_only_one_side_serves(policies: dict[str, Any]) -> None:
    lines = bring(Account(**policies), Account())
    assert [(line.kind, line.outcome) for line in lines] == [
        ("scheduling policy", "FAILED"),
        *((kind.title, "left out") for kind in KINDS[1:]),
    ]
    assert lines[0].notes == ["ListSchedulingPolicies is not served"]
    assert lines[1].notes == ["cannot be read there: ListConsumableResources is not served"]


def test_a_policy_is_changed_by_its_arn_here(policies: dict[str, Any]) -> None:
    arn = "arn:aws:batch:us-east-1:123456789012:scheduling-policy/fair"
    other = {"name": "fair", "arn": arn, "fairsharePolicy": {"shareDecaySeconds": 1}}
    target = Account(
        ListSchedulingPolicies={"schedulingPolicies": [{"arn": arn}]},
        DescribeSchedulingPolicies={"schedulingPolicies": [other]},
    )
    assert bring(Account(**policies), target, dry_run=True)[0].outcome == "updated"
    assert target.told == []
    assert bring(Account(**policies), target)[0].outcome == "updated"
    assert target.told == [("UpdateSchedulingPolicy", {"arn": arn, "fairsharePolicy": {"shareDecaySeconds": 60}})]


def test_consumable_resources() -> None:
    there = {"consumableResourceName": "lic", "consumableResourceArn": f"{ARN}:consumable-resource/lic"}
    listed = {"ListConsumableResources": {"consumableResources": [there]}}
    source = Account(
        **listed, DescribeConsumableResource={**there, "totalQuantity": 5, "resourceType": "REPLENISHABLE"}
    )
    empty = Account(ListConsumableResources={"consumableResources": []})
    assert bring(source, empty)[1].outcome == "created"
    wanted = {"consumableResourceName": "lic", "totalQuantity": 5, "resourceType": "REPLENISHABLE"}
    assert empty.told == [("CreateConsumableResource", wanted)]
    fewer = {**there, "totalQuantity": 3, "resourceType": "NON_REPLENISHABLE"}
    target = Account(**listed, DescribeConsumableResource=fewer)
    line = bring(source, target)[1]
    assert line.notes == [
        "changed: totalQuantity",
        "cannot be changed, and stays as it is here: resourceType",
    ]
    asked = {"consumableResource": "lic", "operation": "SET", "quantity": 5}
    assert target.told == [("UpdateConsumableResource", asked)]


def test_one_that_fails_stops_no_other() -> None:
    def service(name: str, **members: Any) -> Json:
        kind, limits = "SAGEMAKER_TRAINING", [{"maxCapacity": 1, "capacityUnit": "NUM_INSTANCES"}]
        return {"serviceEnvironmentName": name, "serviceEnvironmentType": kind, "capacityLimits": limits, **members}

    items = [service("bad"), service("gone", status="DELETING"), service("good")]
    source = Account(DescribeServiceEnvironments={"serviceEnvironments": items})
    target = Account(DescribeServiceEnvironments={"serviceEnvironments": []})
    lines = [line for line in bring(source, target) if line.kind == "service environment"]
    assert [line.outcome for line in lines] == ["FAILED", "left out", "created"]


def described(revision: int, **container: Any) -> Json:
    requirements = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}]
    return {
        "jobDefinitionName": "d",
        "jobDefinitionArn": f"{ARN}:job-definition/d:{revision}",
        "revision": revision,
        "type": "container",
        "containerProperties": {"image": "a", "resourceRequirements": requirements, **container},
    }


def definitions(*items: Json) -> Account:
    return Account(DescribeJobDefinitions={"jobDefinitions": list(items)})


def lines_of(source: Account, target: Account, **wishes: Any) -> list[tuple[str, str]]:
    return [(line.name, line.outcome) for line in bring(source, target, **wishes) if line.kind == "job definition"]


def test_definitions_that_are_alike_make_no_new_revisions() -> None:
    source = definitions(described(4, command=["x"]), described(7))
    assert lines_of(source, definitions()) == [("d:7", "created")]
    assert lines_of(source, definitions(), all_revisions=True) == [("d:4", "created"), ("d:7", "created")]
    assert lines_of(source, definitions(described(1, environment=[]))) == [("d:7", "unchanged")]
    older = definitions(described(1), described(2, user="x"))
    assert lines_of(source, older) == [("d:7", "created")]
    assert lines_of(source, older, patterns=("e*",)) == []
    odd = definitions(described(1, user="$(id"))
    assert lines_of(odd, definitions(), dry_run=True) == [("d:1", "FAILED")]


def test_tags_of_a_definition_are_no_new_revision() -> None:
    source, target = (
        definitions({**described(3), "tags": {"a": "1"}}),
        definitions({**described(1), "tags": {"b": "2"}}),
    )
    assert lines_of(source, target, dry_run=True) == [("d:3", "updated")]
    assert target.told == []
    assert lines_of(source, target) == [("d:3", "updated")]
    tagged = {"resourceArn": f"{ARN}:job-definition/d:1", "tags": {"a": "1"}}
    assert target.told == [("TagResource", tagged)]
