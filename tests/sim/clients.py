"""What clients wish, at random: submits of every kind, cancels of anything, and administrators at work."""

from random import Random

from msgspec.structs import replace

from batchery.core.index import total
from batchery.core.keys import CHILD, NODE, Ref
from batchery.core.messages import (
    Cancel,
    Command,
    CreateConsumable,
    CreateEnvironment,
    CreatePolicy,
    CreateQueue,
    DeleteConsumable,
    DeletePolicy,
    DeleteQueue,
    Deregister,
    Many,
    Register,
    Submit,
    Terminate,
    UpdateConsumable,
    UpdateEnvironment,
    UpdatePolicy,
    UpdateQueue,
)
from batchery.core.model import (
    DISABLED,
    ENABLED,
    N_TO_N,
    SEQUENTIAL,
    Environment,
    Need,
    Queue,
    Realm,
    Resources,
    Rule,
    Shape,
    TimeLimit,
)
from batchery.core.named import NON_REPLENISHABLE, REPLENISHABLE, Consumable
from batchery.core.queue import MAX_RESOURCE, NO_CAPACITY
from batchery.core.shares import FAIR, SchedulingPolicy

HOME = Realm("123456789012", "us-east-1")
AWAY = Realm("123456789012", "eu-west-1")
VCPUS = 8_000
MEMORY = 16_000


def arn(kind: str, name: str, realm: Realm = HOME) -> str:
    return f"arn:aws:batch:{realm.region}:{realm.account}:{kind}/{name}"


ENVIRONMENTS = {"one": "shared", "two": "shared", "three": ""}
QUEUES = {
    "first": ("one", "three"),
    "second": ("two",),
    "urgent": ("three", "two"),
    "doomed": ("three",),
    "fair": ("one", "two"),
}
POLICIES = {"fair": (("a", 1.0), ("b*", 3.0)), "fairer": (("a", 0.5),)}
LIMITS = ((), (TimeLimit(MAX_RESOURCE, 30_000, "CANCEL"), TimeLimit(NO_CAPACITY, 120_000, "CANCEL")))
RULES = (
    (),
    (Rule("EXIT", on_exit_code="3"),),
    (Rule("RETRY", on_status_reason="Host EC2*"), Rule("EXIT", on_reason="*")),
)


def opening() -> list[Command]:
    """What there is before anybody comes."""
    made: list[Command] = [Register(HOME, "work", arn("job-definition", "work"), "{}")]
    for name, pool in ENVIRONMENTS.items():
        where = arn("compute-environment", name)
        made.append(CreateEnvironment(Environment(where, name, HOME, "EC2", VCPUS, pool or where, "{}")))
    made.append(create_seats())
    made.append(CreateConsumable(Consumable(TICKETS, "tickets", HOME, NON_REPLENISHABLE, 9)))
    made += [CreatePolicy(policy(name)) for name in POLICIES]
    return made


def policy(name: str, reservation: int = 0) -> SchedulingPolicy:
    where = arn("scheduling-policy", name)
    return SchedulingPolicy(where, name, HOME, FAIR, "{}", weights=POLICIES[name], reservation=reservation)


def queues() -> list[Command]:
    """Once the environments are VALID."""
    return [create_queue(name) for name in QUEUES]


SEATS, TICKETS = arn("consumable-resource", "seats"), arn("consumable-resource", "tickets")


def create_seats(kind: str = REPLENISHABLE) -> CreateConsumable:
    return CreateConsumable(Consumable(SEATS, "seats", HOME, kind, 3))


def create_queue(name: str) -> CreateQueue:
    order = tuple((at, arn("compute-environment", each)) for at, each in enumerate(QUEUES[name], 1))
    rule = arn("scheduling-policy", name) if name in POLICIES else ""
    return CreateQueue(Queue(arn("job-queue", name), name, HOME, 5 if name == "urgent" else 1, order, policy=rule))


class Clients:
    """``known``: sizes of the jobs that clients know of, by id, oldest first."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.known: dict[str, int] = {}
        self.gangs: set[str] = set()  # of these
        self.made = 0
        self.revision = 1

    def wish(self) -> Command:
        chance = self.random.random()
        if chance < 0.52 or not self.known:
            return self._submit()
        if chance < 0.94:
            return self._end()
        return self._administer(chance)

    def _submit(self) -> Submit:
        pick = self.random.choice
        self.made += 1
        name = f"j{self.made}"
        gang = self.random.random() < 0.15
        size = pick((1, 2, 3, 4)) if gang else pick((0, 0, 0, 2, 3, 5))
        needs = [self._need(0 if gang else size) for _ in range(pick((0, 0, 0, 1, 1, 2, 3)))]
        if size and not gang and self.random.random() < 0.25:
            needs.append(Need("", kind=SEQUENTIAL))
        fault = "found late" if self.random.random() < 0.02 else ""
        resources = Resources(pick((500, 1_000, 2_000, 6_000, 9_000)), pick((100, 1_000, 12_000, 20_000)))
        if self.random.random() < 0.5:
            resources = Resources(1_000, 100)
        units = pick(((), (), ((SEATS, 1),), ((SEATS, 2),), ((SEATS, 1), (TICKETS, 1)), ((TICKETS, 2),)))
        shape = Shape(resources, pick((1, 1, 2, 3)), pick(RULES), pick((0, 0, 60_000)), consumables=units, fault=fault)
        if gang:
            shape = self._gang(shape, size)
            self.gangs.add(name)
        tags = {"who": "me"} if self.random.random() < 0.2 else {}
        name_of_queue = pick((*QUEUES, "fair"))
        queue = arn("job-queue", name_of_queue)
        share = pick(("a", "b1", "b2", "c", f"c{self.made}")) if name_of_queue == "fair" else ""
        if share:
            shape = replace(shape, priority=pick((0, 0, 5)))
        definition = arn("job-definition", f"work:{self.revision}")
        wanted = tuple(need for need in needs if need is not None)
        more = {"share": share, "tags": tags, "most_shares": 9}
        return Submit(HOME, name, name, queue, definition, shape, "{}", size, needs=wanted, **more)

    def _gang(self, shape: Shape, size: int) -> Shape:
        first = Resources(self.random.choice((500, 1_000)), 100)
        nodes = (first, *(Resources(1_000, self.random.choice((100, 2_000))) for _ in range(size - 1)))
        seats = dict(shape.consumables).get(SEATS, 0)
        units: tuple[tuple[tuple[str, int], ...], ...] = ()
        if 0 < seats * size <= 3:
            units = (((SEATS, seats),),) * size
        whole = ((SEATS, seats * size),) if units else ()
        main = self.random.randrange(size)
        return replace(shape, resources=total(nodes), gang=nodes, main=main, units=units, consumables=whole)

    def _need(self, size: int) -> Need | None:
        recent = list(self.known.items())[-12:]
        if not recent:
            return None
        other, width = self.random.choice(recent)
        width = 0 if other in self.gangs else width
        if width and width == size and self.random.random() < 0.6:
            return Need(other, kind=N_TO_N)
        return Need(other, self.random.randrange(width) if width and self.random.random() < 0.4 else -1)

    def _end(self) -> Command:
        kind = self.random.choice((Cancel, Cancel, Cancel, Terminate))
        if self.random.random() < 0.1:
            return Many(tuple(self._target(kind) for _ in range(3)))
        return self._target(kind)

    def _target(self, kind: type[Cancel] | type[Terminate]) -> Cancel | Terminate:
        name = self.random.choice(list(self.known)[-10:])
        index = None
        if self.random.random() < 0.4:
            index = self.random.randrange(-1, 6)
        realm = AWAY if self.random.random() < 0.02 else HOME
        mark = NODE if name in self.gangs else CHILD
        if self.random.random() < 0.03:
            mark = CHILD if mark == NODE else NODE
        return kind(
            realm, Ref(name, index, mark if index is not None else ""), f"words {self.random.randrange(1_000_000)}"
        )

    def _administer(self, chance: float) -> Command:
        doomed = arn("job-queue", "doomed")
        environment = arn("compute-environment", self.random.choice(tuple(ENVIRONMENTS)))
        wishes: list[Command] = [
            UpdateQueue(doomed, state=DISABLED),
            DeleteQueue(doomed),
            DeleteQueue(doomed),
            create_queue("doomed"),
            UpdateQueue(arn("job-queue", "first"), priority=self.random.choice((1, 7))),
            UpdateQueue(arn("job-queue", "fair"), policy=arn("scheduling-policy", self.random.choice(tuple(POLICIES)))),
            UpdateQueue(arn("job-queue", self.random.choice(("first", "fair"))), limits=self.random.choice(LIMITS)),
            UpdatePolicy(policy("fair", self.random.choice((0, 0, 50)))),
            DeletePolicy(arn("scheduling-policy", "fairer")),
            CreatePolicy(policy("fairer")),
            UpdateEnvironment(environment, state=DISABLED),
            UpdateEnvironment(environment, state=ENABLED),
            UpdateEnvironment(environment, state=ENABLED, max_vcpus=self.random.choice((VCPUS, VCPUS, 3_000))),
            UpdateEnvironment(environment, patience=self.random.choice((0, 20_000))),
            Register(HOME, "work", arn("job-definition", "work"), "{}"),
            Deregister(HOME, arn("job-definition", "work:2")),
            UpdateConsumable(SEATS, "SET", self.random.choice((1, 2, 3, 5)), "" if chance < 0.97 else "again"),
            UpdateConsumable(TICKETS, "ADD", 3, self.random.choice(("", "once", "twice"))),
            DeleteConsumable(SEATS),
            create_seats(self.random.choice((REPLENISHABLE, NON_REPLENISHABLE))),
        ]
        return self.random.choice(wishes)
