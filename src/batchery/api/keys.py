"""Access keys: the file ``keys.json`` in the data directory, shared by the server and ``batchery keys``.

The file is replaced as a whole and read again when it has changed, so a key works, or stops to work, from the next
request on. Secrets are kept as they are, since a signature can be verified with nothing less; the file is the
owner's alone (0600).
"""

import fcntl
import ipaddress
import json
import logging
import os
import re
import secrets
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from batchery.api.policy import Policy, PolicyError, parse
from batchery.config import Config

FILE: Final = "keys.json"
_ID: Final = string.ascii_uppercase + "234567"
_SECRET: Final = string.ascii_letters + string.digits + "+/"

_log = logging.getLogger(__name__)


class KeysError(Exception):
    """The keys cannot be used or changed; the text says what to do."""


class Key(Struct, frozen=True, omit_defaults=True):
    """One access key. ``policy`` is the IAM document, None for everything in the account. Times are ms."""

    id: str
    secret: str
    account: str
    name: str
    policy: dict[str, Any] | None = None
    created: int = 0
    revoked: int = 0


class _File(Struct):
    version: int
    keys: list[Key]


class Keys:
    """The key store of one data directory."""

    def __init__(self, path: Path) -> None:
        """``path`` of the file, which need not exist. Raises KeysError if it cannot be understood."""
        self.path = path
        self._by_id: dict[str, Key] = {}
        self._policies: dict[str, Policy | None] = {}
        self._all: list[Key] = []
        self._stamp: tuple[int, int, int] | None = self._look()
        self._load()

    def find(self, access_key: str) -> Key | None:
        """The key with this id. It may be revoked: such a one must not pass for an unknown one."""
        self.refresh()
        return self._by_id.get(access_key)

    def policy(self, key: Key) -> Policy | None:
        """The policy of a key that `find` gave."""
        return self._policies.get(key.id)

    def list(self) -> list[Key]:
        """All keys in the order of making, revoked ones too."""
        self.refresh()
        return list(self._all)

    def add(self, account: str, name: str = "", policy: dict[str, Any] | None = None) -> Key:
        """Make a key, write it, give it. Raises KeysError, or PolicyError for a policy that is not understood."""
        if not re.fullmatch(r"[0-9]{12}", account):
            raise KeysError(f"{account!r} is not an account: give 12 digits.")
        if name and not re.fullmatch(r"[\w+=,.@-]{1,64}", name, re.ASCII):
            raise KeysError(f"{name!r} cannot be a name: give up to 64 letters, digits and +=,.@_-")
        if policy is not None:
            parse(policy)
        key_id = "AKIA" + "".join(secrets.choice(_ID) for _ in range(16))
        secret = "".join(secrets.choice(_SECRET) for _ in range(40))
        key = Key(key_id, secret, account, name or key_id, policy, created=time.time_ns() // 1_000_000)
        with self._changing():
            self._all.append(key)
        return key

    def revoke(self, access_key: str) -> Key:
        """The key is refused from now on. Raises KeysError if there is none, or it was revoked before."""
        with self._changing():
            for at, key in enumerate(self._all):
                if key.id == access_key and not key.revoked:
                    self._all[at] = msgspec.structs.replace(key, revoked=time.time_ns() // 1_000_000)
                    return self._all[at]
            raise KeysError(f"There is no active key {access_key}. `batchery keys list` shows them.")

    def refresh(self) -> None:
        """Read the file again if it has changed. One that cannot be read any more leaves the last keys in force."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._load()
        except KeysError as error:
            _log.error("%s The keys read before stay in force.", error)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _load(self) -> None:
        try:
            keys = msgspec.json.decode(self.path.read_bytes(), type=_File).keys
            policies = {key.id: None if key.policy is None else parse(key.policy) for key in keys}
        except FileNotFoundError:
            keys, policies = [], {}
        except (OSError, ValueError, PolicyError) as error:
            raise KeysError(f"The key file {self.path} cannot be read ({error}).") from error
        self._all, self._policies = keys, policies
        self._by_id = {key.id: key for key in keys}

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """The newest keys, changed inside, are written; two commands at a time take turns."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path.with_suffix(".lock"), "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._load()
                yield
                self._write()
        except OSError as error:
            raise KeysError(f"The key file {self.path} cannot be written ({error.strerror}).") from error
        self._stamp = self._look()
        self._load()

    def _write(self) -> None:
        document = {"version": 1, "keys": [msgspec.to_builtins(key) for key in self._all]}
        new = self.path.with_suffix(".new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump(document, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def keys_required(config: Config) -> bool:
    """Whether a request needs a key of the store: always, unless this is loopback and nobody asked for keys."""
    return bool(config.require_keys) or not is_loopback(config.host)


def check_can_serve(config: Config, keys: Keys) -> str | None:
    """A sentence that says why the server may not start, or None."""
    if not is_loopback(config.host) and config.require_keys is False:
        return f"require_keys = false is for loopback addresses; {config.host} can be reached from other machines."
    if keys_required(config) and not any(not key.revoked for key in keys.list()):
        return (
            f"Serving on {config.host} needs an access key, and there is none: "
            "make one with `batchery keys add`, or serve on 127.0.0.1."
        )
    return None
