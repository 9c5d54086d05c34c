"""Definitions that were deregistered long ago: what goes, what stays of it, and what may be said of it."""

from tests.unit.core.building import HOME, Batch, arn

from batchery.core import query
from batchery.core.changes import DefinitionGone, DefinitionSet, TagsSet
from batchery.core.decide import decide
from batchery.core.messages import Deregister, ForgetDefinitions, Register
from batchery.core.model import INACTIVE

BASE = arn("job-definition", "old")


def three_old_ones(batch: Batch) -> int:
    """Revisions 1 to 3 of `old`, INACTIVE; the moment after which they are old enough."""
    for revision in (1, 2, 3):
        batch.send(Register(HOME, "old", BASE, "{}", {"team": "ada"}), Deregister(HOME, f"{BASE}:{revision}"))
    return max(one.deregistered for one in batch.world.definitions.values()) + 1


def test_only_what_is_inactive_for_long_enough_may_go(batch: Batch) -> None:
    before = three_old_ones(batch)
    assert query.forgettable(batch.world, 0) == []
    assert query.forgettable(batch.world, before) == [f"{BASE}:{revision}" for revision in (1, 2, 3)]
    batch.send(Register(HOME, "old", BASE, "{}"))
    assert f"{BASE}:4" not in query.forgettable(batch.world, 1 << 62)


def test_of_the_highest_revision_the_number_stays(batch: Batch) -> None:
    before = three_old_ones(batch)
    every = tuple(query.forgettable(batch.world, before))
    batch.send(ForgetDefinitions(every, before))
    assert [found for found in batch.world.definitions if found.startswith(BASE)] == [f"{BASE}:3"]
    assert query.definitions(batch.world, HOME, "old") == []
    assert all(one.name != "old" for one in query.definitions(batch.world, HOME))
    assert query.resolve_definition(batch.world, HOME, "old", 3) is None
    assert query.forgettable(batch.world, before) == []
    batch.send(ForgetDefinitions(every, before))  # said again: nothing more to do
    batch.send(Register(HOME, "old", BASE, "{}"))
    assert [one.revision for one in query.definitions(batch.world, HOME, "old")] == [4]
    assert query.forgettable(batch.world, before) == [f"{BASE}:3"]  # it holds no number any more
    batch.send(ForgetDefinitions((f"{BASE}:3",), before))
    assert f"{BASE}:3" not in batch.world.definitions


def test_a_definition_that_is_active_again_or_young_is_left_alone(batch: Batch) -> None:
    before = three_old_ones(batch)
    batch.send(Register(HOME, "old", BASE, "{}"))
    batch.send(ForgetDefinitions((f"{BASE}:4", f"{BASE}:9"), before), ForgetDefinitions((f"{BASE}:1",), 0))
    kept = [one.status for one in query.definitions(batch.world, HOME, "old")]
    assert kept == ["ACTIVE", INACTIVE, INACTIVE, INACTIVE]


def test_tags_go_with_it(batch: Batch) -> None:
    before = three_old_ones(batch)
    changes = decide(batch.world, ForgetDefinitions((f"{BASE}:1", f"{BASE}:3"), before), before)
    gone, first, stub, second = changes
    assert gone == DefinitionGone(f"{BASE}:1")
    assert isinstance(stub, DefinitionSet)
    assert (stub.definition.arn, stub.definition.doc) == (f"{BASE}:3", "")
    assert [first, second] == [TagsSet(f"{BASE}:{revision}", {}, ("*",)) for revision in (1, 3)]
