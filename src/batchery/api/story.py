"""How a job ended, in sentences, from its rows: what `batchery why` says once there is nothing left to wait for."""

import signal
from collections.abc import Iterable

from batchery.core.model import CANCEL, TERMINATE, TERMINATED
from batchery.core.status import FAILED, RUNNABLE, SHOWN, SUCCEEDED
from batchery.spec.names import name_of
from batchery.store.store import AttemptRow, EndedRow, JobRow

#: statusReason of whatever ran and ended by itself; the exit code says more.
NORMAL = "Essential container in task exited"
#: Children named one by one in a line; more are counted.
NAMED = 8


def duration(ms: int) -> str:
    """``0.05 s``, ``12.3 s``, ``4 min 5 s``, ``3 h 20 min``, ``2 d 4 h``."""
    if ms < 1000:
        return f"{ms / 1000:.2f} s"
    seconds = ms // 1000
    if seconds < 60:
        return f"{ms / 1000:.1f} s"
    for size, unit, small, small_unit in ((60, "min", 1, "s"), (3600, "h", 60, "min"), (86400, "d", 3600, "h")):
        if seconds < size * (24 if unit == "h" else 60) or unit == "d":
            return f"{seconds // size} {unit} {seconds % size // small} {small_unit}"
    raise AssertionError("unreachable")


def exit_words(code: int | None) -> str:
    """``exit code 3``; ``exit code 143, killed by SIGTERM``; without a code, ``no exit code``."""
    if code is None:
        return "no exit code"
    try:
        name = signal.Signals(code - 128).name if code > 128 else ""
    except ValueError:
        name = ""
    return f"exit code {code}" + (f", killed by {name}" if name else "")


def attempt_line(number: int, row: AttemptRow) -> str:
    """One attempt that is over, in a sentence or three. ``number`` counts from 1."""
    where = name_of(row.environment)
    if row.started:
        ran = duration(row.stopped - row.started)
        text = f"Attempt {number} ran {ran} on {where}: {exit_words(row.exit_code)}"
        text += f"; CPU time {duration(row.cpu_ms)}, peak memory {row.peak_mib} MiB."
    else:
        text = f"Attempt {number} on {where} never ran."
    said = "; ".join(part.rstrip(".") for part in (row.status_reason, row.reason) if part and part != NORMAL)
    if row.cause == TERMINATED:
        text += f" Ended on request: {said}." if said else " Ended on request."
    elif said:
        text += f" {said}."
    if row.code == RUNNABLE:
        text += " The job was tried again." if row.counts else " It was placed again; that attempt does not count."
    return text


def end_line(reason: str, kind: int, asked_reason: str) -> str:
    """Why it FAILED, in a sentence: ``kind`` and ``asked_reason`` are what was asked of it; "" if attempts tell."""
    who = " and ".join(name for bit, name in ((CANCEL, "CancelJob"), (TERMINATE, "TerminateJob")) if kind & bit)
    if who and reason == asked_reason:
        return f"{who} asked for its end: {reason}"
    return "" if reason == NORMAL else reason.rstrip(".") + "."


def dependency_lines(rows: Iterable[JobRow]) -> list[str]:
    """Which of the jobs that it needed FAILED."""
    return [f"It depends on {row.id} ({row.name}), which FAILED: {row.reason}" for row in rows if row.code == FAILED]


def children_lines(spans: list[EndedRow]) -> list[str]:
    """Of an array: how many ended in which way, and which of the FAILED ones."""
    ways: dict[tuple[int, str], list[EndedRow]] = {}
    for span in spans:
        ways.setdefault((span.code, span.reason), []).append(span)
    lines = []
    for (code, reason), alike in sorted(ways.items(), key=lambda way: way[0][0]):
        count = sum(span.end - span.first for span in alike)
        which = "" if code == SUCCEEDED else f" ({indexes(alike)})"
        why = "" if reason == NORMAL and code == SUCCEEDED else f": {reason}"
        lines.append(f"{count} {'child' if count == 1 else 'children'} {SHOWN[code]}{which}{why or '.'}")
    return lines


def indexes(spans: list[EndedRow]) -> str:
    """``3, 7-9``; at most NAMED ranges."""
    joined: list[list[int]] = []
    for span in sorted(spans, key=lambda span: span.first):
        if joined and joined[-1][1] == span.first:
            joined[-1][1] = span.end
        else:
            joined.append([span.first, span.end])
    ranges = [str(first) if end == first + 1 else f"{first}-{end - 1}" for first, end in joined]
    more = [f"and {len(ranges) - NAMED} more ranges"] if len(ranges) > NAMED else []
    return ", ".join(ranges[:NAMED] + more)
