"""Which engines the attempts of a data directory may be at.

An attempt is at the engine that the settings named for its environment when it was launched, and only that engine
knows what became of it. So each start notes the settings that say so, and a server whose settings have no longer an
engine that may have attempts does not start: it would take them for lost, and run them again beside themselves.
"""

import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from batchery.config import Config, Engines, engine_for
from batchery.core.model import World
from batchery.engines.engine import EngineError

NOTE: Final = "engines.json"  #: in the data directory
_NAMED: Final = 5  # jobs, in an error
_HOST: Final = "process"


class Engaged(Struct, frozen=True):
    """``engine``: the one for environments that nothing is set for, never "auto"; ``host``: jobs whose image cannot be
    had run there as host processes."""

    engine: str
    host: bool = False
    engines: Engines = Engines()

    def at(self, name: str, kind: str) -> set[str]:
        """The engines that may have attempts of an environment."""
        found = engine_for(Config(engine=self.engine, engines=self.engines), name, kind)
        return {found, _HOST} if self.host and found == self.engine else {found}

    def all(self) -> set[str]:
        return {self.engine, *self.engines.all(), *((_HOST,) if self.host else ())}


def engage(world: World, data: Path, now: Engaged) -> None:
    """Note these settings, if every live attempt is at an engine that they have. Raises EngineError."""
    path = data / NOTE
    try:
        before = msgspec.json.decode(path.read_bytes(), type=Engaged)
    except (FileNotFoundError, msgspec.DecodeError):
        before = now
    except OSError as error:
        raise EngineError(f"Cannot read {path}: {error.strerror}.") from None
    away: dict[str, set[str]] = {}
    for attempt in world.live.values():
        environment = world.environments[attempt.environment]
        for engine in before.at(environment.name, environment.kind) - now.all():
            away.setdefault(engine, set()).add(attempt.key.job)
    for engine, jobs in sorted(away.items()):
        some = ", ".join(sorted(jobs)[:_NAMED]) + (", ..." if len(jobs) > _NAMED else "")
        raise EngineError(
            f"{len(jobs)} jobs may still be at the engine {engine}, which is not in the settings any more or does not "
            f"work: {some}. Start with the settings as they were until these jobs have ended, "
            f"or name {engine} in [engines] as well."
        )
    try:
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(now))
        os.replace(part, path)
    except OSError as error:
        raise EngineError(f"Cannot write {path}: {error.strerror}.") from None
