"""Secrets in a file, for one machine and for development.

    # secrets.toml, readable by its owner alone
    "/team/token" = "abc"                               # a parameter
    "arn:aws:ssm:us-east-1:123456789012:parameter/x" = "1"
    db = { user = "app", password = "s3cret" }          # a secret of several keys
    "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf" = '{"user": "app", "password": "s3cret"}'

A reference is looked for under its whole ARN, under its name, and, for Secrets Manager, under its name without the six
characters at its end. The file is read again when it has changed. It knows no versions but the current one.
"""

import json
import os
import threading
import tomllib
from pathlib import Path
from typing import Any

from batchery.run.secrets import SecretError
from batchery.spec.secretrefs import SECRETS_MANAGER, SecretRef

CURRENT = ("", "AWSCURRENT")


class FileSource:
    """``path``: a TOML file. Whether it can be used is asked at once with `check`, and at every read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._values: dict[str, Any] = {}

    def check(self) -> None:
        """Raises SecretError with a sentence."""
        self._load()

    def read(self, ref: SecretRef) -> str | None:
        if ref.version or ref.stage not in CURRENT:
            return None
        values = self._load()
        for name in names_of(ref):
            if name in values:
                value = values[name]
                return value if isinstance(value, str) else json.dumps(value, default=str)
        return None

    def _load(self) -> dict[str, Any]:
        try:
            with self._lock, self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_mode & 0o077:
                    raise SecretError(f"{self._path} can be used by others than its owner: chmod 600 {self._path}.")
                seen = (status.st_mtime_ns, status.st_size, status.st_ino)
                if seen != self._seen:
                    self._values = tomllib.load(file)
                    self._seen = seen
                return self._values
        except OSError as error:
            raise SecretError(f"Cannot read the file of secrets {self._path}: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):  # its text would quote the file
            raise SecretError(f"The file of secrets {self._path} is not TOML.") from None


def names_of(ref: SecretRef) -> list[str]:
    """What a reference may be called in the file, the most exact first."""
    name = ref.name
    names = [ref.id, name]
    if ref.service == SECRETS_MANAGER:
        head, dash, tail = name.rpartition("-")
        if dash and len(tail) == 6:
            names.append(head)
    elif name.startswith("/"):
        names.append(name[1:])
    else:
        names.append(f"/{name}")
    return names
