"""Which server the client commands speak to, and the variables that point AWS clients at it.

`serve` leaves a note in its data directory (server.json: url, pid, region) as long as it serves; without --url and
BATCHERY_URL the note says where the server is.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from batchery.client import Client
from batchery.config import Config, load

NOTE: Final = "server.json"
#: How the folders of private servers begin.
PRIVATE: Final = "batchery-private-"

#: Variables that would make AWS's clients look past the endpoints and keys set for them.
UNSET: Final = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)


class Target(Struct, frozen=True):
    """A server and who we are to it."""

    url: str
    region: str
    access_key: str = "batchery"
    secret_key: str = "batchery"

    def client(self) -> Client:
        return Client(self.url, self.region, self.access_key, self.secret_key)

    def health(self, timeout: float = 60) -> dict[str, Any]:
        """What /health says within ``timeout`` seconds. Raises NoServer."""
        with Client(self.url, timeout=timeout) as client:
            return client.health()

    def environment(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Variables for AWS's clients. ``environ`` is what NO_PROXY is added to (default: this process's)."""
        environ = os.environ if environ is None else environ
        variables = {
            "AWS_ENDPOINT_URL_BATCH": self.url,
            "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": self.url,
            "AWS_ENDPOINT_URL_CLOUDTRAIL": self.url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }
        host = urlsplit(self.url).hostname or ""
        for name in ("NO_PROXY", "no_proxy"):
            # Where both are set Python's clients read the lower-case one alone.
            if name == "NO_PROXY" or name in environ:
                there = [part.strip() for part in environ.get(name, "").split(",") if part.strip()]
                variables[name] = ",".join(there if host in there or "*" in there else [*there, host])
        return variables


def leave_note(config: Config, url: str) -> None:
    """Say in the data directory where the server is."""
    path = Path(config.data, NOTE)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"url": url, "pid": os.getpid(), "region": config.region}) + "\n", encoding="utf-8")
    new.replace(path)


def take_note_away(config: Config) -> None:
    """The server ends; a note that another one left meanwhile stays."""
    if read_note(config.data).get("pid") == os.getpid():
        Path(config.data, NOTE).unlink(missing_ok=True)


def read_note(data: str) -> dict[str, object]:
    """The note of a server that is alive, else {}."""
    try:
        note = json.loads(Path(data, NOTE).read_text(encoding="utf-8"))
        alive = _alive(int(note["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return note if alive else {}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # somebody else's, but there
    except (ProcessLookupError, OverflowError):
        return False
    return pid > 0


def find(environ: Mapping[str, str] | None = None, url: str = "", region: str = "") -> Target:
    """The server of ``url``, else BATCHERY_URL, else of the note in the data directory, else the configured address.

    Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    config = load(environ=environ)
    url = url or environ.get("BATCHERY_URL", "")
    note = {} if url else read_note(config.data)
    return Target(
        url=(url or str(note.get("url") or f"http://{config.host}:{config.port}")).rstrip("/"),
        region=region or environ.get("BATCHERY_REGION") or str(note.get("region") or config.region),
        access_key=environ.get("BATCHERY_ACCESS_KEY_ID") or "batchery",
        secret_key=environ.get("BATCHERY_SECRET_ACCESS_KEY") or "batchery",
    )
