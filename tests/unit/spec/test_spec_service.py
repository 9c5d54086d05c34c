"""What a service job asks for: the payload, the settings of its environment, its shape."""

import json
from typing import Any

import pytest

from batchery.api.shapes import SubmitServiceJobRequest
from batchery.config import Config, Limits, Service, Services
from batchery.core.messages import Refused
from batchery.core.model import Resources, Rule
from batchery.spec.service import check_form, check_runs, directory_of, payload_of, request_of, shape_of, template_of

LARGE = "ml.m5.large"


def body(**members: Any) -> dict[str, Any]:
    """A CreateTrainingJob request."""
    return {
        "AlgorithmSpecification": {"TrainingImage": "trainer:1"},
        "ResourceConfig": {"InstanceType": LARGE, "InstanceCount": 1},
        **members,
    }


def asked(payload: dict[str, Any], **members: Any) -> SubmitServiceJobRequest:
    request = {"jobName": "j", "jobQueue": "q", "serviceJobType": "SAGEMAKER_TRAINING", **members}
    return request_of(json.dumps(request | {"serviceRequestPayload": json.dumps(payload)}))


def refused(payload: Any, limits: Limits | None = None) -> str:
    with pytest.raises(Refused) as caught:
        payload_of(payload if isinstance(payload, str) else json.dumps(payload), limits or Limits())
    return caught.value.message


def test_the_settings_of_an_environment_are_those_of_the_first_pattern_that_fits() -> None:
    small, large = Service(memory=16), Service(memory=64)
    config = Config(services=Services(environments={"gpu-*": large, "*-1": small}))
    assert [template_of(config, name) for name in ("gpu-1", "cpu-1", "cpu-2")] == [large, small, Service()]


def test_the_directory_of_a_uri_is_that_of_the_longest_prefix() -> None:
    data = {"s3://bucket": "/all/", "s3://bucket/in/": "/in"}
    assert directory_of("s3://bucket/in/a/b/", data) == "/in/a/b"
    assert directory_of("s3://bucket/in/", data) == "/in"
    assert directory_of("s3://bucket/out", data) == "/all/out"
    assert directory_of("s3://bucketful/x", data) == ""
    assert directory_of("file:///here", {}) == "/here"


def test_groups_of_instances_are_counted_by_type_and_in_all() -> None:
    groups = [
        {"InstanceGroupName": "a", "InstanceType": LARGE, "InstanceCount": 2},
        {"InstanceGroupName": "b", "InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
        {"InstanceGroupName": "c", "InstanceType": LARGE, "InstanceCount": 1},
    ]
    payload = payload_of(json.dumps(body(ResourceConfig={"InstanceGroups": groups})), Limits())
    assert payload.instances == 4
    shape = shape_of(asked(body(ResourceConfig={"InstanceGroups": groups})), payload, Service(memory=10, gpus=2))
    assert shape.instances == ((LARGE, 3), ("ml.g5.xlarge", 1))
    assert shape.resources == Resources(4000, 40, 8)
    assert [name for name, _, _ in shape.streams] == ["algo-1", "algo-2", "algo-3", "algo-4"]
    assert shape.streams[1] == ("algo-2", "/aws/sagemaker/TrainingJobs", "j/algo-2")


def test_one_instance_and_an_environment_that_says_single_have_one_container() -> None:
    payload = payload_of(json.dumps(body(TrainingJobName="t")), Limits())
    shape = shape_of(asked(body()), payload, Service(memory=10))
    assert (shape.streams, shape.log_prefix, shape.resources) == ((), "t/algo-1", Resources(1000, 10, 0))
    three = body(ResourceConfig={"InstanceType": LARGE, "InstanceCount": 3})
    shape = shape_of(asked(three), payload_of(json.dumps(three), Limits()), Service(memory=10, single=True))
    assert (shape.streams, shape.resources, shape.instances) == ((), Resources(3000, 10, 0), ((LARGE, 3),))


@pytest.mark.parametrize(("given", "seconds"), [(None, 86_400), (60, 60), (90_000, 86_400)])
def test_the_shorter_time_limit_is_the_shapes(given: int | None, seconds: int) -> None:
    members = {"timeoutConfig": {"attemptDurationSeconds": given}} if given else {}
    shape = shape_of(asked(body(), **members), payload_of(json.dumps(body()), Limits()), Service())
    assert shape.timeout == 1000 * seconds


def test_rules_and_preemptions_are_the_shapes() -> None:
    members = {
        "retryStrategy": {"attempts": 3, "evaluateOnExit": [{"action": "retry", "onStatusReason": "x*"}]},
        "preemptionConfiguration": {"preemptionRetriesBeforeTermination": 2},
        "schedulingPriority": 7,
    }
    shape = shape_of(asked(body(), **members), payload_of(json.dumps(body()), Limits()), Service())
    assert (shape.attempts, shape.rules, shape.preemptions) == (3, (Rule("RETRY", "x*"),), 2)
    assert shape.priority == 7
    assert shape_of(asked(body()), payload_of(json.dumps(body()), Limits()), Service()).preemptions == -1


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"TrainingJobName": "a_b"}, "TrainingJobName"),
        ({"ResourceConfig": {"InstanceCount": 1}}, "InstanceType"),
        ({"ResourceConfig": {"InstanceType": LARGE, "InstanceCount": 0}}, "between 1 and 1000"),
        ({"ResourceConfig": {"InstanceType": LARGE, "InstanceCount": 1001}}, "between 1 and 1000"),
        ({"ResourceConfig": {"InstanceType": LARGE, "InstanceCount": "many"}}, "InstanceCount"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "MaxRuntimeInSeconds"),
        ({"HyperParameters": {"A": 1}}, "HyperParameters"),
    ],
)
def test_a_payload_that_is_none_is_refused(members: dict[str, Any], words: str) -> None:
    assert words in refused(body(**members))


def test_a_payload_that_is_no_json_or_too_long_is_refused() -> None:
    assert "JSON object" in refused("{")
    assert "at most 20 bytes" in refused(body(), Limits(service_bytes=20))


def channel(name: str, uri: str = "s3://b/x", **members: str) -> dict[str, Any]:
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3Uri": uri, **members}}}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"AlgorithmSpecification": {}}, "TrainingImage"),
        ({"InputDataConfig": [channel("a/b")]}, "ChannelName"),
        ({"InputDataConfig": [channel("..")]}, "ChannelName"),
        ({"InputDataConfig": [channel("a"), channel("a")]}, "ChannelName"),
        ({"InputDataConfig": [channel("a", "s3://elsewhere")]}, "s3://elsewhere, is not here"),
        ({"InputDataConfig": [{"ChannelName": "a", "DataSource": {}}]}, "what is not in Amazon S3"),
    ],
)
def test_what_could_not_run_is_refused_unless_the_settings_say_what_runs(members: dict[str, Any], words: str) -> None:
    payload = payload_of(json.dumps(body(**members)), Limits())
    with pytest.raises(Refused) as caught:
        check_runs(payload, Service(), {"s3://b": "/b"})
    assert words in caught.value.message
    check_runs(payload, Service(command=["true"]), {})


def test_data_that_each_host_would_see_a_part_of_is_refused_of_several_hosts() -> None:
    sharded = [channel("a", S3DataDistributionType="ShardedByS3Key")]
    one = payload_of(json.dumps(body(InputDataConfig=sharded)), Limits())
    check_runs(one, Service(), {"s3://b": "/b"})
    config = {"InstanceType": LARGE, "InstanceCount": 2}
    two = payload_of(json.dumps(body(InputDataConfig=sharded, ResourceConfig=config)), Limits())
    check_runs(two, Service(single=True), {"s3://b": "/b"})
    with pytest.raises(Refused, match="FullyReplicated"):
        check_runs(two, Service(), {"s3://b": "/b"})


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"schedulingPriority": -1}, "schedulingPriority"),
        ({"timeoutConfig": {"attemptDurationSeconds": 59}}, "at least 60"),
        ({"retryStrategy": {"attempts": 0}}, "attempts must be"),
        ({"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "EXIT"}] * 6}}, "at most 5"),
        ({"retryStrategy": {"attempts": 2, "evaluateOnExit": [{}]}}, "needs an action"),
        (
            {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "EXIT", "onStatusReason": "*a"}]}},
            "asterisk",
        ),
        ({"preemptionConfiguration": {"preemptionRetriesBeforeTermination": -1}}, "negative"),
    ],
)
def test_members_beside_the_payload_have_their_form(members: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as caught:
        check_form(asked(body(), **members), Limits())
    assert words in caught.value.message
    check_form(asked(body()), Limits())
