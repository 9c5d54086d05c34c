"""Which tests share a worker when there are several (`pytest -n`): those of a file, and all of one outside thing.

A Slurm cluster is the machine's (its nodes' cgroups have fixed names), and starting one takes longer than most tests.
"""

from xdist.scheduler import LoadScopeScheduling

#: Part of a test's node id -> what it shares. First come, first served; unit tests need nothing outside.
SHARED = (
    ("tests/unit/", ""),
    ("slurm", "slurm"),
    ("test_engines_live", "slurm"),
    ("test_auto_engine", "containers"),
    ("test_container", "containers"),
    ("docker", "containers"),
    ("podman", "containers"),
)


class ByWhatTheyShare(LoadScopeScheduling):  # type: ignore[misc]
    """Scopes are the largest first, each whole on one worker."""

    def _split_scope(self, nodeid: str) -> str:
        found = next((shared for part, shared in SHARED if part in nodeid), "")
        return found or str(nodeid.partition("::")[0])
