"""The terminal: columns, colours and progress; plain text wherever it is not one, or NO_COLOR is set."""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Final

import click

COLOURS: Final = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "RUNNING": "cyan",
    "STARTING": "cyan",
    "RUNNABLE": "yellow",
    "PENDING": "yellow",
    "SUBMITTED": "yellow",
}
#: Least width of a last column that is cut to fit the terminal.
LEAST: Final = 12


def colours() -> bool:
    """Whether to use them: a terminal, and nobody asked for none (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, status: str) -> str:
    """``text`` in the colour of a status."""
    return click.style(text, fg=COLOURS.get(status)) if colours() else text


def columns(rows: Sequence[Sequence[str]], painted: int | None = None) -> list[str]:
    """Rows (the first is the heading) as aligned lines. At a terminal the last column is cut to fit its width.

    ``painted``: the column whose text is a status and gets its colour.
    """
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * len(widths[:-1])
        widths[-1] = max(LEAST, room)
    lines = []
    for row in rows:
        cells = []
        for at, text in enumerate(row):
            shown = text if len(text) <= widths[at] else text[: widths[at] - 1] + "…"
            padded = shown.ljust(widths[at])
            cells.append(paint(padded, text) if at == painted else padded)
        lines.append("  ".join(cells).rstrip())
    return lines


_shown = ""


def progress(text: str) -> None:
    """One line on stderr that the next one replaces; "" takes it away. Nothing where stderr is not a terminal."""
    global _shown
    if text != _shown and sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)
        _shown = text
