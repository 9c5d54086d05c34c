"""What serves a request: operations by their handlers' names, JSON 1.1 services, our own endpoints."""

from typing import Any

import msgspec
import pytest

from batchery.api import targets, wire
from batchery.api.call import HANDLERS, ApiError, Call, operation


def test_an_operation_that_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(HANDLERS, "CreateQuotaShare", raising=False)
    route = wire.find_route("POST", b"/v1/createquotashare", {})
    assert route is not None
    with pytest.raises(ApiError) as caught:
        wire.find_handler(route)
    assert caught.value.code == "ClientException"
    assert caught.value.message == "CreateQuotaShare is not served by this version of Batchery."


def test_an_operation_is_served_under_its_handlers_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchery.api.call.HANDLERS", HANDLERS)

    async def create_quota_share(call: Call, ask: Any) -> None:
        return None

    monkeypatch.setitem(HANDLERS, "CreateQuotaShare", create_quota_share)
    assert operation(create_quota_share) is create_quota_share
    route = wire.find_route("POST", b"/v1/createquotashare", {})
    assert route is not None
    assert wire.find_handler(route) is create_quota_share


class Ask(msgspec.Struct, rename="camel"):
    group_name: str


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "TARGETS", {})
    monkeypatch.setattr(wire, "TARGETS", targets.TARGETS)
    monkeypatch.setattr(targets, "OWN", {})
    monkeypatch.setattr(wire, "OWN", targets.OWN)


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("prefix", "header", "service"),
    [
        ("Logs_20140328", "Logs_20140328.GetLogThings", "logs"),
        ("CloudTrail_20131101", "CloudTrail_20131101.GetLogThings", "cloudtrail"),
        ("CloudTrail_20131101", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.GetLogThings", "cloudtrail"),
    ],
)
def test_targets(prefix: str, header: str, service: str) -> None:
    @targets.target(prefix, Ask)
    async def get_log_things(call: Call, ask: Ask) -> None:
        return None

    headers = {b"x-amz-target": header.encode()}
    for _ in range(2):
        route = wire.find_route("POST", b"/", headers)
        assert route is not None
        assert (route.service, route.action, route.source) == (
            service,
            f"{service}:GetLogThings",
            f"{service}.amazonaws.com",
        )
        assert wire.find_handler(route) is get_log_things
        assert wire.decode(route, b'{"groupName":"g"}', {}, "req-1") == Ask("g")
    with pytest.raises(ApiError) as caught:
        wire.decode(route, b"{}", {}, "req-1")
    assert caught.value.code in ("InvalidParameterException", "ValidationException")


@pytest.mark.usefixtures("registries")
def test_unknown_targets() -> None:
    assert wire.find_route("POST", b"/", {b"x-amz-target": b"DynamoDB_20120810.GetItem"}) is None
    route = wire.find_route("POST", b"/", {b"x-amz-target": b"Logs_20140328.StartQuery"})
    assert route is not None
    with pytest.raises(ApiError) as caught:
        wire.find_handler(route)
    assert caught.value.code == "UnknownOperationException"
    with pytest.raises(ValueError, match="not a service"):
        targets.target("DynamoDB_20120810", Ask)


@pytest.mark.usefixtures("registries")
def test_our_own_endpoints_take_any_object() -> None:
    @targets.own("spare")
    async def spare(call: Call, ask: dict[str, Any]) -> dict[str, Any]:
        return {}

    route = wire.find_route("POST", b"/batchery/spare", {})
    assert route is not None
    assert (route.service, route.action) == ("batch", "batchery:spare")
    assert wire.find_handler(route) is spare
    assert wire.decode(route, b'{"a":1}', {}, "r") == {"a": 1}
    assert wire.decode(route, b"", {}, "r") == {}
    with pytest.raises(ApiError, match="JSON object"):
        wire.decode(route, b"[1]", {}, "r")
