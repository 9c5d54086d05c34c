"""CloudWatch Logs over the wire: the output of real jobs, live and afterwards, with boto3's own client.

Sources: API_GetLogEvents, API_FilterLogEvents, API_DescribeLogStreams; AWS Batch user guide, "Using the awslogs log
driver".
"""

import re
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

GROUP = "/aws/batch/job"


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return Pipeline(server, tmp_path_factory.mktemp("queue")).queue(vcpus=8)


def to(pipeline: Pipeline, options: dict[str, str], script: str) -> str:
    """A definition with such a logConfiguration; its ARN."""
    name = f"logs-{options.get('awslogs-stream-prefix', 'x')}-{time.monotonic_ns()}"
    properties = {
        "image": "busybox",
        "command": ["sh", "-c", script],
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
        "logConfiguration": {"logDriver": "awslogs", "options": options},
    }
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties=properties
    )
    return str(reply["jobDefinitionArn"])


def stream_of(pipeline: Pipeline, job: str) -> str:
    return str(pipeline.job(job)["container"]["logStreamName"])


def messages(reply: dict[str, Any]) -> list[str]:
    return [event["message"] for event in reply["events"]]


def code(caught: "pytest.ExceptionInfo[ClientError]") -> str:
    return str(caught.value.response["Error"]["Code"])


# ----------------------------------------------------------------------------------------------------------- reading


def test_lines_are_there_while_the_job_runs(pipeline: Pipeline, queue: str) -> None:
    """Who polls with the forward token sees each line once; a repeated token says that there is no more yet."""
    before = time.time() * 1000
    gates = [pipeline.gate() for _ in range(2)]
    script = "; ".join(f"echo line {n}; while [ ! -e {gate} ]; do sleep 0.02; done" for n, gate in enumerate(gates))
    job = pipeline.submit(queue, pipeline.definition(["sh", "-c", script + "; echo last >&2"]))
    pipeline.wait(job, "RUNNING")
    place = {"logGroupName": GROUP, "logStreamName": stream_of(pipeline, job), "startFromHead": True}
    seen: list[str] = []
    token = None

    def poll() -> list[str]:
        nonlocal token
        reply = pipeline.logs.get_log_events(**place, **({"nextToken": token} if token else {}))
        token = reply["nextForwardToken"]
        seen.extend(messages(reply))
        return seen

    until(lambda: poll() == ["line 0"], "the first line")
    assert pipeline.status(job) == "RUNNING"
    gates[0].touch()
    until(lambda: poll() == ["line 0", "line 1"], "the second line")
    assert pipeline.status(job) == "RUNNING"
    gates[1].touch()
    pipeline.wait(job, "SUCCEEDED")
    assert poll() == ["line 0", "line 1", "last"]
    at_the_end = token
    assert poll() == ["line 0", "line 1", "last"]
    assert token == at_the_end
    events = pipeline.logs.get_log_events(**place)["events"]
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    assert before - 1000 <= times[0] <= times[-1] <= time.time() * 1000 + 1000
    assert all(event["ingestionTime"] >= event["timestamp"] for event in events)


def test_a_line_without_an_end_shows_at_the_end(pipeline: Pipeline, queue: str) -> None:
    job = pipeline.submit(queue, pipeline.definition(["printf", "one\\n\\ntw\\303\\266\\nno end"]))
    pipeline.wait(job, "SUCCEEDED")
    assert pipeline.output(job) == ["one", "twö", "no end"]


def test_pages_forward_and_backward(pipeline: Pipeline, queue: str) -> None:
    job = pipeline.submit(queue, pipeline.definition(["seq", "10"]))
    pipeline.wait(job, "SUCCEEDED")
    place = {"logGroupName": GROUP, "logStreamName": stream_of(pipeline, job), "limit": 4}
    get = pipeline.logs.get_log_events

    def walk(token_name: str, **first: Any) -> list[list[str]]:
        reply = get(**place, **first)
        pages = [messages(reply)]
        while True:
            token = reply[token_name]
            reply = get(**place, nextToken=token)
            if reply[token_name] == token:
                assert messages(reply) == []
                return pages
            pages.append(messages(reply))

    numbers = [str(number) for number in range(1, 11)]
    ahead = walk("nextForwardToken", startFromHead=True)
    assert ahead == [numbers[:4], numbers[4:8], numbers[8:]]
    # from the tail, which is where a reader starts who says nothing: newest page first, each in order
    back = walk("nextBackwardToken")
    assert back == [numbers[6:], numbers[2:6], numbers[:2]]
    # and forth again from the page before the last
    last = get(**place)
    middle = get(**place, nextToken=last["nextBackwardToken"])
    assert messages(get(**place, nextToken=middle["nextForwardToken"])) == numbers[6:]


def test_every_attempt_has_a_stream(pipeline: Pipeline, queue: str) -> None:
    definition = pipeline.definition(
        ["sh", "-c", 'echo "try $AWS_BATCH_JOB_ATTEMPT"; exit 1'], retryStrategy={"attempts": 3}
    )
    job = pipeline.submit(queue, definition)
    seen = pipeline.wait(job, "FAILED")
    streams = [attempt["container"]["logStreamName"] for attempt in seen["attempts"]]
    name = definition.rpartition("/")[2].partition(":")[0]
    assert all(re.fullmatch(rf"{name}/default/[0-9a-f]{{32}}", stream) for stream in streams)
    assert len(set(streams)) == 3
    for number, stream in enumerate(streams, 1):
        assert messages(pipeline.logs.get_log_events(logGroupName=GROUP, logStreamName=stream)) == [f"try {number}"]
    assert seen["container"]["logStreamName"] == streams[-1]
    listed = pipeline.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/default/")
    assert sorted(stream["logStreamName"] for stream in listed["logStreams"]) == sorted(streams)


def test_what_is_not_there(pipeline: Pipeline) -> None:
    for operation, members in (
        ("get_log_events", {"logGroupName": GROUP, "logStreamName": "no/such/stream"}),
        ("get_log_events", {"logGroupName": "no-such-group", "logStreamName": "x"}),
        ("filter_log_events", {"logGroupName": "no-such-group"}),
        ("describe_log_streams", {"logGroupName": "no-such-group"}),
        ("delete_log_group", {"logGroupName": "no-such-group"}),
    ):
        with pytest.raises(ClientError) as caught:
            getattr(pipeline.logs, operation)(**members)
        assert code(caught) == "ResourceNotFoundException"


# ------------------------------------------------------------------------------------------------------- own places


def test_a_group_and_a_prefix_of_the_job_s_own(pipeline: Pipeline, queue: str) -> None:
    group = "own/group"
    definition = to(pipeline, {"awslogs-group": group, "awslogs-stream-prefix": "mine"}, "echo here")
    job = pipeline.submit(queue, definition)
    pipeline.wait(job, "SUCCEEDED")
    stream = stream_of(pipeline, job)
    assert re.fullmatch(r"mine/default/[0-9a-f]{32}", stream)
    assert messages(pipeline.logs.get_log_events(logGroupName=group, logStreamName=stream)) == ["here"]
    with pytest.raises(ClientError) as caught:
        pipeline.logs.get_log_events(logGroupName=GROUP, logStreamName=stream)
    assert code(caught) == "ResourceNotFoundException"
    groups = pipeline.logs.describe_log_groups(logGroupNamePrefix="own/")["logGroups"]
    assert [found["logGroupName"] for found in groups] == [group]
    assert groups[0]["arn"] == "arn:aws:logs:us-east-1:123456789012:log-group:own/group:*"


def test_searching_a_group(pipeline: Pipeline, queue: str) -> None:
    """Patterns, streams, prefixes and times, over several streams."""
    group = "search/all"
    script = 'i=$AWS_BATCH_JOB_ARRAY_INDEX; echo "ERROR in $i"; echo "all well in $i"; echo "{\\"level\\": $i}"'
    array = pipeline.submit(
        queue,
        to(pipeline, {"awslogs-group": group, "awslogs-stream-prefix": "s"}, script),
        arrayProperties={"size": 3},
    )
    pipeline.wait(array, "SUCCEEDED")
    streams = [stream_of(pipeline, f"{array}:{index}") for index in range(3)]

    def search(**members: Any) -> list[str]:
        reply = pipeline.logs.filter_log_events(logGroupName=group, **members)
        assert "nextToken" not in reply
        return sorted(messages(reply))

    assert len(search()) == 9
    assert search(filterPattern="ERROR") == ["ERROR in 0", "ERROR in 1", "ERROR in 2"]
    assert search(filterPattern='"in 1" -ERROR') == ["all well in 1"]
    assert search(filterPattern="{ $.level >= 1 }") == ['{"level": 1}', '{"level": 2}']
    assert search(filterPattern="ERROR", logStreamNames=streams[1:]) == ["ERROR in 1", "ERROR in 2"]
    assert search(filterPattern="ERROR", logStreamNamePrefix=streams[0]) == ["ERROR in 0"]
    assert search(filterPattern="error") == []
    times = [event["timestamp"] for event in pipeline.logs.filter_log_events(logGroupName=group)["events"]]
    assert times == sorted(times)
    assert len(search(startTime=times[0], endTime=times[-1])) == 9
    assert search(endTime=times[0] - 1) == search(startTime=times[-1] + 1) == []
    pages = pipeline.logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, filterPattern="ERROR", PaginationConfig={"PageSize": 2}
    )
    events = [event for page in pages for event in page["events"]]
    assert sorted(event["message"] for event in events) == search(filterPattern="ERROR")
    assert len({event["eventId"] for event in events}) == 3
    assert {event["logStreamName"] for event in events} == set(streams)


def test_streams_by_name_and_by_time_in_pages(pipeline: Pipeline, queue: str) -> None:
    group = "streams/paged"
    definition = to(pipeline, {"awslogs-group": group, "awslogs-stream-prefix": "p"}, "echo x")
    streams = []
    for _ in range(5):
        job = pipeline.submit(queue, definition)
        pipeline.wait(job, "SUCCEEDED")
        streams.append(stream_of(pipeline, job))

    def listed(**members: Any) -> list[str]:
        pages = pipeline.logs.get_paginator("describe_log_streams").paginate(
            logGroupName=group, PaginationConfig={"PageSize": 2}, **members
        )
        parts = [[stream["logStreamName"] for stream in page["logStreams"]] for page in pages]
        assert [len(part) for part in parts] == [2, 2, 1]
        return [name for part in parts for name in part]

    assert listed() == listed(orderBy="LogStreamName") == sorted(streams)
    assert listed(orderBy="LogStreamName", descending=True) == sorted(streams, reverse=True)
    by_time = listed(orderBy="LastEventTime", descending=True)
    assert listed(orderBy="LastEventTime") == by_time[::-1]
    described = pipeline.logs.describe_log_streams(logGroupName=group)["logStreams"]
    last = {stream["logStreamName"]: stream["lastEventTimestamp"] for stream in described}
    assert [last[name] for name in by_time] == sorted(last.values(), reverse=True)
    for stream in described:
        assert stream["creationTime"] <= stream["firstEventTimestamp"] + 1000
        assert stream["firstEventTimestamp"] <= stream["lastEventTimestamp"] <= stream["lastIngestionTime"]
        assert stream["arn"].endswith(f":log-group:{group}:log-stream:{stream['logStreamName']}")


# ------------------------------------------------------------------------------------------- retention and deletion


def test_groups_are_made_kept_and_deleted(pipeline: Pipeline, queue: str) -> None:
    group, logs = "kept/group", pipeline.logs
    logs.create_log_group(logGroupName=group)
    with pytest.raises(ClientError) as caught:
        logs.create_log_group(logGroupName=group)
    assert code(caught) == "ResourceAlreadyExistsException"

    def shown() -> dict[str, Any]:
        (found,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        return dict(found)

    assert "retentionInDays" not in shown()
    logs.put_retention_policy(logGroupName=group, retentionInDays=30)
    assert shown()["retentionInDays"] == 30
    with pytest.raises(ClientError) as caught:
        logs.put_retention_policy(logGroupName=group, retentionInDays=31)
    assert code(caught) == "InvalidParameterException"
    logs.delete_retention_policy(logGroupName=group)
    assert "retentionInDays" not in shown()
    job = pipeline.submit(queue, to(pipeline, {"awslogs-group": group, "awslogs-stream-prefix": "k"}, "echo kept"))
    pipeline.wait(job, "SUCCEEDED")
    logs.delete_log_group(logGroupName=group)
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []
    assert pipeline.job(job)["container"]["logStreamName"].startswith("k/default/")  # the job still tells


def test_a_stream_is_deleted_alone_also_while_its_job_runs(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    options = {"awslogs-group": "deleted/one", "awslogs-stream-prefix": "d"}
    waiting = to(pipeline, options, f"echo first; while [ ! -e {gate} ]; do sleep 0.02; done; echo second")
    job = pipeline.submit(queue, waiting)
    other = pipeline.submit(queue, to(pipeline, options, "echo other"))
    pipeline.wait(other, "SUCCEEDED")
    pipeline.wait(job, "RUNNING")
    place = {"logGroupName": "deleted/one", "logStreamName": stream_of(pipeline, job)}
    until(lambda: messages(pipeline.logs.get_log_events(**place)) == ["first"], "its first line")
    pipeline.logs.delete_log_stream(**place)
    with pytest.raises(ClientError) as caught:
        pipeline.logs.get_log_events(**place)
    assert code(caught) == "ResourceNotFoundException"
    left = pipeline.logs.describe_log_streams(logGroupName="deleted/one")["logStreams"]
    assert [stream["logStreamName"] for stream in left] == [stream_of(pipeline, other)]
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")  # it goes on undisturbed
    assert len(pipeline.logs.describe_log_streams(logGroupName="deleted/one")["logStreams"]) == 1


def test_a_region_sees_its_own_logs(pipeline: Pipeline, queue: str) -> None:
    job = pipeline.submit(queue, pipeline.definition(["echo", "here"]))
    pipeline.wait(job, "SUCCEEDED")
    elsewhere = pipeline.server.client("logs", region="eu-west-1")
    assert elsewhere.describe_log_streams(logGroupName=GROUP)["logStreams"] == []
    with pytest.raises(ClientError) as caught:
        elsewhere.get_log_events(logGroupName=GROUP, logStreamName=stream_of(pipeline, job))
    assert code(caught) == "ResourceNotFoundException"
