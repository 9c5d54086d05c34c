"""The composition root: the only place where store, engine, clock and HTTP are chosen and put together."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from msgspec.structs import replace

from batchery.api import (
    consumable_jobs,
    consumables,
    definitions,
    environments,
    jobs,
    listing,
    logs,
    own,
    policies,
    queues,
    quotashares,
    serviceenvironments,
    servicejobs,
    servicelisting,
    snapshots,
    tags,
    trail,
)
from batchery.api.http import make_app
from batchery.api.jobendpoints import JobEndpoints
from batchery.api.jobkeys import JobKeys, secret_of
from batchery.api.keys import Keys, KeysError, check_can_serve, keys_required
from batchery.api.readymade import ensure_realm_command
from batchery.api.serving import uvicorn_config
from batchery.api.throttle import unknown
from batchery.config import Config, Secrets, engine_for
from batchery.core.messages import EnsureRealm, Stop
from batchery.core.model import AttemptKey, Realm
from batchery.core.query import alive, engine_at, running_count
from batchery.engines.container import ContainerEngine
from batchery.engines.engine import Engine, EngineError, engine_of, members
from batchery.engines.local import LocalEngine
from batchery.engines.several import SeveralEngines
from batchery.engines.slurm import SlurmEngine
from batchery.engines.sockets import DOCKER, PODMAN, any_runtime, runtime_for
from batchery.run.activity import ActivityLog
from batchery.run.engaged import Engaged, engage
from batchery.run.loop import Loop
from batchery.run.retention import Retention
from batchery.run.secrets import SecretError, Source, Vault
from batchery.run.services import longest_grace
from batchery.store.sqlite import SqliteStore
from batchery.store.store import StoreError
from batchery.vault.aws import AwsSource, boto3_is_here
from batchery.vault.file import FileSource

#: Importing these registers their handlers.
HANDLERS = (
    *(
        consumable_jobs,
        consumables,
        definitions,
        environments,
        jobs,
        listing,
        logs,
        own,
        policies,
        queues,
        quotashares,
        serviceenvironments,
        servicejobs,
        servicelisting,
        snapshots,
        tags,
    ),
    trail,
)

SWITCH_INTERVAL_S = 0.0005  #: of the interpreter: a commit thread hands the GIL back sooner
log = logging.getLogger("batchery.app")

STOP_WORDS = "The Batchery server was stopped with its jobs."


class StartError(Exception):
    """The service cannot start; one sentence that says what to do."""


def choose_engine(config: Config) -> Engine:
    """The engine that a configuration names, or the several that it names for its environments. Raises StartError."""
    first = one_engine(config)
    if not config.engines.all():
        return first
    settled = replace(config, engine=first.name)
    others = {name: one_engine(replace(config, engine=name)) for name in config.engines.all() - {first.name}}
    return SeveralEngines({first.name: first, **others}, partial(engine_for, settled))


def one_engine(config: Config) -> Engine:
    """`engine` itself; "auto" is a container runtime that works, with the host for images that cannot be had, or the
    host alone. Raises StartError."""
    data, logs = Path(config.data), Path(config.logs)
    runtime = None
    try:
        if config.engine in (DOCKER, PODMAN):
            runtime = runtime_for(config.engine, config.container, data)
        elif config.engine == "auto":
            runtime = any_runtime(config.container, data, _notice)
        elif config.engine == "slurm":
            return SlurmEngine(config.slurm, config.process, logs_dir=logs)
        elif config.engine != "process":
            raise StartError(f'There is no engine "{config.engine}": use process, docker, podman, slurm or auto.')
    except EngineError as error:
        raise StartError(str(error)) from None
    if runtime is None:
        return LocalEngine(data, config.process, logs_dir=logs)
    host = None
    if config.engine == "auto":  # the container engine counts what both have, and hands out GPUs
        process = replace(config.process, memory=config.container.memory, gpus=0)
        shared = "process" in config.engines.all()  # that engine's agent has jobs of its own
        host = LocalEngine(data / "auto" if shared else data, process, logs_dir=logs)
    return ContainerEngine(data, config.container, runtime, logs_dir=logs, host=host)


def choose_vault(settings: Secrets) -> Vault:
    """Where secrets come from: the file first, then AWS or what stands for it. Raises StartError."""
    sources: list[Source] = []
    if settings.file:
        try:
            file = FileSource(Path(settings.file))
            file.check()
        except SecretError as error:
            raise StartError(error.why) from None
        sources.append(file)
    if settings.aws or settings.endpoint:
        if not boto3_is_here():
            raise StartError("Secrets of AWS need boto3: install it with `pip install 'batchery[aws]'`.")
        sources.append(AwsSource(settings))
    return Vault(sources, settings.allow)


def _notice(why: str) -> None:
    log.warning("No container runtime works, so jobs run as processes of this host and images are not used. %s", why)


def listen(config: Config) -> socket.socket:
    """A listening socket, or a StartError that says who else may have the port."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((config.host, config.port))
        sock.listen(2048)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"Port {config.port} is in use: stop what listens there, or choose another with --port."
            ) from None
        raise StartError(f"Cannot listen on {config.host}:{config.port}: {error.strerror or error}.") from None
    return sock


def host_vcpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class QuietServer(uvicorn.Server):
    """uvicorn without signal handlers of its own: our caller decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def variables_of(
    config: Config, loop: Loop, endpoints: Callable[[Config, Loop], JobEndpoints]
) -> Callable[[AttemptKey, Realm, str], dict[str, str]]:
    """What attempts are told of the service's own addresses: it depends on the engine that runs them."""
    names = sorted(members(loop.engine), key=lambda name: name == config.engine)  # the default last: it answers
    made = {name: endpoints(replace(config, engine=name or config.engine), loop) for name in names}

    def variables(key: AttemptKey, realm: Realm, role: str) -> dict[str, str]:
        found = made.get(loop.look(engine_at, key)) or made[names[-1]]
        return found.variables(key, realm, role, time.time())

    return variables


@asynccontextmanager
async def running(
    config: Config, engine: Engine | None = None, endpoints: Callable[[Config, Loop], JobEndpoints] | None = None
) -> AsyncIterator[Loop]:
    """The service without HTTP: store, engine and loop. ``endpoints``: of jobs, once there is a loop to ask.

    Raises StartError.
    """
    data = Path(config.data)
    config = replace(config, logs=config.logs or str(data / "logs"))
    try:
        data.mkdir(parents=True, exist_ok=True)
        os.chmod(data, 0o700)
    except OSError as error:
        raise StartError(f"Cannot use {data} for data: {error.strerror}. Give another directory with --data.") from None
    store = SqliteStore(data, feed_rows=config.limits.feed_rows)
    engine = engine or choose_engine(config)

    def open_realm(realm: Realm, now: int, uuid: str) -> EnsureRealm:
        return ensure_realm_command(realm, engine.capacity().vcpus or host_vcpus(), now, uuid)

    host = config.engine == "auto" and any(isinstance(one, ContainerEngine) for one in members(engine).values())
    if config.engine == "auto":
        config = replace(config, engine=engine_of(engine)("", "") or engine.name)  # what it has become: SubmitJob asks
    loop = Loop(config, store, store.reads, engine, open_realm, vault=choose_vault(config.secrets))
    loop.admit = partial(engage, data=data, now=Engaged(config.engine, host, config.engines))
    if endpoints is not None:
        loop.job_variables = variables_of(config, loop, endpoints)
    try:
        await loop.start()
    except (StoreError, EngineError) as error:
        raise StartError(str(error)) from None
    try:
        yield loop
    finally:
        await loop.stop()


def admission(config: Config) -> Keys:
    """The keys of those who may come in. Raises StartError if the configuration can't be served."""
    try:
        keys = Keys(Path(config.data) / "keys.json")
    except KeysError as error:
        raise StartError(str(error)) from None
    if refusal := check_can_serve(config, keys):
        raise StartError(refusal)
    if strangers := unknown(config.rates):
        raise StartError(f"[rates] names {strangers[0]}, which is no operation of AWS Batch.")
    return keys


async def serve(
    config: Config,
    *,
    ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
    stop_jobs: bool = False,
    sock: socket.socket | None = None,
    facts: Callable[[dict[str, str]], None] | None = None,
) -> int:
    """Serve until ``stop`` is set; returns how many jobs go on. ``ready`` is called with the address, ``facts`` before
    it with what the engine enforces."""
    stop = stop or asyncio.Event()
    keys = admission(config)
    sock = sock or listen(config)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(50_000, 20, 50)
    try:
        own = OwnAddresses(keys, sock)
        async with running(config, endpoints=own) as loop:
            app = make_app(loop, keys, config, lambda: loop.serving, jobs=own.made)
            server = QuietServer(uvicorn_config(app, config, sock))
            http = asyncio.create_task(server.serve(sockets=[sock]))
            housekeeping = Housekeeping(loop)
            await _until_started(server, http)
            if facts is not None:
                facts(loop.engine.facts())
            if ready is not None:
                host, port = sock.getsockname()[:2]
                ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
            ending = asyncio.create_task(stop.wait())
            watched: set[asyncio.Future[Any]] = {ending, loop.failed, http}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            if stop_jobs and not loop.failed.done():
                await end_jobs(loop)
            left = loop.look(running_count)
            server.should_exit = True
            await http
            await housekeeping.stop()
            if loop.failed.done():
                loop.failed.result()
            return left
    finally:
        sock.close()


class OwnAddresses:
    """Makes the endpoints of jobs, once there is a loop: where jobs reach this server, and with which keys."""

    def __init__(self, keys: Keys, sock: socket.socket) -> None:
        self.keys = keys
        host, port = sock.getsockname()[:2]
        self._everywhere = host in ("0.0.0.0", "::")
        self._port = port
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
        self.url = f"http://{name}:{port}"
        self.made: JobEndpoints | None = None

    def __call__(self, config: Config, loop: Loop) -> JobEndpoints:
        required = keys_required(config)
        secret = secret_of(Path(config.data))
        jobs = JobKeys(secret, self.keys, required, lambda key: bool(loop.look(alive, [key])))
        url, network = self.url, config.container.network
        if config.engine in ("process", "slurm"):
            network = ""
        if config.engine == "slurm" and self._everywhere:  # nodes of a cluster know the login node by its name
            url = f"http://{socket.gethostname()}:{self._port}"
        self.made = JobEndpoints(jobs, url, network)
        return self.made


async def _until_started(server: uvicorn.Server, http: "asyncio.Task[None]") -> None:
    while not server.started:
        if http.done():
            http.result()
            raise StartError("The HTTP server ended while it started.")
        await asyncio.sleep(0.005)


async def end_jobs(loop: Loop) -> None:
    """Terminate every open job, and wait until nothing runs (the grace and a little more)."""
    grace = loop.look(longest_grace, loop.config)
    await loop.submit(Stop(STOP_WORDS))
    deadline = loop.now() + (grace + 5) * 1000
    while loop.look(running_count) and loop.now() < deadline:
        await asyncio.sleep(0.02)


class Housekeeping:
    """What goes on beside the loop: retention, and the activity file."""

    def __init__(self, loop: Loop) -> None:
        retention = Retention(loop, loop.prune_jobs, loop.prune_activity)
        self._task = asyncio.create_task(retention.run())
        self._file = ActivityLog(loop.config.activity_log) if loop.config.activity_log else None
        if self._file is not None:
            loop.published.append(self._file.publish)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._file is not None:
            await asyncio.to_thread(self._file.close)
