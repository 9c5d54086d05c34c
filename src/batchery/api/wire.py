"""rest-json and json-1.1: which operation a request names, its shape from the body, the answer's body and headers.

Bodies decode straight into the generated shapes; unknown members are ignored and null is the same as absent. An
answer leaves out what is None, so an empty one is ``{}``. Sources: AWS Batch API reference; the service model.
"""

from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from batchery.api.call import HANDLERS, ApiError, Handler, client_error
from batchery.api.shapes import OPERATIONS, Operation
from batchery.api.signing import query_pairs, text
from batchery.api.targets import OWN, SERVICES, TARGETS
from batchery.api.wording import explain

REST: Final = "rest-json"
JSON: Final = "json-1.1"
OURS: Final = "own"

#: CloudWatch Logs, CloudTrail and ours speak JSON too, each with its name for it.
CONTENT_TYPES: Final = {REST: b"application/json", JSON: b"application/x-amz-json-1.1", OURS: b"application/json"}

#: Operations that IAM lets nobody restrict to a resource (Service Authorization Reference): their policy is checked
#: before the body is read into a shape. The handlers of the others say what they are about.
ON_ALL: Final = frozenset(name for name in OPERATIONS if name.startswith(("Describe", "List"))) - {
    "ListTagsForResource",
    "DescribeServiceJob",
}

#: Bulk forms are authorised as the single ones (API_CancelJobs).
_ACTIONS: Final = {
    "CancelJobs": "CancelJob",
    "TerminateJobs": "TerminateJob",
    "TerminateServiceJobs": "TerminateServiceJob",
}


class Route(Struct, frozen=True):
    """Where a request goes. ``service``: what its signature must be scoped to; ``label``: wire name of the member
    that is in the path; ``invalid``: code of a request that fails validation."""

    protocol: str
    service: str
    name: str
    action: str
    source: str
    decoder: msgspec.json.Decoder[Any]
    request: Any
    label: str = ""
    query: tuple[str, ...] = ()
    invalid: str = "ClientException"
    prefix: str = ""  # of X-Amz-Target


def _batch_route(operation: Operation) -> Route:
    return Route(
        REST,
        "batch",
        operation.name,
        "batch:" + _ACTIONS.get(operation.name, operation.name),
        "batch.amazonaws.com",
        msgspec.json.Decoder(operation.request),
        operation.request,
        operation.uri.partition("{")[2].rstrip("}"),
        operation.query,
    )


_POSTS: Final[dict[bytes, Route]] = {}
_LABELLED: Final[dict[tuple[bytes, str], Route]] = {}
for _operation in OPERATIONS.values():
    if "{" in _operation.uri:
        _LABELLED[_operation.uri.partition("{")[0].encode(), _operation.method] = _batch_route(_operation)
    else:
        _POSTS[_operation.uri.encode()] = _batch_route(_operation)
_PREFIXES: Final = tuple({prefix for prefix, _ in _LABELLED})
_MEMBERS: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()
_targets: dict[tuple[str, str], Route] = {}


def find_route(method: str, path: bytes, headers: dict[bytes, bytes]) -> Route | None:
    """The route of a request, None if there is none."""
    if method == "POST":
        route = _POSTS.get(path)
        if route is not None:
            return route
        if path == b"/" and b"x-amz-target" in headers:
            return _target_route(text(headers[b"x-amz-target"]))
        if path.startswith(b"/batchery/"):
            name = text(path[10:])
            return Route(OURS, "batch", name, f"batchery:{name}", "batchery", _MEMBERS, dict) if name in OWN else None
    for prefix in _PREFIXES:
        if path.startswith(prefix) and len(path) > len(prefix):
            return _LABELLED.get((prefix, method))
    return None


def _target_route(name: str) -> Route | None:
    """X-Amz-Target: ``Logs_20140328.GetLogEvents``, ``com.amazonaws.….CloudTrail_20131101.LookupEvents``.

    A service that is here with an operation that is not has a route without a shape.
    """
    prefix, _, operation = name.rpartition(".")
    prefix = prefix.rpartition(".")[2]
    if prefix not in SERVICES:
        return None
    found = TARGETS.get((prefix, operation))
    shape = found.request if found else None
    route = _targets.get((prefix, operation))
    if route is None or route.request is not shape:
        service, invalid = SERVICES[prefix]
        route = Route(
            JSON,
            service,
            operation,
            f"{service}:{operation}",
            f"{service}.amazonaws.com",
            msgspec.json.Decoder(shape or dict),
            shape,
            invalid=invalid,
            prefix=prefix,
        )
        if found:
            _targets[prefix, operation] = route
    return route


def find_handler(route: Route) -> Handler:
    """Who serves it. Raises ApiError for an operation that is known and not served."""
    if route.protocol == OURS:
        return OWN[route.name]
    if route.protocol == JSON:
        found = TARGETS.get((route.prefix, route.name))
        if found is None:
            raise ApiError(400, "UnknownOperationException", f"{route.name} is not served by this version of Batchery.")
        return found.handler
    handler = HANDLERS.get(route.name)
    if handler is None:
        raise client_error(f"{route.name} is not served by this version of Batchery.")
    return handler


def labels_of(route: Route, path: bytes, query: bytes) -> dict[str, Any]:
    """Members that are not in the body. The whole rest of the path is one label, its slashes raw or encoded."""
    if not route.label:
        return {}
    label = unquote(path.decode("latin-1").split("/", 3)[3])
    pairs = query_pairs(query) if route.query else []
    sent = {name: [text(value) for key, value in pairs if key == name.encode()] for name in route.query}
    return {route.label: label, **{name: values for name, values in sent.items() if values}}


def decode(route: Route, body: bytes, labels: dict[str, Any], request_id: str) -> Any:
    """The request's shape (a dict for our own endpoints). Raises ApiError 400."""
    body = body or b"{}"
    try:
        if not body.isascii():
            body.decode()  # members that are skipped are text as well: the request is kept as it was sent
        if b"\\u0000" in body and _has_nul(msgspec.json.decode(body)):
            raise ApiError(400, "ClientException", "The NUL character is not allowed in any text.")  # ours
        if route.label:
            members = _MEMBERS.decode(body)
            if isinstance(members, dict):
                members.update(labels)
            return msgspec.convert(members, route.request)
        asked = route.decoder.decode(body)
    except msgspec.ValidationError as error:
        raise explain(str(error), route.request, route.invalid, request_id) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed() from None
    if route.request is dict and not isinstance(asked, dict):
        raise malformed()
    return asked


def _has_nul(value: Any) -> bool:
    """No command, variable or stored text can hold one."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(_has_nul, value)) or any(map(_has_nul, value.values()))
    return isinstance(value, list) and any(map(_has_nul, value))


def malformed() -> ApiError:
    """The body is not a JSON object."""
    return ApiError(400, "SerializationException", "The request body could not be read as a JSON object.")


_encoder: Final = msgspec.json.Encoder()


def encode(answer: Any) -> bytes:
    """The body of an answer: ``{}`` for None."""
    return b"{}" if answer is None else _encoder.encode(answer)


def encode_error(protocol: str, error: ApiError) -> tuple[int, bytes]:
    """Status and body of an error. JSON 1.1 services answer every fault of the caller's with 400."""
    if protocol != JSON:
        return error.status, _encoder.encode({error.member: error.message})
    code = {"ServerException": "InternalFailure", "TooManyRequestsException": "ThrottlingException"}.get(
        error.code, error.code
    )
    status = error.status if error.status >= 500 else 400
    return status, _encoder.encode({"__type": code, error.member: error.message})
