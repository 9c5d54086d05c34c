"""The arithmetic of AWS Signature Version 4, for verifying (sigv4.py) and for signing our own requests.

Source: IAM user guide, "Create a signed AWS API request".
"""

import hmac
import time
from hashlib import sha256
from typing import Final
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from msgspec import Struct

ALGORITHM: Final = "AWS4-HMAC-SHA256"
#: Paths of these characters alone are their own canonical form.
_PLAIN: Final = b"/abcdefghijklmnopqrstuvwxyz0123456789"


class Incoming(Struct):
    """A request as it came. Header names are lower case; ``path`` and ``query`` are raw."""

    method: str
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    pairs: list[tuple[bytes, bytes]]  # headers with repetitions, in order
    body: bytes


def canonical_headers(names: tuple[bytes, ...], request: Incoming) -> bytes | None:
    """The values of repeated headers joined, runs of blanks folded. None if one is not there."""
    headers, repeated = request.headers, len(request.headers) != len(request.pairs)
    lines: list[bytes] = []
    for name in names:
        value = headers.get(name)
        if value is None:
            return None
        if repeated:
            value = b",".join(b" ".join(each.split()) for key, each in request.pairs if key == name)
        elif b" " in value or b"\t" in value:
            value = b" ".join(value.split())
        lines += (name, b":", value, b"\n")
    return b"".join(lines)


def query_pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    pairs = (part.partition(b"=") for part in query.split(b"&") if part)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]


def canonical_query(query: bytes) -> bytes:
    return join_query(query_pairs(query)) if query else b""


def join_query(pairs: list[tuple[bytes, bytes]]) -> bytes:
    encoded = sorted((quote_from_bytes(name, "-_.~"), quote_from_bytes(value, "-_.~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded).encode()


def canonical_path(path: bytes) -> bytes:
    """The path without dot segments and empty ones, encoded once more (every service but S3)."""
    if not path.translate(None, _PLAIN) and b"//" not in path:
        return path
    kept: list[str] = []
    parts = path.decode("latin-1").split("/")
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    tail = "/" if kept and parts[-1] == "" else ""
    return quote("/" + "/".join(kept) + tail, "/~", "latin-1").encode()


def iso(at: int) -> str:
    """``20260101T000000Z``; ``at`` in s."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))


def text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def canonical_request(request: Incoming, query: bytes, headers: bytes, names: bytes, payload: bytes) -> bytes:
    return b"\n".join((request.method.encode(), canonical_path(request.path), query, headers, names, payload))


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign_text(signing: bytes, stamp: bytes, credential: bytes, canonical: bytes) -> str:
    """The signature: 64 hex digits."""
    lines = (ALGORITHM.encode(), stamp, credential, sha256(canonical).hexdigest().encode())
    return hmac.digest(signing, b"\n".join(lines), "sha256").hex()


def sign(
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    access_key: str,
    secret_key: str,
    region: str,
    service: str,
    now: float,
) -> dict[str, str]:
    """The headers to send: those given (``host`` among them, lower-case names) and the signature's.

    ``path`` as it goes on the wire, with its query; ``now`` in seconds since the epoch.
    """
    stamp = iso(int(now))
    sent = {**headers, "x-amz-date": stamp}
    raw_path, _, query = path.partition("?")
    pairs = [(name.encode(), value.encode()) for name, value in sorted(sent.items())]
    request = Incoming(method, raw_path.encode(), query.encode(), dict(pairs), pairs, body)
    names = tuple(name for name, _ in pairs)
    lines = canonical_headers(names, request) or b""
    payload = sha256(body).hexdigest().encode()
    canonical = canonical_request(request, canonical_query(request.query), lines, b";".join(names), payload)
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    key = signing_key(secret_key, stamp[:8], region, service)
    sent["authorization"] = (
        f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={text(b';'.join(names))}, "
        f"Signature={sign_text(key, stamp.encode(), scope.encode(), canonical)}"
    )
    return sent
