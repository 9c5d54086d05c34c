"""Invariants of consumable resources: see check.py, of which this is a part."""

from collections import Counter

from batchery.core.locks import free, units_of
from batchery.core.model import World
from batchery.core.status import OFFERED


def check_locks(world: World, lowered: bool = True) -> None:
    """``lowered``: totals may be below what is in use: they were lowered, or it was deleted and made again."""
    locked: Counter[str] = Counter()
    promised: Counter[str] = Counter()
    for attempt in world.live.values():
        for arn, quantity in units_of(world.jobs[attempt.key.job], attempt.key.index):
            locked[arn] += quantity
            promised[arn] += quantity * (attempt.code == OFFERED)
    assert locked == Counter(world.locked), "units in use are the sum over live attempts"
    assert +promised == Counter(world.promised), "and those promised over attempts that have not begun"
    for arn, consumable in world.consumables.items():
        assert consumable.arn == arn, f"{arn}: a consumable resource is filed under its ARN"
        assert consumable.total >= 0, f"{arn}: there is no less than nothing of it"
        assert lowered or free(world, arn) >= 0, f"{arn}: no more of it is given out than there is"
    for scope, tokens in world.tokens.items():
        assert list(tokens.values()) == sorted(tokens.values()), f"{scope}: tokens are in the order of their times"
