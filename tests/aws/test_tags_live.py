"""Tags over the wire: on everything that can have them, from its creation to its end.

Source: AWS Batch user guide, "Tagging your AWS Batch resources".
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

CONTAINER = {
    "image": "busybox",
    "command": ["true"],
    "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
}
FIRST = {"team": "a", "Team": "b", "sp ace/+-=._:@": "ü"}
KINDS = ("compute environment", "job queue", "job definition", "job", "ended job", "array")


class Tagged:
    """One of every kind that can have tags, made with some; ``arns`` by kind."""

    def __init__(self, pipeline: Pipeline) -> None:
        batch = pipeline.batch
        self.arns: dict[str, str] = {}
        environment = batch.create_compute_environment(
            computeEnvironmentName="tagged",
            type="UNMANAGED",
            serviceRole="arn:aws:iam::123456789012:role/batch",
            tags=FIRST,
        )
        self.arns["compute environment"] = environment["computeEnvironmentArn"]
        found = {"computeEnvironments": ["tagged"]}
        until(lambda: batch.describe_compute_environments(**found)["computeEnvironments"][0]["status"] == "VALID")
        order = [{"order": 1, "computeEnvironment": "tagged"}]
        self.arns["job queue"] = batch.create_job_queue(
            jobQueueName="tagged", priority=1, computeEnvironmentOrder=order, tags=FIRST
        )["jobQueueArn"]
        self.arns["job definition"] = batch.register_job_definition(
            jobDefinitionName="tagged", type="container", containerProperties=CONTAINER, tags=FIRST
        )["jobDefinitionArn"]
        never = {"resourceRequirements": [{"type": "VCPU", "value": "9999"}]}
        submit = {"jobName": "j", "jobQueue": "tagged", "jobDefinition": "tagged", "tags": FIRST}
        self.arns["job"] = batch.submit_job(**submit, containerOverrides=never)["jobArn"]
        ended = batch.submit_job(**submit)
        self.arns["ended job"] = ended["jobArn"]
        pipeline.wait(ended["jobId"], "SUCCEEDED")
        array = batch.submit_job(**submit, containerOverrides=never, arrayProperties={"size": 2})
        self.arns["array"] = array["jobArn"]


@pytest.fixture(scope="module")
def tagged(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Tagged:
    return Tagged(Pipeline(server, tmp_path_factory.mktemp("tagged")))


def tags_of(pipeline: Pipeline, arn: str) -> dict[str, str]:
    return dict(pipeline.batch.list_tags_for_resource(resourceArn=arn)["tags"])


def described(pipeline: Pipeline, kind: str, arn: str) -> dict[str, str]:
    """As the Describe operation of its kind shows them."""
    batch = pipeline.batch
    if kind == "compute environment":
        found = batch.describe_compute_environments(computeEnvironments=[arn])["computeEnvironments"]
    elif kind == "job queue":
        found = batch.describe_job_queues(jobQueues=[arn])["jobQueues"]
    elif kind == "job definition":
        found = batch.describe_job_definitions(jobDefinitions=[arn])["jobDefinitions"]
    else:
        found = batch.describe_jobs(jobs=[arn.rpartition("/")[2]])["jobs"]
    return dict(found[0]["tags"])


def refused(pipeline: Pipeline, operation: str, **members: Any) -> str:
    with pytest.raises(ClientError) as caught:
        getattr(pipeline.batch, operation)(**members)
    assert caught.value.response["Error"]["Code"] == "ClientException"
    return str(caught.value.response["Error"]["Message"])


@pytest.mark.parametrize("kind", KINDS)
def test_tags_from_the_creation_to_the_last(pipeline: Pipeline, tagged: Tagged, kind: str) -> None:
    arn, batch = tagged.arns[kind], pipeline.batch
    assert tags_of(pipeline, arn) == described(pipeline, kind, arn) == FIRST
    batch.tag_resource(resourceArn=arn, tags={"team": "changed", "new": ""})
    expected = FIRST | {"team": "changed", "new": ""}
    assert tags_of(pipeline, arn) == described(pipeline, kind, arn) == expected
    batch.untag_resource(resourceArn=arn, tagKeys=["team", "never there"])
    del expected["team"]
    assert tags_of(pipeline, arn) == described(pipeline, kind, arn) == expected
    batch.untag_resource(resourceArn=arn, tagKeys=list(expected))
    assert tags_of(pipeline, arn) == described(pipeline, kind, arn) == {}


def test_children_and_jobs_do_not_inherit(pipeline: Pipeline, tagged: Tagged) -> None:
    """Neither the definition's tags go to its jobs, nor the parent's to its children; children can have none."""
    batch = pipeline.batch
    array = tagged.arns["array"]
    assert pipeline.job(array.rpartition("/")[2] + ":1")["tags"] == {}
    batch.tag_resource(resourceArn=tagged.arns["job definition"], tags={"of": "the definition"})
    job = batch.submit_job(jobName="j", jobQueue="tagged", jobDefinition="tagged", propagateTags=True)
    assert tags_of(pipeline, job["jobArn"]) == {}
    assert "array" in refused(pipeline, "tag_resource", resourceArn=array + ":1", tags={"a": "b"})
    refused(pipeline, "list_tags_for_resource", resourceArn=array + ":0")
    pipeline.wait(job["jobId"], "SUCCEEDED")


def test_fifty_are_the_most(pipeline: Pipeline, tagged: Tagged) -> None:
    arn = tagged.arns["job"]
    if held := tags_of(pipeline, arn):
        pipeline.batch.untag_resource(resourceArn=arn, tagKeys=list(held))
    fifty = {f"key-{number}": "v" for number in range(50)}
    pipeline.batch.tag_resource(resourceArn=arn, tags=fifty)
    assert "50" in refused(pipeline, "tag_resource", resourceArn=arn, tags={"one": "more"})
    pipeline.batch.tag_resource(resourceArn=arn, tags={"key-0": "changed"})  # no more than before
    assert tags_of(pipeline, arn) == fifty | {"key-0": "changed"}
    pipeline.batch.untag_resource(resourceArn=arn, tagKeys=list(fifty))
    many = {f"key-{number}": "v" for number in range(51)}
    refused(pipeline, "submit_job", jobName="j", jobQueue="tagged", jobDefinition="tagged", tags=many)


@pytest.mark.parametrize(
    "tags",
    [{"aws:mine": "x"}, {"AWS:mine": "x"}, {"k" * 129: "x"}, {"k": "v" * 257}, {"k?": "x"}, {"k": "<v>"}],
    ids=str,
)
def test_tags_that_are_refused(pipeline: Pipeline, tagged: Tagged, tags: dict[str, str]) -> None:
    refused(pipeline, "tag_resource", resourceArn=tagged.arns["job queue"], tags=tags)
    name = "refused-with-its-tags"
    refused(
        pipeline, "register_job_definition", jobDefinitionName=name, type="container", containerProperties=CONTAINER,
        tags=tags,
    )  # fmt: skip
    assert pipeline.batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"] == []
    refused(pipeline, "submit_job", jobName="j", jobQueue="tagged", jobDefinition="tagged", tags=tags)


def test_what_does_not_exist_has_no_tags(pipeline: Pipeline, tagged: Tagged) -> None:
    queue = tagged.arns["job queue"]
    for arn in (
        queue + "x",
        queue.replace("us-east-1", "eu-west-1"),
        queue.replace("123456789012", "999999999999"),
        tagged.arns["job definition"].replace(":1", ":77"),
        "arn:aws:batch:us-east-1:123456789012:job/00000000-0000-4000-8000-000000000000",
        "arn:aws:s3:::bucket",
        "no arn",
    ):
        refused(pipeline, "list_tags_for_resource", resourceArn=arn)
        refused(pipeline, "tag_resource", resourceArn=arn, tags={"a": "b"})
        refused(pipeline, "untag_resource", resourceArn=arn, tagKeys=["a"])


def test_tags_go_with_what_has_them(pipeline: Pipeline) -> None:
    """A queue of the same name is a new one."""
    queue = pipeline.queue()
    arn = pipeline.batch.describe_job_queues(jobQueues=[queue])["jobQueues"][0]["jobQueueArn"]
    pipeline.batch.tag_resource(resourceArn=arn, tags={"a": "b"})
    pipeline.batch.update_job_queue(jobQueue=queue, state="DISABLED")
    until(lambda: pipeline.batch.describe_job_queues(jobQueues=[queue])["jobQueues"][0]["status"] == "VALID")
    pipeline.batch.delete_job_queue(jobQueue=queue)
    until(lambda: not pipeline.batch.describe_job_queues(jobQueues=[queue])["jobQueues"])
    refused(pipeline, "list_tags_for_resource", resourceArn=arn)
    pipeline.queue_on(queue, name=queue)
    assert tags_of(pipeline, arn) == {}


def test_tags_outlive_a_restart(server: Server, pipeline: Pipeline, tagged: Tagged) -> None:
    arn = tagged.arns["compute environment"]
    pipeline.batch.tag_resource(resourceArn=arn, tags={"kept": "yes"})
    server.stop()
    server.start()
    assert tags_of(pipeline, arn) == {"kept": "yes"}


def test_calls_at_once_do_not_exceed_the_limit_together(pipeline: Pipeline, server: Server) -> None:
    arn = pipeline.batch.describe_job_queues(jobQueues=[pipeline.queue()])["jobQueues"][0]["jobQueueArn"]
    clients = [server.client() for _ in range(4)]
    start = Barrier(4)

    def tag(number: int) -> bool:
        start.wait()
        try:
            clients[number].tag_resource(resourceArn=arn, tags={f"{number}-{one}": "" for one in range(20)})
        except ClientError as error:
            return "at most 50 tags" not in str(error)
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(tag, range(4))) == 2
    assert len(tags_of(pipeline, arn)) == 40


def test_more_than_fifty_tags_propagated_together_let_the_job_fail(pipeline: Pipeline) -> None:
    """API_SubmitJob, propagateTags. The same key counts once; without propagateTags they do not come together."""
    batch, queue = pipeline.batch, pipeline.queue()
    of_definition = {f"d-{number}": "" for number in range(30)}
    batch.register_job_definition(
        jobDefinitionName="many-tags", type="container", containerProperties=CONTAINER, tags=of_definition
    )
    own = {f"j-{number}": "" for number in range(21)}
    late = pipeline.submit(queue, "many-tags", tags=own, propagateTags=True)
    failed = pipeline.wait(late, "FAILED")
    assert failed["statusReason"] == "Tags of the job and its job definition must be at most 50 together"
    assert (failed["attempts"], failed["tags"]) == ([], own)
    fits = dict(list(own.items())[:20]) | {"d-0": "of the job"}
    for members in ({"tags": own}, {"tags": fits, "propagateTags": True}):
        pipeline.wait(pipeline.submit(queue, "many-tags", **members), "SUCCEEDED")
