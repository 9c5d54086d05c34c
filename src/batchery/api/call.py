"""One API call, from authentication to the activity log, and the registry of operations."""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from batchery.core.model import Realm
from batchery.run.port import Service


class ApiError(Exception):
    """An error in AWS's form. ``code`` is the x-amzn-errortype; ``member`` the body's key for the text."""

    def __init__(self, status: int, code: str, message: str, member: str = "message") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.member = status, code, message, member


def client_error(message: str, wrapped: str = "") -> ApiError:
    """ClientException, 400. With ``wrapped`` (the request id) in the text style of AWS's validation layer."""
    text = f"Error executing request, Exception : {message}, RequestId: {wrapped}" if wrapped else message
    return ApiError(400, "ClientException", text)


class Caller(Struct, frozen=True):
    """Who signed the request."""

    account: str
    access_key: str
    arn: str  # arn:aws:iam::ACCOUNT:user/NAME
    name: str


class Call(Struct):
    """Everything about one request that a handler may need."""

    service: Service
    realm: Realm
    caller: Caller
    request_id: str
    operation: str
    body: bytes  # as sent
    source_ip: str = ""
    user_agent: str = ""
    resources: list[str] = []  # ARNs that the handler found the call to be about; policy checks them

    async def submit(self, command: Any, respond: Callable[[Any], Any] | None = None) -> Any:
        """Send a command; ``respond`` makes the response shape from the answer. The activity record of a success
        rides in the same commit. Returns the response (``None`` for an empty one)."""
        raise NotImplementedError

    def refuse(self, message: str, wrapped: bool = True) -> ApiError:
        """A ClientException to raise; wrapped is AWS's validation-layer style, bare its business-layer style."""
        return client_error(message, self.request_id if wrapped else "")

    def allow(self, action: str, *arns: str) -> None:
        """Check the caller's policy for ``action`` on each ARN. Raises ApiError 403 AccessDeniedException."""
        raise NotImplementedError


Handler = Callable[[Call, Any], Awaitable[Any]]
#: Operation name -> handler(call, request shape) -> response shape or None. Filled by @operation.
HANDLERS: dict[str, Handler] = {}


def operation(handler: Handler) -> Handler:
    """Register a handler; its name in CamelCase is the operation: ``cancel_job`` serves CancelJob."""
    HANDLERS["".join(part.capitalize() for part in handler.__name__.split("_"))] = handler
    return handler
