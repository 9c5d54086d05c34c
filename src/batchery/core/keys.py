"""What names things: realms, attempts, and the texts that clients and engines name them by."""

from typing import Final, NamedTuple


class Realm(NamedTuple):
    """Where names live: an account and a region. An id of another realm does not exist."""

    account: str
    region: str


class AttemptKey(NamedTuple):
    """One placement of one task, for ever."""

    job: str
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody needs of a key
    serial: int

    def __str__(self) -> str:
        return f"{self.job}:{self.index}:{self.serial}"


class Ref(NamedTuple):
    """An id as clients write it. ``mark``: ":" names a child of an array, "#" a node of a multi-node job, "" a job."""

    job: str
    index: int | None  # type: ignore[assignment]  # shadows tuple.index
    mark: str = ""


CHILD: Final = ":"
NODE: Final = "#"


def task_ref(ref: str) -> Ref:
    """Take an id apart: ``"a1b2"`` is the job, ``"a1b2:17"`` its child 17, ``"a1b2#2"`` its node 2.

    An index that is not a plain decimal number names no task: it becomes -1.
    """
    mark = CHILD if CHILD in ref else NODE if NODE in ref else ""
    if not mark:
        return Ref(ref, None)
    job, _, index = ref.partition(mark)
    plain = index.isascii() and index.isdigit() and len(index) < 6 and str(int(index)) == index
    return Ref(job, int(index) if plain else -1, mark)


_SPREAD: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835  # odd, so that the product is one to one modulo 2**128


def task_id(key: AttemptKey) -> str:
    """The 32 hex digits that name one attempt in task ARNs, log streams and paths; a function of its key."""
    digits = key.job.replace("-", "")
    try:
        job = int(digits, 16)
    except ValueError:  # ids of tests
        job = int.from_bytes(digits.encode(), "big")
    return f"{(job + ((key.index << 32) | key.serial) * _SPREAD) % (1 << 128):032x}"
