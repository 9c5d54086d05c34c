"""Keeps the time limits of containers while no server does.

    python -m batchery.engines.warden SERVING MARK SOCKET OWNER SERVICE

Theory of operation. A server holds a lock on SERVING for as long as it lives, however it ends; this process waits
for that lock, and so sleeps as long as there is a server. Then it asks the runtime at SOCKET for the running containers
of OWNER (a label), twice a second: one that is beyond its limit gets SIGTERM, and SIGKILL after its grace. Limits are
in the containers' labels, so nothing is remembered here and nothing can be out of date. It ends when no container with
a limit is left; when a server has come it sleeps again. The lock on MARK makes it the only one.

SERVICE is the pid of a `podman system service` that nobody else would end, or 0: it is ended with this process.

Of Batchery it imports nothing but the names of labels, since it may outlive the version that started it.
"""

import fcntl
import http.client
import json
import os
import re
import signal
import socket
import sys
import time
import urllib.parse
from datetime import datetime
from typing import Any

PERIOD_S = 0.5
OWNER = "batchery.owner"
FACTS = "batchery.facts"
TIMEOUT, GRACE = 2, 3  # places in FACTS, in ms
_FRACTION = re.compile(r"\.\d+")


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
    """RFC 3339 as seconds since the epoch; fractions of a second are dropped."""
    return datetime.fromisoformat(_FRACTION.sub("", text).replace("Z", "+00:00")).timestamp()


class Guard:
    """What it knows of the containers it has seen."""

    def __init__(self, path: str, owner: str) -> None:
        self.path, self.owner = path, owner
        self.limits: dict[str, tuple[float, float]] = {}  # id -> when SIGTERM comes, when SIGKILL does
        self.asked: set[str] = set()  # ids that got their SIGTERM

    def look(self) -> bool:
        """End what is late. False if no container has a limit."""
        wanted = json.dumps({"label": [f"{OWNER}={self.owner}"], "status": ["running"]})
        listed = ask(self.path, "GET", "/containers/json?" + urllib.parse.urlencode({"filters": wanted})) or []
        limited = [one["Id"] for one in listed if self._limit(one)]
        for box in limited:
            self._enforce(box, time.time())
        return bool(limited)

    def _limit(self, listed: Any) -> bool:
        try:
            facts = json.loads(listed["Labels"][FACTS])
            timeout, grace = facts[TIMEOUT] / 1000, facts[GRACE] / 1000
        except (KeyError, IndexError, TypeError, ValueError):
            return False
        if not timeout:
            return False
        if listed["Id"] not in self.limits:
            said = ask(self.path, "GET", f"/containers/{listed['Id']}/json")
            if said is None:
                return False
            end = seconds(said["State"]["StartedAt"]) + timeout
            self.limits[listed["Id"]] = (end, max(end, time.time()) + grace)
        return True

    def _enforce(self, box: str, now: float) -> None:
        term, kill = self.limits[box]
        if now >= kill:
            ask(self.path, "POST", f"/containers/{box}/kill?signal=SIGKILL")
        elif now >= term and box not in self.asked:
            ask(self.path, "POST", f"/containers/{box}/kill?signal=SIGTERM")
            self.asked.add(box)


def watch(serving: str, guard: Guard) -> None:
    """Until no server is there and nothing is left to do."""
    while True:
        os.close(lock(serving, wait=True))
        while True:
            held = lock(serving, wait=False)
            if held < 0:
                break  # a server has come
            os.close(held)
            try:
                if not guard.look():
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
