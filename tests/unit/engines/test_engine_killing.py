"""What is left of an attempt whose main process is gone."""

import os
import subprocess
from types import SimpleNamespace
from typing import Any

from batchery.core.model import AttemptKey
from batchery.engines.killing import kill_rest


def test_a_zombie_that_nobody_waits_for_is_not_alive() -> None:
    process = subprocess.Popen(["true"], start_new_session=True)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    attempt: Any = SimpleNamespace(pid=process.pid, key=AttemptKey("zombie", 0, 1), adopted=True, cgroup=None)
    nobody: Any = None
    try:
        assert not kill_rest(attempt, nobody, ())
    finally:
        process.wait()


def test_what_is_alive_is_killed_and_looked_at_again() -> None:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    attempt: Any = SimpleNamespace(pid=process.pid, key=AttemptKey("alive", 0, 1), adopted=True, cgroup=None)
    nobody: Any = None
    try:
        kill_rest(attempt, nobody, ())
        assert process.wait() == -9
        assert not kill_rest(attempt, nobody, ())
    finally:
        process.kill()
        process.wait()
