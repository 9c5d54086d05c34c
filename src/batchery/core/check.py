"""What must hold of a World between any two changes: one assert and one sentence each. Tests and the simulator call it.

`check` holds always, whatever engines say and however late. `check_capacity` holds while reports come in order and no
limit is lowered below what is in use: late news of an end makes World, not the host, look too full.
"""

from collections import Counter
from collections.abc import Iterator

from batchery.core import catalog, index, sites
from batchery.core.agenda import Due
from batchery.core.checkcapacity import check_capacity as check_capacity
from batchery.core.checklocks import check_locks
from batchery.core.follow import CLOSE, EVALUATE, LIMITS, SETTLE, SETTLE_ENVIRONMENT, SETTLE_QUEUE, VOID_QUEUE
from batchery.core.gang import launchable, main_attempt, resting
from batchery.core.lanes import entry_of, lane_of
from batchery.core.model import (
    CANCEL,
    CREATING,
    DELETING,
    MAIN_ENDED,
    N_TO_N,
    NO_CAUSE,
    PREEMPTED,
    SEQUENTIAL,
    TERMINATE,
    TERMINATED,
    TIMEOUT,
    UPDATE,
    UPDATING,
    VOID,
    AttemptKey,
    Block,
    Environment,
    Job,
    Queue,
    Task,
    World,
)
from batchery.core.owed import to_be_killed
from batchery.core.queue import LIMIT_ALARM, applies, rings
from batchery.core.readiness import settled
from batchery.core.replacing import before_update
from batchery.core.status import (
    CLOSING,
    ENDED,
    FAILED,
    LATENT,
    LIVE,
    NODE_ENDED,
    OFFERED,
    RUNNABLE,
    RUNNING,
    SUBMITTED,
    SUCCEEDED,
)
from batchery.core.step import DUE

SERVED = LATENT | LIVE | ENDED | NODE_ENDED


def check(world: World) -> None:
    """Raise AssertionError at the first invariant that does not hold."""
    for name, job in world.jobs.items():
        assert job.id == name, f"{name}: a job is filed under its own id"
        _check_job(job)
        _check_asked(job)
        for task in job.tasks.values():
            _check_task(job, task)
        if job.gang:
            _check_gang(job)
    _check_numbers(world)
    _check_sums(world)
    _check_shelves(world)
    _check_needs(world)
    _check_lanes(world)
    _check_alarms(world)
    _check_due(world)
    _check_resources(world)
    _check_shares(world)


# ------------------------------------------------------------------------------------------------------------ jobs


def _open(world: World) -> Iterator[Job]:
    return (job for job in world.jobs.values() if job.closed is None)


def _check_job(job: Job) -> None:
    assert not job.array or job.size >= 2, f"{job.id}: an array has two children or more"
    assert len(job.shape.gang) == (job.size if job.gang else 0), f"{job.id}: a gang has the nodes of its shape"
    assert len(job.status) == job.width, f"{job.id}: one code per task"
    assert isinstance(job.status, bytearray) == bool(job.size), f"{job.id}: only an array's codes can be set one by one"
    assert SERVED.issuperset(job.status), f"{job.id}: every code is one that is served"
    if job.closed is None:
        assert job.size or not job.all_ended, f"{job.id}: the end of a plain job's task is the job's own end"
        return
    assert job.all_ended, f"{job.id}: a job ends after all its tasks"
    assert job.closed.code in ENDED, f"{job.id}: a job ends SUCCEEDED or FAILED"
    assert job.shelf is None, f"{job.id}: an ended job is on no shelf"
    assert not index.live_attempts(job), f"{job.id}: an ended job has no live attempt"
    if job.gang:
        main = job.status[job.speaker]
        assert job.closed.code == main, f"{job.id}: a gang ends as its main node did"
    elif FAILED in job.status:
        assert job.closed.code == FAILED, f"{job.id}: a job with a failed task has failed"
    elif job.asked is None:
        assert job.closed.code == SUCCEEDED, f"{job.id}: a job nobody asked to end, all of it well, has succeeded"


def _check_asked(job: Job) -> None:
    """Whatever waits and was asked to end is CLOSING, and nothing else is."""
    if job.asked is not None:
        assert 0 < job.asked.kind <= CANCEL | TERMINATE | VOID, f"{job.id}: a request is of a known kind"
        waiting = LATENT - {CLOSING}
        assert not waiting.intersection(job.status), f"{job.id}: nothing of a job that was asked to end waits to run"
    for task in job.tasks.values():
        if task.asked is not None:
            code = job.status[task.index]
            assert 0 < task.asked.kind <= CANCEL | TERMINATE, f"{job.id}:{task.index}: a known kind"
            assert code not in LATENT or code == CLOSING, f"{job.id}:{task.index}: asked to end, it waits to run"
    if job.asked is None:
        at = job.status.find(CLOSING)
        while at >= 0:
            assert job.ask_of(at) is not None, f"{job.id}:{at}: every CLOSING task was asked to end"
            at = job.status.find(CLOSING, at + 1)


def _check_task(job: Job, task: Task) -> None:
    name = f"{job.id}:{task.index}"
    assert job.tasks[task.index] is task, f"{name}: a task is filed under its own index"
    assert 0 <= task.index < job.width, f"{name}: a task is one of its job's"
    assert 0 <= task.used <= task.serial, f"{name}: attempts that count are placements"
    code, live = job.status[task.index], task.live
    if code not in ENDED | NODE_ENDED:
        assert task.used < max(job.shape.attempts, 1), f"{name}: an open task has an attempt left"
    assert (live is not None) == (code in LIVE), f"{name}: it has a live attempt just while an engine has it"
    kept = (task.end is not None) == (code in NODE_ENDED)
    assert kept or code in ENDED, f"{name}: how a node ended is kept until its job has"
    if live is None:
        return
    assert live.key == (job.id, task.index, task.serial), f"{name}: the live attempt is the newest"
    assert live.code == code, f"{name}: task and attempt have one code"
    speaker = job.tasks[job.speaker] if job.gang else task
    knows = live.used == speaker.used or (job.gang and speaker.live is None)
    assert knows, f"{name}: the attempt knows how many were used before it"
    assert live.recall is None or code == OFFERED, f"{name}: only what has not begun is asked back"
    dooms = (NO_CAUSE, TIMEOUT, UPDATE, MAIN_ENDED, TERMINATED) if job.gang else (NO_CAUSE, TIMEOUT, UPDATE, PREEMPTED)
    assert live.doom in dooms, f"{name}: what the server itself ends an attempt for"
    assert (live.cause, live.stopped) == (NO_CAUSE, 0), f"{name}: a live attempt has no end"
    assert code != RUNNING or live.started >= live.placed > 0, f"{name}: it was placed, then it ran"


def _check_gang(job: Job) -> None:
    placed = [task for task in job.tasks.values() if task.live is not None or task.end is not None]
    assert len(placed) in (0, job.size) or job.closed is not None, f"{job.id}: all of its nodes are placed, or none is"
    for task in placed:
        if task.live is not None and not launchable(job, task.index) and main_attempt(job) is not None:
            assert task.live.code == OFFERED, f"{job.id}#{task.index}: it has not begun before its main node runs"
    waits = LATENT.intersection(job.status)
    assert not waits or len(set(job.status)) == 1, f"{job.id}: its nodes wait as one"


def _check_numbers(world: World) -> None:
    seqs = [job.seq for job in world.jobs.values() if job.seq]  # 0: a dependency whose rows are gone
    assert len(seqs) == len(set(seqs)), "no two jobs have one sequence number"
    assert max(seqs, default=0) < world.next_seq, "sequence numbers are given once, ascending"
    assert world.evaluated < world.next_seq, "only jobs that there are were evaluated"
    fresh = [job.id for job in sorted(_open(world), key=lambda job: job.seq) if SUBMITTED in job.status]
    ahead = [job.id for job in world.unevaluated if job.closed is None and SUBMITTED in job.status]
    assert fresh == ahead, "the SUBMITTED jobs, oldest first, are those that nobody has looked at"
    assert all(job.seq > world.evaluated for job in world.unevaluated), "jobs are evaluated once, in their order"


# -------------------------------------------------------------------------------------------------------- capacity


def _check_sums(world: World) -> None:
    live = {a.key: a for job in world.jobs.values() for a in index.live_attempts(job)}
    assert live == world.live, "the live attempts are those of the tasks that an engine has"
    for job in world.jobs.values():
        begun = sum(job.status.count(code) for code in LIVE)
        assert begun == len(index.live_attempts(job)), f"{job.id}: each task that an engine has has an attempt"
    pools: Counter[str] = Counter()
    for attempt in live.values():
        assert attempt.environment in world.environments, f"{attempt.key}: an environment outlives its last attempt"
        pools[index.pool(world, attempt)] += attempt.resources.vcpus
    assert +pools == +Counter(world.pools), "vCPUs in use are the sum over live attempts"
    route = {arn: world.policy.engine_of(one.name, one.kind) for arn, one in world.environments.items()}
    assert route == world.site_of, "every environment is at the engine that the settings name"
    for name, site in world.sites.items():
        mine = [a for a in live.values() if world.site_of[a.environment] == name]
        assert site.memory == sum(a.resources.memory for a in mine), f"{name}: and so is memory"
        assert site.gpus == sum(a.resources.gpus for a in mine), f"{name}: and so are GPUs"
        assert site.offered == sum(a.code == OFFERED for a in mine), f"{name}: and so is the count of those OFFERED"
    check_locks(world)


def _check_shares(world: World) -> None:
    derived: dict[tuple[str, str], list[int]] = {}
    for job in _open(world):
        if job.share:
            sums = derived.setdefault((job.queue, job.share), [0, 0, 0])
            sums[0] += 1
            for attempt in index.live_attempts(job):
                sums[1] += attempt.resources.vcpus
                sums[2] += attempt.resources.vcpus if attempt.code == RUNNING else 0
    for arn, shares in world.shares.items():
        for share, usage in shares.items():
            sums = derived.pop((arn, share), [0, 0, 0])
            assert [usage.open, usage.held, usage.running] == sums, f"{arn} {share}: what it holds is the sum over jobs"
            assert usage.spent >= 0, f"{arn} {share}: nobody gives back more than was spent"
    assert not derived, "every share with an open job is known"
    for queue in world.queues.values():
        assert not queue.policy or queue.policy in world.policies, f"{queue.arn}: its policy exists"


# --------------------------------------------------------------------------------------------------------- indexes


def _check_shelves(world: World) -> None:
    found: set[str] = set()
    others = {shelf for job in _open(world) for shelf in index.other_shelves(job)}
    assert others == world.blocks.keys() - world.queues.keys(), "besides queues only what jobs stand on has a shelf"
    for arn, blocks in world.blocks.items():
        seqs = [seq for block in blocks for seq in block.seqs]
        assert seqs == sorted(seqs), f"{arn}: a shelf is in the order of creation"
        for block in blocks:
            found |= _check_block(arn, block)
    assert found == {job.id for job in _open(world)}, "every open job is on its queue's shelf, and nothing else is"


def _check_block(arn: str, block: Block) -> set[str]:
    assert len(block.jobs) == len(block.seqs) == len(block.codes), f"{arn}: a shelf's columns are of one length"
    jobs = [job for job in block.jobs if job is not None]
    assert len(jobs) == block.live, f"{arn}: a shelf counts its open jobs"
    for place, (job, seq, code) in enumerate(zip(block.jobs, block.seqs, block.codes, strict=True)):
        if job is None:
            assert code == index.GONE, f"{arn}: an ended job leaves a GONE byte"
            continue
        assert job.seq == seq, f"{job.id}: a shelf knows its place in time"
        assert arn in (job.queue, *index.other_shelves(job)), f"{job.id}: it stands on its own shelves"
        own = ((job.shelf, job.place), *job.shelves)
        assert any(known is block and at == place for known, at in own), f"{job.id}: it knows its places"
        assert code == index.job_code(job), f"{job.id}: the shelf shows its present code"
    return {job.id for job in jobs}


def _check_needs(world: World) -> None:
    needed: Counter[str] = Counter()
    waiting: dict[str, set[str]] = {}
    for job in _open(world):
        for need in job.needs:
            if need.kind == SEQUENTIAL:
                continue
            assert need.job in world.jobs, f"{job.id}: whatever an open job needs is at hand"
            needed[need.job] += 1
            mark = ":" if need.kind == N_TO_N or need.index >= 0 else ""
            waiting.setdefault(need.job + mark, set()).add(job.id)
    assert waiting == {at: set(jobs) for at, jobs in world.dependents.items()}, "who waits for whom is as needs say"
    going = {job.id for job in world.leaving}
    for job in world.jobs.values():
        assert job.needed_by == needed[job.id], f"{job.id}: it knows how often it is needed"
        if job.closed is not None and not job.needed_by:
            assert job.id in going, f"{job.id}: an ended job that nobody needs is about to leave"


def _check_lanes(world: World) -> None:
    standing = {
        (arn, lane, entry) for arn, lanes in world.lanes.items() for lane, heap in lanes.items() for entry in heap
    }
    for job in _open(world):
        if RUNNABLE in job.status:
            place = (job.queue, lane_of(job), entry_of(job))
            assert place in standing, f"{job.id}: every job with a RUNNABLE task stands in its lane"
    for lanes in world.lanes.values():
        for heap in lanes.values():
            assert all(heap[(at - 1) // 2] <= heap[at] for at in range(1, len(heap))), "a lane is a heap"


def _check_alarms(world: World) -> None:
    alarms = world.alarms
    assert all(alarms[(at - 1) // 2] <= alarms[at] for at in range(1, len(alarms))), "alarms are a heap"
    set_ = {(at, key) for at, what, key in alarms if what == index.TIMEOUT_ALARM}
    for attempt in world.live.values():
        job = world.jobs[attempt.key.job]
        if attempt.code == RUNNING and index.timed(job, attempt.key.index) and not to_be_killed(world, attempt):
            ring = (index.alarm(attempt, job.shape), attempt.key)
            assert ring in set_, f"{attempt.key}: a running attempt with a time limit has an alarm"


# ------------------------------------------------------------------------------------------------------- due work


def _check_due(world: World) -> None:
    """Whatever is not settled is due. So when nothing is due, everything is settled."""
    due = world.due
    assert all(item.kind in DUE for item in due), "what is due is of a known kind"
    if any(job.closed is None for job in world.unevaluated):
        rings = any(what == EVALUATE for _, what, _ in world.alarms)
        assert Due(EVALUATE, "") in due or rings, "while a job is SUBMITTED, evaluating is due, now or later"
    for job in _open(world):
        if Due(SETTLE, job.id) not in due:
            assert settled(world, job) == job.status, f"{job.id}: what its dependencies make of it is so, or due"
        if job.all_ended or resting(job):
            assert Due(CLOSE, job.id) in due, f"{job.id}: all its children have ended, so its own end is due"


def _check_resources(world: World) -> None:
    for arn, queue in world.queues.items():
        assert queue.arn == arn, f"{arn}: a queue is filed under its ARN"
        assert all(name in world.environments for _, name in queue.order), f"{arn}: its environments exist"
        if queue.status in (CREATING, UPDATING):
            assert Due(SETTLE_QUEUE, arn) in world.due, f"{arn}: the end of a transition is due"
        if queue.status == DELETING:
            _check_deleting(world, arn)
        _check_limits(world, queue)
        if sites.spoken(world) and not world.schedule_wanted and queue.status != DELETING:
            for fact in queue.blocked:
                job = world.jobs.get(fact.job)
                waits = job is not None and job.status[fact.index] == RUNNABLE
                assert waits, f"{arn}: what is told to stand aside waits for capacity"
    for arn, environment in world.environments.items():
        assert environment.arn == arn, f"{arn}: an environment is filed under its ARN"
        assert bool(environment.replaced) <= (environment.status == UPDATING), f"{arn}: replaced while UPDATING alone"
        if environment.status in (CREATING, UPDATING) and Due(SETTLE_ENVIRONMENT, arn) not in world.due:
            _check_replacing(world, environment)
        if environment.status == DELETING and Due(SETTLE_ENVIRONMENT, arn) not in world.due:
            busy = any(attempt.environment == arn for attempt in world.live.values())
            assert busy, f"{arn}: an environment being deleted goes when nothing runs in it"
    assert all(job.queue in world.queues for job in _open(world)), "the queue of an open job exists"
    anew = World(definitions=world.definitions, consumables=world.consumables)
    catalog.rebuild(anew)
    assert anew.revisions == world.revisions, "the highest revision of each name is known"
    assert anew.catalog == world.catalog, "definitions are in the order of their listing"
    assert anew.stocked == world.stocked, "consumable resources are in the order of their listing"


def _check_replacing(world: World, environment: Environment) -> None:
    old = list(before_update(world, environment)) if environment.replaced else []
    assert old, f"{environment.arn}: a transition ends by a due follow-up, or waits for what began before it"
    ring = (environment.replace_by, index.REPLACE_ALARM, AttemptKey(environment.arn, 0, 0))
    ended = all(to_be_killed(world, attempt) for attempt in old)
    assert ended or ring in world.alarms, f"{environment.arn}: what began before the update is ended, or has an alarm"


def _check_limits(world: World, queue: Queue) -> None:
    for fact in queue.blocked:
        job = world.jobs.get(fact.job)
        if job is None or job.status[fact.index] != RUNNABLE or Due(LIMITS, queue.arn) in world.due:
            continue
        for limit in queue.limits:
            ring = (rings(limit, fact), LIMIT_ALARM, AttemptKey(queue.arn, 0, 0))
            told = not applies(limit, fact) or ring in world.alarms
            assert told, f"{fact.job}: being blocked too long has an alarm, or is due"


def _check_deleting(world: World, arn: str) -> None:
    open_jobs = [job for block in world.blocks.get(arn, ()) for job in block.jobs if job is not None]
    if Due(SETTLE_QUEUE, arn) not in world.due:
        assert open_jobs, f"{arn}: a queue being deleted goes with its last open job"
    if Due(VOID_QUEUE, arn) not in world.due:
        for job in open_jobs:
            voided = job.asked is not None and job.asked.kind & VOID
            assert voided or job.all_ended, f"{job.id}: its queue is being deleted, and so is it"
