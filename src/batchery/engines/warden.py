"""Keeps the time limits of containers while no server does.

    python -m batchery.engines.warden SERVING MARK SOCKET OWNER SERVICE

Theory of operation. A server holds a lock on SERVING for as long as it lives, however it ends; this process waits
for that lock, and so sleeps as long as there is a server. Then it asks the runtime at SOCKET for the running containers
of OWNER (a label), twice a second: one that is beyond its limit gets SIGTERM, and SIGKILL after its grace. Limits are
in the containers' labels, and of several containers none holds before all have begun (the job is STARTING until then);
so nothing is remembered here and nothing can be out of date. It ends when no container with
a limit has been there for a while; when a server has come it sleeps again. The lock on MARK makes it the only one.

SERVICE is the pid of a `podman system service` that nobody else would end, or 0: it is ended with this process.

Of Batchery it imports nothing but the names of labels, since it may outlive the version that started it.
"""

import fcntl
import http.client
import json
import os
import signal
import socket
import sys
import time
import urllib.parse
from datetime import datetime
from typing import Any, NamedTuple

PERIOD_S = 0.5
LINGER_S = 30.0  # after the last container with a limit: a start that a server asked for may still be under way
ATTEMPT = "batchery.attempt"
OWNER = "batchery.owner"
FACTS = "batchery.facts"
TIMEOUT, GRACE, POD = 2, 3, 9  # places in FACTS, in ms; of one container of several POD is a list,
POD_TIMEOUT = 1  # which has the limit of all in this place


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("batchery", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path: str, method: str, url: str) -> Any:
    """The answer's JSON, None if there is none. Raises OSError when the runtime does not answer or refuses."""
    connection = _Unix(path)
    try:
        connection.request(method, f"/v1.40{url}")
        answer = connection.getresponse()
        said = answer.read()
        if answer.status in (404, 409):
            return None
        if answer.status >= 400:
            raise OSError(f"{answer.status}: {said[:200]!r}")
        return json.loads(said) if said.strip() else None
    except http.client.HTTPException as error:
        raise OSError(str(error)) from None
    finally:
        connection.close()


def lock(path: str, wait: bool) -> int:
    """An open file with a lock on it, -1 if somebody else has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd


def seconds(text: str) -> float:
    """RFC 3339 as seconds since the epoch. Whole: what is ended early is not told as a timeout."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Limited(NamedTuple):
    """A running container with a limit. Times in seconds."""

    box: str
    attempt: str
    timeout: float
    grace: float


def limited(listed: Any) -> Limited | None:
    """From an entry of the list of containers; None if it has no limit."""
    try:
        facts = json.loads(listed["Labels"][FACTS])
        pod = facts[POD] if len(facts) > POD else None
        timeout = pod[POD_TIMEOUT] if pod else facts[TIMEOUT]
        return (
            Limited(listed["Id"], listed["Labels"][ATTEMPT], timeout / 1000, facts[GRACE] / 1000) if timeout else None
        )
    except (KeyError, IndexError, TypeError, ValueError):
        return None


class Guard:
    """What it knows of the containers it has seen. The time of several begins with the last of them."""

    def __init__(self, path: str, owner: str) -> None:
        self.path, self.owner = path, owner
        self.started: dict[str, float] = {}  # by id
        self.asked: dict[str, float] = {}  # when an id got its SIGTERM

    def look(self) -> bool:
        """End what is late. False if no container has a limit."""
        wanted = json.dumps({"label": [f"{OWNER}={self.owner}"], "status": ["created", "running"]})
        listed = ask(self.path, "GET", "/containers/json?" + urllib.parse.urlencode({"filters": wanted})) or []
        waits = {one["Labels"][ATTEMPT] for one in listed if one["State"] == "created" and limited(one) is not None}
        found = [one for one in map(limited, listed) if one is not None and one.attempt not in waits]
        last: dict[str, float] = {}
        for one in found:
            last[one.attempt] = max(last.get(one.attempt, 0), self._began(one.box))
        for one in found:
            if time.time() >= last[one.attempt] + one.timeout:
                self._end(one)
        return bool(found or waits)

    def _began(self, box: str) -> float:
        if box not in self.started:
            said = ask(self.path, "GET", f"/containers/{box}/json")
            self.started[box] = seconds(said["State"]["StartedAt"]) if said is not None else 0
        return self.started[box]

    def _end(self, one: Limited) -> None:
        if one.box not in self.asked:
            ask(self.path, "POST", f"/containers/{one.box}/kill?signal=SIGTERM")
            self.asked[one.box] = time.time()
        elif time.time() >= self.asked[one.box] + one.grace:
            ask(self.path, "POST", f"/containers/{one.box}/kill?signal=SIGKILL")


def watch(serving: str, guard: Guard) -> None:
    """Until no server is there and nothing is left to do."""
    while True:
        os.close(lock(serving, wait=True))
        seen = time.monotonic()
        while True:
            held = lock(serving, wait=False)
            if held < 0:
                break  # a server has come
            os.close(held)
            try:
                if guard.look():
                    seen = time.monotonic()
                elif time.monotonic() > seen + LINGER_S:
                    return
            except OSError as error:
                print(f"the runtime does not answer: {error}", flush=True)
            time.sleep(PERIOD_S)


def end_service(pid: int) -> None:
    """End Podman's service, if it is one."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            if file.read().strip() == "podman":
                os.kill(pid, signal.SIGTERM)
    except OSError:
        pass


def main(serving: str, mark: str, path: str, owner: str, service: str) -> None:
    if lock(mark, wait=False) < 0:
        return
    try:
        watch(serving, Guard(path, owner))
    except FileNotFoundError:
        pass  # the data directory was removed
    finally:
        if int(service):
            end_service(int(service))


if __name__ == "__main__":
    main(*sys.argv[1:])
