"""The core against the naive model: the same events for both, and whatever a client can see must be the same."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.core.building import HOME, Batch
from tests.unit.core.naive import ENDED, Naive

from batchery.core import query
from batchery.core.changes import Placed
from batchery.core.messages import Exited, Lost, Started, Starting
from batchery.core.model import CANCEL, TERMINATE, AttemptKey, ContainerEnd
from batchery.core.owed import to_be_killed
from batchery.core.status import SHOWN

CAUSES = ("EXIT",) * 4 + ("START_FAILED", "HOST", "WITHDRAWN", "NO_CAPACITY", "TERMINATED", "TIMEOUT")
HOLD = 100_000  # ms that a job stays SUBMITTED in the batches that hold them


class Pair:
    """The core and the model, side by side. Numbers choose among what there is."""

    def __init__(self, held: bool) -> None:
        self.batch = Batch(vcpus=6, submitted_for=HOLD if held else 0)
        self.model = Naive()
        self.held = held
        self.names: list[str] = []

    # ------------------------------------------------------------------------------------------------- events

    def submit(self, kind: int, first: int, second: int) -> None:
        size = (0, 0, 3, 4)[kind % 4]
        needs: list[tuple[str, int, str]] = []
        how: dict[str, Any] = {"after": []}
        for pick in (first, second):
            if pick % 3 and self.names:
                self._need(self.names[pick % len(self.names)], pick, size, needs, how)
        if size and kind % 5 == 0:
            how["sequential"] = True
            needs.append(("", -1, "sequential"))
        attempts, exits_on = 1 + kind % 3, "3" if kind % 2 else ""
        rules = [("EXIT", None, None, "3")] if exits_on else []
        name = self.batch.submit(size=size, attempts=attempts, rules=rules, **how)
        self.names.append(name)
        self.model.submit(name, size, needs, attempts, exits_on)
        if not self.held:
            self.model.evaluate()

    def _need(self, other: str, pick: int, size: int, needs: list[Any], how: dict[str, Any]) -> None:
        width = self.model.jobs[other]["size"]
        if width and width == size and pick % 2 and "n_to_n" not in how:
            how["n_to_n"] = other
            needs.append((other, -1, "n_to_n"))
        elif width and pick % 5 < 2:
            how["after"].append(f"{other}:{pick % width}")
            needs.append((other, pick % width, "whole"))
        else:
            how["after"].append(other)
            needs.append((other, -1, "whole"))

    def end(self, terminate: int, job: int, child: int) -> None:
        if not self.names:
            return
        name = self.names[job % len(self.names)]
        size = self.model.jobs[name]["size"]
        index = child % size if size and child % 3 else None
        ref = name if index is None else f"{name}:{index}"
        words = f"words {len(self.batch.ends)}-{terminate}-{job}-{child}"
        (self.batch.terminate if terminate % 2 else self.batch.cancel)(ref, words)
        (self.model.terminate if terminate % 2 else self.model.cancel)(name, index, words, self.batch.now)

    def begin(self, which: int, running: int, spare: int) -> None:
        if not (key := self._live(which)):
            return
        self.batch.send((Started if running % 2 else Starting)(key, self.batch.now))
        self.model.began(key.job, key.index, "RUNNING" if running % 2 else "STARTING")

    def over(self, which: int, cause: int, code: int) -> None:
        if not (key := self._live(which)):
            return
        live = self.batch.world.live[key]
        causes = (
            "EXIT",
            "EXIT",
            "EXIT",
            "EXIT",
            "START_FAILED",
            "HOST",
            "WITHDRAWN",
            "NO_CAPACITY",
            "TERMINATED",
            "TIMEOUT",
        )
        word = causes[cause % len(causes)]
        ran = word in ("EXIT", "TERMINATED", "TIMEOUT") or live.started > 0
        number = (0, 0, 1, 3)[code % 4] if ran and word not in ("HOST",) else None
        at = self.batch.now - (15 if code % 3 == 0 else 0)  # now and then it was over before the last request
        began = live.started or live.placed
        if word == "HOST":
            self.batch.send(Lost(key, at, "i-1"))
            ran, number = False, None
        else:
            ends = (ContainerEnd("default", number),)
            self.batch.send(Exited(key, at, word, began if ran else 0, ends))
        self.model.over(key.job, key.index, word, number, ran, at)

    def wait(self, *_: int) -> None:
        self.batch.tick(HOLD)
        self.model.evaluate()

    def _live(self, which: int) -> AttemptKey | None:
        keys = list(self.batch.world.live)
        return keys[which % len(keys)] if keys else None

    # ------------------------------------------------------------------------------------------------ comparing

    def after(self) -> None:
        """Tell the model what was placed, then compare."""
        for change in self.batch.changes:
            if isinstance(change, Placed):
                self.model.placed(change.key.job, change.key.index)
        self.batch.now += 10
        for key, live in self.batch.world.live.items():
            recall, killed = self.model.stopping(key.job, key.index)
            assert (live.recall.reason if live.recall else None) == recall, f"{key}: asked back"
            assert to_be_killed(self.batch.world, live) == killed, f"{key}: to be killed"
        for name, job in self.model.jobs.items():
            for index in (None, *range(job["size"])):
                assert self.seen(name, index) == self.model.shown(name, index), f"{name}:{index}"

    def seen(self, name: str, index: int | None) -> tuple[str, str, set[str]]:
        ref = name if index is None else f"{name}:{index}"
        found = query.facts(self.batch.world, HOME, [ref]).get(ref)
        if found is None or SHOWN[found.code] in ENDED:
            status, reason = self.batch.end(ref)
            return status, reason, set(self.batch.flags(ref).split())
        flags = {word for bit, word in ((CANCEL, "cancelled"), (TERMINATE, "terminated")) if found.asked_kind & bit}
        if found.summary is not None:
            children = [self.model.shown(name, at)[0] for at in range(found.size)]
            assert found.summary == {status: children.count(status) for status in found.summary}
        return SHOWN[found.code], found.reason, flags


NUMBERS = st.integers(0, 59)
EVENT = st.tuples(
    st.sampled_from(("submit", "submit", "end", "end", "begin", "over", "over", "over", "wait")),
    NUMBERS,
    NUMBERS,
    NUMBERS,
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), st.lists(EVENT, min_size=25, max_size=60))
def test_the_core_and_the_naive_model_agree(held: bool, events: list[tuple[str, int, int, int]]) -> None:
    pair = Pair(held)
    for what, *numbers in events:
        getattr(pair, what)(*numbers)
        pair.after()
