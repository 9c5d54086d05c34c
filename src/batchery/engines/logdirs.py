"""The directories of logs, made when the first log of one is about to be written."""

import os
from typing import Final

REMEMBERED: Final = 10_000


class LogDirs:
    """Remembers those that are there."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def prepare(self, log_path: str) -> None:
        """Raises OSError."""
        directory = os.path.dirname(log_path)
        if directory not in self._known or not os.path.isdir(directory):
            os.makedirs(directory, exist_ok=True)
            if len(self._known) > REMEMBERED:
                self._known.clear()
            self._known.add(directory)
