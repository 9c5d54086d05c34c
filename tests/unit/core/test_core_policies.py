"""Scheduling policies as resources, and what they ask of queues and jobs."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.core.building import HOME, Batch, arn, fair
from tests.unit.core.test_core_services import LARGE, service_environment

from batchery.core.messages import CreatePolicy, DeletePolicy, Refused, Submit, Tag, UpdatePolicy, UpdateQueue
from batchery.core.model import Realm, TimeLimit
from batchery.core.query import policies, resolve_policy
from batchery.core.shares import QUOTA, SchedulingPolicy

Make = Callable[..., Batch]
FAIR_ARN = arn("scheduling-policy", "fair")


def quota(name: str = "quota") -> SchedulingPolicy:
    return replace(fair(name), kind=QUOTA)


def refused(batch: Batch, command: Any) -> str:
    before = dict(batch.world.policies)
    with pytest.raises(Refused) as caught:
        batch.send(command)
    assert batch.world.policies == before
    return caught.value.message


# -------------------------------------------------------------------------------------------------------- policies


def test_a_policy_is_made_changed_and_deleted(batch: Batch) -> None:
    where = batch.policy(weights={"a": 2.0})
    made = batch.world.policies[where]
    assert (made.weights, made.created) == ((("a", 2.0),), batch.now)
    batch.tick(5)
    batch.send(UpdatePolicy(fair(window=700_000)))
    changed = batch.world.policies[where]
    assert (changed.weights, changed.window, changed.created) == ((), 700_000, made.created)
    batch.send(DeletePolicy(where))
    assert where not in batch.world.policies
    batch.send(DeletePolicy(where))


def test_tags_come_and_go_with_it(batch: Batch) -> None:
    batch.send(CreatePolicy(fair(), {"who": "me"}), Tag(FAIR_ARN, {"more": "x"}))
    assert batch.moved() == ["PolicySet", "TagsSet", "TagsSet"]
    batch.send(DeletePolicy(FAIR_ARN))
    assert batch.moved() == ["PolicyGone", "TagsSet"]
    assert refused(batch, Tag(FAIR_ARN, {"more": "x"})) == f"{FAIR_ARN} does not exist"


def test_what_is_refused_of_policies(batch: Batch) -> None:
    batch.policy()
    assert refused(batch, CreatePolicy(fair())) == "Object already exists"
    assert refused(batch, UpdatePolicy(fair("none"))) == f"{arn('scheduling-policy', 'none')} does not exist"
    assert "can not be changed" in refused(batch, UpdatePolicy(quota("fair")))
    batch.queue("shared", arn("compute-environment", "main"), policy=FAIR_ARN)
    assert refused(batch, DeletePolicy(FAIR_ARN)) == "Cannot delete, found existing JobQueue relationship"


# ---------------------------------------------------------------------------------------------------------- queues


def test_a_queue_needs_a_policy_that_is_there(batch: Batch) -> None:
    batch.send(CreatePolicy(quota()), CreatePolicy(replace(fair("far"), realm=Realm("9", "r"))))
    for name, words in (("none", "none not found"), ("far", "far not found"), ("quota", "SageMaker")):
        with pytest.raises(Refused, match=words):
            batch.queue("shared", policy=arn("scheduling-policy", name))


def test_a_quota_managed_queue_has_its_service_environment_to_itself(batch: Batch) -> None:
    rule = {"type": "SAGEMAKER_TRAINING", "policy": arn("scheduling-policy", "quota")}
    batch.send(CreatePolicy(quota()))
    by_type, plain = service_environment(batch, units={LARGE: 1}), service_environment(batch, name="plain")
    with pytest.raises(Refused, match="by instance type"):
        batch.queue("first", plain, **rule)
    first = batch.queue("first", by_type, **rule)
    with pytest.raises(Refused, match="no other job queue"):
        batch.queue("second", by_type, **rule)
    with pytest.raises(Refused, match="no other job queue"):
        batch.queue("third", by_type, type="SAGEMAKER_TRAINING")
    fifo = batch.queue("fourth", plain, type="SAGEMAKER_TRAINING")
    assert "no other job queue" in refused(batch, UpdateQueue(fifo, order=((1, by_type),)))
    assert "by instance type" in refused(batch, UpdateQueue(first, order=((1, plain),)))
    batch.send(UpdateQueue(first, priority=3, order=((2, by_type),)))
    assert batch.world.queues[first].order == ((2, by_type),)


def test_a_policy_is_replaced_by_one_of_its_kind_and_by_nothing_else(batch: Batch) -> None:
    batch.send(CreatePolicy(quota()))
    queue = batch.queue("shared", policy=batch.policy())
    other = batch.policy("other")
    batch.send(UpdateQueue(queue, policy=other))
    assert batch.world.queues[queue].policy == other
    assert "FIFO" in refused(batch, UpdateQueue(batch.main, policy=other))
    assert "removed" in refused(batch, UpdateQueue(queue, policy=""))
    assert "not found" in refused(batch, UpdateQueue(queue, policy=arn("scheduling-policy", "none")))
    environment = service_environment(batch, units={LARGE: 1})
    service = batch.queue("service", environment, type="SAGEMAKER_TRAINING", policy=arn("scheduling-policy", "quota"))
    assert "same kind" in refused(batch, UpdateQueue(service, policy=other))
    batch.send(UpdateQueue(service, limits=(TimeLimit("r", 600_000, "TERMINATE"),)))
    assert batch.world.queues[service].limits == (TimeLimit("r", 600_000, "TERMINATE"),)


# ------------------------------------------------------------------------------------------------------------ jobs


def test_jobs_have_a_share_where_the_queue_wants_one_and_nowhere_else(batch: Batch) -> None:
    queue = batch.queue("shared", policy=batch.policy())
    assert refused(batch, batch.order(queue=queue)) == "shareIdentifier must be specified."
    assert "onlybe" in refused(batch, batch.order(share="a"))
    batch.submit(queue=queue, share="a")


def test_one_share_too_many_is_refused_until_another_is_inactive(batch: Batch) -> None:
    queue = batch.queue("shared", arn("compute-environment", "main"), policy=batch.policy(window=700_000))

    def order(share: str) -> Submit:
        return replace(batch.order(queue=queue, share=share), most_shares=2)

    first = order("a")
    batch.send(first, order("b"))
    assert refused(batch, order("c")) == "Job queue shared has 2 active share identifiers already"
    batch.send(order("a"))
    batch.exits(first.id)
    batch.cancel(batch.world.shares[queue] and f"job{batch.made}")
    for job in list(batch.world.live):
        batch.exits(job.job)
    batch.tick(700_000)
    assert "active" in refused(batch, order("c")), "for a window after its last job it is active"
    batch.tick(1)
    batch.send(order("c"))
    assert set(batch.world.shares[queue]) == {"c"}, "what is inactive is forgotten"
    assert batch.moved()[:2] == ["SharesForgotten", "Submitted"]


def test_policies_are_found_by_arn_in_their_realm_and_listed_by_name(batch: Batch) -> None:
    far = Realm("9", "r")
    batch.send(CreatePolicy(fair("b")), CreatePolicy(fair("a")), CreatePolicy(replace(fair("c"), realm=far)))
    assert [policy.name for policy in policies(batch.world, HOME)] == ["a", "b"]
    found = resolve_policy(batch.world, HOME, arn("scheduling-policy", "a"))
    assert found is not None
    assert found.name == "a"
    assert resolve_policy(batch.world, HOME, arn("scheduling-policy", "c")) is None
    assert resolve_policy(batch.world, HOME, "a") is None
