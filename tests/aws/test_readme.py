"""The session in the README works as printed, with the AWS CLI that pip installs and with Debian's own."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_clients import debian_cli, pip_cli
from wire_pipeline import Server

README = Path(__file__).parents[2] / "README.md"

#: What differs from run to run, and what stands for it when both sides are compared.
VARIES = (
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\b\d+(?:\.\d+)? s\b"), "SECONDS"),
    (re.compile(r"\b\d+ MiB\b"), "SIZE"),
    (re.compile(r"[ \t]+"), " "),
)


def like(text: str) -> str:
    for pattern, name in VARIES:
        text = pattern.sub(name, text)
    return text.strip()


def steps(block: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it prints."""
    found: list[tuple[str, str]] = []
    lines = block.splitlines()
    while lines:
        command = lines.pop(0)
        assert command.startswith("$ "), command
        command = command[2:]
        while command.endswith("\\") or command.count("'") % 2:
            command += "\n" + lines.pop(0)
        output = []
        while lines and not lines[0].startswith("$ "):
            output.append(lines.pop(0))
        found.append((command, "\n".join(output)))
    return found


def session(blocks: list[str], environment: dict[str, str]) -> list[tuple[str, str, str]]:
    """Run all commands in one shell: (command, printed in the README, printed now)."""
    told = [step for block in blocks for step in steps(block)]
    mark = "=== next ==="
    script = "".join(f"{command}\necho '{mark}'\n" for command, _ in told)
    done = subprocess.run(
        ["bash", "-c", script], env=environment, text=True, timeout=300, check=False, stdout=-1, stderr=-2
    )
    parts = done.stdout.split(mark + "\n")
    assert len(parts) == len(told) + 1, done.stdout
    return [(command, printed, now) for (command, printed), now in zip(told, parts, strict=False)]


def shell(server: Server, folder: Path, aws: str) -> dict[str, str]:
    """The environment of a user who has this AWS CLI and Batchery on the PATH, and nothing set."""
    places = folder / "bin"
    places.mkdir()
    (places / "aws").symlink_to(aws)
    (places / "batchery").symlink_to(Path(sys.executable).with_name("batchery"))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BATCHERY_", "PYTEST"))
    }
    return environment | {"PATH": f"{places}:/usr/bin:/bin", "BATCHERY_URL": server.url, "HOME": str(folder)}


@pytest.mark.parametrize("cli", [pip_cli, debian_cli], ids=["v1", "v2"])
def test_the_session_of_the_readme(cli: Callable[[], str], own_server: Callable[..., Server], tmp_path: Path) -> None:
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 3
    if cli is debian_cli:  # 2.9 reads no endpoint variables: `batchery aws` is for it
        blocks = [block for block in blocks if "batchery env" not in block]
    for command, printed, now in session(blocks, shell(own_server(""), tmp_path, cli())):
        assert like(now) == like(printed), command
