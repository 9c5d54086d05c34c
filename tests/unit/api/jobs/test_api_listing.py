"""ListJobs: of a queue by status or by filter, of an array, page by page."""

from typing import Any

import pytest

from batchery.core.model import Realm

AWAY = Realm("123456789012", "eu-west-1")


def listed(jobs: Any, **members: Any) -> list[str]:
    """Ids on one page."""
    if "arrayJobId" not in members:
        members.setdefault("jobQueue", "default")
    return [job["jobId"] for job in jobs.call("ListJobs", **members)["jobSummaryList"]]


def paged(jobs: Any, size: int, **members: Any) -> list[list[str]]:
    """Ids on every page."""
    pages, token = [], None
    while True:
        more = {"nextToken": token} if token else {}
        answer = jobs.call("ListJobs", maxResults=size, **members, **more)
        pages.append([job["jobId"] for job in answer["jobSummaryList"]])
        token = answer.get("nextToken")
        if token is None:
            return pages


def filtered(jobs: Any, name: str, value: str, **members: Any) -> list[str]:
    return listed(jobs, filters=[{"name": name, "values": [value]}], **members)


def test_running_is_what_is_listed_if_nothing_is_said(jobs: Any) -> None:
    waiting, running, ended = jobs.submit(), jobs.submit(), jobs.submit()
    jobs.start(running)
    jobs.run(ended)
    assert listed(jobs) == [running]
    assert listed(jobs, jobQueue=jobs.queue_arn) == [running]
    assert listed(jobs, jobStatus="RUNNABLE") == [waiting]
    assert listed(jobs, jobStatus="SUCCEEDED") == [ended]
    assert listed(jobs, jobStatus="FAILED") == []


def test_what_a_summary_says(jobs: Any) -> None:
    job, failed = jobs.submit("one"), jobs.submit("two")
    created = jobs.service.clock
    started = jobs.later()
    jobs.start(job)
    jobs.start(failed)
    stopped = jobs.later()
    jobs.finish(failed, 9, "because")
    definition = jobs.job(job)["jobDefinition"]
    (running,) = jobs.call("ListJobs", jobQueue="default")["jobSummaryList"]
    assert running == {
        "jobArn": f"arn:aws:batch:us-east-1:123456789012:job/{job}",
        "jobId": job,
        "jobName": "one",
        "capacityUsage": [{"capacityUnit": "VCPU", "quantity": 1.0}],
        "createdAt": created,
        "scheduledAt": created,
        "status": "RUNNING",
        "startedAt": started,
        "jobDefinition": definition,
    }
    (ended,) = jobs.call("ListJobs", jobQueue="default", jobStatus="FAILED")["jobSummaryList"]
    assert ended == {
        "jobArn": f"arn:aws:batch:us-east-1:123456789012:job/{failed}",
        "jobId": failed,
        "jobName": "two",
        "capacityUsage": [{"capacityUnit": "VCPU", "quantity": 1.0}],
        "createdAt": created,
        "scheduledAt": created,
        "status": "FAILED",
        "statusReason": "Essential container in task exited",
        "startedAt": started,
        "stoppedAt": stopped,
        "container": {"exitCode": 9, "reason": "because"},
        "jobDefinition": definition,
    }


def test_a_cancelled_job_says_so(jobs: Any) -> None:
    first = jobs.submit()
    job = jobs.submit(dependsOn=[{"jobId": first}])
    jobs.call("CancelJob", jobId=job, reason="No")
    (pending,) = jobs.call("ListJobs", jobQueue="default", jobStatus="PENDING")["jobSummaryList"]
    assert (pending["isCancelled"], pending["statusReason"]) == (True, "No")
    jobs.run(first)
    (ended,) = jobs.call("ListJobs", jobQueue="default", jobStatus="FAILED")["jobSummaryList"]
    assert (ended["isCancelled"], ended["statusReason"]) == (True, "No")
    assert "container" not in ended


def test_pages_of_a_status_newest_first(jobs: Any) -> None:
    ids = [jobs.submit() for _ in range(9)]
    newest = ids[::-1]
    assert paged(jobs, 4, jobQueue="default", jobStatus="RUNNABLE") == [newest[:4], newest[4:8], newest[8:]]
    assert paged(jobs, 3, jobQueue="default", jobStatus="RUNNABLE") == [newest[:3], newest[3:6], newest[6:]]
    for job in ids[:4]:
        jobs.run(job)
    assert paged(jobs, 3, jobQueue="default", jobStatus="SUCCEEDED") == [ids[3:0:-1], ids[:1]]
    assert paged(jobs, 4, jobQueue="default", jobStatus="SUCCEEDED") == [ids[3::-1]]


def test_a_page_stays_where_it_is_though_jobs_come_and_go(jobs: Any) -> None:
    ids = [jobs.submit() for _ in range(4)]
    asked = {"jobQueue": "default", "jobStatus": "RUNNABLE", "maxResults": 2}
    first = jobs.call("ListJobs", **asked)
    jobs.submit()
    jobs.run(ids[1])
    rest = jobs.call("ListJobs", nextToken=first["nextToken"], **asked)
    assert [job["jobId"] for job in rest["jobSummaryList"]] == [ids[0]]


def test_a_token_is_good_for_the_same_question_only(jobs: Any) -> None:
    for _ in range(3):
        jobs.submit()
    token = jobs.call("ListJobs", jobQueue="default", jobStatus="RUNNABLE", maxResults=1)["nextToken"]
    invalid = "The nextToken is not valid for this request."
    for members in (
        {"jobQueue": "default", "jobStatus": "FAILED", "nextToken": token},
        {"jobQueue": jobs.queue_arn, "jobStatus": "RUNNABLE", "nextToken": token},
        {"jobQueue": "default", "jobStatus": "RUNNABLE", "nextToken": token[:-2]},
        {"jobQueue": "default", "jobStatus": "RUNNABLE", "nextToken": "garbage"},
    ):
        assert jobs.refused("ListJobs", **members) == invalid
    other_size = {"jobQueue": "default", "jobStatus": "RUNNABLE", "nextToken": token, "maxResults": 1000}
    assert len(jobs.call("ListJobs", **other_size)["jobSummaryList"]) == 2


def test_arrays_are_listed_and_their_children_are_not(jobs: Any) -> None:
    array = jobs.array(2)
    assert listed(jobs, jobStatus="RUNNABLE") == []
    (parent,) = jobs.call("ListJobs", jobQueue="default", jobStatus="PENDING")["jobSummaryList"]
    assert parent["jobId"] == array
    assert parent["arrayProperties"]["size"] == 2
    assert parent["arrayProperties"]["statusSummary"]["RUNNABLE"] == 2
    assert parent["arrayProperties"]["statusSummaryLastUpdatedAt"] == jobs.service.clock
    jobs.run(f"{array}:0")
    jobs.run(f"{array}:1")
    (parent,) = jobs.call("ListJobs", jobQueue="default", jobStatus="SUCCEEDED")["jobSummaryList"]
    assert parent["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 2
    assert "startedAt" not in parent


def test_children_by_status_open_and_ended(jobs: Any) -> None:
    array = jobs.array(12)
    ids = [f"{array}:{index}" for index in range(12)]
    assert listed(jobs, arrayJobId=array) == []
    jobs.start(ids[1])
    jobs.start(ids[3])
    jobs.run(ids[0], 1)
    assert listed(jobs, arrayJobId=array) == [ids[1], ids[3]]
    assert paged(jobs, 4, arrayJobId=array, jobStatus="RUNNABLE") == [[ids[2], *ids[4:7]], ids[7:11], ids[11:]]
    (failed,) = jobs.call("ListJobs", arrayJobId=array, jobStatus="FAILED")["jobSummaryList"]
    assert (failed["jobId"], failed["arrayProperties"], failed["container"]) == (ids[0], {"index": 0}, {"exitCode": 1})
    assert failed["stoppedAt"] - failed["startedAt"] == 1000

    jobs.finish(ids[1])
    jobs.finish(ids[3])
    for job in (ids[2], *ids[4:]):
        jobs.run(job, 1 if job == ids[7] else 0)
    assert array not in jobs.service.world.jobs
    assert listed(jobs, arrayJobId=array) == []
    assert listed(jobs, arrayJobId=array, jobStatus="FAILED") == [ids[0], ids[7]]
    assert paged(jobs, 1, arrayJobId=array, jobStatus="FAILED") == [[ids[0]], [ids[7]]]
    done = [*ids[1:7], *ids[8:]]
    assert paged(jobs, 4, arrayJobId=array, jobStatus="SUCCEEDED") == [done[:4], done[4:8], done[8:]]
    (first,) = jobs.call("ListJobs", arrayJobId=array, jobStatus="FAILED", maxResults=1)["jobSummaryList"]
    assert (first["container"], first["statusReason"]) == ({"exitCode": 1}, "Essential container in task exited")


def test_what_is_no_array_has_no_children(jobs: Any) -> None:
    plain = jobs.submit()
    for name in (plain, "nonsense"):
        for status in ("RUNNABLE", "SUCCEEDED"):
            assert listed(jobs, arrayJobId=name, jobStatus=status) == []
    jobs.run(plain)
    assert listed(jobs, arrayJobId=plain, jobStatus="SUCCEEDED") == []
    array = jobs.array(2)
    assert jobs.call("ListJobs", AWAY, arrayJobId=array, jobStatus="RUNNABLE")["jobSummaryList"] == []
    jobs.run(f"{array}:0")
    jobs.run(f"{array}:1")
    assert jobs.call("ListJobs", AWAY, arrayJobId=array, jobStatus="SUCCEEDED")["jobSummaryList"] == []


def test_a_retried_childs_exit_code_is_its_last(jobs: Any) -> None:
    array = jobs.array(2, retryStrategy={"attempts": 2})
    jobs.run(f"{array}:0", 5)
    jobs.run(f"{array}:0", 6)
    (child,) = jobs.call("ListJobs", arrayJobId=array, jobStatus="FAILED")["jobSummaryList"]
    assert child["container"] == {"exitCode": 6}


def test_filters_show_every_status(jobs: Any) -> None:
    a, b, c = jobs.submit("Alpha"), jobs.submit("alphabet"), jobs.submit("beta")
    jobs.run(a)
    jobs.start(c)
    assert filtered(jobs, "JOB_NAME", "ALPHA") == [a]
    assert filtered(jobs, "JOB_NAME", "alph*", jobStatus="FAILED") == [b, a]
    assert filtered(jobs, "JOB_NAME", "nothing") == []
    found = jobs.call("ListJobs", jobQueue="default", filters=[{"name": "JOB_NAME", "values": ["*"]}])
    assert [(job["jobId"], job["status"]) for job in found["jobSummaryList"]] == [
        (c, "RUNNING"),
        (b, "RUNNABLE"),
        (a, "SUCCEEDED"),
    ]
    assert found["jobSummaryList"][2]["container"] == {"exitCode": 0}


def test_filters_by_definition_and_by_time(jobs: Any) -> None:
    jobs.register("dough")
    second = jobs.register()
    a = jobs.submit(jobDefinition="d:1")
    at = jobs.later()
    b = jobs.submit(jobDefinition="d")
    jobs.later()
    c = jobs.submit(jobDefinition="dough")
    assert filtered(jobs, "JOB_DEFINITION", "d") == [b, a]
    assert filtered(jobs, "JOB_DEFINITION", "d*") == [c, b, a]
    assert filtered(jobs, "JOB_DEFINITION", "D") == []
    assert filtered(jobs, "JOB_DEFINITION", second) == [b]
    assert filtered(jobs, "BEFORE_CREATED_AT", str(at)) == [a]
    assert filtered(jobs, "AFTER_CREATED_AT", str(at)) == [c]
    assert filtered(jobs, "SHARE_IDENTIFIER", "any") == []


def test_pages_of_a_filter(jobs: Any) -> None:
    ids = [jobs.submit() for _ in range(5)]
    jobs.run(ids[2])
    newest = ids[::-1]
    asked = {"jobQueue": "default", "filters": [{"name": "JOB_NAME", "values": ["j"]}]}
    assert paged(jobs, 2, **asked) == [newest[:2], newest[2:4], newest[4:]]


def test_filters_do_not_apply_to_children(jobs: Any) -> None:
    array = jobs.array(2)
    jobs.start(f"{array}:1")
    assert filtered(jobs, "JOB_NAME", "nothing", arrayJobId=array) == [f"{array}:1"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "Exactly one of"),
        ({"jobQueue": "default", "arrayJobId": "a"}, "Exactly one of"),
        ({"multiNodeJobId": "a", "arrayJobId": "a"}, "Exactly one of"),
        ({"jobQueue": "nope"}, "JobQueue nope not found."),
        ({"jobQueue": "default", "maxResults": 0}, "between 1 and 1000"),
        ({"jobQueue": "default", "maxResults": 1001}, "between 1 and 1000"),
        (
            {"jobQueue": "default", "maxResults": 101, "filters": [{"name": "JOB_NAME", "values": ["a"]}]},
            "between 1 and 100",
        ),
        ({"jobQueue": "default", "filters": [{"name": "job_name", "values": ["a"]}]}, "Filter name must be one of"),
        ({"jobQueue": "default", "filters": [{"name": "JOB_NAME"}]}, "exactly one value"),
        ({"jobQueue": "default", "filters": [{"values": ["a"]}]}, "must have a name"),
        ({"jobQueue": "default", "filters": [{"name": "JOB_NAME", "values": ["a", "b"]}]}, "exactly one value"),
        ({"jobQueue": "default", "filters": [{"name": "JOB_NAME", "values": ["a"]}] * 2}, "At most one filter"),
        (
            {"jobQueue": "default", "filters": [{"name": "AFTER_CREATED_AT", "values": ["today"]}]},
            "milliseconds since the epoch",
        ),
    ],
)
def test_refusals(jobs: Any, members: dict[str, Any], words: str) -> None:
    assert words in jobs.refused("ListJobs", **members)
