"""A JSON Web Token for slurmrestd, in a file that somebody renews.

It is read again when the file has changed, and is nowhere but in the header of a request: not in a log, not in an
error, not in `repr`. What it says of itself (`sun`, the user; `exp`, its end) is only shown; slurmctld judges it.
"""

import base64
import binascii
import json
import os
from typing import Any

from batchery.engines.slurmdriver import Unreachable


class Token:
    """``path``: a file with the token alone, or as `scontrol token` prints it (SLURM_JWT=...)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._text = ""
        self._claims: dict[str, Any] = {}

    def headers(self, user: str) -> dict[str, str]:
        """What a request carries. ``user``: who asks, where the token does not say. Raises Unreachable."""
        self._read()
        return {"X-SLURM-USER-NAME": self.user or user, "X-SLURM-USER-TOKEN": self._text}

    @property
    def user(self) -> str:
        """Whose it is, "" if it does not say."""
        found = self._claims.get("sun", "")
        return found if isinstance(found, str) and found.isprintable() else ""

    def ended(self, now: float) -> bool:
        """It is past its own end. ``now``: seconds since the epoch."""
        end = self._claims.get("exp")
        return isinstance(end, int | float) and now >= end

    def _read(self) -> None:
        try:
            with open(self.path, encoding="ascii") as file:
                stat = os.fstat(file.fileno())
                seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if seen == self._seen:
                    return
                text = file.read(65_536).strip().removeprefix("SLURM_JWT=")
        except OSError as error:
            raise Unreachable(f"the token's file {self.path}: {error.strerror}") from None
        except UnicodeDecodeError:
            text = ""
        if not text or not text.isprintable() or " " in text:
            raise Unreachable(f"there is no token in {self.path}")
        self._seen, self._text, self._claims = seen, text, claims(text)


def claims(token: str) -> dict[str, Any]:
    """What a token says of itself, unchecked; nothing where it cannot be read."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
