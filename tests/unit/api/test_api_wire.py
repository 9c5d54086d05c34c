"""The wire: botocore serializes requests and parses answers; every shape of the model goes through unharmed."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import botocore
import botocore.parsers
import botocore.serialize
import botocore.session
import botocore.validate
import msgspec
import pytest
from botocore.awsrequest import prepare_request_dict
from botocore.model import OperationModel, Shape

from batchery.api import wire
from batchery.api.call import ApiError
from batchery.api.shapes import OPERATIONS
from batchery.api.signing import Incoming

MODEL = botocore.session.Session().get_service_model("batch")
EXAMPLES = json.loads((Path(botocore.__file__).parent / "data/batch/2016-08-10/examples-1.json").read_text())[
    "examples"
]
SAMPLES = [(name, example) for name, examples in EXAMPLES.items() for example in examples]
ARN = "arn:aws:batch:us-east-1:123456789012:job-definition/sleep30:1"


def sample(shape: Shape) -> Any:
    """A value with every member of a shape, within its constraints."""
    limits = shape.metadata
    match shape.type_name:
        case "structure":
            return {name: sample(member) for name, member in shape.members.items()}  # type: ignore[attr-defined]
        case "list":
            return [sample(shape.member)]  # type: ignore[attr-defined]
        case "map":
            return {sample(shape.key): sample(shape.value)}  # type: ignore[attr-defined]
        case "string":
            return limits["enum"][-1] if limits.get("enum") else "täxt/:%"
        case "boolean":
            return False
        case "float" | "double":
            return 1.5
        case _:
            return limits.get("max", 2**31 - 1)


def sent(model: OperationModel, members: dict[str, Any]) -> Incoming:
    """A request as botocore puts it on the wire."""
    serializer = botocore.serialize.create_serializer("rest-json")
    request = serializer.serialize_to_request(members, model)
    prepare_request_dict(request, "http://127.0.0.1:8642")
    parts = urlsplit(request["url"])
    body = request["body"] or b""
    return Incoming(request["method"], parts.path.encode(), parts.query.encode(), {}, [], body)


def decoded(request: Incoming) -> tuple[wire.Route, Any]:
    route = wire.find_route(request.method, request.path, request.headers)
    assert route is not None
    labels = wire.labels_of(route, request.path, request.query)
    return route, wire.decode(route, request.body, labels, "req-1")


def received(model: OperationModel, body: bytes) -> dict[str, Any]:
    """An answer as botocore's parser gives it to the user."""
    parser = botocore.parsers.create_parser("rest-json")
    answer = {"status_code": 200, "headers": {}, "body": body}
    parsed = parser.parse(answer, model.output_shape)
    del parsed["ResponseMetadata"]
    assert isinstance(parsed, dict)
    return parsed


def refused(name: str, body: str, *, wrapped: bool) -> str:
    """The text of the ClientException for a body; wrapped in AWS's validation-layer style or bare."""
    with pytest.raises(ApiError) as caught:
        decoded(Incoming("POST", f"/v1/{name.lower()}".encode(), b"", {}, [], body.encode()))
    error = caught.value
    assert (error.status, error.code, error.member) == (400, "ClientException", "message")
    if wrapped:
        assert error.message.startswith("Error executing request, Exception : ")
        assert error.message.endswith(", RequestId: req-1")
        return error.message[37:-18]
    return error.message


# ------------------------------------------------------------------------------------------------- every shape


def test_all_operations_have_routes() -> None:
    assert set(OPERATIONS) == set(MODEL.operation_names)
    for name in OPERATIONS:
        http = MODEL.operation_model(name).http
        path = http["requestUri"].replace("{resourceArn}", quote(ARN, safe="")).encode()
        route = wire.find_route(http["method"], path, {})
        assert route is not None
        assert (route.name, route.service, route.protocol) == (name, "batch", wire.REST)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_full_request(name: str) -> None:
    model = MODEL.operation_model(name)
    members = sample(model.input_shape)
    assert not botocore.validate.ParamValidator().validate(members, model.input_shape).has_errors()
    route, shape = decoded(sent(model, members))
    assert route.name == name
    assert msgspec.to_builtins(shape) == members


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_full_answer(name: str) -> None:
    model = MODEL.operation_model(name)
    members = sample(model.output_shape)
    answer = msgspec.convert(members, OPERATIONS[name].response)
    assert received(model, wire.encode(answer)) == members


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_empty_answer_has_nothing_in_it(name: str) -> None:
    assert wire.encode(OPERATIONS[name].response()) == b"{}"


@pytest.mark.parametrize(("name", "example"), SAMPLES, ids=[example["id"] for _, example in SAMPLES])
def test_botocores_examples(name: str, example: dict[str, Any]) -> None:
    model = MODEL.operation_model(name)
    route, shape = decoded(sent(model, example["input"]))
    assert route.name == name
    assert msgspec.to_builtins(shape) == example["input"]
    members = example.get("output", {})
    answer = msgspec.convert(members, OPERATIONS[name].response)
    assert received(model, wire.encode(answer)) == received(model, json.dumps(members).encode())


# ------------------------------------------------------------------------------------------------------ routes


@pytest.mark.parametrize(
    "path", ["/v1/tags/" + quote(ARN, safe=""), "/v1/tags/" + ARN, "/v1/tags/" + quote(ARN, safe="/")]
)
def test_an_arn_is_one_label_encoded_or_not(path: str) -> None:
    route, shape = decoded(Incoming("GET", path.encode(), b"", {}, [], b""))
    assert (route.name, shape.resource_arn) == ("ListTagsForResource", ARN)


def test_the_label_counts_not_the_body() -> None:
    body = b'{"resourceArn": "other", "tags": {"a": "b"}}'
    _, shape = decoded(Incoming("POST", b"/v1/tags/" + quote(ARN, safe="").encode(), b"", {}, [], body))
    assert (shape.resource_arn, shape.tags) == (ARN, {"a": "b"})


def test_tag_keys_of_the_query() -> None:
    path = b"/v1/tags/" + quote(ARN, safe="").encode()
    _, shape = decoded(Incoming("DELETE", path, b"tagKeys=a%20b&x=y&tagKeys=c", {}, [], b""))
    assert shape.tag_keys == ["a b", "c"]
    with pytest.raises(ApiError, match="'tagKeys' is a required field"):
        decoded(Incoming("DELETE", path, b"", {}, [], b""))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/canceljob"),
        ("PUT", "/v1/canceljob"),
        ("HEAD", "/v1/canceljob"),
        ("POST", "/v1/CancelJob"),
        ("POST", "/v1/canceljob/"),
        ("POST", "/v1/nothing"),
        ("POST", "/v1/tags/"),
        ("PUT", "/v1/tags/x"),
        ("POST", "/"),
        ("GET", "/"),
        ("POST", "/batchery/nothing-of-ours"),
        ("GET", "/batchery/why"),
    ],
)
def test_no_such_route(method: str, path: str) -> None:
    assert wire.find_route(method, path.encode(), {}) is None


# ----------------------------------------------------------------------------------------------------- decoding


def test_no_body_is_an_empty_object() -> None:
    _, shape = decoded(Incoming("POST", b"/v1/listjobs", b"", {}, [], b""))
    assert shape == OPERATIONS["ListJobs"].request()


def test_null_is_absent_and_unknown_members_are_ignored() -> None:
    body = b'{"jobQueue": "q", "nextToken": null, "filters": null, "Unknown": {"a": [1]}}'
    _, shape = decoded(Incoming("POST", b"/v1/listjobs", b"", {}, [], body))
    assert shape == OPERATIONS["ListJobs"].request(job_queue="q")


def test_an_empty_tag_map_is_accepted() -> None:
    body = b'{"jobName":"a","jobQueue":"q","jobDefinition":"d","tags":{}}'
    _, shape = decoded(Incoming("POST", b"/v1/submitjob", b"", {}, [], body))
    assert shape.tags == {}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"jobId": "a", "reason": "r", "tags": {}} x',
        b"[]",
        b'"text"',
        b"null",
        b'{"jobId": "\xff"}',
        b'{"jobId": "a", "reason": "r", "other": "\xff"}',
        b'{"jobId": "a", "reason": "r", "x": ' + b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("path", [b"/v1/canceljob", b"/v1/tags/x"])
def test_malformed_bodies(path: bytes, body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        decoded(Incoming("POST", path, b"", {}, [], body))
    assert (caught.value.status, caught.value.code) == (400, "SerializationException")


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        ("CancelJob", "{}", "'jobId' is a required field (cannot be an empty string)"),
        ("CancelJob", '{"jobId":"","reason":"r"}', "'jobId' is a required field (cannot be an empty string)"),
        ("CancelJob", '{"jobId":null,"reason":"r"}', "'jobId' is a required field (cannot be an empty string)"),
        ("TerminateJob", '{"jobId":"a"}', "'reason' is a required field (cannot be an empty string)"),
        ("TerminateJob", '{"jobId":"a","reason":""}', "'reason' is a required field (cannot be an empty string)"),
        ("DescribeJobs", "{}", "'jobs' is a required field"),
        ("CreateJobQueue", '{"jobQueueName":"q"}', "'priority' is a required field"),
        (
            "CreateJobQueue",
            '{"jobQueueName":"q","priority":1,"computeEnvironmentOrder":[{"order":1}]}',
            "'computeEnvironmentOrder[0].computeEnvironment' is a required field",
        ),
    ],
)
def test_missing_members(name: str, body: str, text: str) -> None:
    assert refused(name, body, wrapped=False) == text


SUBMIT = '{"jobName":"a","jobQueue":"q","jobDefinition":"d",'


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        (
            "CancelJob",
            '{"jobId":5,"reason":"r"}',
            "Value at 'jobId' failed to satisfy constraint: Member must be of type string",
        ),
        (
            "CancelJobs",
            '{"jobs":"a","reason":"r"}',
            "Value at 'jobs' failed to satisfy constraint: Member must be of type list",
        ),
        (
            "CreateJobQueue",
            '{"jobQueueName":"q","priority":1,"state":"ON"}',
            "Value at 'state' failed to satisfy constraint: Member must satisfy enum value set: [ENABLED, DISABLED]",
        ),
        (
            "SubmitJob",
            SUBMIT + '"dependsOn":[{"type":"N_TO_N\\n"}]}',
            "Value at 'dependsOn[0].type' failed to satisfy constraint: Member must satisfy enum value set: "
            "[N_TO_N, SEQUENTIAL]",
        ),
        (
            "SubmitJob",
            SUBMIT + '"retryStrategy":{"evaluateOnExit":[{"action":"STAY"}]}}',
            "Value at 'retryStrategy.evaluateOnExit[0].action' failed to satisfy constraint: Member must satisfy enum "
            "value set: [RETRY, EXIT]",
        ),
        (
            "SubmitJob",
            SUBMIT + '"arrayProperties":{"size":5000000000}}',
            "Value at 'arrayProperties.size' failed to satisfy constraint: Member must have value less than or "
            "equal to 2147483647",
        ),
        (
            "SubmitJob",
            SUBMIT + '"timeout":{"attemptDurationSeconds":1.5}}',
            "Value at 'timeout.attemptDurationSeconds' failed to satisfy constraint: Member must be of type integer",
        ),
        (
            "SubmitJob",
            SUBMIT + '"parameters":{"a":null}}',
            "Value at 'parameters[...]' failed to satisfy constraint: Member must not be null",
        ),
        (
            "SubmitJob",
            SUBMIT + '"tags":{"":"x"}}',
            "A key of 'tags' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        (
            "SubmitJob",
            SUBMIT + '"containerOverrides":{"resourceRequirements":[{"type":"VCPU","value":""}]}}',
            "Value at 'containerOverrides.resourceRequirements[0].value' failed to satisfy constraint: Member must "
            "have length greater than or equal to 1",
        ),
        (
            "SubmitJob",
            SUBMIT + '"containerOverrides":[]}',
            "Value at 'containerOverrides' failed to satisfy constraint: Member must be of type object",
        ),
        (
            "SubmitJob",
            SUBMIT + '"propagateTags":"yes"}',
            "Value at 'propagateTags' failed to satisfy constraint: Member must be of type boolean",
        ),
    ],
)
def test_bad_members(name: str, body: str, text: str) -> None:
    assert refused(name, body, wrapped=True) == "1 validation error detected: " + text


def test_the_action_of_a_retry_rule_has_no_case() -> None:
    body = (SUBMIT + '"retryStrategy":{"evaluateOnExit":[{"action":"retry"}]}}').encode()
    _, shape = decoded(Incoming("POST", b"/v1/submitjob", b"", {}, [], body))
    assert shape.retry_strategy.evaluate_on_exit[0].action == "retry"


# ------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("protocol", "error", "expected"),
    [
        (wire.REST, ApiError(400, "ClientException", "no"), (400, b'{"message":"no"}')),
        (wire.REST, ApiError(403, "AccessDeniedException", "no", "Message"), (403, b'{"Message":"no"}')),
        (wire.OURS, ApiError(500, "ServerException", "no"), (500, b'{"message":"no"}')),
        (
            wire.JSON,
            ApiError(404, "ResourceNotFoundException", "no"),
            (400, b'{"__type":"ResourceNotFoundException","message":"no"}'),
        ),
        (wire.JSON, ApiError(500, "ServerException", "no"), (500, b'{"__type":"InternalFailure","message":"no"}')),
        (
            wire.JSON,
            ApiError(429, "TooManyRequestsException", "no"),
            (400, b'{"__type":"ThrottlingException","message":"no"}'),
        ),
    ],
)
def test_errors(protocol: str, error: ApiError, expected: tuple[int, bytes]) -> None:
    assert wire.encode_error(protocol, error) == expected
