"""The port between Batchery and whatever runs attempts.

An engine is told what to launch, kill, withdraw and acknowledge, and reports what happened. Rules of the port, which
tests/conformance/test_engine.py holds every engine to:

* Effects may be repeated (after a crash they are derived anew). Launching a key twice runs it once. Launching a key
  that was killed or withdrawn before answers ``Exited`` (WITHDRAWN) and never runs it.
* Reports are repeated after a reconnect until acknowledged. ``ack`` comes after the commit of an end, never before.
* ``Exited`` means that nothing of the attempt is alive any more.
* Running attempts never exceed ``Order.pools`` or the engine's own memory and GPUs; orders beyond that are *held*, in
  the order they came, and begin the moment there is room (they stay OFFERED until then).
"""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from msgspec import Struct

from batchery.core.messages import Report
from batchery.core.model import AttemptKey, Capacity, Resources
from batchery.core.pod import Part


class EngineError(Exception):
    """The engine cannot be used; the text says what to do."""


class Wanted(Struct, frozen=True):
    """A secret that is resolved before an engine gets the order (run/secrets.py)."""

    name: str  # of the variable that gets its value
    value_from: str  # as in the definition
    region: str  # the job's, for references that name none


class Extras(Struct, frozen=True):
    """What a container of a pod of Kubernetes asks of a runtime beside what containerProperties know."""

    add: tuple[str, ...] = ()  # capabilities
    drop: tuple[str, ...] = ()
    unconfined: bool = False  # no seccomp profile
    no_new_privileges: bool = False
    pull: str = ""  # always, missing or never
    in_memory: dict[str, int] = {}  # volumes that are: name -> bytes, 0 for no limit
    labels: dict[str, str] = {}


class Container(Struct, frozen=True):
    """One container of an attempt, fully merged and substituted. Reserved members belong to later engines."""

    name: str  # "default" for plain jobs
    image: str
    command: tuple[str, ...]
    environment: dict[str, str]  # the job's own, AWS_BATCH_* and configured ones: complete, nothing is inherited
    log_path: str  # absolute; the engine appends stdout and stderr here, `<log_path>.idx` is its time index
    resources: Resources
    essential: bool = True
    user: str = ""
    stop_timeout: int = 30_000  # ms between SIGTERM and SIGKILL
    spec: str = ""  # JSON of the effective containerProperties, for engines that use more of it
    login: tuple[str, str] = ("", "")  # user and password at the image's registry, if the definition names a secret
    secrets: tuple[Wanted, ...] = ()  # an engine sees none: their values are in `environment`
    login_from: Wanted | None = None  # an engine sees none: its value is `login`
    # Of several containers; what these mean is core/pod.py's to say (`part`).
    entrypoint: tuple[str, ...] = ()  # in place of the image's, where given
    decides: bool = True  # the attempt ends as it does
    after: tuple[tuple[str, str], ...] = ()  # (name of another one, condition)
    start_timeout: int = 0  # ms
    limit_vcpus: int = 0  # thousandths that it may use at most, 0 for no limit
    extras: Extras | None = None  # what only a pod of Kubernetes has
    # Of service jobs.
    forgiving: bool = False  # its end with 0 stops nobody, though it is essential
    hosts: tuple[tuple[str, str], ...] = ()  # (name, address) that it resolves beside what its host does
    hosts_file: str = ""  # where an engine that finds the hosts' addresses by itself writes them
    on_host: "Container | None" = None  # what runs in its place as a process of the host, where the files differ

    @property
    def part(self) -> Part:
        times = (self.start_timeout, self.stop_timeout)
        return Part(self.name, self.essential, self.decides, self.after, *times, self.forgiving)


class Sharing(Struct, frozen=True):
    """What several containers of an attempt share. "" is the runtime's default."""

    ipc: str = ""  # host, task or none
    pid: str = ""  # host or task
    network: bool = True  # the host's, as without several
    group: int = -1  # that owns their scratch space, -1 for none
    net: str = ""  # task: one network of their own for all


class Node(Struct, frozen=True):
    """Which node of a multi-node job an order is. ``main_key``: the attempt of its main node, ordered first."""

    index: int
    main: int
    nodes: tuple[Resources, ...]  # what each takes
    main_key: AttemptKey


class Order(Struct, frozen=True):
    """Everything an engine needs to run one attempt."""

    key: AttemptKey
    task_id: str  # 32 hex digits, made from the key
    containers: tuple[Container, ...]
    resources: Resources  # what it holds while it runs
    pool: str  # whose vCPUs
    pool_vcpus: int  # thousandths of a vCPU in that pool
    environment_name: str
    timeout: int = 0  # ms from the start, 0 for none; the engine enforces it even when the server is away
    address: str = ""  # of a node of a multi-node job: one of this host's own, where the engine knows no other
    node: Node | None = None
    several: bool = False  # a pod: its containers are told apart, even if there is only one
    sharing: Sharing = Sharing()
    engine: str = ""  # which of several engines it is for
    labels: dict[str, str] = {}  # tags that are propagated to what runs, where that can have any

    @property
    def wants(self) -> bool:
        """Whether secrets are to be resolved first."""
        return any(container.secrets or container.login_from is not None for container in self.containers)


class Survey(Struct, frozen=True):
    """What an engine knows of one attempt. ``state``: held, starting, running or ended (with ``end``)."""

    key: AttemptKey
    state: str
    end: Report | None = None


class Engine(Protocol):
    """What every engine does. All calls are idempotent by key.

    One whose orders may wait for long has a member ``words`` too (core.model.Words), which it keeps up to date.
    """

    name: str

    async def start(self) -> None:
        """Find or start what is needed. Raises EngineError with a sentence that says what to do."""
        ...

    async def close(self) -> None:
        """Let go. Jobs go on."""
        ...

    def capacity(self) -> Capacity: ...

    async def launch(self, orders: list[Order]) -> None: ...

    async def kill(self, keys: list[AttemptKey], grace: int) -> None:
        """End these (``grace`` in ms). An unknown key is remembered, so that a later launch is refused."""
        ...

    async def withdraw(self, keys: list[AttemptKey]) -> None:
        """Ask back what has not begun: answered by Exited(WITHDRAWN), or by the Started that won."""
        ...

    async def survey(self) -> dict[AttemptKey, Survey]:
        """Alive, held, and ended but not acknowledged."""
        ...

    def reports(self) -> AsyncIterator[list[Report]]:
        """Batches of reports as they come, for ever."""
        ...

    async def ack(self, keys: list[AttemptKey]) -> None: ...

    def facts(self) -> dict[str, str]:
        """For `doctor`, /health and the start-up notice: what is enforced, what is not, and why."""
        ...


def members(engine: Engine) -> dict[str, Engine]:
    """The engines behind one port, by name; one alone is ""."""
    found: dict[str, Engine] = getattr(engine, "members", {"": engine})
    return found


def engine_of(engine: Engine) -> Callable[[str, str], str]:
    """Which of `members` an environment's attempts are for, by its name and kind."""
    found: Callable[[str, str], str] = getattr(engine, "engine_of", _the_only_one)
    return found


def _the_only_one(name: str, kind: str) -> str:
    return ""
