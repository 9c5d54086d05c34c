"""Infrastructure updates: what began before one is ended, at once or later, and judged by its own strategy."""

import pytest
from tests.unit.core.building import Batch, arn

from batchery.core.messages import DeleteEnvironment, Refused, Started, UpdateEnvironment
from batchery.core.model import EXIT, World
from batchery.core.rebuild import rebuild
from batchery.core.step import derive

MAIN = arn("compute-environment", "main")
MINUTE = 60_000
GONE = "Host EC2 (instance replaced) terminated."


def update(batch: Batch, patience: int) -> None:
    batch.tick()
    batch.send(UpdateEnvironment(MAIN, doc='{"new": 1}', patience=patience))


def status(batch: Batch) -> str:
    return batch.world.environments[MAIN].status


def test_nothing_runs_and_it_is_over_at_once(batch: Batch) -> None:
    update(batch, 30 * MINUTE)
    found = batch.world.environments[MAIN]
    assert (found.status, found.replaced, found.replace_by, found.doc) == ("VALID", 0, 0, '{"new": 1}')


def test_jobs_are_ended_at_once_and_tried_again_where_it_is_new(batch: Batch) -> None:
    once, twice = batch.submit(), batch.submit(attempts=2)
    batch.runs(once, twice)
    update(batch, 0)
    assert sorted(batch.told()) == [f"Kill {once}:0:1", f"Kill {twice}:0:1"]
    assert status(batch) == "UPDATING"
    later = batch.submit()
    assert batch.told() == [f"Launch {later}:0:1"], "placements go on"
    batch.killed(once)
    assert batch.end(once) == ("FAILED", GONE)
    assert status(batch) == "UPDATING"
    batch.killed(twice)
    assert batch.code(twice) == "OFFERED"
    assert batch.key(twice).serial == 2
    assert batch.jobs[twice].tasks[0].used == 1
    assert status(batch) == "VALID"
    batch.runs(twice, later)
    batch.exits(twice)
    batch.exits(later)
    assert batch.end(twice)[0] == batch.end(later)[0] == "SUCCEEDED"


def test_jobs_go_on_until_their_time_is_up(batch: Batch) -> None:
    short, long = batch.submit(), batch.submit()
    batch.starts(short)
    batch.runs(long)
    update(batch, 30 * MINUTE)
    assert batch.told() == []
    batch.exits(short)
    assert batch.end(short)[0] == "SUCCEEDED"
    batch.tick(30 * MINUTE - 1)
    assert batch.told() == []
    batch.tick(1)
    assert batch.told() == [f"Kill {long}:0:1"]
    batch.tick(MINUTE)
    assert batch.told() == [], "once"
    batch.killed(long)
    assert (batch.end(long), status(batch)) == (("FAILED", GONE), "VALID")


def test_what_ends_by_itself_in_the_last_moment_has_ended_by_itself(batch: Batch) -> None:
    job = batch.submit()
    batch.runs(job)
    update(batch, 0)
    batch.exits(job, 0, cause=EXIT)
    assert batch.end(job)[0] == "SUCCEEDED"


def test_a_rule_of_the_strategy_sees_a_lost_host(batch: Batch) -> None:
    job = batch.submit(attempts=3, rules=[("EXIT", "Host EC2*", None, None)])
    batch.runs(job)
    update(batch, 0)
    batch.killed(job)
    assert batch.end(job) == ("FAILED", GONE)


def test_what_is_terminated_already_is_not_ended_twice(batch: Batch) -> None:
    job = batch.submit()
    batch.runs(job)
    batch.terminate(job, "enough")
    update(batch, 0)
    assert batch.told() == []
    batch.killed(job)
    assert (batch.end(job), status(batch)) == (("FAILED", "enough"), "VALID")


def test_what_has_not_begun_is_let_alone(batch: Batch) -> None:
    job = batch.submit()
    update(batch, 0)
    assert (batch.told(), status(batch), batch.code(job)) == ([], "VALID", "OFFERED")


def test_other_environments_are_let_alone(batch: Batch) -> None:
    other = batch.submit(queue=batch.queue("other", batch.environment("other")))
    batch.runs(other)
    update(batch, 0)
    assert (batch.told(), status(batch)) == ([], "VALID")


def test_what_begins_meanwhile_is_not_of_before(batch: Batch) -> None:
    old = batch.submit()
    batch.runs(old)
    update(batch, MINUTE)
    batch.tick()
    new = batch.submit()
    batch.runs(new)
    assert status(batch) == "UPDATING"
    batch.tick(MINUTE)
    assert batch.told() == [f"Kill {old}:0:1"]
    batch.killed(old)
    assert (status(batch), batch.code(new)) == ("VALID", "RUNNING")


def test_no_other_update_meanwhile(batch: Batch) -> None:
    job = batch.submit()
    batch.runs(job)
    update(batch, MINUTE)
    for command in (UpdateEnvironment(MAIN, state="DISABLED"), DeleteEnvironment(MAIN)):
        with pytest.raises(Refused, match="resource is being modified"):
            batch.send(command)


def test_a_restart_changes_nothing(batch: Batch) -> None:
    job = batch.submit()
    batch.runs(job)
    update(batch, MINUTE)
    rebuild(batch.world)
    derive(batch.world, batch.now)
    assert status(batch) == "UPDATING"
    batch.tick(MINUTE)
    assert batch.told() == [f"Kill {job}:0:1"]


def test_vcpus_in_use(batch: Batch) -> None:
    from batchery.core.query import vcpus_in_use

    assert vcpus_in_use(World(), [MAIN]) == {MAIN: 0}
    batch.submit(vcpus=1.25)
    assert vcpus_in_use(batch.world, [MAIN, "other"]) == {MAIN: 2, "other": 0}
    assert vcpus_in_use(batch.world, ["other"]) == {"other": 0}, "what runs elsewhere is not counted"


def test_late_news_of_a_start_before_the_update(batch: Batch) -> None:
    first, job = batch.submit(), batch.submit()
    batch.runs(first)
    before = batch.now
    update(batch, 0)
    batch.send(Started(batch.key(job), before))
    assert batch.told() == [f"Kill {job}:0:1"]
