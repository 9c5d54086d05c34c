"""ListJobs over the wire: pages of two, exact totals, order, filters. Source: API_ListJobs."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

STATUSES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")


class Stock:
    """A queue with jobs in every status but SUBMITTED; ``jobs`` has the ids of each, oldest first."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.gate, self.starting = pipeline.gate(), pipeline.gate()
        self.queue = pipeline.queue(vcpus=60)
        self.waiting, self.quick = pipeline.waiting(self.gate), pipeline.definition(["true"])
        self.failing = pipeline.definition(["false"])
        slow_start = {"environment": [{"name": "STARTING_GATE", "value": str(self.starting)}]}
        too_large = {"resourceRequirements": [{"type": "VCPU", "value": "61"}]}
        self.jobs: dict[str, list[str]] = {"SUBMITTED": []}
        self.jobs["SUCCEEDED"] = [self.submit(f"Done-{number}", self.quick) for number in range(5)]
        self.jobs["FAILED"] = [self.submit(f"failed-{number}", self.failing) for number in range(5)]
        self.jobs["RUNNING"] = [self.submit(f"run-{number}", self.waiting) for number in range(5)]
        needs = [{"jobId": self.jobs["RUNNING"][0]}]
        self.jobs["PENDING"] = [self.submit(f"wait-{number}", self.quick, dependsOn=needs) for number in range(4)]
        self.jobs["RUNNABLE"] = [self.submit("large", self.quick, containerOverrides=too_large) for _ in range(3)]
        self.jobs["STARTING"] = [self.submit("slow", self.waiting, containerOverrides=slow_start) for _ in range(3)]
        self.array = self.submit("wait-array", self.waiting, arrayProperties={"size": 5})
        self.jobs["PENDING"].append(self.array)
        until(lambda: pipeline.counts(self.array) == {"RUNNING": 5}, "its children run")
        for status, jobs in self.jobs.items():
            for job in jobs:
                pipeline.wait(job, status)

    def submit(self, name: str, definition: str, **members: Any) -> str:
        reply = self.pipeline.batch.submit_job(jobName=name, jobQueue=self.queue, jobDefinition=definition, **members)
        return str(reply["jobId"])

    def pages(self, size: int = 2, **members: Any) -> list[list[dict[str, Any]]]:
        paginator = self.pipeline.batch.get_paginator("list_jobs")
        pages = paginator.paginate(PaginationConfig={"PageSize": size}, **members)
        return [page["jobSummaryList"] for page in pages]

    def ids(self, **members: Any) -> list[str]:
        return [job["jobId"] for page in self.pages(**members) for job in page]

    def named(self, value: str) -> list[str]:
        return self.ids(jobQueue=self.queue, filters=[{"name": "JOB_NAME", "values": [value]}])

    @property
    def newest_first(self) -> list[str]:
        order = ("SUCCEEDED", "FAILED", "RUNNING")
        first = [job for status in order for job in self.jobs[status]]
        rest = [*self.jobs["PENDING"][:4], *self.jobs["RUNNABLE"], *self.jobs["STARTING"], self.array]
        return [*first, *rest][::-1]


@pytest.fixture(scope="module")
def stock(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    made = Stock(Pipeline(server, tmp_path_factory.mktemp("stock")))
    yield made
    made.gate.touch()
    made.starting.touch()


# ------------------------------------------------------------------------------------------------------- by status


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_newest_first_two_by_two(stock: Stock, status: str) -> None:
    expected = stock.jobs[status][::-1]
    pages = stock.pages(jobQueue=stock.queue, jobStatus=status)
    assert [len(page) for page in pages] == {5: [2, 2, 1], 3: [2, 1], 0: [0]}[len(expected)]
    found = [job for page in pages for job in page]
    assert [job["jobId"] for job in found] == expected
    for job in found:
        assert job["status"] == status
        detail = stock.pipeline.job(job["jobId"])
        for name in ("jobArn", "jobName", "createdAt", "jobDefinition"):
            assert job[name] == detail[name]
        for name in ("startedAt", "stoppedAt", "statusReason"):
            assert job.get(name) == detail.get(name)
    created = [job["createdAt"] for job in found]
    assert created == sorted(created, reverse=True)


def test_running_is_what_is_listed_if_nothing_is_said(stock: Stock) -> None:
    assert stock.ids(jobQueue=stock.queue) == stock.jobs["RUNNING"][::-1]
    arn = stock.pipeline.job(stock.array)["jobQueue"]
    assert stock.ids(jobQueue=arn) == stock.jobs["RUNNING"][::-1]


def test_what_a_summary_tells(stock: Stock) -> None:
    (done, *_), *_ = stock.pages(jobQueue=stock.queue, jobStatus="SUCCEEDED")
    assert set(done) == {
        "jobArn", "jobId", "jobName", "createdAt", "status", "statusReason", "startedAt", "stoppedAt",
        "container", "jobDefinition", "capacityUsage", "scheduledAt",
    }  # fmt: skip
    assert done["createdAt"] <= done["scheduledAt"] <= done["startedAt"] <= done["stoppedAt"]
    assert done["capacityUsage"] == [{"capacityUnit": "VCPU", "quantity": 1.0}]
    (large, *_), *_ = stock.pages(jobQueue=stock.queue, jobStatus="RUNNABLE")
    assert large["capacityUsage"] == [{"capacityUnit": "VCPU", "quantity": 61.0}]
    assert "scheduledAt" not in large
    (runs, *_), *_ = stock.pages(jobQueue=stock.queue, jobStatus="RUNNING")
    assert runs["scheduledAt"] <= runs["startedAt"]
    assert done["container"] == {"exitCode": 0}
    (failed, *_), *_ = stock.pages(jobQueue=stock.queue, jobStatus="FAILED")
    assert failed["container"] == {"exitCode": 1}
    (parent, *_), *_ = stock.pages(jobQueue=stock.queue, jobStatus="PENDING")
    assert parent["jobId"] == stock.array
    counts = dict.fromkeys(STATUSES, 0) | {"RUNNING": 5}
    assert parent["arrayProperties"].pop("statusSummaryLastUpdatedAt") >= parent["createdAt"]
    assert parent["arrayProperties"] == {"size": 5, "statusSummary": counts}


def test_a_page_of_exactly_all_is_the_last(stock: Stock) -> None:
    reply = stock.pipeline.batch.list_jobs(jobQueue=stock.queue, maxResults=5)
    assert len(reply["jobSummaryList"]) == 5
    assert "nextToken" not in reply
    reply = stock.pipeline.batch.list_jobs(jobQueue=stock.queue, maxResults=4)
    rest = stock.pipeline.batch.list_jobs(jobQueue=stock.queue, maxResults=4, nextToken=reply["nextToken"])
    assert [job["jobId"] for job in rest["jobSummaryList"]] == stock.jobs["RUNNING"][:1]
    assert "nextToken" not in rest


def test_a_token_is_good_for_what_it_was_made_for_alone(stock: Stock) -> None:
    token = stock.pipeline.batch.list_jobs(jobQueue=stock.queue, maxResults=2)["nextToken"]
    with pytest.raises(ClientError, match="oken"):
        stock.pipeline.batch.list_jobs(jobQueue=stock.queue, jobStatus="FAILED", nextToken=token)


# -------------------------------------------------------------------------------------------------------- by filter


def test_a_filter_shows_every_status(stock: Stock) -> None:
    pages = stock.pages(jobQueue=stock.queue, filters=[{"name": "JOB_NAME", "values": ["*"]}])
    assert [len(page) for page in pages] == [2] * 13
    found = [job for page in pages for job in page]
    assert [job["jobId"] for job in found] == stock.newest_first
    status_of = {job: status for status, jobs in stock.jobs.items() for job in jobs}
    assert all(job["status"] == status_of[job["jobId"]] for job in found)


def test_a_filter_goes_before_a_status(stock: Stock) -> None:
    filters = [{"name": "JOB_NAME", "values": ["Done-*"]}]
    assert stock.ids(jobQueue=stock.queue, jobStatus="FAILED", filters=filters) == stock.jobs["SUCCEEDED"][::-1]


def test_names_are_compared_without_case_and_by_prefix(stock: Stock) -> None:
    assert stock.named("done-3") == stock.named("DONE-3") == [stock.jobs["SUCCEEDED"][3]]
    assert stock.named("LARGE") == stock.jobs["RUNNABLE"][::-1]
    assert stock.named("done-*") == stock.jobs["SUCCEEDED"][::-1]
    assert stock.named("wait-*") == stock.jobs["PENDING"][::-1]
    assert stock.named("done") == stock.named("*-3") == stock.named("done_*") == stock.named("nothing*") == []


def test_definitions_are_compared_by_name_or_arn(stock: Stock) -> None:
    def by(value: str) -> list[str]:
        return stock.ids(jobQueue=stock.queue, filters=[{"name": "JOB_DEFINITION", "values": [value]}])

    failed = stock.jobs["FAILED"][::-1]
    name = stock.failing.rpartition("/")[2].partition(":")[0]
    assert by(name) == by(stock.failing) == by(name[:-1] + name[-1] + "*") == failed
    assert by("def-*") == stock.newest_first
    assert by(name.upper()) == by(stock.failing.replace(":1", ":2")) == by("de") == []


def test_times_of_creation_bound_the_list(stock: Stock) -> None:
    created = {job: stock.pipeline.job(job)["createdAt"] for job in stock.newest_first}
    at = created[stock.jobs["RUNNING"][2]]

    def by(name: str) -> list[str]:
        return stock.ids(jobQueue=stock.queue, filters=[{"name": name, "values": [str(at)]}])

    assert by("BEFORE_CREATED_AT") == [job for job, time in created.items() if time < at]
    assert by("AFTER_CREATED_AT") == [job for job, time in created.items() if time > at]


@pytest.mark.parametrize(
    "filters",
    [
        [{"name": "job_name", "values": ["*"]}],
        [{"name": "JOB_NAME", "values": ["a"]}, {"name": "JOB_DEFINITION", "values": ["b"]}],
        [{"name": "AFTER_CREATED_AT", "values": ["yesterday"]}],
    ],
    ids=["unknown", "two", "no number"],
)
def test_filters_that_are_refused(stock: Stock, filters: list[dict[str, Any]]) -> None:
    with pytest.raises(ClientError) as caught:
        stock.ids(jobQueue=stock.queue, filters=filters)
    assert caught.value.response["Error"]["Code"] == "ClientException"


# --------------------------------------------------------------------------------------------------------- children


def test_children_are_listed_of_their_parent_alone(stock: Stock) -> None:
    children = [f"{stock.array}:{index}" for index in range(5)]
    pages = stock.pages(arrayJobId=stock.array)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [job["jobId"] for page in pages for job in page] == children
    assert [job["arrayProperties"] for page in pages for job in page] == [{"index": index} for index in range(5)]
    assert stock.ids(arrayJobId=stock.array, jobStatus="SUCCEEDED") == []
    assert stock.ids(arrayJobId=stock.jobs["RUNNING"][0]) == []  # no array
    everything = {job for status in STATUSES for job in stock.ids(jobQueue=stock.queue, jobStatus=status)}
    assert not everything & set(children)
    assert len(everything) == len(stock.newest_first)


def test_children_that_have_ended(stock: Stock) -> None:
    pipeline = stock.pipeline
    script = 'test "$AWS_BATCH_JOB_ARRAY_INDEX" = 2 && exit 5; exit 0'
    array = pipeline.submit(pipeline.queue(), pipeline.definition(["sh", "-c", script]), arrayProperties={"size": 4})
    pipeline.wait(array, "FAILED")
    assert stock.ids(arrayJobId=array, jobStatus="SUCCEEDED") == [f"{array}:{index}" for index in (0, 1, 3)]
    ((failed,),) = stock.pages(arrayJobId=array, jobStatus="FAILED")
    assert (failed["jobId"], failed["container"]) == (f"{array}:2", {"exitCode": 5})
    assert stock.ids(arrayJobId=array) == []


def test_exactly_one_place_is_listed(stock: Stock) -> None:
    for members in ({}, {"jobQueue": stock.queue, "arrayJobId": stock.array}):
        with pytest.raises(ClientError, match="jobQueue"):
            stock.pipeline.batch.list_jobs(**members)


# ------------------------------------------------------------------------------------------------- while things move


def test_what_ends_between_two_pages_neither_doubles_nor_hides_others(pipeline: Pipeline) -> None:
    queue = pipeline.queue(vcpus=8)
    gates = [pipeline.gate() for _ in range(6)]
    jobs = [pipeline.submit(queue, pipeline.waiting(gate)) for gate in gates]
    for job in jobs:
        pipeline.wait(job, "RUNNING")
    pages = pipeline.batch.get_paginator("list_jobs").paginate(jobQueue=queue, PaginationConfig={"PageSize": 2})
    seen = []
    for number, page in enumerate(pages):
        seen += [job["jobId"] for job in page["jobSummaryList"]]
        ended = 5 - 2 * number  # of this page, the newer
        gates[ended].touch()
        pipeline.wait(jobs[ended], "SUCCEEDED")
    assert seen == jobs[::-1]
    for gate in gates:
        gate.touch()
