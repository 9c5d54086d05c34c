"""One attempt on its way through Slurm: what is kept of it, and its end in the port's words. Pure."""

import json
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from batchery.config import Process, Slurm, SlurmTarget, first_fit
from batchery.core.messages import Exited, Report, Started, Starting
from batchery.core.model import START_FAILED, TERMINATED, AttemptKey, ContainerEnd, Resources
from batchery.engines.containerspec import mounted, properties
from batchery.engines.engine import Container, Order
from batchery.engines.images import cannot_start, entry
from batchery.engines.logindex import LogIndex
from batchery.engines.podhost import Indexes
from batchery.engines.room import Share
from batchery.engines.slurmdriver import Options
from batchery.engines.slurmfiles import Found
from batchery.engines.slurmpod import Run, apart, pod_text, told
from batchery.engines.slurmscript import cannot_be_said, order_text
from batchery.engines.slurmstate import Verdict, verdict
from batchery.engines.ulimits import ulimits

# Phases.
HELD: Final = "held"  #: here, until its pool has room
WAITING: Final = "waiting"  #: to be sent to Slurm, or sent
BEGINS: Final = "begins"  #: the node is made ready, or the prolog runs
RUNS: Final = "runs"
ENDED: Final = "ended"  #: told, and not acknowledged

#: Slurm ends a job this long after its own limit would have: minutes for a prolog and a slow node.
TIME_MARGIN_S: Final = 300

POD_MARGIN_S: Final = 5  #: that several containers have together beyond their own times to end

_SURVEY: Final = {HELD: "held", WAITING: "held", BEGINS: "starting", RUNS: "running", ENDED: "ended"}
_ERRORS: Final = {"no such file or directory": 2, "permission denied": 13}


class Attempt:
    """Times are ms since the epoch, those named ``*_at`` seconds of the loop's clock; 0 for what has not happened."""

    __slots__ = (
        "absent_at",
        "address",
        "element",
        "end",
        "exit_at",
        "grace",
        "index",
        "kill_at",
        "killed",
        "meta",
        "node",
        "options",
        "phase",
        "requeued",
        "sent_at",
        "share",
        "signal_at",
        "started",
        "starting",
        "submission",
        "text",
        "tries",
    )

    def __init__(self, meta: dict[str, Any], text: str = "", resume: bool = False) -> None:
        self.meta = meta
        self.text = text  # of its order, until that is written
        self.options = Options(*meta["options"])._replace(extra=tuple(meta["options"][-1]))
        self.phase = HELD
        self.share: Share | None = None
        self.submission = ""
        self.element = 0
        self.sent_at = 0.0
        self.absent_at = 0.0  # since when Slurm does not list it
        self.exit_at = 0.0  # since when its exit waits for Slurm's word
        self.tries = 0
        self.requeued = False  # Slurm has it waiting again, though it began
        self.starting = 0
        self.started = 0
        self.node = ""
        self.address = ""  # of that node, of multi-node jobs
        self.killed = ""  # cause
        self.grace = 0  # whole seconds
        self.kill_at = 0.0
        self.signal_at = 0.0
        self.end: Report | None = None
        several = [one["log"] for one in meta.get("containers", ())]
        self.index = Indexes(several, resume) if several else LogIndex(meta["log"], resume)

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(*self.meta["key"])

    @property
    def task(self) -> str:
        return str(self.meta["task"])

    @property
    def where(self) -> tuple[str, int]:
        return self.submission, self.element

    @property
    def rider(self) -> bool:
        """A node of a multi-node job that has its place in its main node's job (slurmgang.py)."""
        return bool(self.meta.get("rider"))

    @property
    def hosts(self) -> bool:
        """Its containers have a task of their own each (slurmhosts.py)."""
        return bool(self.meta.get("hosts"))

    @property
    def row(self) -> tuple[str, int]:
        """Where Slurm lists the job that it is in."""
        return (self.submission, 0) if self.rider else self.where

    @property
    def survey_state(self) -> str:
        return _SURVEY[self.phase]

    def news(self) -> Report | None:
        """What is to be told of it (again)."""
        if self.end is not None:
            return self.end
        if self.phase == RUNS:
            return Started(self.key, self.started, self.address)
        return Starting(self.key, self.starting) if self.phase == BEGINS else None

    def ends(self, cause: str, at: int, code: int | None = None, reason: str = "", host: str = "") -> Exited:
        """Its end without an exit code of its own."""
        began = self.started
        container = ContainerEnd(self.meta["name"], code if began else None, reason)
        return Exited(self.key, max(at, began), cause, began, (container,), host=host)

    def ends_by(self, found: Found, state: str) -> Exited:
        """Its end, by the files. ``state``: Slurm's, "" if it was not asked."""
        assert found.exit is not None
        left = found.exit
        if found.failed:
            words = self._cannot_start(found.failed)
            cause = self.killed or START_FAILED
            return Exited(self.key, left.at, cause, 0, (ContainerEnd(self.meta["name"], None, words),))
        if self.several:
            return self._ends_of_several(found, state)
        said: Verdict = verdict(left.code, self.killed if left.ended_by == "SLURM" else left.ended_by, state)
        if not self.started and said.cause == "EXIT":
            words = f"CannotStartContainerError: the wrapper exited with {left.code}"
            return Exited(self.key, left.at, START_FAILED, 0, (ContainerEnd(self.meta["name"], None, words),))
        end = ContainerEnd(self.meta["name"], said.code if self.started else None, said.reason)
        at = max(left.at, self.started)
        return Exited(self.key, at, said.cause, self.started, (end,), left.cpu_ms, left.peak_mib, host=self.node)

    @property
    def several(self) -> bool:
        """It has containers of which each is told apart."""
        return "containers" in self.meta

    def _ends_of_several(self, found: Found, state: str) -> Exited:
        left = found.exit
        assert left is not None
        said = verdict(left.code, self.killed if left.ended_by == "SLURM" else left.ended_by, state)
        tale = told(found.tale, self.meta["containers"])
        cause = tale.cause if said.cause == "EXIT" and tale.cause else said.cause
        began = self.started or (self.starting if cause == "EXIT" else 0)
        at = max(left.at, began)
        return Exited(self.key, at, cause, began, tale.ends, left.cpu_ms, left.peak_mib, host=self.node)

    def _cannot_start(self, words: str) -> str:
        error = _ERRORS.get(words)
        if error is None:
            return f"CannotStartContainerError: {words}"
        return cannot_start((self.meta["program"],), self.meta["image"], error)


def wants_slurms_word(found: Found, killed: str) -> bool:
    """Whether how it ended cannot be said without Slurm: a signal of somebody else's, or too little memory."""
    if found.exit is None or killed or found.exit.ended_by == "OOM":
        return False
    return found.exit.ended_by == "SLURM" or found.exit.code > 128


def largest(order: Order) -> Resources:
    """What each task of its job takes: of a multi-node job as much as the largest node, of a training job one host."""
    if order.several and apart(order.containers):
        return order.containers[0].resources
    if order.node is None:
        return order.resources
    nodes = order.node.nodes
    return Resources(
        max(node.vcpus for node in nodes), max(node.memory for node in nodes), max(node.gpus for node in nodes)
    )


def attempt_of(order: Order, settings: Slurm, process: Process, memory: int) -> tuple[Attempt, str]:
    """An order made ready to be sent, and why it can never be started, "" if it can. ``memory``: of the largest node,
    MiB."""
    container = order.containers[0]
    target = first_fit(settings.environments, order.environment_name) or settings
    runs = [_run(one, order, target, process) for one in order.containers]
    argv, environment = runs[0].argv, runs[0].environment
    grace = math.ceil(container.stop_timeout / 1000)
    if order.several:
        grace = POD_MARGIN_S + math.ceil(sum(one.stop_timeout for one in order.containers) / 1000)
    limit = math.ceil(order.timeout / 1000)
    options = _options(order, target, limit + grace, memory)
    meta = {
        "key": list(order.key),
        "task": order.task_id,
        "limit": limit,
        "grace": grace,
        "log": container.log_path,
        "name": container.name,
        "image": container.image,
        "program": argv[0] if argv else "",
        "pool": [order.pool, min(order.resources.vcpus, order.pool_vcpus)],
        "comment": f"{order.environment_name} {order.key.job}",
        "options": list(options),
    }
    if order.node is not None:
        meta["gang"] = True
        meta["rider"] = order.node.main_key != order.key
    if order.several:
        if any("\0" in text for run in runs for text in (*run.argv, *run.environment, *run.environment.values())):
            return Attempt(meta), cannot_start(argv, container.image, 22)
        meta["containers"] = [_told_of(run) for run in runs]
        if apart(order.containers):
            meta["gang"] = meta["hosts"] = True
        return Attempt(meta, pod_text(meta, runs, process.prolog, limit)), ""
    words = cannot_be_said(argv, environment, container.image)
    text = "" if words else order_text(meta, argv, environment, process.prolog, ulimits(container.spec))
    return Attempt(meta, text), words


def _options(order: Order, target: SlurmTarget, seconds: int, memory: int) -> Options:
    """``seconds``: until its own limit has ended it; ``memory``: of the largest node."""
    most, tasks = largest(order), len(order.node.nodes) if order.node is not None else 1
    if order.several and apart(order.containers):
        tasks = len(order.containers)
    return Options(
        cpus=max(1, math.ceil(min(most.vcpus, order.pool_vcpus) / 1000)),
        memory=min(most.memory, memory) if memory else most.memory,
        gpus=most.gpus,
        tasks=tasks,
        minutes=math.ceil((seconds + TIME_MARGIN_S) / 60) if order.timeout and not order.several else 0,
        partition=target.partition,
        account=target.account,
        qos=target.qos,
        constraint=target.constraint,
        extra=tuple(target.options),
    )


def _run(one: Container, order: Order, target: SlurmTarget, process: Process) -> Run:
    run = entry(process.images, one.image, one.command, one.environment, one.entrypoint)
    argv = in_container(target.container, one, run.environment, run.argv)
    return Run(one, argv, {**run.environment, "BATCHERY_ATTEMPT": str(order.key)}, ulimits(one.spec))


def _told_of(run: Run) -> dict[str, Any]:
    """What is needed to tell the end of one of several."""
    one = run.container
    program = run.argv[0] if run.argv else ""
    return {"name": one.name, "image": one.image, "program": program, "decides": one.decides, "log": one.log_path}


def in_container(
    words: Sequence[str], one: Container, environment: Iterable[str], argv: tuple[str, ...]
) -> tuple[str, ...]:
    """``argv`` with what is put before it: ``{image}`` is the image, a word ``{environment}`` an option --env NAME for
    each of the job's variables, whose values stay in the environment, ``{mounts}`` an option --mount for each directory
    that it is to see, ``{entrypoint}`` an option for what stands in for the image's entry point, if anything does."""
    found: list[str] = []
    for word in words:
        if word == "{environment}":
            found += [part for name in environment for part in ("--env", name)]
        elif word == "{mounts}":
            found += [part for bind in mounted(properties(one.spec)) for part in ("--mount", _mount(*bind))]
        elif word == "{entrypoint}":
            found += ["--entrypoint", json.dumps(one.entrypoint)] if one.entrypoint else []
        else:
            found.append(word.replace("{image}", one.image))
    return (*found, *(one.command if one.entrypoint and "{entrypoint}" in words else argv))


def _mount(source: str, inside: str, read_only: bool) -> str:
    return f"type=bind,source={source},destination={inside}" + (",ro" if read_only else "")


def killed_too_late(attempt: Attempt, now: float) -> bool:
    """The wrapper had its grace and more, and has not ended."""
    return bool(attempt.killed == TERMINATED and attempt.kill_at) and now > attempt.kill_at + attempt.grace + 20


def sample(attempts: list[Attempt]) -> None:
    """Note how large their logs are now."""
    now = time.time_ns() // 1_000_000
    for attempt in attempts:
        attempt.index.sample(now)
