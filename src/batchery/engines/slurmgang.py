"""Multi-node jobs on a Slurm cluster: one job with a task for each node, so one allocation for all of them.

Theory of operation
-------------------
The main node's order is sent as any other, only wider: `--ntasks` is the number of nodes, each with what the largest of
them takes. Its script is `srun` of one line of sh a task. Task 0 is the main node and begins at once. The others look
for their attempt, a link in the submission's directory, which is made when the server launches them; where they find
the directory gone, they are not wanted any more. So all have room before one begins, and nothing is sent later.

From the wrapper on a node is an attempt like any other: claim, news, exit, kill. The differences are here: it is told
to end by SIGURG to the tasks of its job, which means something only to the wrapper that finds a file ``kill``; and
Slurm lists the job alone, so that a node whose job is gone is lost.

srun and scancel have to be on the nodes for this, beside sh.
"""

import time
from collections.abc import Iterable
from typing import Final

from batchery.core.messages import Report
from batchery.core.model import HOST, AttemptKey
from batchery.engines.engine import Node
from batchery.engines.slurmjobs import ENDED, Attempt
from batchery.engines.slurmscript import WRAPPER_NAME, quote
from batchery.engines.slurmstate import OVER, Listing
from batchery.engines.slurmstep import step_script

LOOK_S: Final = 0.2  #: between two looks of a task for its attempt
GONE_S: Final = 5.0  #: the job of a node is not there for so long: the node is lost


def rank_of(node: Node) -> int:
    """The number of a node's task: the main one is 0."""
    if node.index == node.main:
        return 0
    return node.index + 1 if node.index < node.main else node.index


def gang_script(shared: str, submission: str) -> str:
    """What sbatch is given for a gang."""
    place = quote(f"{shared}/sent/{submission}")
    task = (
        f'at={place}/$SLURM_PROCID; until [ -e "$at" ]; do [ -d {place} ] || exit 0; sleep {LOOK_S}; done; '
        'exec env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$HOME" TMPDIR="${TMPDIR:-/tmp}" LANG=C.UTF-8 '
        f'/bin/sh {quote(f"{shared}/{WRAPPER_NAME}")} "$at" {quote(f"{shared}/news")} '
        '"$SLURM_JOB_ID" "$SLURMD_NODENAME" "${CUDA_VISIBLE_DEVICES-}"'
    )
    return step_script(task, kill_on_bad_exit=0)


class Riders:
    """The nodes, but main ones, that are in Slurm; each knows its main node's submission."""

    def __init__(self) -> None:
        self._gone_since: dict[AttemptKey, float] = {}

    def lost(self, riders: Iterable[Attempt], rows: Listing) -> list[tuple[Attempt, Report]]:
        """Those whose job is over for a while and whose files say nothing of an end, each with its end."""
        now = time.monotonic()
        found: list[tuple[Attempt, Report]] = []
        gone: dict[AttemptKey, float] = {}
        for attempt in riders:
            row = rows.get((attempt.submission, 0))
            if attempt.phase == ENDED or (row is not None and row.phase != OVER):
                continue
            gone[attempt.key] = self._gone_since.get(attempt.key, now)
            if now - gone[attempt.key] > GONE_S:
                at = time.time_ns() // 1_000_000
                found.append((attempt, attempt.ends(attempt.killed or HOST, at, host=attempt.node)))
        self._gone_since = gone
        return found
