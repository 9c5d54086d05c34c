"""Multi-node jobs: which range of a definition each node is of, and each node as a definition and a submit of its own.

Everything that can be said of a plain job, its merged spec, what it takes, its order, can so be said of a node without
another word: `node_docs` makes the two texts that `effective` reads. Of nested ranges the narrower one holds, whole.
Sources: API_NodeProperties, API_NodeRangeProperty, API_NodeOverrides, API_NodePropertyOverride; user guide,
"Multi-node parallel jobs". Pure; raises Refused.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from batchery.api.shapes import (
    NodeOverrides,
    NodeProperties,
    NodePropertyOverride,
    NodeRangeProperty,
    RegisterJobDefinitionRequest,
)
from batchery.config import Limits
from batchery.core.messages import Refused
from batchery.spec.effective import Overrides, definition_of

_RANGE: Final = re.compile(r"(\d{0,5}):(\d{0,5})")
_encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(Overrides)


def span_of(target: str, count: int) -> tuple[int, int]:
    """``"0:3"`` is (0, 4), half open; what is left out is the first or the last of ``count`` nodes, and ``"2"`` is one
    node. Raises Refused."""
    match = _RANGE.fullmatch(f"{target}:{target}" if target.isdecimal() else target)
    if match is None or target == ":":
        raise Refused("targetNodes should contain only digits.", True)
    first = int(match[1]) if match[1] else 0
    last = int(match[2]) if match[2] else count - 1
    return first, last + 1


def count_of(properties: NodeProperties, overrides: NodeOverrides | None) -> int:
    """How many nodes a job has."""
    given = overrides.num_nodes if overrides is not None else None
    return given if given is not None else properties.num_nodes


@lru_cache(maxsize=256)
def _groups(targets: tuple[str, ...], count: int) -> tuple[int, ...]:
    """Of each node the number of its range; -1 where no range has it."""
    found = [-1] * count
    spans = [(span_of(target, count), number) for number, target in enumerate(targets)]
    for (first, end), number in sorted(spans, key=lambda one: one[0][0] - one[0][1]):  # the narrowest last
        for node in range(first, min(end, count)):
            found[node] = number
    return tuple(found)


def groups_of(properties: NodeProperties, count: int) -> tuple[int, ...]:
    """Of each node the number of its entry in nodeRangeProperties."""
    return _groups(tuple(one.target_nodes for one in properties.node_range_properties), count)


# -------------------------------------------------------------------------------------------------- registration


def check_nodes(properties: NodeProperties, limits: Limits) -> None:
    """The ranges: how many, whether they have every node, whether each says what runs. What that is: the caller's."""
    count, ranges = properties.num_nodes, properties.node_range_properties
    if not 1 <= count <= limits.nodes:
        raise Refused(f"Number of nodes must be between 1 and {limits.nodes}.", True)
    if not 0 <= properties.main_node < count:
        raise Refused("Main node index is out of range, must be less than numNodes.", True)
    if not ranges:
        raise Refused("nodeRangeProperties must have at least one entry", True)  # ours
    if len(ranges) > limits.node_ranges:
        raise Refused(f"Maximum allowed size of node range properties is {limits.node_ranges}", True)
    targets = [one.target_nodes for one in ranges]
    for target in targets:
        first, end = span_of(target, count)
        if not first < end <= count:
            words = "Node range should be smaller than number of nodes"
            raise Refused(f"Node range error {target}. {words}", True)
        if targets.count(target) > 1:
            raise Refused(f"targetNodes {target} is given more than once", True)  # ours
    if any(group < 0 for group in groups_of(properties, count)):
        raise Refused("Node Range Properties target nodes have missing ranges", True)
    for one in ranges:
        _check_kind(one)
    if len({one.eks_properties is not None for one in ranges}) > 1:
        raise Refused("eksProperties must be given for all node ranges or for none", True)  # ours
    of_containers = [one.container.instance_type for one in ranges if one.container is not None]
    _check_instances([one.instance_types for one in ranges], of_containers)


def _check_kind(one: NodeRangeProperty) -> None:
    given = {
        "container": one.container,
        "ecsProperties": one.ecs_properties,
        "eksProperties": one.eks_properties,
    }
    there = [name for name, value in given.items() if value is not None]
    if not there:
        raise Refused(f"Must specify container for node range {one.target_nodes}.", True)
    if len(there) > 1:
        raise Refused(f"NodeRangeProperties can not use both {there[1]} and {there[0]} fields", True)


def _check_instances(groups: list[list[str] | None], of_containers: Iterable[str | None] = ()) -> None:
    """API_NodeRangeProperty: one element; user guide: all node groups use the same type. Containers may name it too."""
    if any(len(types) > 1 for types in groups if types is not None):
        raise Refused("instanceTypes of a node range can have only one element", True)  # ours
    if len({types[0] for types in groups if types}.union(filter(None, of_containers))) > 1:
        raise Refused("All node ranges must have the same instance type", True)  # ours


# -------------------------------------------------------------------------------------------------------- submit


def check_overrides(overrides: NodeOverrides | None, properties: NodeProperties, limits: Limits) -> None:
    """nodeOverrides against the definition."""
    if overrides is None:
        return
    ranges = properties.node_range_properties
    known = [one.target_nodes for one in ranges]
    sent = overrides.node_property_overrides or []
    strange = [one.target_nodes for one in sent if one.target_nodes not in known]
    if strange:
        raise Refused(f"NodeOverride targets should match job definition. Non matching targets - {', '.join(strange)}")
    if len({one.target_nodes for one in sent}) < len(sent):
        raise Refused("targetNodes of nodePropertyOverrides must not be given more than once", True)  # ours
    _check_instances([one.instance_types for one in sent])
    count = overrides.num_nodes
    if count is None or count == properties.num_nodes:
        return
    if not 1 <= count <= limits.nodes:
        raise Refused(f"numNodes must be between 1 and {limits.nodes}", True)  # ours
    if not any(target.endswith(":") for target in known):
        raise Refused("numNodes can be overridden only if a node range has no upper boundary, such as 4:", True)  # ours
    if properties.main_node >= count:
        raise Refused("numNodes must be greater than the index of the main node", True)  # ours
    beyond = [target for target in known if span_of(target, count)[0] >= count]
    if beyond:
        words = "numNodes must be greater than the lower boundary of every node range"
        raise Refused(f"{words}: {beyond[0]}", True)  # ours


# -------------------------------------------------------------------------------------------------- node by node


def node_docs(definition_doc: str, submit_doc: str, node: int) -> tuple[str, str]:
    """The node's own definition and submit, as `effective` reads them."""
    properties = definition_of(definition_doc).node_properties
    assert properties is not None
    count = count_of(properties, _overrides(submit_doc).node_overrides)
    return range_docs(definition_doc, submit_doc, groups_of(properties, count)[node])


@lru_cache(maxsize=1024)
def _overrides(submit_doc: str) -> Overrides:
    return _decoder.decode(submit_doc)


def node_overrides_of(submit_doc: str) -> NodeOverrides | None:
    """What a submit says of nodes."""
    return _overrides(submit_doc).node_overrides


@lru_cache(maxsize=1024)
def range_docs(definition_doc: str, submit_doc: str, group: int) -> tuple[str, str]:
    """As `node_docs`, of the nodes of one range (its number)."""
    definition, sent = definition_of(definition_doc), _overrides(submit_doc)
    assert definition.node_properties is not None
    one = definition.node_properties.node_range_properties[group]
    override = override_of(sent.node_overrides, one.target_nodes)
    own = RegisterJobDefinitionRequest(
        job_definition_name=definition.job_definition_name,
        type="container",
        parameters=definition.parameters,
        scheduling_priority=definition.scheduling_priority,
        container_properties=one.container,
        ecs_properties=one.ecs_properties,
        eks_properties=one.eks_properties,
        retry_strategy=definition.retry_strategy,
        propagate_tags=definition.propagate_tags,
        timeout=definition.timeout,
        platform_capabilities=definition.platform_capabilities,
        consumable_resource_properties=one.consumable_resource_properties or definition.consumable_resource_properties,
    )
    asked = msgspec.structs.replace(
        sent,
        node_overrides=None,
        container_overrides=override.container_overrides,
        ecs_properties_override=override.ecs_properties_override,
        eks_properties_override=override.eks_properties_override,
        consumable_resource_properties_override=override.consumable_resource_properties_override
        or sent.consumable_resource_properties_override,
    )
    return _encode(own).decode(), _encode(asked).decode()


def override_of(overrides: NodeOverrides | None, target: str) -> NodePropertyOverride:
    """What a submit says of the nodes of a range."""
    sent = (overrides.node_property_overrides if overrides is not None else None) or []
    return next((one for one in sent if one.target_nodes == target), NodePropertyOverride(target_nodes=target))
