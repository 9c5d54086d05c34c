"""What the server and the agent say to each other: structs, and how they are framed.

A frame is four bytes of length (big-endian), then a msgpack list of messages, so that many cost one system call. The
first frame each way is a greeting with a protocol number: a new server speaks to the agent of an older one until its
jobs are done. Structs travel as arrays; new members go last and have a default, so both sides may be older.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from batchery.core.messages import Exited, Lost, Report, Started, Starting
from batchery.core.model import AttemptKey, ContainerEnd
from batchery.engines.engine import Order
from batchery.engines.podfiles import Place

PROTOCOL: Final = 3
SEVERAL: Final = 2  #: from this one on an agent runs several containers
HOSTS: Final = 3  #: and hosts of a training job, of which one that ends with 0 stops no other
FRAME_MAX: Final = 256 * 1024 * 1024  # bytes; larger is not ours

# Kinds of News.
STARTING: Final = "starting"
STARTED: Final = "started"
EXITED: Final = "exited"
LOST: Final = "lost"

# States of a survey (engine.Survey).
S_HELD: Final = "held"
S_STARTING: Final = "starting"
S_RUNNING: Final = "running"
S_ENDED: Final = "ended"


class Settings(Struct, array_like=True, frozen=True):
    """What the agent needs of the server's configuration; the newest greeting counts."""

    memory: int = 0  # MiB to hand out, 0: the host's
    gpus: int = -1  # -1: count them
    user: str = ""  # jobs run as; "" is the agent's own
    prolog: tuple[str, ...] = ()
    keep_workdirs: bool = False
    linger: int = 60  # s


class Task(Struct, array_like=True, frozen=True):
    """One attempt, as the agent is told of it."""

    key: AttemptKey
    task_id: str
    name: str  # of the container
    image: str  # for hints only
    argv: tuple[str, ...]
    environment: dict[str, str]
    log_path: str
    vcpus: int
    memory: int  # MiB
    gpus: int
    pool: str
    pool_vcpus: int
    timeout: int  # ms, 0: none
    grace: int  # ms between SIGTERM and SIGKILL at a timeout
    limits: tuple[tuple[str, int, int], ...] = ()  # ulimits: name, soft, hard
    pod: tuple[Place, ...] = ()  # several containers; then argv, environment and limits above are nobody's
    address: str = ""  # of a node of a multi-node job, to be told when it runs


class News(Struct, array_like=True, frozen=True):
    """A report on the wire and in the journal. ``kind`` says which members count."""

    kind: str
    key: AttemptKey
    at: int  # ms since the epoch
    cause: str = ""
    started: int = 0
    name: str = ""
    exit_code: int | None = None
    reason: str = ""
    cpu_ms: int = 0
    peak_mib: int = 0
    host: str = ""
    containers: tuple[ContainerEnd, ...] = ()  # of several
    address: str = ""


class State(Struct, array_like=True, frozen=True):
    """One line of a survey."""

    key: AttemptKey
    state: str
    end: News | None = None


class Hello(Struct, array_like=True, tag=True):
    """The server's greeting."""

    protocol: int
    version: str
    settings: Settings


class Launch(Struct, array_like=True, tag=True):
    tasks: list[Task]


class KillThese(Struct, array_like=True, tag=True):
    keys: list[AttemptKey]
    grace: int


class WithdrawThese(Struct, array_like=True, tag=True):
    keys: list[AttemptKey]


class AckThese(Struct, array_like=True, tag=True):
    keys: list[AttemptKey]


class Ask(Struct, array_like=True, tag=True):
    """A survey is wanted; ``number`` comes back with the answer."""

    number: int


class Retire(Struct, array_like=True, tag=True):
    """End as soon as there is no attempt left: a newer agent is to take over."""


class Quit(Struct, array_like=True, tag=True):
    """Kill everything, then end."""


class Welcome(Struct, array_like=True, tag=True):
    """The agent's greeting. ``memory`` and ``gpus`` are what it hands out."""

    protocol: int
    version: str
    pid: int
    memory: int
    gpus: int
    facts: dict[str, str]


class Told(Struct, array_like=True, tag=True):
    """Reports, as they come."""

    news: list[News]


class Surveyed(Struct, array_like=True, tag=True):
    number: int
    states: list[State]


ToAgent = Hello | Launch | KillThese | WithdrawThese | AckThese | Ask | Retire | Quit
FromAgent = Welcome | Told | Surveyed

_encoder = msgspec.msgpack.Encoder()
to_agent: Final = msgspec.msgpack.Decoder(list[ToAgent])
from_agent: Final = msgspec.msgpack.Decoder(list[FromAgent])


def frame(messages: Sequence[Any]) -> bytes:
    """Messages as one frame."""
    body = _encoder.encode(messages)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Cuts a stream of bytes into the bodies of frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete now. Raises ValueError at a length that is not ours."""
        buffer = self._buffer
        buffer += data
        bodies: list[bytes] = []
        start = 0
        while len(buffer) - start >= 4:
            length = int.from_bytes(buffer[start : start + 4], "big")
            if length > FRAME_MAX:
                raise ValueError(f"a frame of {length} bytes")
            if len(buffer) - start - 4 < length:
                break
            bodies.append(bytes(buffer[start + 4 : start + 4 + length]))
            start += 4 + length
        del buffer[:start]
        return bodies


def task_of(
    order: Order,
    argv: tuple[str, ...],
    environment: dict[str, str],
    limits: tuple[tuple[str, int, int], ...] = (),
    pod: tuple[Place, ...] = (),
) -> Task:
    """The order of one attempt, with what is to be run for it."""
    container = order.containers[0]
    return Task(
        order.key,
        order.task_id,
        container.name,
        container.image,
        argv,
        environment,
        container.log_path,
        order.resources.vcpus,
        order.resources.memory,
        order.resources.gpus,
        order.pool,
        order.pool_vcpus,
        order.timeout,
        container.stop_timeout,
        limits,
        pod,
        order.address,
    )


def report_of(news: News) -> Report:
    """News in the port's own words."""
    if news.kind == STARTED:
        return Started(news.key, news.at, news.address)
    if news.kind == STARTING:
        return Starting(news.key, news.at)
    if news.kind == LOST:
        return Lost(news.key, news.at, news.host)
    containers = news.containers
    if not containers and news.name:
        containers = (ContainerEnd(news.name, news.exit_code, news.reason),)
    return Exited(news.key, news.at, news.cause, news.started, containers, news.cpu_ms, news.peak_mib)
