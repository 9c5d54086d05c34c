"""What slurmrestd's second API, that of slurmdbd, remembers of jobs. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from batchery.engines import slurmstate
from batchery.engines.slurmshapes import Number, Version, state_of, value
from batchery.engines.slurmstate import Listing, Row

DAYS: Final = 60  #: so far back it is asked; by itself it begins with today
_UNSET: Final = 0xFFFF_FFFE  # Slurm's number for none


class Element(Struct, frozen=True):
    job_id: int | Number | None = None
    task_id: int | Number | None = None
    task: str | None = ""


class State(Struct, frozen=True):
    current: str | list[str] | None = ""


class Past(Struct):
    """One job, or one element of an array."""

    name: str | None = ""
    job_id: int | Number | None = None
    array: Element = Element()
    state: State = State()
    nodes: str | None = ""


class Pasts(Struct):
    jobs: list[Past] = []


def remembers(document: bytes, version: Version) -> bool:
    """Whether the server that has this OpenAPI document has slurmdbd's API in this version too."""
    return re.search(rb'"\\?/slurmdb\\?/' + re.escape(version.name.encode()) + rb'\\?/jobs\\?/?"', document) is not None


def query(version: Version, names: Sequence[str], now: float) -> str:
    """The path of a request for jobs of these names. ``now``: seconds since the epoch."""
    since = str(int(now) - DAYS * 86_400) if version.new else f"now-{DAYS}days"
    return f"/slurmdb/{version.name}/jobs?skip_steps=true&start_time={since}&job_name={quote(','.join(names))}"


def history(jobs: Iterable[Past]) -> Listing:
    found: Listing = {}
    for job in jobs:
        name, state = job.name or "", state_of(job.state.current)
        array, task = value(job.array.job_id), value(job.array.task_id)
        nodes = "" if job.nodes == "None assigned" else job.nodes or ""
        if not array:
            found[name, 0] = Row(name, 0, str(value(job.job_id)), state, nodes, "")
            continue
        elements = [task] if task is not None and task < _UNSET else slurmstate.indices(job.array.task or "")
        for index in elements:
            found[name, index] = Row(name, index, f"{array}_{index}", state, nodes, "")
    return found
