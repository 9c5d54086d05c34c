"""Service jobs in the core: instances instead of vCPUs, tokens, priorities that change, what an end is called."""

from typing import Any

import pytest
from tests.unit.core.building import HOME, Batch, arn, fair
from tests.unit.core.test_core_rebuild import loaded

from batchery.core import query
from batchery.core.consumables import TOKEN_MS
from batchery.core.instances import NUM_INSTANCES, SERVICE
from batchery.core.messages import (
    Cancel,
    CreateEnvironment,
    CreatePolicy,
    DeleteQueue,
    Refused,
    SubmitService,
    Terminate,
    UpdateEnvironment,
    UpdateQueue,
    UpdateServiceJob,
)
from batchery.core.model import DISABLED, TIMEOUT, Environment, Resources, Shape, task_ref
from batchery.core.queue import TimeLimit

LARGE = "ml.m5.large"


def service_environment(
    batch: Batch, most: int = 4, units: dict[str, int] | None = None, name: str = "training"
) -> str:
    where = arn("service-environment", name)
    by_type = tuple((unit, 1000 * count) for unit, count in (units or {}).items())
    made = Environment(where, name, HOME, SERVICE, 1000 * (sum((units or {}).values()) or most), where, "[]")
    made.units = by_type
    batch.send(CreateEnvironment(made))
    return where


def service_queue(batch: Batch, most: int = 4, units: dict[str, int] | None = None, **more: Any) -> str:
    return batch.queue("service", service_environment(batch, most, units), type=SERVICE, **more)


def wish(batch: Batch, queue: str, count: int = 1, unit: str = LARGE, **more: Any) -> SubmitService:
    batch.made += 1
    name = f"train{batch.made}"
    shape = {name: more.pop(name) for name in ("priority", "attempts", "timeout", "preemptions") if name in more}
    instances = more.pop("instances", ((unit, count),))
    takes = Resources(1000 * sum(n for _, n in instances), 16, more.pop("gpus", 0))
    made = Shape(takes, instances=instances, **shape)
    return SubmitService(HOME, name, name, queue, made, "{}", **more)


def train(batch: Batch, queue: str, count: int = 1, unit: str = LARGE, **more: Any) -> str:
    made = wish(batch, queue, count, unit, **more)
    batch.send(made)
    return made.id


def refused(batch: Batch, command: Any) -> str:
    with pytest.raises(Refused) as caught:
        batch.send(command)
    return caught.value.message


def test_instances_limit_a_service_environment(batch: Batch) -> None:
    queue = service_queue(batch, 3)
    first, second, third = train(batch, queue, 2), train(batch, queue, 2), train(batch, queue, 1)
    assert [batch.code(job) for job in (first, second, third)] == ["OFFERED", "RUNNABLE", "RUNNABLE"]
    batch.exits(first)
    assert [batch.code(job) for job in (second, third)] == ["OFFERED", "OFFERED"]
    assert batch.end(first) == ("SUCCEEDED", "Received status from SageMaker: Training job completed")


def test_each_type_is_a_pool_where_limits_are_by_type(batch: Batch) -> None:
    queue = service_queue(batch, units={LARGE: 2, "ml.g5.xlarge": 1})
    large = [train(batch, queue, 1) for _ in range(3)]
    gpu = [train(batch, queue, 1, "ml.g5.xlarge") for _ in range(2)]
    other = train(batch, queue, 1, "ml.other")
    assert [batch.code(job) for job in large] == ["OFFERED", "OFFERED", "RUNNABLE"]
    assert [batch.code(job) for job in gpu] == ["OFFERED", "RUNNABLE"]
    words = query.facts(batch.world, HOME, [other], True)[other].reason
    assert words.startswith("MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE - ")
    told = query.why(batch.world, HOME, large[2])
    assert told is not None
    assert told.lacks["training"].startswith(f"not enough {LARGE} free: 0 of 2 {LARGE}")
    told = query.why(batch.world, HOME, other)
    assert told is not None
    assert told.lacks["training"] == "too small: 1 ml.other, 16 MiB asked, 0 ml.other at most"
    assert loaded(batch).pools == batch.world.pools
    batch.send(UpdateEnvironment(arn("service-environment", "training"), units=((LARGE, 3000),)))
    assert batch.code(large[2]) == "OFFERED"


def test_a_job_of_several_types_counts_all_of_them(batch: Batch) -> None:
    queue = service_queue(batch, 3)
    first = train(batch, queue, instances=((LARGE, 1), ("ml.g5.xlarge", 1)))
    second = train(batch, queue, 2)
    assert [batch.code(job) for job in (first, second)] == ["OFFERED", "RUNNABLE"]
    told = query.why(batch.world, HOME, second)
    assert told is not None
    assert "not enough ml.m5.large free: 1 of 3 ml.m5.large" in told.lacks["training"]
    assert query.capacity_units(batch.world, {queue, batch.main}) == {queue: NUM_INSTANCES, batch.main: "VCPU"}


def test_nothing_is_claimed_ahead(batches: Any) -> None:
    batch = batches(ahead=64)
    queue = service_queue(batch, 1)
    for _ in range(8):
        batch.exits(train(batch, queue))
    first, second = train(batch, queue), train(batch, queue)
    assert [batch.code(job) for job in (first, second)] == ["OFFERED", "RUNNABLE"]


def test_queues_and_environments_of_the_two_kinds_are_not_mixed(batch: Batch) -> None:
    where = service_environment(batch)
    with pytest.raises(Refused, match="only these"):
        batch.queue("odd", where)
    with pytest.raises(Refused, match="only these"):
        batch.queue("odd", arn("compute-environment", "main"), type=SERVICE)
    queue = batch.queue("service", where, type=SERVICE)
    assert "service jobs only" in refused(batch, batch.order(queue=queue))
    assert SERVICE in refused(batch, wish(batch, batch.main))
    assert "not found" in refused(batch, wish(batch, arn("job-queue", "none")))
    assert query.resolve_environment(batch.world, HOME, where) is None
    assert query.resolve_service(batch.world, HOME, arn("compute-environment", "main")) is None
    found = query.resolve_service(batch.world, HOME, "training")
    assert [found] == query.environments(batch.world, HOME, True)
    assert [one.name for one in query.environments(batch.world, HOME)] == ["main"]
    batch.send(UpdateQueue(queue, state=DISABLED))
    assert "not ENABLED" in refused(batch, wish(batch, queue))


def test_there_are_not_more_than_so_many(batch: Batch) -> None:
    service_environment(batch)
    other = Environment(arn("service-environment", "b"), "b", HOME, SERVICE, 1000, "b", "[]")
    assert "1 service environments" in refused(batch, CreateEnvironment(other, limit=1))
    batch.environment("another")


def test_the_operations_of_one_kind_do_not_see_the_other(batch: Batch) -> None:
    queue = service_queue(batch)
    service, plain = train(batch, queue), batch.submit()
    batch.send(
        Cancel(HOME, task_ref(service), "x"),
        Terminate(HOME, task_ref(service), "x"),
        Terminate(HOME, task_ref(plain), "x", service=True),
    )
    assert batch.flags(service) == batch.flags(plain) == ""
    assert list(query.facts(batch.world, HOME, [service, plain])) == [plain]
    (seen,) = query.facts(batch.world, HOME, [service, plain], True).values()
    assert (seen.id, seen.instances, seen.priority) == (service, ((LARGE, 1),), 0)
    assert [one.id for one in query.open_jobs(batch.world, HOME, 9)] == [plain]
    batch.send(Terminate(HOME, task_ref(service), "enough", service=True))
    batch.killed(service)
    assert batch.end(service) == ("FAILED", "enough")


def test_a_token_is_rejected_with_the_same_request_for_eight_hours(batch: Batch) -> None:
    queue = service_queue(batch, 100)
    train(batch, queue, token="digest one")
    assert "clientToken" in refused(batch, wish(batch, queue, token="digest one"))
    train(batch, queue, token="other one")
    batch.tick(TOKEN_MS)
    train(batch, queue, token="digest one")
    assert list(batch.world.tokens[queue]) == ["digest one"]
    batch.send(UpdateQueue(queue, state=DISABLED))
    batch.send(DeleteQueue(queue))
    for job in list(batch.world.jobs):
        batch.killed(job)
    assert batch.world.tokens == {}
    assert queue not in batch.world.queues


def test_another_priority_counts_from_then_on(batch: Batch) -> None:
    batch.send(CreatePolicy(fair()))
    queue = service_queue(batch, 1, policy=arn("scheduling-policy", "fair"))
    assert "shareIdentifier" in refused(batch, wish(batch, queue))
    runs = train(batch, queue, share="a")
    low, high = train(batch, queue, share="a", priority=1), train(batch, queue, share="a", priority=5)
    batch.send(UpdateServiceJob(HOME, low, 9), UpdateServiceJob(HOME, runs, 3), UpdateServiceJob(HOME, high, 5))
    assert batch.jobs[runs].shape.priority == 3
    batch.exits(runs)
    assert [batch.code(job) for job in (low, high)] == ["OFFERED", "RUNNABLE"]
    for job in (runs, "none", batch.submit()):
        assert "does not exist" in refused(batch, UpdateServiceJob(HOME, job, 1))


def test_what_an_end_is_called(batch: Batch) -> None:
    queue = service_queue(batch, 9)
    said = "Received status from SageMaker: "

    def ended(how: Any, **more: Any) -> str:
        job = train(batch, queue, **more)
        how(job)
        return batch.end(job)[1]

    assert ended(lambda job: batch.exits(job, 3, "no rows")) == said + "AlgorithmError: no rows, exit code: 3"
    assert ended(lambda job: batch.exits(job, 3)) == said + "AlgorithmError: exit code: 3"
    assert ended(lambda job: batch.exits(job, 143, cause=TIMEOUT)) == "Job attempt duration exceeded timeout"
    assert ended(batch.fails_to_start) == said + "ClientError: CannotStartContainerError: no such file"
    lost = said + "InternalServerError: Host EC2 (instance i-1) terminated."
    assert ended(batch.loses) == lost


def test_a_head_that_can_never_run_is_terminated_in_time(batch: Batch) -> None:
    limit = TimeLimit("MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE", 600_000, "TERMINATE")
    job = train(batch, service_queue(batch, 1, limits=(limit,)), 2)
    batch.tick(600_000)
    assert batch.end(job)[1].startswith(
        "Terminated by JobStateTimeLimit action due to reason: MISCONFIGURATION:SERVICE"
    )


def test_what_is_handed_over_uses_instances_of_its_types(batch: Batch) -> None:
    queue = service_queue(batch, 9)
    train(batch, queue, 2)
    runs = train(batch, queue, instances=(("ml.m5.large", 1), ("ml.g5.xlarge", 3)))
    batch.runs(runs)
    batch.submit()
    assert query.instances_used(batch.world, queue) == {("", LARGE): 3, ("", "ml.g5.xlarge"): 3}
