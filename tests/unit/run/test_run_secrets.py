"""Orders with references become orders with values, or an end in ECS's words; what waits holds back nobody."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from batchery.core.model import AttemptKey, Resources, task_id
from batchery.engines.engine import Container, Order, Wanted
from batchery.run.filling import Filling
from batchery.run.secrets import SecretError, Unresolved, Vault
from batchery.spec.secretrefs import SecretRef

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"


class Shelf:
    """A source that answers from a table, when it is let; it notes what it was asked."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values, self.asked = values, list[SecretRef]()
        self.open = threading.Event()
        self.open.set()

    def read(self, ref: SecretRef) -> str | None:
        self.asked.append(ref)
        assert self.open.wait(20)
        value = self.values.get(ref.id)
        if isinstance(value, Exception):
            raise value
        return None if value is None else str(value)


def order(*references: str, login: str = "", job: str = "job") -> Order:
    key = AttemptKey(job, 0, 1)
    resources = Resources(1000, 64, 0)
    secrets = tuple(Wanted(f"V{number}", text, "eu-west-1") for number, text in enumerate(references))
    container = Container("default", "image", ("true",), {"A": "1", "V0": "own"}, "/log", resources, secrets=secrets)
    if login:
        container = replace(container, login_from=Wanted("", login, "eu-west-1"))
    return Order(key, task_id(key), (container,), resources, "pool", 1000, "ce")


@pytest_asyncio.fixture
async def vault() -> AsyncIterator[Callable[..., Vault]]:
    made: list[Vault] = []

    def make(*sources: Shelf, **options: Any) -> Vault:
        made.append(Vault(sources, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


async def test_values_go_over_variables_of_their_name(vault: Callable[..., Vault]) -> None:
    shelf = Shelf({"/token": "t", ARN: '{"user": "u", "port": 5}'})
    found = await vault(shelf).complete(order("/token", f"{ARN}:user", f"{ARN}:port", ARN))
    (container,) = found.containers
    assert container.environment == {"A": "1", "V0": "t", "V1": "u", "V2": "5", "V3": '{"user": "u", "port": 5}'}
    assert not found.wants
    assert {ref.region for ref in shelf.asked} == {"eu-west-1", "us-east-1"}


async def test_the_first_source_that_has_it(vault: Callable[..., Vault]) -> None:
    found = await vault(Shelf({"a": "1"}), Shelf({"a": "2", "b": "3"})).complete(order("a", "b"))
    assert found.containers[0].environment == {"A": "1", "V0": "1", "V1": "3"}


async def test_a_registry_login(vault: Callable[..., Vault]) -> None:
    shelf = Shelf({"good": '{"username": "u", "password": "p"}', "bad": "hunter2"})
    found = await vault(shelf).complete(order(login="good"))
    assert found.containers[0].login == ("u", "p")
    assert not found.wants
    with pytest.raises(Unresolved, match="must be a JSON object with username and password") as caught:
        await vault(shelf).complete(order(login="bad"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "values", "words"),
    [
        ("a", {}, "invalid ssm parameters: a"),
        (ARN, {}, "ResourceNotFoundException"),
        (
            ARN,
            {ARN: SecretError("AccessDeniedException: no", 3)},
            "retried 3 time.s.: failed to fetch secret arn.*: Acc",
        ),
        (f"{ARN}:key", {ARN: "hunter2"}, "not JSON"),
        (f"{ARN}:key", {ARN: '["hunter2"]'}, "did not contain json key key"),
        (f"{ARN}:key", {ARN: '{"key": "hunter2\\u0000"}'}, "null character"),
        ("a", {"a": "hunter2\0"}, "null character"),
        ("not a reference", {}, "is no reference"),
    ],
)
async def test_what_cannot_be_had(
    vault: Callable[..., Vault], reference: str, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(Unresolved, match=words) as caught:
        await vault(Shelf(values)).complete(order(reference))
    assert str(caught.value).startswith("ResourceInitializationError: unable to pull secrets or registry auth: ")
    assert "hunter2" not in str(caught.value)


async def test_only_what_is_allowed(vault: Callable[..., Vault]) -> None:
    shelf = Shelf({"/a/x": "1", "/b": "2"})
    some = vault(shelf, allow=("/a/*",))
    await some.complete(order("/a/x"))
    with pytest.raises(Unresolved, match="allow does not name it"):
        await some.complete(order("/b"))
    assert [ref.id for ref in shelf.asked] == ["/a/x"]


async def test_one_read_for_all_who_want_it_now_and_none_for_later(vault: Callable[..., Vault]) -> None:
    shelf = Shelf({"a": "1"})
    shelf.open.clear()
    box = vault(shelf)
    waiting = [asyncio.ensure_future(box.complete(order("a"))) for _ in range(5)]
    while not shelf.asked:
        await asyncio.sleep(0.001)
    waiting[0].cancel()
    shelf.open.set()
    done = await asyncio.gather(*waiting[1:])
    assert {one.containers[0].environment["V0"] for one in done} == {"1"}
    assert len(shelf.asked) == 1
    shelf.values["a"] = "2"
    assert (await box.complete(order("a"))).containers[0].environment["V0"] == "2"


class Line:
    """A `Filling`, what it says of those that fail, and a bell for those that are ready."""

    def __init__(self, complete: Callable[[Order], Any]) -> None:
        self.failed: list[tuple[Order, str]] = []
        self.bell = asyncio.Event()
        self.filling = Filling(complete, lambda order, words: self.failed.append((order, words)), self.bell.set)


async def test_orders_without_secrets_pass_those_with_them() -> None:
    gate = asyncio.Event()

    async def complete(given: Order) -> Order:
        await gate.wait()
        return replace(given, environment_name="filled")

    line = Line(complete)
    wanting, plain = order("a", job="wanting"), order(job="plain")
    assert line.filling.part([wanting, plain]) == [plain]
    assert line.filling.part([wanting]) == []  # said twice, done once
    gate.set()
    await line.bell.wait()
    (found,) = line.filling.ready()
    assert (found.key, found.environment_name) == (wanting.key, "filled")
    assert line.filling.ready() == []
    assert line.filling.forget(wanting.key) is False


async def test_what_is_asked_back_is_not_ready_later() -> None:
    async def never(given: Order) -> Order:
        await asyncio.Event().wait()
        return given

    line = Line(never)
    line.filling.part([order("a", job="one"), order("a", job="two")])
    assert line.filling.forget(AttemptKey("one", 0, 1)) is True
    assert line.filling.forget(AttemptKey("one", 0, 1)) is False
    line.filling.clear()
    await asyncio.sleep(0)
    assert line.filling.ready() == []
    assert line.failed == []


@pytest.mark.parametrize(
    ("error", "words"), [(Unresolved("no"), "no"), (KeyError("hunter2"), "ResourceInitializationError: KeyError")]
)
async def test_an_order_that_cannot_be_completed_fails(error: Exception, words: str) -> None:
    async def complete(given: Order) -> Order:
        raise error

    line = Line(complete)
    line.filling.part([order("a")])
    await line.bell.wait()
    assert [said for _, said in line.failed] == [words]
    assert line.filling.ready() == []
