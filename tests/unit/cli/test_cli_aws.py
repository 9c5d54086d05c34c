"""`batchery aws`: nothing but the server can be reached."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchery.cli import main
from batchery.cli.aws import build, environment, service_of
from batchery.cli.problem import Problem
from batchery.cli.target import Target

TARGET = Target("http://127.0.0.1:8642", "eu-west-1", "key", "secret")


def test_the_endpoint_stands_in_front() -> None:
    assert build(["batch", "list-jobs", "--job-queue", "q"], TARGET) == [
        *("--endpoint-url", TARGET.url, "batch", "list-jobs", "--job-queue", "q")
    ]


@pytest.mark.parametrize(
    ("line", "service"),
    [
        ("batch list-jobs", "batch"),
        ("--region us-east-2 --output json logs tail x", "logs"),
        ("--region=us-east-2 --debug --no-cli-pager cloudtrail lookup-events", "cloudtrail"),
        ("--query batch s3 ls", "s3"),
        ("--version", "help"),
        ("help", "help"),
        ("--debug", ""),
        ("", ""),
    ],
)
def test_the_service_is_the_first_word(line: str, service: str) -> None:
    assert service_of(line.split()) == service


@pytest.mark.parametrize("service", ["s3", "ec2", "configure", "sts", "iam", "batchx", "sso"])
def test_other_services_are_refused(service: str) -> None:
    with pytest.raises(Problem, match="nothing was sent anywhere") as caught:
        build([service, "ls"], TARGET)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "option",
    [
        *("--endpoint-url", "--endpoint-url=http://elsewhere", "--endpoint", "--endp=x", "--profile", "--profile=work"),
        *("--prof", "--no-sign-request", "--no-sign"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_options_that_lead_elsewhere_are_refused(option: str, place: int) -> None:
    words = ["batch", "list-jobs"]
    words.insert(place, option)
    with pytest.raises(Problem, match="does not take"):
        build(words, TARGET)


def test_options_that_only_look_alike_are_not() -> None:
    words = ["logs", "filter-log-events", "--end-time", "1", "--no-paginate", "--propagate-tags", "--parameters", "a=b"]
    assert build(words, TARGET)[2:] == words


def test_the_environment_has_nothing_of_aws_left() -> None:
    before = {
        "HOME": "/home/ada",
        "AWS_PROFILE": "work",
        "AWS_SESSION_TOKEN": "t",
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_ENDPOINT_URL_S3": "http://minio",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_PAGER": "less",
        "AWS_CA_BUNDLE": "/ca",
    }
    after = environment(TARGET, before)
    assert after["HOME"] == "/home/ada"
    assert after["AWS_CA_BUNDLE"] == "/ca"
    assert (after["AWS_ACCESS_KEY_ID"], after["AWS_SECRET_ACCESS_KEY"]) == ("key", "secret")
    assert (after["AWS_ENDPOINT_URL"], after["AWS_ENDPOINT_URL_BATCH"]) == (TARGET.url, TARGET.url)
    assert (after["AWS_REGION"], after["AWS_DEFAULT_REGION"]) == ("eu-west-1", "eu-west-1")
    assert after["AWS_PAGER"] == ""
    gone = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
    assert not any(name in after for name in gone)


@pytest.fixture
def fake_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "aws"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return program


def test_exit_codes(fake_aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda path, argv, env: called.append([path, *argv[1:]]))
    runner, nobody = CliRunner(), ["--url", "http://127.0.0.1:1"]
    result = runner.invoke(main, [*nobody, "aws", "batch", "list-jobs"])
    assert (result.exit_code, called) == (3, [])  # nobody serves there
    assert "Start one with `batchery serve`" in result.stderr
    assert runner.invoke(main, [*nobody, "aws", "s3", "ls"]).exit_code == 2
    assert runner.invoke(main, [*nobody, "aws", "batch", "help"]).exit_code == 0
    assert called == [[str(fake_aws), "--endpoint-url", "http://127.0.0.1:1", "batch", "help"]]


def test_without_the_aws_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    result = CliRunner().invoke(main, ["aws", "batch", "list-jobs"])
    assert result.exit_code == 127
    assert "pip install awscli" in result.stderr
