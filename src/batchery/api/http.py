"""The service as a plain ASGI app: read the body, find the operation, authenticate, answer, record.

    read ─► route ─► verify ─► decode ─► handler ─► encode ─► (record) ─► send

Authentication comes before anything is said about the body, as on AWS. Whatever happens, exactly one answer leaves,
in the form of the protocol that was asked; a call on a known route that was refused, denied or failed, and a read,
is recorded here; a change records itself in its commit (`Call.submit`).
"""

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from batchery import __version__
from batchery.api import record, wire
from batchery.api.call import ApiError, Call, Caller, client_error
from batchery.api.ids import make_id
from batchery.api.jobendpoints import JobEndpoints
from batchery.api.jobkeys import PREFIX
from batchery.api.keys import Keys, keys_required
from batchery.api.policy import parse
from batchery.api.serving import uvicorn_config
from batchery.api.signing import Incoming, text
from batchery.api.sigv4 import Verified, Verifier, missing_token
from batchery.api.throttle import Throttle, too_many
from batchery.config import Config
from batchery.core.messages import Refused
from batchery.core.model import Realm
from batchery.run.port import Busy, Service, Unavailable
from batchery.spec.names import partition

__all__ = ["App", "make_app", "uvicorn_config"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

CLOSE: Final[Header] = (b"connection", b"close")

_log = logging.getLogger(__name__)


class Disconnected(Exception):
    """The client went away while its body was read."""


def make_app(
    service: Service,
    keys: Keys,
    config: Config,
    ready: Callable[[], bool] = lambda: True,
    clock: Callable[[], float] = time.time,
    jobs: JobEndpoints | None = None,
) -> "App":
    """The ASGI callable. ``ready`` says whether /health answers 200; ``clock`` (s) is what signatures are held to."""
    return App(service, keys, config, ready, clock, jobs)


class App:
    """One service behind HTTP."""

    def __init__(
        self,
        service: Service,
        keys: Keys,
        config: Config,
        ready: Callable[[], bool],
        clock: Callable[[], float],
        jobs: JobEndpoints | None = None,
    ) -> None:
        self.jobs = jobs
        self.service, self.keys, self.config, self.ready, self.clock = service, keys, config, ready, clock
        self.verifier = Verifier(keys, keys_required(config), jobs.keys.find if jobs is not None else None)
        self.throttle = Throttle(config.rates)
        self._realms: dict[Realm, Realm] = {}
        self._limit = config.limits.body_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _lifespan(scope, receive, send)
            return
        method: str = scope["method"]
        pairs: list[Header] = scope["headers"]
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        if path == b"/health" and method in ("GET", "HEAD"):
            await self._health(method, send)
            return
        if path.startswith(b"/job/") and method == "GET" and self.jobs is not None:
            given = text(dict(pairs).get(b"authorization", b""))
            found = self.jobs.answer(text(path), given, self.clock())
            if found is not None:
                await _answer(send, *found)
                return
        request = Incoming(method, path, scope["query_string"], dict(pairs), pairs, b"")
        request_id = make_id()
        extra: tuple[Header, ...] = ()
        protocol = wire.REST
        try:
            request.body = await self._read_body(request, receive)
            route = wire.find_route(method, path, request.headers)
            if route is None:
                raise missing_token()
            protocol = route.protocol
            body = await self._serve(route, request, request_id, scope.get("client"))
            status, errortype = 200, b""
        except ApiError as error:
            status, body = wire.encode_error(protocol, error)
            errortype = error.code.encode("latin-1", "replace")
            extra = (CLOSE,) if error.status == 413 else ()
        except Disconnected:
            return
        await send({"type": "http.response.start", "status": status, "headers": [
            (b"content-type", wire.CONTENT_TYPES[protocol]),
            (b"content-length", b"%d" % len(body)),
            *_traced(request_id),
            *(((b"x-amzn-errortype", errortype),) if errortype else ()),
            *extra,
        ]})  # fmt: skip
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    async def _serve(self, route: wire.Route, request: Incoming, request_id: str, client: Any) -> bytes:
        """The body of a success. Raises ApiError for everything else."""
        call = Call(
            service=self.service,
            realm=Realm(self.config.account, self.config.region),
            caller=_nobody(self.config.account),
            request_id=request_id,
            operation=route.name,
            body=request.body,
            source_ip=client[0] if client else "",
            user_agent=text(request.headers.get(b"user-agent", b"")),
            action=route.action,
            source=route.source,
        )
        try:
            self._identify(call, self.verifier.verify(request, route.service, int(self.clock())))
            if route.protocol != wire.OURS:
                self.throttle.take(call.realm.account, route.name, time.monotonic())
            if call.realm not in self._realms:
                await self._ensure(call.realm)
            if route.name in wire.ON_ALL or route.protocol == wire.OURS:
                call.allow(call.action)
            handler = wire.find_handler(route)
            call.labels = wire.labels_of(route, request.path, request.query)
            asked = wire.decode(route, request.body, call.labels, request_id)
            call.decoded = True
            answer = await handler(call, asked)
            if not call.checked:
                call.allow(call.action)
            body = wire.encode(answer)
        except Exception as error:
            refusal = as_api_error(error, request_id)
            if route.protocol != wire.OURS:
                self.service.record(record.failure(call, refusal))
            raise refusal from None
        if not call.recorded and route.protocol != wire.OURS and route.name not in record.UNRECORDED:
            self.service.record(record.success(call, answer))
        return body

    def _identify(self, call: Call, who: Verified) -> None:
        key = who.key
        account, name = (self.config.account, who.access_key) if key is None else (key.account, key.name)
        realm = Realm(account, who.region)
        call.realm = self._realms.get(realm, realm)
        arn = f"arn:{partition(who.region)}:iam::{account}:user/{name}"
        policy = self.keys.policy(key) if key else None
        if key is not None and key.id.startswith(PREFIX):
            arn = f"arn:{partition(who.region)}:sts::{account}:assumed-role/{name}"
            policy = parse(key.policy) if key.policy is not None else None
        call.caller = Caller(account, who.access_key, arn, name, policy)

    async def _ensure(self, realm: Realm) -> None:
        """A realm that is used for the first time gets its ready-made queue."""
        ensure = getattr(self.service, "ensure_realm", None)
        if ensure is not None:
            await ensure(realm)
        self._realms[realm] = realm

    async def _read_body(self, request: Incoming, receive: Receive) -> bytes:
        """All of it, within the limit; the deadline is `serving.Guarded`'s. Raises ApiError or Disconnected."""
        declared = request.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared[:20]) > self._limit:
            raise self._too_large()
        if declared == b"0" or (not declared and b"transfer-encoding" not in request.headers):
            return b""
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            message, body = await self._read_more(body, receive)
        if message["type"] == "http.disconnect":
            raise Disconnected
        if len(body) > self._limit:
            raise self._too_large()
        return body

    async def _read_more(self, first: bytes, receive: Receive) -> tuple[Message, bytes]:
        """The last message and the body as far as it came, at most one message beyond the limit."""
        parts, size = [first], len(first)
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limit or not message.get("more_body"):
                return message, b"".join(parts)

    def _too_large(self) -> ApiError:
        message = f"The request body must be at most {self._limit} bytes."
        return ApiError(413, "RequestEntityTooLargeException", message)

    async def _health(self, method: str, send: Send) -> None:
        good = self.ready()
        body = wire.encode({"status": "serving" if good else "starting", "version": __version__})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *_traced(make_id())]
        await send({"type": "http.response.start", "status": 200 if good else 503, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *_traced(make_id())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def as_api_error(error: Exception, request_id: str) -> ApiError:
    """What the client is told of an exception; what nobody expected is logged here, once, with its traceback."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Refused):
        return client_error(error.message, request_id if error.wrapped else "")
    if isinstance(error, Busy):
        return too_many()
    if isinstance(error, Unavailable):
        why = str(error) or "The change could not be stored, and nothing has changed"
        return ApiError(500, "ServerException", f"{why.rstrip('.')}. Please retry. RequestId: {request_id}")
    _log.error("Request %s failed unexpectedly", request_id, exc_info=error)
    return ApiError(500, "ServerException", f"An internal error occurred. RequestId: {request_id}")


def _nobody(account: str) -> Caller:
    """Who calls until the signature is verified: an empty ARN is nobody we know."""
    return Caller(account, "", "", "")


def _traced(request_id: str) -> tuple[Header, Header]:
    digits = request_id.replace("-", "")
    trace = f"Root=1-{int(time.time()):08x}-{digits[:24]}"
    return (b"x-amzn-requestid", request_id.encode()), (b"x-amzn-trace-id", trace.encode())


async def _lifespan(scope: Message, receive: Receive, send: Send) -> None:
    """Servers that insist on it are told that start-up and shutdown are done; whoever made the app does both."""
    if scope["type"] != "lifespan":
        raise ValueError(f"{scope['type']} is not served")
    while True:
        kind = (await receive())["type"]
        await send({"type": kind + ".complete"})
        if kind == "lifespan.shutdown":
            return
