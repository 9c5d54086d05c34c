"""How much of what an environment has: vCPUs, or for service jobs instances. Thousandths of either.

A service environment limits instances instead of vCPUs, and a service job takes instances. Both are counted where
vCPUs are, so room, queues, shares and engines need to know nothing of the difference; only names and words do.

A service environment has one limit for instances of every type (NUM_INSTANCES), or, where its queue is quota-managed,
one for each type. Then each type is a pool of its own.
"""

from typing import Final

from batchery.core.model import Environment

SERVICE: Final = (
    "SAGEMAKER_TRAINING"  #: kind of service environments, type of service jobs, jobQueueType of their queues
)
NUM_INSTANCES: Final = "NUM_INSTANCES"  #: unit of a limit of all types together


def is_service(environment: Environment) -> bool:
    return environment.kind == SERVICE


def pool_of(environment: Environment, unit: str) -> str:
    """Whose vCPUs or instances a job of this unit draws on."""
    return f"{environment.pool} {unit}" if environment.units else environment.pool


def most_of(environment: Environment, unit: str) -> int:
    """How many there are."""
    return dict(environment.units).get(unit, 0) if environment.units else environment.max_vcpus


def pools_of(environment: Environment) -> dict[str, int]:
    """All pools that an environment draws on, and how much each has."""
    return {pool_of(environment, unit): most_of(environment, unit) for unit in units_of(environment)}


def units_of(environment: Environment) -> list[str]:
    """What its pools are of."""
    return [unit for unit, _ in environment.units] or [""]
