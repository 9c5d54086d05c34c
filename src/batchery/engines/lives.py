"""What is told of an attempt in containers, whether it is one (boxed.py) or several (podbox.py)."""

from abc import abstractmethod

from batchery.core.messages import Exited, Lost, Report, Started, Starting
from batchery.core.model import WITHDRAWN, AttemptKey


class Life:
    """One attempt, as far as it has come. Times are in ms, 0 while there is none."""

    def __init__(self, key: AttemptKey, begun: bool) -> None:
        self.key = key
        self.starting = 0
        self.started = 0
        self.address = ""
        self.begun = begun  # a start was sent: it is too late to take it back
        self.cause = ""
        self.report: Exited | Lost | None = None

    @property
    def state(self) -> str:
        """As a survey says it."""
        if self.report is not None:
            return "ended"
        return "running" if self.started else "starting"

    def status(self) -> Report | None:
        """What is to be told of it (again); None while there is nothing to tell."""
        if self.report is not None:
            return self.report
        if self.started:
            return Started(self.key, self.started, self.address)
        return Starting(self.key, self.starting) if self.starting else None

    @abstractmethod
    def doom(self, cause: str, grace: int) -> None:
        """SIGTERM now, SIGKILL after ``grace`` ms. The first cause stands, the least patience counts."""

    def take_back(self) -> bool:
        """Asked back. False if it has begun, as far as anybody was told or can be sure."""
        if self.begun or self.starting or self.report is not None:
            return False
        self.doom(WITHDRAWN, 0)
        return True

    def overran(self, timeout: int, finished: int) -> bool:
        """Whether it was killed for its time limit, or would have been, while no server was there."""
        return bool(self.started) and not self.cause and 0 < timeout <= finished - self.started
