"""Consumable resources that are deleted while jobs hold units of them or wait for them, and made again."""

import pytest
from tests.unit.core.building import Batch
from tests.unit.core.units import asks, change, make, reason, shown

from batchery.core.messages import DeleteConsumable, Refused
from batchery.core.named import NON_REPLENISHABLE
from batchery.core.rebuild import rebuild


def test_deleting(batch: Batch) -> None:
    seats = make(batch, total=1)
    change(batch, "ADD", 0, "token")
    job, waits = asks(batch, (seats, 1)), asks(batch, (seats, 1))
    batch.send(DeleteConsumable(seats))
    batch.send(DeleteConsumable(seats))
    assert (batch.world.consumables, batch.world.tokens) == ({}, {})
    assert reason(batch, waits) == "Waiting for consumable resources: seats (1 asked, does not exist)"
    with pytest.raises(Refused, match="does not exist"):
        asks(batch, (seats, 1))
    batch.runs(job)
    make(batch, total=1)
    assert shown(batch) == (1, 1, 0), "made again, it is the same to who holds it"
    assert batch.code(waits) == "RUNNABLE"
    batch.exits(job)
    assert batch.code(waits) == "OFFERED", "and to those that wait"


def test_what_is_deleted_gets_nothing_back(batch: Batch) -> None:
    seats = make(batch, total=1)
    job = asks(batch, (seats, 1), attempts=2)
    batch.runs(job)
    batch.send(DeleteConsumable(seats))
    rebuild(batch.world)
    assert batch.world.locked == {seats: 1}, "though it is in no table, who holds it is known"
    batch.exits(job, 1)
    assert (batch.world.locked, batch.code(job)) == ({}, "RUNNABLE"), "the next attempt waits for it"
    make(batch, total=1)
    assert (shown(batch), batch.code(job)) == ((1, 1, 0), "OFFERED")


def test_what_is_deleted_is_not_used_up(batch: Batch) -> None:
    tickets = make(batch, total=1, kind=NON_REPLENISHABLE)
    job, waits = asks(batch, (tickets, 1)), asks(batch, (tickets, 1))
    batch.send(DeleteConsumable(tickets))
    batch.starts(job)
    make(batch, total=1, kind=NON_REPLENISHABLE)
    assert (shown(batch), batch.code(waits)) == ((1, 2, 0), "OFFERED"), "all of what was made is there"


def test_made_again_with_less_than_is_held_no_more_is_given_out(batch: Batch) -> None:
    seats = make(batch, total=2)
    jobs = [asks(batch, (seats, 1)) for _ in range(3)]
    batch.orderly = False
    batch.send(DeleteConsumable(seats))
    make(batch, total=1)
    assert shown(batch) == (2, 2, 0)
    batch.exits(jobs[0])
    assert (shown(batch), batch.code(jobs[2])) == ((1, 1, 0), "RUNNABLE")
    batch.exits(jobs[1])
    assert batch.code(jobs[2]) == "OFFERED"


def test_made_again_of_the_other_kind_it_is_used_up(batch: Batch) -> None:
    seats = make(batch, total=1)
    job = asks(batch, (seats, 1))
    batch.send(DeleteConsumable(seats))
    make(batch, total=3, kind=NON_REPLENISHABLE)
    assert shown(batch) == (3, 1, 2)
    batch.starts(job)
    assert shown(batch) == (2, 1, 2)


def test_what_waited_for_more_than_a_deleted_one_keeps_nothing(batch: Batch) -> None:
    """Without it there could never be enough."""
    seats, cups = make(batch, total=1), make(batch, "cups", 1)
    job = asks(batch, (seats, 1))
    both, one = asks(batch, (seats, 1), (cups, 1)), asks(batch, (cups, 1))
    assert batch.code(one) == "RUNNABLE", "the cup is kept for the one ahead"
    batch.send(DeleteConsumable(seats))
    assert (batch.code(both), batch.code(one)) == ("RUNNABLE", "OFFERED")
    batch.exits(job)
