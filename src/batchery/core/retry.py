"""What the end of an attempt means: its words, and whether its task is tried again.

Sources: AWS Batch user guide, "Automated job retries" and "Job timeouts"; API_RetryStrategy, API_EvaluateOnExit.
A cancelled, terminated or timed-out job is never retried; an entry of evaluateOnExit matches if all its conditions
do; the first match decides; no match retries. Decision 003.
"""

from typing import Final, NamedTuple

from batchery.core.messages import Exited
from batchery.core.model import (
    EXIT,
    HOST,
    MAIN_ENDED,
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
    ContainerEnd,
    Rule,
    Shape,
)
from batchery.core.status import FAILED, RUNNABLE, SUCCEEDED

EXITED: Final = "Essential container in task exited"
NOT_STARTED: Final = "Task failed to start"
NEVER_BEGAN: Final = "Main node ended before this node began"  #: of a node of a multi-node job; ours
FROM_SERVICE: Final = "Received status from SageMaker: "
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
    MAIN_ENDED: RULES,
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
    recalled: bool = False  #: the CancelJob that met it OFFERED has taken effect


def outcome(
    shape: Shape, attempt: Attempt, job_ask: Asked | None, task_ask: Asked | None, report: Exited, preempted: int = 0
) -> Outcome:
    """Judge the end of an attempt.

    ``job_ask`` and ``task_ask``: what was asked of the job and of this child by its own id; the first words stand,
    and a recall that is still pending came before either. ``preempted``: earlier attempts that were.
    """
    asked = task_ask or job_ask
    kills = [a.at for a in (job_ask, task_ask) if a and a.kind & (TERMINATE | VOID)]
    cause = _cause(attempt, min(kills, default=None), report)
    decisive = _decisive(report.containers)
    exit_code, reason = decisive.exit_code, decisive.reason
    recall = None if report.started or cause == EXIT else attempt.recall
    last = recall or asked
    if cause == PREEMPTED and last is None:
        code = FAILED if 0 <= shape.preemptions <= preempted else RUNNABLE
        return Outcome(code, cause, False, exit_code, reason, attempt.status_reason)
    if MEANING[cause] == AGAIN or (recall and MEANING[cause] == RULES):
        code = FAILED if last else RUNNABLE
        return Outcome(code, cause, False, None, reason, last.reason if last else "", recall is not None)
    if cause == TERMINATED:
        words = last.reason if last else "Terminated"
        return Outcome(FAILED, cause, True, exit_code, reason, words, recall is not None)
    words = service_words(cause, report) if shape.instances else _words(cause, report)
    if cause in (EXIT, MAIN_ENDED) and report.containers and decisive.exit_code == 0:
        return Outcome(SUCCEEDED, cause, True, exit_code, reason, words)
    again = (
        MEANING[cause] == RULES
        and asked is None
        and attempt.used + 1 < shape.attempts
        and not _exits(shape.rules, words, reason, exit_code)
    )
    return Outcome(RUNNABLE if again else FAILED, cause, True, exit_code, reason, words)


def _cause(attempt: Attempt, killed: int | None, report: Exited) -> str:
    """The first cause stands. ``killed``: when a termination was first asked for, ms.

    What never ran was not ended by anybody; a doom is never put upon what is being terminated, so it came first; what
    was over before the termination was asked for ended by itself.
    """
    if report.cause in (WITHDRAWN, NO_CAPACITY):
        return report.cause
    if attempt.doom != NO_CAUSE and report.cause != EXIT:
        return attempt.doom
    if killed is not None and report.at >= killed:
        return TERMINATED
    return report.cause


def _words(cause: str, report: Exited) -> str:
    if cause == MAIN_ENDED:
        cause = report.cause
        if cause != HOST and _decisive(report.containers).exit_code is None:
            return NEVER_BEGAN
    if cause == START_FAILED:
        return NOT_STARTED
    if cause == TIMEOUT:
        return TIMED_OUT
    if cause == UPDATE:
        return "Host EC2 (instance replaced) terminated."
    if cause == HOST:
        return f"Host EC2 (instance {report.host or 'unknown'}) terminated."
    return EXITED


def service_words(cause: str, report: Exited) -> str:
    """Of a service job: what SageMaker says of the training job's end comes first (user guide, "Service job status").

    ``AlgorithmError`` is SageMaker's word for a training script that failed, with what it wrote to its failure file.
    """
    end = _decisive(report.containers)
    if cause == TIMEOUT:
        return TIMED_OUT
    if cause in (HOST, UPDATE):
        return f"{FROM_SERVICE}InternalServerError: {_words(cause, report)}"
    if cause == START_FAILED:
        return f"{FROM_SERVICE}ClientError: {end.reason or NOT_STARTED}"
    if end.exit_code == 0:
        return f"{FROM_SERVICE}Training job completed"
    told = f"{end.reason}, " if end.reason else ""
    return f"{FROM_SERVICE}AlgorithmError: {told}exit code: {end.exit_code}"


def _decisive(containers: tuple[ContainerEnd, ...]) -> ContainerEnd:
    """The container whose code and reason speak for the attempt: of those that decide, in the order of their ends, the
    first that failed, else the first."""
    deciding = [container for container in containers if container.decides] or list(containers)
    for container in deciding:
        if container.exit_code != 0:
            return container
    return deciding[0] if deciding else ContainerEnd("default")


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
