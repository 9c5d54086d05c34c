"""What a job asks for of consumable resources: form, overrides, nodes."""

from typing import Any

import msgspec
import pytest

from batchery.api.shapes import ConsumableResourceProperties
from batchery.config import Limits
from batchery.core.messages import Refused
from batchery.spec.consumables import asked_for, check_consumables, in_effect


def properties(*units: tuple[str | None, int | None]) -> ConsumableResourceProperties:
    wanted = [{"consumableResource": ref, "quantity": quantity} for ref, quantity in units]
    return msgspec.convert({"consumableResourceList": wanted}, ConsumableResourceProperties)


@pytest.mark.parametrize(
    ("units", "words"),
    [
        ([(None, 1)], "consumableResource must be given"),
        ([("", 1)], "consumableResource must be given"),
        ([("a", None)], "quantity of consumable resource a must be at least 1"),
        ([("a", 0)], "quantity of consumable resource a must be at least 1"),
        ([(name, 1) for name in "abcdef"], "can have at most 5 consumableResources"),
    ],
)
def test_form(units: list[Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        check_consumables(properties(*units), Limits())


def test_what_is_well_formed_passes() -> None:
    check_consumables(properties(*((name, 1) for name in "abcde")), Limits())
    check_consumables(ConsumableResourceProperties(), Limits())
    check_consumables(None, Limits())


def test_an_override_with_a_list_replaces_the_whole() -> None:
    given, other = properties(("a", 1), ("b", 2)), properties(("c", 3))
    assert in_effect(given, other) is other
    assert in_effect(given, None) is given
    assert in_effect(given, ConsumableResourceProperties()) is given
    assert in_effect(given, nothing := properties()) is nothing
    assert in_effect(None, None) is None


def test_units_are_counted_for_each_node() -> None:
    assert asked_for([(1, properties(("a", 1), ("b", 2)))]) == [("a", 1), ("b", 2)]
    assert asked_for([(3, properties(("a", 2))), (2, properties(("b", 1), ("a", 5))), (9, None)]) == [
        ("a", 16),
        ("b", 2),
    ]
    with pytest.raises(Refused, match="duplicate consumableResource"):
        asked_for([(1, properties(("a", 1), ("a", 2)))])
