"""Job definitions and consumable resources in the order in which they are listed, kept with every change: a page costs
what it shows, not what there is.

Definitions go by name, the newest revision first, on one shelf for each status; stubs (forgetting.py) are on none.
Consumable resources go by name without case, so that those whose names begin alike stand together.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from heapq import merge
from typing import Final

from batchery.core.keys import Realm
from batchery.core.model import ACTIVE, INACTIVE, Definition, World
from batchery.core.named import Consumable, Shelf

#: The status of definitions.
STATUSES: Final = (ACTIVE, INACTIVE)
_LAST: Final = "\U0010ffff"  # sorts behind whatever follows a prefix


def rebuild(world: World) -> None:
    """All of it anew."""
    world.revisions, world.catalog, world.stocked = {}, {}, {}
    for definition in world.definitions.values():
        _number(world, definition)
        if definition.doc:
            shelf = world.catalog.setdefault((definition.realm, definition.status), Shelf())
            shelf.numbers.setdefault(definition.name, []).append(definition.revision)
    for shelf in world.catalog.values():
        shelf.names = sorted(shelf.numbers)
        for numbers in shelf.numbers.values():
            numbers.sort()
    for consumable in world.consumables.values():
        world.stocked.setdefault(consumable.realm, []).append(_key(consumable))
    for keys in world.stocked.values():
        keys.sort()


# ------------------------------------------------------------------------------------------------------- definitions


def define(world: World, definition: Definition) -> None:
    """File what is new, or another than it was; keep the highest number ever given to its name."""
    _number(world, definition)
    drop(world, definition)
    if not definition.doc:
        return
    shelf = world.catalog.setdefault((definition.realm, definition.status), Shelf())
    if definition.name not in shelf.numbers:
        shelf.numbers[definition.name] = []
        insort(shelf.names, definition.name)
    insort(shelf.numbers[definition.name], definition.revision)


def drop(world: World, definition: Definition) -> None:
    """It is listed no more."""
    for status in STATUSES:
        shelf = world.catalog.get((definition.realm, status))
        numbers = shelf.numbers.get(definition.name, []) if shelf is not None else []
        at = bisect_left(numbers, definition.revision)
        if shelf is None or numbers[at : at + 1] != [definition.revision]:
            continue
        del numbers[at]
        if not numbers:
            del shelf.numbers[definition.name], shelf.names[bisect_left(shelf.names, definition.name)]
        if not shelf.names:
            del world.catalog[definition.realm, status]


def _number(world: World, definition: Definition) -> None:
    name = (definition.realm, definition.name)
    world.revisions[name] = max(world.revisions.get(name, 0), definition.revision)


def listed(
    world: World,
    realm: Realm,
    statuses: Iterable[str] = STATUSES,
    name: str | None = None,
    after: tuple[str, int] = ("", 0),
) -> Iterator[tuple[str, int]]:
    """Names and revisions, of one name or of all, behind this one."""
    shelves = [shelf for status in statuses if (shelf := world.catalog.get((realm, status))) is not None]
    begun, number = after
    for one in _names(shelves, begun) if name is None else (name,):
        for revision in _descending(shelves, one):
            if one != begun or revision < number:
                yield one, revision


def _names(shelves: list[Shelf], start: str) -> Iterator[str]:
    """From ``start`` on, each once."""
    last = None
    for name in merge(*(_from(shelf.names, start) for shelf in shelves)):
        if name != last:
            yield name
        last = name


def _from(names: list[str], start: str) -> Iterator[str]:
    return (names[at] for at in range(bisect_left(names, start), len(names)))


def _descending(shelves: list[Shelf], name: str) -> Iterator[int]:
    return merge(*(reversed(shelf.numbers.get(name, ())) for shelf in shelves), reverse=True)


def active_revision(world: World, realm: Realm, name: str) -> int:
    """The highest ACTIVE one, 0 for none."""
    shelf = world.catalog.get((realm, ACTIVE))
    return shelf.numbers[name][-1] if shelf is not None and name in shelf.numbers else 0


# ------------------------------------------------------------------------------------------------------- consumables


def _key(consumable: Consumable) -> tuple[str, str]:
    return consumable.name.lower(), consumable.name


def stock_up(world: World, consumable: Consumable) -> None:
    """List what is new."""
    insort(world.stocked.setdefault(consumable.realm, []), _key(consumable))


def sell_out(world: World, consumable: Consumable) -> None:
    """It is listed no more."""
    keys = world.stocked[consumable.realm]
    del keys[bisect_left(keys, _key(consumable))]
    if not keys:
        del world.stocked[consumable.realm]


def stocked(world: World, realm: Realm, wanted: list[str] | None, after: str) -> Iterator[str]:
    """Names of consumable resources behind this one. ``wanted``: any of these names; with a final ``*`` what begins so;
    without case."""
    keys = world.stocked.get(realm, [])
    spans = sorted(_span(text.lower()) for text in wanted) if wanted is not None else [("", _LAST)]
    at = bisect_left(keys, (after.lower(), after + "\0")) if after else 0
    for first, end in spans:
        at = max(at, bisect_left(keys, (first, "")))
        while at < len(keys) and keys[at][0] < end:
            yield keys[at][1]
            at += 1


def _span(text: str) -> tuple[str, str]:
    return (text[:-1], text[:-1] + _LAST) if text.endswith("*") else (text, text + "\0")
