"""CloudWatch Logs as clients use it: reading streams, searching groups, listing, deleting."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.api.logging_desk import HOME, JOB_GROUP, LoggingDesk, append

from batchery.api import loggroups
from batchery.core.model import Realm

ARN = f"arn:aws:logs:{HOME.region}:{HOME.account}:log-group"
NO_GROUP = ("ResourceNotFoundException", "The specified log group does not exist.")
NO_STREAM = ("ResourceNotFoundException", "The specified log stream does not exist.")
T = 1_800_000_000_000  # ms


@pytest.fixture
def desk(tmp_path: Path) -> LoggingDesk:
    return LoggingDesk(tmp_path / "logs")


def messages(answer: dict[str, Any]) -> list[str]:
    return [event["message"] for event in answer["events"]]


def get(desk: LoggingDesk, stream: str = "s", **members: Any) -> dict[str, Any]:
    return desk.logs("GetLogEvents", logGroupName=JOB_GROUP, logStreamName=stream, **members)


def find(desk: LoggingDesk, **members: Any) -> dict[str, Any]:
    return desk.logs("FilterLogEvents", logGroupName=JOB_GROUP, **members)


class TestGetLogEvents:
    def test_the_tail_comes_first_unless_asked_otherwise(self, desk: LoggingDesk) -> None:
        desk.stream("s", (T, ["a", "b"]), (T + 500, ["c"]))
        assert messages(get(desk, limit=2)) == ["b", "c"]
        assert messages(get(desk, limit=2, startFromHead=True)) == ["a", "b"]
        assert get(desk)["events"][2] == {"timestamp": T + 500, "message": "c", "ingestionTime": T + 500}

    def test_tokens_repeat_at_the_ends(self, desk: LoggingDesk) -> None:
        desk.stream("s", (T, [str(number) for number in range(10)]))
        page = get(desk, limit=4, startFromHead=True)
        seen = messages(page)
        while True:
            after = get(desk, limit=4, startFromHead=True, nextToken=page["nextForwardToken"])
            if after["nextForwardToken"] == page["nextForwardToken"]:
                assert messages(after) == []
                break
            seen += messages(after)
            page = after
        assert seen == [str(number) for number in range(10)]
        back: list[str] = []
        while True:
            before = get(desk, limit=4, nextToken=page["nextBackwardToken"])
            if before["nextBackwardToken"] == page["nextBackwardToken"]:
                assert messages(before) == []
                break
            back = messages(before) + back
            page = before
        assert back == [str(number) for number in range(8)]

    def test_an_empty_stream_has_tokens_that_repeat(self, desk: LoggingDesk) -> None:
        desk.stream("s", live=True)
        page = get(desk)
        assert page["events"] == []
        for way in ("nextForwardToken", "nextBackwardToken"):
            assert get(desk, nextToken=page[way])[way] == page[way]

    def test_a_live_stream_goes_on_behind_the_token(self, desk: LoggingDesk) -> None:
        path = desk.stream("s", (T, ["a"]), live=True)
        page = get(desk)
        assert messages(page) == ["a"]
        append(path, desk.service.now(), b"b\nunfinished")
        after = get(desk, nextToken=page["nextForwardToken"])
        assert messages(after) == ["b"]
        assert get(desk, nextToken=after["nextForwardToken"])["nextForwardToken"] == after["nextForwardToken"]
        desk.end("s")
        assert messages(get(desk, nextToken=after["nextForwardToken"])) == ["unfinished"]

    def test_a_range_of_times_ends_before_its_end(self, desk: LoggingDesk) -> None:
        desk.stream("s", (T, ["a"]), (T + 500, ["b"]), (T + 1_000, ["c"]))
        assert messages(get(desk, startTime=T + 500)) == ["b", "c"]
        assert messages(get(desk, endTime=T + 1_000)) == ["a", "b"]
        page = get(desk, startTime=T + 500, endTime=T + 1_000, startFromHead=True)
        assert messages(page) == ["b"]
        same = get(desk, startTime=T + 500, endTime=T + 1_000, nextToken=page["nextForwardToken"])
        assert (same["events"], same["nextForwardToken"]) == ([], page["nextForwardToken"])
        early = get(desk, startTime=T + 500, nextToken="f/0")
        assert messages(early) == ["b", "c"]

    def test_the_group_may_be_named_by_its_arn(self, desk: LoggingDesk) -> None:
        desk.stream("s", (T, ["a"]))
        for identifier in (JOB_GROUP, f"{ARN}:{JOB_GROUP}", f"{ARN}:{JOB_GROUP}:*"):
            answer = desk.logs("GetLogEvents", logGroupIdentifier=identifier, logStreamName="s")
            assert messages(answer) == ["a"]

    def test_refusals(self, desk: LoggingDesk) -> None:
        desk.stream("s", (T, ["a"]))
        say = desk.refused
        assert say("logs", "GetLogEvents", logGroupName="/none", logStreamName="s") == NO_GROUP
        assert say("logs", "GetLogEvents", logGroupName=JOB_GROUP, logStreamName="none") == NO_STREAM
        other = f"arn:aws:logs:us-east-1:{HOME.account}:log-group:{JOB_GROUP}"
        assert say("logs", "GetLogEvents", logGroupIdentifier=other, logStreamName="s") == NO_GROUP
        abroad = Realm("123456789012", "us-east-1")
        assert say("logs", "GetLogEvents", abroad, logGroupName=JOB_GROUP, logStreamName="s") == NO_STREAM
        for members, words in (
            ({"logGroupName": JOB_GROUP, "logStreamName": "s", "nextToken": "rubbish"}, "nextToken is invalid"),
            ({"logGroupName": JOB_GROUP, "logStreamName": "s", "limit": 10_001}, "less than or equal to 10000"),
            ({"logGroupName": JOB_GROUP, "logStreamName": "s", "limit": 0}, "greater than or equal to 1"),
            ({"logGroupName": JOB_GROUP, "logStreamName": "s", "limit": "many"}, ""),
            ({"logStreamName": "s"}, "'logGroupName'"),
            ({"logGroupName": JOB_GROUP}, "'logStreamName'"),
            ({"logGroupName": "bad name", "logStreamName": "s"}, "regular expression"),
            ({"logGroupName": JOB_GROUP, "logGroupIdentifier": JOB_GROUP, "logStreamName": "s"}, "mutually exclusive"),
        ):
            code, text = say("logs", "GetLogEvents", **members)
            assert code == "InvalidParameterException"
            assert words in text

    def test_a_token_far_beyond_the_end_is_the_end(self, desk: LoggingDesk) -> None:
        desk.stream("s", (T, ["a"]))
        for token in ("f/" + "9" * 56 + "/s", "b/" + "9" * 56 + "/s"):
            assert len(get(desk, nextToken=token)["events"]) == (1 if token[0] == "b" else 0)


class TestFilterLogEvents:
    def test_streams_are_interleaved_by_time_in_pages(self, desk: LoggingDesk) -> None:
        desk.stream("p/a", (T, ["a1"]), (T + 1_000, ["a2", "a3"]))
        desk.stream("p/b", (T + 500, ["b1"]), (T + 1_500, ["b2"]))
        desk.stream("q/c", (T + 700, ["c1"]))
        assert messages(find(desk)) == ["a1", "b1", "c1", "a2", "a3", "b2"]
        assert messages(find(desk, logStreamNamePrefix="p/")) == ["a1", "b1", "a2", "a3", "b2"]
        assert messages(find(desk, logStreamNames=["q/c", "p/b", "q/c"])) == ["b1", "c1", "b2"]
        assert messages(find(desk, startTime=T + 500, endTime=T + 1_000)) == ["b1", "c1", "a2", "a3"]
        seen, token, ids = [], {}, set()
        while True:
            page = find(desk, limit=2, **token)
            assert page["searchedLogStreams"] == []
            seen += messages(page)
            ids |= {event["eventId"] for event in page["events"]}
            if "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
        assert seen == ["a1", "b1", "c1", "a2", "a3", "b2"]
        assert len(ids) == 6
        assert {len(identifier) for identifier in ids} == {56}
        assert ids == {event["eventId"] for event in find(desk)["events"]}

    def test_newest_first(self, desk: LoggingDesk) -> None:
        desk.stream("p/a", (T, ["a1"]), (T + 1_000, ["a2", "a3"]))
        desk.stream("p/b", (T + 500, ["b1"]))
        page = find(desk, startTime=T, startFromHead=False, limit=3)
        assert messages(page) == ["a3", "a2", "b1"]
        assert messages(find(desk, startTime=T, nextToken=page["nextToken"])) == ["a1"]
        code, text = desk.refused("logs", "FilterLogEvents", logGroupName=JOB_GROUP, startFromHead=False)
        assert (code, "2024" in text) == ("InvalidParameterException", True)

    def test_patterns_choose(self, desk: LoggingDesk) -> None:
        desk.stream("s", (T, ['{"level": "error", "n": 3}', "plain error", "warning", "a b 42"]))
        assert messages(find(desk, filterPattern='{ $.level = "error" }')) == ['{"level": "error", "n": 3}']
        assert messages(find(desk, filterPattern="error -level")) == ["plain error"]
        assert messages(find(desk, filterPattern="?plain ?warning")) == ["plain error", "warning"]
        assert messages(find(desk, filterPattern="[..., n > 40]")) == ["a b 42"]
        assert messages(find(desk, filterPattern="%^w[a-z]+g$%")) == ["warning"]
        assert len(messages(find(desk, filterPattern=""))) == 4

    def test_a_line_keeps_its_time_and_id_while_somebody_polls(self, desk: LoggingDesk) -> None:
        now = desk.service.now()
        path = desk.stream("s", (now - 5_000, ["first"]), live=True)
        with path.open("ab") as file:
            file.write(b"second\n")
        os.utime(path, ns=(now * 1_000_000, now * 1_000_000))
        assert messages(find(desk)) == ["first"]  # the next sample will stamp the second
        assert messages(get(desk)) == ["first", "second"]
        desk.end("s")
        assert messages(find(desk)) == ["first", "second"]

    def test_refusals(self, desk: LoggingDesk) -> None:
        desk.stream("s", (T, ["a"]))
        assert desk.refused("logs", "FilterLogEvents", logGroupName="/none") == NO_GROUP
        assert desk.refused("logs", "FilterLogEvents", logGroupName=JOB_GROUP, logStreamNames=["x"]) == NO_STREAM
        for members, words in (
            ({"filterPattern": "foo.bar"}, "Invalid character(s) in term 'foo.bar'"),
            ({"filterPattern": "x" * 1025}, "1024"),
            ({"logStreamNames": ["s"], "logStreamNamePrefix": "s"}, "mutually exclusive"),
            ({"logStreamNames": []}, "between 1 and 100"),
            ({"nextToken": "%%%"}, "nextToken is invalid"),
            ({"nextToken": "é"}, "nextToken is invalid"),
            ({"limit": 20_000}, "10000"),
        ):
            code, text = desk.refused("logs", "FilterLogEvents", logGroupName=JOB_GROUP, **members)
            assert code == "InvalidParameterException"
            assert words in text


class TestDescribeLogStreams:
    def test_what_a_stream_says_of_itself(self, desk: LoggingDesk) -> None:
        desk.stream("d/default/1", (T, ["a"]), (T + 500, ["b"]))
        desk.stream("d/default/2", live=True)
        first, second = desk.logs("DescribeLogStreams", logGroupName=JOB_GROUP)["logStreams"]
        assert first == {
            "logStreamName": "d/default/1",
            "creationTime": T,
            "firstEventTimestamp": T,
            "lastEventTimestamp": T + 500,
            "lastIngestionTime": T + 500,
            "arn": f"{ARN}:{JOB_GROUP}:log-stream:d/default/1",
            "storedBytes": 0,
        }
        assert "firstEventTimestamp" not in second

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("order", ["LogStreamName", "LastEventTime"])
    def test_orders_and_pages(self, desk: LoggingDesk, order: str, descending: bool) -> None:
        for number in range(7):
            desk.stream(f"s{number}", (T + (number * 3 % 7) * 1_000, ["x"]))
        names = [f"s{number}" for number in range(7)]
        if order == "LastEventTime":
            names.sort(key=lambda name: int(name[1:]) * 3 % 7)
        if descending:
            names.reverse()
        seen: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = desk.logs(
                "DescribeLogStreams",
                logGroupName=JOB_GROUP,
                orderBy=order,
                descending=descending,
                limit=3,
                **token,  # type: ignore[arg-type]
            )
            seen += [stream["logStreamName"] for stream in page["logStreams"]]
            if "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
        assert seen == names

    def test_by_prefix(self, desk: LoggingDesk) -> None:
        for name in ("a/1", "a/2", "b/1"):
            desk.stream(name)
        for more in ({}, {"descending": True}):
            found = desk.logs("DescribeLogStreams", logGroupName=JOB_GROUP, logStreamNamePrefix="a/", **more)
            assert sorted(stream["logStreamName"] for stream in found["logStreams"]) == ["a/1", "a/2"]

    def test_refusals(self, desk: LoggingDesk) -> None:
        assert desk.refused("logs", "DescribeLogStreams", logGroupName="/none") == NO_GROUP
        for members in (
            {"orderBy": "Size"},
            {"orderBy": "LastEventTime", "logStreamNamePrefix": "a"},
            {"limit": 51},
            {"nextToken": "x"},
        ):
            code, _ = desk.refused("logs", "DescribeLogStreams", logGroupName=JOB_GROUP, **members)
            assert code == "InvalidParameterException"


class TestGroups:
    def test_the_group_of_aws_batch_always_exists(self, desk: LoggingDesk) -> None:
        (group,) = desk.logs("DescribeLogGroups")["logGroups"]
        assert (group["logGroupName"], group["storedBytes"]) == (JOB_GROUP, 0)
        assert (group["arn"], group["logGroupArn"]) == (f"{ARN}:{JOB_GROUP}:*", f"{ARN}:{JOB_GROUP}")
        assert "retentionInDays" not in group
        assert desk.logs("DescribeLogStreams", logGroupName=JOB_GROUP)["logStreams"] == []
        assert find(desk)["events"] == []

    def test_groups_come_to_be_with_their_streams_or_when_made(self, desk: LoggingDesk) -> None:
        desk.stream("s", (T, ["12345"]), group="/mine")
        desk.logs("CreateLogGroup", logGroupName="made")
        found = desk.logs("DescribeLogGroups")["logGroups"]
        assert [(group["logGroupName"], group["storedBytes"]) for group in found] == [
            *((JOB_GROUP, 0), ("/mine", 6), ("made", 0))
        ]
        taken = desk.refused("logs", "CreateLogGroup", logGroupName="made")
        assert taken == ("ResourceAlreadyExistsException", "The specified log group already exists")
        assert desk.refused("logs", "CreateLogGroup", logGroupName=JOB_GROUP) == taken

    def test_listing_by_name_in_pages(self, desk: LoggingDesk) -> None:
        for name in ("b/2", "a/1", "b/1", "c"):
            desk.logs("CreateLogGroup", logGroupName=name)

        def names(**members: Any) -> list[str]:
            return [group["logGroupName"] for group in desk.logs("DescribeLogGroups", **members)["logGroups"]]

        assert names() == [JOB_GROUP, "a/1", "b/1", "b/2", "c"]
        assert names(logGroupNamePrefix="b/") == ["b/1", "b/2"]
        assert names(logGroupNamePattern="/1") == ["a/1", "b/1"]
        assert names(logGroupIdentifiers=["c", f"{ARN}:a/1"]) == ["a/1", "c"]
        assert names(logGroupClass="INFREQUENT_ACCESS") == []
        page = desk.logs("DescribeLogGroups", limit=2)
        assert names(limit=50, nextToken=page["nextToken"]) == ["b/1", "b/2", "c"]
        code, _ = desk.refused("logs", "DescribeLogGroups", logGroupNamePrefix="a", logGroupNamePattern="b")
        assert code == "InvalidParameterException"

    def test_the_size_is_counted_once_a_minute(self, desk: LoggingDesk, monkeypatch: pytest.MonkeyPatch) -> None:
        path = desk.stream("s", (T, ["12345"]))
        assert desk.logs("DescribeLogGroups")["logGroups"][0]["storedBytes"] == 6
        append(path, T + 1, b"more\n")
        assert desk.logs("DescribeLogGroups")["logGroups"][0]["storedBytes"] == 6
        monkeypatch.setattr(loggroups, "_sizes", {})
        monkeypatch.setattr(loggroups, "SIZES_SECONDS", -1.0)
        for size in (11, 16):
            assert desk.logs("DescribeLogGroups")["logGroups"][0]["storedBytes"] == size
            append(path, T + 2, b"more\n")

    def test_retention(self, desk: LoggingDesk) -> None:
        created = desk.logs("DescribeLogGroups")["logGroups"][0]["creationTime"]
        desk.logs("PutRetentionPolicy", logGroupName=JOB_GROUP, retentionInDays=14)
        (group,) = desk.logs("DescribeLogGroups")["logGroups"]
        assert (group["retentionInDays"], group["creationTime"] >= created) == (14, True)
        desk.logs("DeleteRetentionPolicy", logGroupName=JOB_GROUP)
        assert "retentionInDays" not in desk.logs("DescribeLogGroups")["logGroups"][0]
        assert desk.refused("logs", "PutRetentionPolicy", logGroupName="/none", retentionInDays=1) == NO_GROUP
        code, text = desk.refused("logs", "PutRetentionPolicy", logGroupName=JOB_GROUP, retentionInDays=2)
        assert (code, "'2' at 'retentionInDays'" in text) == ("InvalidParameterException", True)

    def test_deleting_a_stream_takes_its_log_unless_it_is_live(self, desk: LoggingDesk) -> None:
        ended, living = desk.stream("ended", (T, ["a"])), desk.stream("living", (T, ["b"]), live=True)
        for name in ("ended", "living"):
            desk.logs("DeleteLogStream", logGroupName=JOB_GROUP, logStreamName=name)
            assert desk.refused("logs", "GetLogEvents", logGroupName=JOB_GROUP, logStreamName=name) == NO_STREAM
        assert not ended.exists()
        assert living.exists()

    def test_deleting_a_group_takes_its_streams(self, desk: LoggingDesk) -> None:
        ended = desk.stream("ended", (T, ["a"]), group="mine")
        living = desk.stream("living", (T, ["b"]), group="mine", live=True)
        other = desk.stream("other", (T, ["c"]))
        desk.logs("DeleteLogGroup", logGroupName="mine")
        assert desk.refused("logs", "DescribeLogStreams", logGroupName="mine") == NO_GROUP
        assert (ended.exists(), living.exists(), other.exists()) == (False, True, True)
        assert desk.refused("logs", "DeleteLogGroup", logGroupName="mine") == NO_GROUP

    def test_what_has_no_meaning_here_is_refused_by_name(self, desk: LoggingDesk) -> None:
        for member, value in (
            ("kmsKeyId", "k"),
            ("tags", {"a": "b"}),
            ("logGroupClass", "INFREQUENT_ACCESS"),
            ("deletionProtectionEnabled", True),
        ):
            code, text = desk.refused("logs", "CreateLogGroup", logGroupName="g", **{member: value})
            assert (code, text.endswith(member)) == ("InvalidParameterException", True)
        code, text = desk.refused("logs", "CreateLogGroup", logGroupName="a b")
        assert (code, "regular expression" in text) == ("InvalidParameterException", True)


class TestAccess:
    def test_the_policy_is_asked_for_the_stream_of_the_group(self, desk: LoggingDesk) -> None:
        desk.stream("s", (T, ["a"]))
        desk.logs("CreateLogGroup", logGroupName="other")
        desk.allow_only(f"{ARN}:{JOB_GROUP}:*")
        assert messages(get(desk)) == ["a"]
        assert desk.resources == [f"{ARN}:{JOB_GROUP}:log-stream:"]
        for name, members in (
            ("FilterLogEvents", {"logGroupName": "other"}),
            ("FilterLogEvents", {"logGroupName": "unknown"}),
            ("DeleteLogGroup", {"logGroupName": "other"}),
            ("CreateLogGroup", {"logGroupName": "new"}),
            ("DescribeLogGroups", {}),
        ):
            code, text = desk.refused("logs", name, **members)
            assert code == "AccessDeniedException"
            assert f"logs:{name} on resource: {ARN}:" in text

    def test_operations_that_are_not_served_say_so(self, desk: LoggingDesk) -> None:
        code, text = desk.refused("logs", "StartQuery", startTime=1, endTime=2, queryString="x")
        assert (code, "StartQuery" in text) == ("UnknownOperationException", True)
        code, text = desk.refused("cloudtrail", "CreateTrail", Name="t", S3BucketName="b")
        assert (code, "CreateTrail" in text) == ("UnknownOperationException", True)


def test_answers_are_json_that_clients_read(desk: LoggingDesk) -> None:
    odd = 'quote " slash \\ tab \t null \0 é 😀'
    desk.stream("s", (T, [odd]))
    assert messages(get(desk)) == [odd]
    assert json.dumps(find(desk)["events"][0]["message"])
