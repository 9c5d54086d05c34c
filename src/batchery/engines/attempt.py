"""One attempt inside the agent: its phases, and its end in words."""

import socket
from typing import Final

from batchery.core.model import EXIT, START_FAILED, AttemptKey
from batchery.engines.cgroups import Cgroup
from batchery.engines.journal import Slip
from batchery.engines.podfiles import read_tale
from batchery.engines.podhost import CgroupSet, PodEnd, indexes_of
from batchery.engines.spawn import Identity, Usage
from batchery.engines.wire import EXITED, LOST, S_ENDED, S_RUNNING, S_STARTING, STARTED, STARTING, News, Task

# Phases.
PROLOG: Final = "prolog"  #: the prolog runs
SHIM: Final = "shim"  #: the shim has not executed the program yet
POD: Final = "pod"  #: of several containers not all that are to be started have been
RUNNING: Final = "running"
CLEARING: Final = "clearing"  #: the main process has ended, something of it is still alive
ENDED: Final = "ended"  #: told, and not acknowledged

OUT_OF_MEMORY: Final = "OutOfMemoryError: Container killed due to memory usage"
NOTHING: Final = Usage(0, 0)


class Attempt:
    """Times: ``started`` in ms since the epoch, the others in monotonic ms."""

    __slots__ = (
        "adopted",
        "cause",
        "cgroup",
        "clock",
        "code",
        "deadline",
        "error",
        "identity",
        "index",
        "key",
        "news",
        "patience",
        "phase",
        "pid",
        "slip",
        "started",
        "starting",
        "status",
        "task",
        "usage",
    )

    def __init__(self, slip: Slip, identity: Identity, task: Task | None = None) -> None:
        self.key: AttemptKey = slip.key
        self.slip = slip
        self.identity = identity
        self.task = task  # None for one adopted: it will not be started again
        self.phase = RUNNING
        self.pid = 0
        self.status = -1  # of the shim
        self.starting = 0
        self.started = 0
        self.clock = 0
        self.cause = ""  # why it is being killed
        self.deadline = 0  # SIGKILL comes then
        self.patience = 0  # ms until the next look at what will not die
        self.code: int | None = None
        self.error = ""  # why it could not be started
        self.usage = NOTHING
        self.cgroup: Cgroup | CgroupSet | None = None
        self.index = indexes_of(slip)
        self.adopted = False
        self.news: News | None = None  # its end

    @property
    def survey_state(self) -> str:
        if self.phase == ENDED:
            return S_ENDED
        return S_RUNNING if self.started else S_STARTING

    def status_news(self) -> News | None:
        """What is to be told of it (again); None while there is nothing to tell."""
        if self.news is not None:
            return self.news
        if self.started:
            return News(STARTED, self.key, self.started, address=self.slip.address)
        return News(STARTING, self.key, self.starting) if self.starting else None

    @property
    def conducts(self) -> bool:
        """Its main process is the one that runs several containers (podrun.py)."""
        return bool(self.slip.places) and self.phase in (POD, RUNNING)

    @property
    def told(self) -> bool:
        """The process that ran several containers has told how it all ended."""
        return bool(self.slip.places) and bool(read_tale(self.slip.tale).closed)

    def close_news(self, now: int) -> News:
        """Its end, once nothing of it is alive. ``now``: ms since the epoch."""
        if self.slip.places and not self.error:
            return self._close_pod(now)
        if self.error:
            self.news = News(EXITED, self.key, now, self.cause or START_FAILED, name=self.slip.name, reason=self.error)
            return self.news
        reason, peak = "", self.usage.peak_mib
        if self.cgroup is not None:
            peak = self.cgroup.peak_mib() or peak
            if self.code and self.cgroup.out_of_memory:
                reason = OUT_OF_MEMORY
        self.news = News(
            EXITED,
            self.key,
            max(now, self.started),
            self.cause or EXIT,
            self.started,
            self.slip.name,
            self.code if self.started else None,
            reason,
            self.usage.cpu_ms,
            peak,
        )
        return self.news

    def _close_pod(self, now: int) -> News:
        end = PodEnd(self.slip, self.cgroup, OUT_OF_MEMORY)
        cause = self.cause or end.cause
        self.started = self.started or end.started(cause)
        peak = self.cgroup.peak_mib() if self.cgroup is not None else 0
        self.news = News(
            *(EXITED, self.key, max(now, self.started), cause, self.started),
            cpu_ms=self.usage.cpu_ms,
            peak_mib=peak or self.usage.peak_mib,
            containers=end.containers,
        )
        return self.news

    def lost_news(self, now: int) -> News:
        """Its end, when nobody knows how it ended."""
        self.news = News(LOST, self.key, now, started=self.started, host=socket.gethostname())
        return self.news

    def environment(self, basics: dict[str, str], gpus: int) -> dict[str, str]:
        """All of the job's environment. On a host with GPUs it sees those it was given, or none."""
        assert self.task is not None
        environment = {"HOME": self.identity.home or self.slip.workdir, **basics, **self.task.environment}
        environment["BATCHERY_ATTEMPT"] = str(self.key)
        if gpus:
            visible = ",".join(str(index) for index in self.slip.share.gpus)
            environment["CUDA_VISIBLE_DEVICES"] = visible
            environment["NVIDIA_VISIBLE_DEVICES"] = visible or "void"
        return environment
