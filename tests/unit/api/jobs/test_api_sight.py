"""An answer shows one moment of a job, though World and store go on between the two looks."""

from collections.abc import Callable
from typing import Any

import pytest


def meanwhile(jobs: Any, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """After the next question to World is answered, and before the store is read."""
    ask, left = jobs.service.ask, [happens]

    async def slow(question: Any, *args: Any, **kwargs: Any) -> Any:
        answer = await ask(question, *args, **kwargs)
        while left:
            left.pop()()
        return answer

    monkeypatch.setattr(jobs.service, "ask", slow)


def test_an_attempt_that_ends_meanwhile_is_not_shown_yet(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = jobs.submit(retryStrategy={"attempts": 3})
    jobs.run(job, 1)
    jobs.start(job)
    meanwhile(jobs, monkeypatch, lambda: jobs.finish(job, 2))
    seen = jobs.job(job)
    assert (seen["status"], len(seen["attempts"])) == ("RUNNING", 1)
    assert len(jobs.job(job)["attempts"]) == 2


def test_a_retry_meanwhile_is_not_shown_yet(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    array = jobs.array(2, retryStrategy={"attempts": 3})
    child = f"{array}:1"
    jobs.run(child, 1)

    def happens() -> None:
        jobs.run(child, 2)
        jobs.run(child, 3)

    meanwhile(jobs, monkeypatch, happens)
    seen = jobs.job(child)
    assert (seen["status"], [a["container"]["exitCode"] for a in seen["attempts"]]) == ("RUNNABLE", [1])
    assert jobs.status(child) == ["FAILED"]


def test_a_child_whose_array_ends_meanwhile(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    array = jobs.array(2)
    jobs.run(f"{array}:0")
    meanwhile(jobs, monkeypatch, lambda: jobs.run(f"{array}:1"))
    zero, one, parent = jobs.describe(f"{array}:0", f"{array}:1", array)
    assert (zero["status"], one["status"], parent["status"]) == ("SUCCEEDED", "RUNNABLE", "PENDING")
    assert parent["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 1
    assert jobs.status(array) == ["SUCCEEDED"]


def test_a_job_that_ends_between_its_page_and_the_question_to_world(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter reads the store first."""
    job = jobs.submit()
    jobs.start(job)
    page = jobs.service.reads.page

    async def slow(*args: Any, **kwargs: Any) -> Any:
        rows = await page(*args, **kwargs)
        jobs.finish(job, 0)
        return rows

    monkeypatch.setattr(jobs.service.reads, "page", slow)
    answer = jobs.call("ListJobs", jobQueue="default", filters=[{"name": "JOB_NAME", "values": ["j"]}])
    assert [(item["jobId"], item["status"]) for item in answer["jobSummaryList"]] == [(job, "SUCCEEDED")]


def test_a_job_forgotten_meanwhile_is_left_out(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job, other = jobs.submit(), jobs.submit()
    jobs.run(job)
    jobs.run(other)
    specs = jobs.service.reads.specs

    async def slow(seqs: list[int]) -> Any:
        assert jobs.service.store.prune_jobs(jobs.service.clock + 1, 1) == [job]
        return await specs(seqs)

    monkeypatch.setattr(jobs.service.reads, "specs", slow)
    assert [seen["jobId"] for seen in jobs.describe(job, other)] == [other]
