"""The parts of the process engine that need no process."""

import json
import os
import struct
from pathlib import Path

import pytest

from batchery.config import ImageRule
from batchery.core.messages import Exited, Lost, Started, Starting
from batchery.core.model import EXIT, AttemptKey, ContainerEnd
from batchery.engines import census, places, reaper, wire
from batchery.engines.host import count_gpus
from batchery.engines.images import DEFAULT_PATH, cannot_start, entry
from batchery.engines.journal import Acked, Begun, Journal, Memory, Noted, Over, Slip
from batchery.engines.logindex import LogIndex
from batchery.engines.memo import Memo
from batchery.engines.room import Share
from batchery.engines.spawn import capped, exec_error, identity_of, program_path
from batchery.engines.ulimits import ulimits
from batchery.engines.wire import News, Task
from batchery.engines.workdirs import Workdirs, remove_tree


def key(number: int) -> AttemptKey:
    return AttemptKey("job", number, 1)


def task(number: int) -> Task:
    return Task(key(number), "id", "default", "", ("true",), {}, "/log", 1000, 10, 0, "p", 2000, 0, 0)


# ---------------------------------------------------------------------------------------------------- wire


def test_frames_are_cut_wherever_the_stream_is_torn():
    hello = wire.Hello(1, "0", wire.Settings(user="u", prolog=("a", "b")))
    stream = wire.frame([hello, wire.Retire()]) + wire.frame([wire.Launch([task(1)])])
    frames = wire.Frames()
    bodies = [body for at in range(len(stream)) for body in frames.feed(stream[at : at + 1])]
    assert [wire.to_agent.decode(body) for body in bodies] == [[hello, wire.Retire()], [wire.Launch([task(1)])]]


def test_a_length_that_cannot_be_ours_is_refused():
    with pytest.raises(ValueError, match="a frame of"):
        wire.Frames().feed(b"\xff\xff\xff\xff")


def test_structs_with_members_of_a_later_version_can_be_read():
    later = wire.msgspec.msgpack.encode([["Welcome", 1, "9.0", 7, 100, 0, {}, "new member"]])
    assert wire.from_agent.decode(later) == [wire.Welcome(1, "9.0", 7, 100, 0, {})]


def test_news_become_reports():
    full = News("exited", key(1), 9, EXIT, 3, "default", 4, "why", 5, 6)
    assert wire.report_of(full) == Exited(key(1), 9, EXIT, 3, (ContainerEnd("default", 4, "why"),), 5, 6)
    assert wire.report_of(News("exited", key(1), 9, "WITHDRAWN")) == Exited(key(1), 9, "WITHDRAWN")
    assert wire.report_of(News("starting", key(1), 9)) == Starting(key(1), 9)
    assert wire.report_of(News("started", key(1), 9)) == Started(key(1), 9)
    assert wire.report_of(News("lost", key(1), 9, host="h")) == Lost(key(1), 9, "h")


# ---------------------------------------------------------------------------------------------------- journal


def slip(number: int) -> Slip:
    return Slip(key(number), "default", "/log", 0, 1000, Share("p", 1000, 10, (1,)), workdir="/w")


def test_a_journal_remembers_what_is_not_acknowledged(tmp_path):
    journal = Journal(tmp_path / "journal")
    assert journal.open() == {}
    over = News("exited", key(2), 5, EXIT)
    for line in (Noted(slip(1)), Begun(key(1), 77, 5, 6), Noted(slip(2)), Over(over), Noted(slip(3)), Acked([key(3)])):
        journal.add(line)
    journal.close()
    again = Journal(tmp_path / "journal")
    memories = again.open()
    again.close()
    assert set(memories) == {key(1), key(2)}
    assert (memories[key(1)].slip, memories[key(1)].begun, memories[key(1)].over) == (
        slip(1),
        Begun(key(1), 77, 5, 6),
        None,
    )
    assert memories[key(2)].over == over
    assert again.same_boot


def test_a_journal_of_another_boot_says_so_and_torn_lines_are_passed_over(tmp_path):
    path = tmp_path / "journal"
    path.write_text('{"type":"boot","id":"another"}\n{"type":"noted","slip":{"key":["job",1')
    journal = Journal(path)
    assert journal.open() == {}
    journal.close()
    assert not journal.same_boot


def test_a_compact_journal_has_nothing_but_what_it_was_given(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.open()
    for number in range(50):
        journal.add(Noted(slip(number)))
    journal.flush()
    before = journal.path.stat().st_size
    memories = {key(3): Journal(tmp_path / "journal").open()[key(3)]}
    journal.compact(memories)
    journal.add(Begun(key(3), 9))
    journal.close()
    assert journal.path.stat().st_size < before / 10
    again = Journal(tmp_path / "journal")
    assert again.open()[key(3)].begun == Begun(key(3), 9)
    again.close()


def test_what_could_not_be_written_is_written_later(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal")
    journal.open()
    write, calls = os.write, []

    def full_disk(fd: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 1:
            return write(fd, data[:20])
        raise OSError(28, "No space left on device")

    journal.add(Noted(slip(1)))
    monkeypatch.setattr(os, "write", full_disk)
    assert not journal.flush()
    monkeypatch.undo()
    journal.add(Begun(key(1), 5))
    assert journal.flush()
    journal.close()
    again = Journal(tmp_path / "journal")
    assert again.open() == {key(1): Memory(slip(1), Begun(key(1), 5))}
    again.close()


def test_a_journal_that_cannot_be_made_compact_goes_on_as_it_is(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.open()
    journal.add(Noted(slip(1)))
    journal.close()
    (tmp_path / "journal.new").mkdir()  # in the way
    again = Journal(tmp_path / "journal")
    assert set(again.open()) == {key(1)}
    again.add(Noted(slip(2)))
    again.close()
    assert (tmp_path / "journal").read_bytes().count(b"noted") == 2


def test_a_memo_keeps_the_last_keys_only(monkeypatch):
    monkeypatch.setattr("batchery.engines.memo.REMEMBERED", 2)
    memo = Memo()
    for number in (1, 2, 3):
        memo.add(key(number))
    assert list(memo) == [key(2), key(3)]


# ---------------------------------------------------------------------------------------------------- images


def test_the_first_pattern_that_matches_counts_and_the_jobs_own_variables_win():
    rules = {
        "python:*": ImageRule(["python3"], "/opt/bin", {"A": "rule", "PATH": "/ignored"}),
        "*": ImageRule([], "/all"),
    }
    assert entry(rules, "python:3.11", ["-V"], {"A": "job"}) == (
        ("python3", "-V"),
        {"PATH": "/ignored", "A": "job"},
    )
    assert entry(rules, "busybox", ["ls"], {"PATH": "/mine"}) == (("ls",), {"PATH": "/mine"})
    assert entry({}, "busybox", ["ls"], {}) == (("ls",), {"PATH": DEFAULT_PATH})


def test_a_hint_names_the_image():
    assert '[process.images."me:1"]' in cannot_start((), "me:1", 0)
    assert 'exec: "x": permission denied' in cannot_start(("x",), "me:1", 13)


def test_ulimits_are_read_from_the_spec():
    spec = {"image": "x", "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}]}
    assert ulimits(json.dumps(spec)) == (("nofile", 1, 2),)
    assert ulimits("") == ulimits('{"image":"x"}') == ()


# ---------------------------------------------------------------------------------------------------- processes


def test_a_stat_line_is_read_whatever_the_program_is_called():
    line = b"42 (a) b (c) d) S 1 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 9 9"
    assert census.parse_stat(line) == census.Stat(42, "S", 1, 40, 39, 12345)


def test_a_program_is_looked_for_in_the_jobs_path(tmp_path):
    denied, found = tmp_path / "a", tmp_path / "b"
    for place, mode in ((denied, 0o644), (found, 0o755)):
        place.mkdir()
        (place / "tool").write_text("")
        (place / "tool").chmod(mode)
    assert program_path("tool", f"{denied}:{found}") == str(found / "tool")
    assert program_path("./x", "") == "./x"
    with pytest.raises(PermissionError):
        program_path("tool", f"/nowhere:{denied}")
    with pytest.raises(FileNotFoundError):
        program_path("tool", "/nowhere")


def test_limits_a_system_does_not_have_are_left_out_and_a_soft_one_is_no_higher_than_the_hard_one():
    assert capped([("nonesuch", 1, 1), ("nofile", 999, 10)]) == [("nofile", 10, 10)]


def test_the_shims_word_is_none_until_there_is_one():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    assert exec_error(reading) is None
    os.write(writing, b"13")
    assert exec_error(reading) == 13
    os.close(writing)
    assert exec_error(reading) == 0
    os.close(reading)


def test_only_root_may_run_jobs_as_somebody_else(monkeypatch):
    assert identity_of("").is_self
    assert identity_of(str(os.geteuid())).is_self
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(PermissionError, match='run as "root", but only root'):
        identity_of("root")
    with pytest.raises(LookupError, match="no user"):
        identity_of("no-such-user")


def test_an_orphans_end_is_one_line(tmp_path):
    path = tmp_path / "orphans"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    reaper.write_down(fd, 7, 9, 0.25, 2048)
    reaper.write_down(fd, 8, 3 << 8, 0, 1)
    os.close(fd)
    lines = [line.split() for line in path.read_text().splitlines()]
    assert [line[:4] for line in lines] == [["7", "137", "250", "2048"], ["8", "3", "0", "1"]]


def test_a_data_directory_has_one_lock(tmp_path):
    held = reaper.lock(str(tmp_path))
    assert held >= 0
    assert reaper.lock(str(tmp_path)) == -1
    os.close(held)


def test_gpus_are_counted_by_their_devices(tmp_path):
    for name in ("nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert count_gpus(tmp_path) == 2
    assert count_gpus(tmp_path / "none") == 0


# ---------------------------------------------------------------------------------------------------- files


def test_an_index_has_a_record_only_when_the_log_has_grown(tmp_path):
    log = tmp_path / "log"
    index = LogIndex(str(log))
    index.sample(1)
    log.write_text("abc")
    index.sample(2)
    index.sample(3)
    log.write_text("abcdef")
    LogIndex(str(log), resume=True).sample(4)
    assert list(struct.iter_unpack("<qq", (tmp_path / "log.idx").read_bytes())) == [(3, 2), (6, 4)]


def test_an_untouched_directory_is_given_out_again_and_a_touched_one_is_not(tmp_path):
    own = identity_of("")
    workdirs = Workdirs(tmp_path / "work", set())
    first = workdirs.take("id", own, False)
    workdirs.give(first, False)
    assert workdirs.take("id", own, False) == first
    Path(first, "left").touch()
    workdirs.give(first, False)
    assert not Path(first).exists()
    second = workdirs.take("id", own, False)
    os.chmod(second, 0o777)
    workdirs.give(second, False)
    assert not Path(second).exists()
    kept = workdirs.take("0123", own, True)
    workdirs.give(kept, True)
    assert Path(kept).is_dir()
    workdirs.close()
    assert os.listdir(tmp_path / "work") == ["0123"]


def test_directories_of_an_agent_before_this_one_go_unless_they_are_used(tmp_path):
    for name in ("1", "2", "0" * 32):
        (tmp_path / name / "deep").mkdir(parents=True)
    workdirs = Workdirs(tmp_path, {str(tmp_path / "2")})
    assert sorted(os.listdir(tmp_path)) == ["0" * 32, "2"]
    assert [Path(workdirs.take("id", identity_of(""), False)).name for _ in range(2)] == ["1", "3"]


def test_a_tree_that_nobody_may_write_goes_too(tmp_path):
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").touch()
    for directory in (tree / "a" / "b", tree / "a", tree):
        directory.chmod(0o500)
    remove_tree(str(tree))
    assert not tree.exists()


def test_a_socket_has_a_short_path_in_a_directory_of_our_own(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    path = places.new_socket_path(tmp_path)
    assert len(os.fsencode(path)) <= 103
    assert not str(path).startswith(str(deep))
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.rmdir()


def test_a_directory_of_somebody_else_is_not_used(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        places.own_directory(tmp_path / "link")


def test_jobs_of_another_user_work_where_that_user_can_come(tmp_path):
    assert places.work_root(tmp_path, False) == tmp_path / "work"
    tmp_path.chmod(0o700)
    root = places.work_root(tmp_path, True)
    assert root.parent.parent == Path("/var/tmp")
    assert root.parent.stat().st_mode & 0o777 == 0o711
    root.parent.rmdir()
