"""Many logs in one order of time, in pages that meet, forward and backward."""

import os
import random
import struct
from pathlib import Path

import pytest

from batchery.run import logsearch
from batchery.run.logsearch import Found, Search, Source, Spot, bounds_of, search

NOW = 1_900_000_000_000


def write_log(path: Path, batches: list[tuple[int, list[str]]]) -> None:
    """Lines with the times (ms) at which they were sampled."""
    size = 0
    with path.open("wb") as file, Path(f"{path}.idx").open("wb") as index:
        for at, lines in batches:
            data = "".join(f"{line}\n" for line in lines).encode()
            size += len(data)
            file.write(data)
            index.write(struct.pack("<qq", size, at))
    stamp = batches[-1][0] * 1_000_000 if batches else 0
    for name in (path, f"{path}.idx"):
        os.utime(name, ns=(stamp, stamp))


def write_many(folder: Path, streams: int, seed: int) -> tuple[list[Source], list[tuple[int, str, str]]]:
    """Sources, and every (time, stream, message) in order."""
    draw = random.Random(seed)
    sources, expected = [], []
    for number in range(streams):
        stream, begin = f"s/{number:02d}", NOW - draw.randrange(1, 100) * 1_000
        batches, count = [], 0
        for at in sorted(draw.sample(range(begin, NOW, 500), k=draw.randrange(0, 5))):
            lines = [f"{stream} {count + more}" for more in range(draw.randrange(1, 9))]
            count += len(lines)
            batches.append((at, lines))
            expected += [(at, stream, line) for line in lines]
        path = folder / f"{number}.log"
        write_log(path, batches)
        sources.append(Source(stream, str(path), begin, False))
    draw.shuffle(sources)
    return sources, sorted(expected, key=lambda item: (item[0], item[1]))


def every(ask: Search) -> list[tuple[int, str, str]]:
    """All pages, one after the other."""
    events: list[tuple[int, str, str]] = []
    spot: Spot | None = None
    for _ in range(10_000):
        found = search(Search(ask.sources, ask.match, ask.limit, ask.now, ask.start, ask.end, ask.backward, spot))
        assert len(found.events) <= ask.limit
        events += [(event.time, stream, event.message) for stream, event in found.events]
        spot = found.spot
        if spot is None:
            return events
    raise AssertionError("pages without end")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limit", [1, 3, 50, 10_000])
def test_pages_give_every_event_once_in_order(tmp_path: Path, seed: int, limit: int) -> None:
    sources, expected = write_many(tmp_path, 9, seed)
    assert every(Search(sources, bool, limit, NOW)) == expected
    assert every(Search(sources, bool, limit, NOW, start=0, backward=True)) == expected[::-1]


@pytest.mark.parametrize("backward", [False, True])
def test_a_range_holds_its_start_and_not_its_end(tmp_path: Path, backward: bool) -> None:
    sources, expected = write_many(tmp_path, 9, 3)
    times = sorted({at for at, _, _ in expected})
    start, end = times[len(times) // 4], times[len(times) // 2]
    found = every(Search(sources, bool, 7, NOW, start, end, backward))
    wanted = [item for item in expected if start <= item[0] < end]
    assert found == (wanted[::-1] if backward else wanted)
    assert len(wanted) > 3


def test_only_what_matches_counts(tmp_path: Path) -> None:
    sources, expected = write_many(tmp_path, 9, 4)
    assert every(Search(sources, lambda message: message.endswith(" 3"), 2, NOW)) == [
        item for item in expected if item[2].endswith(" 3")
    ]


def test_a_search_that_takes_long_gives_up_a_page_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path / "a", [(1_000, [str(number) for number in range(2_000)])])
    source = Source("a", str(tmp_path / "a"), 1_000, False)
    monkeypatch.setattr(logsearch, "SECONDS", -1.0)
    first = search(Search([source], lambda message: False, 10, NOW))
    assert first == Found([], Spot(1_000, "a", sum(len(f"{n}\n") for n in range(logsearch.CHECK_EVERY))))
    assert [item[2] for item in every(Search([source], "1999".__eq__, 10, NOW))] == ["1999"]


def test_a_page_is_about_a_mebibyte(tmp_path: Path) -> None:
    write_log(tmp_path / "a", [(1_000, ["x" * 100_000] * 25)])
    source = Source("a", str(tmp_path / "a"), 1_000, False)
    assert len(search(Search([source], bool, 10_000, NOW)).events) == 10
    assert len(every(Search([source], bool, 10_000, NOW))) == 25


def test_polling_by_time_sees_every_line_once(tmp_path: Path) -> None:
    """As `aws logs tail --follow` does it: from the newest time seen, without the ids seen at that time."""
    paths = [tmp_path / "a", tmp_path / "b"]
    sources = [Source(path.name, str(path), NOW, True) for path in paths]
    for path in paths:
        path.touch()
        Path(f"{path}.idx").touch()
    seen: dict[tuple[int, str, int], str] = {}
    newest = NOW
    draw = random.Random(1)
    for step in range(200):
        now = NOW + step * 250
        path = paths[draw.randrange(2)]
        with path.open("ab") as file:
            file.write(f"{step}".encode() + (b"" if draw.random() < 0.3 else b"\n"))
        os.utime(path, ns=(now * 1_000_000, now * 1_000_000))
        if step % 2:
            for sampled in paths:
                size = sampled.stat().st_size
                index = Path(f"{sampled}.idx")
                if size and (not index.stat().st_size or struct.unpack("<qq", index.read_bytes()[-16:])[0] < size):
                    with index.open("ab") as file:
                        file.write(struct.pack("<qq", size, now + 1))
        for stream, event in search(Search(sources, bool, 10_000, now + 300, start=newest)).events:
            assert event.time >= newest
            key = (event.time, stream, event.at)
            seen.setdefault(key, event.message)
        newest = max([newest, *(at for at, _, _ in seen)])
    ended = [source._replace(live=False) for source in sources]
    for stream, event in search(Search(ended, bool, 10_000, NOW + 99_000, start=newest)).events:
        seen.setdefault((event.time, stream, event.at), event.message)
    for path in paths:
        lines = [line for line in path.read_text().split("\n") if line]
        assert [text for (_, stream, _), text in sorted(seen.items()) if stream == path.name] == lines


def test_logs_that_are_gone_have_no_events(tmp_path: Path) -> None:
    for live in (False, True):
        source = Source("a", str(tmp_path / "none"), 0, live)
        assert search(Search([source], bool, 10, NOW)) == ([], None)
        assert search(Search([source], bool, 10, NOW, start=5, backward=True)) == ([], None)
        assert bounds_of([source], NOW) == [None]


def test_ended_logs_older_than_the_start_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path / "a", [(NOW - 60_000, ["old"])])
    source = Source("a", str(tmp_path / "a"), NOW - 60_000, False)
    monkeypatch.setattr(logsearch, "LogFile", None)
    assert search(Search([source], bool, 10, NOW, start=NOW - 1_000)) == ([], None)


def test_the_bounds_of_ended_logs_are_kept_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path / "a", [(1_000, ["first"]), (2_000, ["last"])])
    source = Source("a", str(tmp_path / "a"), 0, False)
    assert bounds_of([source], NOW) == [(1_000, 2_000)]
    with monkeypatch.context() as patch:
        patch.setattr(logsearch, "LogFile", None)
        assert bounds_of([source], NOW) == [(1_000, 2_000)]
    write_log(tmp_path / "a", [(1_000, ["first"]), (3_000, ["later"])])
    assert bounds_of([source], NOW) == [(1_000, 3_000)]
