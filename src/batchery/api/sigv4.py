"""AWS Signature Version 4: is this request from the holder of that key, and whole.

Theory of operation
    A signature is an HMAC over a *canonical request* (method, path encoded once more, sorted query, the signed
    headers, hash of the body) and its date and scope. `Verifier.verify` builds the canonical request from what
    arrived, never from what it was parsed into. Everything but the signature itself is the same from one request of
    a client to the next, so the parsed Authorization header (without its last 64 digits), the signing key of a day
    and the parsed date are kept in dicts; a dict that is full is emptied, so nobody can make them grow.

    Where no key is required (loopback) the signature of an unknown key cannot be verified: the request must still be
    well-formed, and must not come from a web page, which could otherwise drive a server on its visitor's machine.
    See docs/decisions/031.

Sources: IAM user guide, "Create a signed AWS API request"; API Gateway's texts.
"""

import calendar
import hmac
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Final, TypeVar

from msgspec import Struct

from batchery.api.call import ApiError
from batchery.api.keys import Key, Keys, is_loopback
from batchery.api.signing import (
    ALGORITHM,
    Incoming,
    canonical_headers,
    canonical_query,
    canonical_request,
    iso,
    join_query,
    query_pairs,
    sign,
    sign_text,
    signing_key,
    text,
)

__all__ = ["Incoming", "Verified", "Verifier", "missing_token", "sign"]

SKEW: Final = 300  # s either way
LONGEST_PRESIGNED: Final = 7 * 86_400  # s
REMEMBERED: Final = 1024  # entries of each dict

#: (access key id, session token, now) -> the key of a job
Temporary = Callable[[str, str, float], Key | None]

K = TypeVar("K")
V = TypeVar("V")

_HEX: Final = b"0123456789abcdef"
_UNSIGNED: Final = b"UNSIGNED-PAYLOAD"
_HELP: Final = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


class Verified(Struct, frozen=True):
    """Who signed, and where. ``key`` is None where none is required and the id is not in the store."""

    access_key: str
    region: str
    key: Key | None


class Scope(Struct, frozen=True):
    """A parsed Authorization header but for its signature."""

    access_key: str
    date: str
    region: str
    service: str
    credential: bytes  # date/region/service/aws4_request
    headers: tuple[bytes, ...]
    names: bytes  # the same, as sent


def denied(code: str, message: str) -> ApiError:
    """403 in the form of AWS's front door. ``code`` without "Exception"."""
    return ApiError(403, code + "Exception", message)


def missing_token() -> ApiError:
    """No credentials, or no such route."""
    return denied("MissingAuthenticationToken", "Missing Authentication Token")


class Verifier:
    """Verifies requests against a key store. ``required``: unknown keys are refused."""

    def __init__(self, keys: Keys, required: bool, temporary: Temporary | None = None) -> None:
        self.keys, self.required, self.temporary = keys, required, temporary
        self._scopes: dict[bytes, Scope] = {}
        self._moments: dict[bytes, int] = {}
        self._signing: dict[tuple[str, str, str, str], bytes] = {}

    def verify(self, request: Incoming, service: str, now: int) -> Verified:
        """``service`` is what the scope must name; ``now`` in s since the epoch. Raises ApiError 403."""
        authorization = request.headers.get(b"authorization")
        if authorization is None:
            if b"X-Amz-Algorithm=" in request.query:
                return self._presigned(request, service, now)
            raise missing_token()
        scope = self._scopes.get(authorization[:-64])
        signature = authorization[-64:]
        if scope is None:
            scope, signature = parse_authorization(authorization)
            if len(signature) == 64 and authorization.endswith(b"Signature=" + signature):
                remember(self._scopes, authorization[:-64], scope)
        stamp = request.headers.get(b"x-amz-date") or iso_date(request.headers.get(b"date"))
        self._check_time(stamp, now, SKEW, f"{SKEW // 60} min.")
        self._check_scope(scope, stamp, service)
        payload = payload_hash(request)
        return self._check(scope, signature, request, canonical_query(request.query), stamp, payload)

    def _presigned(self, request: Incoming, service: str, now: int) -> Verified:
        pairs = query_pairs(request.query)
        fields = dict(pairs)
        if fields.get(b"X-Amz-Algorithm") != ALGORITHM.encode():
            algorithm = text(fields.get(b"X-Amz-Algorithm", b""))
            raise denied("IncompleteSignature", f"Unsupported AWS 'algorithm': '{algorithm}'.")
        names = ("Credential", "Date", "Expires", "SignedHeaders", "Signature")
        if missing := [name for name in names if not fields.get(b"X-Amz-" + name.encode())]:
            wants = " ".join(f"AWS query-string parameters must include 'X-Amz-{name}'." for name in missing)
            raise denied("IncompleteSignature", f"{wants} Re-examine the query-string parameters.")
        scope = make_scope(text(fields[b"X-Amz-Credential"]), fields[b"X-Amz-SignedHeaders"])
        expires = text(fields[b"X-Amz-Expires"])
        if not (expires.isascii() and expires.isdigit() and 0 < int(expires[:9]) <= LONGEST_PRESIGNED):
            raise denied("IncompleteSignature", "X-Amz-Expires must be between 1 and 604800 seconds.")
        stamp = fields[b"X-Amz-Date"]
        self._check_time(stamp, now, int(expires), f"{expires} sec.")
        self._check_scope(scope, stamp, service)
        kept = [pair for pair in pairs if pair[0] != b"X-Amz-Signature"]
        payload = payload_hash(request)
        return self._check(scope, fields[b"X-Amz-Signature"], request, join_query(kept), stamp, payload)

    def _check_time(self, stamp: bytes, now: int, life: int, words: str) -> None:
        """``life``: seconds after which the signature is too old; ``words`` say the same."""
        at = self._moments.get(stamp)
        if at is None:
            at = parse_stamp(stamp)
            remember(self._moments, stamp, at)
        if now - at > life:
            limit = f"{iso(now - life)} ({iso(now)} - {words})"
            raise denied("InvalidSignature", f"Signature expired: {text(stamp)} is now earlier than {limit}")
        if at - now > SKEW:
            limit = f"{iso(now + SKEW)} ({iso(now)} + {SKEW // 60} min.)"
            raise denied("InvalidSignature", f"Signature not yet current: {text(stamp)} is still later than {limit}")

    @staticmethod
    def _check_scope(scope: Scope, stamp: bytes, service: str) -> None:
        if scope.service != service:
            raise denied("InvalidSignature", f"Credential should be scoped to correct service: '{service}'. ")
        if scope.date.encode() != stamp[:8]:
            raise denied(
                "InvalidSignature",
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{scope.date}' != '{text(stamp[:8])}', from '{text(stamp)}'.",
            )

    def _check(
        self, scope: Scope, signature: bytes, request: Incoming, query: bytes, stamp: bytes, payload: bytes
    ) -> Verified:
        if len(signature) != 64 or signature.translate(None, _HEX):
            raise denied("InvalidSignature", _HELP)
        signed = signed_headers(scope, request)
        key = self.keys.find(scope.access_key)
        token = request.headers.get(b"x-amz-security-token")
        if key is None and token is not None and self.temporary is not None:
            key = self.temporary(scope.access_key, text(token), time.time())
        if key is None:
            if self.required:
                raise unknown_key()
            refuse_web_pages(request.headers)
            return Verified(scope.access_key, scope.region, None)
        if key.revoked:
            raise unknown_key()
        cached = (key.secret, scope.date, scope.region, scope.service)
        signing = self._signing.get(cached)
        if signing is None:
            signing = signing_key(*cached)
            remember(self._signing, cached, signing)
        canonical = canonical_request(request, query, signed, scope.names, payload)
        expected = sign_text(signing, stamp, scope.credential, canonical)
        if not hmac.compare_digest(expected.encode(), signature):
            raise denied("InvalidSignature", _HELP)
        return Verified(key.id, scope.region, key)


def unknown_key() -> ApiError:
    return denied("UnrecognizedClient", "The security token included in the request is invalid.")


def refuse_web_pages(headers: dict[bytes, bytes]) -> None:
    """An unverified request must be addressed to this machine by name, and not be sent by a browser for a page."""
    host = text(headers.get(b"host", b""))
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    if b"origin" in headers or b"sec-fetch-site" in headers or not is_loopback(name):
        raise denied(
            "UnrecognizedClient",
            "The security token included in the request is invalid: without keys this server takes requests that are "
            "addressed to localhost and do not come from a web page. Make a key with `batchery keys add`.",
        )


# ------------------------------------------------------------------------------------------------ what was sent


def parse_authorization(value: bytes) -> tuple[Scope, bytes]:
    """The scope and the signature of an Authorization header."""
    algorithm, _, rest = text(value).strip().partition(" ")
    if algorithm != ALGORITHM:
        if algorithm.startswith("AWS4-") or "=" in value.decode("latin-1"):
            raise denied("IncompleteSignature", f"Unsupported AWS 'algorithm': '{algorithm}'.")
        raise not_a_pair(text(value).strip(), value)
    fields: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        name, equals, content = part.partition("=")
        if not equals:
            raise not_a_pair(part, value)
        fields[name] = content
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if not fields.get(name)]
    if missing:
        wants = " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        raise denied("IncompleteSignature", f"{wants} Authorization={algorithm}")
    return make_scope(fields["Credential"], fields["SignedHeaders"].encode()), fields["Signature"].encode()


def not_a_pair(part: str, value: bytes) -> ApiError:
    return denied(
        "IncompleteSignature",
        f"'{part}' not a valid key=value pair (missing equal-sign) in Authorization header: '{text(value)}'.",
    )


def make_scope(credential: str, names: bytes) -> Scope:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or not parts[0]:
        raise denied(
            "IncompleteSignature",
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{credential}'",
        )
    access_key, date, region, service, terminator = parts
    if terminator != "aws4_request":
        message = f"Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator}'."
        raise denied("InvalidSignature", message)
    if not (region.isascii() and region.replace("-", "").isalnum() and region == region.lower() and len(region) <= 32):
        raise denied("InvalidSignature", "Credential should be scoped to a valid region. ")
    headers = tuple(names.split(b";"))
    if b"host" not in headers or names != names.lower():
        raise denied("InvalidSignature", "'Host' must be a 'SignedHeader' in the AWS Authorization.")
    credential_scope = f"{date}/{region}/{service}/aws4_request".encode()
    return Scope(access_key, date, region, service, credential_scope, headers, names)


def payload_hash(request: Incoming) -> bytes:
    """What the client signed for the body, found to be true of the body that came."""
    declared = request.headers.get(b"x-amz-content-sha256")
    if declared == _UNSIGNED:
        return declared
    actual = sha256(request.body).hexdigest().encode()
    if declared is not None and declared != actual:
        raise denied("InvalidSignature", _HELP)
    return actual


def signed_headers(scope: Scope, request: Incoming) -> bytes:
    """The canonical headers of a request whose signature covers all that it must."""
    if b"x-amz-target" in request.headers and b"x-amz-target" not in scope.headers:
        raise denied("InvalidSignature", "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.")
    lines = canonical_headers(scope.headers, request)
    if lines is None:
        raise denied("InvalidSignature", _HELP)
    return lines


# -------------------------------------------------------------------------------------------------------- dates


def parse_stamp(stamp: bytes) -> int:
    """Seconds since the epoch of ``20260101T000000Z``."""
    try:
        return calendar.timegm(time.strptime(stamp.decode("ascii"), "%Y%m%dT%H%M%SZ"))
    except ValueError:
        message = (
            f"Date must be in ISO-8601 'basic format'. Got '{text(stamp)}'. See http://en.wikipedia.org/wiki/ISO_8601"
        )
        raise denied("IncompleteSignature", message) from None


def iso_date(date: bytes | None) -> bytes:
    """The Date header in ISO form, for clients that send no X-Amz-Date."""
    if date is None:
        message = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        raise denied("IncompleteSignature", f"{message} Authorization={ALGORITHM}")
    try:
        return iso(int(parsedate_to_datetime(text(date)).timestamp())).encode()
    except (ValueError, OverflowError):
        raise denied("IncompleteSignature", f"Date must be in ISO-8601 'basic format'. Got '{text(date)}'.") from None


def remember(cache: dict[K, V], key: K, value: V) -> None:
    """Keep a value in a dict that never grows beyond REMEMBERED."""
    if len(cache) >= REMEMBERED:
        cache.clear()
    cache[key] = value
