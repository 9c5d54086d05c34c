"""LookupEvents: newest first, by one attribute, in a range, in pages."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.api.logging_desk import HOME, LoggingDesk

from batchery.api import record, trail
from batchery.api.call import ApiError, Call, Caller
from batchery.core.model import Realm

T = 1_800_000_000  # s
ABROAD = Realm("123456789012", "us-east-1")


class Trail(LoggingDesk):
    """Calls leave records a second apart."""

    def note(
        self,
        operation: str,
        user: str = "ann",
        error: ApiError | None = None,
        resources: tuple[str, ...] = (),
        realm: Realm = HOME,
    ) -> None:
        at = (T + len(self.service.reads.records)) * 1_000 + 123
        self.service.now = lambda: at  # type: ignore[method-assign]
        caller = Caller(realm.account, f"AKIA{user}", f"arn:aws:iam::{realm.account}:user/{user}", user)
        call = Call(self.service, realm, caller, "r", operation, b'{"reason":"why"}', decoded=True)  # type: ignore[arg-type]
        call.resources = list(resources)
        made = record.failure(call, error) if error else record.success(call, {"jobId": "1"})
        self.service.reads.records.append((made.at, realm, made.doc))

    def look_up(self, **members: Any) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self.trail("LookupEvents", **members)["Events"]
        return events

    def by(self, key: str, value: str) -> list[str]:
        attributes = [{"AttributeKey": key, "AttributeValue": value}]
        return [event["EventName"] for event in self.look_up(LookupAttributes=attributes)]


@pytest.fixture
def desk(tmp_path: Path) -> Trail:
    return Trail(tmp_path)


@pytest.fixture
def busy(desk: Trail) -> Trail:
    """A desk after some calls."""
    arn = f"arn:aws:batch:{HOME.region}:{HOME.account}:job/6a0f"
    desk.note("SubmitJob", resources=(f"arn:aws:batch:{HOME.region}:{HOME.account}:job-queue/default",))
    desk.note("CancelJob", "bob", resources=(arn,))
    desk.note("DescribeJobs", "bob")
    desk.note("TerminateJob", error=ApiError(403, "AccessDeniedException", "no"), resources=(arn,))
    desk.note("SubmitJob", realm=ABROAD)
    return desk


def test_an_event(busy: Trail) -> None:
    event = busy.look_up(MaxResults=1)[0]
    whole = json.loads(event.pop("CloudTrailEvent"))
    assert (whole["errorCode"], whole["requestParameters"]) == ("AccessDenied", {"reason": "why"})
    assert event == {
        "EventId": whole["eventID"],
        "EventName": "TerminateJob",
        "ReadOnly": "false",
        "AccessKeyId": "AKIAann",
        "EventTime": datetime.fromtimestamp(T + 3, UTC),
        "EventSource": "batch.amazonaws.com",
        "Username": "ann",
        "Resources": [
            {
                "ResourceName": f"arn:aws:batch:{HOME.region}:{HOME.account}:job/6a0f",
                "ResourceType": "AWS::Batch::Job",
            }
        ],
    }


def test_newest_first_and_of_this_realm(busy: Trail) -> None:
    assert [event["EventName"] for event in busy.look_up()] == [
        "TerminateJob",
        "DescribeJobs",
        "CancelJob",
        "SubmitJob",
    ]
    assert [event["EventName"] for event in busy.trail("LookupEvents", ABROAD)["Events"]] == ["SubmitJob"]
    assert busy.service.waited


def test_by_each_attribute(busy: Trail) -> None:
    identifier = busy.look_up()[2]["EventId"]
    assert busy.by("EventId", identifier) == ["CancelJob"]
    assert busy.by("EventName", "DescribeJobs") == ["DescribeJobs"]
    assert busy.by("Username", "bob") == ["DescribeJobs", "CancelJob"]
    assert busy.by("AccessKeyId", "AKIAbob") == ["DescribeJobs", "CancelJob"]
    assert busy.by("ReadOnly", "true") == ["DescribeJobs"]
    assert busy.by("ReadOnly", "false") == ["TerminateJob", "CancelJob", "SubmitJob"]
    assert len(busy.by("EventSource", "batch.amazonaws.com")) == 4
    assert busy.by("EventSource", "logs.amazonaws.com") == []
    assert busy.by("ResourceName", "6a0f") == ["TerminateJob", "CancelJob"]
    assert busy.by("ResourceName", f"arn:aws:batch:{HOME.region}:{HOME.account}:job/6a0f") == [
        "TerminateJob",
        "CancelJob",
    ]
    assert busy.by("ResourceType", "AWS::Batch::JobQueue") == ["SubmitJob"]
    assert busy.by("EventName", "cancel") == []


def test_both_ends_of_a_range_belong_to_it(busy: Trail) -> None:
    def names(**members: Any) -> list[str]:
        return [event["EventName"] for event in busy.look_up(**members)]

    assert names(StartTime=T + 1, EndTime=T + 2) == ["DescribeJobs", "CancelJob"]
    assert names(EndTime=T) == ["SubmitJob"]
    assert names(StartTime=T + 3) == ["TerminateJob"]
    assert names(StartTime=T + 9) == []
    assert names(EndTime=datetime.fromtimestamp(T, UTC)) == ["SubmitJob"]


@pytest.mark.parametrize("attributes", [[], [{"AttributeKey": "Username", "AttributeValue": "ann"}]])
def test_pages(desk: Trail, attributes: list[dict[str, str]]) -> None:
    for number in range(130):
        desk.note("SubmitJob" if number % 2 else "CancelJob", "ann" if number % 3 else "bob")
    given: dict[str, Any] = {"LookupAttributes": attributes} if attributes else {}
    whole = [json.loads(doc)["eventID"] for _, _, doc in desk.service.reads.records[::-1]]
    mine = [json.loads(doc) for _, _, doc in desk.service.reads.records[::-1]]
    wanted = [item["eventID"] for item in mine if item["userIdentity"]["userName"] == "ann"] if attributes else whole
    seen: list[str] = []
    sizes: list[int] = []
    token: dict[str, str] = {}
    while True:
        page = desk.trail("LookupEvents", **given, **token)
        sizes.append(len(page["Events"]))
        seen += [event["EventId"] for event in page["Events"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert seen == wanted
    assert sizes == ([50, 36] if attributes else [50, 50, 30])


def test_a_long_search_gives_a_short_page_and_goes_on(desk: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(150):
        desk.note("DescribeJobs")
    monkeypatch.setattr(trail, "SECONDS", -1.0)
    given = {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "CancelJob"}]}
    page = desk.trail("LookupEvents", **given)
    assert page["Events"] == []
    pages = 1
    while "NextToken" in page:
        page = desk.trail("LookupEvents", **given, NextToken=page["NextToken"])
        pages += 1
    assert pages == 3


def test_refusals(busy: Trail) -> None:
    one = {"AttributeKey": "Username", "AttributeValue": "ann"}
    token = busy.trail("LookupEvents", MaxResults=1)["NextToken"]
    for members, code in (
        ({"MaxResults": 51}, "InvalidMaxResultsException"),
        ({"MaxResults": 0}, "InvalidMaxResultsException"),
        ({"LookupAttributes": [one, one]}, "InvalidLookupAttributesException"),
        ({"LookupAttributes": [one | {"AttributeKey": "Colour"}]}, "InvalidLookupAttributesException"),
        ({"LookupAttributes": [one | {"AttributeValue": ""}]}, "InvalidLookupAttributesException"),
        ({"StartTime": T + 1, "EndTime": T}, "InvalidTimeRangeException"),
        ({"NextToken": "rubbish"}, "InvalidNextTokenException"),
        ({"NextToken": token, "LookupAttributes": [one]}, "InvalidNextTokenException"),
        ({"EventCategory": "other"}, "InvalidEventCategoryException"),
    ):
        assert busy.refused("cloudtrail", "LookupEvents", **members)[0] == code
    assert busy.look_up(EventCategory="insight") == []
    busy.allow_only("*")
    assert busy.refused("cloudtrail", "LookupEvents")[0] == "AccessDeniedException"
