"""What the agent does more for an attempt of several containers: a plan, a cgroup for each, a process that runs them.

That process (podrun.py) is the attempt's main process. It is in no cgroup of the job's, hears SIGTERM for all of them,
and tells in a file what happens.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from batchery.core.model import EXIT, ContainerEnd
from batchery.engines.cgroups import Cgroup, Cgroups
from batchery.engines.journal import Slip
from batchery.engines.logindex import LogIndex
from batchery.engines.podfiles import Place, Plan, Tale, forget, read_tale, write_plan
from batchery.engines.room import Share
from batchery.engines.spawn import Identity, Program, identity_of
from batchery.engines.wire import Task

LOOK_MS: Final = 50  #: between two looks whether everything has been started
MARGIN_MS: Final = 5000  #: that the process has beyond the containers' own times to end
_JOIN: Final = "\n"


class Indexes:
    """The time indexes of several logs."""

    def __init__(self, paths: Sequence[str], resume: bool = False) -> None:
        self._each = [LogIndex(path, resume) for path in paths]

    def sample(self, now: int) -> None:
        for index in self._each:
            index.sample(now)


class CgroupSet:
    """One cgroup for each container, in their order; seen as one."""

    def __init__(self, each: Sequence[Cgroup]) -> None:
        self.each = each
        self.name = _JOIN.join(one.name for one in each)

    @property
    def out_of_memory(self) -> bool:
        return any(one.out_of_memory for one in self.each)

    def peak_mib(self) -> int:
        return sum(one.peak_mib() for one in self.each)

    def pids(self) -> list[int]:
        return [pid for one in self.each for pid in one.pids()]

    def kill(self) -> None:
        for one in self.each:
            one.kill()


def slip_of(task: Task, share: Share, keep: bool, directory: Path) -> Slip:
    """``directory``: the agent's own."""
    slip = Slip(task.key, task.name, task.log_path, task.timeout, task.grace, share, keep=keep, address=task.address)
    if task.pod:
        slip.places = [place.name for place in task.pod]
        slip.aside = [place.name for place in task.pod if not place.decides]
        slip.logs = [place.log_path for place in task.pod]
        slip.tale = str(directory / f"{task.task_id}.tale")
        slip.grace = sum(place.stop_timeout for place in task.pod) + MARGIN_MS
    return slip


def take_cgroups(cgroups: Cgroups, task: Task, slip: Slip) -> Cgroup | CgroupSet:
    """Raises OSError."""
    if not task.pod:
        return cgroups.take(slip.share.memory)
    each: list[Cgroup] = []
    try:
        for place in task.pod:
            each.append(cgroups.take(min(place.memory, slip.share.memory) or slip.share.memory))
    except OSError:
        for one in each:
            cgroups.give(one)
        raise
    return CgroupSet(each)


def adopt_cgroups(cgroups: Cgroups, slip: Slip) -> Cgroup | CgroupSet | None:
    """Those that an agent before this one used; None if not all of them are there."""
    if not slip.places:
        return cgroups.adopt(slip.cgroup)
    each = [found for name in slip.cgroup.split(_JOIN) if (found := cgroups.adopt(name)) is not None]
    return CgroupSet(each) if len(each) == len(slip.places) else None


def give_cgroups(cgroups: Cgroups, given: Cgroup | CgroupSet) -> None:
    for one in given.each if isinstance(given, CgroupSet) else (given,):
        cgroups.give(one)


def names_of(slip: Slip) -> list[str]:
    """The cgroups of an attempt."""
    return slip.cgroup.split(_JOIN)


def indexes_of(slip: Slip, resume: bool = False) -> Indexes | LogIndex:
    return Indexes(slip.logs, resume) if slip.logs else LogIndex(slip.log_path, resume)


def program(
    task: Task,
    slip: Slip,
    identity: Identity,
    cgroups: Cgroups | None,
    basics: Mapping[str, str],
    total_gpus: int,
) -> Program:
    """What runs them all, as this process's own user. ``basics``: variables that every job has.

    Raises OSError if the plan cannot be written.
    """
    given = {"HOME": identity.home or slip.workdir, **basics, "BATCHERY_ATTEMPT": str(slip.key)}
    groups = dict(zip(slip.places, names_of(slip), strict=True)) if slip.cgroup else {}
    plan = Plan(
        _with_gpus(task.pod, slip.share.gpus, given, total_gpus),
        slip.workdir,
        slip.tale,
        None if identity.is_self else (identity.uid, identity.gid, identity.groups, identity.home),
        groups,
        cgroups.enter_file if cgroups is not None else "",
        cgroups.home if cgroups is not None and groups else "",
    )
    path = slip.tale.removesuffix(".tale") + ".plan"
    write_plan(path, plan)
    argv = (sys.executable, "-P", "-m", "batchery.engines.podrun", path)
    log = str(Path(slip.tale).parent / "agent.log")
    return Program(argv, {**os.environ, "BATCHERY_ATTEMPT": str(slip.key)}, log, identity_of(""))


def _with_gpus(pod: Sequence[Place], gpus: Sequence[int], given: Mapping[str, str], total: int) -> list[Place]:
    """Each sees the GPUs that are its own of those that the attempt was given, or none."""
    found, at = [], 0
    for place in pod:
        environment = {**given, **place.environment}
        if total:
            visible = ",".join(str(index) for index in gpus[at : at + place.gpus])
            at += place.gpus
            environment |= {"CUDA_VISIBLE_DEVICES": visible, "NVIDIA_VISIBLE_DEVICES": visible or "void"}
        found.append(
            Place(
                *(place.name, place.image, place.argv, environment, place.log_path, place.memory, place.gpus),
                *(place.essential, place.decides, place.after, place.start_timeout, place.stop_timeout),
                place.limits,
                place.forgiving,
            )
        )
    return found


def forget_pod(slip: Slip) -> None:
    """Nothing of its files is left."""
    if slip.tale:
        forget(slip.tale, slip.tale.removesuffix(".tale") + ".plan")


class PodEnd:
    """How an attempt of several containers ended. ``killed``: its process did not come to tell the end."""

    def __init__(self, slip: Slip, cgroup: Cgroup | CgroupSet | None, out_of_memory: str) -> None:
        self.tale: Tale = read_tale(slip.tale)
        ends = self.tale.ends(slip.places, slip.aside)
        if isinstance(cgroup, CgroupSet):
            hit = {name for name, one in zip(slip.places, cgroup.each, strict=True) if one.out_of_memory}
            ends = tuple(
                ContainerEnd(one.name, one.exit_code, out_of_memory, one.decides)
                if one.exit_code and not one.reason and one.name in hit
                else one
                for one in ends
            )
        self.containers = ends

    @property
    def told(self) -> bool:
        return bool(self.tale.closed)

    @property
    def cause(self) -> str:
        return self.tale.cause

    def started(self, cause: str) -> int:
        """When everything had been started. One that ended before is said to have begun with its first container,
        unless it failed to start."""
        return self.tale.running or (self.tale.first if cause == EXIT else 0)
