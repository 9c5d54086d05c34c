"""A store in a directory of its own, and a World's worth of things to put in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchery.store.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "data")
    made.open()
    yield made
    made.close()
