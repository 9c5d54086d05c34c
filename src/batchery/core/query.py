"""Pure reads over World, for replies and for validating a command before it is sent."""

from bisect import bisect_left
from collections.abc import Container, Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from batchery.core import catalog, sites, snapshot
from batchery.core.explain import Why, blocked_words, why
from batchery.core.forgetting import forgettable, is_stub
from batchery.core.index import job_code
from batchery.core.instances import NUM_INSTANCES, is_service
from batchery.core.locks import Stock as Stock
from batchery.core.locks import stock, words
from batchery.core.model import (
    CANCEL,
    PREEMPTED,
    Attempt,
    AttemptKey,
    Definition,
    Environment,
    Job,
    Queue,
    Realm,
    Task,
    World,
    task_ref,
)
from batchery.core.named import Consumable
from batchery.core.shares import QuotaShare, SchedulingPolicy
from batchery.core.snapshot import Front as Front
from batchery.core.snapshot import QueueUse, front, front_by_share, instances_used
from batchery.core.status import CLOSING, NODE_ENDED, OFFERED, PENDING, RUNNABLE, SUBMITTED, summary


class Facts(Struct, frozen=True):
    """What World knows of one open job, or of one task of it."""

    id: str  # with :index for a child, #index for a node
    job: str
    index: int | None  # None: the job itself
    seq: int
    name: str
    queue: str
    definition: str
    created: int
    size: int
    main: int  # of a multi-node job: the index of its main node; -1 of others
    vcpus: int  # thousandths that one task asks for
    share: str
    code: int  # core.status code; for an array itself SUBMITTED or PENDING
    asked_kind: int  # bits of CANCEL, TERMINATE, VOID; includes a recall under way
    reason: str  # statusReason to show, "" for none
    summary: dict[str, int] | None  # arrays themselves
    live: Attempt | None  # a copy
    used: int
    serial: int
    instances: tuple[tuple[str, int], ...] = ()  # of a service job
    priority: int = 0  # of a service job


def _named(world: Container[str], realm: Realm, kind: str, ref: str) -> str:
    if ref.startswith("arn:"):
        return ref
    return _present(world, realm, kind, ref)


_PARTITIONS: Final = ("arn:aws", "arn:aws-cn", "arn:aws-us-gov")


def _present(world: Container[str], realm: Realm, kind: str, name: str) -> str:
    """The ARN of this name that is there, "" if none is."""
    tail = f":batch:{realm.region}:{realm.account}:{kind}/{name}"
    for partition in _PARTITIONS:
        if partition + tail in world:
            return partition + tail
    return ""


def resolve_queue(world: World, realm: Realm, ref: str) -> Queue | None:
    """By name or ARN, in this realm."""
    found = world.queues.get(_named(world.queues, realm, "job-queue", ref))
    return found if found is not None and found.realm == realm else None


def resolve_environment(world: World, realm: Realm, ref: str) -> Environment | None:
    """A compute environment by name or ARN, in this realm."""
    found = world.environments.get(_named(world.environments, realm, "compute-environment", ref))
    return found if found is not None and found.realm == realm and not is_service(found) else None


def resolve_service(world: World, realm: Realm, ref: str) -> Environment | None:
    """A service environment by name or ARN, in this realm."""
    found = world.environments.get(_named(world.environments, realm, "service-environment", ref))
    return found if found is not None and found.realm == realm and is_service(found) else None


def resolve_consumable(world: World, realm: Realm, ref: str) -> Consumable | None:
    """By name or ARN, in this realm."""
    found = world.consumables.get(_named(world.consumables, realm, "consumable-resource", ref))
    return found if found is not None and found.realm == realm else None


def resolve_definition(world: World, realm: Realm, name: str, revision: int | None) -> Definition | None:
    """That revision, or the highest ACTIVE one."""
    if revision is None and not (revision := catalog.active_revision(world, realm, name)):
        return None
    found = world.definitions.get(_present(world.definitions, realm, "job-definition", f"{name}:{revision}"))
    return None if found is None or is_stub(found) else found


def resolve_policy(world: World, realm: Realm, arn: str) -> SchedulingPolicy | None:
    """A scheduling policy by ARN, in this realm."""
    found = world.policies.get(arn)
    return found if found is not None and found.realm == realm else None


def resolve_quota(world: World, realm: Realm, arn: str) -> QuotaShare | None:
    """A quota share by ARN, in this realm."""
    found = world.quotas.get(arn)
    return found if found is not None and found.realm == realm else None


def quotas(world: World, queue: str) -> list[QuotaShare]:
    """Of a queue (ARN), by name."""
    return sorted((one for one in world.quotas.values() if one.queue == queue), key=lambda one: one.name)


def policies(world: World, realm: Realm) -> list[SchedulingPolicy]:
    """By name."""
    return sorted((p for p in world.policies.values() if p.realm == realm), key=lambda p: p.name)


def queues(world: World, realm: Realm) -> list[Queue]:
    """By name."""
    return sorted((q for q in world.queues.values() if q.realm == realm), key=lambda q: q.name)


def environments(world: World, realm: Realm, service: bool = False) -> list[Environment]:
    """Compute environments, or service environments, by name."""
    mine = (e for e in world.environments.values() if e.realm == realm and is_service(e) == service)
    return sorted(mine, key=lambda e: e.name)


def stock_of(world: World, realm: Realm, ref: str) -> Stock | None:
    """A consumable resource by name or ARN, and its units now."""
    found = resolve_consumable(world, realm, ref)
    return stock(world, found) if found is not None else None


def stocks(world: World, realm: Realm, wanted: list[str] | None, after: str, limit: int) -> list[Stock]:
    """Of the first consumable resources behind ``after``; ``wanted``: see `catalog.stocked`."""
    found = (
        world.consumables[_present(world.consumables, realm, "consumable-resource", name)]
        for _, name in zip(range(limit), catalog.stocked(world, realm, wanted, after), strict=False)
    )
    return [stock(world, one) for one in found]


def definitions(
    world: World,
    realm: Realm,
    name: str | None = None,
    statuses: Iterable[str] = catalog.STATUSES,
    after: tuple[str, int] = ("", 0),
    limit: int = 1 << 30,
) -> list[Definition]:
    """By name, newest revision first; of one name, or behind a name and revision."""
    return [
        world.definitions[_present(world.definitions, realm, "job-definition", f"{one}:{revision}")]
        for _, (one, revision) in zip(range(limit), catalog.listed(world, realm, statuses, name, after), strict=False)
    ]


def vcpus_in_use(world: World, arns: list[str]) -> dict[str, int]:
    """Whole vCPUs, rounded up, that attempts hold in each of these environments."""
    held = dict.fromkeys(arns, 0)
    for attempt in world.live.values():
        if attempt.environment in held:
            held[attempt.environment] += attempt.resources.vcpus
    return {arn: -(-vcpus // 1000) for arn, vcpus in held.items()}


def capacity_units(world: World, queues: set[str]) -> dict[str, str]:
    """What capacity is counted in, by queue ARN: "cpu" where its environments are on EKS, NUM_INSTANCES where
    they are service environments, else "VCPU"."""
    units = dict.fromkeys(queues, "VCPU")
    for arn in queues:
        queue = world.queues.get(arn)
        if queue is not None and any(world.environments[one].kind.startswith("EKS") for _, one in queue.order):
            units[arn] = "cpu"
        elif queue is not None and any(is_service(world.environments[one]) for _, one in queue.order):
            units[arn] = NUM_INSTANCES
    return units


def use(world: World, arn: str) -> QueueUse:
    """What runs of a queue (ARN)."""
    return snapshot.use(world, arn, capacity_units(world, {arn})[arn])


# ----------------------------------------------------------------------------------------------------------- jobs


def facts(world: World, realm: Realm, refs: list[str], service: bool = False) -> dict[str, Facts]:
    """Of the open ones among these ids ("job" or "job:index"). Ended children of an open array are among them.

    Service jobs, or all others: the operations of one kind know nothing of the other."""
    found = {}
    for ref in refs:
        name = task_ref(ref)
        job = world.jobs.get(name.job)
        if job is None or job.realm != realm or job.closed is not None or not job.has(name) or job.service != service:
            continue
        found[ref] = of_job(world, job) if name.index is None else of_child(world, job, name.index)
    return found


def troubles(world: World, arns: list[str]) -> dict[str, str]:
    """Why the engine of each environment begins nothing at all, or not all that it could; "" where there is nothing
    to say."""
    said = {arn: sites.of(world, arn).words for arn in arns if arn in world.site_of}
    return {arn: words.trouble or words.notice for arn, words in said.items()}


def of_job(world: World, job: Job) -> Facts:
    """An open job as a whole."""
    task = None if job.array else job.tasks.get(job.speaker)
    return _facts(world, job, None, job_code(job), task, summary(job.status) if job.array else None)


def of_child(world: World, job: Job, number: int) -> Facts:
    """One child of an open array."""
    return _facts(world, job, number, job.status[number], job.tasks.get(number), None)


def _facts(
    world: World, job: Job, number: int | None, code: int, task: Task | None, counts: dict[str, int] | None
) -> Facts:
    live = task.live if task else None
    asked = task.asked if task and task.asked else job.asked
    kinds = (job.asked.kind if job.asked else 0) | (task.asked.kind if task and task.asked else 0)
    reason = asked.reason if asked else ""
    if live is not None and live.recall is not None:
        kinds, reason = kinds | CANCEL, live.recall.reason
    if live is not None and live.doom == PREEMPTED:
        reason = live.status_reason
    if not reason and code in (RUNNABLE, OFFERED):
        queue = world.queues.get(job.queue)
        reason = blocked_words(world, queue, job, number or 0) if queue is not None else ""
    if not reason and code == RUNNABLE:
        reason = words(world, job.shape.consumables)
    if task is not None and task.end is not None and code in NODE_ENDED:
        reason = task.end.words
    if not reason and code == OFFERED and live is not None:
        said = sites.of(world, live.environment).words
        reason = said.attempts.get(live.key) or said.trouble
    return Facts(
        id=job.id if number is None else job.name_of(number),
        job=job.id,
        index=number,
        seq=job.seq,
        name=job.name,
        queue=job.queue,
        definition=job.definition,
        created=job.created,
        size=job.size,
        main=job.speaker if job.gang else -1,
        vcpus=job.shape.gang[number].vcpus if job.gang and number is not None else job.shape.resources.vcpus,
        share=job.share,
        code=code,
        asked_kind=kinds,
        reason=reason,
        summary=counts,
        live=replace(live) if live is not None else None,
        used=task.used if task else 0,
        serial=task.serial if task else 0,
        instances=job.shape.instances,
        priority=job.shape.priority if job.service else 0,
    )


def open_page(world: World, shelf: str, codes: tuple[int, ...], before: int, limit: int) -> list[Facts]:
    """Open jobs on a shelf (a queue's ARN, and see index.py) with one of ``codes`` and seq < before, newest first."""
    found: list[Facts] = []
    for block in reversed(world.blocks.get(shelf, [])):
        end = bisect_left(block.seqs, before)
        while end > 0 and len(found) < limit:
            end = max(block.codes.rfind(code, 0, end) for code in codes)
            job = block.jobs[end] if end >= 0 else None
            if job is not None:
                found.append(of_job(world, job))
        if len(found) >= limit:
            break
    return found


def children_page(
    world: World, realm: Realm, job: str, codes: tuple[int, ...], after: int, limit: int
) -> list[Facts] | None:
    """Children of an array, or nodes of a gang, with one of ``codes`` and index > after, by index.

    None if World has not the job."""
    found = world.jobs.get(job)
    if found is None or found.realm != realm or found.closed is not None or not found.size:
        return None
    out: list[Facts] = []
    at = after
    while len(out) < limit:
        hits = [hit for code in codes if (hit := found.status.find(code, at + 1)) >= 0]
        if not hits:
            break
        at = min(hits)
        out.append(of_child(world, found, at))
    return out


def open_jobs(world: World, realm: Realm, limit: int) -> list[Facts]:
    """The newest open jobs of a realm."""
    mine = [job for job in world.jobs.values() if job.realm == realm and job.closed is None and not job.service]
    return [of_job(world, job) for job in mine[-limit:]][::-1]


def running_count(world: World) -> int:
    """How many attempts an engine has."""
    return len(world.live)


def submitted_count(world: World) -> int:
    """How many jobs the scheduler has not looked at."""
    return len(world.unevaluated)


def engine_at(world: World, key: AttemptKey) -> str:
    """The name of the engine that an attempt is at; "" if there is one alone, or no such attempt."""
    attempt = world.live.get(key)
    return world.site_of[attempt.environment] if attempt is not None else ""


def alive(world: World, keys: list[AttemptKey]) -> set[AttemptKey]:
    """Those of these attempts that are placed and have not ended."""
    return {key for key in keys if key in world.live}


def waiting(code: int) -> bool:
    """Nothing of the task has begun."""
    return code in (SUBMITTED, PENDING, CLOSING, RUNNABLE, OFFERED)


__all__ = [
    "Facts",
    "QueueUse",
    "Why",
    "alive",
    "children_page",
    "definitions",
    "environments",
    "facts",
    "forgettable",
    "front",
    "front_by_share",
    "instances_used",
    "open_jobs",
    "open_page",
    "policies",
    "queues",
    "resolve_definition",
    "resolve_environment",
    "resolve_policy",
    "resolve_queue",
    "resolve_service",
    "running_count",
    "use",
    "waiting",
    "why",
]
