"""Which members a definition of each kind has: exactly one that says what runs, and none that belongs to another kind.

Sources: API_RegisterJobDefinition ("platformCapabilities", "propagateTags", "nodeProperties"), reference of parameters.
"""

from typing import Final

from batchery.api.shapes import RegisterJobDefinitionRequest
from batchery.core.messages import Refused

#: Of a definition of type container, what says what runs.
_CONTAINERS: Final = ("containerProperties", "ecsProperties", "eksProperties")


def check_kinds(ask: RegisterJobDefinitionRequest) -> None:
    """Raises Refused."""
    given = {
        "containerProperties": ask.container_properties,
        "ecsProperties": ask.ecs_properties,
        "eksProperties": ask.eks_properties,
        "nodeProperties": ask.node_properties,
    }
    there = [name for name, value in given.items() if value is not None]
    if ask.type == "multinode":
        if ask.node_properties is None:
            raise Refused("Node properties of multinode job is required.", True)
    elif not any(name in there for name in _CONTAINERS):
        raise Refused("Container properties should not be empty", True)
    if len(there) > 1:
        first, second = ("ECS containerProperties" if name == "containerProperties" else name for name in there[:2])
        raise Refused(f"Cannot use both {first} and {second}", True)
    if ask.type == "container" and ask.node_properties is not None:
        raise Refused("nodeProperties is not applicable for type container.", True)  # ours
    if ask.eks_properties is not None:
        for name, value in (
            ("platformCapabilities", ask.platform_capabilities or None),
            ("propagateTags", ask.propagate_tags),
        ):
            if value is not None:
                raise Refused(f"{name} is not applicable for EKS.", True)  # ours
