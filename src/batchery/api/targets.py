"""Operations that are not in Batch's model: JSON 1.1 services on the same port, and our own endpoints.

CloudWatch Logs and CloudTrail are called as ``POST /`` with ``X-Amz-Target: Logs_20140328.GetLogEvents``; ours, for
the command line, as ``POST /batchery/<name>``. All are signed as Batch's operations are.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from batchery.api.call import Call, Handler


class Target(Struct, frozen=True):
    """One operation of a JSON 1.1 service."""

    handler: Handler
    request: type[Struct]


#: What the credential scope must name, and the code of a request that fails validation, by prefix of X-Amz-Target.
SERVICES = {
    "Logs_20140328": ("logs", "InvalidParameterException"),
    "CloudTrail_20131101": ("cloudtrail", "ValidationException"),
}

OwnHandler = Callable[[Call, dict[str, Any]], Awaitable[dict[str, Any]]]

#: (prefix, operation) -> what serves it. Filled by @target.
TARGETS: dict[tuple[str, str], Target] = {}
#: Last part of the path -> handler(call, request as a dict) -> answer as a dict. Filled by @own.
OWN: dict[str, OwnHandler] = {}


def target(prefix: str, request: type[Struct]) -> Callable[[Handler], Handler]:
    """Register a handler(call, request) -> Struct, dict or None; ``get_log_events`` serves GetLogEvents.

    ``prefix`` is a key of SERVICES. Longer forms that end in it ("com.amazonaws...CloudTrail_20131101") are met too.
    ApiError raised by the handler is answered in the service's form: ``{"__type": code, "message": text}``.
    """
    if prefix not in SERVICES:
        raise ValueError(f"{prefix} is not a service of this port")

    def register(handler: Handler) -> Handler:
        name = "".join(part.capitalize() for part in handler.__name__.split("_"))
        TARGETS[prefix, name] = Target(handler, request)
        return handler

    return register


def own(name: str) -> Callable[[OwnHandler], OwnHandler]:
    """Register a handler(call, dict) -> dict for ``POST /batchery/NAME``; the IAM action is ``batchery:NAME``."""

    def register(handler: OwnHandler) -> OwnHandler:
        OWN[name] = handler
        return handler

    return register
