"""Endpoints of our own, for the command line: jobs, why, stop, forget. `POST /batchery/<name>`, signed like any other
call.

What AWS's operations do not tell: CPU time and peak memory of attempts, why a job waits, how it came to its end.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from batchery.api import story
from batchery.api.call import ApiError, Call
from batchery.api.sight import has
from batchery.api.targets import own
from batchery.core import query
from batchery.core.messages import Stop
from batchery.core.model import task_ref
from batchery.core.status import AWS_STATUSES, CODES_SHOWN_AS, ENDED, FAILED, SHOWN, SUCCEEDED
from batchery.spec.names import definition_ref, name_of
from batchery.store.store import AttemptRow, EndedRow, JobRow

NEWEST: Final = 2**62  # a sequence number beyond all
MOST: Final = 1000  # jobs in one answer
ENDED_NAMES: Final = tuple(SHOWN[code] for code in (SUCCEEDED, FAILED))


@own("jobs")
async def jobs(call: Call, ask: dict[str, Any]) -> dict[str, Any]:
    """Open and recent jobs of the realm, newest first.

    Members, all optional: queue (name or ARN), statuses (AWS's names), limit (1 to 1000, default 50).
    Answer: jobs, each {id, name, queue, definition, status, reason, created, started, stopped, exitCode, attempts,
    cpuMs, peakMiB, size, summary}; times in ms, absent while there is nothing to say; and more, whether there are.
    """
    limit, statuses = _limit(ask), _statuses(ask)
    queues = [queue.arn for queue in await call.service.ask(query.queues, call.realm)]
    if ask.get("queue"):
        named = await call.service.ask(query.resolve_queue, call.realm, str(ask["queue"]))
        if named is None:
            raise call.refuse(f"JobQueue {ask['queue']} not found.", wrapped=False)
        queues = [named.arn]
    opened = {}
    codes = tuple(code for name in statuses if name not in ENDED_NAMES for code in CODES_SHOWN_AS[name])
    for arn in queues if codes else ():
        for facts in await call.service.ask(query.open_page, arn, codes, NEWEST, limit + 1):
            opened[facts.seq] = facts
    # After the open ones, so that a job which ends meanwhile is in one of the two at least.
    await call.service.barrier()
    closed = {}
    for arn in queues:
        for code in (code for code in (SUCCEEDED, FAILED) if SHOWN[code] in statuses):
            for row in await call.service.reads.page(arn, codes=(code,), before=NEWEST, limit=limit + 1):
                closed[row.seq] = row
    seqs = sorted({*opened, *closed}, reverse=True)
    shown = seqs[:limit]
    attempts = await call.service.reads.attempts_of(shown)
    items = []
    for seq in shown:
        if seq in closed:
            row = closed[seq]
            spans = await call.service.reads.ended(seq) if row.size else []
            items.append(_ended_item(row, attempts.get(seq, []), spans))
        else:
            items.append(_open_item(opened[seq], attempts.get(seq, [])))
    return {"jobs": items, "more": len(seqs) > limit}


@own("why")
async def why(call: Call, ask: dict[str, Any]) -> dict[str, Any]:
    """Why a job, or a child of an array, is in its state.

    Member: job (id, or id:index). Answer: id, name, status, lines (sentences), place (1 is next in its queue, 0 when
    it does not wait for capacity), waitsFor (ids), lacks (environment -> what it lacks).
    """
    ref = str(ask.get("job") or "")
    name = task_ref(ref)
    job, index = name.job, name.index
    found = await call.service.ask(query.why, call.realm, ref, call.service.now())
    await call.service.barrier()
    row = (await call.service.reads.jobs([job])).get(job)
    if row is None or (row.account, row.region) != call.realm or not has(row, name):
        raise ApiError(404, "JobNotFound", f"There is no job {ref} in {call.realm.region}.")
    answer: dict[str, Any] = {"id": ref, "name": row.name, "place": 0, "waitsFor": [], "lacks": {}}
    of_task = row.main if row.main >= 0 and index is None else index
    attempts = [] if row.size and of_task is None else await call.service.reads.attempts(row.seq, of_task)
    tried = [story.attempt_line(number, attempt) for number, attempt in enumerate(attempts, 1) if attempt.stopped]
    if found is not None and found.status not in ENDED_NAMES:
        waits = {"place": found.place, "waitsFor": found.waits_for, "lacks": found.lacks}
        return answer | waits | {"status": found.status, "lines": [*found.lines, *tried]}
    status, lines = await _ended_story(call, row, index)
    return answer | {"status": status, "lines": [*lines, *tried]}


@own("stop")
async def stop(call: Call, ask: dict[str, Any]) -> dict[str, Any]:
    """End every open job of the server, of all accounts and regions. Member: reason. Answer: jobs, how many."""
    reason = str(ask.get("reason") or "Stopped.")[: call.service.config.limits.reason_chars]
    return {"jobs": await call.submit(Stop(reason), lambda count: count)}


@own("forget")
async def forget(call: Call, ask: dict[str, Any]) -> dict[str, Any]:
    """Forget every job of the server that has ended, of all accounts and regions. Answer: jobs, how many."""
    await call.service.barrier()
    return {"jobs": await call.service.forget_ended()}


def _limit(ask: dict[str, Any]) -> int:
    limit = ask.get("limit", 50)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise ApiError(400, "ClientException", f"limit must be a number between 1 and {MOST}")
    return limit


def _statuses(ask: dict[str, Any]) -> list[str]:
    statuses = ask.get("statuses") or list(AWS_STATUSES)
    if not isinstance(statuses, list) or not all(name in AWS_STATUSES for name in statuses):
        raise ApiError(400, "ClientException", f"statuses must be a list of these: {', '.join(AWS_STATUSES)}")
    return statuses


def _item(source: query.Facts | JobRow, attempts: Iterable[AttemptRow]) -> dict[str, Any]:
    """What open and ended jobs have in common."""
    tried = [attempt for attempt in attempts if attempt.stopped and source.main in (-1, attempt.index)]
    definition = definition_ref(source.definition)
    item: dict[str, Any] = {
        "id": source.id,
        "name": source.name,
        "queue": name_of(source.queue),
        "definition": f"{definition.name}:{definition.revision}" if definition else source.definition,
        "created": source.created,
        "reason": source.reason,
        "attempts": sum(attempt.counts for attempt in tried),
        "cpuMs": sum(attempt.cpu_ms for attempt in tried),
        "peakMiB": max((attempt.peak_mib for attempt in tried), default=0),
    }
    if source.size and source.main < 0:
        item["size"] = source.size
    elif tried:
        if tried[-1].started:
            item["started"] = tried[-1].started
        if tried[-1].exit_code is not None:
            item["exitCode"] = tried[-1].exit_code
    return item


def _open_item(facts: query.Facts, attempts: list[AttemptRow]) -> dict[str, Any]:
    item = _item(facts, attempts) | {"status": SHOWN[facts.code]}
    item.pop("started", None)  # of an earlier attempt
    if facts.live is not None and facts.live.started:
        item["started"] = facts.live.started
    if facts.summary is not None:
        item["summary"] = facts.summary
    return item


def _ended_item(row: JobRow, attempts: list[AttemptRow], spans: list[EndedRow]) -> dict[str, Any]:
    item = _item(row, attempts) | {"status": SHOWN[row.code or 0], "stopped": row.ended}
    if row.size and row.main < 0:
        counts = dict.fromkeys(AWS_STATUSES, 0)
        for span in spans:
            counts[SHOWN[span.code]] += span.end - span.first
        item["summary"] = counts
    return item


async def _ended_story(call: Call, row: JobRow, index: int | None) -> tuple[str, list[str]]:
    """The status and the sentences of a job, or child, that has ended."""
    reads = call.service.reads
    kind, asked_reason = row.asked_kind, row.asked_reason
    spans = await reads.ended(row.seq) if row.size else []
    code, reason = row.code, row.reason
    if index is not None:
        own_end = next((span for span in spans if span.first <= index < span.end), None)
        code, reason = (own_end.code, own_end.reason) if own_end else (row.code, row.reason)
        own_kind, own_reason = (await reads.task_asked(row.seq, [index])).get(index, (0, ""))
        kind, asked_reason = kind | own_kind, asked_reason or own_reason
    if code is None or code not in ENDED:  # it began again while we looked
        return SHOWN[code or 0], []
    needs = [need[0] for need in json.loads(row.needs or "[]") if need[0]] if code == FAILED else []
    lines = [story.end_line(reason, kind, asked_reason)] if code == FAILED else []
    if reason == "Dependent Job failed":
        lines += story.dependency_lines((await reads.jobs(needs)).values())
    if row.size and row.main < 0 and index is None:
        lines += story.children_lines(spans)
    return SHOWN[code], [line for line in lines if line]
