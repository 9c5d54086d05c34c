"""Why a job waits: its place in the order, what it waits for, what each environment lacks. Pure reads over World."""

from bisect import bisect_left
from typing import Final

from msgspec import Struct

from batchery.core import locks, sites
from batchery.core.fairshare import active_shares, budget, usage_at, weight_of
from batchery.core.fits import NOT_MULTI_NODE, could_ever, fits_of, misfit, usable
from batchery.core.gang import launchable
from batchery.core.index import job_code
from batchery.core.instances import most_of, pool_of
from batchery.core.lanes import demand_of, lane_of
from batchery.core.model import (
    DELETING,
    N_TO_N,
    SEQUENTIAL,
    VALID,
    Environment,
    Job,
    Queue,
    Realm,
    Resources,
    World,
    task_ref,
)
from batchery.core.quotas import beyond, limit_of, most_borrowed, never, quota_of, use_of
from batchery.core.room import Room, needed
from batchery.core.schedule import SHORT
from batchery.core.shares import FAIR
from batchery.core.snapshot import dispatch_order
from batchery.core.status import (
    CLOSING,
    ENDED,
    NODE_ENDED,
    OFFERED,
    PENDING,
    RUNNABLE,
    RUNNING,
    SHOWN,
    STARTING,
    SUBMITTED,
)

LOOKED_AT: Final = 1_000  #: in a fair-share queue nobody further behind is told its place


class Why(Struct, frozen=True):
    """Why a task waits. ``place``: 1 is next in its queue (0: not waiting for capacity)."""

    id: str
    status: str
    lines: list[str]  # sentences
    place: int = 0
    waits_for: list[str] = []  # ids of dependencies that have not ended
    lacks: dict[str, str] = {}  # environment name -> what it lacks


def why(world: World, realm: Realm, ref: str, now: int = 0) -> Why | None:
    """Of an open job or child; None if World does not hold it."""
    name = task_ref(ref)
    job = world.jobs.get(name.job)
    if job is None or job.realm != realm or job.closed is not None or not job.has(name):
        return None
    if job.array and name.index is None:
        return _array(world, job, now)
    return _task(world, job, job.speaker if name.index is None else name.index, ref, now)


def _array(world: World, job: Job, now: int) -> Why:
    left = sum(1 for code in job.status if code not in ENDED)
    lines = [f"{left} of its {job.size} children have not ended."]
    if job.asked is not None:
        lines.append(f"It was asked to end: {job.asked.reason}")
    waits = _waits_for(world, job, None)
    if waits:
        lines.append("It waits for " + ", ".join(waits) + ".")
    for code in (RUNNABLE, PENDING, STARTING, RUNNING):
        first = job.status.find(code)
        if first >= 0 and code == RUNNABLE:
            below = _task(world, job, first, f"{job.id}:{first}", now)
            lines.append(f"Its next child is {job.id}:{first}:")
            lines += below.lines
            return Why(job.id, SHOWN[job_code(job)], lines, below.place, waits, below.lacks)
    return Why(job.id, SHOWN[job_code(job)], lines, 0, waits)


def _task(world: World, job: Job, number: int, ref: str, now: int) -> Why:
    code = job.status[number]
    shown = SHOWN[code]
    asked = job.ask_of(number)
    lines = [f"It was asked to end: {asked.reason}"] if asked else []
    if code == SUBMITTED:
        lines.append("The scheduler has not looked at it yet.")
        return Why(ref, shown, lines)
    if code in (PENDING, CLOSING):
        waits = _waits_for(world, job, number)
        lines.append("It waits for " + (", ".join(waits) or "nothing any more") + ".")
        if code == CLOSING:
            lines.append("It is cancelled once all its dependency jobs have ended.")
        return Why(ref, shown, lines, 0, waits)
    if code == RUNNABLE:
        return _runnable(world, job, number, ref, lines, now)
    live = job.tasks[number].live if number in job.tasks else None
    if code in NODE_ENDED:
        lines.append("It has ended; its job goes on until its main node has.")
    elif code == OFFERED and not launchable(job, number):
        lines.append(f"It begins when its main node, {job.name_of(job.speaker)}, runs.")
    elif live is not None:
        where = world.environments[live.environment].name
        if code == OFFERED:
            lines.append(f"The engine of {where} has it and begins it as soon as there is room.")
            words = sites.of(world, live.environment).words
            if said := words.attempts.get(live.key) or words.trouble:
                lines.append(f"It says: {said}")
            if live.recall is not None:
                lines.append(f"The engine was asked to give it back: {live.recall.reason}")
        else:
            lines.append(f"It is {shown} in {where}, attempt {live.used + 1} of {job.shape.attempts}.")
        asked_for = job.shape.gang[number] if job.gang else job.shape.resources
        if live.resources != asked_for:
            lines.append(_clamped(asked_for, live.resources))
        if live.doom:
            lines.append(f"It is being ended: {live.doom}.")
    return Why(ref, shown, lines)


def _runnable(world: World, job: Job, number: int, ref: str, lines: list[str], now: int) -> Why:
    queue = world.queues[job.queue]
    asked, demand = job.shape.resources, demand_of(job.shape)
    place = _place(world, job, number) if not queue.policy else _fair_place(world, queue, job, number, now)
    where = f"number {place}" if place <= LOOKED_AT or not queue.policy else f"behind the first {LOOKED_AT}"
    lines.append(f"It is {where} of those ready in queue {queue.name} (priority {queue.priority}).")
    lines += _share(world, queue, job, now)
    task = job.tasks.get(number)
    if task is not None and task.used:
        lines.append(f"{task.used} of its {job.shape.attempts} attempts are used.")
    if told := blocked_words(world, queue, job, number):
        lines.append(told)
    words = misfit(world, queue, demand)
    lacks = {}
    room = Room(world)
    for _, arn in queue.order:
        environment = world.environments[arn]
        need = needed(room.at(environment).capacity, demand)
        cut = _clamped(asked, need)
        if need != asked and not words and usable(environment) and cut not in lines:
            lines.append(cut)
        lacks[environment.name] = _lack(room, queue, environment, job, place)
    lines += _units(world, job)
    if locks.words(world, demand.consumables):
        lines.append("Jobs behind it pass it.")
    elif not fits_of(world, queue, demand) or beyond(world, queue, lane_of(job)):
        lines.append("Jobs behind it pass it." if not world.policy.strict_head else "It blocks those behind it.")
    elif place == 1 and not quota_of(world, queue, job.share):
        lines.append("It is at the head: nothing behind it in its queue passes it where it could run.")
    return Why(ref, SHOWN[RUNNABLE], lines, place, [], lacks)


def _lack(room: Room, queue: Queue, environment: Environment, job: Job, place: int) -> str:
    """What an environment of the queue lacks for a task of the job, which has this place."""
    world, asked, demand = room.world, job.shape.resources, demand_of(job.shape)
    if lack := could_ever(world, environment, demand):
        if lack == NOT_MULTI_NODE:
            return f"runs no multi-node jobs: it is {environment.kind}"
        return f"too small: {_say(asked, job)} asked, {_most(environment, job)} at most"
    if not usable(environment):
        off = environment.status if environment.status not in (VALID, DELETING) else environment.state
        return f"takes no new jobs: {off}"
    if trouble := sites.of(world, environment.arn).words.trouble:
        return f"its engine begins nothing: {trouble}"
    if lack := room.lacks(environment, needed(room.at(environment).capacity, demand), demand.unit):
        return _short(room, environment, job, lack)
    quota = quota_of(world, queue, job.share)
    used = use_of(world, queue.arn).get((job.share, demand.unit), 0)
    if quota is not None and used + asked.vcpus > limit_of(quota, demand.unit):
        return "has room, but for no more of its quota share"
    return "has room; others are ahead" if place > 1 else "has room"


def _fair_place(world: World, queue: Queue, job: Job, number: int, now: int) -> int:
    """1 for the next by the queue's policy; LOOKED_AT + 1 for everybody further behind."""
    order = dispatch_order(world, queue, now)
    place = 1
    while place <= LOOKED_AT:
        other, index = next(order)
        if other is job and (index == number or job.gang):
            break
        place += 1
    return place


def _share(world: World, queue: Queue, job: Job, now: int) -> list[str]:
    """What its share has used and holds, and what is kept from it, where the queue has a policy."""
    if (quota := quota_of(world, queue, job.share)) is not None:
        unit = job.shape.unit
        has, allowed = use_of(world, queue.arn).get((quota.name, unit), 0), most_borrowed(quota, unit)
        more = "what is idle besides" if allowed is None else f"{allowed / 1000:g} at most"
        return [
            f"Its quota share {quota.name} uses {has / 1000:g} {unit}; its limit is {limit_of(quota, unit) / 1000:g}, "
            f"and with {quota.strategy} it may have {more}."
        ]
    policy = world.policies.get(queue.policy)
    if policy is None or policy.kind != FAIR:
        return []
    mine = world.shares[queue.arn][job.share]
    active = len(active_shares(world, queue.arn, now))
    used = usage_at(mine, policy.window, now) / 1_000_000
    lines = [
        f"Its share {job.share} has used {used:.1f} vCPU-seconds, fading over {policy.window // 1000} s, and holds "
        f"{mine.held / 1000:g} vCPU; its weight is {weight_of(policy, job.share):g} among {active} active shares.",
    ]
    held = sum(usage.held for usage in world.shares[queue.arn].values())
    most = budget(world, queue, policy, now)
    if policy.reservation and held and held + job.shape.resources.vcpus > most:
        lines.append(
            f"It waits for its own queue: {held / 1000:g} vCPU are in use, and of all that there are {most / 1000:g} "
            f"are for active shares (computeReservation {policy.reservation})."
        )
    return lines


def _units(world: World, job: Job) -> list[str]:
    """What it waits for of consumable resources, or who is ahead of it there."""
    asked = demand_of(job.shape).consumables
    if waits := locks.words(world, asked):
        enough = locks.Left(world).could_ever(asked)
        return [waits + "."] if enough else [waits + ".", "There will never be enough unless more is added."]
    return [
        f"Jobs ahead of it ask for consumable resource {arn.rpartition('/')[2]} too."
        for arn, _ in asked
        if any(
            heap[0].seq < job.seq and any(arn == other for other, _ in lane.demand.consumables)
            for lanes in world.lanes.values()
            for lane, heap in lanes.items()
            if heap
        )
    ]


def _short(room: Room, environment: Environment, job: Job, lack: str) -> str:
    unit, site = job.shape.unit, room.at(environment)
    free = (most_of(environment, unit) - room.pools.get(pool_of(environment, unit), 0)) / 1000
    lack = _counted(job) if lack == "vCPU" else lack
    most = f"{max(free, 0):g} of {_most(environment, job)}"
    return f"not enough {lack} free: {most}, {max(site.memory, 0)} MiB, {max(site.gpus, 0)} GPU free"


def _counted(job: Job | None) -> str:
    return "vCPU" if job is None or not job.service else job.shape.unit or "instances"


def _most(environment: Environment, job: Job) -> str:
    return f"{most_of(environment, job.shape.unit) / 1000:g} {_counted(job)}"


def _say(asked: Resources, job: Job | None = None) -> str:
    gpus = f", {asked.gpus} GPU" if asked.gpus else ""
    return f"{asked.vcpus / 1000:g} {_counted(job)}, {asked.memory} MiB{gpus}"


def _clamped(asked: Resources, got: Resources) -> str:
    return f"It asks for more than this host has ({_say(asked)}): it runs alone, cut to {_say(got)}."


def _place(world: World, job: Job, number: int) -> int:
    """1 for the next in its queue: ready tasks of older jobs, and of its own before it.

    Plain jobs are counted by their shelf's bytes; only arrays, which are PENDING there, are looked at one by one.
    """
    ahead = job.status[:number].count(RUNNABLE)
    for block in world.blocks.get(job.queue, ()):
        end = bisect_left(block.seqs, job.seq)
        ahead += block.codes.count(RUNNABLE, 0, end)
        at = block.codes.find(PENDING, 0, end)
        while at >= 0:
            other = block.jobs[at]
            ahead += other.status.count(RUNNABLE) if other is not None else 0
            at = block.codes.find(PENDING, at + 1, end)
    return ahead + 1


def _waits_for(world: World, job: Job, number: int | None) -> list[str]:
    waits = []
    for need in job.needs:
        if need.kind == SEQUENTIAL:
            if number and job.asked is None and job.status[number - 1] not in ENDED:
                waits.append(f"{job.id}:{number - 1}")
            continue
        other = world.jobs[need.job]
        if need.kind == N_TO_N and number is not None:
            if other.status[number] not in ENDED:
                waits.append(f"{other.id}:{number}")
        elif need.index >= 0:
            if other.status[need.index] not in ENDED:
                waits.append(f"{other.id}:{need.index}")
        elif other.closed is None:
            waits.append(other.id)
    return list(dict.fromkeys(waits))


def blocked_words(world: World, queue: Queue, job: Job, number: int) -> str:
    """statusReason of a RUNNABLE job that its queue, as it is, can never run, or that waits for the machines at its
    head."""
    words = never(world, queue, lane_of(job))
    return words or (SHORT if world.short.get(queue.arn) == (job.id, number) else "")
