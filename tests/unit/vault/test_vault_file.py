"""Secrets in a file: what a reference may be called there, and which files are not used."""

from pathlib import Path

import pytest

from batchery.app import StartError, choose_vault
from batchery.config import Secrets
from batchery.run.secrets import SecretError
from batchery.spec.secretrefs import SecretRef, secret_ref
from batchery.vault.file import FileSource, names_of

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/db-AbCdEf"
PARAMETER = "arn:aws:ssm:us-east-1:123456789012:parameter/x"


def ref(text: str) -> SecretRef:
    found = secret_ref(text)
    assert found is not None
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.toml"
    path.touch(mode=0o600)
    path.write_text('"team/db" = { user = "a", port = 1 }\nx = "1"\n"/y" = "2"\n')
    return path


def test_names_from_the_most_exact() -> None:
    assert names_of(ref(SECRET)) == [SECRET, "team/db-AbCdEf", "team/db"]
    assert names_of(ref(PARAMETER)) == [PARAMETER, "/x", "x"]
    assert names_of(ref("y")) == ["y", "y", "/y"]


def test_what_is_found(file: Path) -> None:
    source = FileSource(file)
    assert source.read(ref(SECRET)) == '{"user": "a", "port": 1}'
    assert source.read(ref(PARAMETER)) == "1"
    assert source.read(ref("y")) == "2"
    assert source.read(ref("z")) is None
    assert source.read(ref(f"{SECRET}::AWSCURRENT")) is not None
    assert source.read(ref(f"{SECRET}::AWSPREVIOUS")) is None
    assert source.read(ref(f"{SECRET}:::an-id")) is None


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("x = 1", 0o644, "chmod 600"),
        ("x = 1", 0o620, "chmod 600"),
        ("s3cret", 0o600, "is not TOML"),
        (None, 0, "No such"),
    ],
)
def test_files_that_are_not_used(tmp_path: Path, text: str | None, mode: int, words: str) -> None:
    path = tmp_path / "odd.toml"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(SecretError, match=words) as caught:
        FileSource(path).check()
    assert "s3cret" not in str(caught.value)
    with pytest.raises(StartError, match=words):
        choose_vault(Secrets(file=str(path)))


def test_sources_of_aws_need_boto3(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    choose_vault(Secrets(file=str(file), aws=True)).close()
    monkeypatch.setattr("batchery.app.boto3_is_here", lambda: False)
    with pytest.raises(StartError, match=r"batchery\[aws\]"):
        choose_vault(Secrets(endpoint="http://127.0.0.1:1"))
