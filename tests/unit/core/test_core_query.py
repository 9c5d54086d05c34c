"""Reads over World: names, facts, pages."""

import pytest
from tests.unit.core.building import DEFINITION, HOME, Batch, arn

from batchery.core import query
from batchery.core.messages import Deregister, Register
from batchery.core.model import CANCEL, TERMINATE, Policy, Realm, Task, World, task_id, task_ref
from batchery.core.model import AttemptKey as Key
from batchery.core.status import CODES_SHOWN_AS, PENDING, RUNNABLE, RUNNING, SUBMITTED

AWAY = Realm(HOME.account, "eu-west-1")


@pytest.mark.parametrize(
    ("ref", "parts"),
    [
        ("a1b2", ("a1b2", None)),
        ("a1b2:17", ("a1b2", 17)),
        ("a1b2:0", ("a1b2", 0)),
        ("a1b2:017", ("a1b2", -1)),
        ("a1b2:-1", ("a1b2", -1)),
        ("a1b2:", ("a1b2", -1)),
        ("a1b2:1:2", ("a1b2", -1)),
        ("a1b2:٣", ("a1b2", -1)),
        ("a1b2:123456", ("a1b2", -1)),
        ("", ("", None)),
    ],
)
def test_an_id_is_a_job_and_perhaps_a_child(ref: str, parts: tuple[str, int | None]) -> None:
    assert task_ref(ref)[:2] == parts


def test_each_attempt_has_a_name_of_its_own() -> None:
    job = "0192d3a4-0000-7000-8000-000000000001"
    keys = [Key(job, index, serial) for index in range(40) for serial in range(1, 40)]
    names = {task_id(key) for key in keys}
    assert len(names) == len(keys)
    assert {len(name) for name in names} == {32}
    assert task_id(keys[0]) == task_id(keys[0])
    assert task_id(Key("no-uuid", 0, 1)) != task_id(Key("no-uuid", 0, 2))
    assert str(keys[0]) == f"{job}:0:1"


def test_names_and_arns_are_found_in_their_realm(batch: Batch) -> None:
    world = batch.world
    queue = query.resolve_queue(world, HOME, "main")
    assert queue is not None
    assert query.resolve_queue(world, HOME, queue.arn) == queue
    assert query.resolve_queue(world, HOME, "nothing") is None
    assert query.resolve_queue(world, AWAY, "main") is None
    assert query.resolve_queue(world, AWAY, queue.arn) is None
    environment = query.resolve_environment(world, HOME, "main")
    assert environment is not None
    assert query.resolve_environment(world, HOME, environment.arn) == environment
    assert query.resolve_environment(world, AWAY, environment.arn) is None
    assert query.resolve_environment(world, HOME, arn("compute-environment", "other")) is None
    assert query.queues(world, AWAY) == query.environments(world, AWAY) == []


def test_queues_and_environments_by_name(batch: Batch) -> None:
    for name in ("zebra", "apple"):
        batch.queue(name, batch.environment(name))
    assert [q.name for q in query.queues(batch.world, HOME)] == ["apple", "main", "zebra"]
    assert [e.name for e in query.environments(batch.world, HOME)] == ["apple", "main", "zebra"]


def test_a_definition_without_a_revision_is_its_highest_active_one(batch: Batch) -> None:
    base = DEFINITION.rpartition(":")[0]
    register = Register(HOME, "work", base, "{}")
    assert batch.send(register, register) == [2, 3]
    batch.send(Deregister(HOME, f"{base}:3"))

    def find(revision: int | None = None, name: str = "work", realm: Realm = HOME) -> int | None:
        found = query.resolve_definition(batch.world, realm, name, revision)
        return found.revision if found else None

    assert (find(), find(3), find(1), find(9)) == (2, 3, 1, None)
    assert (find(name="other"), find(realm=AWAY)) == (None, None)
    batch.send(Register(HOME, "another", arn("job-definition", "another"), "{}"))
    assert [(d.name, d.revision) for d in query.definitions(batch.world, HOME)] == [
        ("another", 1),
        ("work", 3),
        ("work", 2),
        ("work", 1),
    ]
    assert [d.revision for d in query.definitions(batch.world, HOME, "work")] == [3, 2, 1]
    assert query.definitions(batch.world, HOME, "other") == []
    batch.send(Deregister(HOME, f"{base}:2"), Deregister(HOME, f"{base}:1"))
    assert find() is None


def test_facts_of_what_is_open_and_only_here(batch: Batch) -> None:
    array, job, gone = batch.submit("array", size=2), batch.submit("plain", attempts=2), batch.submit("gone")
    batch.exits(gone)
    batch.runs(job)
    refs = ["array", "array:1", "array:2", "array:-1", "plain", "plain:0", "gone", "nobody"]
    found = query.facts(batch.world, HOME, refs)
    assert set(found) == {"array", "array:1", "plain"}
    assert query.facts(batch.world, AWAY, refs) == {}
    assert (found["array"].code, found["array"].index, found["array"].size) == (PENDING, None, 2)
    assert found["array"].summary == {name: 2 * (name == "RUNNABLE") for name in CODES_SHOWN_AS}
    assert (found["array:1"].index, found["array:1"].id, found["array:1"].summary) == (1, f"{array}:1", None)
    assert (found["plain"].code, found["plain"].serial, found["plain"].used) == (RUNNING, 1, 0)
    live = found["plain"].live
    assert live == batch.attempt(job)
    assert live is not batch.attempt(job), "an answer does not change after it was given"


def test_the_reason_that_is_shown(batch: Batch) -> None:
    first = batch.submit()
    waits = batch.submit(after=[first])
    huge = batch.submit(vcpus=99)

    def look(ref: str) -> tuple[int, str]:
        found = query.facts(batch.world, HOME, [ref])[ref]
        return found.asked_kind, found.reason

    assert look(waits) == (0, "")
    batch.cancel(waits, "mine")
    batch.terminate(waits, "later")
    assert look(waits) == (CANCEL | TERMINATE, "mine")
    assert look(huge)[1].startswith("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE")
    batch.cancel(first, "give it back")
    assert look(first) == (CANCEL, "give it back")
    batch.terminate(first, "stop")
    assert look(first) == (CANCEL | TERMINATE, "give it back")


def test_a_page_of_a_queue_is_newest_first_from_the_cursor(batch: Batch) -> None:
    batch.close()
    jobs = [batch.submit() for _ in range(5)]
    array = batch.submit(size=2)
    page = query.open_page(batch.world, batch.main, (RUNNABLE,), 1 << 60, 2)
    assert [facts.id for facts in page] == [jobs[4], jobs[3]]
    page = query.open_page(batch.world, batch.main, (RUNNABLE,), page[-1].seq, 9)
    assert [facts.id for facts in page] == jobs[2::-1]
    batch.cancel(jobs[1])
    page = query.open_page(batch.world, batch.main, (RUNNABLE, PENDING), 1 << 60, 9)
    assert [facts.id for facts in page] == [array, *(jobs[i] for i in (4, 3, 2, 0))]
    assert query.open_page(batch.world, "nowhere", (RUNNABLE,), 1 << 60, 9) == []
    assert query.open_page(batch.world, batch.main, (RUNNING,), 1 << 60, 9) == []


def test_a_page_goes_on_in_the_block_before(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchery.core.index.BLOCK_JOBS", 2)
    batch.close()
    jobs = [batch.submit() for _ in range(5)]
    page = query.open_page(batch.world, batch.main, (RUNNABLE,), 1 << 60, 4)
    assert [facts.id for facts in page] == jobs[:0:-1]


def test_a_page_of_children_is_in_their_order(batch: Batch) -> None:
    array, plain = batch.submit(size=6), batch.submit()
    batch.exits(f"{array}:2")
    batch.runs(f"{array}:4")
    codes = CODES_SHOWN_AS["RUNNABLE"]

    def page(codes: tuple[int, ...], after: int, limit: int, job: str = array) -> list[int | None] | None:
        found = query.children_page(batch.world, HOME, job, codes, after, limit)
        return found if found is None else [facts.index for facts in found]

    assert page(codes, -1, 3) == [0, 1, 3]
    assert page(codes, 3, 3) == [5]
    assert page((*codes, RUNNING), 0, 9) == [1, 3, 4, 5]
    assert page(codes, -1, 3, plain) is None
    assert page(codes, -1, 3, "nobody") is None
    assert query.children_page(batch.world, AWAY, array, codes, -1, 3) is None


def test_counts_and_the_newest_open_jobs(batch: Batch) -> None:
    jobs = [batch.submit() for _ in range(3)]
    assert [facts.id for facts in query.open_jobs(batch.world, HOME, 2)] == [jobs[2], jobs[1]]
    assert query.open_jobs(batch.world, AWAY, 2) == []
    assert query.running_count(batch.world) == 3
    batch.world.policy = Policy(submitted_for=60_000)
    assert query.submitted_count(batch.world) == 0
    batch.submit()
    assert query.submitted_count(batch.world) == 1
    assert query.alive(batch.world, [batch.key(jobs[0]), Key("x", 0, 1)]) == {batch.key(jobs[0])}


def test_whatever_has_not_begun_waits() -> None:
    assert query.waiting(SUBMITTED)
    assert not query.waiting(RUNNING)


def test_a_task_without_a_request_of_its_own_was_asked_with_its_job() -> None:
    batch = Batch()
    array = batch.submit(size=2)
    job = batch.jobs[array]
    assert job.ask_of(0) is None
    batch.cancel(array, "x")
    assert job.ask_of(0) is job.asked
    job.tasks[0] = Task(0)
    assert job.ask_of(0) is job.asked
    assert job.open
    assert World().jobs == {}
