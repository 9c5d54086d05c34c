"""Shapes, variables and orders: what the scheduler and the engine get of a spec."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchery.config import Config, Process, Volumes
from batchery.core.model import AttemptKey, Environment, Realm, Resources, Rule, task_id
from batchery.engines.engine import Wanted
from batchery.spec.effective import effective
from batchery.spec.order import order
from batchery.spec.shape import shape_of
from batchery.spec.variables import batch_variables

Text = Callable[..., str]
HOME = Realm("123456789012", "us-east-1")
JOB = "00000000-0000-4000-8000-000000000001"


def environment(kind: str = "EC2") -> Environment:
    arn = "arn:aws:batch:us-east-1:123456789012:compute-environment/blue"
    return Environment(arn, "blue", HOME, kind, 4000, "the pool", "{}")


def order_of(
    doc: str,
    text: str,
    *,
    kind: str = "EC2",
    size: int = 0,
    index: int = 0,
    used: int = 0,
    config: Config | None = None,
) -> Any:
    return order(
        key=AttemptKey(JOB, index, used + 1),
        used=used,
        size=size,
        job_name="j",
        queue_name="fast",
        realm=HOME,
        environment=environment(kind),
        definition_name="d",
        definition_doc=doc,
        submit_doc=text,
        resources=Resources(500, 64, 0),
        timeout=60_000,
        config=config or Config(),
        logs_dir=Path("/logs"),
    )


def test_the_shape_of_a_plain_spec(definition: Text, request_text: Text) -> None:
    shape = shape_of(effective(definition(), request_text()), "d")
    assert (shape.resources, shape.attempts, shape.rules, shape.timeout) == (Resources(1000, 128, 0), 1, (), 0)
    assert (shape.log_group, shape.log_prefix, shape.fault) == ("/aws/batch/job", "d/default", "")


def test_the_shape_has_the_rules_of_retrying_and_the_time_limit(definition: Text, request_text: Text) -> None:
    doc = definition(
        retryStrategy={
            "attempts": 3,
            "evaluateOnExit": [
                {"action": "retry", "onStatusReason": "Host EC2*"},
                {"action": "Exit", "onReason": "*", "onExitCode": "1"},
            ],
        },
        timeout={"attemptDurationSeconds": 90},
    )
    shape = shape_of(effective(doc, request_text()), "d")
    assert (shape.attempts, shape.timeout) == (3, 90_000)
    assert shape.rules == (Rule("RETRY", "Host EC2*", None, None), Rule("EXIT", None, "*", "1"))


def test_awslogs_options_name_group_and_stream(definition: Text, request_text: Text) -> None:
    options = {"awslogs-group": "/my/group", "awslogs-stream-prefix": "mine", "awslogs-region": "eu-west-1"}
    mine = definition({"logConfiguration": {"logDriver": "awslogs", "options": options}})
    shape = shape_of(effective(mine, request_text()), "d")
    assert (shape.log_group, shape.log_prefix) == ("/my/group", "mine/default")
    other = definition({"logConfiguration": {"logDriver": "json-file", "options": options}})
    shape = shape_of(effective(other, request_text()), "d")
    assert (shape.log_group, shape.log_prefix) == ("/aws/batch/job", "d/default")


def test_variables_of_a_plain_job() -> None:
    key = AttemptKey(JOB, 0, 3)
    assert batch_variables(key=key, used=1, size=0, queue_name="fast", environment_name="blue") == {
        "AWS_BATCH_CE_NAME": "blue",
        "AWS_BATCH_JQ_NAME": "fast",
        "AWS_BATCH_JOB_ID": JOB,
        "AWS_BATCH_JOB_ATTEMPT": "2",  # attempts used, not placements
    }


def test_variables_of_a_child() -> None:
    made = batch_variables(key=AttemptKey(JOB, 7, 1), used=0, size=10, queue_name="fast", environment_name="blue")
    assert made["AWS_BATCH_JOB_ID"] == f"{JOB}:7"
    assert (made["AWS_BATCH_JOB_ARRAY_INDEX"], made["AWS_BATCH_JOB_ARRAY_SIZE"]) == ("7", "10")


def test_an_order_is_complete(definition: Text, request_text: Text) -> None:
    made = order_of(definition({"command": ["echo", "Ref::x"]}), request_text(parameters={"x": "1"}))
    task = task_id(AttemptKey(JOB, 0, 1))
    assert (made.key, made.task_id, made.timeout) == (AttemptKey(JOB, 0, 1), task, 60_000)
    assert (made.pool, made.pool_vcpus, made.environment_name) == ("the pool", 4000, "blue")
    (container,) = made.containers
    assert (container.name, container.image, container.command) == ("default", "busybox", ("echo", "1"))
    assert container.log_path == f"/logs/{task[-2:]}/{task}.default.log"
    assert made.resources == container.resources == Resources(500, 64, 0)
    assert container.stop_timeout == 30_000


def test_the_jobs_own_variables_stand_above_configured_ones_and_below_the_services(
    definition: Text, request_text: Text
) -> None:
    config = Config(process=Process(environment={"ENDPOINT": "there", "A": "configured"}), kill_grace=2)
    text = request_text({"environment": [{"name": "A", "value": "own"}, {"name": "EMPTY"}]})
    made = order_of(definition(), text, config=config)
    variables = made.containers[0].environment
    assert variables == {
        "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
        "ENDPOINT": "there",
        "A": "own",
        "EMPTY": "",
        "AWS_BATCH_CE_NAME": "blue",
        "AWS_BATCH_JQ_NAME": "fast",
        "AWS_BATCH_JOB_ID": JOB,
        "AWS_BATCH_JOB_ATTEMPT": "1",
    }
    assert made.containers[0].stop_timeout == 2000


def test_fargate_tells_the_region(definition: Text, request_text: Text) -> None:
    variables = order_of(definition(), request_text(), kind="FARGATE_SPOT").containers[0].environment
    assert variables["AWS_EXECUTION_ENV"] == "AWS_ECS_FARGATE"
    assert variables["AWS_REGION"] == variables["AWS_DEFAULT_REGION"] == "us-east-1"


def test_the_user_of_an_image_never_becomes_a_user_of_the_host(definition: Text, request_text: Text) -> None:
    assert order_of(definition({"user": "root"}), request_text()).containers[0].user == ""


def test_an_order_says_which_secrets_it_wants_and_where_file_systems_are(definition: Text, request_text: Text) -> None:
    doc = definition(
        {
            "executionRoleArn": "arn:aws:iam::123456789012:role/x",
            "secrets": [{"name": "A", "valueFrom": "/a"}],
            "repositoryCredentials": {"credentialsParameter": "registry"},
            "volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
        }
    )
    made = order_of(doc, request_text(), config=Config(engine="docker", volumes=Volumes(efs={"fs-1": "/mnt/efs"})))
    (container,) = made.containers
    assert container.secrets == (Wanted("A", "/a", "us-east-1"),)
    assert container.login_from == Wanted("", "registry", "us-east-1")
    assert made.wants
    assert "A" not in container.environment
    assert '"sourcePath":"/mnt/efs"' in container.spec
    on_host = order_of(doc, request_text())
    assert on_host.containers[0].login_from is None  # nothing is pulled
    assert '"efsVolumeConfiguration"' in on_host.containers[0].spec
    assert not order_of(definition(), request_text()).wants
