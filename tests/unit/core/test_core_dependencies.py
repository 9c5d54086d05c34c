"""Dependencies: whole jobs, single children, N_TO_N, SEQUENTIAL, and those that ended before (API_JobDependency)."""

from collections.abc import Callable

import pytest
from tests.unit.core.building import HOME, Batch

from batchery.core.messages import Deregister, NeedFacts, Refused, Submit, UpdateQueue
from batchery.core.model import DISABLED, ENABLED, N_TO_N, Need, Realm
from batchery.core.readiness import sequence_gate
from batchery.core.status import BROKEN, FAILED, MET, PENDING, RUNNABLE, RUNNING, SUCCEEDED, WAIT

DEPENDENT = ("FAILED", "Dependent Job failed")


def test_a_job_without_dependencies_is_never_seen_pending(batch: Batch) -> None:
    batch.close()
    batch.made = 0
    batch.send(batch.order(), spent=True)
    seen = [batch.shown("job1")]
    while batch.world.due:
        batch.send(spent=True)
        seen.append(batch.shown("job1"))
    assert "PENDING" not in seen
    assert seen[-1] == "RUNNABLE"


def test_a_job_waits_until_its_dependency_has_succeeded(batch: Batch) -> None:
    first = batch.submit()
    then = batch.submit(after=[first])
    assert batch.shown(then) == "PENDING"
    batch.runs(first)
    assert batch.shown(then) == "PENDING"
    batch.exits(first)
    assert batch.code(then) == "OFFERED"
    batch.exits(then)


def test_a_dependency_that_is_tried_again_has_not_failed(batch: Batch) -> None:
    first = batch.submit(attempts=2)
    then = batch.submit(after=[first])
    batch.exits(first, 1)
    assert batch.shown(then) == "PENDING"
    batch.exits(first)
    assert batch.code(then) == "OFFERED"


def test_a_dependency_that_ended_before_counts_at_once(batch: Batch) -> None:
    good, bad = batch.submit(), batch.submit()
    batch.exits(good)
    batch.exits(bad, 1)
    assert batch.world.jobs == {}
    after_good = batch.submit(after=[good])
    after_bad = batch.submit(after=[bad])
    assert batch.code(after_good) == "OFFERED"
    assert batch.end(after_bad) == DEPENDENT
    assert list(batch.world.jobs) == [good, after_good], "it is kept while an open job needs it"
    batch.exits(after_good)
    assert batch.world.jobs == {}


def test_an_array_that_ended_before_counts_child_by_child(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.exits(f"{array}:0")
    batch.exits(f"{array}:1", 1)
    pairs = batch.submit(size=2, n_to_n=array)
    one = batch.submit(after=[f"{array}:0"])
    assert batch.children(pairs) == ["RUNNABLE", "FAILED"]
    assert batch.code(one) == "OFFERED"


def test_a_dependency_that_nobody_knows_is_refused(batch: Batch) -> None:
    with pytest.raises(Refused, match="nobody in dependsOn does not exist"):
        batch.submit(after=["nobody"])
    with pytest.raises(NeedFacts):
        batch.send(batch.order(after=["nobody"]))
    assert batch.changes == []


def test_a_dependency_of_another_realm_is_refused(batch: Batch) -> None:
    first = batch.submit()
    order = batch.order(after=[first])
    away = Realm(HOME.account, "eu-west-1")
    batch.jobs[first].realm = away
    try:
        with pytest.raises(Refused, match="does not exist"):
            batch.send(order)
    finally:
        batch.jobs[first].realm = HOME


@pytest.mark.parametrize("ref", ["job1:3", "job2:0"])
def test_a_dependency_on_a_child_that_is_not_there_is_refused(batch: Batch, ref: str) -> None:
    batch.submit("job1", size=3)
    batch.submit("job2")
    with pytest.raises(Refused, match=f"Job {ref} in dependsOn does not exist"):
        batch.submit(after=[ref])


def test_n_to_n_needs_arrays_of_one_size(batch: Batch) -> None:
    three, plain = batch.submit(size=3), batch.submit()
    for size, other in ((2, three), (0, three), (0, plain), (2, plain)):
        with pytest.raises(Refused, match="needs an array of the same size"):
            batch.submit(size=size, n_to_n=other)


def test_refused_before_anything_moved(batch: Batch) -> None:
    batch.send(UpdateQueue(batch.main, state=DISABLED))
    with pytest.raises(Refused, match="main is not ENABLED"):
        batch.submit()
    batch.send(UpdateQueue(batch.main, state=ENABLED))
    order = batch.order()
    with pytest.raises(Refused, match="JobQueue nowhere not found"):
        batch.send(_with(order, queue="nowhere"))
    with pytest.raises(Refused, match="not found"):
        batch.send(_with(order, realm=Realm("1", "r")))
    with pytest.raises(Refused, match="JobDefinition name work:9 does not exist or is not in ACTIVE status"):
        batch.send(_with(order, definition=order.definition.replace(":1", ":9").replace("region:9", "region:1")))
    batch.send(Deregister(HOME, order.definition))
    with pytest.raises(Refused, match="not in ACTIVE status"):
        batch.send(order)
    assert batch.jobs == {}


def _with(order: Submit, **what: object) -> Submit:
    return Submit(**{**{name: getattr(order, name) for name in order.__struct_fields__}, **what})


def test_a_job_named_twice_counts_once(batch: Batch) -> None:
    array = batch.submit(size=2)
    then = batch.submit(after=[array, array, f"{array}:0", f"{array}:1"])
    batch.exits(f"{array}:0")
    batch.exits(f"{array}:1")
    batch.exits(then)
    assert batch.end(then)[0] == "SUCCEEDED"


# --------------------------------------------------------------------------------------------------------- arrays


def test_a_plain_job_after_an_array_waits_for_all_of_it(batch: Batch) -> None:
    array = batch.submit(size=2)
    then = batch.submit(after=[array])
    batch.exits(f"{array}:0")
    assert batch.shown(then) == "PENDING"
    batch.exits(f"{array}:1")
    assert batch.code(then) == "OFFERED"


def test_a_plain_job_after_one_child_waits_for_that_one(batch: Batch) -> None:
    array = batch.submit(size=2)
    then = batch.submit(after=[f"{array}:1"])
    batch.exits(f"{array}:1")
    assert batch.code(then) == "OFFERED"


def test_an_array_after_a_job_waits_as_a_whole_and_fails_as_a_whole(batch: Batch) -> None:
    first = batch.submit()
    array = batch.submit(size=2, after=[first])
    assert batch.children(array) == ["PENDING", "PENDING"]
    batch.exits(first, 1)
    assert batch.end(array) == batch.end(f"{array}:0") == DEPENDENT


def test_one_failed_child_fails_the_array_when_all_have_ended(batch: Batch) -> None:
    array = batch.submit(size=3)
    batch.exits(f"{array}:1", 1)
    assert batch.shown(array) == "PENDING"
    batch.exits(f"{array}:0")
    batch.exits(f"{array}:2")
    assert batch.end(array) == ("FAILED", "Array Child Job failed")


def test_an_array_whose_children_all_succeed_succeeds(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.exits(f"{array}:0")
    batch.exits(f"{array}:1")
    assert batch.end(array) == ("SUCCEEDED", "")


def test_children_are_never_shown_in_the_parent(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.runs(f"{array}:0")
    assert batch.shown(array) == "PENDING"


def test_n_to_n_goes_pair_by_pair(batch: Batch) -> None:
    left = batch.submit(size=3)
    right = batch.submit(size=3, n_to_n=left)
    assert batch.children(right) == ["PENDING"] * 3
    batch.exits(f"{left}:1")
    assert batch.children(right) == ["PENDING", "RUNNABLE", "PENDING"]
    batch.exits(f"{left}:2", 1)
    assert batch.children(right) == ["PENDING", "RUNNABLE", "FAILED"]
    assert batch.end(f"{right}:2") == DEPENDENT
    batch.exits(f"{left}:0")
    batch.exits(f"{right}:0")
    batch.exits(f"{right}:1")
    assert batch.end(right) == batch.end(left) == ("FAILED", "Array Child Job failed")


def test_n_to_n_and_a_whole_job_must_both_be_met(batch: Batch) -> None:
    gate = batch.submit()
    left = batch.submit(size=2)
    right = batch.submit(size=2, n_to_n=left, after=[gate])
    batch.exits(f"{left}:0")
    assert batch.children(right) == ["PENDING", "PENDING"]
    batch.exits(gate)
    assert batch.children(right) == ["RUNNABLE", "PENDING"]
    batch.exits(f"{left}:1")
    assert batch.children(right) == ["RUNNABLE", "RUNNABLE"]


def test_sequential_children_go_one_by_one(batch: Batch) -> None:
    array = batch.submit(size=3, sequential=True)
    for index in range(3):
        assert batch.children(array) == ["SUCCEEDED"] * index + ["RUNNABLE"] + ["PENDING"] * (2 - index)
        batch.exits(f"{array}:{index}")
    assert batch.end(array)[0] == "SUCCEEDED"


def test_a_broken_sequence_ends_in_one_step(batch: Batch) -> None:
    array = batch.submit(size=4, sequential=True)
    batch.exits(f"{array}:0")
    batch.exits(f"{array}:1", 1)
    assert batch.children(array) == ["SUCCEEDED", "FAILED", "FAILED", "FAILED"]
    assert batch.end(f"{array}:3") == DEPENDENT
    assert batch.end(array) == ("FAILED", "Array Child Job failed")


def test_a_sequence_broken_ahead_fails_behind_the_break_at_once(batches: Callable[..., Batch]) -> None:
    late = batches(submitted_for=1_000)
    array = late.submit(size=5, sequential=True)
    late.cancel(f"{array}:2", "not this")
    late.tick(1_000)
    assert late.children(array) == ["RUNNABLE", "PENDING", "FAILED", "FAILED", "FAILED"]
    assert late.end(f"{array}:4") == DEPENDENT
    late.exits(f"{array}:0")
    late.exits(f"{array}:1")
    assert late.end(array) == ("FAILED", "Array Child Job failed")


def test_a_cancelled_child_of_a_sequence_waits_for_the_one_before_it(batch: Batch) -> None:
    array = batch.submit(size=4, sequential=True)
    batch.cancel(f"{array}:2", "not this")
    batch.exits(f"{array}:0")
    assert batch.code(f"{array}:2") == "CLOSING"
    batch.exits(f"{array}:1")
    assert batch.end(f"{array}:2") == ("FAILED", "not this")
    assert batch.end(f"{array}:3") == DEPENDENT


@pytest.mark.parametrize("length", range(1, 5))
def test_the_gate_of_a_sequence_is_that_of_each_child_alone(length: int) -> None:
    codes = (SUCCEEDED, FAILED, RUNNING, PENDING, RUNNABLE)
    for number in range(len(codes) ** length):
        status = bytearray(codes[number // len(codes) ** at % len(codes)] for at in range(length))
        slow = []
        for index in range(length):
            if FAILED in status[:index]:
                slow.append(BROKEN)  # the one before has failed, or will in the same step
            elif index and status[index - 1] != SUCCEEDED:
                slow.append(WAIT)
            else:
                slow.append(WAIT if any(code != SUCCEEDED for code in status[:index]) else MET)
        assert list(sequence_gate(status)) == slow


def test_a_late_fault_fails_the_job_when_it_is_looked_at(batch: Batch) -> None:
    words = "Container Overrides length must be at most 8192"
    job = batch.submit(fault=words)
    array = batch.submit(size=2, fault=words)
    assert batch.end(job) == batch.end(array) == batch.end(f"{array}:1") == ("FAILED", words)


def test_needs_of_a_submit_are_what_was_sent() -> None:
    order = Batch().order(after=["a", "b:3"], n_to_n="c")
    assert order.needs == (Need("a"), Need("b", 3), Need("c", kind=N_TO_N))
