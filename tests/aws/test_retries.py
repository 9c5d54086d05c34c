"""Retries and time limits over the wire, on real processes.

Sources: API_RetryStrategy, API_EvaluateOnExit; AWS Batch user guide, "Automated job retries", "Job timeouts".
"""

from typing import Any

import pytest
from wire_pipeline import Pipeline, Server

EXITED = "Essential container in task exited"
TIMED_OUT = "Job attempt duration exceeded timeout"


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for the tests of this file; each leaves it empty."""
    return Pipeline(server, tmp_path_factory.mktemp("queue")).queue(vcpus=8)


def shell(pipeline: Pipeline, script: str, **members: Any) -> str:
    return pipeline.definition(["sh", "-c", script], **members)


def retry(attempts: int, *rules: dict[str, str]) -> dict[str, Any]:
    return {"retryStrategy": {"attempts": attempts, "evaluateOnExit": list(rules)}}


def rule(action: str, **conditions: str) -> dict[str, str]:
    """``reason="x*"`` is onReason."""
    names = {"reason": "onReason", "status": "onStatusReason", "code": "onExitCode"}
    return {"action": action, **{names[name]: pattern for name, pattern in conditions.items()}}


def test_each_attempt_knows_its_number_and_is_told_of(pipeline: Pipeline, queue: str) -> None:
    definition = shell(pipeline, 'exit "$((4 - AWS_BATCH_JOB_ATTEMPT))"', **retry(10))
    seen = pipeline.wait(pipeline.submit(queue, definition), "SUCCEEDED")
    attempts = seen["attempts"]
    assert [attempt["container"]["exitCode"] for attempt in attempts] == [3, 2, 1, 0]
    assert [attempt["statusReason"] for attempt in attempts] == [EXITED] * 4
    for member in ("taskArn", "logStreamName"):
        assert len({attempt["container"][member] for attempt in attempts}) == 4
    times = [attempt[name] for attempt in attempts for name in ("startedAt", "stoppedAt")]
    assert times == sorted(times)
    assert seen["createdAt"] <= times[0]
    assert seen["startedAt"] == attempts[-1]["startedAt"]
    assert seen["container"]["taskArn"] == attempts[-1]["container"]["taskArn"]


def test_all_attempts_are_used_up_and_no_more(pipeline: Pipeline, queue: str) -> None:
    seen = pipeline.wait(pipeline.submit(queue, shell(pipeline, "exit 1"), **retry(3)), "FAILED")
    assert len(seen["attempts"]) == 3
    once = pipeline.wait(pipeline.submit(queue, shell(pipeline, "exit 1")), "FAILED")
    assert len(once["attempts"]) == 1


@pytest.mark.parametrize(
    ("rules", "attempts"),
    [
        ([rule("EXIT", code="7")], 1),
        ([rule("exit", code="7")], 1),
        ([rule("EXIT", code="8")], 3),  # no match retries
        ([rule("EXIT", code="70")], 3),
        ([rule("EXIT", code="7*")], 1),
        ([rule("EXIT", code="*")], 1),
        ([rule("RETRY", code="7"), rule("EXIT", reason="*")], 3),
        ([rule("RETRY", status="Host EC2*"), rule("EXIT", reason="*")], 1),  # * matches a reason that is missing
        ([rule("EXIT", reason="AGENT")], 3),
        ([rule("EXIT", status="Essential container*")], 1),
        ([rule("EXIT", status="Essential container")], 3),  # without * the whole text
        ([rule("EXIT", status=EXITED)], 1),
        ([rule("EXIT", code="7", reason="Out*")], 3),  # every condition has to match
        ([rule("EXIT", code="7", status="Essential*")], 1),
        ([rule("RETRY", code="7"), rule("EXIT", code="7")], 3),  # the first match decides
        ([rule("EXIT", code="7"), rule("RETRY", code="7")], 1),
    ],
    ids=str,
)
def test_evaluate_on_exit(pipeline: Pipeline, queue: str, rules: list[dict[str, str]], attempts: int) -> None:
    """Of a job that always exits 7, and may be tried three times."""
    seen = pipeline.wait(pipeline.submit(queue, shell(pipeline, "exit 7"), **retry(3, *rules)), "FAILED")
    assert len(seen["attempts"]) == attempts
    shown = [{**entry, "action": entry["action"].lower()} for entry in rules]
    assert seen["retryStrategy"] == {"attempts": 3, "evaluateOnExit": shown}


@pytest.mark.parametrize(
    ("rules", "attempts"),
    [
        ([], 3),
        ([rule("EXIT", status="Task failed to start")], 1),
        ([rule("RETRY", status="Task failed to start"), rule("EXIT", reason="*")], 3),
        ([rule("EXIT", reason="CannotStartContainerError:*")], 1),
        ([rule("EXIT", code="1*")], 3),  # there is no exit code
        ([rule("EXIT", code="*")], 1),
    ],
    ids=str,
)
def test_a_start_that_fails_is_an_attempt(
    pipeline: Pipeline, queue: str, rules: list[dict[str, str]], attempts: int
) -> None:
    definition = pipeline.definition(["no-such-program"], init=False, **retry(3, *rules))
    seen = pipeline.wait(pipeline.submit(queue, definition), "FAILED")
    assert len(seen["attempts"]) == attempts


def test_the_job_is_runnable_between_two_attempts(pipeline: Pipeline) -> None:
    """Held there by an environment that takes no new jobs."""
    queue = pipeline.queue(vcpus=1)
    gate = pipeline.gate()
    job = pipeline.submit(queue, pipeline.waiting(gate, 'exit "$((2 - AWS_BATCH_JOB_ATTEMPT))"'), **retry(2))
    first = pipeline.wait(job, "RUNNING")
    pipeline.set_environment(queue, state="DISABLED")
    gate.touch()
    between = pipeline.wait(job, "RUNNABLE")
    assert not {"startedAt", "stoppedAt"} & set(between)
    (attempt,) = between["attempts"]
    assert (attempt["container"]["exitCode"], attempt["startedAt"]) == (1, first["startedAt"])
    assert between["createdAt"] == first["createdAt"]
    pipeline.set_environment(queue, state="ENABLED")
    assert len(pipeline.wait(job, "SUCCEEDED")["attempts"]) == 2


def test_time_limits(pipeline: Pipeline, queue: str) -> None:
    """Of each attempt, from its start; never retried; SIGTERM first. All in one, to wait once."""
    limit = {"timeout": {"attemptDurationSeconds": 1}}
    for_ever = pipeline.waiting(pipeline.gate(), **limit, **retry(3))
    polite = shell(pipeline, "trap 'exit 0' TERM; while :; do sleep 0.02; done", **retry(3))
    second = shell(pipeline, 'test "$AWS_BATCH_JOB_ATTEMPT" = 2 || exit 1; exec sleep 600', **limit, **retry(3))
    quick = shell(pipeline, "exit 0", **limit)
    jobs = [
        pipeline.submit(queue, for_ever),
        pipeline.submit(queue, polite, **limit),
        pipeline.submit(queue, second),
    ]
    array = pipeline.submit(queue, for_ever, arrayProperties={"size": 2})
    in_time = pipeline.submit(queue, quick)
    for job, code, attempts in zip((*jobs, f"{array}:1"), (143, 0, 143, 143), (1, 1, 2, 1), strict=True):
        seen = pipeline.wait(job, "FAILED")
        assert seen["statusReason"] == seen["attempts"][-1]["statusReason"] == TIMED_OUT
        assert (len(seen["attempts"]), seen["container"]["exitCode"]) == (attempts, code)
        assert seen["timeout"] == {"attemptDurationSeconds": 1}
        assert (
            995 <= seen["stoppedAt"] - seen["startedAt"] < 30_000
        )  # two wall clock stamps of a limit kept by another clock
        assert not {"isCancelled", "isTerminated"} & set(seen)
    assert pipeline.wait(array, "FAILED")["statusReason"] == "Array Child Job failed"
    pipeline.wait(in_time, "SUCCEEDED")
