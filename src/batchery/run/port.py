"""What the edge (api, logs, trail, command line server side) sees of the running service: the loop's port.

`submit` changes, `ask` and `look` read. Nothing else touches World.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from batchery.config import Config
from batchery.core.messages import Command
from batchery.core.model import Realm, World
from batchery.store.store import Activity, Aside, Reads

P = ParamSpec("P")
T = TypeVar("T")

#: Makes the activity record of a successful change from its answer; called before the commit it rides in.
Note = Callable[[Any], Activity]


class Unavailable(Exception):
    """The change could not be committed, or the service is stepping down: ServerException, HTTP 500."""


class Busy(Exception):
    """The inbox is full: TooManyRequestsException, HTTP 429."""


class Service(Protocol):
    config: Config
    reads: Reads

    def now(self) -> int:
        """Milliseconds since the epoch, on the service's clock; never goes back."""
        ...

    def new_id(self) -> str:
        """A job id: a lower-case UUID whose order is the order of making."""
        ...

    def look(self, question: Callable[Concatenate[World, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask World right now; may see what is not committed yet. Only for what goes into a following `submit`."""
        ...

    def ask(self, question: Callable[Concatenate[World, P], T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Ask World; returns only when everything the answer may have seen is committed."""
        ...

    async def barrier(self) -> None:
        """Returns when everything decided so far is committed (before reading the store for a reply)."""
        ...

    async def submit(self, command: Command, note: Note | None = None) -> Any:
        """Decide, commit, answer. Raises Refused, NeedFacts, Unavailable or Busy."""
        ...

    async def write_aside(self, aside: Aside) -> None:
        """Write a row that World knows nothing of (log groups); returns when it is committed. Raises Unavailable."""
        ...

    async def forget_ended(self) -> int:
        """Forget every job that has ended, of all realms, with attempts and log streams; how many.
        Raises Unavailable."""
        ...

    async def ensure_realm(self, realm: Realm) -> None:
        """Give a realm what is ready-made when it is first used. Idempotent, cheap afterwards."""
        ...

    @property
    def serving(self) -> bool:
        """Whether changes can be committed."""
        ...

    def record(self, activity: Activity) -> None:
        """Queue an activity record of a read or a refusal for the writer; never waits."""
        ...
