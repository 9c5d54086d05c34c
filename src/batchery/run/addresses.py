"""An address for each node of a multi-node job that runs on this host: 127.x.y.z, whole runs of them, no two gangs one.
So have the hosts of a training job, which are one attempt: its address is that of the first.

Every address of 127.0.0.0/8 is this host's, so nodes can bind them without leave. A gang has as many as it has nodes,
in a row. Where its row begins is fixed by the address that its main node reports (a stored fact), so that after a
restart the others still get theirs; before that a row is chosen by the main node's key, past those in use. Engines
that give their jobs addresses of their own (a container's on a bridge, a cluster node's) report those instead, and
then nodes are not told one here.
"""

from ipaddress import IPv4Address
from typing import Final

from batchery.core.model import AttemptKey, Job, World, task_id
from batchery.spec.variables import Node

FIRST: Final = int(IPv4Address("127.1.0.0"))
SIZE: Final = int(IPv4Address("127.255.0.0")) - FIRST


class Addresses:
    """``node_of`` tells what a node is to be told. Rows of main nodes not yet known to run are kept here."""

    def __init__(self) -> None:
        self._rows: dict[AttemptKey, int] = {}

    def node_of(self, world: World, job: Job, key: AttemptKey) -> Node:
        """Of a node that is about to be launched."""
        main = job.tasks[job.speaker].live
        assert main is not None, "no node of a gang is launched but with its main node"
        if key == main.key:
            row = self._row(world, job, key)
            return Node(key.index, job.speaker, job.size, str(IPv4Address(row + key.index)), "")
        row = _row_of(main.address, job.speaker)
        address = str(IPv4Address(row + key.index)) if row else ""
        return Node(key.index, job.speaker, job.size, address, main.address)

    def hosts_of(self, world: World, job: Job, key: AttemptKey) -> tuple[str, ...]:
        """Of a service job that is about to be launched: one for each host."""
        row = _row_of(world.live[key].address, 0) or self._row(world, job, key)
        return tuple(str(IPv4Address(row + number)) for number in range(_width(job)))

    def _row(self, world: World, job: Job, key: AttemptKey) -> int:
        taken, width = self._taken(world, key), _width(job)
        start = int(task_id(key)[-12:], 16) % (SIZE - width)
        while clash := next((end for row, end in taken if row < start + FIRST + width and start + FIRST < end), 0):
            start = (clash - FIRST) % (SIZE - width)
        self._rows[key] = start + FIRST
        return start + FIRST

    def _taken(self, world: World, mine: AttemptKey) -> list[tuple[int, int]]:
        """Rows in use, (first, end)."""
        rows: dict[AttemptKey, int] = {}
        for key, attempt in world.live.items():
            job = world.jobs[key.job]
            if _width(job) > 1 and key.index == job.speaker and key != mine:
                row = _row_of(attempt.address, key.index) or self._rows.get(key, 0)
                if row:
                    rows[key] = row
        self._rows = {key: row for key, row in self._rows.items() if key in rows}
        return [(row, row + _width(world.jobs[key.job])) for key, row in rows.items()]


def _width(job: Job) -> int:
    """How many addresses it has: those of its nodes or hosts."""
    if job.gang:
        return job.size
    return len(job.shape.streams) or 1 if job.service else 1


def _row_of(address: str, index: int) -> int:
    """Where a row begins, from the address of one of its nodes; 0 if that is none of ours."""
    try:
        number = int(IPv4Address(address))
    except ValueError:
        return 0
    return number - index if FIRST <= number - index < FIRST + SIZE else 0
