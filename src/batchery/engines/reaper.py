"""The process above the agent: it starts the agent, and writes down how orphans ended.

Jobs are children of the agent. If the agent is killed they become children of this process (it is a subreaper), which
notes their exit codes for the agent that it starts next. It does nothing else, so that nothing ever happens to it, and
imports nothing of Batchery but one function.

    python -m batchery.engines.reaper DATA SOCKET [OPTION...]      (options are the agent's)

A line of DATA/agent/orphans: pid, exit code (128 + signal if killed), CPU time in ms, peak memory in KiB, ms since the
epoch. Holding the lock on DATA/agent/lock is what makes an agent the only one.
"""

import fcntl
import os
import signal
import sys
import time

from batchery.engines.host import become_subreaper

BACKOFF = 5.0  # s between starts of an agent that does not stay up
GIVE_UP = 20  # such starts in a row


def lock(data: str) -> int:
    """The lock of this data directory, -1 if somebody has it."""
    os.makedirs(os.path.join(data, "agent"), mode=0o700, exist_ok=True)
    fd = os.open(os.path.join(data, "agent", "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


def start_agent(data: str, path: str, held: int, options: list[str]) -> int:
    """Spawn the agent; it inherits the lock."""
    os.set_inheritable(held, True)
    try:
        argv = [sys.executable, "-P", "-m", "batchery.engines.agent", data, path, str(held), *options]
        return os.posix_spawn(sys.executable, argv, os.environ)
    finally:
        os.set_inheritable(held, False)


def write_down(orphans: int, pid: int, status: int, cpu: float, peak: int) -> None:
    """One line, in one call."""
    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    line = f"{pid} {code} {round(cpu * 1000)} {peak} {time.time_ns() // 1_000_000}\n"
    os.write(orphans, line.encode())


def watch(data: str, path: str, held: int, options: list[str]) -> None:
    """Until the agent ends of its own will."""
    orphans = os.open(
        os.path.join(data, "agent", "orphans"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    failures = 0
    began = time.monotonic()
    agent = start_agent(data, path, held, options)
    while True:
        pid, status, used = os.wait4(-1, 0)
        if pid != agent:
            write_down(orphans, pid, status, used.ru_utime + used.ru_stime, used.ru_maxrss)
            continue
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return
        failures = failures + 1 if time.monotonic() - began < 1 else 0
        if failures > GIVE_UP or not os.path.isdir(os.path.join(data, "agent")):
            return
        time.sleep(min(BACKOFF, failures * 0.05))
        began = time.monotonic()
        agent = start_agent(data, path, held, options)


def main() -> None:
    data, path, *options = sys.argv[1:]
    os.chdir("/")
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # whatever the server's own parents left open
    held = lock(data)
    if held < 0 or os.fork():  # the server waits for this half: then the lock is taken, and it has no child
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    become_subreaper()
    watch(data, path, held, options)


if __name__ == "__main__":
    main()
