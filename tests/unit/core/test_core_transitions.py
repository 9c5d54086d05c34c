"""The whole table of states and commands, and the moves that are never made."""

import pytest
from tests.unit.core import transitions
from tests.unit.core.building import Batch

from batchery.core import apply, status
from batchery.core.changes import Ended
from batchery.core.status import CODE_NAMES, CODES, ENDED, FAILED, LIVE, MOVES, OFFERED, ONE, RUNNABLE, WAIT


def test_every_state_meets_every_command_as_the_committed_table_says() -> None:
    committed = transitions.TABLE.read_text().splitlines()
    assert transitions.text().splitlines() == committed


@pytest.mark.parametrize("old", CODES)
@pytest.mark.parametrize("new", CODES)
@pytest.mark.parametrize("size", [0, 2])
def test_an_illegal_move_is_never_made(old: int, new: int, size: int) -> None:
    batch = Batch()
    batch.close()
    job = batch.jobs[batch.submit(size=size)]
    job.status = bytearray(ONE[old] * size) if size else ONE[old]
    if (old, new) in MOVES:
        apply._move(batch.world, job, ((0, 1),), new)
        assert job.status[0] == new
    else:
        with pytest.raises(AssertionError):
            apply._move(batch.world, job, ((0, 1),), new)
        assert job.status[0] == old


def test_what_an_engine_has_does_not_end_behind_its_back() -> None:
    batch = Batch()
    job = batch.submit()
    with pytest.raises(AssertionError, match="live attempt"):
        apply.apply(batch.world, Ended(job, ((0, 1),), FAILED, "x", batch.now))


@pytest.mark.parametrize("moves", [status.SETTLE, status.CANCEL, status.VOID, apply._EVALUATE, apply._CLOSE])
def test_every_table_makes_legal_moves_only(moves: bytes) -> None:
    for byte in range(256):
        old, new = byte & 0x0F, moves[byte]
        if old in CODES and new in CODES and new != old:
            assert (old, new) in MOVES, f"{CODE_NAMES[old]} -> {CODE_NAMES[new]}"


def test_the_end_is_final() -> None:
    assert not [move for move in MOVES if move[0] in ENDED]


def test_a_settled_byte_has_no_gate() -> None:
    for code in CODES:
        for gate in (0, WAIT, status.BROKEN, WAIT | status.BROKEN):
            assert status.SETTLE[code | gate] in CODES
            assert status.SETTLE_AT[gate][code] == status.SETTLE[code | gate]


def test_only_what_is_ready_is_handed_to_an_engine_and_it_may_come_back() -> None:
    assert {old for old, new in MOVES if new == OFFERED} == {RUNNABLE}
    assert {old for old, new in MOVES if new == RUNNABLE} == {status.PENDING, *LIVE, *status.NODE_ENDED}


def test_spans_are_runs_of_ones() -> None:
    assert status.spans(b"") == ()
    assert status.spans(b"\1\1\0\1") == ((0, 2), (3, 4))
    assert status.spans_of(b"\2\3\2\2", (2,)) == ((0, 1), (2, 4))


def test_the_summary_always_names_all_seven() -> None:
    assert status.summary(bytes([2, 8, 7, 1, 5])) == {
        "SUBMITTED": 0,
        "PENDING": 2,
        "RUNNABLE": 2,
        "STARTING": 0,
        "RUNNING": 0,
        "SUCCEEDED": 1,
        "FAILED": 0,
    }
