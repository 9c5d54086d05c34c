"""Every state of every kind of job, met by every command once: the table of what becomes of it.

`python -m tests.unit.core.transitions --write` writes transitions.txt, which is committed; the test compares. A line is

    kind | state | command -> code (parent's code), reason, flags; what the engine was told
"""

import sys
from collections.abc import Callable
from pathlib import Path

from tests.unit.core.building import Batch

from batchery.core.index import ALARM_SLACK
from batchery.core.model import TIMEOUT

TABLE = Path(__file__).with_name("transitions.txt")
HEAD = "# Made by `python -m tests.unit.core.transitions --write`. Read the differences before you commit them.\n"
LIMIT = 60_000  # ms, of every job here

KINDS = {
    "job": (0, None),  # size, the index that the command is about
    "array": (2, None),
    "child": (3, 1),
    "last child": (2, 1),  # its siblings have succeeded
}


class Scene:
    """One job in one state, and the reference that commands use for it."""

    def __init__(self, kind: str, state: str) -> None:
        self.size, self.index = KINDS[kind]
        attempts = 1 if state.endswith("last attempt") else 2
        self.batch = Batch(submitted_for=10_000 if state.startswith("SUBMITTED") else 0)
        if state.startswith(("PENDING", "CLOSING")):
            self.needs = [self.batch.submit("first"), self.batch.submit("second")]
            self.batch.runs(*self.needs)
        else:
            self.needs = []
            self.batch.close()
        how = {"after": self.needs, "attempts": attempts, "timeout": LIMIT}
        self.job = self.batch.submit("job", size=self.size, **how)
        self.ref = self.job if self.index is None else f"{self.job}:{self.index}"
        if kind == "last child" and not self.needs and not state.startswith("SUBMITTED"):
            self._open_door()
            self.batch.exits(f"{self.job}:0")
        STATES[state](self)

    def refs(self) -> list[str]:
        """The tasks that the state is about."""
        if self.index is not None:
            return [self.ref]
        return [f"{self.job}:{i}" for i in range(self.size)] if self.size else [self.job]

    def _open_door(self) -> None:
        self.batch.reopen()

    def offered(self) -> None:
        self._open_door()

    def began(self, how: str) -> None:
        self._open_door()
        getattr(self.batch, how)(*self.refs())

    def doomed(self) -> None:
        self.began("runs")
        self.batch.tick(LIMIT + ALARM_SLACK)

    def parent(self, act: str) -> None:
        self.began("runs")
        getattr(self.batch, act)(self.job, "the parent's words")

    def ended(self, code: int) -> None:
        self._open_door()
        for ref in self.refs():
            self.batch.exits(ref, code)
            if code:
                self.batch.exits(ref, code)

    def after(self, *acts: Callable[["Scene"], None]) -> None:
        for act in acts:
            act(self)

    def line(self) -> str:
        """What can be seen of it now."""
        batch = self.batch
        code = batch.code(self.ref)
        words = [code]
        if self.index is not None:
            words.append(f"(parent {batch.code(self.job)})")
        elif self.size:
            words.append(f"({' '.join(batch.code(ref) for ref in self.refs())})")
        if code in ("SUCCEEDED", "FAILED"):
            words.append(f'"{batch.end(self.ref)[1]}"')
        if flags := batch.flags(self.ref):
            words.append(f"[{flags}]")
        if told := batch.told():
            words.append("; " + ", ".join(told))
        return " ".join(words).replace(" ;", ";")


STATES: dict[str, Callable[[Scene], None]] = {
    "SUBMITTED": lambda s: None,
    "PENDING": lambda s: None,
    "CLOSING, cancelled": lambda s: s.batch.cancel(s.ref, "first"),
    "CLOSING, terminated": lambda s: s.batch.terminate(s.ref, "first"),
    "CLOSING, one dependency failed": lambda s: s.after(
        lambda s: s.batch.cancel(s.ref, "first"), lambda s: s.batch.exits("first", 1)
    ),
    "RUNNABLE": lambda s: None,
    "OFFERED": lambda s: s.offered(),
    "OFFERED, asked back": lambda s: s.after(Scene.offered, lambda s: s.batch.cancel(s.ref, "first")),
    "OFFERED, terminated": lambda s: s.after(Scene.offered, lambda s: s.batch.terminate(s.ref, "first")),
    "STARTING": lambda s: s.began("starts"),
    "RUNNING": lambda s: s.began("runs"),
    "RUNNING, last attempt": lambda s: s.began("runs"),
    "RUNNING, terminated": lambda s: s.after(lambda s: s.began("runs"), lambda s: s.batch.terminate(s.ref, "first")),
    "RUNNING, over its time": lambda s: s.doomed(),
    "RUNNING, array cancelled": lambda s: s.parent("cancel"),
    "RUNNING, array terminated": lambda s: s.parent("terminate"),
    "SUCCEEDED": lambda s: s.ended(0),
    "FAILED": lambda s: s.ended(1),
}


def _live(act: Callable[[Batch, str], None]) -> Callable[[Scene], None]:
    """A report: of each task in the state that has a live attempt."""

    def report(scene: Scene) -> None:
        for ref in scene.refs():
            task = scene.batch.jobs[scene.job].tasks.get(int(ref.partition(":")[2] or 0))
            if task is not None and task.live is not None:
                act(scene.batch, ref)

    return report


COMMANDS: dict[str, Callable[[Scene], None]] = {
    "CancelJob": lambda s: s.batch.cancel(s.ref, "words"),
    "TerminateJob": lambda s: s.batch.terminate(s.ref, "words"),
    "CancelJob of the array": lambda s: s.batch.cancel(s.job, "words"),
    "TerminateJob of the array": lambda s: s.batch.terminate(s.job, "words"),
    "DeleteJobQueue": lambda s: s.batch.delete_queue(),
    "time to evaluate": lambda s: s.batch.tick(10_000),
    "one dependency succeeds": lambda s: s.batch.exits("second"),
    "all dependencies succeed": lambda s: s.after(*[lambda s, need=need: s.batch.exits(need) for need in s.needs]),
    "one dependency fails": lambda s: s.batch.exits("second", 1),
    "all dependencies fail": lambda s: s.after(*[lambda s, need=need: s.batch.exits(need, 1) for need in s.needs]),
    "room": lambda s: s.batch.reopen(),
    "Starting": _live(lambda b, ref: b.starts(ref)),
    "Started": _live(lambda b, ref: b.runs(ref)),
    "Exited 0": _live(lambda b, ref: b.exits(ref)),
    "Exited 1": _live(lambda b, ref: b.exits(ref, 1)),
    "Exited, never started": _live(lambda b, ref: b.fails_to_start(ref)),
    "Exited, killed": _live(lambda b, ref: b.killed(ref)),
    "Exited, out of time": _live(lambda b, ref: b.exits(ref, 137, cause=TIMEOUT)),
    "Exited, given back": _live(lambda b, ref: b.gives_back(ref)),
    "Exited, handed back": _live(lambda b, ref: b.hands_back(ref)),
    "Lost": _live(lambda b, ref: b.loses(ref)),
    "alarm": lambda s: s.batch.tick(LIMIT + ALARM_SLACK),
}
REPORTS = ("Start", "Exited", "Lost")


def applies(kind: str, state: str, command: str) -> bool:
    """Whether the line says anything: a report needs an attempt, a dependency one that is open, and so on."""
    live = state.startswith(("OFFERED", "STARTING", "RUNNING"))
    waits = state.startswith(("PENDING", "CLOSING"))
    if "array" in state and "child" not in kind:
        return False
    if command.endswith("of the array"):
        return "child" in kind
    if command.startswith(REPORTS):
        return live
    if "dependenc" in command:
        return waits and not ("failed" in state and command.startswith("all"))
    if command == "alarm":
        return live
    if command == "time to evaluate":
        return state == "SUBMITTED"
    return command != "room" or state == "RUNNABLE"


def lines() -> list[str]:
    """The whole table."""
    out = []
    for kind in KINDS:
        for state in STATES:
            for command, act in COMMANDS.items():
                if applies(kind, state, command):
                    scene = Scene(kind, state)
                    scene.batch.effects = []
                    act(scene)
                    out.append(f"{kind} | {state} | {command} -> {scene.line()}")
    return out


def text() -> str:
    return HEAD + "\n".join(lines()) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        TABLE.write_text(text())
    elif TABLE.read_text() != text():
        raise SystemExit("transitions.txt is not what the core does: run it with --write and read the difference")
