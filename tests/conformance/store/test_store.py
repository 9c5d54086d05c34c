"""What every store must do: everything that was committed is there after a load, and nothing else."""

import pytest
from msgspec.structs import asdict
from tests.conformance.store.stocking import BATCH, NOW, PLACE, REALM, Stock, definition, queue

from batchery.core.model import (
    CANCEL,
    DISABLED,
    INACTIVE,
    N_TO_N,
    SEQUENTIAL,
    TERMINATE,
    TIMEOUT,
    VALID,
    VOID,
    Asked,
    Blocked,
    Job,
    Need,
    Realm,
    Resources,
    Rule,
    Shape,
)
from batchery.core.query import definitions
from batchery.core.status import (
    CLOSING,
    FAILED,
    OFFERED,
    PENDING,
    RUNNABLE,
    RUNNING,
    STARTING,
    SUBMITTED,
    SUCCEEDED,
)
from batchery.store.sqlite import SqliteStore


def facts(job: Job) -> dict[str, object]:
    """A job without what World derives."""
    derived = {"needed_by", "shelf", "place", "shelves", "status", "tasks"}
    return {name: value for name, value in asdict(job).items() if name not in derived}


# ------------------------------------------------------------------------------------------------ what was written


def test_an_empty_store_loads_an_empty_world(store: SqliteStore) -> None:
    world = store.load()
    assert (world.jobs, world.queues, world.next_seq, world.evaluated) == ({}, {}, 1, 0)
    assert world.dirty.empty


def test_jobs_come_back_as_they_were(store: SqliteStore, stock: Stock) -> None:
    rules = (Rule("RETRY", on_reason="Host*"), Rule("EXIT", on_exit_code="*"))
    shape = Shape(
        Resources(250, 64, 2), 3, rules, 60_000, 7, log_group="/mine", log_prefix="p/default", fault="too long"
    )
    first = stock.submit(name='a "name"', share="team", spec='{"jobName":"a","x":"\\u00e9\\n"}')
    array = stock.submit(size=7, shape=shape, needs=(Need(first.id), Need("", -1, SEQUENTIAL)))
    last = stock.submit(
        size=7, needs=(Need(array.id, -1, N_TO_N), Need(array.id, 3)), definition=BATCH + "job-definition/x:2"
    )
    stock.asks(last, CANCEL | TERMINATE, "no – nö", at=NOW + 9)
    stock.commit()

    world = store.load()

    assert list(map(facts, world.jobs.values())) == list(map(facts, (first, array, last)))
    assert world.next_seq == 4
    assert world.jobs[first.id].shape is world.jobs[last.id].shape, "jobs alike share one shape"
    assert world.jobs[array.id].needed_by == 2
    assert world.dirty.empty


def test_named_resources_come_back_as_they_were(store: SqliteStore, stock: Stock) -> None:
    blocked = (Blocked("j", 3, "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - no", NOW),)
    full = queue("q", state=DISABLED, status=VALID, type="ECS_FARGATE", policy="arn:p", created=NOW, blocked=blocked)
    place = stock.place()
    place.status, place.status_reason, place.uuid, place.created = VALID, "ComputeEnvironment Healthy", "u-1", NOW
    old, new = definition("d", 1, status=INACTIVE, created=1, deregistered=2), definition("d", 2, created=3)
    stock.dirty.queues = {full.arn: full}
    stock.dirty.definitions = {old.arn: old, new.arn: new}
    stock.dirty.realms = [REALM, Realm("1", "eu-west-1")]
    stock.commit()

    world = store.load()

    assert world.queues == {full.arn: full}
    assert world.environments == {place.arn: place}
    assert world.definitions == {old.arn: old, new.arn: new}
    assert world.realms == {REALM, Realm("1", "eu-west-1")}
    assert world.revisions == {(REALM, "d"): 2}
    assert [one.revision for one in definitions(world, REALM, "d")] == [2, 1]


def test_named_resources_change_and_go(store: SqliteStore, stock: Stock) -> None:
    one, two = queue("one"), queue("two")
    stock.place()
    gone = definition("d", 1)
    stock.dirty.queues = {one.arn: one, two.arn: two}
    stock.dirty.definitions = {gone.arn: gone}
    stock.commit()
    one.priority, one.state = 9, DISABLED
    stock.dirty.queues = {one.arn: one, two.arn: None}
    stock.dirty.environments = {PLACE: None}
    stock.dirty.definitions = {gone.arn: None}
    stock.commit()

    world = store.load()

    assert world.queues == {one.arn: one}
    assert (world.environments, world.definitions) == ({}, {})


def test_a_name_may_be_given_again_in_the_commit_that_freed_it(store: SqliteStore, stock: Stock) -> None:
    old = queue("q")
    stock.dirty.queues = {old.arn: old}
    stock.commit()
    new = queue("q")
    new.arn += "-2"
    stock.dirty.queues = {new.arn: new, old.arn: None}
    stock.commit()
    assert list(store.load().queues) == [new.arn]


async def test_tags_are_set_and_removed_in_order(store: SqliteStore, stock: Stock) -> None:
    stock.dirty.tags = [("a", {"k": "1", "l": "1", "m": "1"}, ()), ("b", {"k": "1"}, ()), ("c", {"k": "1"}, ())]
    stock.commit()
    stock.dirty.tags = [
        ("a", {"k": "2"}, ("l",)),
        ("a", {"l": "3"}, ("m", "never")),
        ("b", {}, ("*",)),
        ("c", {"old": "1"}, ("*",)),
        ("c", {"new": "1"}, ()),
    ]
    stock.commit()
    expected = {"a": {"k": "2", "l": "3"}, "b": {}, "c": {"new": "1"}, "d": {}}
    assert await store.reads.tags(["a", "b", "c", "d"]) == expected


# ------------------------------------------------------------------------------------------------ what is derived


def test_jobs_are_submitted_until_evaluated(store: SqliteStore, stock: Stock) -> None:
    plain = stock.submit()
    array, late = stock.submit(size=3, needs=(Need(plain.id),)), stock.submit()
    stock.evaluates(array)
    stock.commit()
    world = store.load()
    status = [bytes(job.status) for job in world.jobs.values()]
    assert status == [bytes([RUNNABLE]), bytes([PENDING] * 3), bytes([SUBMITTED])]
    assert world.evaluated == array.seq
    assert list(world.unevaluated) == [world.jobs[late.id]]


def test_evaluated_never_goes_back(store: SqliteStore, stock: Stock) -> None:
    stock.dirty.evaluated = 7
    stock.commit()
    stock.dirty.evaluated = 3
    stock.commit()
    world = store.load()
    assert (world.evaluated, world.next_seq) == (7, 8)


@pytest.mark.parametrize("kind", [CANCEL, TERMINATE, VOID])
def test_what_was_asked_to_end_and_waits_is_closing(store: SqliteStore, stock: Stock, kind: int) -> None:
    first = (Need(stock.submit().id),)
    plain, array, child = (
        stock.submit(needs=first),
        stock.submit(size=3, needs=first),
        stock.submit(size=3, needs=first),
    )
    stock.evaluates(child)
    stock.commit()
    stock.asks(plain, kind, "a")
    stock.asks(array, kind, "b")
    stock.asks(child, kind, "c", index=1, at=NOW + 5)
    stock.commit()
    jobs = store.load().jobs
    assert bytes(jobs[plain.id].status) == bytes([CLOSING])
    assert bytes(jobs[array.id].status) == bytes([CLOSING] * 3)
    assert bytes(jobs[child.id].status) == bytes([PENDING, CLOSING, PENDING])
    assert jobs[array.id].asked == Asked(kind, "b", NOW)
    assert jobs[child.id].tasks[1].asked == Asked(kind, "c", NOW + 5)
    assert jobs[child.id].asked is None


def test_a_later_request_adds_to_the_first(store: SqliteStore, stock: Stock) -> None:
    job = stock.submit(size=2)
    stock.asks(job, CANCEL, "first")
    stock.asks(job, CANCEL, "child", index=0)
    stock.commit()
    stock.asks(job, CANCEL | TERMINATE, "first")
    stock.asks(job, CANCEL | TERMINATE, "child", index=0)
    stock.commit()
    loaded = store.load().jobs[job.id]
    assert loaded.asked == Asked(CANCEL | TERMINATE, "first", NOW)
    assert loaded.tasks[0].asked == Asked(CANCEL | TERMINATE, "child", NOW)


async def test_ends_are_spans(store: SqliteStore, stock: Stock) -> None:
    job = stock.submit(size=8)
    stock.evaluates(job)
    stock.ends(job, FAILED, "Dependent Job failed", span=(2, 5), at=NOW + 1)
    stock.ends(job, SUCCEEDED, span=(0, 1), at=NOW + 2)
    stock.commit()
    stock.asks(job, CANCEL, "stop")
    stock.ends(job, FAILED, "stop", span=(7, 8), at=NOW + 3)
    stock.commit()
    code = {".": CLOSING, "S": SUCCEEDED, "F": FAILED}
    assert bytes(store.load().jobs[job.id].status) == bytes(code[letter] for letter in "S.FFF..F")
    rows = [(row.first, row.end, row.code, row.reason, row.at - NOW) for row in await store.reads.ended(job.seq)]
    assert rows == [(0, 1, 5, "", 2), (2, 5, 6, "Dependent Job failed", 1), (7, 8, 6, "stop", 3)]


@pytest.mark.parametrize("code", [OFFERED, STARTING, RUNNING])
def test_a_live_attempt_is_its_task(store: SqliteStore, stock: Stock, code: int) -> None:
    stock.place()
    job, array = stock.submit(), stock.submit(size=3, needs=(Need("", -1, SEQUENTIAL),))
    stock.evaluates(array)
    recall = Asked(CANCEL, "give it back", NOW + 1) if code == OFFERED else None
    whole = {"code": code, "starting": 5, "started": 6, "recall": recall, "doom": TIMEOUT, "address": "10.0.0.1"}
    one, two = stock.attempt(job, **whole), stock.attempt(array, 2, used=0)
    stock.commit()

    world = store.load()

    assert bytes(world.jobs[job.id].status) == bytes([code])
    assert bytes(world.jobs[array.id].status) == bytes([PENDING, PENDING, OFFERED])
    task = world.jobs[job.id].tasks[0]
    assert (task.live, task.serial, task.used) == (one, 1, 0)
    assert world.live == {one.key: one, two.key: two}
    assert world.live[one.key] is task.live
    assert world.pools == {PLACE: 2000}


def test_a_task_whose_attempts_are_over_is_runnable_again(store: SqliteStore, stock: Stock) -> None:
    stock.place()
    job, array = stock.submit(), stock.submit(size=3, needs=(Need("", -1, SEQUENTIAL),))
    stock.evaluates(array)
    stock.attempt(job, 0, 1, code=RUNNABLE, cause="EXIT", exit_code=1, started=NOW, stopped=NOW + 1)
    stock.attempt(job, 0, 2, code=RUNNABLE, cause="NO_CAPACITY", counts=False)
    stock.attempt(array, 0, 1, code=RUNNABLE, cause="EXIT", exit_code=1)
    live = stock.attempt(array, 0, 2, code=RUNNING, used=1)
    stock.attempt(array, 1, 1, code=FAILED, cause="EXIT", exit_code=1)
    stock.ends(array, FAILED, "Essential container in task exited", span=(1, 2))
    stock.commit()

    jobs = store.load().jobs

    assert bytes(jobs[job.id].status) == bytes([RUNNABLE])
    assert (jobs[job.id].tasks[0].serial, jobs[job.id].tasks[0].used) == (2, 1)
    assert bytes(jobs[array.id].status) == bytes([RUNNING, FAILED, PENDING])
    assert jobs[array.id].tasks[0].live == live
    assert jobs[array.id].tasks[0].used == 1
    assert jobs[array.id].tasks[1].used == 1


def test_an_attempt_is_written_over_as_it_goes_on(store: SqliteStore, stock: Stock) -> None:
    stock.place()
    job = stock.submit()
    stock.attempt(job)
    stock.commit()
    after = stock.attempt(job, code=RUNNING, starting=NOW + 1, started=NOW + 2)
    stock.commit()
    assert store.load().live == {after.key: after}


# --------------------------------------------------------------------------------------------------- ended jobs


async def test_ended_jobs_leave_the_world_unless_an_open_one_needs_them(store: SqliteStore, stock: Stock) -> None:
    done, array, other = stock.submit(), stock.submit(size=4), stock.submit()
    waiting = stock.submit(size=4, needs=(Need(done.id), Need(array.id, -1, N_TO_N)))
    past = stock.submit(needs=(Need(other.id),))
    stock.evaluates(past)
    stock.closes(done, SUCCEEDED, "Essential container in task exited", at=NOW + 7)
    stock.ends(array, SUCCEEDED, span=(0, 3))
    stock.ends(array, FAILED, "x", span=(3, 4))
    stock.closes(array, FAILED, "Array Child Job failed")
    stock.closes(other, SUCCEEDED)
    stock.closes(past, SUCCEEDED)
    stock.commit()

    world = store.load()

    assert set(world.jobs) == {done.id, array.id, waiting.id}
    assert facts(world.jobs[done.id]) == facts(done)
    assert bytes(world.jobs[done.id].status) == bytes([SUCCEEDED])
    assert bytes(world.jobs[array.id].status) == bytes([SUCCEEDED] * 3 + [FAILED])
    ghosts = await store.reads.ghosts([done.id, array.id, waiting.id, "unknown"])
    assert {id_: facts(job) for id_, job in ghosts.items()} == {done.id: facts(done), array.id: facts(array)}
    assert ghosts[array.id].status == world.jobs[array.id].status


def test_a_dependency_whose_rows_are_gone_looks_failed(store: SqliteStore, stock: Stock) -> None:
    lost, array = stock.submit(), stock.submit(size=4)
    stock.submit(size=4, needs=(Need(lost.id), Need(array.id, -1, N_TO_N)))
    stock.closes(lost, SUCCEEDED)
    stock.closes(array, SUCCEEDED)
    stock.commit()
    assert store.connection is not None
    store.connection.execute("DELETE FROM job WHERE code IS NOT NULL")
    jobs = store.load().jobs
    assert bytes(jobs[lost.id].status[:1]) == bytes([FAILED])
    assert bytes(jobs[array.id].status) == bytes([FAILED] * 4)


def test_numbers_are_not_given_again(store: SqliteStore, stock: Stock) -> None:
    job = stock.submit()
    stock.evaluates(job)
    stock.closes(job, SUCCEEDED, at=NOW)
    stock.commit()
    assert store.prune_jobs(NOW + 1, 10) == [job.id]
    assert store.load().next_seq == job.seq + 1
