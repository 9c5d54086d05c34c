"""How ends are told."""

import pytest

from batchery.api import story
from batchery.core.model import CANCEL, EXIT, NO_CAPACITY, TERMINATE, TERMINATED, TIMEOUT, VOID
from batchery.core.status import FAILED, RUNNABLE, SUCCEEDED
from batchery.store.store import AttemptRow, EndedRow


def attempt(**members: object) -> AttemptRow:
    row = {
        "index": 0, "serial": 1, "used": 0, "code": SUCCEEDED, "counts": True, "placed": 1000, "starting": 1000,
        "started": 2000, "stopped": 5500, "cause": EXIT, "exit_code": 0, "reason": "",
        "status_reason": "Essential container in task exited", "log_group": "", "log_stream": "", "vcpus": 1000,
        "environment": "arn:aws:batch:us-east-1:123456789012:compute-environment/small", "memory": 16, "gpus": 0,
        "cpu_ms": 250, "peak_mib": 12,
    }  # fmt: skip
    return AttemptRow(**(row | members))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0.00 s"),
        (999, "1.00 s"),
        (12_340, "12.3 s"),
        (59_900, "59.9 s"),
        (60_000, "1 min 0 s"),
        (245_000, "4 min 5 s"),
        (3_600_000, "1 h 0 min"),
        (12_000_000, "3 h 20 min"),
        (86_400_000, "1 d 0 h"),
        (190_800_000, "2 d 5 h"),
        (8_640_000_000, "100 d 0 h"),
    ],
)
def test_durations(ms: int, text: str) -> None:
    assert story.duration(ms) == text


def test_exit_codes_are_explained() -> None:
    assert story.exit_words(3) == "exit code 3"
    assert story.exit_words(143) == "exit code 143, killed by SIGTERM"
    assert story.exit_words(255) == "exit code 255"
    assert story.exit_words(None) == "no exit code"


def test_an_attempt_in_a_sentence() -> None:
    assert story.attempt_line(1, attempt()) == (
        "Attempt 1 ran 3.5 s on small: exit code 0; CPU time 0.25 s, peak memory 12 MiB."
    )
    never = attempt(started=0, status_reason="Task failed to start", reason="CannotStartContainerError: no such file")
    assert story.attempt_line(1, never) == (
        "Attempt 1 on small never ran. Task failed to start; CannotStartContainerError: no such file."
    )


def test_what_ended_an_attempt_and_what_came_of_it() -> None:
    late = attempt(cause=TIMEOUT, code=FAILED, exit_code=137, status_reason="Job attempt duration exceeded timeout")
    assert story.attempt_line(1, late).endswith("MiB. Job attempt duration exceeded timeout.")
    ended = attempt(cause=TERMINATED, code=FAILED, status_reason="Enough.")
    assert story.attempt_line(1, ended).endswith("MiB. Ended on request: Enough.")
    assert story.attempt_line(1, attempt(code=RUNNABLE)).endswith("MiB. The job was tried again.")
    handed_back = attempt(code=RUNNABLE, counts=False, cause=NO_CAPACITY, started=0)
    assert story.attempt_line(1, handed_back).endswith("It was placed again; that attempt does not count.")


def test_why_it_failed() -> None:
    assert story.end_line("no", CANCEL, "no") == "CancelJob asked for its end: no"
    assert story.end_line("no", CANCEL | TERMINATE, "no") == "CancelJob and TerminateJob asked for its end: no"
    assert story.end_line("JobQueue deleted", VOID, "JobQueue deleted") == "JobQueue deleted."
    assert story.end_line("Dependent Job failed", CANCEL, "no") == "Dependent Job failed."
    assert story.end_line(story.NORMAL, 0, "") == ""


def test_children_are_told_by_how_they_ended() -> None:
    spans = [
        EndedRow(0, 3, SUCCEEDED, story.NORMAL, 1),
        EndedRow(3, 4, FAILED, "enough", 1),
        EndedRow(4, 6, FAILED, "enough", 2),
        EndedRow(8, 9, FAILED, "enough", 2),
        EndedRow(6, 8, FAILED, "exited", 2),
    ]
    assert story.children_lines(spans) == [
        "3 children SUCCEEDED.",
        "4 children FAILED (3-5, 8): enough",
        "2 children FAILED (6-7): exited",
    ]
    assert story.children_lines(spans[1:2]) == ["1 child FAILED (3): enough"]


def test_many_ranges_are_counted() -> None:
    spans = [EndedRow(at, at + 1, FAILED, "", 1) for at in range(0, 40, 2)]
    assert story.indexes(spans) == "0, 2, 4, 6, 8, 10, 12, 14, and 12 more ranges"
