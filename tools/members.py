"""Every member of every request of AWS Batch, and what becomes of it here: docs/members/*.toml -> docs/members.md.

Theory of operation
    The service model names the members: `members` walks the inputs of all operations. A member is keyed by the shape
    that has it, ``LinuxParameters.swappiness``, so what several operations share is told once. The tables say of each
    one thing: *acts*, with the test that shows it; *stored*, with the reason why it has no meaning off AWS; *refused*,
    with the message. `faults` lists what is in none of them, in two, or unknown to the model.

    That the test named really sends the member is seen while the tests run: tests/conftest.py records the members of
    every call that boto3 made and that succeeded, and asks `unshown`.

Usage: ``python -m tools.members`` writes the page; ``--check`` exits with 1 if the committed one is another.
"""

import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from botocore.loaders import Loader
from botocore.model import ServiceModel

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "docs" / "members"
PAGE = ROOT / "docs" / "members.md"
KINDS = ("acts", "stored", "refused")


class Fate(NamedTuple):
    """What becomes of a member: ``kind`` is one of KINDS; ``words`` a test, a reason or a message."""

    kind: str
    words: str


@cache
def model() -> ServiceModel:
    """The newest model of AWS Batch that the installed botocore has."""
    return ServiceModel(Loader().load_service_model("batch", "service-2"))


def structures(shape: Any, found: dict[str, tuple[str, ...]]) -> None:
    """Add to ``found`` each structure within ``shape``: its name and its members."""
    if shape.type_name == "structure" and shape.name not in found:
        found[shape.name] = tuple(shape.members)
        for member in shape.members.values():
            structures(member, found)
    elif shape.type_name == "list":
        structures(shape.member, found)
    elif shape.type_name == "map":
        structures(shape.value, found)


@cache
def by_operation() -> dict[str, dict[str, tuple[str, ...]]]:
    """operation -> structures of its request -> their members, all in the model's order."""
    out: dict[str, dict[str, tuple[str, ...]]] = {}
    for name in model().operation_names:
        shape = model().operation_model(name).input_shape
        out[name] = {}
        if shape is not None:
            structures(shape, out[name])
    return out


@cache
def members() -> frozenset[str]:
    """``Shape.member`` of all that a client can send."""
    return frozenset(
        f"{shape}.{member}" for shapes in by_operation().values() for shape, names in shapes.items() for member in names
    )


def sent(shape: Any, value: Any) -> Iterator[str]:
    """``Shape.member`` of what a call's parameters hold."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for name, inner in value.items():
            if name in shape.members:
                yield f"{shape.name}.{name}"
                yield from sent(shape.members[name], inner)
    elif shape.type_name == "list":
        for inner in value:
            yield from sent(shape.member, inner)
    elif shape.type_name == "map" and isinstance(value, Mapping):
        for inner in value.values():
            yield from sent(shape.value, inner)


@cache
def fates() -> tuple[tuple[str, Fate], ...]:
    """Every row of every table, as written."""
    rows = []
    for path in sorted(TABLES.glob("*.toml")):
        for kind, entries in tomllib.loads(path.read_text()).items():
            rows += [(member, Fate(kind, words)) for member, words in entries.items()]
    return tuple(rows)


def faults() -> list[str]:
    """What is wrong with the tables: empty if every member of the model has exactly one fate."""
    rows = fates()
    count = Counter(member for member, _ in rows)
    out = [f"{member}: in no table" for member in sorted(members() - set(count))]
    out += [f"{member}: the model does not know it" for member in sorted(set(count) - members())]
    out += [f"{member}: {n} times" for member, n in sorted(count.items()) if n > 1]
    out += [f"{member}: no kind {fate.kind}" for member, fate in rows if fate.kind not in KINDS]
    out += [f"{member}: no words" for member, fate in rows if not fate.words.strip()]
    return out


def plain(node: str) -> str:
    """A test's node id without its parameters."""
    return node.partition("[")[0]


def unshown(ran: Mapping[str, Iterable[str]], whole: bool, excused: Iterable[str] = ()) -> list[str]:
    """Rows whose test did not show them.

    ``ran``: node id of each test that passed -> members it sent with success. ``whole``: every test was asked for, so
    one that is named and did not run is a fault as well, unless it is among ``excused``: those that said why not.
    """
    shown: dict[str, set[str]] = {}
    for node, names in ran.items():
        shown.setdefault(plain(node), set()).update(names)
    out = []
    not_run = set(map(plain, excused)) - set(shown)
    for member, fate in fates():
        if fate.kind != "acts" or fate.words in not_run:
            continue
        if fate.words not in shown:
            out += [f"{member}: {fate.words} did not run"] if whole else []
        elif member not in shown[fate.words]:
            out.append(f"{member}: {fate.words} did not send it with success")
    return out


def page() -> str:
    """The text of docs/members.md."""
    known = dict(fates())
    count = Counter(known[name].kind for name in members() if name in known)
    lines = [
        "# Every request member of the operations",
        "",
        f"{len(by_operation())} operations, {len(members())} members: "
        f"**{count['acts']} act** (a test shows it), **{count['stored']} are stored and echoed** because they have no "
        f"meaning off AWS, **{count['refused']} are refused**.",
        "",
        "Made by `make members` from `members/*.toml`; the tests check that none is missing and that each test named",
        "sends its member. A member is listed with the structure that has it; structures that several operations share",
        "are listed once, with the first.",
    ]
    told: set[str] = set()
    for operation, shapes in by_operation().items():
        lines += ["", f"## {operation}", ""]
        again = [shape for shape in shapes if shape in told]
        fresh = [shape for shape in shapes if shape not in told]
        told.update(fresh)
        if fresh and any(shapes[shape] for shape in fresh):
            lines += ["| member | | |", "|---|---|---|"]
        for shape in fresh:
            for member in shapes[shape]:
                fate = known.get(f"{shape}.{member}", Fate("", ""))
                words = f"`{fate.words.removeprefix('tests/')}`" if fate.kind == "acts" else fate.words
                owner = "" if shape.endswith("Request") and shape.removesuffix("Request") == operation else f"{shape}."
                lines.append(f"| {owner}{member} | {fate.kind} | {words.replace('|', chr(92) + '|')} |")
        if again:
            lines += ["", "Also: " + ", ".join(again) + " (above)."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or check it."""
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text() == page() else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
