"""Ratios: each of two figures that were measured in turns in one run, with the goal where there is one."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins


class Ratio(Struct):
    """``ours`` and ``theirs`` are samples, one of each per round. ``least``/``most``: the goal, 0 for none."""

    name: str
    unit: str
    ours: list[float]
    theirs: list[float]
    against: str
    least: float = 0
    most: float = 0

    @property
    def value(self) -> float:
        """Median against median."""
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.least:
            return self.value >= self.least
        return self.value <= self.most if self.most else None

    @property
    def goal(self) -> str:
        return f"≥ {self.least:g}" if self.least else f"≤ {self.most:g}" if self.most else ""


class Report:
    """What a run has found."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.ratios: list[Ratio] = []
        self.figures: list[tuple[str, str, list[float]]] = []
        self.fsync: list[float] = []
        self.notes: list[str] = []

    def figure(self, name: str, unit: str, samples: Sequence[float]) -> None:
        """A figure by itself: of this machine, on this day."""
        self.figures.append((name, unit, list(samples)))

    def text(self) -> str:
        """As Markdown."""
        lines = [f"- {name}: {value}" for name, value in self.facts.items()]
        if self.fsync:
            spread = f"{min(self.fsync):.0f}–{max(self.fsync):.0f}"
            lines.append(
                f"- append 4 KiB and fdatasync, between the rounds: median {_number(self.fsync)} µs ({spread})"
            )
        lines += ["", "| | Batchery | | against | ratio | goal | |", "|---|---|---|---|---|---|---|"]
        for ratio in self.ratios:
            verdict = {True: "met", False: "missed", None: ""}[ratio.met]
            lines.append(
                f"| {ratio.name} | {_number(ratio.ours)} {ratio.unit} | {ratio.against} | {_number(ratio.theirs)} "
                f"{ratio.unit} | {ratio.value:.2f} | {ratio.goal} | {verdict} |"
            )
        if self.figures:
            lines += ["", "| figure by itself | median | lowest – highest |", "|---|---|---|"]
            lines += [
                f"| {name} | {_number(samples)} {unit} | {_number([min(samples)])} – {_number([max(samples)])} |"
                for name, unit, samples in self.figures
            ]
        return "\n".join([*lines, "", *self.notes])

    def save(self, path: Path) -> None:
        """All samples, as JSON."""
        document: dict[str, Any] = {
            "facts": self.facts,
            "fdatasync_us": self.fsync,
            "ratios": [{**to_builtins(ratio), "ratio": ratio.value, "met": ratio.met} for ratio in self.ratios],
            "figures": [{"name": name, "unit": unit, "samples": s} for name, unit, s in self.figures],
        }
        path.write_text(json.dumps(document, indent=1))


def _number(samples: Sequence[float]) -> str:
    middle = statistics.median(samples)
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.2f}"
