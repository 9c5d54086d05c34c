"""The states of a task, the legal moves between them, and the tables that settle and cancel.

Codes below ten fit in the low four bits of a byte; how the dependencies of a task look from outside (its *gate*)
takes the next two bits. So "what becomes of this task now" is one table over ``status | gate``, and for an array of
ten thousand children it is one ``bytes.translate``.

Seven codes are what AWS shows. Five more look outside like one of those seven:

* CLOSING  (shown PENDING):  asked to cancel, and waits until all its dependencies have ended.
* OFFERED  (shown RUNNABLE): an engine has it and has not begun it.
* SCHEDULED: of no task. What OFFERED looks like of a service job has its name (SERVICE_CODES).
* NODE_SUCCEEDED, NODE_FAILED (shown SUCCEEDED, FAILED): a node of a multi-node job has ended and its job goes on; a
  retry of the job runs it again, so this is no end.

Source: AWS Batch user guide, "Job states"; API_CancelJob ("a PENDING job is cancelled after all dependency jobs are
completed"). Decision 001.
"""

from typing import Final

SUBMITTED: Final = 0
PENDING: Final = 1
RUNNABLE: Final = 2
STARTING: Final = 3
RUNNING: Final = 4
SUCCEEDED: Final = 5
FAILED: Final = 6
CLOSING: Final = 7
OFFERED: Final = 8
SCHEDULED: Final = 9
NODE_SUCCEEDED: Final = 10
NODE_FAILED: Final = 11

CODES: Final = range(12)
CODE_NAMES: Final = (
    "SUBMITTED",
    "PENDING",
    "RUNNABLE",
    "STARTING",
    "RUNNING",
    "SUCCEEDED",
    "FAILED",
    "CLOSING",
    "OFFERED",
    "SCHEDULED",
    "NODE_SUCCEEDED",
    "NODE_FAILED",
)

#: What a code looks like through the AWS API, by code.
SHOWN: Final = (*CODE_NAMES[:7], "PENDING", "RUNNABLE", "SCHEDULED", "SUCCEEDED", "FAILED")
#: The seven names AWS uses, in the order of a job's life.
AWS_STATUSES: Final = CODE_NAMES[:7]
#: The codes behind each AWS status.
CODES_SHOWN_AS: Final = {name: tuple(c for c in CODES if SHOWN[c] == name) for name in AWS_STATUSES}

#: The codes behind each status of a service job: what an engine has and has not begun is SCHEDULED.
SERVICE_CODES: Final = {
    **CODES_SHOWN_AS,
    "RUNNABLE": (RUNNABLE,),
    "SCHEDULED": (OFFERED,),
}

LATENT: Final = frozenset({SUBMITTED, PENDING, RUNNABLE, CLOSING})
LIVE: Final = frozenset({OFFERED, STARTING, RUNNING})
ENDED: Final = frozenset({SUCCEEDED, FAILED})
NODE_ENDED: Final = frozenset({NODE_SUCCEEDED, NODE_FAILED})
OPEN: Final = tuple(code for code in CODES if code not in ENDED)

#: Every legal move of a task. `apply` asserts it; the diagram in docs/states.md is drawn from it.
MOVES: Final = frozenset(
    {
        (SUBMITTED, PENDING),
        (SUBMITTED, FAILED),
        (PENDING, RUNNABLE),
        (PENDING, CLOSING),
        (PENDING, FAILED),
        (CLOSING, FAILED),
        (RUNNABLE, OFFERED),
        (RUNNABLE, FAILED),
        (OFFERED, STARTING),
        (OFFERED, RUNNING),
        (OFFERED, RUNNABLE),
        (OFFERED, SUCCEEDED),
        (OFFERED, FAILED),
        (STARTING, RUNNING),
        (STARTING, RUNNABLE),
        (STARTING, SUCCEEDED),
        (STARTING, FAILED),
        (RUNNING, RUNNABLE),
        (RUNNING, SUCCEEDED),
        (RUNNING, FAILED),
        (OFFERED, NODE_SUCCEEDED),
        (OFFERED, NODE_FAILED),
        (STARTING, NODE_SUCCEEDED),
        (STARTING, NODE_FAILED),
        (RUNNING, NODE_SUCCEEDED),
        (RUNNING, NODE_FAILED),
        (NODE_SUCCEEDED, RUNNABLE),
        (NODE_SUCCEEDED, SUCCEEDED),
        (NODE_FAILED, RUNNABLE),
        (NODE_FAILED, FAILED),
    }
)

# How the dependencies of a task look from outside.
MET: Final = 0x00
WAIT: Final = 0x10  #: at least one has not ended
BROKEN: Final = 0x20  #: at least one FAILED


def table(entries: dict[int, int]) -> bytes:
    """A 256-byte translation table: ``entries``, and every other byte stays as it is."""
    return bytes(entries.get(code, code) for code in range(256))


def _settle() -> bytes:
    entries = {
        PENDING: RUNNABLE,
        PENDING | WAIT: PENDING,
        PENDING | BROKEN: FAILED,
        PENDING | WAIT | BROKEN: FAILED,
        CLOSING: FAILED,
        CLOSING | WAIT: CLOSING,
        CLOSING | BROKEN: FAILED,
        CLOSING | WAIT | BROKEN: CLOSING,
    }
    for code in CODES:  # whatever does not wait for dependencies keeps its code, whatever its gate
        for gate in (MET, WAIT, BROKEN, WAIT | BROKEN):
            entries.setdefault(code | gate, code)
    return table(entries)


#: status | gate -> status. The CLOSING lines are the rule "cancelled after ALL its dependency jobs are completed".
SETTLE: Final = _settle()
#: The same table with the gate fixed, for arrays whose children all look at the same dependencies.
SETTLE_AT: Final = {
    gate: table({code: SETTLE[code | gate] for code in CODES}) for gate in (MET, WAIT, BROKEN, WAIT | BROKEN)
}
#: CancelJob and, for what has not begun, TerminateJob. OFFERED tasks are asked back from the engine instead.
CANCEL: Final = table({SUBMITTED: FAILED, RUNNABLE: FAILED, PENDING: CLOSING})
#: The queue is gone, or the job was found to be impossible: nothing waits for anything.
VOID: Final = table({SUBMITTED: FAILED, RUNNABLE: FAILED, PENDING: FAILED, CLOSING: FAILED})


def ended_by(moves: bytes) -> tuple[int, ...]:
    """The codes from which a table leads to FAILED at once."""
    return tuple(code for code in CODES if code != FAILED and moves[code] == FAILED)


#: How a task that others depend on looks to them.
LOOK: Final = table({c: MET if c == SUCCEEDED else BROKEN if c == FAILED else WAIT for c in CODES})

#: One-byte strings by code: the status of a plain job. CPython keeps one object of each, so they cost nothing.
ONE: Final = tuple(bytes([code]) for code in CODES)


def summary(status: bytes | bytearray) -> dict[str, int]:
    """Count the tasks by AWS status. Always all seven names, as `statusSummary` has them."""
    return {name: sum(status.count(code) for code in codes) for name, codes in CODES_SHOWN_AS.items()}


def spans(mask: bytes | bytearray) -> tuple[tuple[int, int], ...]:
    """The runs of non-zero bytes in ``mask`` as half-open ranges ``(first, end)``; bytes are 0 or 1."""
    out = []
    at = mask.find(1)
    while at >= 0:
        end = mask.find(0, at)
        if end < 0:
            end = len(mask)
        out.append((at, end))
        at = mask.find(1, end)
    return tuple(out)


def spans_of(status: bytes | bytearray, codes: frozenset[int] | tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """The index ranges in ``status`` whose code is one of ``codes``."""
    return spans(status.translate(_mask(frozenset(codes))))


_MASKS: dict[frozenset[int], bytes] = {}


def _mask(codes: frozenset[int]) -> bytes:
    found = _MASKS.get(codes)
    if found is None:
        found = _MASKS[codes] = bytes(1 if code in codes else 0 for code in range(256))
    return found
