"""nextToken: opaque, valid only with the parameters of the request that it continues.

A token is base64url of ``[kind, digest of the parameters, cursor]`` and a checksum, so that what was not made here, or
was made for another request, is refused and not misread. It holds no secret and grants nothing.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from hashlib import blake2b
from typing import Any, Final

import msgspec

from batchery.api.call import ApiError, client_error

_CHECK: Final = 8  # bytes
_LONGEST: Final = 1024


def encode_token(kind: str, params: Any, cursor: Any) -> str:
    """``kind``: the operation; ``params``: whatever must be the same on the next page; ``cursor``: where it begins.

    Both may be anything that JSON has; tuples come back as lists.
    """
    payload = msgspec.json.encode([kind, _digest(msgspec.json.encode(params)).hex(), cursor])
    return urlsafe_b64encode(_digest(payload) + payload).decode().rstrip("=")


def decode_token(kind: str, params: Any, token: str) -> Any:
    """The cursor. Raises ApiError (ClientException) for a token that is not one of this request."""
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4)) if len(token) <= _LONGEST else b""
    except (NotBase64, ValueError):
        raise _invalid() from None
    check, payload = raw[:_CHECK], raw[_CHECK:]
    if not payload or check != _digest(payload):
        raise _invalid()
    made_for, digest, cursor = msgspec.json.decode(payload)
    if made_for != kind or digest != _digest(msgspec.json.encode(params)).hex():
        raise _invalid()
    return cursor


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_CHECK).digest()


def _invalid() -> ApiError:
    return client_error("The nextToken is not valid for this request.")  # ours
