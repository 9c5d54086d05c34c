"""What a task takes, and where tasks that take the same stand in line. Units: thousandths of a vCPU, MiB."""

from typing import Final, NamedTuple

#: Kinds of environments that run no multi-node jobs (user guide, "Multi-node parallel jobs").
NO_GANGS: Final = frozenset({"SPOT", "FARGATE", "FARGATE_SPOT", "EKS_SPOT", "UNMANAGED"})


class Resources(NamedTuple):
    """What a task takes: thousandths of a vCPU, MiB, whole GPUs."""

    vcpus: int
    memory: int
    gpus: int = 0


class Demand(NamedTuple):
    """All that decides where and when a task can be placed, and that tasks alike share: its resource class.

    Of a class either every task can be placed now or none, so the scheduler looks at the first one only.
    """

    resources: Resources
    consumables: tuple[tuple[str, int], ...] = ()  #: (ARN, units), by ARN
    nodes: tuple[Resources, ...] = ()  #: of a gang: what each node takes; ``resources`` is all of them together
    unit: str = ""  #: of a service job: the type of the instances that its "vCPUs" are


class Lane(NamedTuple):
    """Where tasks of one queue stand in line: those of one share ("" in a FIFO queue) and one resource class."""

    share: str
    demand: Demand


class Entry(NamedTuple):
    """A job's place in its lane, the least first: by priority in its share, then by age."""

    rank: int  #: the negated priority; 0 in a FIFO queue
    seq: int
    job: str  #: id
