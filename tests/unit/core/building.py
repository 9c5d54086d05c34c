"""A World to write tests with: sentences in, statuses out. The test plays the clients, the engine and the clock.

    batch = Batch()
    first = batch.submit()
    then = batch.submit(after=[first])
    batch.runs(first)
    batch.cancel(then, "not needed")
    assert batch.shown(then) == "PENDING"
    batch.exits(first, 1)
    assert batch.end(then) == ("FAILED", "not needed")

Every `send` is one turn and one commit: it checks every invariant, keeps what left World, and answers dependencies on
ended jobs from that, as the store would.
"""

from typing import Any

from batchery.core.changes import Change, Ended, JobClosed, Submitted
from batchery.core.check import check, check_capacity
from batchery.core.index import job_code, total
from batchery.core.messages import (
    Cancel,
    Capacities,
    Command,
    ContainerEnd,
    CreateEnvironment,
    CreatePolicy,
    CreateQueue,
    DeleteEnvironment,
    DeleteQueue,
    Effect,
    Exited,
    Lost,
    NeedFacts,
    Register,
    Started,
    Starting,
    Submit,
    Terminate,
    UpdateEnvironment,
    UpdateQueue,
)
from batchery.core.model import (
    CANCEL,
    DISABLED,
    ENABLED,
    EXIT,
    N_TO_N,
    NO_CAPACITY,
    SEQUENTIAL,
    START_FAILED,
    TERMINATE,
    TERMINATED,
    WITHDRAWN,
    Attempt,
    AttemptKey,
    Capacity,
    Dirty,
    Environment,
    Job,
    Need,
    Policy,
    Queue,
    Realm,
    Resources,
    Rule,
    Shape,
    World,
    task_ref,
)
from batchery.core.shares import FAIR, SchedulingPolicy
from batchery.core.status import CODE_NAMES, SHOWN
from batchery.core.step import forget, turn

HOME = Realm("123456789012", "us-east-1")
START = 1_700_000_000_000


def arn(kind: str, name: str, realm: Realm = HOME) -> str:
    return f"arn:aws:batch:{realm.region}:{realm.account}:{kind}/{name}"


DEFINITION = arn("job-definition", "work:1")


class Batch:
    """One World with a queue `main` on an environment `main`, an engine that says what the test says, and a clock."""

    def __init__(
        self, vcpus: float = 64, memory: int = 65_536, gpus: int = 0, ahead: int = 0, clamp: bool = True, **policy: Any
    ) -> None:
        self.world = World(policy=Policy(**policy))
        self.now = START
        self.jobs: dict[str, Job] = {}  # every job ever, also those that left World
        self.ends: dict[tuple[str, int | None], tuple[str, str]] = {}
        self.changes: list[Change] = []  # of the last turn
        self.effects: list[Effect] = []  # of the last turn
        self.made = 0
        self.orderly = True  # limits were not lowered, reports not withheld
        self.capacity = Capacity(memory, gpus, clamp, ahead)
        self.send(Capacities(self.capacity), Register(HOME, "work", DEFINITION.rpartition(":")[0], "{}"))
        self.main = self.queue("main", self.environment("main", vcpus))

    # ------------------------------------------------------------------------------------------------- the turn

    def send(self, *commands: Command, spent: bool = False) -> list[Any]:
        """One turn and one commit; the answers' values, or the first refusal raised. ``spent``: no time for more."""
        self.changes, answers, self.effects = turn(self.world, commands, self.now, lambda: spent)
        for change in self.changes:
            if isinstance(change, Submitted):
                self.jobs[change.job.id] = change.job
            elif isinstance(change, Ended):
                for index in (i for span in change.spans for i in range(*span)):
                    self.ends[change.job, index] = (SHOWN[change.code], change.reason)
            elif isinstance(change, JobClosed):
                self.ends[change.job, None] = (SHOWN[change.code], change.reason)
        check(self.world)
        if self.orderly:
            check_capacity(self.world)
        self.world.dirty = Dirty()
        forget(self.world)
        check(self.world)
        for answer in answers:
            if answer.error is not None:
                raise answer.error
        return [answer.value for answer in answers]

    def tick(self, ms: int = 1) -> None:
        """Time passes."""
        self.now += ms
        self.send()

    # ------------------------------------------------------------------------------------------------- the clients

    def environment(self, name: str, vcpus: float = 64, pool: str = "") -> str:
        where = arn("compute-environment", name)
        made = Environment(where, name, HOME, "EC2", int(vcpus * 1000), pool or where, "{}")
        self.send(CreateEnvironment(made))
        return where

    def queue(self, name: str, *environments: str, priority: int = 1, **more: Any) -> str:
        where = arn("job-queue", name)
        self.send(CreateQueue(Queue(where, name, HOME, priority, tuple(enumerate(environments, 1)), **more)))
        return where

    def policy(self, name: str = "fair", **more: Any) -> str:
        """A fair-share policy; ``weights`` is a dict."""
        self.send(CreatePolicy(fair(name, **more)))
        return arn("scheduling-policy", name)

    def close(self, environment: str = "main") -> None:
        """Nothing new is placed: what is ready stays RUNNABLE."""
        self.send(UpdateEnvironment(arn("compute-environment", environment), state=DISABLED))

    def reopen(self, environment: str = "main") -> None:
        self.send(UpdateEnvironment(arn("compute-environment", environment), state=ENABLED))

    def delete_queue(self, queue: str = "") -> None:
        self.send(UpdateQueue(queue or self.main, state=DISABLED))
        self.send(DeleteQueue(queue or self.main))

    def delete_environment(self, environment: str) -> None:
        self.send(UpdateEnvironment(environment, state=DISABLED))
        self.send(DeleteEnvironment(environment))

    def order(
        self,
        name: str = "",
        *,
        queue: str = "",
        size: int = 0,
        after: list[str] | None = None,
        n_to_n: str = "",
        sequential: bool = False,
        vcpus: float = 1,
        memory: int = 256,
        gpus: int = 0,
        nodes: int = 0,
        share: str = "",
        **shape: Any,
    ) -> Submit:
        """A Submit. ``after``: job ids, or `id:index` for one child. ``nodes``: of a gang, each of the size given.

        ``shape``: other members of core.model.Shape.
        """
        self.made += 1
        needs = [Need(job, -1 if index is None else index) for job, index, _ in map(task_ref, after or ())]
        if n_to_n:
            needs.append(Need(n_to_n, kind=N_TO_N))
        if sequential:
            needs.append(Need("", kind=SEQUENTIAL))
        shape["rules"] = tuple(Rule(*rule) for rule in shape.get("rules", ()))
        each = Resources(int(vcpus * 1000), memory, gpus)
        gang = shape.setdefault("gang", (each,) * nodes)
        size = len(gang) or size
        made = Shape(total(gang) if gang else each, **shape)
        name = name or f"job{self.made}"
        return Submit(HOME, name, name, queue or self.main, DEFINITION, made, "{}", size, share, tuple(needs))

    def submit(self, name: str = "", **how: Any) -> str:
        """Submit a job (see `order`); its id."""
        return self.send_order(self.order(name, **how))

    def send_order(self, order: Submit) -> str:
        try:
            self.send(order)
        except NeedFacts as wanted:
            found = tuple(self.jobs[job] for job in wanted.jobs if job in self.jobs)
            missing = tuple(job for job in wanted.jobs if job not in self.jobs)
            self.send(Submit(**{**members(order), "facts": found, "no_facts": missing}))
        return order.id

    def cancel(self, ref: str, reason: str = "cancelled") -> None:
        self.send(Cancel(HOME, task_ref(ref), reason))

    def terminate(self, ref: str, reason: str = "terminated") -> None:
        self.send(Terminate(HOME, task_ref(ref), reason))

    # ------------------------------------------------------------------------------------------------- the engine

    def attempt(self, ref: str) -> Attempt:
        """The live attempt of a task."""
        job, index, _ = task_ref(ref)
        live = self.jobs[job].tasks[self.jobs[job].speaker if index is None else index].live
        assert live is not None, f"{ref} has no live attempt"
        return live

    def key(self, ref: str) -> AttemptKey:
        return self.attempt(ref).key

    def starts(self, *refs: str) -> None:
        self.send(*(Starting(self.key(ref), self.now) for ref in refs))

    def runs(self, *refs: str) -> None:
        self.send(*(Started(self.key(ref), self.now) for ref in refs))

    def exits(self, ref: str, code: int = 0, reason: str = "", cause: str = EXIT, at: int = 0) -> None:
        """The containers are over; they began by now if nobody had said so."""
        live = self.attempt(ref)
        ends = (ContainerEnd("default", code, reason),)
        self.send(Exited(live.key, at or self.now, cause, live.started or live.placed, ends))

    def killed(self, ref: str, code: int | None = 143, ran: bool = True) -> None:
        """The engine has killed it, as it was told."""
        live = self.attempt(ref)
        began = (live.started or live.placed) if ran else 0
        ends = (ContainerEnd("default", code if ran else None),)
        self.send(Exited(live.key, self.now, TERMINATED, began, ends))

    def fails_to_start(self, ref: str, reason: str = "CannotStartContainerError: no such file") -> None:
        ends = (ContainerEnd("default", None, reason),)
        self.send(Exited(self.key(ref), self.now, START_FAILED, 0, ends))

    def gives_back(self, ref: str) -> None:
        """It was asked back in time."""
        self.send(Exited(self.key(ref), self.now, WITHDRAWN))

    def hands_back(self, ref: str) -> None:
        """There was no room for it after all."""
        self.send(Exited(self.key(ref), self.now, NO_CAPACITY))

    def loses(self, ref: str, host: str = "i-1") -> None:
        self.send(Lost(self.key(ref), self.now, host))

    def told(self) -> list[str]:
        """What the engine was told in the last turn: "Launch job1:0:1" and so on."""
        return [f"{type(effect).__name__} {effect.key}" for effect in self.effects]  # type: ignore[attr-defined]

    # ------------------------------------------------------------------------------------------------- looking

    def code(self, ref: str) -> str:
        """The core's own name of the code of a task, or of an array as a whole."""
        name, index, _ = task_ref(ref)
        job = self.jobs[name]
        return CODE_NAMES[job_code(job) if index is None else job.status[index]]

    def shown(self, ref: str) -> str:
        """The status that AWS's clients see."""
        return SHOWN[CODE_NAMES.index(self.code(ref))]

    def children(self, job: str) -> list[str]:
        return [SHOWN[code] for code in self.jobs[job].status]

    def end(self, ref: str) -> tuple[str, str]:
        """Status and reason of what has ended."""
        return self.ends[task_ref(ref)[:2]]

    def flags(self, ref: str) -> str:
        """ "cancelled", "terminated", both, or "": isCancelled and isTerminated as DescribeJobs has them."""
        name, index, _ = task_ref(ref)
        job = self.jobs[name]
        task = job.tasks.get(job.speaker if index is None else index) if index is not None or not job.array else None
        kind = (job.asked.kind if job.asked else 0) | (task.asked.kind if task and task.asked else 0)
        if task and task.live and task.live.recall:
            kind |= CANCEL
        words = [word for bit, word in ((CANCEL, "cancelled"), (TERMINATE, "terminated")) if kind & bit]
        return " ".join(words)

    def moved(self) -> list[str]:
        """The names of the last turn's changes."""
        return [type(change).__name__ for change in self.changes]


def fair(name: str = "fair", weights: dict[str, float] | None = None, **more: Any) -> SchedulingPolicy:
    """A fair-share policy."""
    where = arn("scheduling-policy", name)
    return SchedulingPolicy(where, name, HOME, FAIR, "{}", weights=tuple((weights or {}).items()), **more)


def members(struct: Any) -> dict[str, Any]:
    """The members of a command, to make another one like it."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
