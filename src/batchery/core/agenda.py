"""What is due: work on jobs, oldest job first, and everything else in the order it came; each piece once.

Why by age: a job only ever needs older ones. Worked off in that order, a cascade looks at each job once, after all
that it waits for has been settled, so what becomes of it, its reason too, does not depend on how the cascade came
about, nor on a restart in the middle of it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple


class Due(NamedTuple):
    """Something that a change made due elsewhere. ``kind`` is one of the constants in step.py."""

    kind: str
    ref: str


class Agenda:
    """A queue without duplicates. Work on jobs and other work take turns, so neither keeps the other waiting."""

    __slots__ = ("_ages", "_jobs", "_jobs_next", "_others")

    def __init__(self) -> None:
        self._others: OrderedDict[Due, None] = OrderedDict()
        self._jobs: set[Due] = set()
        self._ages: list[tuple[int, Due]] = []  # heap of (seq, piece), one for each of _jobs
        self._jobs_next = True

    def add(self, kind: str, ref: str, seq: int | None = None) -> None:
        """``seq``: of the job that the work is on; None for other work."""
        due = Due(kind, ref)
        if seq is None:
            self._others[due] = None
        elif due not in self._jobs:
            self._jobs.add(due)
            heappush(self._ages, (seq, due))

    def take(self) -> Due:
        """The next piece, taken off. There must be one."""
        if self._ages and (self._jobs_next or not self._others):
            self._jobs_next = False
            due = heappop(self._ages)[1]
            self._jobs.remove(due)
            return due
        self._jobs_next = True
        return self._others.popitem(last=False)[0]

    def __contains__(self, due: object) -> bool:
        return due in self._jobs or due in self._others

    def __iter__(self) -> Iterator[Due]:
        yield from sorted(self._jobs)
        yield from self._others

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Agenda) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._jobs) + len(self._others)
