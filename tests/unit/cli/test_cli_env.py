"""`batchery env`: what points AWS's clients at the server, read back by real shells."""

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchery.cli import clients, main
from batchery.cli.clients import Found
from batchery.cli.env import lines
from batchery.cli.target import UNSET, Target, find, leave_note, read_note, take_note_away
from batchery.config import load

TARGET = Target("http://127.0.0.1:8642", "eu-west-1")


def through_shell(shell: str, text: str, before: dict[str, str], *names: str) -> list[str]:
    """The values of variables after `text` was evaluated; unset ones are "-"."""
    shown = "; ".join(f'echo "${{{name}--}}"' for name in names)
    done = subprocess.run([shell, "-c", f"{text}\n{shown}"], env=before, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_has_everything_after_eval(shell: str) -> None:
    before = {"PATH": "/usr/bin:/bin", "AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "secret", "AWS_REGION": "us-west-2"}
    text = "\n".join(lines(TARGET, "sh"))
    wanted = {
        "AWS_ENDPOINT_URL_BATCH": TARGET.url,
        "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": TARGET.url,
        "AWS_ENDPOINT_URL_CLOUDTRAIL": TARGET.url,
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "batchery",
        "AWS_SECRET_ACCESS_KEY": "batchery",
        "AWS_PROFILE": "-",
        "AWS_SESSION_TOKEN": "-",
    }
    assert through_shell(shell, text, before, *wanted) == list(wanted.values())


def test_values_are_quoted_for_the_shell() -> None:
    target = Target("http://127.0.0.1:1", "r", "key", 'it\'s $(touch x) `x` "x" \\')
    text = "\n".join(lines(target, "sh"))
    assert through_shell("sh", text, {}, "AWS_SECRET_ACCESS_KEY") == [target.secret_key]


def test_fish_gets_its_own_words() -> None:
    text = lines(Target("http://127.0.0.1:1", "r", "key", "it's \\"), "fish")
    assert "set -gx AWS_SECRET_ACCESS_KEY 'it\\'s \\\\';" in text
    assert [line for line in text if line.startswith("set -e")] == [f"set -e {name};" for name in UNSET]
    if shutil.which("fish"):
        subprocess.run(["fish", "--no-execute", "-c", "\n".join(text)], check=True)


def test_no_proxy_keeps_what_is_there() -> None:
    environment = TARGET.environment({"NO_PROXY": "corp.example, .lan", "no_proxy": "127.0.0.1"})
    assert environment["NO_PROXY"] == "corp.example,.lan,127.0.0.1"
    assert environment["no_proxy"] == "127.0.0.1"
    assert TARGET.environment({})["NO_PROXY"] == "127.0.0.1"
    assert "no_proxy" not in TARGET.environment({})
    assert TARGET.environment({"NO_PROXY": "*"})["NO_PROXY"] == "*"


def test_the_server_is_found_by_url_then_note_then_setting(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "BATCHERY_DATA": str(tmp_path), "BATCHERY_PORT": "9"}
    assert find(environ).url == "http://127.0.0.1:9"
    leave_note(load(environ={**environ, "BATCHERY_REGION": "eu-west-3"}), "http://127.0.0.1:10")
    assert (find(environ).url, find(environ).region) == ("http://127.0.0.1:10", "eu-west-3")
    assert find({**environ, "BATCHERY_URL": "http://host:11/"}).url == "http://host:11"
    assert find({**environ, "BATCHERY_URL": "http://host:11"}, url="http://host:12").url == "http://host:12"
    assert find({**environ, "BATCHERY_REGION": "a"}, region="b").region == "b"


def test_a_note_counts_while_its_server_lives(tmp_path: Path) -> None:
    config = load(environ={"HOME": str(tmp_path), "BATCHERY_DATA": str(tmp_path)})
    leave_note(config, "http://127.0.0.1:10")
    assert read_note(config.data)["url"] == "http://127.0.0.1:10"
    note = tmp_path / "server.json"
    gone = subprocess.Popen(["true"])
    gone.wait()
    note.write_text(note.read_text().replace(str(read_note(config.data)["pid"]), str(gone.pid)))
    assert read_note(config.data) == {}
    take_note_away(config)
    assert note.exists()  # not ours
    leave_note(config, "http://127.0.0.1:10")
    take_note_away(config)
    assert not note.exists()
    note.write_text("{")
    assert read_note(config.data) == {}


@pytest.mark.parametrize(
    ("kind", "version", "too_old"),
    [
        ("aws", (1, 28, 99), True),
        ("aws", (1, 29), False),
        ("aws", (2, 9, 19), True),
        ("aws", (2, 12, 7), True),
        ("aws", (2, 13), False),
        ("aws", (), False),
        ("boto3", (1, 27, 165), True),
        ("boto3", (1, 28, 0), False),
    ],
)
def test_clients_that_are_too_old_are_named(kind: str, version: tuple[int, ...], too_old: bool) -> None:
    warning = Found(kind, "/usr/bin/x", version).warning()
    assert bool(warning) is too_old
    assert not too_old or ".".join(map(str, version)) in warning


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_versions_are_found_without_the_slow_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = executable(tmp_path / "python9", "#!/bin/sh\necho 2.9.19\n")
    executable(tmp_path / "aws", f"#!{told}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert clients.find_aws() == Found("aws", str(tmp_path / "aws"), (2, 9, 19))
    executable(tmp_path / "aws", "#!/bin/sh\necho 'aws-cli/2.15.30 Python/3.11.8 Linux/6.1 exe/x86_64'\n")
    assert clients.find_aws() == Found("aws", str(tmp_path / "aws"), (2, 15, 30))
    executable(tmp_path / "aws", "#!/bin/sh\nexit 1\n")
    assert clients.find_aws() == Found("aws", str(tmp_path / "aws"), ())


def test_warnings_go_to_stderr_only(tmp_path: Path) -> None:
    executable(tmp_path / "aws", "#!/bin/sh\necho aws-cli/2.9.19\n")
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "BATCHERY_URL": "http://127.0.0.1:1", "SHELL": "/bin/bash"}
    result = CliRunner().invoke(main, ["--region", "eu-west-1", "env"], env=environ)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == lines(Target("http://127.0.0.1:1", "eu-west-1"), "sh")
    assert "does not read AWS_ENDPOINT_URL_BATCH" in result.stderr
    assert "No Batchery answers at http://127.0.0.1:1" in result.stderr
