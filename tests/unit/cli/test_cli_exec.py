"""`batchery exec`: a private server for one command, whatever becomes of either."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batchery.cli.private import MARK, inherited
from batchery.client import Client, NoServer

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Eventually = Callable[[Callable[[], object], str], None]


def answers(url: str) -> bool:
    try:
        with Client(url, timeout=1) as client:
            return bool(client.health())
    except NoServer:
        return False


def test_the_command_has_a_server_and_its_exit_code_is_passed_on(batchery_command: Run, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = f"env > {seen}; {sys.executable} -m batchery jobs --json; exit 7"
    done = batchery_command("exec", "--", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (7, "")
    assert json.loads(done.stdout) == {"jobs": [], "more": False}
    variables = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert variables["BATCHERY_URL"] == variables["AWS_ENDPOINT_URL_BATCH"] == variables["AWS_ENDPOINT_URL_CLOUDTRAIL"]
    assert variables[MARK] == "1"
    assert not answers(variables["BATCHERY_URL"])  # it ended with the command


def test_options_of_the_command_are_its_own(batchery_command: Run) -> None:
    done = batchery_command("exec", "env", "--help")
    assert (done.returncode, done.stdout.startswith("Usage: env")) == (0, True)


def test_a_command_that_is_not_there_or_cannot_be_run(batchery_command: Run, tmp_path: Path) -> None:
    done = batchery_command("exec", "--", "no-such-command")
    assert (done.returncode, done.stderr) == (127, "batchery: no-such-command: there is no such command.\n")
    plain = tmp_path / "plain"
    plain.write_text("")
    assert batchery_command("exec", "--", str(plain)).returncode == 126


def test_a_server_that_does_not_start(batchery_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHERY_ENGINE", "no-such-engine")
    done = batchery_command("exec", "--", "true")
    assert done.returncode == 125
    assert done.stderr.startswith("batchery: The private server did not start: There is no engine")


@pytest.fixture
def started(tmp_path: Path, argv: list[str], eventually: Eventually) -> "subprocess.Popen[bytes]":
    """`exec` of a shell that writes its server's URL to the file `url`, then waits for a signal."""
    url = tmp_path / "url"
    script = f'trap "exit 9" TERM; echo $BATCHERY_URL > {url}.new; mv {url}.new {url}; while :; do sleep 0.05; done'
    process = subprocess.Popen(
        [*argv, "exec", "--", "sh", "-c", script], start_new_session=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    eventually(url.exists, "the command runs")
    return process


def test_signals_are_passed_on(started: "subprocess.Popen[bytes]") -> None:
    started.send_signal(signal.SIGTERM)
    assert started.wait(20) == 9


def test_a_command_that_a_signal_ended(batchery_command: Run) -> None:
    assert batchery_command("exec", "--", "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


def test_the_server_goes_even_if_exec_is_killed(
    started: "subprocess.Popen[bytes]", tmp_path: Path, eventually: Eventually
) -> None:
    url = (tmp_path / "url").read_text().strip()
    assert answers(url)
    started.kill()
    started.wait()
    os.killpg(started.pid, signal.SIGTERM)  # the command, which nobody waits for any more
    eventually(lambda: not answers(url), "the server ended")
    eventually(lambda: not list(tmp_path.glob("batchery-private-*")), "its data are gone")


def test_only_a_private_server_is_taken_over() -> None:
    assert inherited({"BATCHERY_URL": "http://127.0.0.1:8642"}) is None
    assert inherited({MARK: "1"}) is None
    target = inherited({"BATCHERY_URL": "http://127.0.0.1:1", MARK: "1", "BATCHERY_REGION": "eu-west-1"})
    assert target is not None
    assert (target.url, target.region) == ("http://127.0.0.1:1", "eu-west-1")
