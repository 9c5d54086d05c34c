"""What a user may write for a job: its id, the beginning of it, or its name; with `:INDEX` for a child of an array."""

import re
from typing import Any

from batchery.cli.problem import NOT_FOUND, Problem
from batchery.client import Client

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(:\d+)?")


def resolve(client: Client, ref: str) -> str:
    """The id meant. A name means the newest job of that name. Raises Problem (NOT_FOUND)."""
    if _ID.fullmatch(ref):
        return ref
    name, colon, index = ref.partition(":")
    jobs: list[dict[str, Any]] = client.own("jobs", limit=1000)["jobs"]
    named = [job["id"] for job in jobs if job["name"] == name]
    begun = [job["id"] for job in jobs if len(name) >= 4 and job["id"].startswith(name)]
    if not named and len(begun) > 1:
        raise Problem(f"{len(begun)} jobs have ids that begin with {name}: write more of it.", NOT_FOUND)
    if not named and not begun:
        raise Problem(f"There is no job {ref} here. `batchery jobs` lists them.", NOT_FOUND)
    return f"{(named or begun)[0]}{colon}{index}"
