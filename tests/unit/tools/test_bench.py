"""What the benchmarks stand on: the load generator counts what was answered, and ratios are of medians."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tools.bench.disk import fdatasync_us, file_system
from tools.bench.load import LoadError, drive
from tools.bench.report import Ratio, Report


@contextmanager
def answering(answer: bytes, close: bool = False) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """A server that gives one answer to each request; the requests it got."""
    got: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            while request := connection.recv(65536):
                got.append(request)
                connection.sendall(answer[:20])
                connection.sendall(answer[20:])
                if close:
                    return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname(), got
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
CLOSING = b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\nConnection: close\r\n\r\nbody"


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize(("answer", "close"), [(GOOD, False), (CLOSING, True)], ids=["kept", "closed"])
def test_each_request_is_sent_and_each_answer_counted(connections: int, answer: bytes, close: bool) -> None:
    with answering(answer, close) as (address, got):
        result = drive(address, [b"one", b"two"], connections, 20, count=10, keep=True)
    assert sorted(got) == [b"one"] * 5 + [b"two"] * 5
    assert result.bodies == [b"body"] * 10
    assert (result.done, result.rate > 0, 0 < result.p50 <= result.p99) == (10, True, True)


@pytest.mark.parametrize("connections", [1, 2])
def test_an_error_is_not_counted_as_an_answer(connections: int) -> None:
    with (
        answering(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") as (address, _),
        pytest.raises(LoadError, match="500 No"),
    ):
        drive(address, [b"x"], connections, 20, count=4)


def test_a_ratio_is_of_medians_and_knows_its_goal() -> None:
    assert Ratio("a", "/s", [9, 10, 90], [5, 4, 6], "peer", least=2).met is True
    assert Ratio("a", "/s", [9, 9.9, 90], [5, 4, 6], "peer", least=2).met is False
    assert Ratio("a", "ms", [9, 10, 90], [5, 4, 6], "single", most=2).met is True
    assert Ratio("a", "ms", [10], [4], "single", most=2).met is False
    assert Ratio("a", "ms", [10], [4], "single").met is None


def test_a_report_shows_ratios_figures_and_the_disk(tmp_path: Path) -> None:
    report = Report()
    report.facts["machine"] = "this one"
    report.fsync.append(fdatasync_us(tmp_path, 3))
    report.ratios.append(Ratio("submits", "/s", [1200], [400], "peer", least=2.5))
    report.figure("tail", "ms", [1.5, 2.5, 3.5])
    text = report.text()
    assert "machine: this one" in text
    assert "| submits | 1,200 /s | peer | 400 /s | 3.00 | ≥ 2.5 | met |" in text
    assert "| tail | 2.50 ms | 1.50 – 3.50 |" in text
    report.save(tmp_path / "report.json")
    assert '"met": true' in (tmp_path / "report.json").read_text()
    assert report.fsync[0] > 0
    assert file_system(tmp_path)
