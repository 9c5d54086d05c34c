"""Names and ARNs, taken apart and put together."""

import re
from pathlib import Path

import pytest

from batchery.core.model import AttemptKey, Realm, task_id
from batchery.spec import names
from batchery.spec.names import DefinitionRef

HOME = Realm("123456789012", "us-east-1")


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-east-1", "aws"), ("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_the_partition_of_a_region_is_in_its_arns(region: str, partition: str) -> None:
    assert names.partition(region) == partition
    arn = names.queue_arn(Realm("1", region), "q")
    assert arn == f"arn:{partition}:batch:{region}:1:job-queue/q"


def test_arns_of_every_kind() -> None:
    start = "arn:aws:batch:us-east-1:123456789012"
    assert names.environment_arn(HOME, "ce") == f"{start}:compute-environment/ce"
    assert names.definition_arn(HOME, "d", 3) == f"{start}:job-definition/d:3"
    assert names.definition_arn(HOME, "d") == f"{start}:job-definition/d"
    assert names.job_arn(HOME, "a-1:7") == f"{start}:job/a-1:7"


def test_an_arn_taken_apart_and_put_together_is_the_same() -> None:
    arn = names.parse_arn("arn:aws-cn:batch:cn-north-1:42:job-definition/d:3")
    assert arn is not None
    assert (arn.partition, arn.service, arn.realm, arn.kind, arn.name) == (
        "aws-cn",
        "batch",
        Realm("42", "cn-north-1"),
        "job-definition",
        "d:3",
    )
    assert names.batch_arn(arn.realm, arn.kind, arn.name) == "arn:aws-cn:batch:cn-north-1:42:job-definition/d:3"


@pytest.mark.parametrize("text", ["", "q", "arn:aws:batch", "arn:aws:batch:r:1:job-queue", "arn:aws:batch:r:x:job/1"])
def test_what_is_no_arn(text: str) -> None:
    assert names.parse_arn(text) is None


def test_the_name_in_an_arn() -> None:
    assert names.name_of("arn:aws:batch:r:1:job-definition/d:3") == "d"
    assert names.name_of("arn:aws:batch:r:1:job-queue/q") == "q"


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("d", DefinitionRef("d", None)),
        ("d:12", DefinitionRef("d", 12)),
        ("arn:aws:batch:us-east-1:123456789012:job-definition/d", DefinitionRef("d", None, HOME)),
        ("arn:aws:batch:us-east-1:123456789012:job-definition/d:2", DefinitionRef("d", 2, HOME)),
        ("d:latest", None),
        ("d:", None),
        ("d:١", None),
        ("d:1234567890", None),
        ("a b", None),
        ("", None),
        ("x" * 129, None),
        ("arn:aws:batch:us-east-1:123456789012:job-queue/q", None),
        ("arn:aws:ecs:us-east-1:123456789012:job-definition/d:2", None),
        ("arn:nonsense", None),
    ],
)
def test_references_to_definitions(text: str, ref: DefinitionRef | None) -> None:
    assert names.definition_ref(text) == ref


def test_names_of_ecs_things_follow_from_the_environment() -> None:
    environment = names.environment_arn(HOME, "blue")
    cluster = names.cluster_arn(environment)
    uuid = "[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert re.fullmatch(f"arn:aws:ecs:us-east-1:123456789012:cluster/AWSBatch-blue-{uuid}", cluster)
    name = cluster.rpartition("/")[2]
    assert names.task_arn(environment, "0a1b") == f"arn:aws:ecs:us-east-1:123456789012:task/{name}/0a1b"
    instance = names.container_instance_arn(environment)
    assert re.fullmatch(f"arn:aws:ecs:us-east-1:123456789012:container-instance/{name}/[0-9a-f]{{32}}", instance)
    assert names.cluster_arn(names.environment_arn(HOME, "green")) != cluster


def test_ecs_names_need_an_arn() -> None:
    with pytest.raises(ValueError, match="blue"):
        names.cluster_arn("blue")


def test_log_streams_and_log_files_are_named_for_the_task() -> None:
    key = AttemptKey("00000000-0000-4000-8000-000000000001", 0, 1)
    task = task_id(key)
    assert names.log_stream("d/default", key) == f"d/default/{task}"
    assert names.log_path(Path("/logs"), task) == Path(f"/logs/{task[-2:]}/{task}.default.log")
    assert names.log_path(Path("/logs"), task, "side").name == f"{task}.side.log"
