"""What must hold of capacity while reports come in order and no limit is lowered below what is in use.

Late news of an end makes World, not the host, look too full: then only `check` (check.py) holds.
"""

from collections import Counter

from batchery.core import index, sites
from batchery.core.checklocks import check_locks
from batchery.core.instances import pools_of
from batchery.core.model import Capacity, World
from batchery.core.status import OFFERED


def check_capacity(world: World) -> None:
    """What runs fits; and what was handed over beyond that is at most `Capacity.ahead` attempts."""
    limits: dict[str, int] = {}
    for environment in world.environments.values():
        for pool, most in pools_of(environment).items():
            limits[pool] = max(limits.get(pool, 0), most)
    held = [attempt for attempt in world.live.values() if attempt.code == OFFERED]
    pools: Counter[str] = Counter()
    for attempt in world.live.values():
        if attempt.code != OFFERED:
            pools[index.pool(world, attempt)] += attempt.resources.vcpus
    for pool, vcpus in pools.items():
        assert vcpus <= limits[pool], f"{pool}: what runs never takes more vCPUs than there are"
        mine = [a for a in held if index.pool(world, a) == pool]
        beyond = _beyond([a.resources.vcpus for a in mine], limits[pool] - vcpus)
        ahead = max((sites.of(world, a.environment).capacity.ahead for a in mine), default=0)
        assert beyond <= ahead, f"{pool}: no more is handed over beyond its room than may be held"
    for name, site in world.sites.items():
        _check_site(world, name, site.capacity)
    check_locks(world, lowered=False)


def _check_site(world: World, name: str, capacity: Capacity) -> None:
    mine = [a for a in world.live.values() if world.site_of[a.environment] == name]
    for part, most in ((1, capacity.memory), (2, capacity.gpus)):
        room = most - sum(a.resources[part] for a in mine if a.code != OFFERED)
        assert room >= 0, f"{name}: what runs never takes more memory and GPUs than the host has"
        held = [a.resources[part] for a in mine if a.code == OFFERED]
        assert _beyond(held, room) <= capacity.ahead, f"{name}: and so for what is held"


def _beyond(sizes: list[int], room: int) -> int:
    """How few of these must go until the rest has room."""
    over, count = sum(sizes) - room, 0
    for size in sorted(sizes, reverse=True):
        if over <= 0:
            break
        over -= size
        count += 1
    return count
