"""Orphans of jobs: processes whose parent ended before them, which the agent inherits as a subreaper."""

from collections.abc import Container

from batchery.engines import census


class Strays:
    """Who belongs to what, asked once per process: a child of ours keeps its number until we wait for it."""

    def __init__(self) -> None:
        self._owner: dict[int, str] = {}

    def ended(self, pid: int) -> None:
        self._owner.pop(pid, None)

    def of(self, key: str, session: int, mains: Container[int]) -> list[census.Stat]:
        """Live processes left of the attempt ``key``, whose main process was ``session``.

        ``mains`` are the children that are no orphans. What an orphan has started itself is found with it.
        """
        pids = census.children()
        if pids is None:
            return census.members({session: key}, [key]).get(key, [])
        for pid in pids:
            if pid in mains:
                continue
            stat = census.stat_of(pid)
            if stat is None or stat.state in "ZX":
                continue
            if pid not in self._owner:
                self._owner[pid] = census.key_of(pid)
            if self._owner[pid] == key or stat.session == session:
                return census.members({session: key}, [key]).get(key, [stat])
        return []
