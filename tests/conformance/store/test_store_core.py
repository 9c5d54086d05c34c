"""The core's own Worlds through a store: after any turn, what is loaded is what was there."""

from random import Random
from typing import Any

import pytest
from tests.unit.core.building import Batch

from batchery.core import sites
from batchery.core.changes import JobClosed
from batchery.core.gang import launchable
from batchery.core.messages import Command, DeletePolicy
from batchery.core.model import Dirty, Job, TimeLimit, World
from batchery.core.status import OFFERED, RUNNING
from batchery.core.step import forget, turn
from batchery.store.load import ghosts
from batchery.store.sqlite import SqliteStore
from batchery.store.store import encode


class Stored(Batch):
    """A Batch whose turns are committed, and whose every answer about ended jobs is the store's."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        super().__init__(vcpus=3)

    def send(self, *commands: Command, spent: bool = False) -> list[Any]:
        self.changes, answers, self.effects = turn(self.world, commands, self.now, lambda: spent)
        self.store.commit(encode(self.world.dirty, self.changes), [])
        self.world.dirty = Dirty()
        forget(self.world)
        self.jobs.update(self.world.jobs)
        assert self.store.connection is not None
        closed = [change.job for change in self.changes if isinstance(change, JobClosed)]
        self.jobs.update(ghosts(self.store.connection, closed))
        for answer in answers:
            if answer.error is not None:
                raise answer.error
        return [answer.value for answer in answers]

    def reload(self) -> World:
        """What a server that starts now would hold, all that is due done."""
        world = self.store.load()
        world.policy, sites.at(world, "").capacity = self.world.policy, self.capacity
        turn(world, [], self.now)
        world.dirty = Dirty()
        forget(world)
        return world


def told(job: Job) -> dict[str, Any]:
    """Everything about a job that is a fact or follows from facts."""
    tasks = {
        index: (task.serial, task.used, task.asked, task.live, task.end)
        for index, task in job.tasks.items()
        if job.closed is None and (task.serial or task.asked)
    }
    plain = ("id", "seq", "realm", "queue", "name", "definition", "shape", "created", "size", "share", "needs", "asked")
    found = {name: getattr(job, name) for name in (*plain, "closed", "needed_by")}
    return found | {"status": bytes(job.status), "tasks": tasks}


def compare(one: World, other: World) -> None:
    assert {id_: told(job) for id_, job in one.jobs.items()} == {id_: told(job) for id_, job in other.jobs.items()}
    for name in (
        "queues",
        "environments",
        "definitions",
        "revisions",
        "catalog",
        "stocked",
        "realms",
        "next_seq",
        "evaluated",
    ):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("live", "pools", "sites", "site_of", "due"):
        assert getattr(one, name) == getattr(other, name), name
    assert {k: set(v) for k, v in one.dependents.items()} == {k: set(v) for k, v in other.dependents.items()}


def act(batch: Stored, random: Random) -> None:
    """Something that a client or an engine does."""
    ever = list(batch.jobs)
    live = [a for a in batch.world.live.values() if launchable(batch.world.jobs[a.key.job], a.key.index)]
    what = random.choice(["submit", "submit", "cancel", "terminate", "start", "exit", "exit", "exit", "lose", "time"])
    if what == "submit":
        size = random.choice([0, 0, 3, 5])
        after = random.sample(ever, min(len(ever), random.choice([0, 0, 1, 2])))
        if random.random() < 0.3:
            batch.submit(nodes=random.choice([1, 2, 3]), after=after, attempts=2, main=0)
            return
        arrays = [job.id for job in batch.jobs.values() if job.array and job.size == size]
        how: dict[str, Any] = {"attempts": 2, "sequential": size and random.random() < 0.3}
        how["n_to_n"] = random.choice(arrays) if arrays and random.random() < 0.5 else ""
        batch.submit(size=size, after=after, **how)
    elif what in ("cancel", "terminate") and ever:
        job = batch.jobs[random.choice(ever)]
        child = random.randrange(job.size) if job.size and random.random() < 0.5 else None
        getattr(batch, what)(job.id if child is None else job.name_of(child), f"{what} {random.random():.3f}")
    elif what == "time":
        batch.tick(random.randrange(5000))
    elif live:
        attempt = random.choice(live)
        ref = batch.world.jobs[attempt.key.job].name_of(attempt.key.index)
        if what == "start" and attempt.code == OFFERED:
            random.choice([batch.starts, batch.runs])(ref)
        elif what == "exit" and attempt.recall is not None:
            batch.gives_back(ref)
        elif what == "exit":
            batch.exits(ref, random.choice([0, 0, 0, 1]))
        elif what == "lose" and attempt.code == RUNNING:
            batch.loses(ref)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_loaded_is_what_was_there(store: SqliteStore, seed: int) -> None:
    random, batch = Random(seed), Stored(store)
    for step in range(120):
        act(batch, random)
        if step % 4 == 0:
            batch.tick()
            loaded = batch.reload()
            compare(loaded, batch.world)
            if random.random() < 0.3:
                batch.world = loaded
                batch.jobs.update(loaded.jobs)
    assert any(job.closed for job in batch.jobs.values())


def test_policies_usage_and_time_limits_are_kept(store: SqliteStore) -> None:
    batch = Stored(store)
    rule = batch.policy(weights={"a": 0.5, "b*": 2.25}, reservation=25, window=900_000)
    limits = (TimeLimit("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT", 600_000, "CANCEL"),)
    queue = batch.queue("shared", batch.environment("small", 4), policy=rule, limits=limits)
    first, second = (batch.submit(queue=queue, share=share) for share in ("a", "b1"))
    batch.runs(first, second)
    batch.tick(12_345)
    batch.exits(first)
    loaded = batch.reload()
    assert loaded.policies == batch.world.policies
    assert loaded.queues == batch.world.queues
    assert loaded.shares == batch.world.shares
    assert loaded.shares[queue]["a"].spent > 0
    batch.exits(second)
    batch.delete_queue(queue)
    batch.send(DeletePolicy(rule))
    loaded = batch.reload()
    assert (loaded.policies, loaded.shares) == ({}, {})
