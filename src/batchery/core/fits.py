"""Where a task could ever run, were all of it empty, and AWS's words for one that could run nowhere.

Sources: user guide, "Jobs stuck in a RUNNABLE status", of container jobs and of service jobs.
"""

from typing import Final

from batchery.core import sites
from batchery.core.instances import is_service, most_of
from batchery.core.model import ENABLED, NO_GANGS, UPDATING, VALID, Demand, Environment, Queue, Resources, World
from batchery.core.queue import MAX_RESOURCE, REQUIREMENT, SERVICE_MAX_RESOURCE, UNSUPPORTED

TOO_MANY_VCPUS: Final = (
    f"{MAX_RESOURCE} - CE(s) associated with the job queue cannot meet the CPU requirement of the job."
)
TOO_MANY_INSTANCES: Final = (
    f"{SERVICE_MAX_RESOURCE} - Service environment(s) associated with the job queue cannot meet the capacity "
    "requirement of the job."
)
TOO_LARGE: Final = (
    f"{REQUIREMENT} - The job resource requirement (vCPU/memory/GPU) is higher than "
    "that can be met by the CE(s) attached to the job queue."
)

NOT_MULTI_NODE: Final = f"{UNSUPPORTED} - CE(s) of this kind cannot run multi-node parallel jobs."


def could_ever(world: World, environment: Environment, demand: Demand) -> str:
    """Why this environment could not take such a task even when empty; "" if it could."""
    asked = demand.resources
    if demand.nodes and environment.kind in NO_GANGS:
        return NOT_MULTI_NODE
    if asked.vcpus > most_of(environment, demand.unit):
        return TOO_MANY_INSTANCES if is_service(environment) else TOO_MANY_VCPUS
    capacity = sites.of(world, environment.arn).capacity
    if capacity.queues and demand.nodes:  # its memory and GPUs are those of its largest host
        asked = Resources(0, max(node.memory for node in demand.nodes), max(node.gpus for node in demand.nodes))
    if not capacity.clamp and (asked.memory > capacity.memory or asked.gpus > capacity.gpus):
        return TOO_LARGE
    return ""


def fits_of(world: World, queue: Queue, demand: Demand) -> list[Environment]:
    """The queue's environments, in its order, that could take such a task when empty."""
    found = (world.environments[arn] for _, arn in queue.order if arn in world.environments)
    return [environment for environment in found if not could_ever(world, environment, demand)]


def misfit(world: World, queue: Queue, demand: Demand) -> str:
    """AWS's words for a task that no environment of its queue can ever take; "" if one can."""
    words = [could_ever(world, world.environments[arn], demand) for _, arn in queue.order if arn in world.environments]
    if not words or "" in words:
        return ""
    return TOO_LARGE if TOO_LARGE in words else words[0]


def usable(environment: Environment) -> bool:
    """New tasks may be placed there."""
    return environment.state == ENABLED and environment.status in (VALID, UPDATING)
