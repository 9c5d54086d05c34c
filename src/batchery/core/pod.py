"""The containers of one attempt: what to start, what to stop, and how it ended. A pure machine that engines drive.

Theory of operation. An engine makes a `Pod` of the parts of its order, tells it what happened (`begun`, `refused`,
`ended`, `stop`), and asks `step` what is to be done now; `wake` says when to ask again though nothing happens.

* A container waits until everything in its ``after`` has come to pass. What can never come to pass (SUCCESS of what
  failed, a ``start_timeout`` that is over) leaves it out for ever.
* When an essential container ends, or can never be started, the pod stops: what waits is left out, what runs is told
  to end. As ECS does it, a container is told when those that started after it have ended, gets SIGTERM and, after its
  own ``stop_timeout``, SIGKILL (Amazon ECS developer guide, "Container dependency"; API_TaskContainerProperties).
* The pod succeeds if every container that ``decides`` ended with 0. A task of ECS decides by its essential containers;
  a pod of Kubernetes by all, and none of them is essential. The hosts of a training job all decide; the first that
  fails stops the others, and one that ends with 0 does not (``forgiving``).

Times are ms on a clock of the engine's choice that does not jump.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec import Struct

from batchery.core.model import EXIT, START_FAILED, ContainerEnd

# What a container may wait for of another one.
START: Final = "START"  #: it has been started
COMPLETE: Final = "COMPLETE"  #: it has ended
SUCCESS: Final = "SUCCESS"  #: it has ended with 0
CONDITIONS: Final = (START, COMPLETE, SUCCESS)

# What is to be done with one.
BEGIN: Final = "begin"
TERM: Final = "term"
KILL: Final = "kill"

AGAIN: Final = 500  #: ms between two SIGKILLs to what does not end

_WAITS, _BEGINS, _RUNS, _OVER, _NEVER = range(5)


class Part(Struct, frozen=True):
    """One container, as far as the order of things is concerned. Timeouts in ms, 0 for none."""

    name: str
    essential: bool = True  #: its end stops the others
    decides: bool = True  #: its exit code is the attempt's
    after: tuple[tuple[str, str], ...] = ()  #: (name of another one, condition)
    start_timeout: int = 0  #: others do not wait longer for it than this, from its start
    stop_timeout: int = 30_000  #: between SIGTERM and SIGKILL
    forgiving: bool = False  #: of an essential one: its end with 0 stops nobody


class Act(NamedTuple):
    """``what``: BEGIN, TERM or KILL."""

    what: str
    name: str


class _Box(Struct):
    part: Part
    state: int = _WAITS
    began: int = 0
    deadline: int = -1  #: SIGKILL comes then; -1 while it was not told to end
    code: int | None = None


class Pod:
    """``stopping``: it is to end; ``wake``: when to ask again, None if only for a reason."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._boxes = {part.name: _Box(part) for part in parts}
        self._ends: list[ContainerEnd] = []  # in the order in which they came
        self._hurry = False
        self._broken = False  # something that decides could not be started
        self._cut = False  # the stop came before all had been started
        self.stopping = False
        self.wake: int | None = None

    # ---------------------------------------------------------------------------------------------- what happened

    def begun(self, name: str, now: int) -> None:
        """It runs. One that was told to end before it did is told again."""
        box = self._boxes[name]
        box.state, box.began, box.deadline = _RUNS, now, -1

    def refused(self, name: str, reason: str) -> None:
        """It could not be started; ``reason`` is the runtime's."""
        self._leave_out(self._boxes[name], reason)

    def ended(self, name: str, code: int, reason: str = "") -> None:
        box = self._boxes[name]
        self._close(box, _OVER, code, reason)
        forgiven = box.part.forgiving and code == 0
        self.stopping = self.stopping or (box.part.essential and not forgiven)

    def stop(self, hurry: bool = False) -> None:
        """It is to end. ``hurry``: at once, without SIGTERM."""
        self.stopping = True
        self._hurry = self._hurry or hurry

    # ---------------------------------------------------------------------------------------------- what to do

    def step(self, now: int) -> list[Act]:
        """What is to be done now, each thing once."""
        self.wake = None
        acts: list[Act] = []
        changed = True
        while changed:  # what is left out may decide what becomes of others
            changed = False
            for box in self._boxes.values():
                if box.state == _WAITS and (act := self._consider(box, now)) is not None:
                    acts += act
                    changed = True
        if self.stopping:
            for box in self._boxes.values():
                if box.state in (_BEGINS, _RUNS):
                    acts += self._end(box, now)
        return acts

    def _consider(self, box: _Box, now: int) -> list[Act] | None:
        """None if it goes on waiting."""
        if self.stopping:
            self._cut = True
            self._close(box, _NEVER, None, "")
            return []
        ready = True
        for name, condition in box.part.after:
            other = self._boxes[name]
            why = self._hopeless(other, condition, now)
            if why:
                self._leave_out(box, f"CannotStartContainerError: {why}")
                return []
            ready = ready and _met(other, condition)
        if not ready:
            return None
        box.state = _BEGINS
        return [Act(BEGIN, box.part.name)]

    def _hopeless(self, other: _Box, condition: str, now: int) -> str:
        """Why this condition will never be met, "" while it may."""
        name = other.part.name
        if other.state == _NEVER:
            return f"dependency {name} was not started"
        if condition == START:
            return ""
        if other.state == _OVER:
            code = other.code
            return f"dependency {name} exited with {code}" if condition == SUCCESS and code else ""
        if other.part.start_timeout and other.state == _RUNS:
            limit = other.began + other.part.start_timeout
            if now >= limit:
                return f"dependency {name} did not reach {condition} in {other.part.start_timeout // 1000} s"
            self._ring(limit)
        return ""

    def _end(self, box: _Box, now: int) -> list[Act]:
        """One that is alive while the pod stops."""
        if self._hurry and not 0 <= box.deadline <= now + AGAIN:
            box.deadline = now
        elif box.deadline < 0:
            if box.state == _BEGINS or self._leans(box):
                return []
            box.deadline = now + box.part.stop_timeout
            self._ring(box.deadline)
            return [Act(TERM, box.part.name)]
        if now < box.deadline:
            self._ring(box.deadline)
            return []
        box.deadline = now + AGAIN
        self._ring(box.deadline)
        return [Act(KILL, box.part.name)]

    def _leans(self, box: _Box) -> bool:
        """Whether something alive was started because of it: that ends first."""
        return any(
            other.state in (_BEGINS, _RUNS) and any(name == box.part.name for name, _ in other.part.after)
            for other in self._boxes.values()
        )

    def _ring(self, at: int) -> None:
        self.wake = at if self.wake is None else min(self.wake, at)

    # ---------------------------------------------------------------------------------------------- ends

    def _leave_out(self, box: _Box, reason: str) -> None:
        self._close(box, _NEVER, None, reason)
        self._broken = self._broken or box.part.decides
        self.stopping = self.stopping or box.part.essential

    def _close(self, box: _Box, state: int, code: int | None, reason: str) -> None:
        box.state, box.code = state, code
        self._ends.append(ContainerEnd(box.part.name, code, reason, box.part.decides))

    @property
    def running(self) -> bool:
        """Everything has been started but what nobody decides by."""
        states = [box.state for box in self._boxes.values()]
        if self._broken or self._cut:
            return False
        return _WAITS not in states and _BEGINS not in states and (_RUNS in states or _OVER in states)

    @property
    def alive(self) -> list[str]:
        return [box.part.name for box in self._boxes.values() if box.state in (_BEGINS, _RUNS)]

    @property
    def over(self) -> bool:
        """Nothing is alive, and nothing will be."""
        return all(box.state in (_OVER, _NEVER) for box in self._boxes.values())

    @property
    def cause(self) -> str:
        """Of an end that nobody asked for: EXIT, or START_FAILED if something that decides was never started."""
        return START_FAILED if self._broken else EXIT

    @property
    def ends(self) -> tuple[ContainerEnd, ...]:
        """How each ended, in the order in which they did."""
        return tuple(self._ends)


def _met(other: _Box, condition: str) -> bool:
    return other.state == _OVER or (condition == START and other.state == _RUNS)
