"""What an engine is told: as things change (`effects`), and what it is owed after a load (`owed`).

The latter is derived from World and the engine's survey, never stored.

Found: adopt it, and kill or withdraw it if that was decided. Not found and OFFERED or STARTING: launch it (its key
makes a second launch harmless), end it if it was to be ended, or take it back if its environment is DISABLED now. Not
found and RUNNING: it is lost. What the engine knows and World does not has ended and was committed, or must not run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from batchery.core.changes import Began, Change, Doomed, EnvironmentSet, Placed, Recalled, WasAsked
from batchery.core.gang import launchable, launches
from batchery.core.index import live_attempts
from batchery.core.messages import Ack, Command, Effect, Exited, Kill, Launch, Lost, Withdraw
from batchery.core.model import ENABLED, TERMINATE, UPDATING, VOID, WITHDRAWN, Attempt, AttemptKey, World
from batchery.core.status import OFFERED, RUNNING

HELD = "held"
STARTING = "starting"
RUNS = "running"
ENDED = "ended"


def to_be_killed(world: World, attempt: Attempt) -> bool:
    """Doomed for a cause of its own, or by a termination of its job or task."""
    if attempt.doom:
        return True
    job = world.jobs[attempt.key.job]
    task = job.tasks[attempt.key.index]
    return any(asked is not None and asked.kind & (TERMINATE | VOID) for asked in (job.asked, task.asked))


def owed(
    world: World, survey: Mapping[AttemptKey, str], now: int, host: str = ""
) -> tuple[list[Effect], list[Command]]:
    """Effects to send, and reports to make on the engine's behalf, given the state it has of each key."""
    effects: list[Effect] = []
    reports: list[Command] = []
    for key, attempt in world.live.items():
        state = survey.get(key)
        stop = to_be_killed(world, attempt)
        if state == ENDED:
            continue  # the engine repeats its report until it is acknowledged
        if state is not None:
            if stop:
                effects.append(Kill(key))
            elif attempt.recall is not None or _barred(world, attempt):
                effects.append(Withdraw(key))
        elif attempt.code == RUNNING:
            reports.append(Lost(key, now, host))
        elif stop or attempt.recall is not None or _barred(world, attempt):
            reports.append(Exited(key, now, WITHDRAWN))
        elif launchable(world.jobs[key.job], key.index):
            effects.append(Launch(key))
    for key, state in survey.items():
        if key not in world.live:
            effects.append(Ack(key) if state == ENDED else Kill(key))
    return effects, reports


def _open(world: World, attempt: Attempt) -> bool:
    return world.environments[attempt.environment].state == ENABLED


def _may_go_back(world: World, attempt: Attempt) -> bool:
    """Nothing of it has begun, nor of the gang that it is a node of."""
    job = world.jobs[attempt.key.job]
    return attempt.code == OFFERED and (not job.gang or attempt.key.index == job.speaker)


def _barred(world: World, attempt: Attempt) -> bool:
    """It has not begun, and nothing begins in its environment any more."""
    return _may_go_back(world, attempt) and not _open(world, attempt)


# ------------------------------------------------------------------------------------------------- as things change


def effects(world: World, change: Change) -> Sequence[Effect]:
    """What an engine is to be told of a change, after the commit."""
    found = EFFECTS.get(type(change))
    return found(world, change) if found is not None else ()


def _kills(world: World, change: WasAsked) -> list[Effect]:
    if not change.kind & (TERMINATE | VOID):
        return []
    job = world.jobs[change.job]
    return [
        Kill(a.key)
        for a in live_attempts(job)
        if change.index in (None, a.key.index) and (a.code != OFFERED or launchable(job, a.key.index))
    ]


def _launch(world: World, change: Placed) -> list[Effect]:
    return [Launch(change.key)] if launchable(world.jobs[change.key.job], change.key.index) else []


def _launch_others(world: World, change: Began) -> list[Effect]:
    """A main node that runs lets the other nodes begin."""
    job = world.jobs[change.key.job]
    if change.code != RUNNING or not job.gang or change.key.index != job.speaker:
        return []
    return [Launch(key) for key in launches(job)]


def _withdraws(world: World, change: EnvironmentSet) -> list[Effect]:
    """Nothing new begins in an environment that becomes DISABLED."""
    environment = change.environment
    if environment.state == ENABLED or environment.status != UPDATING:
        return []
    mine = (a for a in world.live.values() if a.environment == environment.arn)
    return [Withdraw(a.key) for a in mine if _may_go_back(world, a)]


EFFECTS: Final[dict[type[Change], Callable[[World, Any], list[Effect]]]] = {
    Placed: _launch,
    Began: _launch_others,
    Recalled: lambda world, change: [Withdraw(change.key)],
    Doomed: lambda world, change: [Kill(change.key)],
    WasAsked: _kills,
    EnvironmentSet: _withdraws,
}
