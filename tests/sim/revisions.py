"""What must be true of what is given once: numbers of definitions, whatever was deregistered and forgotten, and
clientTokens, within their eight hours and while what they belong to is there."""

from batchery.core.changes import Change, ConsumableGone, DefinitionGone, DefinitionSet, Submitted, TokenUsed
from batchery.core.model import ACTIVE

EIGHT_HOURS = 8 * 3_600_000  # ms


class Revisions:
    """``note`` takes in commits; it raises AssertionError."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.active: set[str] = set()
        self.highest: dict[str, int] = {}
        self.had: set[str] = set()  # jobs refer to them
        self.tokens: dict[tuple[str, str], int] = {}  # and when they acted

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
            elif isinstance(change, TokenUsed):
                last = self.tokens.get((change.scope, change.token), 0)
                assert last + EIGHT_HOURS <= change.at, f"{change.scope}: token {change.token} acts once"
                self.tokens[change.scope, change.token] = change.at
            elif isinstance(change, ConsumableGone):
                self.tokens = {key: at for key, at in self.tokens.items() if key[0] != change.arn}

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
