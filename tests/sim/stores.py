"""Two stores for the simulator: one in memory that keeps just what rows keep, and the real SQLite one.

The memory store is an independent statement of what the rows mean: it knows nothing of `store/`, and derives the
status of every task from facts alone. Both can be taken over by a new leader, whose predecessor's commits then fail.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from batchery.core.changes import Change
from batchery.core.model import PREEMPTED, Asked, Attempt, AttemptKey, Closed, Dirty, Job, NodeEnd, Task, World
from batchery.core.rebuild import rebuild
from batchery.core.shares import Usage
from batchery.core.status import CLOSING, LIVE, NODE_FAILED, NODE_SUCCEEDED, ONE, PENDING, SUBMITTED, SUCCEEDED
from batchery.store.load import ghosts
from batchery.store.rows import encode
from batchery.store.sqlite import SqliteStore
from batchery.store.store import CommitFailed


class SimStore(Protocol):
    """What the simulator asks of a store."""

    def lead(self) -> int:
        """Become the leader; the epoch to commit with."""
        ...

    def load(self) -> World: ...

    def commit(self, epoch: int, dirty: Dirty, changes: list[Change]) -> None: ...

    def ends(self) -> dict[str, tuple[int, str] | None]:
        """Every job that is stored: code and reason, None while open."""
        ...

    def preempted(self) -> dict[str, int]:
        """Attempts that were preempted, of each job that had any."""
        ...

    def ghosts(self, ids: Iterable[str]) -> dict[str, Job]: ...

    def restart(self) -> None:
        """The server's process is gone and comes again."""
        ...

    def close(self) -> None: ...


class MemoryStore:
    """Rows as copies of values, by table."""

    def __init__(self) -> None:
        self.epoch = 0
        self.jobs: dict[int, Job] = {}  # as submitted
        self.marks: dict[int, tuple[Asked | None, Closed | None]] = {}  # what of a job row may change
        self.tasks: dict[tuple[int, int], Asked] = {}
        self.attempts: dict[int, dict[AttemptKey, Attempt]] = {}
        self.spans: dict[int, list[tuple[int, int, int]]] = {}
        self.named = World()  # queues, environments, definitions, policies, realms
        self.shares: dict[tuple[str, str], tuple[int, int]] = {}
        self.evaluated = 0
        self.tokens: dict[tuple[str, str], int] = {}
        self.failing = False

    def lead(self) -> int:
        self.epoch += 1
        return self.epoch

    def commit(self, epoch: int, dirty: Dirty, changes: list[Change]) -> None:
        if self.failing or epoch != self.epoch:
            raise CommitFailed("another leads" if epoch != self.epoch else "no space left")
        for seq, _ in dirty.specs:
            job = dirty.jobs[seq]
            self.jobs[seq] = replace(job, status=b"", tasks={}, asked=None, closed=None, shelf=None, needed_by=0)
        for seq, job in dirty.shapes.items():
            self.jobs[seq] = replace(self.jobs[seq], shape=job.shape)
        for seq, job in dirty.jobs.items():
            self.marks[seq] = (job.asked, job.closed)
        for key, (_, task) in dirty.tasks.items():
            assert task.asked is not None, "only a request makes a row of a task"
            self.tasks[key] = task.asked
        for key, (job, attempt) in dirty.attempts.items():
            self.attempts.setdefault(job.seq, {})[key] = replace(attempt)
        for seq, first, end, code, _, _ in dirty.ended:
            assert all(end <= a or b <= first for a, b, _ in self.spans.get(seq, ())), "a task ends once"
            self.spans.setdefault(seq, []).append((first, end, code))
        for kept, rows in (
            (self.named.queues, dirty.queues),
            (self.named.environments, dirty.environments),
            (self.named.definitions, dirty.definitions),
            (self.named.consumables, dirty.consumables),
            (self.named.policies, dirty.policies),
            (self.named.quotas, dirty.quotas),
        ):
            _write(kept, rows)
        for scope, token, at, forget in dirty.tokens:
            self.tokens = {key: when for key, when in self.tokens.items() if key[0] != scope or when > forget}
            if token:
                self.tokens[scope, token] = at
        _write(self.shares, {key: usage and (usage.spent, usage.at) for key, usage in dirty.shares.items()})
        self.named.realms |= set(dirty.realms)
        self.evaluated = max(self.evaluated, dirty.evaluated)

    def load(self) -> World:
        world = World(evaluated=self.evaluated, next_seq=max(self.jobs, default=0) + 1, realms=set(self.named.realms))
        world.queues = dict(self.named.queues)
        world.environments = dict(self.named.environments)
        world.definitions = dict(self.named.definitions)
        world.consumables = dict(self.named.consumables)
        for (scope, token), at in sorted(self.tokens.items(), key=lambda row: row[1]):
            world.tokens.setdefault(scope, {})[token] = at
        world.policies = dict(self.named.policies)
        world.quotas = dict(self.named.quotas)
        for (queue, share), (spent, at) in self.shares.items():
            world.shares.setdefault(queue, {})[share] = Usage(spent, at)
        open_jobs = [seq for seq, (_, closed) in self.marks.items() if closed is None]
        for seq in open_jobs:
            job = self._job(seq)
            world.jobs[job.id] = job
        needed = {need.job for job in world.jobs.values() for need in job.needs if need.job}
        world.jobs.update(self.ghosts(needed - set(world.jobs)))
        rebuild(world)
        return world

    def _job(self, seq: int) -> Job:
        asked, closed = self.marks[seq]
        job = replace(self.jobs[seq], asked=asked, closed=closed, tasks={})
        code = SUBMITTED if seq > self.evaluated else CLOSING if asked else PENDING
        status = bytearray(ONE[code] * job.width)
        for (row, index), words in self.tasks.items():
            if row == seq:
                job.tasks[index] = Task(index, asked=words)
                status[index] = CLOSING if status[index] == PENDING else status[index]
        for attempt in self.attempts.get(seq, {}).values():
            task = job.tasks.setdefault(attempt.key.index, Task(attempt.key.index))
            task.serial = max(task.serial, attempt.key.serial)
            if attempt.code in LIVE:
                task.live = replace(attempt)
                status[attempt.key.index] = attempt.code
            elif not job.gang or task.index == job.speaker:
                task.used += attempt.counts
                task.preempted += attempt.cause == PREEMPTED
        for task in job.tasks.values() if job.gang else ():
            self._node(seq, task, status)
        for first, end, ended in self.spans.get(seq, ()):
            status[first:end] = ONE[ended] * (end - first)
        if not job.size and closed is not None:
            status[0] = closed.code
        job.status = status if job.size else ONE[status[0]]
        return job

    def _node(self, seq: int, task: Task, status: bytearray) -> None:
        """A node of a gang whose newest attempt is over waits for the others."""
        last = max(self.attempts[seq].values(), key=lambda each: (each.key.index == task.index, each.key.serial))
        if task.live is None and last.key.index == task.index:
            task.end = NodeEnd(last.code, last.status_reason, last.stopped)
            status[task.index] = NODE_SUCCEEDED if last.code == SUCCEEDED else NODE_FAILED

    def ghosts(self, ids: Iterable[str]) -> dict[str, Job]:
        wanted = set(ids)
        found = {}
        for seq, job in self.jobs.items():
            if job.id in wanted and self.marks[seq][1] is not None:
                found[job.id] = replace(self._job(seq), tasks={})
        return found

    def ends(self) -> dict[str, tuple[int, str] | None]:
        marks = ((self.jobs[seq].id, closed) for seq, (_, closed) in self.marks.items())
        return {name: (closed.code, closed.reason) if closed else None for name, closed in marks}

    def preempted(self) -> dict[str, int]:
        counts = {seq: sum(a.cause == PREEMPTED for a in mine.values()) for seq, mine in self.attempts.items()}
        return {self.jobs[seq].id: count for seq, count in counts.items() if count}

    def restart(self) -> None:
        pass

    def close(self) -> None:
        pass


def _write(kept: dict[Any, Any], rows: dict[Any, Any]) -> None:
    for name, row in rows.items():
        if row is None:
            kept.pop(name, None)
        else:
            kept[name] = row


class RealStore:
    """SqliteStore on a directory, without waiting for the disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.leaders: dict[int, SqliteStore] = {}  # by epoch: those that were replaced still hold their objects
        self.store = self._open()
        self.failing = False

    def _open(self) -> SqliteStore:
        store = SqliteStore(self.directory)
        store.open()
        assert store.connection is not None
        store.connection.execute("PRAGMA synchronous = OFF")
        self.leaders[store.epoch] = store
        return store

    def lead(self) -> int:
        return self.store.epoch

    def restart(self) -> None:
        self.store.close()
        self.store = self._open()

    def commit(self, epoch: int, dirty: Dirty, changes: list[Change]) -> None:
        store = self.leaders[epoch]
        if self.failing:
            assert store.connection is not None
            store.connection.set_authorizer(lambda *_: 1)  # SQLITE_DENY
        store.commit(encode(dirty, changes), ())

    def load(self) -> World:
        return self.store.load()

    def ghosts(self, ids: Iterable[str]) -> dict[str, Job]:
        assert self.store.connection is not None
        return ghosts(self.store.connection, ids)

    def ends(self) -> dict[str, tuple[int, str] | None]:
        assert self.store.connection is not None
        rows = self.store.connection.execute("SELECT id, code, reason FROM job")
        return {name: (code, reason) if code is not None else None for name, code, reason in rows}

    def preempted(self) -> dict[str, int]:
        assert self.store.connection is not None
        counts = "SELECT id, count(*) FROM job JOIN attempt USING (seq) WHERE cause = 'PREEMPTED' GROUP BY seq"
        return dict(self.store.connection.execute(counts))

    def close(self) -> None:
        self.store.close()


def like(loaded: World, old: World) -> None:
    """What is not stored is made the same: what the engine has, the settings, the pace of tasks."""
    loaded.sites[""].capacity, loaded.policy, loaded.pace = old.sites[""].capacity, old.policy, dict(old.pace)
