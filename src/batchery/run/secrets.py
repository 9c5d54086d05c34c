"""Values of secrets, put into an order just before an engine gets it.

Theory of operation
-------------------
An order is composed with *references* to secrets (`engine.Wanted`). After the commit of its placement the dispatcher
has them resolved here, off the loop, and only then hands the order to the engine: so a value is in this process's
memory for a moment, and in what the engine gives to the job; in no row, no feed, no log, no answer. A crash in between
loses nothing: the placement is committed, and after the load the order is composed and resolved anew.

Sources are asked in their order; each reads one secret at a time, in a thread. Orders that want the same secret at the
same moment share one read, and a value is not kept after it: a job sees what a secret is when the job starts.
A source retries what may pass; what it then cannot have ends the attempt as "Task failed to start", in the words of
ECS, and retry rules see them.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from msgspec.structs import replace

from batchery.engines.engine import Container, Order, Wanted
from batchery.spec.secretrefs import PARAMETER_STORE, SecretRef, login_ref, secret_ref

log = logging.getLogger("batchery.secrets")

THREADS: Final = 8
_HEAD: Final = (
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
)


class SecretError(Exception):
    """A secret cannot be had. ``why`` never holds a value; ``tries``: how often its service was asked."""

    def __init__(self, why: str, tries: int = 1) -> None:
        super().__init__(why)
        self.why, self.tries = why, tries


class Unresolved(Exception):
    """An order cannot be completed; the text is what the container's reason will say."""


class Source(Protocol):
    """Where secrets are. Called from several threads at once."""

    def read(self, ref: SecretRef) -> str | None:
        """The whole text of a secret (``ref.key`` is not looked at; ``ref.region`` is set), or None if this source does
        not have it and another may. Raises SecretError."""
        ...


class Vault:
    """Completes orders. ``allow``: patterns (shell wildcards) of references that jobs may have."""

    def __init__(self, sources: Sequence[Source] = (), allow: Sequence[str] = ("*",)) -> None:
        self._sources, self._allow = tuple(sources), tuple(allow)
        self._reading: dict[SecretRef, asyncio.Future[str]] = {}
        self._threads = ThreadPoolExecutor(THREADS, "batchery-secrets")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def complete(self, order: Order) -> Order:
        """The order with values where it had references. Raises Unresolved."""
        containers = [await self._container(container) for container in order.containers]
        return replace(order, containers=tuple(containers))

    async def _container(self, container: Container) -> Container:
        if not container.secrets and container.login_from is None:
            return container
        values = {wanted.name: await self._value(wanted, secret_ref) for wanted in container.secrets}
        login = ("", "")
        if container.login_from is not None:
            login = _login(await self._value(container.login_from, login_ref), container.login_from)
        environment = {**container.environment, **values}
        return replace(container, environment=environment, secrets=(), login=login, login_from=None)

    async def _value(self, wanted: Wanted, parse: Callable[[str], SecretRef | None]) -> str:
        ref = parse(wanted.value_from)
        if ref is None:  # a definition of an older version of the service
            raise Unresolved(f"{_HEAD}{wanted.value_from} is no reference to a secret")
        ref = ref._replace(region=ref.region or wanted.region)
        try:
            if not any(fnmatchcase(wanted.value_from, pattern) for pattern in self._allow):
                raise SecretError("AccessDeniedException: the setting secrets.allow does not name it")
            return _pick(await self._read(ref._replace(key="")), ref.key)
        except SecretError as error:
            raise Unresolved(_words(ref, error)) from None

    async def _read(self, ref: SecretRef) -> str:
        """One read for all who want it now."""
        reading = self._reading.get(ref)
        if reading is None:
            loop = asyncio.get_running_loop()
            reading = self._reading[ref] = asyncio.ensure_future(loop.run_in_executor(self._threads, self._ask, ref))
            reading.add_done_callback(lambda done: self._done(ref, done))
        return await asyncio.shield(reading)

    def _done(self, ref: SecretRef, reading: "asyncio.Future[str]") -> None:
        del self._reading[ref]
        if not reading.cancelled():
            reading.exception()  # looked at: whoever waited may be gone

    def _ask(self, ref: SecretRef) -> str:
        for source in self._sources:
            if (text := source.read(ref)) is not None:
                return text
        if not self._sources:
            raise SecretError("no source of secrets is configured: see [secrets] in the settings")
        if ref.service == PARAMETER_STORE:
            raise SecretError(f"invalid ssm parameters: {ref.name}")
        raise SecretError("ResourceNotFoundException: no source of secrets has it")


def _pick(text: str, key: str) -> str:
    """The value under a key of a JSON object, or all of it. What is not a text is given as JSON."""
    if "\0" in text:
        raise SecretError("it has a null character, which no environment can hold")
    if not key:
        return text
    try:
        found: Any = json.loads(text)
    except ValueError:
        raise SecretError("its text is not JSON, and a JSON key was asked for") from None
    if not isinstance(found, dict) or key not in found:
        raise SecretError(f"retrieved secret from Secrets Manager did not contain json key {key}")
    value = found[key]
    if isinstance(value, str) and "\0" in value:
        raise SecretError("it has a null character, which no environment can hold")
    return value if isinstance(value, str) else json.dumps(value)


def _login(text: str, wanted: Wanted) -> tuple[str, str]:
    """A registry's user and password (ECS developer guide, "Private registry authentication")."""
    try:
        found = json.loads(text)
        username, password = found["username"], found["password"]
    except (ValueError, KeyError, TypeError):
        raise Unresolved(
            f"{_HEAD}unable to get registry auth from asm: {wanted.value_from} must be a JSON object with username and "
            "password"
        ) from None
    return str(username), str(password)


def _words(ref: SecretRef, error: SecretError) -> str:
    """As ECS says it."""
    tries = f"service call has been retried {error.tries} time(s)"
    if ref.service == PARAMETER_STORE:
        return f"{_HEAD}unable to retrieve secrets from ssm: {tries}: {error.why}"
    return (
        f"{_HEAD}unable to retrieve secret from asm: {tries}: failed to fetch secret {ref.id} from secrets manager: "
        f"{error.why}"
    )
