"""Multi-node jobs -> shapes: nodeProperties of the job, nodeDetails of a node, nodeProperties of a summary.

The job shows what its main node does: attempts, times, exit code; nodeProperties are the definition's under the
submit's nodeOverrides. Sources: API_NodeProperties, API_NodeDetails, API_NodePropertiesSummary.
"""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from batchery.api.containerviews import shown_container
from batchery.api.shapes import (
    EcsProperties,
    EksProperties,
    NodeDetails,
    NodeProperties,
    NodePropertiesSummary,
    NodeRangeProperty,
)
from batchery.spec.effective import definition_of, effective
from batchery.spec.nodes import count_of, node_overrides_of, override_of, range_docs

if TYPE_CHECKING:
    from batchery.api.views import Seen


def node_details(seen: "Seen") -> NodeDetails | None:
    """Of a node; None of anything else."""
    if seen.main < 0 or seen.index is None:
        return None
    return NodeDetails(node_index=seen.index, is_main_node=seen.index == seen.main)


def node_summary(seen: "Seen") -> NodePropertiesSummary | None:
    """Of a multi-node job, or of a node."""
    if seen.main < 0:
        return None
    if seen.index is None:
        return NodePropertiesSummary(num_nodes=seen.size)
    return NodePropertiesSummary(is_main_node=seen.index == seen.main, num_nodes=seen.size, node_index=seen.index)


def shown_nodes(given: NodeProperties | None) -> NodeProperties | None:
    """Of a definition: as registered, with the empty lists of containers."""
    if given is None:
        return None
    ranges = [
        replace(one, container=shown_container(one.container, False)) if one.container is not None else one
        for one in given.node_range_properties
    ]
    return replace(given, node_range_properties=ranges)


def node_properties(definition_doc: str, submit_doc: str) -> NodeProperties:
    """What the nodes of a job run, range by range."""
    given = definition_of(definition_doc).node_properties
    assert given is not None
    sent = node_overrides_of(submit_doc)
    ranges = []
    for group, one in enumerate(given.node_range_properties):
        spec = effective(*range_docs(definition_doc, submit_doc, group))
        ranges.append(
            NodeRangeProperty(
                target_nodes=one.target_nodes,
                container=shown_container(spec.container, False) if spec.pod is None else None,
                instance_types=override_of(sent, one.target_nodes).instance_types or one.instance_types,
                ecs_properties=EcsProperties(task_properties=[spec.ecs]) if spec.ecs is not None else None,
                eks_properties=EksProperties(pod_properties=spec.eks) if spec.eks is not None else None,
                consumable_resource_properties=spec.consumables,
            )
        )
    return NodeProperties(num_nodes=count_of(given, sent), main_node=given.main_node, node_range_properties=ranges)
