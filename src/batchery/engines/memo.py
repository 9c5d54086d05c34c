"""The last so many keys, each with the cause it was handed back for."""

from typing import Final

from batchery.core.model import WITHDRAWN, AttemptKey

REMEMBERED: Final = 10_000  # keys killed before they came, and keys acknowledged


class Memo(dict[AttemptKey, str]):
    """Forgets the oldest. The first cause of a key stands."""

    def add(self, key: AttemptKey, cause: str = WITHDRAWN) -> None:
        self.setdefault(key, cause)
        if len(self) > REMEMBERED:
            del self[next(iter(self))]
