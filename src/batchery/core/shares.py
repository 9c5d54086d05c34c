"""Scheduling policies, and what each share of a queue uses: plain structs. What they mean is fairshare.py's to say."""

from typing import Final

from msgspec import Struct

from batchery.core.keys import Realm

FAIR: Final = "FAIR"  #: fairsharePolicy
QUOTA: Final = "QUOTA"  #: quotaSharePolicy

# What SubmitJob answers where share identifier or priority are not as the queue's policy wants them.
NOT_FAIR: Final = (
    "Job with shareIdentifier or schedulingPriority can onlybe submitted to job queue with fair share scheduling "
    "policy."
)
NO_SHARE: Final = "shareIdentifier must be specified."
NO_PRIORITY: Final = "Either schedulingPriority in job definition or schedulingPriorityOverride should be specified."

#: shareDecaySeconds of 0, and the least there is (API_FairsharePolicy), ms.
LEAST_WINDOW: Final = 600_000


class SchedulingPolicy(Struct, frozen=True):
    """A scheduling policy. ``doc`` is the JSON of what was sent, to be echoed; the rest is what it means.

    A share that ``weights`` does not name, by itself or by a prefix with ``*``, weighs 1: the lower, the more it gets.
    """

    arn: str
    name: str
    realm: Realm
    kind: str  #: FAIR or QUOTA
    doc: str
    window: int = LEAST_WINDOW  #: ms over which usage fades
    reservation: int = 0  #: computeReservation, percent
    weights: tuple[tuple[str, float], ...] = ()
    created: int = 0


RESERVE: Final = "RESERVE"  #: keeps what it does not use
LEND: Final = "LEND"
BORROW: Final = "LEND_AND_BORROW"


class QuotaShare(Struct, frozen=True):
    """A quota share. ``limits``: (instance type, thousandths); ``borrow``: percent of them, -1 without end."""

    arn: str
    name: str
    realm: Realm
    queue: str  #: ARN
    limits: tuple[tuple[str, int], ...]
    strategy: str  #: RESERVE, LEND or LEND_AND_BORROW
    borrow: int = -1
    in_share: bool = False  #: inSharePreemption
    state: str = "ENABLED"
    status: str = "CREATING"
    created: int = 0


class Usage(Struct):
    """What one share of one queue has used lately and uses now. vCPUs are thousandths, times ms.

    ``spent`` is as of ``at`` and fades from then on; both are stored. The rest is derived.
    """

    spent: int = 0  #: thousandths of a vCPU times ms
    at: int = 0
    held: int = 0  #: vCPUs of its placements, from OFFERED to their end
    running: int = 0  #: vCPUs of those that run
    open: int = 0  #: jobs that have not ended


def share_shelf(queue: str, share: str) -> str:
    """The shelf of the open jobs of a share of a queue (ARN)."""
    return f"{queue} {share}"
