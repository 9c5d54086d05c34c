"""Draw the legal moves of a task into docs/states.md, from the table that the core asserts them by.

python tools/diagrams.py            write docs/states.md
python tools/diagrams.py --check    exit 1 if it is not what the core says
"""

import sys
from pathlib import Path

from batchery.core.status import CODE_NAMES, CODES, ENDED, LATENT, LIVE, MOVES, SHOWN, SUBMITTED

PAGE = Path(__file__).parents[1] / "docs" / "states.md"

#: Why each move is made.
WHY: dict[tuple[str, str], str] = {
    ("SUBMITTED", "PENDING"): "the scheduler looks at it",
    ("SUBMITTED", "FAILED"): "cancelled, or its queue deleted",
    ("PENDING", "RUNNABLE"): "every dependency SUCCEEDED",
    ("PENDING", "CLOSING"): "cancelled, or terminated",
    ("PENDING", "FAILED"): "a dependency FAILED, a fault found late, or its queue deleted",
    ("CLOSING", "FAILED"): "all dependencies have ended",
    ("RUNNABLE", "OFFERED"): "placed, so an engine has it",
    ("RUNNABLE", "FAILED"): "cancelled, terminated, or its queue deleted",
    ("OFFERED", "STARTING"): "the engine begins it",
    ("OFFERED", "RUNNING"): "its containers run",
    ("OFFERED", "RUNNABLE"): "handed back, or tried again",
    ("OFFERED", "SUCCEEDED"): "exit 0, and the start was never heard of",
    ("OFFERED", "FAILED"): "given back after a cancel, or failed for good",
    ("STARTING", "RUNNING"): "its containers run",
    ("STARTING", "RUNNABLE"): "tried again",
    ("STARTING", "SUCCEEDED"): "exit 0, and the start was never heard of",
    ("STARTING", "FAILED"): "failed for good",
    ("RUNNING", "RUNNABLE"): "tried again",
    ("RUNNING", "SUCCEEDED"): "exit 0",
    ("RUNNING", "FAILED"): "failed for good, terminated, or out of time",
    ("OFFERED", "NODE_SUCCEEDED"): "a node: exit 0, and the start was never heard of",
    ("OFFERED", "NODE_FAILED"): "a node: failed, or its main node ended before it began",
    ("STARTING", "NODE_SUCCEEDED"): "a node: exit 0, and the start was never heard of",
    ("STARTING", "NODE_FAILED"): "a node: failed, or stopped",
    ("RUNNING", "NODE_SUCCEEDED"): "a node: exit 0",
    ("RUNNING", "NODE_FAILED"): "a node: failed, or stopped",
    ("NODE_SUCCEEDED", "RUNNABLE"): "its job is tried again",
    ("NODE_SUCCEEDED", "SUCCEEDED"): "its job has ended",
    ("NODE_FAILED", "RUNNABLE"): "its job is tried again",
    ("NODE_FAILED", "FAILED"): "its job has ended",
}

HEAD = """\
# The states of a task

Drawn by `make diagrams` from the table `MOVES` in `src/batchery/core/status.py`; every change of a status is checked
against that table when it is made.

A task is a plain job, one child of an array, or one node of a multi-node job. The status of an array itself
is SUBMITTED, then PENDING until all its children have ended; a multi-node job is what its main node is.

"""


def page() -> str:
    """The whole of docs/states.md."""
    moves = sorted(MOVES)
    named = {(CODE_NAMES[old], CODE_NAMES[new]) for old, new in moves}
    assert named == set(WHY), f"moves without a reason, or reasons without a move: {named ^ set(WHY)}"
    used = sorted({code for move in moves for code in move})
    lines = [HEAD + "```mermaid", "stateDiagram-v2", f"    [*] --> {CODE_NAMES[SUBMITTED]}: SubmitJob"]
    for old, new in moves:
        one, other = CODE_NAMES[old], CODE_NAMES[new]
        lines.append(f"    {one} --> {other}: {WHY[one, other]}")
    lines += [f"    {CODE_NAMES[code]} --> [*]" for code in used if code in ENDED]
    lines += ["```", "", "| code | shown as | |", "|---|---|---|"]
    lines += [f"| {CODE_NAMES[code]} | {SHOWN[code]} | {_kind(code)} |" for code in used]
    lines += ["", "| from | to | because |", "|---|---|---|"]
    lines += [
        f"| {CODE_NAMES[old]} | {CODE_NAMES[new]} | {WHY[CODE_NAMES[old], CODE_NAMES[new]]} |" for old, new in moves
    ]
    unused = [CODE_NAMES[code] for code in CODES if code not in used]
    lines += ["", "Reserved and not yet served: " + ", ".join(unused) + "."]
    return "\n".join(lines) + "\n"


def _kind(code: int) -> str:
    if code in LATENT:
        return "waits; never stored, but derived from its job and its dependencies"
    return "an engine has it" if code in LIVE else "ended; stored, and final"


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        fresh = PAGE.exists() and PAGE.read_text() == page()
        if not fresh:
            print(f"{PAGE.name} is stale: run make diagrams", file=sys.stderr)
        return 0 if fresh else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
