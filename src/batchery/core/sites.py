"""Which engine runs the attempts of an environment, what each engine has, and what of that is in use.

A *site* is one engine. `Policy.engine_of` says by name and kind of an environment at which site it is; with one engine
its name is "". Memory and GPUs are a site's, vCPUs are a pool's (index.py). `apply` keeps the sums, `assign` makes them
anew after a load, and whenever the route may be another. Decision 162.
"""

from batchery.core.model import Attempt, Environment, Site, World
from batchery.core.status import OFFERED


def at(world: World, name: str) -> Site:
    """The site of this name; it is there from the first time that somebody names it."""
    site = world.sites.get(name)
    if site is None:
        site = world.sites[name] = Site()
    return site


def of(world: World, environment: str) -> Site:
    """Where an environment (ARN) is."""
    return at(world, world.site_of[environment])


def hold(world: World, attempt: Attempt) -> None:
    """A placement takes its memory and GPUs."""
    site = of(world, attempt.environment)
    site.memory += attempt.resources.memory
    site.gpus += attempt.resources.gpus
    site.offered += attempt.code == OFFERED


def release(world: World, attempt: Attempt) -> None:
    """An attempt is over, or is counted elsewhere from now on."""
    site = of(world, attempt.environment)
    site.memory -= attempt.resources.memory
    site.gpus -= attempt.resources.gpus
    site.offered -= attempt.code == OFFERED


def settle(world: World, environment: Environment) -> None:
    """An environment is new, or may have come to another site: what it holds is counted there."""
    name = world.policy.engine_of(environment.name, environment.kind)
    before = world.site_of.get(environment.arn)
    if before == name:
        return
    held = [] if before is None else [one for one in world.live.values() if one.environment == environment.arn]
    for attempt in held:
        release(world, attempt)
    world.site_of[environment.arn] = name
    at(world, name)
    for attempt in held:
        hold(world, attempt)


def assign(world: World) -> None:
    """Every environment at its site, and every sum made anew."""
    for site in world.sites.values():
        site.memory = site.gpus = site.offered = 0
    engine_of = world.policy.engine_of
    world.site_of = {arn: engine_of(one.name, one.kind) for arn, one in world.environments.items()}
    for name in world.site_of.values():
        at(world, name)
    for attempt in world.live.values():
        hold(world, attempt)


def spoken(world: World) -> bool:
    """Whether any engine has said what it has."""
    return any(site.capacity.memory for site in world.sites.values())
