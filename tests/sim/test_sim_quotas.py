"""Proof that the simulator finds faults of quota shares, service jobs and forgotten definitions: one put in on purpose
for each law."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.sim.__main__ import run
from tests.sim.stores import MemoryStore

from batchery.core import apply, decide, forgetting, policies, preemption, quotas, quotaset, services, step
from batchery.core.changes import AttemptEnded, QuotaGone
from batchery.core.follow import SETTLE_QUOTA
from batchery.core.model import DELETING, PREEMPTED, Dirty, Job, World
from batchery.core.shares import BORROW
from batchery.core.status import FAILED

Patch = pytest.MonkeyPatch
Order, Preemption = quotas.QuotaOrder, preemption._Preemption


def _everybody_borrows(patch: Patch) -> None:
    patch.setattr(Order, "may_borrow", lambda self, place, need: True)


def _borrowed_without_end(patch: Patch) -> None:
    patch.setattr(quotas, "most_borrowed", lambda quota, unit: None)


def _reserves_lent(patch: Patch) -> None:
    patch.setattr(Order, "idle", lambda self, place: self.free[place[1]])


def _borrowers_first(patch: Patch) -> None:
    real = Order.entitled

    def entitled(self: Any, place: Any, need: int) -> bool:
        return real(self, place, need) and self.quotas[place[0]].strategy != BORROW

    patch.setattr(Order, "entitled", entitled)


def _preempted_where_nothing_begins(patch: Patch) -> None:
    patch.setattr(quotas, "usable", lambda environment: True)


def _more_preempted_than_needed(patch: Patch) -> None:
    real = preemption.most_of
    patch.setattr(preemption, "most_of", lambda environment, unit: real(environment, unit) - 1_000)


def _preempted_in_vain(patch: Patch) -> None:
    real = preemption.most_of
    patch.setattr(preemption, "most_of", lambda environment, unit: real(environment, unit) + 1_000)


def _nobody_spared(patch: Patch) -> None:
    patch.setattr(Preemption, "_spared", lambda self, victim: False)


def _entitled_ones_preempted(patch: Patch) -> None:
    def borrowers(self: Any, place: Any, pool: str) -> Iterator[Any]:
        others = [mine for other, mine in self.mine.items() if other[1] == place[1] and other != place]
        return iter([attempt for mine in others for attempt in mine])

    patch.setattr(Preemption, "_borrowers", borrowers)


def _equals_preempted(patch: Patch) -> None:
    patch.setattr(Preemption, "_lower", lambda self, attempts, priority: self._by_worth(attempts))


def _a_preemption_uses_an_attempt(patch: Patch) -> None:
    real = decide.outcome

    def counting(*members: Any) -> Any:
        found = real(*members)
        return found._replace(counts=found.counts or found.cause == PREEMPTED)

    patch.setattr(decide, "outcome", counting)


def _the_preempted_stay_away(patch: Patch) -> None:
    real = decide.outcome

    def ending(*members: Any) -> Any:
        found = real(*members)
        return found._replace(code=FAILED) if found.cause == PREEMPTED else found

    patch.setattr(decide, "outcome", ending)


def _preemptions_not_counted(patch: Patch) -> None:
    def forgetful(world: World, change: AttemptEnded) -> None:
        apply.attempt_ended(world, change)
        world.jobs[change.key.job].tasks[change.key.index].preempted = 0

    patch.setitem(apply.APPLY, AttemptEnded, forgetful)


def _cancelled_like_any_other(patch: Patch) -> None:
    def found(world: World, cmd: Any) -> Job | None:
        job = world.jobs.get(cmd.ref.job)
        known = job is not None and job.realm == cmd.realm and job.closed is None and not job.all_ended
        return job if job is not None and known and job.has(cmd.ref) else None

    patch.setattr(decide, "_open_job", found)


def _disabled_shares_take_jobs(patch: Patch) -> None:
    patch.setattr(policies, "_admit_quota", lambda world, queue, cmd: None)


def _deleted_before_its_jobs(patch: Patch) -> None:
    def hasty(world: World, arn: str, now: int) -> list[Any]:
        gone = world.quotas[arn].status == DELETING
        return [QuotaGone(arn)] if gone else quotaset.settle_quota(world, arn, now)

    patch.setitem(step.DUE, SETTLE_QUOTA, hasty)


def _not_stored(patch: Patch, member: str) -> None:
    real = MemoryStore.commit

    def lossy(self: MemoryStore, epoch: int, dirty: Dirty, changes: Any) -> None:
        getattr(dirty, member).clear()
        real(self, epoch, dirty, changes)

    patch.setattr(MemoryStore, "commit", lossy)


def _shares_not_stored(patch: Patch) -> None:
    _not_stored(patch, "quotas")


def _priorities_not_stored(patch: Patch) -> None:
    _not_stored(patch, "shapes")


def _numbers_given_twice(patch: Patch) -> None:
    patch.setattr(forgetting, "_highest", lambda world, definition: False)


def _tokens_forgotten_at_once(patch: Patch) -> None:
    patch.setattr(services, "TOKEN_MS", 0)


#: The fault, and from which seed on it is looked for: the rare ones are near.
SABOTAGE = (
    (_everybody_borrows, 0),
    (_borrowed_without_end, 0),
    (_reserves_lent, 0),
    (_borrowers_first, 0),
    (_preempted_where_nothing_begins, 170),
    (_more_preempted_than_needed, 0),
    (_preempted_in_vain, 0),
    (_nobody_spared, 174),
    (_entitled_ones_preempted, 0),
    (_equals_preempted, 0),
    (_a_preemption_uses_an_attempt, 0),
    (_the_preempted_stay_away, 0),
    (_preemptions_not_counted, 0),
    (_cancelled_like_any_other, 0),
    (_disabled_shares_take_jobs, 0),
    (_deleted_before_its_jobs, 110),
    (_shares_not_stored, 0),
    (_priorities_not_stored, 0),
    (_numbers_given_twice, 60),
    (_tokens_forgotten_at_once, 0),
)


@pytest.mark.parametrize(("sabotage", "first"), SABOTAGE)
def test_a_fault_put_in_on_purpose_is_found(sabotage: Callable[[Patch], None], first: int, monkeypatch: Patch) -> None:
    sabotage(monkeypatch)

    def many() -> None:
        for seed in range(first, first + 240, 2):  # those with service jobs
            run(seed, sqlite=False)

    with pytest.raises((AssertionError, KeyError)):
        many()
