"""What tests of consumable resources say: resources are made, jobs ask for units of them."""

from tests.unit.core.building import HOME, Batch, arn

from batchery.core.messages import CreateConsumable, UpdateConsumable
from batchery.core.named import REPLENISHABLE, Consumable
from batchery.core.query import facts, stock_of


def make(batch: Batch, name: str = "seats", total: int = 2, kind: str = REPLENISHABLE) -> str:
    where = arn("consumable-resource", name)
    batch.send(CreateConsumable(Consumable(where, name, HOME, kind, total)))
    return where


def asks(batch: Batch, *units: tuple[str, int], **how: object) -> str:
    return batch.submit(consumables=tuple(sorted(units)), **how)  # type: ignore[arg-type]


def shown(batch: Batch, ref: str = "seats") -> tuple[int, int, int]:
    """Total, in use, available."""
    found = stock_of(batch.world, HOME, ref)
    assert found is not None
    return found.total, found.in_use, found.available


def change(batch: Batch, operation: str, quantity: int, token: str = "") -> int:
    (total,) = batch.send(UpdateConsumable(arn("consumable-resource", "seats"), operation, quantity, token))
    return int(total)


def reason(batch: Batch, ref: str) -> str:
    return facts(batch.world, HOME, [ref])[ref].reason
