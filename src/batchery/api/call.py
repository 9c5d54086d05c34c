"""One API call, from authentication to the activity log, and the registry of operations."""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from batchery.api import record
from batchery.api.policy import ALLOW, DENY, Policy
from batchery.core.messages import Command
from batchery.core.model import Realm
from batchery.run.port import Service
from batchery.store.store import Activity


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
    policy: Policy | None = None  # None: everything in the account


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
    action: str = ""  # as IAM names it: batch:CancelJob
    source: str = "batch.amazonaws.com"  # eventSource of the activity record
    labels: dict[str, Any] = {}  # members sent in the path or the query
    decoded: bool = False  # the body is valid JSON
    checked: bool = False  # the policy was asked
    recorded: bool = False  # an activity record rides in the commit

    async def submit(self, command: Command, respond: Callable[[Any], Any] | None = None) -> Any:
        """Send a command; ``respond`` makes the response shape from the answer. The activity record of a success
        rides in the same commit (with the first command, if a handler sends several). Returns the response (``None``
        for an empty one). A handler that did not ask `allow` needs the action on every resource."""
        if not self.checked:
            self.allow(self.action)
        made: list[Any] = []

        def note(answer: Any) -> Activity:
            made[:] = [respond(answer) if respond else None]
            return record.success(self, made[0])

        answer = await self.service.submit(command, None if self.recorded else note)
        self.recorded = True
        if made:
            return made[0]
        return respond(answer) if respond else None

    def refuse(self, message: str, wrapped: bool = True) -> ApiError:
        """A ClientException to raise; wrapped is AWS's validation-layer style, bare its business-layer style."""
        return client_error(message, self.request_id if wrapped else "")

    def allow(self, action: str, *arns: str) -> None:
        """Check the caller's policy for ``action`` on each ARN, or on "*" if none is given.

        Raises ApiError 403 AccessDeniedException.
        """
        self.checked = True
        self.resources += arns
        if self.caller.policy is None:
            return
        for arn in arns or ("*",):
            verdict = self.caller.policy.decide(action, arn)
            if verdict != ALLOW:
                raise self._denial(action, arn, verdict)

    def allow_making(self, action: str, arn: str, tags: object) -> None:
        """Of what is made, and for which TagResource has to be allowed as well if it is made with ``tags``."""
        self.allow(action, arn)
        if tags:
            self.allow("batch:TagResource", arn)

    def _denial(self, action: str, arn: str, verdict: str) -> ApiError:
        why = (
            "with an explicit deny in an identity-based policy"
            if verdict == DENY
            else f"because no identity-based policy allows the {action} action"
        )
        message = f"User: {self.caller.arn} is not authorized to perform: {action} on resource: {arn} {why}"
        return ApiError(403, "AccessDeniedException", message, member="Message")


Handler = Callable[[Call, Any], Awaitable[Any]]
#: Operation name -> handler(call, request shape) -> response shape or None. Filled by @operation.
HANDLERS: dict[str, Handler] = {}


def operation(handler: Handler) -> Handler:
    """Register a handler; its name in CamelCase is the operation: ``cancel_job`` serves CancelJob."""
    HANDLERS["".join(part.capitalize() for part in handler.__name__.split("_"))] = handler
    return handler
