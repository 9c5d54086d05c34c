"""Infrastructure updates: what becomes of the attempts that run while their environment's instances are replaced.

Source: user guide, "Performing infrastructure updates". The environment is UPDATING; new jobs begin on what is new,
so placements go on. What had begun before is ended at once with `terminateJobsOnUpdate`, else after
`jobExecutionTimeoutMinutes`, and judged by its own retry strategy (cause UPDATE, retry.py); when the last of it has
ended the environment is VALID. Both times are stored with the environment, so a restart changes nothing. Decision 063.
"""

from collections.abc import Iterator

from batchery.core.changes import Change, Doomed
from batchery.core.model import UPDATE, Attempt, Environment, World
from batchery.core.owed import to_be_killed
from batchery.core.status import OFFERED


def before_update(world: World, environment: Environment) -> Iterator[Attempt]:
    """Live attempts that had begun in this environment when its infrastructure update did; none without one."""
    for attempt in world.live.values():
        if attempt.environment == environment.arn and attempt.code != OFFERED:
            began = attempt.starting or attempt.started
            if began < environment.replaced:
                yield attempt


def replacing(world: World, environment: Environment, now: int) -> list[Change] | None:
    """What an update under way means now; None if nothing of before is left, so that it can end."""
    old = list(before_update(world, environment)) if environment.replaced else []
    if not old:
        return None
    if now < environment.replace_by:
        return []
    return [Doomed(attempt.key, UPDATE, now) for attempt in old if not to_be_killed(world, attempt)]
