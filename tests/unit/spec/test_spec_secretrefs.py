"""References to secrets: what they name, and which are refused."""

from typing import Any

import msgspec
import pytest

from batchery.api.shapes import ContainerProperties, EcsTaskProperties, RepositoryCredentials
from batchery.core.messages import Refused
from batchery.spec.container import check_container, check_task, task_of_ecs
from batchery.spec.secretrefs import SecretRef, check_login, check_secrets, login_ref, secret_ref

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db/main-AbCdEf"
PARAMETER = "arn:aws:ssm:eu-west-1:123456789012:parameter/team/token"


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        (SECRET, SecretRef("secretsmanager", SECRET, "us-east-1")),
        (f"{SECRET}:password", SecretRef("secretsmanager", SECRET, "us-east-1", "password")),
        (f"{SECRET}:password::", SecretRef("secretsmanager", SECRET, "us-east-1", "password")),
        (f"{SECRET}::AWSPREVIOUS:", SecretRef("secretsmanager", SECRET, "us-east-1", "", "AWSPREVIOUS")),
        (f"{SECRET}:::some-id", SecretRef("secretsmanager", SECRET, "us-east-1", "", "", "some-id")),
        (f"{SECRET}:a b:c:d", SecretRef("secretsmanager", SECRET, "us-east-1", "a b", "c", "d")),
        (PARAMETER, SecretRef("ssm", PARAMETER, "eu-west-1")),
        ("/team/token", SecretRef("ssm", "/team/token")),
        ("token", SecretRef("ssm", "token")),
        (f"{SECRET}:a:b:c:d", None),
        ("arn:aws:s3:::bucket/key", None),
        ("arn:aws:ssm:us-east-1:123456789012:document/x", None),
        ("a secret", None),
        ("", None),
    ],
)
def test_what_a_reference_names(text: str, ref: SecretRef | None) -> None:
    assert secret_ref(text) == ref


def test_names_within_arns() -> None:
    assert [found.name for text in (SECRET, PARAMETER, "token") if (found := secret_ref(text))] == [
        "db/main-AbCdEf",
        "/team/token",
        "token",
    ]


def container(**members: Any) -> ContainerProperties:
    return msgspec.convert(members, ContainerProperties)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"secrets": [{"name": "A", "valueFrom": "no reference"}]}, "valueFrom of A in secrets must be the ARN"),
        ({"secrets": [{"name": "A=B", "valueFrom": SECRET}]}, "without '='"),
        ({"secrets": [{"name": "AWS_BATCH_JOB_ID", "valueFrom": SECRET}]}, "must not start with AWS_BATCH"),
        ({"secrets": [{"name": "A", "valueFrom": SECRET}] * 2}, "more than one entry named A"),
        ({"secrets": [{"name": "A", "valueFrom": "t"}], "environment": [{"name": "A", "value": "1"}]}, "be unique"),
        (
            {"logConfiguration": {"logDriver": "splunk", "secretOptions": [{"name": "t", "valueFrom": "!"}]}},
            "valueFrom",
        ),
    ],
)
def test_secrets_that_are_refused(members: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        check_secrets(container(**members), "role")


def test_secrets_need_a_role_to_fetch_them_with() -> None:
    given = container(secrets=[{"name": "A", "valueFrom": SECRET}])
    check_secrets(given, "arn:aws:iam::123456789012:role/run")
    with pytest.raises(Refused, match="executionRoleArn cannot be empty when using secrets or secretOptions"):
        check_secrets(given, "")


def test_a_registry_login_is_a_whole_secret() -> None:
    check_login(None)
    check_login(RepositoryCredentials(credentials_parameter=SECRET))
    assert login_ref("registry/ci") == SecretRef("secretsmanager", "registry/ci")
    for text in (f"{SECRET}:key", PARAMETER, "a b"):
        with pytest.raises(Refused, match="credentialsParameter"):
            check_login(RepositoryCredentials(credentials_parameter=text))


def test_containers_of_ecs_tasks_keep_the_same_rules() -> None:
    given = {
        "containers": [{"image": "busybox", "privileged": True}],
        "executionRoleArn": "role",
        "platformVersion": "1.3.0",
        "volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
    }
    task = msgspec.convert(given, EcsTaskProperties)
    with pytest.raises(Refused, match="platformVersion not applicable for EC2"):
        check_task(task_of_ecs(task, None))
    on_fargate = task_of_ecs(task, ["FARGATE"])
    with pytest.raises(Refused, match="EFS is supported for Fargate platform version"):
        check_task(on_fargate)
    with pytest.raises(Refused, match=r"setting be .false. at the container level"):
        check_container(task.containers[0], on_fargate)
    check_container(task.containers[0], task_of_ecs(task, None))
