"""What changes of named resources do to World: queues, environments, definitions, policies and their like.

A part of apply.py, and as that: total, and decides nothing.
"""

from collections.abc import Callable
from typing import Any, Final

from batchery.core import catalog, index, sites
from batchery.core.changes import (
    Change,
    ConsumableGone,
    ConsumableSet,
    DefinitionGone,
    DefinitionSet,
    EnvironmentGone,
    EnvironmentSet,
    PolicyGone,
    PolicySet,
    QueueGone,
    QueueSet,
    QuotaGone,
    QuotaSet,
    SharesForgotten,
    TagsSet,
    TokenUsed,
)
from batchery.core.model import World

#: new code -> bytes of the codes from which a move to it is legal
EVER: Final = (1 << 63) - 1  #: ms


def queue_set(world: World, change: QueueSet) -> None:
    queue = change.queue
    index.alarm_limits(world, queue, world.queues.get(queue.arn))
    world.queues[queue.arn] = world.dirty.queues[queue.arn] = queue


def queue_gone(world: World, change: QueueGone) -> None:
    del world.queues[change.arn]
    world.blocks.pop(change.arn, None)
    world.lanes.pop(change.arn, None)
    world.short.pop(change.arn, None)
    world.moved.pop(change.arn, None)
    _forget_tokens(world, change.arn)
    for share in world.shares.pop(change.arn, {}):
        world.dirty.shares[change.arn, share] = None
    world.dirty.queues[change.arn] = None


def environment_set(world: World, change: EnvironmentSet) -> None:
    environment = change.environment
    world.environments[environment.arn] = world.dirty.environments[environment.arn] = environment
    sites.settle(world, environment)
    index.alarm_replacing(world, environment)


def environment_gone(world: World, change: EnvironmentGone) -> None:
    del world.environments[change.arn], world.site_of[change.arn]
    world.dirty.environments[change.arn] = None


def definition_set(world: World, change: DefinitionSet) -> None:
    definition = change.definition
    world.definitions[definition.arn] = world.dirty.definitions[definition.arn] = definition
    catalog.define(world, definition)


def consumable_set(world: World, change: ConsumableSet) -> None:
    consumable = change.consumable
    if consumable.arn not in world.consumables:
        catalog.stock_up(world, consumable)
    world.consumables[consumable.arn] = world.dirty.consumables[consumable.arn] = consumable


def consumable_gone(world: World, change: ConsumableGone) -> None:
    """Its tokens mean nothing any more."""
    catalog.sell_out(world, world.consumables.pop(change.arn))
    world.dirty.consumables[change.arn] = None
    _forget_tokens(world, change.arn)


def _forget_tokens(world: World, scope: str) -> None:
    if world.tokens.pop(scope, None) is None:
        return
    world.dirty.tokens = [row for row in world.dirty.tokens if row[0] != scope]
    world.dirty.tokens.append((scope, "", 0, EVER))


def token_used(world: World, change: TokenUsed) -> None:
    """In the order of their times, so the forgotten ones are the first."""
    tokens = world.tokens.setdefault(change.scope, {})
    while tokens and tokens[first := next(iter(tokens))] <= change.forget:
        del tokens[first]
    tokens[change.token] = change.at
    world.dirty.tokens.append((change.scope, change.token, change.at, change.forget))


def definition_gone(world: World, change: DefinitionGone) -> None:
    """Never an ACTIVE one or the highest of its name: the numbers stay as they are."""
    catalog.drop(world, world.definitions.pop(change.arn))
    world.dirty.definitions[change.arn] = None


def policy_set(world: World, change: PolicySet) -> None:
    policy = change.policy
    world.policies[policy.arn] = world.dirty.policies[policy.arn] = policy


def policy_gone(world: World, change: PolicyGone) -> None:
    del world.policies[change.arn]
    world.dirty.policies[change.arn] = None


def quota_set(world: World, change: QuotaSet) -> None:
    world.quotas[change.quota.arn] = world.dirty.quotas[change.quota.arn] = change.quota


def quota_gone(world: World, change: QuotaGone) -> None:
    del world.quotas[change.arn]
    world.dirty.quotas[change.arn] = None


def shares_forgotten(world: World, change: SharesForgotten) -> None:
    for share in change.shares:
        assert not world.shares[change.queue].pop(share).open
        world.dirty.shares[change.queue, share] = None


def tags_set(world: World, change: TagsSet) -> None:
    world.dirty.tags.append((change.arn, change.set, change.removed))


APPLY_NAMED: Final[dict[type[Change], Callable[[World, Any], None]]] = {
    QueueSet: queue_set,
    QueueGone: queue_gone,
    EnvironmentSet: environment_set,
    EnvironmentGone: environment_gone,
    DefinitionSet: definition_set,
    ConsumableSet: consumable_set,
    ConsumableGone: consumable_gone,
    TokenUsed: token_used,
    DefinitionGone: definition_gone,
    PolicySet: policy_set,
    PolicyGone: policy_gone,
    SharesForgotten: shares_forgotten,
    QuotaSet: quota_set,
    QuotaGone: quota_gone,
    TagsSet: tags_set,
}
