"""Ranges of nodes: what is refused, and which range a node is of."""

import json
from typing import Any

import msgspec
import pytest

from batchery.api.shapes import NodeOverrides, NodeProperties
from batchery.config import Limits
from batchery.core.messages import Refused
from batchery.spec.effective import effective
from batchery.spec.nodes import check_nodes, check_overrides, groups_of, node_docs, span_of

ONE: dict[str, Any] = {
    "image": "i",
    "command": ["echo", "Ref::word"],
    "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "8"}],
}


def properties(*targets: str, nodes: int = 4, main: int = 0, **members: Any) -> NodeProperties:
    ranges = [{"targetNodes": target, "container": ONE, **members} for target in targets]
    return msgspec.convert({"numNodes": nodes, "mainNode": main, "nodeRangeProperties": ranges}, NodeProperties)


def overrides(**members: Any) -> NodeOverrides:
    return msgspec.convert(members, NodeOverrides)


@pytest.mark.parametrize(
    ("target", "span"),
    [("0:3", (0, 4)), (":2", (0, 3)), ("2:", (2, 4)), ("1:1", (1, 2)), ("2", (2, 3)), ("3:9", (3, 10))],
)
def test_ranges_are_inclusive_and_may_leave_out_an_end(target: str, span: tuple[int, int]) -> None:
    assert span_of(target, 4) == span


@pytest.mark.parametrize("target", ["", ":", "x", "a:b", "-1:2", "1:2:3", "0:123456"])
def test_what_is_no_range(target: str) -> None:
    with pytest.raises(Refused, match=r"targetNodes should contain only digits\."):
        span_of(target, 4)


def test_of_nested_ranges_the_narrower_one_holds() -> None:
    assert groups_of(properties("1:2", "0:", "2:2"), 5) == (1, 0, 2, 1, 1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (properties("0:", nodes=0), "Number of nodes must be between 1 and 1000."),
        (properties("0:", nodes=1001), "Number of nodes must be between 1 and 1000."),
        (properties("0:", main=4), "Main node index is out of range, must be less than numNodes."),
        (properties(), "must have at least one entry"),
        (properties("0:", "1:", "2:", "3:", "0:1", "1:2"), "Maximum allowed size of node range properties is 5"),
        (properties("0:4"), "Node range error 0:4. Node range should be smaller than number of nodes"),
        (properties("2:1", "0:"), "Node range error 2:1."),
        (properties("0:", "0:"), "is given more than once"),
        (properties("0:1", "3:3"), "Node Range Properties target nodes have missing ranges"),
        (properties("0:", ecsProperties={"taskProperties": []}), "can not use both ecsProperties and container fields"),
        (properties("0:", container=None), "Must specify container for node range 0:."),
        (properties("0:", instanceTypes=["a", "b"]), "can have only one element"),
    ],
)
def test_definitions_that_are_refused(given: NodeProperties, words: str) -> None:
    with pytest.raises(Refused, match=words):
        check_nodes(given, Limits())


def test_ranges_that_do_not_go_together() -> None:
    mixed = properties("0:1", "2:3")
    mixed.node_range_properties[0].instance_types = ["m5.large"]
    mixed.node_range_properties[1].instance_types = ["c5.large"]
    with pytest.raises(Refused, match="the same instance type"):
        check_nodes(mixed, Limits())
    mixed.node_range_properties[1].instance_types = None
    mixed.node_range_properties[1].container.instance_type = "c5.large"
    with pytest.raises(Refused, match="the same instance type"):
        check_nodes(mixed, Limits())
    pods = properties("0:1", "2:3")
    pods.node_range_properties[0] = msgspec.convert(
        {"targetNodes": "0:1", "eksProperties": {}}, type(pods.node_range_properties[0])
    )
    with pytest.raises(Refused, match="for all node ranges or for none"):
        check_nodes(pods, Limits())
    check_nodes(properties("0:1", "2:"), Limits())


@pytest.mark.parametrize(
    ("given", "sent", "words"),
    [
        (properties("0:"), {"nodePropertyOverrides": [{"targetNodes": "0:3"}]}, "Non matching targets - 0:3"),
        (properties("0:"), {"nodePropertyOverrides": [{"targetNodes": "0:"}] * 2}, "more than once"),
        (properties("0:"), {"numNodes": 0}, "numNodes must be between"),
        (properties("0:3"), {"numNodes": 2}, "only if a node range has no upper boundary"),
        (properties("0:", main=2), {"numNodes": 2}, "greater than the index of the main node"),
        (properties("0:", "2:3"), {"numNodes": 2}, "lower boundary of every node range: 2:3"),
    ],
)
def test_overrides_that_are_refused(given: NodeProperties, sent: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        check_overrides(overrides(**sent), given, Limits())


def test_overrides_that_are_fine() -> None:
    check_overrides(None, properties("0:3"), Limits())
    check_overrides(overrides(numNodes=4), properties("0:3"), Limits())
    check_overrides(overrides(numNodes=9), properties("0:1", "2:"), Limits())


def test_a_node_is_a_job_of_its_own() -> None:
    definition = {
        "jobDefinitionName": "d",
        "type": "multinode",
        "parameters": {"word": "given"},
        "retryStrategy": {"attempts": 3},
        "nodeProperties": {
            "numNodes": 2,
            "mainNode": 0,
            "nodeRangeProperties": [{"targetNodes": "0:", "container": ONE}, {"targetNodes": "1:1", "container": ONE}],
        },
    }
    submit = {
        "parameters": {"word": "sent"},
        "nodeOverrides": {
            "nodePropertyOverrides": [
                {"targetNodes": "1:1", "containerOverrides": {"environment": [{"name": "A", "value": "b"}]}}
            ]
        },
    }
    first, second = (effective(*node_docs(json.dumps(definition), json.dumps(submit), node)) for node in (0, 1))
    assert first.container.command == second.container.command == ["echo", "sent"]
    assert first.container.environment == []
    assert [(one.name, one.value) for one in second.container.environment or ()] == [("A", "b")]
    assert first.retry is not None
    assert first.retry.attempts == 3
