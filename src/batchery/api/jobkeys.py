"""Temporary keys of jobs: what AWS's SDKs ask for inside a container, and what proves such a key when it is used.

Nothing is kept: a key's secret follows from its id, and the session token that comes with it says whose it is and until
when, sealed with a secret of the data directory. It is good for Batchery's own API alone, as long as the attempt lives.
Sources: ECS developer guide, "Task IAM role" and "Task metadata endpoint version 4"; SDK guide, "Container provider".
"""

import base64
import hmac
import os
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from batchery.api.keys import Key, Keys
from batchery.core.model import AttemptKey

LIFE_S: Final = 3600  # of a key that can be asked for again
PREFIX: Final = "ASIA"
FILE: Final = "job-secret"


class Claim(Struct, frozen=True, array_like=True):
    """What a token says: whose it is, the role ("" for none), and until when (s since the epoch, 0 for its life)."""

    key: AttemptKey
    account: str
    role: str
    until: int = 0


class JobKeys:
    """``alive`` says whether an attempt still is."""

    def __init__(self, secret: bytes, keys: Keys, required: bool, alive: Callable[[AttemptKey], bool]) -> None:
        self._secret, self._keys, self._required, self._alive = secret, keys, required, alive

    def token(self, claim: Claim) -> str:
        """A claim, sealed: letters that fit a header and a path."""
        body = base64.urlsafe_b64encode(msgspec.json.encode(claim)).rstrip(b"=")
        return f"{body.decode()}.{self._seal('token', body).hex()}"

    def claim(self, token: str, now: float) -> Claim | None:
        """What a token says, if it is ours, in time, and of an attempt that lives."""
        claim = self._read(token)
        return claim if claim is not None and self._good(claim, now) else None

    def _read(self, token: str) -> Claim | None:
        body, _, seal = token.partition(".")
        if not hmac.compare_digest(self._seal("token", body.encode()).hex().encode(), seal.encode()):
            return None
        return msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Claim)

    def _good(self, claim: Claim, now: float) -> bool:
        return (not claim.until or now < claim.until) and self._alive(claim.key)

    def issue(self, claim: Claim, now: float, life: int = LIFE_S) -> dict[str, Any]:
        """Access key, secret and session token, as the credentials endpoint answers."""
        until = int(now) + life
        token = self.token(Claim(claim.key, claim.account, claim.role, until))
        access = self._id_of(token)
        return {
            "RoleArn": f"arn:aws:iam::{claim.account}:role/{claim.role}",
            "AccessKeyId": access,
            "SecretAccessKey": self._secret_of(access),
            "Token": token,
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until)),
        }

    def find(self, access_key: str, token: str, now: float) -> Key | None:
        """The temporary key of this id, revoked if it is not good any more; None if the token was not issued by us with
        it."""
        claim = self._read(token)
        if claim is None or access_key != self._id_of(token):
            return None
        known, policy = self.policy_of(claim.role)
        good = known and self._good(claim, now)
        name = f"{claim.role}/{claim.key.job}"
        return Key(access_key, self._secret_of(access_key), claim.account, name, policy, revoked=0 if good else 1)

    def _id_of(self, token: str) -> str:
        return PREFIX + base64.b32encode(self._seal("id", token.encode())).decode()[:16]

    def policy_of(self, role: str) -> tuple[bool, dict[str, Any] | None]:
        """What jobs of a role may do: the policy of the key of that name. Without such a key: everything where no keys
        are required, and nothing elsewhere."""
        for key in self._keys.list():
            if key.name == role and not key.revoked:
                return True, key.policy
        return not self._required, None

    def _secret_of(self, access_key: str) -> str:
        return base64.b64encode(self._seal("secret", access_key.encode())).decode()[:40]

    def _seal(self, what: str, data: bytes) -> bytes:
        return hmac.digest(self._secret, what.encode() + b"\0" + data, sha256)


def secret_of(data: Path) -> bytes:
    """The secret of a data directory, made when it is first needed. Raises OSError."""
    path = data / FILE
    try:
        return path.read_bytes()
    except FileNotFoundError:
        data.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        return path.read_bytes()


def role_name(arn: str) -> str:
    """The last part of a role's ARN, which may be a bare name."""
    return arn.rpartition("/")[2]
