"""`batchery serve`: its start, its end, and what prevents a start."""

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchery.api.keys import Keys
from batchery.cli import main
from batchery.cli.target import find, read_note

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Eventually = Callable[[Callable[[], object], str], None]


@pytest.fixture
def serving(tmp_path: Path, argv: list[str], eventually: Eventually) -> Iterator["subprocess.Popen[str]"]:
    """A server on a free port, its data in `data`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    data = tmp_path / "data"
    line = [*argv, "serve", "--port", str(port), "--data", str(data)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: read_note(str(data)), "it serves")
        yield process
        process.kill()


def test_it_says_where_and_ends_at_sigterm(serving: "subprocess.Popen[str]", tmp_path: Path) -> None:
    note = find({"HOME": str(tmp_path), "BATCHERY_DATA": str(tmp_path / "data")})
    assert note.health()["status"] == "serving"
    serving.send_signal(signal.SIGTERM)
    out, err = serving.communicate(timeout=30)
    assert (serving.returncode, err) == (0, "Ending ... (once more to end at once)\n")
    assert f"serves on {note.url} " in out
    assert f"--url {note.url} env)" in out  # not where the client commands would look by themselves
    assert "memory limits: " in out
    assert out.endswith("Batchery has ended. No job was running.\n")
    assert not (tmp_path / "data" / "server.json").exists()


def test_data_in_use_and_a_busy_port(serving: "subprocess.Popen[str]", batchery_command: Run, tmp_path: Path) -> None:
    url = str(read_note(str(tmp_path / "data"))["url"])
    done = batchery_command("serve", "--port", "0", "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert f"is using {tmp_path / 'data'} (pid {serving.pid})" in done.stderr
    done = batchery_command("serve", "--port", url.rpartition(":")[2], "--data", str(tmp_path / "other"))
    assert done.returncode == 1
    assert "is in use: stop what listens there, or choose another with --port." in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--port", "70000"], "port is 70000, and must be between 0 and 65535."),
        (["--config", "/nowhere.toml"], "Cannot read the configuration file /nowhere.toml"),
        (["--engine", "slurmy"], 'There is no engine "slurmy"'),
        (["--host", "0.0.0.0"], "Serving on 0.0.0.0 needs an access key, and there is none"),
    ],
)
def test_what_cannot_start_says_so_in_a_sentence(batchery_command: Run, options: list[str], sentence: str) -> None:
    done = batchery_command("serve", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"batchery: {sentence}")
    assert done.stderr.count("\n") == 1


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    runner, place = CliRunner(), ["keys", "--data", str(tmp_path)]
    policy = tmp_path / "policy.json"
    policy.write_text(
        '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "batch:*", "Resource": "*"}}'
    )
    assert runner.invoke(main, [*place, "list"]).output == "No keys. `batchery keys add` makes one.\n"
    made = runner.invoke(main, [*place, "add", "--name", "ada", "--account", "000000000007", "--policy", str(policy)])
    assert made.exit_code == 0
    variables = dict(line.removeprefix("export ").split("=", 1) for line in made.stdout.splitlines())
    (key,) = Keys(tmp_path / "keys.json").list()
    assert variables == {"BATCHERY_ACCESS_KEY_ID": key.id, "BATCHERY_SECRET_ACCESS_KEY": key.secret}
    assert (key.name, key.account) == ("ada", "000000000007")
    for listed in (runner.invoke(main, [*place, "list"]), runner.invoke(main, [*place, "list", "--json"])):
        assert key.id in listed.output
        assert key.secret not in listed.output
    assert runner.invoke(main, [*place, "revoke", key.id]).exit_code == 0
    assert runner.invoke(main, [*place, "revoke", key.id]).exit_code == 1
    assert "revoked" in runner.invoke(main, [*place, "list"]).output


@pytest.mark.parametrize(
    "policy", ["not JSON", "{}", '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {}}}']
)
def test_a_policy_that_is_not_understood_makes_no_key(tmp_path: Path, policy: str) -> None:
    file = tmp_path / "policy.json"
    file.write_text(policy)
    result = CliRunner().invoke(main, ["keys", "--data", str(tmp_path), "add", "--policy", str(file)])
    assert result.exit_code == 1
    assert Keys(tmp_path / "keys.json").list() == []
