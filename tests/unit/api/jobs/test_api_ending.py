"""CancelJob, TerminateJob and their bulk forms at the edge. The cells of AWS's tables are the core's tests."""

from typing import Any

import pytest

from batchery.api.call import ApiError
from batchery.api.policy import parse
from batchery.core.messages import Many, Refused

ENDING = ["CancelJob", "TerminateJob"]
BULK = ["CancelJobs", "TerminateJobs"]
UNKNOWN = "8d3c1a52-91f4-4b0e-9c56-2f7a8e1d0b43"
START = "arn:aws:batch:us-east-1:123456789012"


@pytest.mark.parametrize("name", ENDING)
def test_a_waiting_job_ends_with_the_callers_words(jobs: Any, name: str) -> None:
    job = jobs.submit()
    # placed jobs are asked back from the engine: fill the environment first
    for other in [jobs.submit() for _ in range(4)]:
        assert jobs.status(other) == ["RUNNABLE"]
    waiting = jobs.submit()
    at = jobs.later()
    assert jobs.call(name, jobId=waiting, reason="Not needed.") == {}
    assert jobs.allowed == [f"{START}:job/{waiting}"]
    seen = jobs.job(waiting)
    assert (seen["status"], seen["statusReason"], seen["attempts"]) == ("FAILED", "Not needed.", [])
    assert seen["stoppedAt"] == at
    flags = {flag: seen.get(flag) for flag in ("isCancelled", "isTerminated")}
    assert flags == {
        "isCancelled": True if name == "CancelJob" else None,
        "isTerminated": True if name == "TerminateJob" else None,
    }
    assert jobs.job(job)["status"] == "RUNNABLE"


@pytest.mark.parametrize("name", ENDING)
@pytest.mark.parametrize("job", ["nonsense", " ", UNKNOWN, "x:y", f"{UNKNOWN}:3", "a#0"])
def test_any_id_that_names_no_job_is_a_success(jobs: Any, name: str, job: str) -> None:
    assert jobs.call(name, jobId=job, reason="r") == {}


@pytest.mark.parametrize("name", ENDING)
def test_an_index_beyond_the_array_is_a_success_without_effect(jobs: Any, name: str) -> None:
    array = jobs.array(2)
    for index in ("2", "01", "-1", ""):
        assert jobs.call(name, jobId=f"{array}:{index}", reason="r") == {}
    assert jobs.status(array, f"{array}:0", f"{array}:1") == ["PENDING", "RUNNABLE", "RUNNABLE"]


@pytest.mark.parametrize("name", ENDING)
def test_reasons(jobs: Any, name: str) -> None:
    job = jobs.submit()
    assert "Reason must be at most 1024 characters" in jobs.refused(name, jobId=job, reason="x" * 1025)
    assert jobs.status(job) == ["RUNNABLE"]
    jobs.call(name, jobId=job, reason="ä" * 1024)


@pytest.mark.parametrize("name", ENDING)
def test_permission_is_asked_for_the_job(jobs: Any, name: str) -> None:
    job = jobs.submit()
    jobs.policy = parse({"Statement": [{"Effect": "Allow", "Action": f"batch:{name}", "Resource": "*:job/other"}]})
    with pytest.raises(ApiError) as caught:
        jobs.call(name, jobId=job, reason="r")
    assert (caught.value.status, caught.value.code) == (403, "AccessDeniedException")
    assert f"perform: batch:{name} on resource: {START}:job/{job}" in caught.value.message
    jobs.policy = None
    assert jobs.status(job) == ["RUNNABLE"]


@pytest.mark.parametrize("name", BULK)
def test_many_at_once(jobs: Any, name: str) -> None:
    ids = [jobs.submit() for _ in range(6)]
    before = jobs.service.world.next_seq
    answer = jobs.call(name, jobs=[ids[5], UNKNOWN, ids[4], ids[5]], reason="Enough")
    assert answer == {"successful": [ids[5], UNKNOWN, ids[4]], "errors": []}
    assert jobs.allowed == [f"{START}:job/{job}" for job in (ids[5], UNKNOWN, ids[4])]
    assert jobs.status(ids[4], ids[5]) == ["FAILED", "FAILED"]
    assert jobs.job(ids[4])["statusReason"] == "Enough"
    assert jobs.service.world.next_seq == before


@pytest.mark.parametrize("name", BULK)
def test_an_error_of_one_is_told_by_its_id(jobs: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def submit(command: Many, note: Any = None) -> Any:
        return [None, Refused("Try again")]

    monkeypatch.setattr(jobs.service, "submit", submit)
    assert jobs.call(name, jobs=["a", "b"], reason="r") == {
        "successful": ["a"],
        "errors": [{"job": "b", "code": "ClientException", "message": "Try again"}],
    }


@pytest.mark.parametrize("name", BULK)
def test_what_a_bulk_form_refuses(jobs: Any, name: str) -> None:
    required = "'jobs' is a required field (cannot be an empty string)"
    assert jobs.refused(name, jobs=[], reason="r") == required
    assert jobs.refused(name, jobs=["a", ""], reason="r") == required
    assert "Maximum number of jobs supported is  50 ." in jobs.refused(name, jobs=["a"] * 51, reason="r")
    assert "at most 1024" in jobs.refused(name, jobs=["a"], reason="x" * 1025)


@pytest.mark.parametrize("name", BULK)
def test_who_may_not_end_one_ends_none(jobs: Any, name: str) -> None:
    mine, other = jobs.submit(), jobs.submit()
    action = f"batch:{name.removesuffix('s')}"
    jobs.policy = parse({"Statement": [{"Effect": "Allow", "Action": action, "Resource": f"*:job/{mine}"}]})
    assert jobs.call(name, jobs=[mine], reason="r")["successful"] == [mine]
    with pytest.raises(ApiError, match=other):
        jobs.call(name, jobs=[mine, other], reason="r")
    jobs.policy = None
    assert jobs.status(other) == ["RUNNABLE"]


def test_terminate_of_a_running_job_shows_at_once_and_stands(jobs: Any) -> None:
    job = jobs.submit()
    jobs.start(job)
    jobs.call("TerminateJob", jobId=job, reason="Stop it")
    seen = jobs.job(job)
    assert (seen["status"], seen["isTerminated"], seen["statusReason"]) == ("RUNNING", True, "Stop it")
    jobs.later()
    jobs.finish(job, 0)
    seen = jobs.job(job)
    assert (seen["status"], seen["statusReason"], seen["container"]["exitCode"]) == ("FAILED", "Stop it", 0)
    assert [attempt["statusReason"] for attempt in seen["attempts"]] == ["Stop it"]
    assert "reason" not in seen["container"]


def test_cancel_of_a_running_job_leaves_no_trace(jobs: Any) -> None:
    job = jobs.submit()
    jobs.start(job)
    jobs.call("CancelJob", jobId=job, reason="Too late")
    seen = jobs.job(job)
    assert "isCancelled" not in seen
    assert "statusReason" not in seen
    jobs.finish(job)
    assert jobs.job(job)["status"] == "SUCCEEDED"


def test_cancel_of_a_pending_job_shows_at_once_and_waits(jobs: Any) -> None:
    first = jobs.submit()
    job = jobs.submit(dependsOn=[{"jobId": first}])
    jobs.call("CancelJob", jobId=job, reason="Never mind")
    seen = jobs.job(job)
    assert (seen["status"], seen["isCancelled"], seen["statusReason"]) == ("PENDING", True, "Never mind")
    assert "stoppedAt" not in seen
    jobs.run(first)
    seen = jobs.job(job)
    assert (seen["status"], seen["isCancelled"], seen["statusReason"]) == ("FAILED", True, "Never mind")
