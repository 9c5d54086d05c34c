"""`batchery import`, step by step: each kind of resource is read on both sides, compared, and made or changed.

Nothing is deleted, what is said only here stays, and a step that is not needed is not made: a second run changes
nothing. A step that fails does not
stop the others; what needs what failed fails then too, and says so.
"""

import time
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec
from msgspec import Struct

from batchery.api.shapes import RegisterJobDefinitionRequest
from batchery.cli.bring.account import Call, CallFailed, Json
from batchery.cli.bring.translation import KINDS, Kind, addressed, bare, going, pruned, remarks
from batchery.config import Limits
from batchery.core.messages import Refused
from batchery.spec.registration import check_registration

SETTLE_S: Final = 60.0

#: What became of a resource. CREATED and UPDATED are wishes in a dry run.
CREATED: Final = "created"
UPDATED: Final = "updated"
SAME: Final = "unchanged"
KEPT: Final = "differs, kept"
SKIPPED: Final = "left out"
FAILED: Final = "FAILED"


class Line(Struct, frozen=True, rename="camel"):
    """One line of the report."""

    kind: str
    name: str
    outcome: str
    notes: list[str] = []


class Wishes(Struct, frozen=True):
    """What to do. ``keep``: what is there and differs stays; ``patterns``: names (shell wildcards) of definitions."""

    dry_run: bool = False
    keep: bool = False
    all_revisions: bool = False
    patterns: tuple[str, ...] = ()


class Import:
    """From one account into another."""

    def __init__(self, source: Call, target: Call, wishes: Wishes) -> None:
        self._source, self._target, self._wishes = source, target, wishes

    def run(self) -> Iterator[Line]:
        """Lines as the steps are made."""
        for kind in KINDS:
            try:
                found = [item for item in kind.read(self._source) if self._wanted(kind, item)]
            except CallFailed as error:
                yield Line(kind.title, "", SKIPPED, [f"cannot be read there: {error}"])
                continue
            if not found:
                continue
            try:
                there = kind.read(self._target)
            except CallFailed as error:
                yield from (Line(kind.title, item[kind.name], FAILED, [str(error)]) for item in found)
                continue
            if kind.update is None:
                yield from self._definitions(kind, found, there)
            else:
                yield from self._resources(kind, found, there)

    def _wanted(self, kind: Kind, item: Json) -> bool:
        patterns = self._wishes.patterns
        return kind.update is not None or not patterns or any(fnmatchcase(item[kind.name], one) for one in patterns)

    # ----------------------------------------------------------------------------------------- things with a name

    def _resources(self, kind: Kind, found: Iterable[Json], there: Iterable[Json]) -> Iterator[Line]:
        by_name = {item[kind.name]: item for item in there}
        for item in found:
            name = item[kind.name]
            if going(item):
                yield Line(kind.title, name, SKIPPED, [f"it is {item['status']}"])
                continue
            request, notes = kind.request(item)
            try:
                outcome, more = self._resource(kind, name, request, by_name.get(name))
            except CallFailed as error:
                outcome, more = FAILED, [str(error)]
            yield Line(kind.title, name, outcome, [*more, *notes, *remarks(request)])

    def _resource(self, kind: Kind, name: str, request: Json, here: Json | None) -> tuple[str, list[str]]:
        assert kind.update is not None
        if here is None:
            self._create(kind, name, request)
            return CREATED, []
        made, _ = kind.request(here)
        different = sorted(name for name, value in request.items() if name != "tags" and value != made.get(name))
        if untagged(request, made):
            different.append("tags")
        if not different:
            return SAME, []
        if self._wishes.keep:
            return KEPT, [f"here it has other {', '.join(different)}"]
        operation, asked = kind.update(request)
        told = {name for name in different if name in (*asked, "totalQuantity", "tags")}
        if told - {"tags"}:
            by_arn = {kind.by_arn: here[kind.arn]} if kind.by_arn else {}
            self._do(kind, name, operation, asked | by_arn)
        self._tag(here[kind.arn], untagged(request, made))
        left = [name for name in different if name not in told]
        notes = [f"changed: {', '.join(sorted(told))}"] if told else []
        if left:
            notes.append(f"cannot be changed, and stays as it is here: {', '.join(left)}")
        return UPDATED if told else KEPT, notes

    def _create(self, kind: Kind, name: str, request: Json) -> None:
        """With what only an update can set."""
        first = dict(request)
        later = kind.later(first) if kind.later else {}
        self._do(kind, name, kind.create, first)
        if later and kind.update is not None:
            operation, whole = kind.update(request)
            self._do(kind, name, operation, {member: whole[member] for member in whole if _needed(member, kind, later)})

    def _do(self, kind: Kind, name: str, operation: str, members: Json) -> None:
        if self._wishes.dry_run:
            return
        arns: dict[str, str] = {}
        if "schedulingPolicyArn" in members:
            arns = {bare(item["arn"]): item["arn"] for item in KINDS[0].read(self._target)}
        self._target(operation, addressed(members, arns))
        if kind.settles:
            self._settled(kind, name)

    def _settled(self, kind: Kind, name: str) -> None:
        """Environments and queues are made in a while; what refers to them wants them VALID."""
        end = time.monotonic() + SETTLE_S
        while True:
            status = next((item["status"] for item in kind.read(self._target) if item[kind.name] == name), "")
            if status not in ("CREATING", "UPDATING"):
                return
            if time.monotonic() > end:
                raise CallFailed(f"it is still {status} after a minute")
            time.sleep(0.02)

    def _tag(self, arn: str, tags: dict[str, str]) -> None:
        """Set these; others that it has here stay."""
        if tags and not self._wishes.dry_run:
            self._target("TagResource", {"resourceArn": arn, "tags": tags})

    # ------------------------------------------------------------------------------------------------ definitions

    def _definitions(self, kind: Kind, found: Iterable[Json], there: Iterable[Json]) -> Iterator[Line]:
        """The newest ACTIVE revision of each name, or all of them, the oldest first."""
        here: dict[str, list[Json]] = {}
        for item in there:
            here.setdefault(item[kind.name], []).append(item)
        by_name: dict[str, list[Json]] = {}
        for item in found:
            by_name.setdefault(item[kind.name], []).append(item)
        for name, revisions in by_name.items():
            for item in revisions if self._wishes.all_revisions else revisions[-1:]:
                yield self._definition(kind, item, here.setdefault(name, []))

    def _definition(self, kind: Kind, item: Json, here: list[Json]) -> Line:
        """``here``: revisions of this name, the oldest first; a new one is added."""
        name = f"{item[kind.name]}:{item['revision']}"
        request, notes = kind.request(item)
        notes = [*notes, *remarks(request)]
        looked_at = here if self._wishes.all_revisions else here[-1:]
        same = next((one for one in looked_at if _untagged(kind.request(one)[0]) == _untagged(request)), None)
        try:
            if same is not None:
                missing = untagged(request, same)
                self._tag(same[kind.arn], missing)
                outcome = UPDATED if missing else SAME
                notes = [*(["changed: tags"] if missing else []), *notes]
                return Line(kind.title, name, outcome, [*_renumbered(item["revision"], same["revision"]), *notes])
            if self._wishes.dry_run:
                check_registration(msgspec.convert(request, RegisterJobDefinitionRequest), Limits())
                return Line(kind.title, name, CREATED, notes)
            answer = self._target(kind.create, request)
        except (CallFailed, Refused, msgspec.ValidationError) as error:
            return Line(kind.title, name, FAILED, [str(error), *notes])
        here.append({**request, kind.arn: answer[kind.arn], "revision": answer["revision"]})
        return Line(kind.title, name, CREATED, [*_renumbered(item["revision"], answer["revision"]), *notes])


def _needed(member: str, kind: Kind, later: Json) -> bool:
    return member in later or member == kind.name.removesuffix("Name")


def untagged(request: Json, made: Json) -> dict[str, str]:
    """Tags of the request that what is there does not have."""
    there = made.get("tags") or {}
    return {name: value for name, value in (request.get("tags") or {}).items() if there.get(name) != value}


def _untagged(request: Json) -> Json:
    return {name: value for name, value in request.items() if name != "tags"}


def _renumbered(there: int, here: int) -> list[str]:
    return [] if there == here else [f"revision {here} here"]


def as_document(lines: Iterable[Line]) -> list[Any]:
    """For --json."""
    return [pruned(msgspec.to_builtins(line)) for line in lines]
