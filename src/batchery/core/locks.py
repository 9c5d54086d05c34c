"""Who holds units of which consumable resource. Sums over live attempts, kept by `hold`, `begun` and `release`.

An attempt holds what its job asks for from its placement to its true end, so two placements never get one unit. What
happens then depends on the resource:

* REPLENISHABLE: the units are free again.
* NON_REPLENISHABLE: an attempt that began has used them up: they leave ``total`` when it begins (STARTING), and never
  come back; one that was handed back unbegun gives them back.

So what is free is ``total`` less what all live attempts hold, or, of a NON_REPLENISHABLE one, less what those hold that
have not begun. After ``total`` was lowered it may be less than nothing: no more is given out until it is not.

The sums are by ARN, whether or not the resource exists: one that is deleted and made again while attempts hold units is
the same.
"""

from msgspec import Struct

from batchery.core.model import Attempt, Job, World
from batchery.core.named import REPLENISHABLE, Consumable
from batchery.core.status import OFFERED

#: (ARN of a consumable resource, how many units), by ARN.
Units = tuple[tuple[str, int], ...]


class Stock(Struct, frozen=True):
    """A consumable resource and its units at one moment, as AWS shows them: ``total`` less than what is in use (it was
    lowered) shows as that, and comes down as jobs end (user guide, "Update the quantity of a resource")."""

    consumable: Consumable
    total: int
    in_use: int
    available: int


def units_of(job: Job, number: int) -> Units:
    """What one attempt of this task holds."""
    if job.gang:
        return job.shape.units[number] if job.shape.units else ()
    return job.shape.consumables


def hold(world: World, attempt: Attempt) -> None:
    """A placement, or after a load a live attempt."""
    for arn, quantity in units_of(world.jobs[attempt.key.job], attempt.key.index):
        world.locked[arn] = world.locked.get(arn, 0) + quantity
        if attempt.code == OFFERED:
            world.promised[arn] = world.promised.get(arn, 0) + quantity


def begun(world: World, attempt: Attempt) -> None:
    """An OFFERED attempt begins."""
    for arn, quantity in units_of(world.jobs[attempt.key.job], attempt.key.index):
        _less(world.promised, arn, quantity)


def release(world: World, attempt: Attempt) -> None:
    """An attempt is over; its code is still the one it had."""
    for arn, quantity in units_of(world.jobs[attempt.key.job], attempt.key.index):
        _less(world.locked, arn, quantity)
        if attempt.code == OFFERED:
            _less(world.promised, arn, quantity)


def _less(sums: dict[str, int], arn: str, quantity: int) -> None:
    sums[arn] -= quantity
    if not sums[arn]:
        del sums[arn]


def held(world: World, consumable: Consumable) -> int:
    """Units of ``total`` that attempts have."""
    sums = world.locked if consumable.kind == REPLENISHABLE else world.promised
    return sums.get(consumable.arn, 0)


def free(world: World, arn: str) -> int:
    """Units that can be given out; less than 1 for none. None of what does not exist."""
    consumable = world.consumables.get(arn)
    return consumable.total - held(world, consumable) if consumable is not None else 0


def stock(world: World, consumable: Consumable) -> Stock:
    total = max(consumable.total, held(world, consumable))
    return Stock(consumable, total, world.locked.get(consumable.arn, 0), total - held(world, consumable))


def words(world: World, asked: Units) -> str:
    """statusReason of what waits for units; "" if all are free. Ours: AWS has no text for it."""
    waits = []
    for arn, quantity in asked:
        if (left := free(world, arn)) < quantity:
            found = world.consumables.get(arn)
            most = f"{max(left, 0)} of {stock(world, found).total} available" if found is not None else "does not exist"
            waits.append(f"{arn.rpartition('/')[2]} ({quantity} asked, {most})")
    return f"Waiting for consumable resources: {', '.join(waits)}" if waits else ""


class Left:
    """What is free of each consumable resource, as a plan goes on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._free: dict[str, int] = {}

    def of(self, arn: str) -> int:
        """Units; less than nothing where more is kept for those ahead than there is."""
        if arn not in self._free:
            self._free[arn] = free(self.world, arn)
        return self._free[arn]

    def enough(self, asked: Units) -> bool:
        """Whether all of it is there."""
        return all(self.of(arn) >= quantity for arn, quantity in asked)

    def take(self, asked: Units) -> None:
        """For a task that is placed, or that waits ahead of others: what it will need is not given to them."""
        for arn, quantity in asked:
            self._free[arn] = self.of(arn) - quantity

    def could_ever(self, asked: Units) -> bool:
        """Whether there would be enough if nobody else had any."""
        found = ((self.world.consumables.get(arn), quantity) for arn, quantity in asked)
        return all(one is not None and one.total >= quantity for one, quantity in found)
