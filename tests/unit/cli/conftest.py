"""The command line as a process of its own, and what its tests wait for."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

BATCHERY = [sys.executable, "-m", "batchery"]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's data, settings or keys."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "BATCHERY_URL", "BATCHERY_DATA", "BATCHERY_CONFIG", "BATCHERY_REGION", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def batchery_command() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs `batchery ARGUMENTS` to its end."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*BATCHERY, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )

    return run


@pytest.fixture
def argv() -> list[str]:
    """What runs `batchery` here."""
    return list(BATCHERY)


@pytest.fixture
def eventually() -> Callable[[Callable[[], object], str], None]:
    """Waits for a condition, with a deadline; the text says what never came."""

    def wait(condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}"
            time.sleep(0.02)

    return wait
