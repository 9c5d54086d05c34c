"""Consumable resources: who holds units of them and until when, who waits, and what becomes of what is used up."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from tests.unit.core.building import HOME, Batch, arn
from tests.unit.core.units import asks, change, make, reason, shown

from batchery.core.changes import ConsumableSet
from batchery.core.consumables import MOST, TOKEN_MS
from batchery.core.explain import why
from batchery.core.keys import Realm
from batchery.core.messages import CreateConsumable, DeleteConsumable, Refused, Tag, UpdateConsumable
from batchery.core.named import NON_REPLENISHABLE, REPLENISHABLE, Consumable
from batchery.core.query import resolve_consumable, stock_of, stocks
from batchery.core.rebuild import rebuild

Make = Callable[..., Batch]
AWAY = Realm("123456789012", "eu-west-1")


# ------------------------------------------------------------------------------------------------------- scheduling


def test_no_more_run_than_there_are_units(batch: Batch) -> None:
    seats = make(batch)
    jobs = [asks(batch, (seats, 1)) for _ in range(4)]
    assert [batch.code(job) for job in jobs] == ["OFFERED", "OFFERED", "RUNNABLE", "RUNNABLE"]
    assert shown(batch) == (2, 2, 0), "held from the placement on"
    batch.runs(*jobs[:2])
    batch.terminate(jobs[0])
    assert batch.code(jobs[2]) == "RUNNABLE", "it is asked to end, and has not"
    batch.killed(jobs[0])
    assert [batch.code(job) for job in jobs[2:]] == ["OFFERED", "RUNNABLE"]
    assert reason(batch, jobs[3]) == "Waiting for consumable resources: seats (1 asked, 0 of 2 available)"
    assert reason(batch, jobs[2]) == ""


def test_more_units_let_more_in(batch: Batch) -> None:
    seats = make(batch, total=0)
    jobs = [asks(batch, (seats, 1)) for _ in range(3)]
    assert change(batch, "ADD", 2) == 2
    assert [batch.code(job) for job in jobs] == ["OFFERED", "OFFERED", "RUNNABLE"]
    assert change(batch, "SET", 3) == 3
    assert batch.code(jobs[2]) == "OFFERED"


def test_all_of_them_together(batch: Batch) -> None:
    seats, cups = make(batch, "seats", 1), make(batch, "cups", 1)
    first, both, last = asks(batch, (seats, 1)), asks(batch, (seats, 1), (cups, 1)), asks(batch, (cups, 1))
    assert (batch.code(first), batch.code(both)) == ("OFFERED", "RUNNABLE")
    assert batch.code(last) == "RUNNABLE", "what waits ahead keeps its cup"
    batch.exits(first)
    assert (batch.code(both), batch.code(last)) == ("OFFERED", "RUNNABLE")
    assert reason(batch, last) == "Waiting for consumable resources: cups (1 asked, 0 of 1 available)"
    batch.exits(both)
    assert batch.code(last) == "OFFERED"


def test_what_waits_for_units_does_not_hold_up_its_queue(batch: Batch) -> None:
    seats = make(batch, total=1)
    asks(batch, (seats, 1))
    waits, other = asks(batch, (seats, 1)), batch.submit()
    assert (batch.code(waits), batch.code(other)) == ("RUNNABLE", "OFFERED")
    assert batch.world.queues[batch.main].blocked == ()


def test_a_large_wish_is_not_passed_by_small_ones_for_ever(batch: Batch) -> None:
    seats = make(batch, total=3)
    first, second = asks(batch, (seats, 2)), asks(batch, (seats, 1))
    large, small = asks(batch, (seats, 3)), asks(batch, (seats, 1))
    batch.exits(second)
    assert (batch.code(large), batch.code(small)) == ("RUNNABLE", "RUNNABLE"), "the free one is kept for the large"
    said = why(batch.world, HOME, small)
    assert said is not None
    assert "Jobs ahead of it ask for consumable resource seats too." in said.lines
    batch.exits(first)
    assert (batch.code(large), batch.code(small)) == ("OFFERED", "RUNNABLE")


def test_a_wish_that_nothing_can_fulfil_keeps_nothing(batch: Batch) -> None:
    seats = make(batch, total=2)
    never, small = asks(batch, (seats, 3)), asks(batch, (seats, 2))
    assert (batch.code(never), batch.code(small)) == ("RUNNABLE", "OFFERED")
    said = why(batch.world, HOME, never)
    assert said is not None
    assert said.lines[1:] == [
        "Waiting for consumable resources: seats (3 asked, 0 of 2 available).",
        "There will never be enough unless more is added.",
        "Jobs behind it pass it.",
    ]
    change(batch, "ADD", 3)
    assert batch.code(never) == "OFFERED"


def test_a_wish_that_has_no_place_to_run_keeps_nothing(batch: Batch) -> None:
    elsewhere = batch.queue("elsewhere", batch.environment("elsewhere"))
    seats = make(batch, total=2)
    batch.close()
    first = asks(batch, (seats, 1), queue=elsewhere)
    large, small = asks(batch, (seats, 2)), asks(batch, (seats, 1), queue=elsewhere)
    assert [batch.code(job) for job in (first, large, small)] == ["OFFERED", "RUNNABLE", "OFFERED"]
    batch.exits(first)
    batch.reopen()
    assert batch.code(asks(batch, (seats, 1), queue=elsewhere)) == "RUNNABLE", "now it has one"
    batch.exits(small)
    assert batch.code(large) == "OFFERED"


def test_what_waits_for_room_keeps_its_units(batches: Make) -> None:
    """Else room and units could be free by turns, and never for it."""
    batch = batches(vcpus=1)
    elsewhere = batch.queue("elsewhere", batch.environment("elsewhere"))
    seats = make(batch, total=1)
    busy, waits = batch.submit(), asks(batch, (seats, 1))
    younger = asks(batch, (seats, 1), queue=elsewhere)
    assert (batch.code(waits), batch.code(younger)) == ("RUNNABLE", "RUNNABLE")
    batch.close()
    assert batch.code(younger) == "OFFERED", "an environment that takes nothing is not waited for"
    batch.exits(younger)
    batch.reopen()
    batch.exits(busy)
    assert batch.code(waits) == "OFFERED"


def test_children_of_an_array_ask_each_for_themselves(batch: Batch) -> None:
    seats = make(batch)
    array = asks(batch, (seats, 1), size=3)
    assert batch.children(array) == ["RUNNABLE"] * 3
    assert shown(batch) == (2, 2, 0)
    batch.runs(f"{array}:0", f"{array}:1")
    assert batch.children(array) == ["RUNNING", "RUNNING", "RUNNABLE"]
    batch.exits(f"{array}:0")
    assert batch.code(f"{array}:2") == "OFFERED"


def test_units_are_free_between_attempts(batch: Batch) -> None:
    seats = make(batch, total=1)
    first, second = asks(batch, (seats, 1), attempts=2), asks(batch, (seats, 1))
    batch.exits(first, 1)
    assert (batch.code(first), batch.code(second)) == ("OFFERED", "RUNNABLE"), "the older one gets them again"
    assert shown(batch) == (1, 1, 0)
    batch.close()
    batch.exits(first, 1)
    assert batch.end(first)[0] == "FAILED"
    assert shown(batch) == (1, 0, 1)


def test_what_is_handed_back_holds_nothing(batch: Batch) -> None:
    seats = make(batch, total=1)
    job = asks(batch, (seats, 1))
    batch.close()
    batch.hands_back(job)
    assert (batch.code(job), shown(batch)) == ("RUNNABLE", (1, 0, 1))


def test_what_holds_units_is_not_claimed_ahead(batches: Make) -> None:
    batch = batches(vcpus=1, ahead=4)
    seats = make(batch, total=9)
    quick = batch.submit()
    batch.runs(quick)
    batch.now += 1
    batch.exits(quick)
    first, waits, ahead = batch.submit(), asks(batch, (seats, 1)), batch.submit()
    assert [batch.code(job) for job in (first, waits, ahead)] == ["OFFERED", "RUNNABLE", "RUNNABLE"]
    batch.cancel(waits)
    assert batch.code(ahead) == "OFFERED"


def test_what_is_held_is_derived_from_live_attempts(batch: Batch) -> None:
    seats = make(batch, total=4)
    jobs = [asks(batch, (seats, 1)) for _ in range(3)]
    batch.starts(jobs[0])
    batch.runs(jobs[1])
    before = dict(batch.world.locked), dict(batch.world.promised)
    batch.world.locked, batch.world.promised = {}, {}
    rebuild(batch.world)
    assert (batch.world.locked, batch.world.promised) == before == ({seats: 3}, {seats: 1})


# --------------------------------------------------------------------------------------------- what can be used up


def test_units_that_are_used_up_leave_for_good(batch: Batch) -> None:
    tickets = make(batch, "seats", 3, NON_REPLENISHABLE)
    first, second = asks(batch, (tickets, 2)), asks(batch, (tickets, 2))
    assert shown(batch) == (3, 2, 1), "promised, and not used"
    batch.starts(first)
    assert shown(batch) == (1, 2, 1), "used: the total is what is left"
    batch.runs(first)
    batch.exits(first)
    assert shown(batch) == (1, 0, 1)
    assert batch.code(second) == "RUNNABLE"
    change(batch, "ADD", 1)
    batch.runs(second)
    assert shown(batch) == (0, 2, 0)


def test_what_never_began_used_nothing_up(batch: Batch) -> None:
    tickets = make(batch, "seats", 1, NON_REPLENISHABLE)
    job = asks(batch, (tickets, 1))
    batch.hands_back(job)
    assert shown(batch) == (1, 1, 0), "it is placed again"
    batch.cancel(job)
    batch.gives_back(job)
    assert shown(batch) == (1, 0, 1)
    killed = asks(batch, (tickets, 1))
    batch.terminate(killed)
    batch.killed(killed, ran=False)
    assert shown(batch) == (1, 0, 1)


def test_what_began_unseen_used_them_up(batch: Batch) -> None:
    make(batch, "seats", 2, NON_REPLENISHABLE)
    tickets = arn("consumable-resource", "seats")
    batch.exits(asks(batch, (tickets, 1)))
    assert shown(batch) == (1, 0, 1)
    batch.fails_to_start(asks(batch, (tickets, 1)))
    assert shown(batch) == (0, 0, 0)


def test_each_attempt_uses_them_up_again(batch: Batch) -> None:
    tickets = make(batch, "seats", 5, NON_REPLENISHABLE)
    job = asks(batch, (tickets, 2), attempts=3)
    batch.runs(job)
    batch.exits(job, 1)
    batch.runs(job)
    batch.exits(job, 1)
    assert (shown(batch), batch.code(job)) == ((1, 0, 1), "RUNNABLE")


def test_more_cannot_be_used_up_than_there_is(batch: Batch) -> None:
    tickets = make(batch, "seats", 2, NON_REPLENISHABLE)
    job = asks(batch, (tickets, 2))
    batch.orderly = False
    assert change(batch, "SET", 0) == 2, "two are promised"
    batch.runs(job)
    assert shown(batch) == (0, 2, 0)


# ------------------------------------------------------------------------------------------------------ operations


def test_creating(batch: Batch) -> None:
    seats = make(batch, total=7)
    found = resolve_consumable(batch.world, HOME, "seats")
    assert found == Consumable(seats, "seats", HOME, REPLENISHABLE, 7, batch.now)
    assert resolve_consumable(batch.world, HOME, seats) is found
    assert resolve_consumable(batch.world, AWAY, seats) is None
    assert stock_of(batch.world, HOME, "nothing") is None
    with pytest.raises(Refused, match="Object already exists"):
        make(batch)
    other = Consumable(arn("consumable-resource", "b"), "b", HOME, REPLENISHABLE, 1)
    with pytest.raises(Refused, match="more than 1 consumable"):
        batch.send(CreateConsumable(other, limit=1))
    away = Consumable(arn("consumable-resource", "b", AWAY), "b", AWAY, REPLENISHABLE, 1)
    batch.send(CreateConsumable(away, limit=1))
    batch.send(CreateConsumable(other, {"k": "v"}))
    assert batch.moved() == ["ConsumableSet", "TagsSet"]
    assert [one.consumable.name for one in stocks(batch.world, HOME, None, "", 9)] == ["b", "seats"]
    assert [one.consumable.name for one in stocks(batch.world, HOME, None, "", 1)] == ["b"]
    assert [one.consumable.name for one in stocks(batch.world, HOME, None, "b", 9)] == ["seats"]
    assert [one.consumable.name for one in stocks(batch.world, HOME, ["SEATS"], "", 9)] == ["seats"]
    assert [one.consumable for one in stocks(batch.world, AWAY, None, "", 9)] == [replace(away, created=batch.now)]
    batch.send(Tag(seats, {"k": "v"}))
    with pytest.raises(Refused, match="does not exist"):
        batch.send(Tag(arn("consumable-resource", "c"), {"k": "v"}))


def test_quantities(batch: Batch) -> None:
    make(batch)
    assert [change(batch, *one) for one in (("ADD", 3), ("REMOVE", 5), ("SET", 4), ("ADD", 0))] == [5, 0, 4, 4]
    for operation, quantity in (("REMOVE", 5), ("SET", -1), ("ADD", MOST)):
        with pytest.raises(Refused, match=f"Cannot {operation}"):
            change(batch, operation, quantity)
    with pytest.raises(Refused, match="does not exist"):
        batch.send(UpdateConsumable(arn("consumable-resource", "none"), "ADD", 1))


def test_a_total_below_what_is_in_use_comes_down_as_jobs_end(batch: Batch) -> None:
    seats = make(batch, total=3)
    jobs = [asks(batch, (seats, 1)) for _ in range(4)]
    batch.orderly = False
    assert change(batch, "SET", 1) == 3
    assert shown(batch) == (3, 3, 0)
    batch.exits(jobs[0])
    batch.exits(jobs[1])
    assert (shown(batch), batch.code(jobs[3])) == ((1, 1, 0), "RUNNABLE")
    batch.exits(jobs[2])
    assert (shown(batch), batch.code(jobs[3])) == ((1, 1, 0), "OFFERED")


def test_the_same_request_acts_once_in_eight_hours(batch: Batch) -> None:
    make(batch, total=0)
    assert change(batch, "ADD", 1, "one") == 1
    assert change(batch, "ADD", 1, "one") == 1
    assert batch.changes == []
    assert change(batch, "ADD", 2, "one") == 3, "another payload is another request"
    assert change(batch, "ADD", 1, "two") == 4
    batch.now += TOKEN_MS - 1
    assert change(batch, "ADD", 1, "one") == 4
    batch.now += 1
    assert change(batch, "ADD", 1, "one") == 5, "forgotten"
    held = batch.world.tokens[arn("consumable-resource", "seats")]
    assert held == {"ADD 1 one": batch.now}


def test_what_is_deleted_in_one_commit_with_its_tokens_leaves_no_rows_of_them(batch: Batch) -> None:
    seats, cups = make(batch), make(batch, "cups")
    batch.send(
        UpdateConsumable(seats, "ADD", 1, "a"),
        UpdateConsumable(cups, "ADD", 1, "b"),
        DeleteConsumable(seats),
    )
    assert [type(one) for one in batch.changes].count(ConsumableSet) == 2
    assert list(batch.world.tokens) == [cups]
