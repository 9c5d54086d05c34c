"""What must be true of consumable resources in a history, judged from what was committed and from what really ran.

No more is given out than there is at that moment, also of what was deleted and made again while it was held; what is
given back belonged to something that is really gone; and what can be used up is used once by each attempt that began,
and by nothing else.
"""

from tests.sim.clients import TICKETS
from tests.sim.engine import Truth

from batchery.core.changes import AttemptEnded, Began, Change, ConsumableGone, ConsumableSet, Placed, Submitted
from batchery.core.messages import Exited
from batchery.core.model import NO_CAPACITY, TERMINATED, WITHDRAWN, AttemptKey
from batchery.core.named import REPLENISHABLE, Consumable


class Units:
    """``note`` takes in commits; both raise AssertionError."""

    def __init__(self) -> None:
        self.asks: dict[str, list[dict[str, int]]] = {}  # job -> of each task -> ARN -> units
        self.known: dict[str, Consumable] = {}
        self.held: set[AttemptKey] = set()
        self.begun: set[AttemptKey] = set()
        self.given_back: set[AttemptKey] = set()
        self.used: dict[str, int] = {}

    def note(self, changes: list[Change], truth: Truth) -> None:
        """These are committed, in this order."""
        for change in changes:
            if isinstance(change, Submitted):
                job = change.job
                each = job.shape.units if job.gang else [job.shape.consumables] * job.width
                self.asks[job.id] = [dict(units) for units in each] or [{}] * job.width
            elif isinstance(change, ConsumableSet):
                self._set(change.consumable)
            elif isinstance(change, ConsumableGone):
                del self.known[change.arn]
            elif isinstance(change, Placed):
                self._placed(change.key)
            elif isinstance(change, Began):
                self.begun.add(change.key)
            elif isinstance(change, AttemptEnded):
                assert change.key not in truth.alive.values(), f"{change.key}: its units are free, and it is alive"
                self.held.discard(change.key)
                if change.cause in (WITHDRAWN, NO_CAPACITY):
                    self.given_back.add(change.key)

    def _set(self, consumable: Consumable) -> None:
        before = self.known.get(consumable.arn)
        if before is not None and consumable.total < before.total:
            self.used[consumable.arn] = self.used.get(consumable.arn, 0) + before.total - consumable.total
        self.known[consumable.arn] = consumable

    def _placed(self, key: AttemptKey) -> None:
        self.held.add(key)
        for arn in self._asks(key):
            assert self._out(arn) <= self.known[arn].total, f"{key}: more of {arn} is given out than there is"

    def _asks(self, key: AttemptKey) -> dict[str, int]:
        return self.asks[key.job][key.index]

    def _out(self, arn: str) -> int:
        """Units of the total that attempts have."""
        lasting = arn in self.known and self.known[arn].kind == REPLENISHABLE
        return sum(self._asks(key).get(arn, 0) for key in self.held if lasting or key not in self.begun)

    def judge_end(self, truth: Truth) -> None:
        """When all is over. An attempt that was killed, or lost without a trace, before the server heard that it starts
        is not known to have begun."""
        used = 0
        for key in truth.begun:
            end = truth.ended.get(key)
            killed = isinstance(end, Exited) and end.cause == TERMINATED and not end.started
            unseen = key not in self.begun and (killed or key in self.given_back)
            used += 0 if unseen else self._asks(key).get(TICKETS, 0)
        assert self.used.get(TICKETS, 0) == used, "each attempt that began has used up what it asked for, once"
