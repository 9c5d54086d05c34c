"""What users of service jobs wish, at random: training jobs of quota shares and others, and who divides instances.

Two kinds of service environments: `managed` has limits by instance type, and a quota-managed queue; `plain` has one
limit for all types together, and two queues, one of them with a fair share.
"""

from random import Random

from tests.sim.clients import HOME, arn

from batchery.core.instances import SERVICE
from batchery.core.keys import Ref
from batchery.core.messages import (
    Cancel,
    Command,
    CreateEnvironment,
    CreatePolicy,
    CreateQueue,
    CreateQuota,
    DeleteQuota,
    Deregister,
    ForgetDefinitions,
    Register,
    SubmitService,
    Terminate,
    UpdateEnvironment,
    UpdateQueue,
    UpdateQuota,
    UpdateServiceJob,
)
from batchery.core.model import DISABLED, ENABLED, Environment, Queue, Resources, Rule, Shape, TimeLimit
from batchery.core.queue import QUOTA_LIMIT, SERVICE_MAX_RESOURCE
from batchery.core.shares import BORROW, LEND, QUOTA, RESERVE, QuotaShare, SchedulingPolicy

LARGE, GPU = "ml.large", "ml.gpu"
MANAGED, TRAINING, SHARED = (arn("job-queue", name) for name in ("managed", "training", "shared"))
UNITS = ((LARGE, 6_000), (GPU, 3_000))
PLAIN = 4_000
WHERE = {name: arn("service-environment", name) for name in ("managed", "plain")}
#: Name -> strategy, borrowLimit, inSharePreemption, limits.
SHARES = {
    "keep": (RESERVE, -1, True, ((LARGE, 2_000), (GPU, 1_000))),
    "lend": (LEND, -1, True, ((LARGE, 2_000), (GPU, 1_000))),
    "half": (BORROW, 50, True, ((LARGE, 2_000),)),
    "any": (BORROW, -1, False, ((LARGE, 1_000), (GPU, 1_000))),
    "brief": (BORROW, 200, True, ((LARGE, 1_000),)),
}
LIMITS = ((), tuple(TimeLimit(reason, 30_000, "TERMINATE") for reason in (QUOTA_LIMIT, SERVICE_MAX_RESOURCE)))
FOREIGN = "of another kind: "  #: begins the words of whoever tries to end a service job as if it were none


def opening() -> list[Command]:
    """What there is before anybody comes."""
    rule = arn("scheduling-policy", "quota")
    kinds = {"managed": (sum(most for _, most in UNITS), UNITS), "plain": (PLAIN, ())}
    made: list[Command] = [CreatePolicy(SchedulingPolicy(rule, "quota", HOME, QUOTA, "{}"))]
    for name, (most, units) in kinds.items():
        environment = Environment(WHERE[name], name, HOME, SERVICE, most, WHERE[name], "{}", units=units)
        made.append(CreateEnvironment(environment))
    return made


def queues() -> list[Command]:
    """Once the environments are VALID."""
    rows = ((MANAGED, "managed", "quota"), (TRAINING, "plain", ""), (SHARED, "plain", "fair"))
    return [_queue(where, place, policy) for where, place, policy in rows]


def _queue(where: str, place: str, policy: str) -> CreateQueue:
    rule = arn("scheduling-policy", policy) if policy else ""
    name = where.rpartition("/")[2]
    return CreateQueue(Queue(where, name, HOME, 1, ((1, WHERE[place]),), type=SERVICE, policy=rule))


def shares() -> list[Command]:
    """Once the queues are VALID."""
    return [create_share(name) for name in SHARES]


def create_share(name: str) -> CreateQuota:
    strategy, borrow, in_share, limits = SHARES[name]
    return CreateQuota(QuotaShare(quota_arn(name), name, HOME, MANAGED, limits, strategy, borrow, in_share))


def quota_arn(name: str) -> str:
    return f"{MANAGED}/quota-share/{name}"


class Trainers:
    """``known``: jobs that they know of, oldest first."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.known: list[str] = []
        self.made = 0

    def wishes(self) -> list[Command]:
        """One, or several jobs at once."""
        chance = self.random.random()
        return [self._submit() for _ in range(4)] if chance < 0.25 else [self._wish(chance)]

    def _wish(self, chance: float) -> Command:
        if chance < 0.65 or not self.known:
            return self._submit()
        if chance < 0.74:
            return UpdateServiceJob(HOME, self._some(), self.random.choice((0, 5, 9)))
        if chance < 0.86:
            return self._end()
        return self._administer()

    def _some(self) -> str:
        return self.random.choice(self.known[-12:])

    def _submit(self) -> SubmitService:
        pick = self.random.choice
        self.made += 1
        queue = pick((*[MANAGED] * 8, TRAINING, SHARED))
        share = pick(tuple(SHARES)) if queue == MANAGED else pick(("a", "b1")) if queue == SHARED else ""
        unit, count = pick((LARGE, LARGE, LARGE, LARGE, GPU)), pick((1, 1, 1, 1, 2, 2, 3, 7))
        instances: tuple[tuple[str, int], ...] = ((unit, count),)
        if queue != MANAGED and self.random.random() < 0.2:
            instances = ((LARGE, 1), (GPU, 1))
        shape = Shape(
            Resources(1_000 * sum(number for _, number in instances), 0),
            attempts=pick((1, 1, 2, 3)),
            rules=pick(((), (Rule("EXIT", on_status_reason="Received status from SageMaker: A*"),))),
            timeout=pick((0, 0, 60_000)),
            priority=pick((0, 0, 3, 9)) if share else 0,
            instances=instances,
            preemptions=pick((-1, -1, 0, 1, 2)),
        )
        name = f"t{self.made}"
        token = pick(("", "", "", "once", "twice"))
        return SubmitService(HOME, name, name, queue, shape, "{}", share, token=token, most_shares=9)

    def _end(self) -> Command:
        ref, words = Ref(self._some(), None), f"words {self.random.randrange(1_000_000)}"
        foreign = self.random.random()
        if foreign < 0.2:
            return Cancel(HOME, ref, FOREIGN + words)
        return Terminate(HOME, ref, FOREIGN + words) if foreign < 0.3 else Terminate(HOME, ref, words, service=True)

    def _administer(self) -> Command:
        pick = self.random.choice
        name = pick(tuple(SHARES))
        where, limits = quota_arn(name), ((LARGE, pick((0, 1_000, 2_000, 4_000))), (GPU, pick((0, 1_000))))
        wishes: list[Command] = [
            UpdateQuota(where, limits=limits),
            UpdateQuota(where, limits=SHARES[name][3]),
            UpdateQuota(where, strategy=pick((RESERVE, LEND, BORROW)), borrow=pick((0, 50, 200, -1))),
            UpdateQuota(where, in_share=pick((True, False))),
            UpdateQuota(where, state=DISABLED),
            UpdateQuota(where, state=ENABLED),
            UpdateQuota(quota_arn("brief"), state=DISABLED),
            DeleteQuota(quota_arn("brief")),
            DeleteQuota(where),
            create_share("brief"),
            create_share("brief"),
            create_share(name),
            UpdateEnvironment(WHERE["managed"], units=pick((UNITS, UNITS, ((LARGE, 3_000), (GPU, 1_000))))),
            UpdateEnvironment(WHERE["managed"], state=pick((*[ENABLED] * 4, DISABLED))),
            UpdateEnvironment(WHERE["plain"], max_vcpus=pick((PLAIN, 2_000))),
            UpdateQueue(MANAGED, limits=pick(LIMITS)),
            UpdateQueue(TRAINING, limits=pick(LIMITS)),
            UpdateQueue(MANAGED, state=pick((*[ENABLED] * 4, DISABLED))),
            Register(HOME, "work", arn("job-definition", "work"), "{}"),
            Deregister(HOME, _definition(pick((2, 3, 4)))),
            ForgetDefinitions(tuple(_definition(number) for number in range(2, 9)), 1 << 60),
        ]
        return pick(wishes)


def _definition(revision: int) -> str:
    """One that no job has: clients use the first."""
    return arn("job-definition", f"work:{revision}")
