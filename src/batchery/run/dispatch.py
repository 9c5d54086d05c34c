"""Effects to engine: in order, in batches, with the spec of each attempt composed on the way.

Launches need the request as sent; those just submitted are remembered, the rest is read from the store. An order that
cannot be composed or an engine that does not answer loses nothing: the attempt ends as "Task failed to start", or the
effects are derived anew from the engine's next survey.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from batchery.config import Config
from batchery.core.changes import Change, Submitted
from batchery.core.index import timed
from batchery.core.messages import Ack, Effect, Exited, Kill, Launch, Withdraw
from batchery.core.model import START_FAILED, WITHDRAWN, AttemptKey, ContainerEnd, Job, task_id
from batchery.engines.engine import Engine, EngineError, Node, Order
from batchery.run import services
from batchery.run.addresses import Addresses
from batchery.run.filling import Filling
from batchery.run.propagation import LABELLED, labels_of
from batchery.spec import variables
from batchery.spec.nodes import node_docs
from batchery.spec.order import order
from batchery.spec.serviceorder import service_order

if TYPE_CHECKING:
    from batchery.run.loop import Loop

log = logging.getLogger("batchery.dispatch")

SPECS_KEPT = 20_000  #: requests of jobs just submitted, so that their launch reads nothing
LAUNCH_MAX = 256  #: orders in one call
RESYNC_S = 1.0


class Dispatcher:
    """One task that empties a queue of effects into the engine."""

    def __init__(self, loop: "Loop", engine: Engine) -> None:
        self._loop, self._engine = loop, engine
        self._effects: list[Effect] = []
        self._wake = asyncio.Event()
        self._specs: OrderedDict[int, str] = OrderedDict()
        self._addresses = Addresses()
        self._logs = Path(loop.config.logs)
        self._configs: dict[str, Config] = {}
        self._filling = Filling(lambda order: loop.vault.complete(order), self._unresolved, self._wake.set)

    def learn(self, changes: list[Change]) -> None:
        """Remember the specs of jobs just submitted."""
        for change in changes:
            if isinstance(change, Submitted):
                self._specs[change.job.seq] = change.spec
        while len(self._specs) > SPECS_KEPT:
            self._specs.popitem(last=False)

    def send(self, effects: list[Effect]) -> None:
        """Queue effects whose changes are committed."""
        if effects:
            self._effects += effects
            self._wake.set()

    def clear(self) -> None:
        """Leadership is lost: what is queued will be derived anew."""
        self._effects.clear()
        self._filling.clear()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            effects, self._effects = self._effects, []
            if not await self._try(self._launch_filled()):
                continue
            for kind, group in groupby(effects, type):
                keys = [effect.key for effect in group]  # type: ignore[attr-defined]
                if not await self._try(self._do(kind, keys)):
                    break

    async def _try(self, work: Coroutine[Any, Any, None]) -> bool:
        """False if the engine did not take it; then everything queued was derived anew."""
        try:
            await work
        except (EngineError, OSError) as error:
            log.warning("the engine did not take what it was told: %s", error)
            await self._again()
            return False
        return True

    async def _again(self) -> None:
        """The engine's survey tells what is owed; everything queued is in it."""
        self.clear()
        while True:
            await asyncio.sleep(RESYNC_S)
            try:
                await self._loop.resync()
                return
            except (EngineError, OSError) as error:
                log.warning("the engine does not answer yet: %s", error)

    async def _do(self, kind: type[Effect], keys: list[AttemptKey]) -> None:
        if kind is Launch:
            for start in range(0, len(keys), LAUNCH_MAX):
                orders = self._filling.part(await self._orders(keys[start : start + LAUNCH_MAX]))
                if orders:
                    await self._engine.launch(orders)
        elif kind is Kill:
            for grace, some in services.by_grace(self._loop.world, self._loop.config, self._with_engine(keys)).items():
                await self._engine.kill(some, grace * 1000)
        elif kind is Withdraw:
            if keys := self._with_engine(keys):
                await self._engine.withdraw(keys)
        else:
            assert kind is Ack
            await self._engine.ack(keys)

    async def _launch_filled(self) -> None:
        """Orders whose secrets are resolved; attempts that are over meanwhile are left out."""
        orders = [order for order in self._filling.ready() if order.key in self._loop.world.live]
        for start in range(0, len(orders), LAUNCH_MAX):
            await self._engine.launch(orders[start : start + LAUNCH_MAX])

    def _with_engine(self, keys: list[AttemptKey]) -> list[AttemptKey]:
        """All but those that wait for their secrets: they never began, and are over."""
        waiting = [key for key in keys if self._filling.forget(key)]
        if waiting:
            self._loop.report([Exited(key, self._loop.now(), WITHDRAWN) for key in waiting])
        return [key for key in keys if key not in waiting] if waiting else keys

    async def _orders(self, keys: list[AttemptKey]) -> list[Order]:
        """Compose; attempts that are over meanwhile are left out."""
        world = self._loop.world
        missing = {
            world.jobs[key.job].seq for key in keys if key in world.live and world.jobs[key.job].seq not in self._specs
        }
        specs: dict[int, str] = await self._loop.reads.specs(sorted(missing)) if missing else {}
        jobs = {key.job: world.jobs[key.job] for key in keys if key in world.live}
        texts = {id: self._specs.get(job.seq) or specs[job.seq] for id, job in jobs.items()}
        labels = await self._labels(keys, texts)
        orders = []
        for key in keys:
            if key not in world.live:
                continue
            job, spec = jobs[key.job], texts[key.job]
            try:
                made = await self._service_order(key, job, spec) if job.service else self._order(key, job, spec)
                orders.append(replace(made, labels=labels[key.job]) if key.job in labels else made)
            except Exception as error:  # a fault of ours must not stop the queue, nor be silent
                log.exception("%s cannot be composed", key)
                self._fail(key, f"CannotStartContainerError: {error}")
        return orders

    async def _labels(self, keys: list[AttemptKey], texts: dict[str, str]) -> Mapping[str, dict[str, str]]:
        """The tags of jobs that propagate them, where an engine makes labels of them."""
        world = self._loop.world
        environments = {key.job: world.live[key].environment for key in keys if key in world.live}
        found = [
            (world.jobs[job], world.definitions[world.jobs[job].definition].doc, texts[job])
            for job, environment in environments.items()
            if self._config_at(world.site_of[environment]).engine in LABELLED and not world.jobs[job].service
        ]
        return await labels_of(found, self._loop.reads) if found else {}

    def _order(self, key: AttemptKey, job: Job, spec: str) -> Order:
        world = self._loop.world
        attempt = world.live[key]
        definition = world.definitions[job.definition]
        definition_doc = definition.doc
        if job.gang:
            definition_doc, spec = node_docs(definition_doc, spec, key.index)
        return order(
            key=key,
            used=attempt.used,
            size=job.size if job.array else 0,
            node=self._node_of(job, key) if job.gang else None,
            gang=_gang(job, key) if job.gang else None,
            job_name=job.name,
            queue_name=world.queues[job.queue].name,
            realm=job.realm,
            environment=world.environments[attempt.environment],
            definition_name=definition.name,
            definition_doc=definition_doc,
            submit_doc=spec,
            resources=attempt.resources,
            timeout=job.shape.timeout if timed(job, key.index) else 0,
            config=self._config_at(world.site_of[attempt.environment]),
            logs_dir=self._logs,
            own_addresses=self._loop.job_variables,
        )

    async def _service_order(self, key: AttemptKey, job: Job, spec: str) -> Order:
        """Its files are there when it is."""
        world = self._loop.world
        attempt = world.live[key]
        config = self._config_at(world.site_of[attempt.environment])
        made, files = service_order(
            attempt=attempt,
            job=job,
            spec=spec,
            queue_name=world.queues[job.queue].name,
            environment=world.environments[attempt.environment],
            config=config,
            root=services.folder_of(config, task_id(key)),
            addresses=self._addresses.hosts_of(world, job, key),
            logs_dir=self._logs,
            given=self._loop.job_variables(key, job.realm, ""),
        )
        await asyncio.to_thread(services.write, services.root_of(config), files, config.process.user)
        return made

    def _config_at(self, engine: str) -> Config:
        """The settings as they are for one of several engines."""
        if not engine:
            return self._loop.config
        found = self._configs.get(engine)
        if found is None:
            found = self._configs[engine] = replace(self._loop.config, engine=engine)
        return found

    def _node_of(self, job: Job, key: AttemptKey) -> variables.Node:
        world = self._loop.world
        node = self._addresses.node_of(world, job, key)
        config = self._config_at(world.site_of[world.live[key].environment])
        shared = config.engine == "process" or (config.engine != "slurm" and config.container.network == "host")
        return node if shared else replace(node, address="")  # a network of their own has addresses of its own

    def _unresolved(self, order: Order, words: str) -> None:
        self._fail(order.key, words, order.containers[0].name)

    def _fail(self, key: AttemptKey, words: str, container: str = "") -> None:
        world = self._loop.world
        streams = world.jobs[key.job].shape.logs_of(key.index).streams if key in world.live else ()
        end = ContainerEnd(container or (streams[0][0] if streams else "default"), None, words)
        self._loop.report([Exited(key, self._loop.now(), START_FAILED, containers=(end,))])


def _gang(job: Job, key: AttemptKey) -> Node:
    """What the engine is told of the gang that a node is of."""
    main = job.tasks[job.speaker].live
    assert main is not None, "no node of a gang is launched but with its main node"
    return Node(key.index, job.speaker, job.shape.gang, main.key)
