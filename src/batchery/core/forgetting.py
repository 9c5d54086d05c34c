"""Definitions that were deregistered long ago go: what may go, and what stays of it.

Numbers of revisions are never given twice, so of the highest revision of a name a stub stays: a row without a document,
which no question sees. Which definitions jobs still refer to is for the store to know: the command names only others.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from batchery.core.changes import Change, DefinitionGone, DefinitionSet, TagsSet
from batchery.core.messages import ForgetDefinitions
from batchery.core.model import INACTIVE, Definition, World


def is_stub(definition: Definition) -> bool:
    """Only its number is left."""
    return not definition.doc


def forgettable(world: World, before: int) -> list[str]:
    """ARNs of definitions INACTIVE since before ``before`` (ms), and of stubs that hold no number any more."""
    return [arn for arn, definition in world.definitions.items() if _may_go(world, definition, before)]


def _may_go(world: World, definition: Definition, before: int) -> bool:
    old = definition.status == INACTIVE and definition.deregistered < before
    return old and not (is_stub(definition) and _highest(world, definition))


def _highest(world: World, definition: Definition) -> bool:
    return world.revisions[definition.realm, definition.name] == definition.revision


def forget(world: World, cmd: ForgetDefinitions, now: int) -> list[Change]:
    """Those of the command that may go still."""
    found = (world.definitions[arn] for arn in cmd.arns if arn in world.definitions)
    return [change for definition in found for change in _gone(world, definition, cmd.before)]


def _gone(world: World, definition: Definition, before: int) -> Iterable[Change]:
    if not _may_go(world, definition, before):
        return ()
    tags = TagsSet(definition.arn, {}, ("*",))
    if _highest(world, definition):
        return (DefinitionSet(replace(definition, doc="")), tags)
    return (DefinitionGone(definition.arn), tags)
