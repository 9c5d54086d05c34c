"""The loop: gather a batch of commands, one `turn`, one commit; then answer, launch, publish.

Theory of operation
-------------------
World lives on the event loop's thread and is touched by `turn` alone. While a commit is in flight in the writer's
thread the next batch gathers, so the commit's fsync is shared by whatever came meanwhile (group commit).

Nothing leaves before the commit: not the answer, not the launch, not the answer to a read that may have seen what is
being committed. Since World only moves inside `turn`, and a commit follows each turn at once, "what is not committed
yet" is exactly the commit in flight: a read waits for that one and no other.

A failed commit is a step-down, not a rollback: the batch is answered Unavailable, World is dropped, and one is loaded
from the store again. Until a probe row can be committed, changes are refused and reads come from the World loaded.
Start, disk-full and recovery are one code path, `_lead`, and there is no undo code to be wrong. What the engine was
owed is derived after each load from its survey.
"""

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from batchery.config import Config
from batchery.core import sites
from batchery.core.changes import Change
from batchery.core.messages import Answer, Capacities, Command, Effect, EnsureRealm
from batchery.core.model import AttemptKey, Policy, Realm, World
from batchery.core.owed import owed
from batchery.core.step import derive, forget, next_alarm, turn
from batchery.engines.engine import Engine, EngineError, engine_of, members
from batchery.run import services
from batchery.run.clock import Clock, Ids
from batchery.run.dispatch import Dispatcher
from batchery.run.inbox import Inbox, Pending
from batchery.run.port import Busy, Note, Unavailable
from batchery.run.secrets import Vault
from batchery.run.writer import Writer
from batchery.store.store import Activity, Aside, CommitFailed, Reads, Store, StoreError, encode

P = ParamSpec("P")
T = TypeVar("T")

JobVariables = Callable[[AttemptKey, Realm, str], dict[str, str]]

log = logging.getLogger("batchery.loop")

TURN_MS = 4  #: what a turn may spend on due work
BATCH_MAX = 2_000  #: commands in one turn
RECORDS_WAIT_MS = 200  #: records of reads and refusals wait this long for a commit to ride in
RECORDS_MAX = 50_000  #: beyond it the oldest records of reads are dropped, and that is logged
RETRY_S = 1.0  #: between two tries to lead again
FORGOTTEN_AT_ONCE = 500  #: jobs


class Loop:
    """Implements `run.port.Service`. One per process; leads while it holds the store's lock."""

    def __init__(
        self,
        config: Config,
        store: Store,
        reads: Reads,
        engine: Engine,
        open_realm: Callable[[Realm, int, str], EnsureRealm],
        job_variables: JobVariables = lambda key, realm, role: {},
        vault: Vault | None = None,
    ) -> None:
        """``open_realm(realm, now, uuid)`` makes the command that gives a realm what is ready-made; ``job_variables``
        (key, realm, jobRoleArn) is what an attempt is told of the service's own addresses; ``vault`` resolves
        secrets."""
        self.job_variables = job_variables
        self.admit: Callable[[World], None] = lambda world: None  # of what was loaded; raises EngineError
        self.vault = vault or Vault()
        self.config, self.store, self.reads, self.engine = config, store, reads, engine
        self._open_realm = open_realm
        self.world = World()
        self.dispatcher = Dispatcher(self, engine)
        self.published: list[Callable[[list[Change], list[Activity]], None]] = []
        self._clock = Clock()
        self._ids = Ids()
        self._inbox = Inbox()
        self._records: list[Activity] = []
        self._asides: list[tuple[Aside, asyncio.Future[None]]] = []
        self._committing: asyncio.Future[bool] | None = None
        self._writer = Writer()
        self._writable = False  # changes can be committed
        self._trusted = False  # World holds what is stored, or is about to be
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()

    # ------------------------------------------------------------------------------------------- the port: reads

    def now(self) -> int:
        return self._clock()

    def new_id(self) -> str:
        return self._ids(self._clock())

    def look(self, question: Callable[Concatenate[World, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return question(self.world, *args, **kwargs)

    async def ask(self, question: Callable[Concatenate[World, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._trusted:
            raise Unavailable("the store is being read again")
        answer = question(self.world, *args, **kwargs)
        await self.barrier()
        return answer

    async def barrier(self) -> None:
        committing = self._committing
        if committing is not None and not await asyncio.shield(committing):
            raise Unavailable("what the answer saw could not be committed")

    # ----------------------------------------------------------------------------------------- the port: changes

    async def submit(self, command: Command, note: Note | None = None) -> Any:
        if not self._writable or self._stopping:
            raise Unavailable("the store cannot be written")
        if len(self._inbox) >= self.config.limits.inbox:
            raise Busy()
        future: asyncio.Future[Any] = self._loop.create_future()
        self._inbox.put(Pending(command, future, note))
        return await future

    def record(self, activity: Activity) -> None:
        self._records.append(activity)
        if len(self._records) > RECORDS_MAX:
            del self._records[: RECORDS_MAX // 10]
            log.warning("activity records of reads were dropped: the store does not keep up")
        if len(self._records) == 1:
            self._inbox.knock_in(RECORDS_WAIT_MS / 1000)

    async def write_aside(self, aside: Aside) -> None:
        """A row that World does not hold (log groups, retention): written with the next commit."""
        if not self._writable or self._stopping:
            raise Unavailable("the store cannot be written")
        future: asyncio.Future[None] = self._loop.create_future()
        self._asides.append((aside, future))
        self._inbox.knock()
        await future

    async def ensure_realm(self, realm: Realm) -> None:
        """The ready-made queue and environment of a realm, made when it is first used."""
        if realm in self.world.realms or not self._writable:
            return
        await self.submit(self._open_realm(realm, self.now(), self.new_id()))

    async def prune_jobs(self, before: int, limit: int) -> list[str]:
        """Forget ended jobs (see Store.prune_jobs), but none that World holds."""
        return await self._writer.do(self.store.prune_jobs, before, limit, frozenset(self.world.jobs))

    async def forget_ended(self) -> int:
        count = 0
        try:
            while gone := await self.prune_jobs(self.now() + 1, FORGOTTEN_AT_ONCE):
                count += len(gone)
        except CommitFailed as error:
            raise Unavailable(str(error)) from error
        return count

    async def prune_activity(self, before: int) -> int:
        """Forget activity records (see Store.prune_activity)."""
        return await self._writer.do(self.store.prune_activity, before)

    def report(self, commands: list[Command]) -> None:
        """What an engine reports: never refused. While the store cannot be written it is dropped, unacknowledged:
        the survey after the next load brings it again."""
        if self._writable:
            self._inbox.report([services.told(self.world, self.config, command) for command in commands])

    @property
    def serving(self) -> bool:
        return self._writable

    # ------------------------------------------------------------------------------------------------ leading

    async def start(self) -> None:
        """Open the store and the engine, load, and begin to turn. Raises StoreError or EngineError."""
        await self._writer.do(self.store.open)
        await self.engine.start()
        try:
            await self._lead()
        except EngineError:
            await self.engine.close()
            raise
        await self._turn()  # what the load left due, and what the engine kept for us
        self._tasks = [
            asyncio.create_task(self._guard(self._run())),
            asyncio.create_task(self._guard(self._listen())),
            asyncio.create_task(self._guard(self.dispatcher.run())),
        ]

    async def stop(self) -> None:
        """Commit what is in the inbox, then let go of engine and store. Jobs go on."""
        self._stopping = True
        self._inbox.knock()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=10)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.dispatcher.clear()
        self.vault.close()
        await self.engine.close()
        await self._writer.do(self.store.close)
        self._writer.close()

    async def _guard(self, work: Awaitable[None]) -> None:
        """A fault in the loop, the listener or the dispatcher ends the process: World can no longer be trusted."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log.exception("the service cannot go on; the store can be trusted, start it again")
            if not self.failed.done():
                self.failed.set_exception(error)

    async def _lead(self) -> None:
        """Load a World and bring the engine and it to agree."""
        await self._load()
        self.admit(self.world)
        self._clock = Clock(await self._writer.do(self.store.newest))
        gc.collect()
        gc.freeze()
        self._writable = True
        await self.resync()

    async def _load(self) -> None:
        world = await self._writer.do(self.store.load)
        world.policy = Policy(self.config.strict_head, self.config.submitted_for, engine_of(self.engine))
        sites.assign(world)
        for name, engine in members(self.engine).items():
            site = sites.at(world, name)
            site.words = getattr(engine, "words", site.words)
        self.world = world
        self._trusted = True

    async def resync(self) -> None:
        """Ask the engine what it has; send it what it is owed; take in the ends that it kept."""
        survey = await self.engine.survey()
        states = {key: found.state for key, found in survey.items()}
        effects, reports = owed(self.world, states, self.now(), socket.gethostname())
        ends: list[Command] = [found.end for found in survey.values() if found.end is not None]
        has = [Capacities(engine.capacity(), name) for name, engine in members(self.engine).items()]
        self.report([*has, *ends, *reports])
        self.dispatcher.send(effects)

    async def _step_down(self, error: Exception, batch: list[Pending]) -> None:
        """The commit failed: World holds what is not stored. Drop it; load again, lead again when a probe commits."""
        log.error("a commit failed, nothing of it is stored: %s", error)
        self._writable = self._trusted = False
        self.dispatcher.clear()
        self._refuse(batch + self._inbox.empty())
        for _, future in self._asides:
            future.set_exception(Unavailable(str(error)))
        self._asides = []
        while not self._stopping:
            try:
                if not self._trusted:
                    await self._load()
                    derive(self.world, self.now())
                await self._writer.do(self.store.probe)
                await self._lead()
                log.warning("the store can be written again")
                return
            except (CommitFailed, StoreError, OSError) as again:
                log.debug("not yet: %s", again)
                await asyncio.sleep(RETRY_S)

    @staticmethod
    def _refuse(batch: list[Pending]) -> None:
        for pending in batch:
            if pending.future is not None and not pending.future.done():
                pending.future.set_exception(Unavailable("the change could not be committed"))

    # ------------------------------------------------------------------------------------------------- turning

    async def _listen(self) -> None:
        async for reports in self.engine.reports():
            self.report(list(reports))

    async def _run(self) -> None:
        while True:
            if not self._stopping:
                await self._inbox.gather(self._rest)
            last = self._stopping and not self._inbox
            await self._turn()
            if last:
                return  # what is still due is derived anew by the next load

    def _rest(self) -> float | None:
        """Seconds until World wants a turn though nobody speaks; None for never."""
        now = self.now()
        alarm = next_alarm(self.world, now)
        return None if alarm is None else (alarm - now + 1) / 1000 if alarm > now else 0

    async def _turn(self) -> None:
        batch = self._inbox.take(BATCH_MAX)
        asides, self._asides = self._asides, []
        now = self.now()
        end = time.perf_counter() + TURN_MS / 1000
        changes, answers, effects = turn(
            self.world, [pending.command for pending in batch], now, lambda: time.perf_counter() > end
        )
        records = self._take_records(batch, answers)
        if changes or records or asides:
            try:
                await self._commit(changes, records, [aside for aside, _ in asides])
            except CommitFailed as error:
                self._asides = asides + self._asides
                await self._step_down(error, batch)
                return
        forget(self.world)
        self._answer(batch, asides)
        self._after(changes, records, effects)

    def _take_records(self, batch: list[Pending], answers: list[Answer]) -> list[Activity]:
        records, self._records = self._records, []
        for pending, answer in zip(batch, answers, strict=True):
            pending.answer = answer
            if pending.note is not None and answer.error is None:
                records.append(pending.note(answer.value))
        return records

    async def _commit(self, changes: list[Change], records: list[Activity], asides: list[Aside]) -> None:
        """Write what is dirty, in the writer's thread; reads wait for the future meanwhile."""
        dirty, self.world.dirty = self.world.dirty, type(self.world.dirty)()
        rows = encode(dirty, changes)
        done: asyncio.Future[bool] = self._loop.create_future()
        self._committing = done
        try:
            await self._writer.do(self.store.commit, rows, records, asides)
            done.set_result(True)
        except BaseException:
            done.set_result(False)
            raise
        finally:
            self._committing = None

    @staticmethod
    def _answer(batch: list[Pending], asides: list[tuple[Aside, "asyncio.Future[None]"]]) -> None:
        for pending in batch:
            future = pending.future
            if future is None or future.done():
                continue
            if pending.answer.error is not None:
                future.set_exception(pending.answer.error)
            else:
                future.set_result(pending.answer.value)
        for _, waiting in asides:
            if not waiting.done():
                waiting.set_result(None)

    def _after(self, changes: list[Change], records: list[Activity], effects: list[Effect]) -> None:
        self.dispatcher.learn(changes)
        self.dispatcher.send(effects)
        for publish in self.published:
            publish(changes, records)
