"""Whether two Worlds are the same in everything that must survive a reload."""

from typing import Any

from batchery.core.index import REPLACE_ALARM
from batchery.core.lanes import entry_of, lane_of
from batchery.core.model import World
from batchery.core.owed import to_be_killed
from batchery.core.status import RUNNABLE, RUNNING


def snapshot(world: World) -> dict[str, Any]:
    """Everything of a World that must survive a reload, in a form that compares."""
    jobs = {}
    for job in world.jobs.values():
        tasks = {
            index: (task.serial, task.used, task.preempted, task.asked, task.live)
            for index, task in sorted(job.tasks.items())
        }
        facts = (job.seq, job.name, job.queue, job.shape, job.needs, job.size, job.created)
        mark = job.asked, job.closed
        jobs[job.id] = (bytes(job.status), facts, mark, job.needed_by, tasks if job.closed is None else {})
    lanes = {(job.queue, lane_of(job), entry_of(job)) for job in world.jobs.values() if RUNNABLE in job.status}
    alarms = {
        (at, key)
        for at, what, key in world.alarms
        if key in world.live and world.live[key].code == RUNNING and not to_be_killed(world, world.live[key])
    }
    replacing = {one for one in world.alarms if one[1] == REPLACE_ALARM and world.environments[one[2].job].replaced}
    return {
        "replacing": {one for one in replacing if one[0] == world.environments[one[2].job].replace_by},
        "jobs": jobs,
        "lanes": lanes,
        "alarms": alarms,
        "live": world.live,
        "dependents": {at: set(waiting) for at, waiting in world.dependents.items()},
        "capacity": (world.pools, world.sites, world.site_of),
        "shares": {arn: shares for arn, shares in world.shares.items() if shares},
        "policies": world.policies,
        "quotas": world.quotas,
        "queues": world.queues,
        "environments": world.environments,
        "consumables": (world.consumables, world.stocked, world.tokens, world.locked, world.promised),
        "definitions": (world.definitions, world.revisions, world.catalog),
        "realms": world.realms,
        "fresh": [job.id for job in world.unevaluated if job.closed is None],
        "next": (world.next_seq, list(world.due)),
    }


def assert_same(here: World, there: World) -> None:
    one, other = snapshot(here), snapshot(there)
    for part, value in one.items():
        if isinstance(value, dict):
            names = [name for name in value | other[part] if value.get(name) != other[part].get(name)]
            lines = [f"{name}:\n  in memory {value.get(name)}\n  loaded    {other[part].get(name)}" for name in names]
            assert not names, f"after a reload other {part}: " + "\n".join(lines)
        assert value == other[part], f"after a reload other {part}:\n  in memory {value}\n  loaded    {other[part]}"
