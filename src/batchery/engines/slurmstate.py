"""What Slurm says, in our words: listings of jobs and nodes, states, refusals. Pure.

An attempt is found in Slurm by the name of the submission that it was sent with and its index there, never by Slurm's
job id: a slurmctld that was killed gives an id that it has forgotten to somebody else's job.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from batchery.core.model import EXIT, HOST, TERMINATED, TIMEOUT

#: The listing asked for: array id, array index, state, node, name, reason. Nothing in it but the last may have a "|".
LISTING_FORMAT: Final = "%F|%K|%T|%N|%j|%r"
#: Asked of sacct: job, state, nodes, name.
HISTORY_FORMAT: Final = "JobID,State,NodeList,JobName%100"
NODES_FORMAT: Final = "%N|%c|%m|%G|%T|%P|%o|%E"

WAITING: Final = "waiting"
STARTING: Final = "starting"
RUNNING: Final = "running"
OVER: Final = "over"
_FURTHEST: Final = (RUNNING, STARTING, WAITING, OVER)

_PHASES: Final = {
    **dict.fromkeys(("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"), WAITING),
    "CONFIGURING": STARTING,
    **dict.fromkeys(
        ("RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING", "COMPLETING", "POWER_UP_NODE"),
        RUNNING,
    ),
}

REQUEUED: Final = "REQUEUED"
ABORTED: Final = "ABORTED"  #: by the controller, which did not know it any more
FORGOTTEN: Final = "forgotten"  #: Slurm was asked, and has never heard of it
#: A job that died of a signal in one of these did not end by itself, though its own process may have died first.
_ENDED_BY_SLURM: Final = (
    "CANCELLED",
    "TIMEOUT",
    "DEADLINE",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "REVOKED",
    REQUEUED,
    FORGOTTEN,
)
OUT_OF_MEMORY: Final = "OutOfMemoryError: Container killed due to memory usage"
KILLED: Final = 137
#: States of a node that works, or will by itself.
_HEALTHY: Final = ("idle", "mix", "alloc", "comp", "plan", "resv", "reserved", "power", "boot", "reboot")
#: Words of refusals that concern how many jobs there are, not what the job is.
_LIMITS: Final = re.compile(
    r"job submit limit|MaxSubmitJob|MaxJobCount|sleeping and retrying|temporarily unable|Job array|array index|"
    r"Resource temporarily unavailable|AssocGrp|QOSGrp",
    re.IGNORECASE,
)
_UNREACHABLE: Final = re.compile(
    r"unable to contact slurm controller|connect failure|connection refused|socket timed out|timed out|"
    r"configuration source|zero bytes were transmitted|communication connection|standby mode|munge|"
    r"protocol authentication error",
    re.IGNORECASE,
)


class Row(NamedTuple):
    """One job, or one element of an array."""

    name: str
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody needs of a row
    id: str  # as scancel takes it
    state: str
    node: str
    reason: str

    @property
    def phase(self) -> str:
        return phase_of(self.state)


class Node(NamedTuple):
    """One node in one partition. ``memory`` in MiB; ``trouble`` is "" for one that works."""

    name: str
    partition: str
    default: bool  # the partition is the cluster's default
    cpus: int
    memory: int
    gpus: int
    trouble: str
    address: str = ""  # where the other nodes reach it


Listing = dict[tuple[str, int], Row]


def phase_of(state: str) -> str:
    """WAITING, STARTING, RUNNING or OVER."""
    return _PHASES.get(state, OVER)


def listing(text: str, prefix: str) -> Listing:
    """The jobs whose names begin with ``prefix`` in squeue's output. Elements of an array that wait share a line. Of
    two jobs for one element, which sbatch makes when it sends again what was heard, the one that is further counts."""
    found: Listing = {}
    for line in text.splitlines():
        parts = line.split("|", 5)
        if len(parts) < 6 or not parts[4].startswith(prefix):
            continue
        number, elements, state, node, name, reason = parts
        for index in indices(elements):
            id_ = f"{number}_{index}" if elements != "N/A" else number
            row = Row(name, index, id_, state, node, reason)
            other = found.get((name, index))
            if other is None or _FURTHEST.index(row.phase) < _FURTHEST.index(other.phase):
                found[name, index] = row
    return found


def history(text: str) -> Listing:
    """What sacct remembers, in HISTORY_FORMAT."""
    found: Listing = {}
    for line in text.splitlines():
        parts = line.split("|", 3)
        if len(parts) < 4:
            continue
        element = parts[0].partition("_")[2]
        state = parts[1].partition(" ")[0]  # CANCELLED by 1000
        for index in indices(element or "N/A"):
            found[parts[3], index] = Row(parts[3], index, parts[0], state, parts[2], "")
    return found


def indices(text: str) -> Iterator[int]:
    """The elements of an array expression such as ``0-5,9,20-30:5%4``; ``N/A`` (no array) has the one element 0."""
    if text == "N/A":
        yield 0
        return
    for part in text.strip("[]").partition("%")[0].split(","):
        first, _, rest = part.partition("-")
        last, _, step = rest.partition(":")
        if first.isdigit():
            yield from range(int(first), int(last or first) + 1, int(step or 1))


def together(ids: Iterable[str], most: int) -> Iterator[str]:
    """Ids as scancel takes them with one request for an array: ``7_1 7_2 9`` is ``7_[1,2] 9``."""
    arrays: dict[str, list[str]] = {}
    for id_ in ids:
        number, _, element = id_.partition("_")
        arrays.setdefault(number, []).append(element)
    for number, elements in arrays.items():
        for start in range(0, len(elements), most):
            some = ",".join(elements[start : start + most])
            yield f"{number}_[{some}]" if some else number


def nodes(text: str) -> list[Node]:
    """What sinfo says of the nodes."""
    found = []
    for line in text.splitlines():
        parts = line.split("|", 7)
        if len(parts) == 8 and parts[1].isdigit():
            name, cpus, memory, gres, state, partition, address, reason = parts
            trouble = "" if state.startswith(_HEALTHY) else state  # "idle*" does not answer yet, or is soon "down*"
            if trouble and reason not in ("none", ""):
                trouble += f": {reason}"
            found.append(
                Node(
                    *(name, partition.rstrip("*"), "*" in partition, int(cpus), int(memory), gpus_in(gres), trouble),
                    address,
                )
            )
    return found


def gpus_in(gres: str) -> int:
    """GPUs in a list of generic resources: ``gpu:2``, ``gpu:a100:4(S:0-1)``."""
    return sum(int(count) for count in re.findall(r"\bgpu(?::[^:,()]+)?:(\d+)", gres))


def settings(text: str) -> dict[str, str]:
    """``scontrol show config`` as a mapping."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def is_limit(words: str) -> bool:
    """A refusal because of how many jobs there are: fewer at a time, or later, may be taken."""
    return bool(_LIMITS.search(words))


def is_unreachable(words: str) -> bool:
    """The controller did not answer; nobody knows whether it heard."""
    return bool(_UNREACHABLE.search(words))


def refusal(words: str) -> str:
    """Slurm's own words without the name of the command, and the last of them, which say why."""
    lines = [re.sub(r"^\w+: (error: |fatal: )?", "", line).strip() for line in words.strip().splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))[:500] or "no reason given"


def could_not_be_launched(row: Row) -> bool:
    """A node was to begin it and could not: Slurm holds it, until an operator releases it."""
    return row.phase == WAITING and "launch failed" in row.reason.lower().replace("_", " ")


def waiting_words(row: Row) -> str:
    """statusReason of a job that waits in Slurm."""
    return "" if row.reason in ("", "None") else f"Slurm: {row.reason}"


class Verdict(NamedTuple):
    """The end of an attempt in the port's words. ``code`` None: it never ran, or nobody knows."""

    cause: str
    code: int | None
    reason: str = ""


def verdict(code: int, ended_by: str, state: str) -> Verdict:
    """The end of an attempt that left an exit code. ``ended_by``: the wrapper's word (EXIT, TERMINATED, TIMEOUT, OOM,
    or SLURM for a signal from elsewhere); ``state``: Slurm's, "" if it was not asked or does not know."""
    if ended_by in (TERMINATED, TIMEOUT):
        return Verdict(ended_by, code)
    if ended_by == "OOM" or (state == "OUT_OF_MEMORY" and code):
        return Verdict(EXIT, code, OUT_OF_MEMORY)
    if ended_by == "SLURM" or (code > 128 and state in _ENDED_BY_SLURM):
        return ended_by_slurm(state, code)
    return Verdict(EXIT, code)


def ended_by_slurm(state: str, code: int | None) -> Verdict:
    """The end of an attempt that Slurm ended. ``code``: None if it left none, for which its wrapper must have been
    killed with it: then its host is to blame, whatever Slurm saw."""
    if state == "OUT_OF_MEMORY":
        return Verdict(EXIT, KILLED, OUT_OF_MEMORY)
    if state in ("TIMEOUT", "DEADLINE"):
        return Verdict(TIMEOUT, KILLED if code is None else code, f"Slurm: {state}")
    if state == "CANCELLED":
        return Verdict(TERMINATED, KILLED if code is None else code, "Slurm: CANCELLED")
    if state in ("COMPLETED", "FAILED") and code is not None:
        return Verdict(EXIT, code)
    return Verdict(HOST, None, f"Slurm: {state or FORGOTTEN}")
