"""The drivers under test. A new one is a line here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conformance.store.stocking import Stock

from batchery.store.sqlite import SqliteStore

STORES = {"sqlite": lambda path: SqliteStore(path)}


@pytest.fixture(params=STORES)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., SqliteStore]]:
    """``make_store()`` opens the store of this test, as a server that starts does; all are closed in the end."""
    made: list[SqliteStore] = []

    def make(path: Path = tmp_path / "data") -> SqliteStore:
        store = STORES[request.param](path)
        made.append(store)
        store.open()
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: Callable[..., SqliteStore]) -> SqliteStore:
    return make_store()


@pytest.fixture
def stock(store: SqliteStore) -> Stock:
    return Stock(store)
