"""The activity log as a file: in order, whole lines, moved away, not writable."""

import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batchery.run.activity import ActivityLog
from batchery.store.store import Activity


def records(*docs: str) -> list[Activity]:
    return [Activity(1, "123456789012", "us-east-1", doc) for doc in docs]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_records_are_lines_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "activity.jsonl"
    file = ActivityLog(str(path))
    file.publish([], records("a", "b"))
    file.publish([], [])
    for number in range(100):
        file.publish([], records(str(number)))
    file.close()
    assert path.read_text().splitlines() == ["a", "b", *map(str, range(100))]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_earlier_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "activity.jsonl"
    for doc in ("a", "b"):
        file = ActivityLog(str(path))
        file.publish([], records(doc))
        file.close()
    assert path.read_text() == "a\nb\n"


def test_a_file_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "activity.jsonl"
    file = ActivityLog(str(path))
    file.publish([], records("a"))
    wait_for(lambda: path.exists() and path.read_text() == "a\n")
    os.rename(path, tmp_path / "activity.1")
    file.publish([], records("b"))
    wait_for(lambda: path.exists() and path.read_text() == "b\n")
    path.unlink()
    file.publish([], records("c"))
    file.close()
    assert path.read_text() == "c\n"
    assert (tmp_path / "activity.1").read_text() == "a\n"


def test_a_file_that_cannot_be_written_is_told_of_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "activity.jsonl"
    path.mkdir()
    file = ActivityLog(str(path))
    with caplog.at_level(logging.WARNING):
        file.publish([], records("lost"))
        wait_for(lambda: len(caplog.records) == 1)
        file.publish([], records("lost"))
        wait_for(file._queue.empty)
        path.rmdir()
        wait_for(lambda: (file.publish([], records("kept")), path.exists())[1])
    file.close()
    assert len(caplog.records) == 1
    assert set(path.read_text().split()) <= {"kept", "lost"}
    assert "kept" in path.read_text()
