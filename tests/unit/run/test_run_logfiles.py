"""Logs as events: lines, times, offsets; growing, torn, endless and odd ones."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from batchery.run.logfiles import EVENT_BYTES, PAGE_EVENTS, Event, LogFile

NOW = 1_900_000_000_000


class Log:
    """A log as a job and its agent write it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.idx = Path(f"{path}.idx")

    def write(self, data: bytes, changed: int = NOW) -> None:
        with self.path.open("ab") as file:
            file.write(data)
        os.utime(self.path, ns=(changed * 1_000_000, changed * 1_000_000))

    def sample(self, at: int, size: int | None = None) -> None:
        with self.idx.open("ab") as file:
            file.write(struct.pack("<qq", self.path.stat().st_size if size is None else size, at))

    def open(self, live: bool = False, now: int = NOW) -> LogFile:
        return LogFile(str(self.path), live=live, now=now)

    def forward(self, at: int = 0, **kwargs: int) -> list[Event]:
        with self.open() as log:
            return log.forward(at, log.end, **kwargs).events


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "default.log")


def messages(events: list[Event]) -> list[str]:
    return [event.message for event in events]


def test_a_log_that_is_not_there_is_empty(log: Log) -> None:
    with log.open(live=True) as opened:
        assert opened.end == 0
        assert opened.forward(0, 0) == opened.backward(0, 0) == ([], 0, 0)
        assert opened.bounds() is None
        assert opened.span(1, 2) == (0, 0)


def test_lines_are_events_with_offsets(log: Log) -> None:
    log.write(b"one\ntwo\r\n\n\r\nthree")
    log.sample(NOW)
    events = log.forward()
    assert messages(events) == ["one", "two", "three"]
    assert [(event.at, event.end) for event in events] == [(0, 4), (4, 9), (12, 17)]


def test_the_time_of_a_line_is_that_of_the_sample_that_saw_all_of_it(log: Log) -> None:
    log.write(b"a\nb\nc")
    log.sample(1_000)
    log.write(b"c\nd\n")
    log.sample(2_000)
    log.write(b"e\n", changed=7_000)
    assert [(event.message, event.time) for event in log.forward()] == [
        *(("a", 1_000), ("b", 1_000), ("cc", 2_000), ("d", 2_000)),
        ("e", 7_000),
    ]


def test_a_range_of_times_is_a_range_of_bytes(log: Log) -> None:
    for second in range(1, 5):
        log.write(f"{second}a\n{second}b\n".encode())
        log.sample(second * 1000)
    log.write(b"late\n", changed=9_000)
    expected = [(second * 1000, f"{second}{half}") for second in range(1, 5) for half in "ab"] + [(9_000, "late")]
    with log.open() as opened:
        for start in (None, 0, 1_000, 1_001, 2_000, 4_000, 4_001, 9_000, 9_001):
            for end in (None, 0, 1_000, 1_001, 3_000, 4_001, 9_000, 9_001):
                low, high = opened.span(start, end)
                found = messages(opened.forward(low, high).events)
                assert found == [
                    text for at, text in expected if (start is None or at >= start) and (end is None or at < end)
                ], (start, end)
                assert messages(opened.backward(high, low).events) == found


def test_a_torn_line_belongs_to_the_sample_that_saw_its_end(log: Log) -> None:
    log.write(b"done\nhalf")
    log.sample(1_000)
    log.write(b" and half\n")
    log.sample(2_000)
    with log.open() as opened:
        low, high = opened.span(2_000, None)
        assert messages(opened.forward(low, high).events) == ["half and half"]
        low, high = opened.span(None, 2_000)
        assert messages(opened.forward(low, high).events) == ["done"]


@pytest.mark.parametrize(
    ("live", "age", "shown"),
    [(True, 100, ["one"]), (True, 5_000, ["one", "tw"]), (False, 100, ["one", "tw"])],
    ids=["live", "live and quiet", "ended"],
)
def test_an_unfinished_line_shows_when_it_is_old_or_the_attempt_has_ended(
    log: Log, live: bool, age: int, shown: list[str]
) -> None:
    log.write(b"one\ntw", changed=NOW - age)
    with log.open(live=live) as opened:
        assert messages(opened.forward(0, opened.end).events) == shown


def test_going_on_from_a_page_follows_a_growing_log(log: Log) -> None:
    seen: list[str] = []
    at = 0
    for step in range(50):
        log.write(f"line {step}\npart".encode() if step % 2 else f"ial {step}\n".encode())
        with log.open(live=True) as opened:
            page = opened.forward(at, opened.end)
        seen += messages(page.events)
        at = page.next
    with log.open() as opened:
        seen += messages(opened.forward(at, opened.end).events)
    assert seen == messages(log.forward())


def test_pages_in_both_directions_meet(log: Log) -> None:
    log.write(b"".join(b"%d\n" % number for number in range(1_000)))
    with log.open() as opened:
        at, ahead = 0, []
        while page := opened.forward(at, opened.end, 33).events:
            ahead += page
            at = page[-1].end
        at, back = opened.end, []
        while (page_back := opened.backward(at, 0, 37)).events:
            back = page_back.events + back
            assert page_back.next == at
            at = page_back.first
        assert at == 0
    assert ahead == back
    assert messages(ahead) == [str(number) for number in range(1_000)]


def test_a_page_has_at_most_ten_thousand_events_or_a_mebibyte(log: Log) -> None:
    log.write(b"x\n" * 12_000)
    assert len(log.forward()) == PAGE_EVENTS
    with log.open() as opened:
        assert len(opened.backward(opened.end, 0).events) == PAGE_EVENTS
    long = Log(log.path.with_name("long.log"))
    long.write((b"y" * 99_974 + b"\n") * 30)
    assert len(long.forward()) == 10
    with long.open() as opened:
        page = opened.backward(opened.end, 0)
        assert len(page.events) == 10
        assert page.first == 20 * 99_975


def test_empty_lines_alone_make_short_pages_that_still_go_on(log: Log) -> None:
    log.write(b"\n" * (3 * 1024 * 1024) + b"end\n")
    with log.open() as opened:
        first = opened.forward(0, opened.end)
        assert first.events == []
        assert 0 < first.next < opened.end
        second = opened.forward(first.next, opened.end)
        third = opened.forward(second.next, opened.end)
        assert messages(first.events + second.events + third.events) == ["end"]
        page = opened.backward(opened.end - 4, 0)
        assert page.events == []
        assert 0 < page.first < opened.end - 4


def test_bytes_that_are_not_text_are_replaced(log: Log) -> None:
    log.write(b"caf\xc3\xa9 \xff\xfe\nok\n")
    assert messages(log.forward()) == ["café ��", "ok"]


@pytest.mark.parametrize("lead", [0, 1, 5, EVENT_BYTES - 2, EVENT_BYTES - 1, EVENT_BYTES, 4 * EVENT_BYTES - 1])
@pytest.mark.parametrize("letter", ["x", "é", "€", "😀"])
def test_a_very_long_line_is_cut_alike_from_both_sides(log: Log, lead: int, letter: str) -> None:
    text = letter * (3 * EVENT_BYTES // len(letter.encode()))
    log.write(b"z" * (lead - 1) + b"\n" if lead else b"")
    log.write(text.encode() + b"\nshort\n")
    with log.open() as opened:
        ahead = everything(lambda at: opened.forward(at, opened.end), 0, forward=True)
        back = everything(lambda at: opened.backward(at, 0), opened.end, forward=False)
        assert ahead == back
        assert all(event.end - event.at <= EVENT_BYTES + 4 for event in ahead)
        assert "".join(event.message for event in ahead if event.at >= lead) == text + "short"
        for event in ahead:
            assert opened.boundary(event.at) == event.at
            assert opened.boundary(event.end - 1) == event.at


def everything(page_of: Callable[[int], object], at: int, forward: bool) -> list[Event]:
    events: list[Event] = []
    while True:
        page = page_of(at)
        assert isinstance(page, tuple)
        if not page[0]:
            return events
        events = events + page[0] if forward else page[0] + events
        at = page[2] if forward else page[1]


def test_the_tail_of_a_huge_log_is_read_alone(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 200 * 1024 * 1024
    with log.path.open("wb") as file:
        file.truncate(size)  # a hole: one line of 200 MiB without an end
        file.seek(size)
        file.write(b"\nlast but one\nlast\n")
    read = 0
    pread = os.pread

    def counting(fd: int, length: int, offset: int) -> bytes:
        nonlocal read
        data = pread(fd, length, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counting)
    with log.open() as opened:
        assert messages(opened.backward(opened.end, 0, 2).events) == ["last but one", "last"]
        assert len(opened.forward(100 * 1024 * 1024, opened.end).events) >= 3
        assert opened.boundary(150 * 1024 * 1024 + 7) == 150 * 1024 * 1024
    assert read < 16 * 1024 * 1024


def test_a_live_endless_line_shows_its_finished_pieces(log: Log) -> None:
    log.write(b"x" * (2 * EVENT_BYTES + 10))
    with log.open(live=True) as opened:
        assert [event.end for event in opened.forward(0, opened.end).events] == [EVENT_BYTES, 2 * EVENT_BYTES]


def test_a_log_that_the_job_truncated_is_read_on(log: Log) -> None:
    log.write(b"before\n" * 100)
    log.sample(1_000)
    log.path.write_bytes(b"after\n")
    with log.open() as opened:
        assert messages(opened.forward(0, opened.end).events) == ["after"]
        assert opened.forward(700, opened.end) == ([], 700, 700)
        assert messages(opened.backward(700, 0).events) == ["after"]
        assert opened.span(None, None) == (0, 6)


def test_many_samples_are_searched_not_read(log: Log) -> None:
    log.write(b"1234567\n" * 20_000)
    with log.idx.open("wb") as file:
        for number in range(20_000):
            file.write(struct.pack("<qq", (number + 1) * 8, number * 500))
    with log.open() as opened:
        low, high = opened.span(15_000 * 500, 15_001 * 500)
        assert (low, high) == (15_000 * 8, 15_001 * 8)
        assert [event.time for event in opened.forward(19_998 * 8, opened.end).events] == [9_999_000, 9_999_500]
        assert [event.time for event in opened.forward(0, opened.end).events] == list(range(0, 5_000_000, 500))
        assert opened.bounds() == (0, 9_999_500)


def test_an_index_entry_that_is_half_written_does_not_count(log: Log) -> None:
    log.write(b"a\n")
    log.sample(5_000)
    with log.idx.open("ab") as file:
        file.write(b"\x01\x02\x03")
    assert log.forward()[0].time == 5_000


class TestSettled:
    """What a reader that polls by time may see: what keeps its time."""

    def test_lines_that_the_next_sample_will_stamp_are_held_back(self, log: Log) -> None:
        log.write(b"old\n")
        log.sample(NOW - 400)
        log.write(b"new\n")
        with log.open(live=True) as opened:
            assert opened.end == 8
            assert opened.settled() == 4
        with log.open() as opened:
            assert opened.settled() == 8

    def test_the_first_lines_wait_for_the_first_sample(self, log: Log) -> None:
        log.write(b"old\n")
        with log.open(live=True) as opened:
            assert (opened.end, opened.settled()) == (4, 0)

    def test_a_quiet_log_is_shown_though_its_sampler_is_gone(self, log: Log) -> None:
        log.write(b"old\n")
        log.sample(NOW - 9_000)
        log.write(b"new\n", changed=NOW - 5_000)
        with log.open(live=True) as opened:
            assert opened.settled() == 8

    def test_a_sample_just_made_waits_for_its_neighbours(self, log: Log) -> None:
        log.write(b"old\n")
        log.sample(NOW - 500)
        log.write(b"new\n")
        log.sample(NOW - 3)
        with log.open(live=True) as opened:
            assert opened.settled() == 4
        with log.open(live=True, now=NOW + 400) as opened:
            assert opened.settled() == 8

    def test_times_of_a_clock_far_ahead_are_shown(self, log: Log) -> None:
        log.write(b"old\n")
        log.sample(NOW + 3_600_000)
        with log.open(live=True) as opened:
            assert opened.settled() == 4
