"""What is owed to an engine after a load: derived from World and the engine's survey, never stored.

Found: adopt it, and kill or withdraw it if that was decided. Not found and OFFERED or STARTING: launch it (its key
makes a second launch harmless), or end it if it was to be ended. Not found and RUNNING: it is lost. What the engine
knows and World does not has ended and was committed, or must not run.
"""

from collections.abc import Mapping

from batchery.core.messages import Ack, Command, Effect, Exited, Kill, Launch, Lost, Withdraw
from batchery.core.model import TERMINATE, VOID, WITHDRAWN, Attempt, AttemptKey, World
from batchery.core.status import RUNNING

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
            elif attempt.recall is not None:
                effects.append(Withdraw(key))
        elif attempt.code == RUNNING:
            reports.append(Lost(key, now, host))
        elif stop or attempt.recall is not None:
            reports.append(Exited(key, now, WITHDRAWN))
        else:
            effects.append(Launch(key))
    for key, state in survey.items():
        if key not in world.live:
            effects.append(Ack(key) if state == ENDED else Kill(key))
    return effects, reports
