"""Batches to write tests with; when a test is over, every invariant holds of their Worlds once more."""

from collections.abc import Callable, Iterator

import pytest
from tests.unit.core.building import Batch

from batchery.core.check import check


@pytest.fixture
def batches() -> Iterator[Callable[..., Batch]]:
    """Makes a Batch; takes what `Batch` takes."""
    made: list[Batch] = []

    def make(*how: object, **more: object) -> Batch:
        made.append(Batch(*how, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.tick()
        assert not each.world.due, "a turn that has the time leaves nothing due"
        check(each.world)


@pytest.fixture
def batch(batches: Callable[..., Batch]) -> Batch:
    """64 vCPUs and as many GiB, nothing held ahead."""
    return batches()
