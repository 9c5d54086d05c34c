"""Jobs that ask for consumable resources, over the API and on a real store: what is shown of them, and who may."""

from typing import Any

import msgspec
import pytest

from batchery.api import consumable_jobs, consumables
from batchery.api.call import ApiError, Call, Caller
from batchery.api.policy import parse
from batchery.api.shapes import ConsumableResourceProperties
from batchery.core.keys import Realm
from batchery.core.messages import Refused

START = "arn:aws:batch:us-east-1:123456789012"
CALLER = Caller("123456789012", "AKIA", "arn:aws:iam::123456789012:user/u", "u")
SEATS = f"{START}:consumable-resource/seats"


def asking(*units: tuple[str, int]) -> dict[str, Any]:
    return {"consumableResourceList": [{"consumableResource": ref, "quantity": count} for ref, count in units]}


@pytest.fixture
def seats(jobs: Any) -> Any:
    """A desk with two resources, 3 of each, and a definition `s` that asks for one of the first."""
    for name in ("seats", "cups"):
        jobs.call("CreateConsumableResource", consumableResourceName=name, totalQuantity=3)
    jobs.register("s", consumableResourceProperties=asking(("seats", 1)))
    return jobs


def listed(desk: Any, **members: Any) -> list[tuple[str, int]]:
    found = desk.call("ListJobsByConsumableResource", consumableResource=SEATS, **members)["jobs"]
    return [(job["jobName"], job["quantity"]) for job in found]


def test_submitting_needs_a_permission_on_what_is_asked_for(seats: Any) -> None:
    seats.submit(jobDefinition="s")
    assert seats.allowed == [f"{START}:job-definition/s:1", f"{START}:job-queue/default", SEATS]
    statement = {"Effect": "Allow", "Action": "batch:SubmitJob", "Resource": [f"{START}:job-*", f"{START}:*/cups"]}
    seats.policy = parse({"Statement": [statement]})
    with pytest.raises(ApiError) as caught:
        seats.submit(jobDefinition="s")
    assert caught.value.code == "AccessDeniedException"
    assert SEATS in caught.value.message
    job = seats.submit(jobDefinition="s", consumableResourcePropertiesOverride=asking(("cups", 1)))
    seats.policy = None
    assert seats.job(job)["consumableResourceProperties"] == asking(("cups", 1))


def test_what_definitions_and_jobs_show_is_what_was_sent(seats: Any) -> None:
    (shown,) = seats.call("DescribeJobDefinitions", jobDefinitionName="s")["jobDefinitions"]
    assert shown["consumableResourceProperties"] == asking(("seats", 1))
    nothing = seats.submit(jobDefinition="s", consumableResourcePropertiesOverride=asking())
    assert seats.job(nothing)["consumableResourceProperties"] == asking()
    same = seats.submit(jobDefinition="s", consumableResourcePropertiesOverride={})
    assert seats.job(same)["consumableResourceProperties"] == asking(("seats", 1))
    assert "consumableResourceProperties" not in seats.job(seats.submit())
    assert seats.service.world.locked == {SEATS: 1}


def test_a_resource_is_named_once_by_name_or_arn(seats: Any) -> None:
    for twice in (asking(("seats", 1), (SEATS, 2)), asking((SEATS, 1), (SEATS, 1))):
        words = "Cannot have duplicate consumableResource in consumableResourceProperties"
        assert words in seats.refused("RegisterJobDefinition", **form(twice))
        members = {"jobName": "j", "jobQueue": "default", "jobDefinition": "s"}
        assert words in seats.refused("SubmitJob", **members, consumableResourcePropertiesOverride=twice)


def form(properties: dict[str, Any]) -> dict[str, Any]:
    container = {"image": "i", "vcpus": 1, "memory": 64}
    return {
        "jobDefinitionName": "d",
        "type": "container",
        "containerProperties": container,
        "consumableResourceProperties": properties,
    }


def test_a_job_is_found_while_it_waits_and_when_it_has_ended(seats: Any) -> None:
    large = seats.submit("large", jobDefinition="s", consumableResourcePropertiesOverride=asking((SEATS, 2)))
    for number in range(4):
        seats.submit(f"j{number}", jobDefinition="s")
    everything = [("j3", 1), ("j2", 1), ("j1", 1), ("j0", 1), ("large", 2)]
    assert listed(seats) == everything
    running = [{"name": "JOB_STATUS", "values": ["RUNNING"]}]
    assert listed(seats, filters=running) == []
    seats.start(large)
    assert listed(seats, filters=running) == [("large", 2)]
    seats.finish(large)
    assert listed(seats) == everything
    assert listed(seats, filters=[{"name": "JOB_STATUS", "values": ["SUCCEEDED"]}]) == [("large", 2)]
    assert listed(seats, filters=[{"name": "JOB_NAME", "values": ["J0", "la*"]}]) == [("j0", 1), ("large", 2)]
    seats.service.reload()
    assert listed(seats) == everything


def test_nodes_ask_together(seats: Any) -> None:
    """What a job of several nodes asks for is the sum, and cannot be more than a number that AWS has."""
    desk, most = seats.service, (1 << 63) - 1
    call = Call(desk, Realm("123456789012", "us-east-1"), CALLER, "r", "SubmitJob", b"")
    each = [
        msgspec.convert(asking(*wanted), ConsumableResourceProperties)
        for wanted in ((("seats", 2),), (("seats", 1), ("cups", 4)), (("seats", most),))
    ]
    assert consumables.units(call, (3, each[0]), (2, each[1]), (1, None)) == ((f"{SEATS[:-5]}cups", 8), (SEATS, 8))
    with pytest.raises(Refused, match="too large"):
        consumables.units(call, (2, each[2]))
    assert consumable_jobs._summed({SEATS: 8}) == msgspec.convert(asking((SEATS, 8)), ConsumableResourceProperties)


def test_pages_go_on_where_they_ended_though_few_rows_are_of_the_status(
    seats: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumable_jobs, "_ROWS", 3)
    ids = [seats.submit(f"j{number}", jobDefinition="s") for number in range(12)]
    for number in (1, 2, 5, 6, 10):
        seats.call("CancelJob", jobId=ids[number], reason="no")
        if ids[number] in seats.service.world.jobs:  # placed: the engine gives it back
            seats.finish(ids[number], None, cause="WITHDRAWN")
    wanted = [{"name": "JOB_STATUS", "values": ["FAILED", "RUNNING"]}]
    found, token = [], {}
    while True:
        page = seats.call(
            "ListJobsByConsumableResource", consumableResource="seats", filters=wanted, maxResults=2, **token
        )
        found.append([job["jobName"] for job in page["jobs"]])
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == [["j10", "j6"], ["j5", "j2"], ["j1"]]
    assert "nextToken" in seats.refused("ListJobsByConsumableResource", consumableResource="cups", **token)
