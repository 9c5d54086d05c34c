"""Seeds of the simulator that run with every `make test`; `make sim` runs more. And proof that it can fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.sim.__main__ import run
from tests.sim.stores import MemoryStore

from batchery.core import apply, readiness, rebuild, status, step
from batchery.core.changes import Recalled

PORTION = 20


@pytest.mark.parametrize("first", range(0, 200, PORTION))
def test_histories(first: int) -> None:
    for seed in range(first, first + PORTION):
        with naming(seed):
            run(seed, sqlite=False)


@pytest.mark.parametrize("first", range(1_000, 1_012, 3))
def test_histories_on_sqlite(first: int) -> None:
    for seed in range(first, first + 3):
        with naming(seed):
            run(seed, sqlite=True)


@pytest.mark.parametrize("seed", [5113, 402506])
def test_histories_that_found_a_fault(seed: int) -> None:
    """5113: a gang whose end was decided was terminated before it was closed, and had two reasons.
    402506: a victim was spared on whose leaving another of its share relied, for whom a third was preempted in vain."""
    with naming(seed):
        run(seed, sqlite=True)


@contextmanager
def naming(seed: int) -> Iterator[None]:
    """Says which seed it was."""
    try:
        yield
    except Exception as error:
        error.add_note(f"again: python -m tests.sim --seed {seed}")
        raise


# ------------------------------------------------------------------------------------------------------ sabotage


def _cancelled_too_early(patch: pytest.MonkeyPatch) -> None:
    """A cancelled job fails with the first failed dependency, though others have not ended."""
    wrong = bytearray(status.SETTLE_AT[status.WAIT | status.BROKEN])
    wrong[status.CLOSING] = status.FAILED
    tables = {**status.SETTLE_AT, status.WAIT | status.BROKEN: bytes(wrong)}
    patch.setattr(readiness, "SETTLE_AT", tables)


def _recall_not_stored(patch: pytest.MonkeyPatch) -> None:
    def forgetful(world: Any, change: Recalled) -> None:
        before = dict(world.dirty.attempts)
        apply.recalled(world, change)
        world.dirty.attempts = before

    patch.setitem(apply.APPLY, Recalled, forgetful)


def _retried_after_a_cancel(patch: pytest.MonkeyPatch) -> None:
    from batchery.core import decide

    real = decide.outcome

    def forgiving(shape: Any, attempt: Any, job_ask: Any, task_ask: Any, report: Any, *more: Any) -> Any:
        kind = job_ask.kind if job_ask else 0
        return real(shape, attempt, None if kind == 1 else job_ask, task_ask, report, *more)

    patch.setattr(decide, "outcome", forgiving)


def _ends_not_stored(patch: pytest.MonkeyPatch) -> None:
    real = MemoryStore.commit

    def lossy(self: MemoryStore, epoch: int, dirty: Any, changes: Any) -> None:
        dirty.ended = dirty.ended[1:]
        real(self, epoch, dirty, changes)

    patch.setattr(MemoryStore, "commit", lossy)


def _alarms_not_rebuilt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rebuild, "RUNNING", 99)


def _left_too_early(patch: pytest.MonkeyPatch) -> None:
    def hasty(world: Any) -> None:
        for job in world.leaving:
            world.jobs.pop(job.id, None)
        for job in [job for job in world.jobs.values() if job.closed is not None]:
            del world.jobs[job.id]
        world.leaving.clear()

    patch.setattr("tests.sim.simulation.forget", hasty)
    assert step.forget is not hasty


def _units_given_out_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("batchery.core.locks.Left.take", lambda self, asked: None)


def _units_used_up_by_what_never_began(patch: pytest.MonkeyPatch) -> None:
    from batchery.core import decide

    patch.setattr(decide, "began", lambda cause, started: True)


SABOTAGE = (
    _cancelled_too_early,
    _recall_not_stored,
    _retried_after_a_cancel,
    _ends_not_stored,
    _alarms_not_rebuilt,
    _left_too_early,
    _units_given_out_twice,
    _units_used_up_by_what_never_began,
)


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_a_fault_put_in_on_purpose_is_found(
    sabotage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)

    def many() -> None:
        for seed in range(60):
            run(seed, sqlite=False)

    with pytest.raises((AssertionError, KeyError)):
        many()
