"""doctor, demo, and help."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from batchery.cli import COMMANDS, doctor, main
from batchery.cli.demo import bar
from batchery.cli.doctor import FAIL, OK, WARN, Check
from batchery.cli.pipeline import STEPS, Pipeline
from batchery.client import Client
from batchery.config import load

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_every_aspect_of_this_machine_is_looked_at(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--json", "--data", str(tmp_path / "data")])
    found = {check["name"]: check for check in json.loads(result.stdout)}
    assert {"batchery", "server", "data", "fsync", "engine", "memory limits", "clock", "aws", "boto3"} <= set(found)
    assert (found["engine"]["state"], result.exit_code) == (OK, 0)
    assert float(found["fsync"]["text"].split()[0]) > 0
    assert not (tmp_path / "data").exists()  # it only looks


def test_a_network_file_system_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "file_system", lambda path: "nfs4")
    (check,) = doctor.disk(tmp_path / "not" / "yet")
    assert check.state == FAIL
    assert "nfs4" in check.text
    result = CliRunner().invoke(main, ["doctor", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "FAIL  data" in result.stdout


def test_an_engine_that_does_not_start_fails() -> None:
    (check,) = doctor.engine(load(environ={"HOME": "/home/ada", "BATCHERY_ENGINE": "none"}))
    assert (check.name, check.state) == ("engine", FAIL)


def test_memory_is_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "file_system", lambda path: "tmpfs")
    states = {check.name: check for check in doctor.disk(tmp_path)}
    assert states["fsync"].state == WARN
    assert "nothing survives" in states["fsync"].text


def test_clients_that_are_absent_are_no_fault() -> None:
    assert doctor.clients("aws", lambda: None, "not found") == Check("aws", OK, "not found")


def test_the_demo_ends_as_expected(batchery_command: Run) -> None:
    done = batchery_command("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All as expected" in done.stdout
    assert "\033" not in done.stdout
    for step in STEPS:
        assert f" {step.name}, {step.what}\n" in done.stdout


def test_the_demo_notices_a_surprise() -> None:
    with Client("http://127.0.0.1:1") as nobody:
        pipeline = Pipeline(nobody)
        job: dict[str, Any] = {"status": "FAILED", "statusReason": "?", "attempts": [], "container": {}}
        pipeline.jobs = {step.name: job for step in STEPS}
        assert len(pipeline.surprises()) == len(STEPS) + 1


def test_a_bar_is_as_long_as_its_children() -> None:
    assert bar({}).plain == ""
    assert bar({"SUCCEEDED": 1, "FAILED": 2}).plain == "━" * 20 + " 1/3"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "sim"])  # sim passes --help on
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"], prog_name="batchery")
    assert result.exit_code == 0
    assert f"Usage: batchery {name}" in result.stdout


def test_every_command_is_listed_in_a_line() -> None:
    listed = CliRunner().invoke(main, ["--help"]).stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert not any(line.endswith("...") for line in listed)


def test_the_simulator_comes_with_the_source_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchery.__file__", str(tmp_path / "lib" / "site-packages" / "batchery" / "__init__.py"))
    result = CliRunner().invoke(main, ["sim"])
    assert result.exit_code == 1
    assert "make sim" in result.stderr


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["serv"]).exit_code == 2
