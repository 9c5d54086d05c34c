"""What is listed by name: pages in order, as everything comes and goes, the same as when made anew."""

from hypothesis import given
from hypothesis import strategies as st

from batchery.core import catalog
from batchery.core.keys import Realm
from batchery.core.model import ACTIVE, INACTIVE, Definition, World
from batchery.core.named import REPLENISHABLE, Consumable

HOME = Realm("123456789012", "us-east-1")
AWAY = Realm("123456789012", "eu-west-1")


def definition(name: str, revision: int, status: str, doc: str = "{}") -> Definition:
    return Definition(f"{name}:{revision}", name, HOME, revision, doc, status)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.integers(1, 3),
            st.sampled_from((ACTIVE, INACTIVE)),
            st.sampled_from(("{}", "", None)),
        )
    )
)
def test_definitions_are_listed_by_name_newest_first(moves: list[tuple[str, int, str, str | None]]) -> None:
    world = World()
    for name, revision, status, doc in moves:
        one = definition(name, revision, status, doc or "")
        if doc is None:
            if world.definitions.pop(one.arn, None) is not None:
                catalog.drop(world, one)
        else:
            world.definitions[one.arn] = one
            catalog.define(world, one)
    shown = [one for one in world.definitions.values() if one.doc]
    for statuses in ((ACTIVE, INACTIVE), (ACTIVE,), (INACTIVE,)):
        wanted = [(one.name, one.revision) for one in shown if one.status in statuses]
        wanted.sort(key=lambda one: (one[0], -one[1]))
        assert list(catalog.listed(world, HOME, statuses)) == wanted
        assert list(catalog.listed(world, HOME, statuses, "a")) == [one for one in wanted if one[0] == "a"]
        for place, one in enumerate(wanted):
            assert list(catalog.listed(world, HOME, statuses, after=one)) == wanted[place + 1 :]
    assert list(catalog.listed(world, AWAY)) == []
    highest = max((one.revision for one in shown if one.name == "a" and one.status == ACTIVE), default=0)
    assert catalog.active_revision(world, HOME, "a") == highest
    anew = World(definitions=world.definitions)
    catalog.rebuild(anew)
    assert anew.catalog == world.catalog


@given(
    st.lists(st.sampled_from(("A", "a", "ab", "B", "bc", "ABC"))),
    st.lists(st.sampled_from(("a", "A*", "ab*", "b", "B*", "*", "")), max_size=3),
)
def test_consumables_are_listed_without_case(names: list[str], wanted: list[str]) -> None:
    world = World()
    for name in names:
        one = Consumable(name, name, HOME, REPLENISHABLE, 1)
        if name in world.consumables:
            catalog.sell_out(world, world.consumables.pop(name))
        else:
            world.consumables[name] = one
            catalog.stock_up(world, one)
    every = sorted(world.consumables, key=lambda name: (name.lower(), name))
    assert list(catalog.stocked(world, HOME, None, "")) == every
    meant = [name for name in every if any(_meant(name.lower(), text.lower()) for text in wanted)]
    assert list(catalog.stocked(world, HOME, wanted, "")) == meant
    for place, name in enumerate(every):
        assert list(catalog.stocked(world, HOME, None, name)) == every[place + 1 :]
    assert list(catalog.stocked(world, AWAY, None, "")) == []
    anew = World(consumables=world.consumables)
    catalog.rebuild(anew)
    assert anew.stocked == world.stocked


def _meant(name: str, text: str) -> bool:
    return name.startswith(text[:-1]) if text.endswith("*") else name == text
