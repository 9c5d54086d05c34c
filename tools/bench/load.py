"""A load generator that is not the bottleneck: requests signed beforehand, one thread, one epoll, kept connections.

It sends bytes that are ready and looks at no more of an answer than its status and where it ends: about 15 µs of CPU
a request. A server that closes the connection after each answer gets a new one for each, as its clients have to do.
"""

import gc
import select
import socket
import statistics
import time
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

TIMEOUT: Final = 30.0  # s without any answer


class LoadError(Exception):
    """The server did not answer as it should."""


class Result(Struct):
    """What came of a run. ``cpu`` is the generator's own, s; latencies in ms."""

    done: int
    seconds: float
    cpu: float
    p50: float
    p99: float
    bodies: list[bytes]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.done / self.seconds


class _Lane:
    """One connection, with at most one request under way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.sent = 0.0
        self.data = b""
        self.wanted = 0  # bytes of the whole answer, 0 until its head is there
        self.closes = False
        self.sock = self._connect()

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(self.address, timeout=TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def send(self, request: bytes) -> None:
        self.sent = time.perf_counter()
        self.sock.sendall(request)

    def receive(self) -> bytes | None:
        """The whole answer, once it is there. Raises LoadError unless it is a 200."""
        part = self.sock.recv(65536)
        if not part:
            raise LoadError(f"the connection was closed in the midst of an answer: {self.data[:200]!r}")
        self.data = data = self.data + part if self.data else part
        if not self.wanted:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                return None
            self._read_head(data[:head])
        if len(data) < self.wanted:
            return None
        self.data, self.wanted = b"", 0
        return data

    def _read_head(self, head: bytes) -> None:
        lower = head.lower()
        at = lower.find(b"content-length:")
        if at < 0 or not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise LoadError(f"not a 200 with a length: {self.data[:500]!r}")
        length = lower[at + 15 :].split(b"\r\n", 1)[0]
        self.wanted = len(head) + 4 + int(length)
        self.closes = b"connection: close" in lower or lower.startswith(b"http/1.0")

    def close(self) -> None:
        self.sock.close()


def drive(
    address: tuple[str, int],
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    count: int = 0,
    keep: bool = False,
) -> Result:
    """Send ``requests``, over and over, for ``seconds``; with ``count`` each of that many, then stop.

    ``keep``: give the answers' bodies in the order of their arrival.
    """
    gc.collect()
    gc.disable()
    lanes = [_Lane(address) for _ in range(connections)]
    try:
        run = _Run(requests, seconds, count, keep)
        return run.one(lanes[0]) if connections == 1 else run.many(lanes)
    finally:
        for lane in lanes:
            lane.close()
        gc.enable()


class _Run:
    def __init__(self, requests: Sequence[bytes], seconds: float, count: int, keep: bool) -> None:
        self.requests, self.count, self.keep = requests, count, keep
        self.sent = 0
        self.times: list[float] = []
        self.bodies: list[bytes] = []
        self.cpu = time.process_time()
        self.start = time.perf_counter()
        self.end = self.start + seconds

    def _next(self, lane: _Lane) -> bool:
        if self.sent == self.count > 0 or time.perf_counter() >= self.end:
            return False
        lane.send(self.requests[self.sent % len(self.requests)])
        self.sent += 1
        return True

    def _took(self, lane: _Lane, answer: bytes) -> None:
        self.times.append(time.perf_counter() - lane.sent)
        if self.keep:
            self.bodies.append(answer.partition(b"\r\n\r\n")[2])
        if lane.closes:
            lane.close()
            lane.sock = lane._connect()

    def one(self, lane: _Lane) -> Result:
        """One connection needs no epoll."""
        while self._next(lane):
            while (answer := lane.receive()) is None:
                pass
            self._took(lane, answer)
        return self._result()

    def many(self, lanes: list[_Lane]) -> Result:
        by_fd: dict[int, _Lane] = {}
        with select.epoll() as poll:
            for lane in lanes:
                if self._next(lane):
                    poll.register(lane.sock.fileno(), select.EPOLLIN)
                    by_fd[lane.sock.fileno()] = lane
            while by_fd:
                events = poll.poll(TIMEOUT)
                if not events:
                    raise LoadError(f"no answer within {TIMEOUT:.0f} s")
                for fd, _ in events:
                    lane = by_fd[fd]
                    answer = lane.receive()
                    if answer is None:
                        continue
                    if lane.closes:
                        poll.unregister(fd)
                        del by_fd[fd]
                    self._took(lane, answer)
                    going = self._next(lane)
                    if lane.closes and going:
                        poll.register(lane.sock.fileno(), select.EPOLLIN)
                        by_fd[lane.sock.fileno()] = lane
                    elif not going:
                        by_fd.pop(fd, None)
        return self._result()

    def _result(self) -> Result:
        seconds = time.perf_counter() - self.start
        cpu = time.process_time() - self.cpu
        self.times.sort()
        p99 = self.times[int(len(self.times) * 0.99)]
        return Result(len(self.times), seconds, cpu, statistics.median(self.times) * 1000, p99 * 1000, self.bodies)
