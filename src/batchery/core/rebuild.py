"""What World derives, made anew from its facts after a load. Nothing of it is stored."""

from collections import deque

from batchery.core import catalog, fairshare, gang, index, lanes, sites
from batchery.core.agenda import Agenda
from batchery.core.follow import CLOSE, EVALUATE, SETTLE, environment_due, queue_due, quota_due
from batchery.core.model import Job, World
from batchery.core.status import CLOSING, PENDING, RUNNABLE, RUNNING, table

#: What waits for nothing is RUNNABLE: settled here at once, since most of a long queue is so.
_FREE = table({PENDING: RUNNABLE})


def rebuild(world: World) -> None:
    """Fill every derived member of a World that holds jobs, tasks, queues, environments and definitions.

    Every open job that may be waiting, every array and every resource in transition is due.
    """
    world.dependents, world.blocks, world.pools, world.live = {}, {}, {}, {}
    world.alarms, world.leaving = [], []
    world.short, world.moved = {}, {}
    world.due = Agenda()
    sites.assign(world)
    world.locked, world.promised = {}, {}
    catalog.rebuild(world)
    open_jobs = sorted((job for job in world.jobs.values() if job.closed is None), key=lambda job: job.seq)
    for job in world.jobs.values():
        job.needed_by = 0
    for job in open_jobs:
        if not job.needs and PENDING in job.status:
            job.status = job.status.translate(_FREE)
        index.shelve(world, job)
        index.depend(world, job)
        _rebuild_job(world, job)
    world.unevaluated = deque(job for job in open_jobs if job.seq > world.evaluated)
    if world.unevaluated:
        world.due.add(EVALUATE, "")
    lanes.rebuild_lanes(world)
    fairshare.rebuild_shares(world)
    for queue in world.queues.values():
        if queue.blocked:  # to be looked at, though nothing of it may be ready any more
            world.lanes.setdefault(queue.arn, {})
    for environment in world.environments.values():
        index.alarm_replacing(world, environment)
    for queue in world.queues.values():
        index.alarm_limits(world, queue, None)
    world.alarms.sort()
    for queue in world.queues.values():
        queue_due(world, queue)
    for environment in world.environments.values():
        environment_due(world, environment)
    for quota in world.quotas.values():
        quota_due(world, quota)
    world.schedule_wanted = True
    world.evaluate_at = 0


def _rebuild_job(world: World, job: Job) -> None:
    if PENDING in job.status or CLOSING in job.status:
        world.due.add(SETTLE, job.id, job.seq)
    if job.size and (job.all_ended or gang.resting(job)):
        world.due.add(CLOSE, job.id, job.seq)
    for attempt in index.live_attempts(job):
        index.hold(world, attempt)
        world.moved[job.queue] = max(world.moved.get(job.queue, 0), attempt.placed)
        if attempt.code == RUNNING and index.timed(job, attempt.key.index):
            world.alarms.append((index.alarm(attempt, job.shape), index.TIMEOUT_ALARM, attempt.key))
