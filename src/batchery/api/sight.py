"""What World and the store together know of jobs, as `Seen`.

Theory of operation
    World holds what is open, the store what has ended, and both go on while a request is answered. World is asked
    first: its answer leaves only when everything it may have seen is committed. So whatever it did not hold has ended
    for good, and its rows say how; and of what it did hold, everything up to the moment of the answer is in the rows.
    Rows of later moments are told by their serial numbers and left out, so an answer never mixes two moments of a job.

    Children have no rows of their own until they are placed: ended ones are found in spans ("indexes 0 to 41
    SUCCEEDED at ..."), all others are World's to tell.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice

import msgspec

from batchery.api.views import Seen, counted
from batchery.core import query
from batchery.core.model import CANCEL, CHILD, NODE, TERMINATE, Realm, Ref, Resources, task_ref
from batchery.core.query import Facts
from batchery.core.status import AWS_STATUSES, ENDED, FAILED, RUNNING, SHOWN, STARTING
from batchery.run.port import Service
from batchery.store.store import AttemptRow, EndedRow, JobRow

_FLAGS = CANCEL | TERMINATE
_gang = msgspec.json.Decoder(tuple[Resources, ...])
_instances = msgspec.json.Decoder(tuple[tuple[str, int], ...])


class Sighting:
    """One request's look at jobs. What it reads of arrays is read once."""

    def __init__(self, service: Service, realm: Realm, service_jobs: bool = False) -> None:
        """``service_jobs``: look at these, which are not among the others."""
        self.of_service = service_jobs
        self.service = service
        self.reads = service.reads
        self.realm = realm
        self._spans: dict[int, list[EndedRow]] = {}

    async def of_ids(self, refs: list[str]) -> list[Seen]:
        """In the order given; unknown ones, and those of other realms, are left out. Without attempts."""
        open_ones = await self.service.ask(query.facts, self.realm, refs, self.of_service)
        rest = [task_ref(ref) for ref in refs if ref not in open_ones]
        rows = await self.reads.jobs(list(dict.fromkeys(one.job for one in rest))) if rest else {}
        found = []
        for ref in refs:
            name = task_ref(ref)
            if (facts := open_ones.get(ref)) is not None:
                found.append(self._of_facts(facts))
            elif (row := rows.get(name.job)) is not None and self._knows(row) and has(row, name):
                found.append(self._of_row(row, name.index))
        return await self._complete(found)

    async def of_facts(self, facts: list[Facts]) -> list[Seen]:
        """Of open jobs, or of children of open arrays (which may have ended themselves)."""
        return await self._complete([self._of_facts(one) for one in facts])

    async def of_rows(self, rows: list[JobRow]) -> list[Seen]:
        """Of ended jobs."""
        return await self._complete([self._of_row(row, None) for row in rows if self._knows(row)])

    async def of_ended_array(self, row: JobRow, codes: tuple[int, ...], after: int, limit: int) -> list[Seen]:
        """Children with one of ``codes`` and index > ``after``, by index."""
        if not self._knows(row):
            return []
        each = (
            self._of_row(row, index)
            for span in await self.spans(row.seq)
            if span.code in codes
            for index in range(max(span.first, after + 1), span.end)
        )
        return await self._complete(list(islice(each, limit)))

    async def spans(self, seq: int) -> list[EndedRow]:
        """The ends of an array's children, by index."""
        if seq not in self._spans:
            self._spans[seq] = sorted(await self.reads.ended(seq), key=_first)
        return self._spans[seq]

    def _knows(self, row: JobRow) -> bool:
        mine = bool(row.instances) == self.of_service
        return mine and row.code is not None and (row.account, row.region) == self.realm

    def _of_facts(self, facts: Facts) -> Seen:
        seen = Seen(
            id=facts.id,
            job=facts.job,
            index=facts.index,
            seq=facts.seq,
            queue=facts.queue,
            name=facts.name,
            definition=facts.definition,
            created=facts.created,
            size=facts.size,
            main=facts.main,
            vcpus=facts.vcpus,
            share=facts.share,
            code=facts.code,
            kinds=facts.asked_kind & _FLAGS,
            reason=facts.reason,
            summary=facts.summary,
            summary_at=self.service.now() if facts.summary is not None else 0,
            live=facts.live,
            serial=facts.serial,
            instances=facts.instances,
            priority=facts.priority,
        )
        if seen.index is not None and seen.code in (STARTING, RUNNING):
            # its array was cancelled, which does not touch children that have started (API_CancelJob)
            seen.kinds &= ~CANCEL
            seen.reason = seen.reason if seen.kinds else ""
        return seen

    def _of_row(self, row: JobRow, index: int | None) -> Seen:
        """Of a child so far only what its array tells: `_complete` does the rest."""
        assert row.code is not None
        return Seen(
            id=row.id if index is None else f"{row.id}{NODE if row.main >= 0 else CHILD}{index}",
            job=row.id,
            index=index,
            seq=row.seq,
            queue=row.queue,
            name=row.name,
            definition=row.definition,
            created=row.created,
            size=row.size,
            main=row.main,
            vcpus=row.vcpus if index is None or not row.gang else _gang.decode(row.gang)[index].vcpus,
            share=row.share,
            code=row.code,
            kinds=row.asked_kind & _FLAGS,
            reason=row.reason if index is None else row.asked_reason,
            ended=row.ended,
            instances=_instances.decode(row.instances) if row.instances else (),
            priority=row.priority,
        )

    async def _complete(self, found: list[Seen]) -> list[Seen]:
        """Add how children ended and the summaries of ended arrays."""
        children: defaultdict[int, list[Seen]] = defaultdict(list)
        for seen in found:
            if seen.index is not None and seen.code in ENDED:
                children[seen.seq].append(seen)
            elif seen.parent and seen.code in ENDED:
                seen.summary, seen.summary_at = _counts(await self.spans(seen.seq)), seen.ended
        for seq, group in children.items():
            own = await self.reads.task_asked(seq, [seen.index for seen in group if seen.index is not None])
            for seen in group:
                _end_child(seen, await self.spans(seq), own)
        return found

    async def add_attempts(self, found: Iterable[Seen], *, last_only: bool = False) -> None:
        """Fill in ``past``. ``last_only``: the newest is enough."""
        plain: list[Seen] = []
        children: defaultdict[int, list[Seen]] = defaultdict(list)
        for seen in found:
            if seen.index is not None or seen.main >= 0:
                children[seen.seq].append(seen)
            elif not seen.size:
                plain.append(seen)
        if plain:
            rows = await self.reads.attempts_of([seen.seq for seen in plain])
            for seen in plain:
                seen.past = _past(seen, rows.get(seen.seq, []))
        for seq, group in children.items():
            newest = await self.reads.last_attempts(seq, [seen.task for seen in group])
            for seen in group:
                if seen.task in newest:
                    seen.past = await self._child_past(seen, newest[seen.task], last_only)

    async def _child_past(self, seen: Seen, newest: AttemptRow, last_only: bool) -> tuple[AttemptRow, ...]:
        only = _past(seen, [newest])
        if newest.serial <= 1 or (last_only and only):
            return only
        return _past(seen, await self.reads.attempts(seen.seq, seen.task))


def has(row: JobRow, name: Ref) -> bool:
    """Whether an id (of this job) names the job, a child of it, or a node of it."""
    if name.index is None:
        return True
    return 0 <= name.index < row.size and name.mark == (NODE if row.main >= 0 else CHILD)


def _first(span: EndedRow) -> int:
    return span.first


def _end_child(seen: Seen, spans: list[EndedRow], own: dict[int, tuple[int, str]]) -> None:
    """Add how the child ended.

    So far ``seen`` has what was asked of its array, which is its own flag only if that is what ended it; ``own``: what
    was asked of children by their own ids.
    """
    assert seen.index is not None
    index = seen.index
    span = spans[bisect_right(spans, index, key=_first) - 1]
    assert span.first <= index < span.end, f"the end of {seen.id} is stored"
    if span.code != FAILED or span.reason != seen.reason:
        seen.kinds = 0
    seen.kinds |= own[index][0] & _FLAGS if index in own else 0
    seen.code, seen.reason, seen.ended = span.code, span.reason, span.at


def _past(seen: Seen, rows: list[AttemptRow]) -> tuple[AttemptRow, ...]:
    """Of these, the attempts that had ended when the job was seen."""
    if seen.code in ENDED:
        return tuple(row for row in rows if counted(row))
    if seen.live is None:
        return tuple(row for row in rows if counted(row) and row.serial <= seen.serial)
    return tuple(row for row in rows if counted(row) and row.serial < seen.live.key.serial)


def _counts(spans: list[EndedRow]) -> dict[str, int]:
    """statusSummary of an array that has ended."""
    counts = dict.fromkeys(AWS_STATUSES, 0)
    for span in spans:
        counts[SHOWN[span.code]] += span.end - span.first
    return counts
