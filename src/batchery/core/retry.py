"""What the end of an attempt means: its words, and whether its task is tried again.

Sources: AWS Batch user guide, "Automated job retries" and "Job timeouts"; API_RetryStrategy, API_EvaluateOnExit.
A cancelled, terminated or timed-out job is never retried; an entry of evaluateOnExit matches if all its conditions
do; the first match decides; no match retries. Decision 003.
"""

from typing import Final, NamedTuple

from batchery.core.messages import ContainerEnd, Exited
from batchery.core.model import (
    EXIT,
    HOST,
    NO_CAPACITY,
    NO_CAUSE,
    PREEMPTED,
    START_FAILED,
    TERMINATE,
    TERMINATED,
    TIMEOUT,
    UPDATE,
    VOID,
    WITHDRAWN,
    Asked,
    Attempt,
    Rule,
    Shape,
)
from batchery.core.status import FAILED, RUNNABLE, SUCCEEDED

EXITED: Final = "Essential container in task exited"
NOT_STARTED: Final = "Task failed to start"
TIMED_OUT: Final = "Job attempt duration exceeded timeout"

# What a cause means for a task that did not succeed.
ENDS: Final = "ENDS"  #: FAILED, whatever is left of its attempts
RULES: Final = "RULES"  #: as retryStrategy says
AGAIN: Final = "AGAIN"  #: RUNNABLE; no attempt was used

MEANING: Final = {
    EXIT: RULES,
    START_FAILED: RULES,
    HOST: RULES,
    UPDATE: RULES,
    TERMINATED: ENDS,
    TIMEOUT: ENDS,
    WITHDRAWN: AGAIN,
    NO_CAPACITY: AGAIN,
    PREEMPTED: AGAIN,
}


class Outcome(NamedTuple):
    """``code``: RUNNABLE, SUCCEEDED or FAILED. ``counts``: one of the job's attempts was used."""

    code: int
    cause: str
    counts: bool
    exit_code: int | None
    reason: str
    status_reason: str


def outcome(shape: Shape, attempt: Attempt, job_ask: Asked | None, task_ask: Asked | None, report: Exited) -> Outcome:
    """Judge the end of an attempt.

    ``job_ask`` and ``task_ask``: what was asked of the job and of this child by its own id; the first words stand.
    """
    asked = job_ask or task_ask
    killed_by = next((a for a in (job_ask, task_ask) if a and a.kind & (TERMINATE | VOID)), None)
    cause = _cause(attempt, killed_by, report)
    decisive = _decisive(report.containers)
    exit_code, reason = decisive.exit_code, decisive.reason
    if MEANING[cause] == AGAIN:
        last = attempt.recall or asked
        code = FAILED if last else RUNNABLE
        return Outcome(code, cause, False, None, reason, last.reason if last else "")
    if cause == TERMINATED:
        words = asked.reason if asked else "Terminated"
        return Outcome(FAILED, cause, True, exit_code, reason, words)
    words = _words(cause, report)
    if cause == EXIT and all(c.exit_code == 0 for c in report.containers):
        return Outcome(SUCCEEDED, cause, True, exit_code, reason, words)
    again = (
        MEANING[cause] == RULES
        and asked is None
        and attempt.used + 1 < shape.attempts
        and not _exits(shape.rules, words, reason, exit_code)
    )
    return Outcome(RUNNABLE if again else FAILED, cause, True, exit_code, reason, words)


def _cause(attempt: Attempt, killed_by: Asked | None, report: Exited) -> str:
    """The first cause stands: what the engine knows not to have run, then a termination, a doom, its own words."""
    if report.cause in (WITHDRAWN, NO_CAPACITY):
        return report.cause
    if killed_by is not None and not (report.cause == EXIT and report.at < killed_by.at):
        return TERMINATED
    if attempt.doom != NO_CAUSE and report.cause != EXIT:
        return attempt.doom
    return report.cause


def _words(cause: str, report: Exited) -> str:
    if cause == START_FAILED:
        return NOT_STARTED
    if cause == TIMEOUT:
        return TIMED_OUT
    if cause == HOST:
        return f"Host EC2 (instance {report.host or 'unknown'}) terminated."
    return EXITED


def _decisive(containers: tuple[ContainerEnd, ...]) -> ContainerEnd:
    """The container whose code and reason speak for the attempt: the first that failed, else the first."""
    for container in containers:
        if container.exit_code != 0:
            return container
    return containers[0] if containers else ContainerEnd("default")


def _exits(rules: tuple[Rule, ...], status_reason: str, reason: str, exit_code: int | None) -> bool:
    for rule in rules:
        if matches(rule, status_reason, reason, exit_code):
            return rule.action == "EXIT"
    return False


def matches(rule: Rule, status_reason: str, reason: str, exit_code: int | None) -> bool:
    """Every condition that the entry has must match; an entry without conditions matches all."""
    code = "" if exit_code is None else str(exit_code)
    return (
        _matches(rule.on_status_reason, status_reason)
        and _matches(rule.on_reason, reason)
        and _matches(rule.on_exit_code, code)
    )


def _matches(pattern: str | None, text: str) -> bool:
    """Exact, or a prefix with a final ``*``; a missing text is empty, so that ``*`` matches it."""
    if pattern is None:
        return True
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text == pattern
