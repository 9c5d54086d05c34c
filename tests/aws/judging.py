"""Every answer of every test has the shape that AWS's model gives it, raw and as botocore parses it.

What the model knows and the answer has must be of the right type; what the answer has must be in the model; what the
model requires must be there, but for the few members that AWS itself leaves out while there is nothing to tell.

`install` adds the judge to every session of botocore that is made in this process, so no test can forget it; the
verdict is raised where the call was made. Answers of anything but Batchery (known by a header) are not judged.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import botocore
import botocore.session
from botocore.validate import ParamValidator

#: Required by the model, and left out by AWS until a job has begun.
ABSENT = re.compile(r"(jobs\[\d+\]|input)\.startedAt")
#: AWS answers these in lower case, whatever the model says; of service jobs nobody has told.
LOWER = re.compile(r"^(?!DescribeServiceJob).*\.evaluateOnExit\[\d+\]\.action$")
KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
}


def faults(value: Any, shape: Any, place: str) -> Iterator[str]:
    """What of a raw JSON value is not as the shape says."""
    if shape.type_name == "structure":
        if not isinstance(value, dict):
            yield f"{place} is no object: {value!r}"
            return
        members = {inner.serialization.get("name", name): inner for name, inner in shape.members.items()}
        for name, inner in value.items():
            if name in members:
                yield from faults(inner, members[name], f"{place}.{name}")
            else:
                yield f"{place}.{name} is not in the model"
    elif shape.type_name == "list":
        if not isinstance(value, list):
            yield f"{place} is no list: {value!r}"
            return
        for number, inner in enumerate(value):
            yield from faults(inner, shape.member, f"{place}[{number}]")
    elif shape.type_name == "map":
        if not isinstance(value, dict):
            yield f"{place} is no map: {value!r}"
            return
        for name, inner in value.items():
            yield from faults(inner, shape.value, f"{place}[{name}]")
    else:
        kind = KINDS[shape.type_name]
        if LOWER.search(place) and isinstance(value, str):
            assert value == value.lower()
            value = value.upper()
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            yield f"{place} is no {shape.type_name}: {value!r}"
        elif shape.type_name == "string" and getattr(shape, "enum", None) and value not in shape.enum:
            yield f"{place} is none of {shape.enum}: {value!r}"


def missing(parsed: dict[str, Any], shape: Any) -> list[str]:
    """What botocore's own validator finds wrong with an answer as it parsed it."""
    members = {name: value for name, value in parsed.items() if name != "ResponseMetadata"}
    report = ParamValidator().validate(members, shape)
    lines = report.generate_report().splitlines() if report.has_errors() else []
    return [line for line in lines if not _allowed(line)]


def _allowed(line: str) -> bool:
    found = re.fullmatch(r'Missing required parameter in (\S+): "(\w+)"', line)
    return found is not None and ABSENT.fullmatch(f"{found[1]}.{found[2]}") is not None


#: As events of botocore name the services that Batchery speaks -> their models.
SERVICES: Final = {"batch": "batch", "cloudwatch-logs": "logs", "cloudtrail": "cloudtrail"}
#: Operations that were answered with success since the start of the tests, and what the judge found wrong with them.
ANSWERED: Final[set[str]] = set()
PROBLEMS: Final[list[str]] = []


@cache
def _model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def verdict(service: str, operation: str, reply: dict[str, Any], parsed: dict[str, Any]) -> list[str]:
    """What is wrong with a successful answer."""
    shape = _model(service).operation_model(operation).output_shape
    body, headers = reply["body"], reply["headers"]
    problems = []
    if headers["content-length"] != str(len(body)):
        problems.append(f"{operation} answers {len(body)} bytes and says {headers['content-length']}")
    if headers["content-type"] not in ("application/json", "application/x-amz-json-1.1"):
        problems.append(f"{operation} answers {headers['content-type']}")
    if shape is None or not shape.members:
        return problems if body in (b"", b"{}") else [*problems, f"{operation} answers {body!r}"]
    problems += faults(json.loads(body), shape, operation)
    return problems + [f"{operation}: {line}" for line in missing(parsed, shape)]


def judge(response_dict: dict[str, Any], parsed_response: dict[str, Any], event_name: str, **others: Any) -> None:
    """Raises AssertionError, and notes it for the end of the test in case a thread swallows that."""
    _, service, operation = event_name.split(".")
    if response_dict is None:
        return  # the connection broke
    ours = "x-amzn-trace-id" in response_dict["headers"]
    if not ours or service not in SERVICES or response_dict["status_code"] != 200:
        return
    problems = verdict(SERVICES[service], operation, response_dict, parsed_response)
    ANSWERED.add(operation)
    PROBLEMS.extend(problems)
    assert not problems, "\n".join(problems)


def install() -> None:
    """From now on every session that is made has the judge."""
    botocore.register_initializer(lambda session: session.register("response-received", judge))
