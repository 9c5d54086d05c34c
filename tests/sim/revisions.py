"""What must be true of definitions: numbers are never given twice, whatever was deregistered and forgotten."""

from batchery.core.changes import Change, DefinitionGone, DefinitionSet, Submitted
from batchery.core.model import ACTIVE


class Revisions:
    """``note`` takes in commits; it raises AssertionError."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.active: set[str] = set()
        self.highest: dict[str, int] = {}
        self.had: set[str] = set()  # jobs refer to them

    def note(self, changes: list[Change]) -> None:
        """These are committed, in this order."""
        for change in changes:
            if isinstance(change, Submitted):
                self.had.add(change.job.definition)
            elif isinstance(change, DefinitionSet):
                self._set(change)
            elif isinstance(change, DefinitionGone):
                assert change.arn not in self.had, f"{change.arn} goes, and jobs refer to it"
                assert change.arn not in self.active, f"{change.arn} goes, and is ACTIVE"
                self.there.discard(change.arn)

    def _set(self, change: DefinitionSet) -> None:
        definition = change.definition
        name, number = definition.name, definition.revision
        if definition.arn not in self.there:
            assert number == self.highest.get(name, 0) + 1, f"{definition.arn}: the next number, never an old one"
            assert definition.status == ACTIVE, f"{definition.arn}: new ones are ACTIVE"
        assert definition.doc or definition.arn not in self.had, f"{definition.arn} is emptied, and jobs refer to it"
        self.there.add(definition.arn)
        self.highest[name] = max(number, self.highest.get(name, 0))
        (self.active.add if definition.status == ACTIVE else self.active.discard)(definition.arn)
