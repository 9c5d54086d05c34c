"""Queues, environments, definitions and tags: what each command changes, and when it is refused."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from batchery.core.changes import (
    Change,
    DefinitionSet,
    EnvironmentGone,
    EnvironmentSet,
    QueueGone,
    QueueSet,
    RealmOpened,
    TagsSet,
)
from batchery.core.messages import (
    Command,
    CreateEnvironment,
    CreateQueue,
    DeleteEnvironment,
    DeleteQueue,
    Deregister,
    EnsureRealm,
    Refused,
    Register,
    Tag,
    UpdateEnvironment,
    UpdateQueue,
)
from batchery.core.model import (
    ACTIVE,
    CREATING,
    DELETING,
    DISABLED,
    INACTIVE,
    INVALID,
    UPDATING,
    VALID,
    Attempt,
    AttemptKey,
    Block,
    Definition,
    Environment,
    Queue,
    Realm,
    Resources,
    World,
)
from batchery.core.resources import DECIDE_RESOURCES, HEALTHY, settle_environment, settle_queue
from batchery.core.status import RUNNING

HOME = Realm("123456789012", "us-east-1")
AWAY = Realm("123456789012", "eu-west-1")
NOW = 1_700_000_000_000


def arn(kind: str, name: str, realm: Realm = HOME) -> str:
    return f"arn:aws:batch:{realm.region}:{realm.account}:{kind}/{name}"


def environment(name: str = "e1", realm: Realm = HOME, **members: Any) -> Environment:
    own = arn("compute-environment", name, realm)
    given = {"kind": "EC2", "max_vcpus": 4000, "pool": own, "doc": "{}", "status": VALID, **members}
    return Environment(arn=own, name=name, realm=realm, **given)


def queue(name: str = "q1", order: tuple[str, ...] = ("e1",), realm: Realm = HOME, **members: Any) -> Queue:
    pairs = tuple((n, arn("compute-environment", e, realm)) for n, e in enumerate(order, 1))
    given = {"priority": 1, "status": VALID, **members}
    return Queue(arn=arn("job-queue", name, realm), name=name, realm=realm, order=pairs, **given)


def world(*held: Queue | Environment | Definition) -> World:
    made = World()
    for item in held:
        if isinstance(item, Queue):
            made.queues[item.arn] = item
        elif isinstance(item, Environment):
            made.environments[item.arn] = item
        else:
            made.definitions[item.arn] = item
            made.revisions[item.realm, item.name] = item.revision
    return made


def unmoved(held: World, ask: Callable[[], list[Change]]) -> list[Change]:
    """Ask, and hold the function to its promise not to mutate."""
    before = copy.deepcopy(held)
    try:
        return ask()
    finally:
        assert held == before


def decide(held: World, command: Command) -> list[Change]:
    return unmoved(held, lambda: DECIDE_RESOURCES[type(command)](held, command, NOW))


def refusal(held: World, command: Command) -> str:
    with pytest.raises(Refused) as caught:
        decide(held, command)
    return caught.value.message


# ---------------------------------------------------------------------------------------------------------- realms


def test_a_new_realm_gets_its_environment_and_queue_already_valid() -> None:
    command = EnsureRealm(HOME, environment("default", status=CREATING), queue("default", ("default",)))
    opened, env, que = decide(World(), command)
    assert opened == RealmOpened(HOME)
    assert isinstance(env, EnvironmentSet)
    assert (env.environment.status, env.environment.status_reason, env.environment.created) == (VALID, HEALTHY, NOW)
    assert isinstance(que, QueueSet)
    assert (que.queue.status, que.queue.created) == (VALID, NOW)


def test_what_a_user_deleted_does_not_come_back() -> None:
    held = World(realms={HOME})
    assert decide(held, EnsureRealm(HOME, environment("default"), queue("default", ("default",)))) == []
    assert decide(held, EnsureRealm(AWAY, environment("default", AWAY), queue("default", ("default",), AWAY))) != []


def test_a_new_realm_does_not_overwrite_what_is_there() -> None:
    held = world(environment("default"), queue("default", ("default",)))
    command = EnsureRealm(HOME, environment("default"), queue("default", ("default",)))
    assert decide(held, command) == [RealmOpened(HOME)]


# ---------------------------------------------------------------------------------------------------------- queues


def test_a_queue_is_created_in_transition_with_its_tags() -> None:
    wanted = queue(status=VALID)
    changes = decide(world(environment()), CreateQueue(wanted, tags={"a": "b"}))
    assert changes[1] == TagsSet(wanted.arn, {"a": "b"}, ())
    assert isinstance(changes[0], QueueSet)
    assert (changes[0].queue.status, changes[0].queue.created) == (CREATING, NOW)


def test_a_name_is_taken_once_in_a_realm() -> None:
    held = world(environment(), queue(), environment(realm=AWAY))
    assert refusal(held, CreateQueue(queue())) == "Object already exists"
    assert decide(held, CreateQueue(queue(realm=AWAY))) != []
    assert refusal(held, CreateEnvironment(environment())) == "Object already exists"


NOT_THERE = "Compute Environments must be created and valid before attaching them to a job queue."


@pytest.mark.parametrize("status", [CREATING, UPDATING, DELETING, INVALID])
def test_environments_of_a_queue_must_be_valid(status: str) -> None:
    held = world(environment(status=status), environment("e2"), queue(order=("e2",)))
    assert refusal(held, CreateQueue(queue("q2"))) == NOT_THERE
    assert refusal(held, UpdateQueue(queue().arn, order=queue().order)) == NOT_THERE


def test_environments_of_a_queue_must_exist_in_its_realm() -> None:
    assert refusal(World(), CreateQueue(queue())) == NOT_THERE
    there = environment(realm=AWAY)
    wanted = queue()
    wanted.order = ((1, there.arn),)
    assert refusal(world(there), CreateQueue(wanted)) == NOT_THERE


@pytest.mark.parametrize(
    ("first", "second", "mix"),
    [
        ("EC2", "SPOT", True),
        ("EC2", "UNMANAGED", True),
        ("FARGATE", "FARGATE_SPOT", True),
        ("SPOT", "FARGATE", False),
        ("UNMANAGED", "FARGATE_SPOT", False),
        ("EC2", "ECS_MANAGED_INSTANCES", False),
    ],
)
def test_a_queue_holds_environments_of_one_family(first: str, second: str, mix: bool) -> None:
    held = world(environment("e1", kind=first), environment("e2", kind=second))
    command = CreateQueue(queue(order=("e1", "e2")))
    if mix:
        assert decide(held, command) != []
    else:
        assert refusal(held, command).endswith("not mixed.")


def test_the_type_of_a_queue_holds_for_its_environments() -> None:
    held = world(environment(kind="FARGATE"), environment("e2"), queue("q2", ("e2",), type="ECS"))
    assert "ECS can not have" in refusal(held, CreateQueue(queue(type="ECS")))
    assert "EKS job queue type must have EKS" in refusal(held, CreateQueue(queue(type="EKS")))
    assert decide(held, CreateQueue(queue(type="ECS_FARGATE"))) != []
    assert "ECS can not have" in refusal(held, UpdateQueue(queue("q2").arn, order=queue().order))


def test_there_are_only_so_many_in_a_realm() -> None:
    held = world(environment(), environment(realm=AWAY), queue(), queue(realm=AWAY))
    assert decide(held, CreateQueue(queue("q2"), limit=2)) != []
    assert "more than 1 job queues" in refusal(held, CreateQueue(queue("q2"), limit=1))
    assert decide(held, CreateEnvironment(environment("e2"), limit=2)) != []
    assert "more than 1 compute environments" in refusal(held, CreateEnvironment(environment("e2"), limit=1))


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    held = world(environment(), environment("e2"), queue(priority=7))
    (change,) = decide(held, UpdateQueue(queue().arn, state=DISABLED))
    assert change == QueueSet(queue(priority=7, state=DISABLED, status=UPDATING))
    order = queue(order=("e2", "e1")).order
    (change,) = decide(held, UpdateQueue(queue().arn, priority=0, order=order))
    assert change == QueueSet(queue(order=("e2", "e1"), priority=0, status=UPDATING))


def test_an_unknown_queue_cannot_be_updated_but_deleted() -> None:
    assert refusal(World(), UpdateQueue(queue().arn)) == f"{queue().arn} does not exist"
    assert decide(World(), DeleteQueue(queue().arn)) == []


@pytest.mark.parametrize("status", [CREATING, UPDATING, DELETING])
def test_what_is_in_transition_is_left_alone(status: str) -> None:
    held = world(environment(status=status, state=DISABLED), queue(status=status, state=DISABLED))
    assert refusal(held, UpdateQueue(queue().arn)) == "Cannot update, resource is being modified"
    assert refusal(held, DeleteQueue(queue().arn)) == "Cannot delete, resource is being modified"
    assert refusal(held, UpdateEnvironment(environment().arn)) == "Cannot update, resource is being modified"
    assert refusal(held, DeleteEnvironment(environment().arn)) == "Cannot delete, resource is being modified"


def test_a_queue_is_deleted_when_disabled() -> None:
    assert "must be DISABLED" in refusal(world(queue()), DeleteQueue(queue().arn))
    assert decide(world(queue(state=DISABLED)), DeleteQueue(queue().arn)) == [
        QueueSet(queue(state=DISABLED, status=DELETING))
    ]


# --------------------------------------------------------------------------------------------------------- settling


def settled_queue(held: World) -> list[Change]:
    return unmoved(held, lambda: settle_queue(held, queue().arn, NOW))


def settled_environment(held: World) -> list[Change]:
    return unmoved(held, lambda: settle_environment(held, environment().arn, NOW))


@pytest.mark.parametrize("status", [CREATING, UPDATING])
def test_create_and_update_end_in_valid(status: str) -> None:
    held = world(queue(status=status, priority=3), environment(status=status))
    assert settled_queue(held) == [QueueSet(queue(status=VALID, priority=3))]
    assert settled_environment(held) == [EnvironmentSet(environment(status_reason=HEALTHY))]


def test_what_is_not_in_transition_does_not_settle() -> None:
    assert settled_queue(world(queue())) == settled_queue(World()) == []
    assert settled_environment(world(environment())) == settled_environment(World()) == []


def test_a_deleted_queue_goes_with_its_last_open_job() -> None:
    held = world(queue(status=DELETING))
    held.blocks[queue().arn] = [Block(live=0), Block(live=1)]
    assert settled_queue(held) == []
    held.blocks[queue().arn] = [Block(live=0)]
    assert settled_queue(held) == [QueueGone(queue().arn), TagsSet(queue().arn, {}, ("*",))]


def test_a_deleted_environment_goes_with_its_last_attempt() -> None:
    held = world(environment(status=DELETING, state=DISABLED))
    key = AttemptKey("j", 0, 1)
    attempt = Attempt(key, 0, environment().arn, Resources(1000, 64), RUNNING, placed=1)
    held.live[key] = attempt
    assert settled_environment(held) == []
    attempt.environment = environment("e2").arn
    assert settled_environment(held) == [
        EnvironmentGone(environment().arn),
        TagsSet(environment().arn, {}, ("*",)),
    ]


# ---------------------------------------------------------------------------------------------------- environments


def test_an_environment_is_created_in_transition_with_its_tags() -> None:
    made, tags = decide(World(), CreateEnvironment(environment(status=VALID), tags={"a": "b"}))
    assert made == EnvironmentSet(environment(status=CREATING, created=NOW))
    assert tags == TagsSet(environment().arn, {"a": "b"}, ())
    assert len(decide(World(), CreateEnvironment(environment()))) == 1


def test_an_update_of_an_environment_changes_what_it_names() -> None:
    held = world(environment())
    (change,) = decide(held, UpdateEnvironment(environment().arn, state=DISABLED))
    assert change == EnvironmentSet(environment(state=DISABLED, status=UPDATING))
    command = UpdateEnvironment(environment().arn, kind="SPOT", max_vcpus=9000, doc='{"a":1}', seen="{}")
    assert decide(held, command) == [
        EnvironmentSet(environment(kind="SPOT", max_vcpus=9000, doc='{"a":1}', status=UPDATING))
    ]


def test_two_updates_at_once_do_not_undo_each_other() -> None:
    held = world(environment(doc='{"b":2}'))
    command = UpdateEnvironment(environment().arn, doc='{"a":1}', seen="{}")
    assert refusal(held, command) == "Cannot update, resource is being modified"


def test_an_unknown_environment_cannot_be_updated_but_deleted() -> None:
    assert refusal(World(), UpdateEnvironment(environment().arn)) == f"{environment().arn} does not exist"
    assert decide(World(), DeleteEnvironment(environment().arn)) == []


def test_deleting_an_environment_asks_for_disabled_before_it_looks_for_queues() -> None:
    assert "must be DISABLED" in refusal(world(environment(), queue()), DeleteEnvironment(environment().arn))


@pytest.mark.parametrize("status", [VALID, CREATING, UPDATING, DELETING])
def test_a_queue_in_whatever_status_holds_its_environments(status: str) -> None:
    held = world(environment(state=DISABLED), environment("e2"), queue(order=("e2", "e1"), status=status))
    command = DeleteEnvironment(environment().arn)
    assert refusal(held, command) == "Cannot delete, found existing JobQueue relationship"


def test_an_environment_that_no_queue_names_is_deleted() -> None:
    held = world(environment(state=DISABLED), environment("e2"), queue(order=("e2",)))
    assert decide(held, DeleteEnvironment(environment().arn)) == [
        EnvironmentSet(environment(state=DISABLED, status=DELETING))
    ]


# ----------------------------------------------------------------------------------------------------- definitions


def definition(revision: int, status: str = ACTIVE, **members: Any) -> Definition:
    own = arn("job-definition", f"d:{revision}")
    return Definition(own, "d", HOME, revision, "{}", status=status, **members)


def register(**members: Any) -> Register:
    return Register(HOME, "d", arn("job-definition", "d"), "{}", **members)


def test_revisions_are_never_given_twice() -> None:
    assert decide(World(), register()) == [DefinitionSet(definition(1, created=NOW))]
    held = world(definition(1), definition(2, INACTIVE))
    assert decide(held, register()) == [DefinitionSet(definition(3, created=NOW))]
    held.definitions.clear()
    assert decide(held, register()) == [DefinitionSet(definition(3, created=NOW))]


def test_tags_of_a_definition_are_its_revisions() -> None:
    _, tags = decide(World(), register(tags={"a": "b"}))
    assert tags == TagsSet(definition(1).arn, {"a": "b"}, ())


def test_a_deregistered_revision_stays_and_says_when() -> None:
    held = world(definition(1))
    assert decide(held, Deregister(HOME, definition(1).arn)) == [
        DefinitionSet(definition(1, INACTIVE, deregistered=NOW))
    ]


def test_deregistering_what_is_not_there_is_a_success() -> None:
    held = world(definition(1, INACTIVE, deregistered=5))
    assert decide(held, Deregister(HOME, definition(1).arn)) == []
    assert decide(held, Deregister(HOME, definition(2).arn)) == []
    assert decide(world(definition(1)), Deregister(AWAY, definition(1).arn)) == []


# ------------------------------------------------------------------------------------------------------------ tags


def test_tags_are_set_and_removed() -> None:
    held = world(queue())
    assert decide(held, Tag(queue().arn, set={"a": "b"})) == [TagsSet(queue().arn, {"a": "b"}, ())]
    assert decide(held, Tag(queue().arn, removed=("a",))) == [TagsSet(queue().arn, {}, ("a",))]
    assert decide(held, Tag(queue().arn)) == []
    job = arn("job", "6a1f")
    assert decide(held, Tag(job, set={"a": "b"})) == [TagsSet(job, {"a": "b"}, ())]


@pytest.mark.parametrize("gone", [queue().arn, environment().arn, definition(1).arn])
def test_what_has_gone_meanwhile_is_not_tagged(gone: str) -> None:
    assert refusal(World(), Tag(gone, set={"a": "b"})) == f"{gone} does not exist"
