"""What is said to slurmrestd and what it says, in the versions of its API. Pure.

Two families. Up to v0.0.38 a job is described as to sbatch, numbers are numbers, and the state of a job is one word.
Since v0.0.39 a number may be an object with ``set`` and ``infinite``, and states are lists of words. An answer is read
the same for all of them: members have kept their names.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from batchery.engines import slurmstate
from batchery.engines.slurmdriver import Options
from batchery.engines.slurmoptions import number, properties
from batchery.engines.slurmstate import Listing, Node, Row


class Version(NamedTuple):
    """What one version of the API can. Sources: its OpenAPI document, and for ``elements`` what its server does."""

    name: str
    new: bool  #: of the second family
    elements: bool  #: DELETE /job/12_3 is about that element, and not about all of the array
    many: bool  #: DELETE /jobs/ with a list of jobs


#: Those that we know, the best first: with v0.0.39 and v0.0.40 no element of an array can be cancelled alone.
VERSIONS: Final = (
    *(Version(f"v0.0.{n}", True, True, True) for n in (45, 44, 43, 42, 41)),
    *(Version(f"v0.0.{n}", False, True, False) for n in (38, 37)),
    *(Version(f"v0.0.{n}", True, False, False) for n in (40, 39)),
)
_PATHS: Final = re.compile(rb'"\\?/slurm\\?/(v0\.0\.\d+)\\?/job\\?/submit')
#: Slurm's own numbers of errors.
HELD: Final = 2042  # no error: the job waits for its release
UNSPECIFIED: Final = -1  # what slurmrestd makes of a controller that it cannot ask


SCRIPT_BEGIN: Final = '#!/bin/sh\n[ -n "$HOME" ] || eval "HOME=~$SLURM_JOB_USER"\n'


class Number(Struct):
    set: bool = True
    infinite: bool = False
    number: float = 0


class Job(Struct):
    """One job, one element of an array, or all elements of one that wait."""

    name: str | None = ""
    job_id: int | Number | None = None
    array_job_id: int | Number | None = None
    array_task_id: int | Number | None = None
    array_task_string: str | None = ""
    job_state: str | list[str] | None = ""
    nodes: str | None = ""
    state_reason: str | None = ""


class Jobs(Struct):
    jobs: list[Job] = []


class Host(Struct):
    name: str = ""
    cpus: int = 0
    real_memory: int = 0
    gres: str | None = ""
    state: str | list[str] | None = ""
    state_flags: list[str] = []
    partitions: list[str] = []
    reason: str | None = ""
    address: str | None = ""


class Hosts(Struct):
    nodes: list[Host] = []


class Partition(Struct):
    name: str = ""
    flags: list[str] = []


class Partitions(Struct):
    partitions: list[Partition] = []


class Problem(Struct):
    error: str | None = ""
    description: str | None = ""
    error_number: int | None = None
    error_code: int | None = None

    @property
    def number(self) -> int:
        return self.error_number or self.error_code or 0

    @property
    def words(self) -> str:
        return self.error or self.description or ""


class Reply(Struct):
    """What every answer has."""

    meta: dict[str, Any] = {}
    errors: list[Problem] = []
    job_id: int | Number | None = None


def spoken(document: bytes) -> Version | None:
    """The version to speak with a server that has this OpenAPI document, None if we know none of its."""
    there = {name.decode() for name in _PATHS.findall(document)}
    return next((version for version in VERSIONS if version.name in there), None)


def names_spoken(document: bytes) -> list[str]:
    return sorted({name.decode() for name in _PATHS.findall(document)})


def value(of: int | Number | None) -> int | None:
    """A number, however it is written; None where it is not set."""
    if isinstance(of, Number):
        return int(of.number) if of.set and not of.infinite else None
    return of


# -------------------------------------------------------------------------------------------------------- what is said


def submission(version: Version, name: str, comment: str, options: Options, size: int, script: str) -> dict[str, Any]:
    """The document of POST /job/submit. Raises CannotSay.

    sbatch hands on HOME, slurmrestd has none: the node looks it up.
    """
    script = script.replace("#!/bin/sh\n", SCRIPT_BEGIN, 1)
    job: dict[str, Any] = {
        "name": name,
        "comment": comment,
        "tasks": options.tasks,
        "cpus_per_task": options.cpus,
        "current_working_directory": "/",
        "standard_output": "/dev/null",
        "standard_error": "/dev/null",
    }
    chosen = {key: getattr(options, key) for key in ("partition", "account", "qos") if getattr(options, key)}
    if options.constraint:
        chosen["constraints"] = options.constraint
    if size > 1:
        chosen["array"] = f"0-{size - 1}"
    path = "PATH=/usr/local/bin:/usr/bin:/bin"
    if version.new:
        job |= {"minimum_nodes": 1, "maximum_nodes": options.tasks, "requeue": False, "environment": [path]}
        per, memory = _memory(options)
        job[f"memory_per_{per}"] = number(memory)
        if options.gpus:
            per = "task" if options.tasks > 1 else "node"
            job[f"tres_per_{per}"] = f"gres{':' if version.name == 'v0.0.39' else '/'}gpu:{options.gpus}"
        if options.minutes:
            job["time_limit"] = number(options.minutes)
    else:
        # `requeue: false` means true here; `no_requeue` is known and not documented.
        job |= {"nodes": [1, options.tasks], "no_requeue": True, "environment": dict([path.split("=")])}
        per, memory = _memory(options)
        job[f"memory_per_{per}"] = memory
        if options.gpus:
            job["gpus_per_task" if options.tasks > 1 else "gres"] = f"gpu:{options.gpus}"
        if options.minutes:
            job["time_limit"] = options.minutes
    return {"script": script, "job": job | chosen | properties(options.extra, version.new)}


def _memory(options: Options) -> tuple[str, int]:
    """Of one task by the node; of several, which may share nodes, by the CPU. MiB."""
    if options.tasks > 1:
        return "cpu", -(-options.memory // options.cpus)
    return "node", options.memory


def together(ids: Iterable[str]) -> Iterator[str]:
    """Elements of the same array in one expression: 7_1, 7_2, 7_3, 7_9 and 8 are ``7_[1-3,9]`` and ``8``."""
    arrays: dict[str, list[int]] = {}
    for one in ids:
        job, _, element = one.partition("_")
        if element:
            arrays.setdefault(job, []).append(int(element))
        else:
            yield job
    for job, elements in arrays.items():
        yield f"{job}_{elements[0]}" if len(elements) == 1 else f"{job}_[{','.join(_ranges(sorted(elements)))}]"


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    first = last = numbers[0]
    for one in (*numbers[1:], None):
        if one == last + 1:
            last = one
            continue
        yield f"{first}-{last}" if last > first else str(first)
        if one is not None:
            first = last = one


# -------------------------------------------------------------------------------------------------------- what it says


def listing(jobs: Iterable[Job], prefix: str, limit: int) -> Listing:
    """The jobs whose names begin with ``prefix``. ``limit``: no array has more elements."""
    found: Listing = {}
    shortened = []
    for job in jobs:
        name = job.name or ""
        if not name.startswith(prefix):
            continue
        state, node, reason = state_of(job.job_state), job.nodes or "", job.state_reason or ""
        array, element = value(job.array_job_id), value(job.array_task_id)
        elements = job.array_task_string or ""
        if not array:
            found[name, 0] = Row(name, 0, str(value(job.job_id)), state, node, reason)
        elif element is not None:
            found[name, element] = Row(name, element, f"{array}_{element}", state, node, reason)
        else:
            for index in slurmstate.indices(elements.removesuffix("...")):
                found[name, index] = Row(name, index, f"{array}_{index}", state, node, reason)
            if elements.endswith("..."):
                shortened.append((name, array, elements, state, reason))
    for name, array, elements, state, reason in shortened:
        last = max(slurmstate.indices(elements.removesuffix("...")), default=-1)
        for index in range(last + 1, limit):
            found.setdefault((name, index), Row(name, index, f"{array}_{index}", state, "", reason))
    return found


#: States of a job that others are added to.
_MAIN_STATES: Final = (
    *("PENDING", "RUNNING", "SUSPENDED", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"),
    *("BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY"),
)


def state_of(states: str | list[str] | None) -> str:
    """One word, as squeue has it: what was added says more than the state that it was added to."""
    if isinstance(states, str):
        return states
    if not states:
        return ""
    return next((state for state in states if state not in _MAIN_STATES), states[0])


def nodes(hosts: Iterable[Host], partitions: Iterable[Partition]) -> list[Node]:
    """Every node in every one of its partitions."""
    defaults = {one.name for one in partitions if "DEFAULT" in map(str.upper, one.flags)}
    found = []
    for host in hosts:
        states = [host.state] if isinstance(host.state, str) else host.state or []
        trouble = trouble_of([word.upper() for word in (*states, *host.state_flags)])
        if trouble and host.reason:
            trouble += f": {host.reason}"
        gpus = slurmstate.gpus_in(host.gres or "")
        for partition in host.partitions:
            size = (host.cpus, host.real_memory, gpus, trouble, host.address or "")
            found.append(Node(host.name, partition, partition in defaults, *size))
    return found


def trouble_of(states: Sequence[str]) -> str:
    """In sinfo's words; "" for a node that works, or will by itself."""
    busy = {"ALLOCATED", "MIXED", "COMPLETING"} & set(states)
    words = ""
    if "DRAIN" in states:
        words = "draining" if busy else "drained"
    elif "FAIL" in states:
        words = "failing" if busy else "fail"
    else:
        bad = ("DOWN", "ERROR", "UNKNOWN", "INVALID", "INVALID_REG", "FUTURE", "MAINTENANCE")
        words = next((word.lower() for word in bad if word in states), "")
    if "NOT_RESPONDING" in states:
        words = f"{words or next((word.lower() for word in states), '')}*"
    return words


def config(meta: dict[str, Any]) -> dict[str, str]:
    """What every answer tells of the cluster, by the names of `scontrol show config`."""
    slurm = meta.get("slurm") or meta.get("Slurm") or {}
    found = {"SLURM_VERSION": slurm.get("release"), "ClusterName": slurm.get("cluster")}
    return {name: text for name, text in found.items() if isinstance(text, str) and text}


def problem(body: bytes) -> tuple[str, frozenset[int]] | None:
    """Words and numbers of the errors in an answer; None where it is not one of slurmrestd's documents."""
    try:
        errors = msgspec.json.decode(body, type=Reply).errors
    except msgspec.DecodeError:
        return None
    words = dict.fromkeys(one.words for one in errors if one.words and one.number != HELD)
    return "; ".join(words)[:500], frozenset(one.number for one in errors) - {HELD, 0}
