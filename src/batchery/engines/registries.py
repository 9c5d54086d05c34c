"""Which registry an image comes from, and the credentials for it."""

from collections.abc import Mapping
from pathlib import Path

from batchery.config import Registry

HUB = "docker.io"


def registry_of(image: str) -> str:
    """The host in an image's name; Docker's own if it has none."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB


def credentials(
    image: str, registries: Mapping[str, Registry], login: tuple[str, str] = ("", "")
) -> dict[str, str] | None:
    """What X-Registry-Auth says, None for nothing. ``login``: user and password that a definition brings, which win.

    Raises OSError if the password's file cannot be read.
    """
    registry = registry_of(image)
    username, password = login
    if not username:
        known = registries.get(registry)
        if known is None:
            return None
        username, password = known.username, known.password
        if known.password_file:
            password = Path(known.password_file).read_text(encoding="utf-8").rstrip("\n")
    address = "https://index.docker.io/v1/" if registry == HUB else registry
    return {"username": username, "password": password, "serveraddress": address}
