"""What a decoder says of a bad request, in AWS's words.

A missing or empty required member has the text seen on AWS ("'jobId' is a required field (cannot be an empty
string)"); for the rest AWS's texts are not known, so ours follow its common validation layer ("Value at 'state'
failed to satisfy constraint: ...").
"""

import re
from typing import Any

import msgspec

from batchery.api.call import ApiError, client_error

_FAULT = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$\.?(?P<path>.*)`)?", re.DOTALL)
_KINDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "array": "list", "object": "object"}


def explain(fault: str, shape: Any, code: str, request_id: str) -> ApiError:
    """The error of a request that does not fit ``shape``; ``fault`` is the decoder's message, ``code`` the
    service's for validation."""
    found = _FAULT.fullmatch(fault)
    what, path = (found["what"], found["path"] or "") if found else (fault, "")
    if not path and what.startswith("Expected `object`"):
        return ApiError(400, "SerializationException", "The request body could not be read as a JSON object.")
    if missing := re.fullmatch(r"Object missing required field `(.+)`", what):
        path = f"{path}.{missing[1]}" if path else missing[1]
        what = "missing"
    elif path in _required(shape) and (what.endswith("got `null`") or what == "Expected `str` of length >= 1"):
        what = "missing"
    if what == "missing":
        message, wrapped = f"'{path}' is a required field{_emptiness(shape, path)}", ""
    else:
        where = f"A key of '{path}'" if found and found["key"] else f"Value at '{path}'"
        message, wrapped = (
            f"1 validation error detected: {where} failed to satisfy constraint: {_rule(what)}",
            request_id,
        )
    return client_error(message, wrapped) if code == "ClientException" else ApiError(400, code, message)


def _required(shape: Any) -> dict[str, Any]:
    """Top-level members that a request must carry, by wire name."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(shape) if field.required}


def _emptiness(shape: Any, path: str) -> str:
    kind = msgspec.inspect.type_info(_required(shape).get(path, int))
    return " (cannot be an empty string)" if isinstance(kind, msgspec.inspect.StrType) else ""


def _rule(what: str) -> str:
    """``Expected `int` <= 3`` -> ``Member must have value less than or equal to 3``."""
    if values := re.search(r"matching regex '(?:\(\?i\))?\^\((.*)\)\\\\Z'", what):
        return f"Member must satisfy enum value set: [{', '.join(values[1].split('|'))}]"
    if limit := re.search(r"(of length )?(<=|>=) (-?\d+)", what):
        measure = "length" if limit[1] else "value"
        return f"Member must have {measure} {'less' if limit[2] == '<=' else 'greater'} than or equal to {limit[3]}"
    if what.endswith("got `null`"):
        return "Member must not be null"
    if kind := re.match(r"Expected `(\w+)", what):
        return f"Member must be of type {_KINDS.get(kind[1], kind[1])}"
    return what
