"""Consumable resources over the API: who may, names and ARNs, pages that were made for another request."""

from typing import Any

import pytest
from tests.unit.api.conftest import HOME, Desk

from batchery.api import consumables  # noqa: F401  the handlers register themselves
from batchery.api.call import ApiError
from batchery.api.policy import parse
from batchery.core.keys import Realm

ARN = "arn:aws:batch:us-east-1:123456789012:consumable-resource/"
AWAY = Realm(HOME.account, "eu-west-1")


def make(desk: Desk, *names: str, **members: Any) -> None:
    for name in names:
        desk.call("CreateConsumableResource", consumableResourceName=name, totalQuantity=1, **members)


def test_what_each_operation_needs_a_permission_for(desk: Desk) -> None:
    make(desk, "seats", tags={"k": "v"})
    assert desk.allowed == [ARN + "seats", ARN + "seats"]
    for name, members in (
        ("UpdateConsumableResource", {"operation": "ADD", "quantity": 1}),
        ("DescribeConsumableResource", {}),
        ("DeleteConsumableResource", {}),
        ("DeleteConsumableResource", {}),
    ):
        desk.call(name, consumableResource="seats", **members)
        assert desk.allowed == [ARN + "seats"]
    desk.call("ListConsumableResources")
    assert desk.allowed == []


def test_what_a_policy_does_not_allow_is_denied_before_it_is_found_missing(desk: Desk) -> None:
    statement = {"Effect": "Allow", "Action": "batch:*", "Resource": ARN + "mine-*"}
    desk.policy = parse({"Version": "2012-10-17", "Statement": [statement]})
    make(desk, "mine-1")
    for ref in ("other", ARN + "other"):
        for name in ("DescribeConsumableResource", "DeleteConsumableResource", "UpdateConsumableResource"):
            with pytest.raises(ApiError) as caught:
                desk.call(name, consumableResource=ref)
            assert (caught.value.status, caught.value.code) == (403, "AccessDeniedException")


def test_names_are_of_a_realm(desk: Desk) -> None:
    make(desk, "seats")
    assert (
        desk.call("DescribeConsumableResource", consumableResource=ARN + "seats")["consumableResourceName"] == "seats"
    )
    assert "does not exist" in desk.refused("DescribeConsumableResource", AWAY, consumableResource="seats")
    assert "does not exist" in desk.refused("DescribeConsumableResource", AWAY, consumableResource=ARN + "seats")
    assert desk.call("ListConsumableResources", AWAY) == {"consumableResources": []}
    with pytest.raises(ApiError, match="does not exist"):
        desk.call("TagResource", AWAY, resourceArn=ARN + "seats", tags={"a": "b"})


def test_a_page_goes_on_only_in_the_list_it_was_made_for(desk: Desk) -> None:
    make(desk, "a1", "a2", "b1")
    first = desk.call("ListConsumableResources", maxResults=1)
    rest = desk.call("ListConsumableResources", nextToken=first["nextToken"])
    assert [one["consumableResourceName"] for one in rest["consumableResources"]] == ["a2", "b1"]
    wanted = [{"name": "CONSUMABLE_RESOURCE_NAME", "values": ["B1", "A*"]}]
    found = desk.call("ListConsumableResources", filters=wanted)["consumableResources"]
    assert [one["consumableResourceName"] for one in found] == ["a1", "a2", "b1"]
    assert "nextToken" in desk.refused("ListConsumableResources", filters=wanted, nextToken=first["nextToken"])
