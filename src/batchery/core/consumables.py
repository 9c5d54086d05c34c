"""What becomes of consumable resources: commands to changes. Who holds what of them is in locks.py.

A `clientToken` is remembered with the operation and the quantity it came with, for eight hours (API_
UpdateConsumableResource: "two update requests with identical payloads and clientTokens"): the same request again is a
success without effect, and another one with the same token is another request. Tokens are rows: they outlive a restart.

Texts are ours: AWS documents none. Decision 150.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from batchery.core.changes import Change, ConsumableGone, ConsumableSet, TagsSet, TokenUsed
from batchery.core.keys import Realm
from batchery.core.locks import units_of
from batchery.core.messages import Command, CreateConsumable, DeleteConsumable, Refused, UpdateConsumable
from batchery.core.model import NO_CAPACITY, TERMINATED, WITHDRAWN, Attempt, World
from batchery.core.named import NON_REPLENISHABLE
from batchery.core.status import OFFERED

TOKEN_MS: Final = 8 * 3_600_000
MOST: Final = (1 << 63) - 1  # of a Long


def create(world: World, cmd: CreateConsumable, now: int) -> list[Change]:
    consumable = cmd.consumable
    if consumable.arn in world.consumables:
        raise Refused("Object already exists")
    if len(world.consumables) >= cmd.limit <= _held(world, consumable.realm):  # in this order: counting costs
        raise Refused(f"Cannot create more than {cmd.limit} consumable resources", wrapped=True)
    made = ConsumableSet(replace(consumable, created=now))
    return [made, TagsSet(consumable.arn, cmd.tags, ())] if cmd.tags else [made]


def _held(world: World, realm: Realm) -> int:
    return sum(other.realm == realm for other in world.consumables.values())


def update(world: World, cmd: UpdateConsumable, now: int) -> list[Change]:
    consumable = world.consumables.get(cmd.arn)
    if consumable is None:
        raise Refused(f"{cmd.arn} does not exist")
    token = f"{cmd.operation} {cmd.quantity} {cmd.token}"
    forget = now - TOKEN_MS
    if cmd.token and world.tokens.get(cmd.arn, {}).get(token, forget) > forget:
        return []
    total = {
        "SET": cmd.quantity,
        "ADD": consumable.total + cmd.quantity,
        "REMOVE": consumable.total - cmd.quantity,
    }[cmd.operation]
    if not 0 <= total <= MOST:
        raise Refused(f"Cannot {cmd.operation} {cmd.quantity}: the total quantity is {consumable.total}", wrapped=True)
    changes: list[Change] = [ConsumableSet(replace(consumable, total=total))]
    if cmd.token:
        changes.append(TokenUsed(cmd.arn, token, now, forget))
    return changes


def delete(world: World, cmd: DeleteConsumable, now: int) -> list[Change]:
    """At any time (user guide, "Delete a consumable resource"): who holds units of it runs on, who waits goes on
    waiting. One made later with its name is the same to both."""
    if cmd.arn not in world.consumables:
        return []
    return [ConsumableGone(cmd.arn), TagsSet(cmd.arn, {}, ("*",))]


def used_up(world: World, attempt: Attempt) -> list[Change]:
    """An attempt that was OFFERED has begun: what it holds of NON_REPLENISHABLE resources leaves their totals.

    Of what was deleted meanwhile there is nothing to leave."""
    changes: list[Change] = []
    if attempt.code == OFFERED:
        for arn, quantity in units_of(world.jobs[attempt.key.job], attempt.key.index):
            found = world.consumables.get(arn)
            if found is not None and found.kind == NON_REPLENISHABLE:
                changes.append(ConsumableSet(replace(found, total=max(found.total - quantity, 0))))
    return changes


def began(cause: str, started: int) -> bool:
    """Whether an attempt that is over had begun, though nobody had said so before: it ran, or failed to start."""
    return bool(started) or cause not in (WITHDRAWN, NO_CAPACITY, TERMINATED)


DECIDE_CONSUMABLES: Final[dict[type[Command], Callable[[World, Any, int], list[Change]]]] = {
    CreateConsumable: create,
    UpdateConsumable: update,
    DeleteConsumable: delete,
}
