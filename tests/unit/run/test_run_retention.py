"""What is forgotten: by age, by a group's retention, and because nothing names it; never of a living attempt."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from batchery.config import Config, Limits
from batchery.core import catalog
from batchery.core.model import INACTIVE, AttemptKey, Definition, Realm, World, task_id
from batchery.run import retention
from batchery.run.logfiles import remove_log
from batchery.run.retention import DAY, Known, Retention, Swept, has_expired, is_orphan
from batchery.spec.names import log_path
from batchery.store.store import GroupRow, StreamRow

NOW = 1_900_000_000_000
HOME = Realm("123456789012", "us-east-1")


class House:
    """A service with rows and files; its prunes are lists of what they are to answer."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.config = Config(logs=str(logs), limits=Limits(job_days=7, activity_days=90))
        self.reads = self
        self.world = World(realms={HOME})
        self.group_rows: list[GroupRow] = []
        self.stream_rows: list[StreamRow] = []
        self.job_batches: list[list[str]] = [[]]
        self.asked: list[tuple[str, int]] = []
        self.used: set[str] = set()
        self.forgotten: list[str] = []

    def now(self) -> int:
        return NOW

    async def ask(self, question: Any, *args: Any) -> Any:
        return question(self.world, *args)

    async def groups(self, account: str, region: str) -> list[GroupRow]:
        return self.group_rows

    async def streams(self, account: str, region: str, group: str, prefix: str, after: str, limit: int) -> Any:
        rows = sorted((row for row in self.stream_rows if row.group == group), key=lambda row: row.name)
        return [row for row in rows if row.name > after][:limit]

    async def definitions_used(self) -> set[str]:
        return self.used

    async def submit(self, command: Any) -> None:
        self.forgotten += command.arns

    async def prune_jobs(self, before: int, limit: int) -> list[str]:
        self.asked.append(("jobs", before))
        return self.job_batches.pop(0)

    async def prune_activity(self, before: int) -> int:
        self.asked.append(("activity", before))
        return 5

    def log(self, serial: int, age_days: float, group: str = "", live: bool = False) -> Path:
        """A log last written so long ago; without a group no stream names it."""
        key = AttemptKey("job", 0, serial)
        path = log_path(self.logs, task_id(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        stamp = (NOW - int(age_days * DAY)) * 1_000_000
        for name in (path, Path(f"{path}.idx")):
            name.write_bytes(b"x")
            os.utime(name, ns=(stamp, stamp))
        if group:
            self.stream_rows.append(StreamRow(group, f"s/{serial:03d}", task_id(key), "default", 0, key))
        if live:
            self.world.live[key] = None  # type: ignore[assignment]
        return path

    def sweep(self) -> Swept:
        return asyncio.run(Retention(self, self.prune_jobs, self.prune_activity).sweep())  # type: ignore[arg-type]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "logs")


def test_jobs_and_activity_go_by_their_limits(house: House) -> None:
    house.job_batches = [["j"] * retention.JOBS_AT_ONCE, ["j"] * 3]
    assert house.sweep() == Swept(retention.JOBS_AT_ONCE + 3, 5, 0, 0)
    assert house.asked == [("activity", NOW - 90 * DAY), *[("jobs", NOW - 7 * DAY)] * 2]


def test_logs_go_by_the_retention_of_their_group(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STREAMS_AT_ONCE", 2)
    house.group_rows = [GroupRow("kept", 0, 0), GroupRow("short", 0, 3)]
    old_kept = house.log(1, 400, "kept")
    old, young, living = house.log(2, 3.1, "short"), house.log(3, 2.9, "short"), house.log(4, 9, "short", live=True)
    more = [house.log(serial, 5, "short") for serial in range(10, 15)]
    assert house.sweep()[2:4] == (6, 0)
    assert (old_kept.exists(), young.exists(), living.exists()) == (True, True, True)
    assert not any(name.exists() for path in [old, *more] for name in (path, Path(f"{path}.idx")))
    house.job_batches = [[]]
    assert house.sweep()[2:4] == (0, 0)


def test_logs_that_nothing_names_go_when_they_are_old(house: House) -> None:
    house.group_rows = [GroupRow("g", 0, 0)]
    old, young = house.log(1, 7.1), house.log(2, 6.9)
    living, named = house.log(3, 8, live=True), house.log(4, 8, "g")
    stranger = house.logs / "ab" / "notes.txt"
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_text("not a log")
    assert house.sweep().orphans == 1
    assert not old.exists()
    assert not Path(f"{old}.idx").exists()
    assert all(path.exists() for path in (young, living, named, stranger))


def test_old_definitions_that_no_job_refers_to_go(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "DEFINITIONS_AT_ONCE", 2)
    for number in range(6):
        age = 179 if number == 0 else 181
        one = Definition(f"d{number}", f"d{number}", HOME, 1, "{}", INACTIVE, 1, NOW - age * DAY)
        house.world.definitions[one.arn] = one
        catalog.define(house.world, one)
    house.used = {"d1"}
    assert house.sweep().definitions == 4
    assert house.forgotten == ["d2", "d3", "d4", "d5"]


def test_a_sweep_without_logs_is_quiet(house: House) -> None:
    assert house.sweep() == Swept(0, 5, 0, 0)


def test_rows_that_cannot_be_read_delete_nothing(house: House) -> None:
    house.group_rows = [GroupRow("g", 0, 0)]
    named = house.log(1, 8, "g")

    async def broken(*args: Any) -> Any:
        raise OSError("unreadable")

    house.streams = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="unreadable"):
        house.sweep()
    assert named.exists()


async def test_a_round_that_fails_is_followed_by_another(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "EVERY_S", 0.001)
    rounds = asyncio.Event()
    answers: list[Any] = [OSError("full"), 5]

    async def prune_activity(before: int) -> int:
        answer = answers.pop(0) if answers else 0
        if isinstance(answer, OSError):
            raise answer
        rounds.set()
        return int(answer)

    async def prune_jobs(before: int, limit: int) -> list[str]:
        return []

    task = asyncio.create_task(Retention(house, prune_jobs, prune_activity).run())  # type: ignore[arg-type]
    await asyncio.wait_for(rounds.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_decisions() -> None:
    assert has_expired(NOW - DAY - 1, 1, NOW)
    assert not has_expired(NOW - DAY, 1, NOW)
    assert not has_expired(0, 0, NOW)
    known = Known()
    assert "0" * 32 not in known
    for task in ("b" * 32, "a" * 32):
        known.add(task)
    assert "a" * 32 in known
    assert "c" * 32 not in known
    assert is_orphan("c" * 32, 1, known, set(), 2)
    assert not is_orphan("c" * 32, 2, known, set(), 2)
    assert not is_orphan("c" * 32, 1, known, {"c" * 32}, 2)
    assert not is_orphan("a" * 32, 1, known, set(), 2)


def test_one_container_s_log_goes_alone(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    for name in ("a.log", "a.log.idx", "b.log"):
        (folder / name).touch()
    assert remove_log(str(folder / "a.log"))
    assert [path.name for path in folder.iterdir()] == ["b.log"]
    assert not remove_log(str(folder / "a.log"))
    assert remove_log(str(folder / "b.log"))
    assert folder.exists()
