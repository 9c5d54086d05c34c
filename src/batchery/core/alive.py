"""Which attempts have not ended: what readers of logs need to know."""

from collections.abc import Iterable

from batchery.core.model import AttemptKey, World


def alive(world: World, keys: Iterable[AttemptKey]) -> set[AttemptKey]:
    """Those of ``keys`` that are placed and have not ended."""
    return {key for key in keys if key in world.live}
