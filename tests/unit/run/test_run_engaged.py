"""A server does not start without the engine that has jobs of its data."""

from pathlib import Path

import pytest

from batchery.config import Engines
from batchery.core.model import Attempt, AttemptKey, Environment, Realm, Resources, World
from batchery.core.status import RUNNING
from batchery.engines.engine import EngineError
from batchery.run.engaged import NOTE, Engaged, engage

PROCESS = Engaged("process")
DOCKER = Engaged("docker")
AUTO = Engaged("docker", True)


def world(*names: str) -> World:
    """With an attempt in an environment of each of these names."""
    made = World()
    for number, name in enumerate(names):
        made.environments[name] = Environment(name, name, Realm("1", "r"), "EC2", 1000, name, "{}")
        key = AttemptKey(f"job-{number}", 0, 1)
        made.live[key] = Attempt(key, 0, name, Resources(1000, 1), RUNNING, 1)
    return made


def test_what_is_empty_may_have_any_engine(tmp_path: Path) -> None:
    for now in (PROCESS, DOCKER, AUTO, PROCESS):
        engage(World(), tmp_path, now)


def test_an_engine_with_jobs_is_not_left_out(tmp_path: Path) -> None:
    busy = world(*"abcdefg")
    engage(busy, tmp_path, PROCESS)
    with pytest.raises(EngineError, match=r"7 jobs may still be at the engine process.*job-0, job-1.*job-4, [.][.][.]"):
        engage(busy, tmp_path, DOCKER)
    engage(busy, tmp_path, AUTO)  # has host processes as well, for images that cannot be had
    for now in (PROCESS, DOCKER):  # where each of them is nobody noted
        with pytest.raises(EngineError, match="job-0"):
            engage(busy, tmp_path, now)
    engage(busy, tmp_path, Engaged("slurm", False, Engines({"x": "docker", "y": "process"})))


def test_the_settings_that_were_say_where_each_environment_was(tmp_path: Path) -> None:
    engage(World(), tmp_path, Engaged("process", False, Engines({"far-*": "slurm"}, {"FARGATE": "docker"})))
    engage(world("near"), tmp_path, PROCESS)
    engage(World(), tmp_path, Engaged("process", False, Engines({"far-*": "slurm"})))
    with pytest.raises(EngineError, match=r"1 jobs may still be at the engine slurm.*: job-1"):
        engage(world("near", "far-1"), tmp_path, PROCESS)


def test_a_note_that_cannot_be_kept_is_said_and_one_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / NOTE).write_text("?")
    engage(world("a"), tmp_path, PROCESS)
    (tmp_path / NOTE).unlink()
    (tmp_path / NOTE).mkdir()
    with pytest.raises(EngineError, match="Cannot read"):
        engage(world("a"), tmp_path, PROCESS)
    with pytest.raises(EngineError, match="Cannot write"):
        engage(world("a"), tmp_path / "nowhere", PROCESS)
