"""What is free while a turn is planned: vCPUs of each pool, memory and GPUs of each engine, units of consumables."""

from typing import Final

from batchery.core.fits import usable
from batchery.core.index import granted, granted_nodes, total
from batchery.core.instances import is_service, most_of, pool_of
from batchery.core.locks import Left
from batchery.core.model import Capacity, Demand, Environment, Resources, Site, World

AHEAD_WORK: Final = 500  #: ms of work to hold beyond capacity
AHEAD_PACE: Final = 1_000  #: only for classes whose tasks take less, ms


class Room:
    """What is free, as the plan goes on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pools = dict(world.pools)
        self.sites: dict[str, Free] = {name: Free(site) for name, site in world.sites.items()}
        self.units = Left(world)
        self.closed: set[str] = set()  # pools somebody ahead waits for

    def at(self, environment: Environment) -> "Free":
        """What is free where this environment is."""
        return self.sites[self.world.site_of[environment.arn]]

    def lacks(self, environment: Environment, need: Resources, unit: str = "") -> str:
        """What there is not enough of now: "vCPU" (or instances of this type), "memory", "GPU", or "" """
        if self.pools.get(pool_of(environment, unit), 0) + need.vcpus > most_of(environment, unit):
            return "vCPU"
        free = self.at(environment)
        if free.capacity.queues:
            return ""
        if need.memory > free.memory:
            return "memory"
        return "GPU" if need.gpus > free.gpus else ""

    def take(self, environment: Environment, need: Resources, unit: str = "") -> None:
        pool = pool_of(environment, unit)
        self.pools[pool] = self.pools.get(pool, 0) + need.vcpus
        self.at(environment).take(need)

    def may_hold(self, environment: Environment, asked: Resources) -> bool:
        """Whether one more task of this class may be handed over beyond capacity. No service job: one that is SCHEDULED
        has its instances."""
        pace = self.world.pace.get((self.world.site_of[environment.arn], asked))
        if pace is None or pace >= AHEAD_PACE or is_service(environment):
            return False
        slots = max(1, environment.max_vcpus // max(asked.vcpus, 1))
        free = self.at(environment)
        return free.held < min(free.capacity.ahead, slots * AHEAD_WORK // (pace + 1))

    def open_to(self, environment: Environment, unit: str) -> bool:
        """Whether nobody ahead waits for what this environment would take, and its engine has spoken."""
        if not usable(environment) or pool_of(environment, unit) in self.closed:
            return False
        free = self.at(environment)
        return bool(free.capacity.memory) and not free.full


class Free:
    """What is free at one site, as the plan goes on."""

    __slots__ = ("capacity", "full", "gpus", "held", "memory")

    def __init__(self, site: Site) -> None:
        self.capacity = site.capacity
        self.memory = site.capacity.memory - site.memory
        self.gpus = site.capacity.gpus - site.gpus
        self.held = site.offered
        self.full = False  # somebody ahead waits for the host itself

    def take(self, need: Resources) -> None:
        self.memory -= need.memory
        self.gpus -= need.gpus
        self.held += 1


def needed(capacity: Capacity, demand: Demand) -> Resources:
    """What a task, or a gang as a whole, would be given by an engine that has so much."""
    return total(granted_nodes(capacity, demand.nodes)) if demand.nodes else granted(capacity, demand.resources)
