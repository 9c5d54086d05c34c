"""Signatures: botocore signs, we verify; every way to be wrong has AWS's code and text."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from batchery.api import sigv4
from batchery.api.call import ApiError
from batchery.api.keys import Key, Keys
from batchery.api.signing import Incoming
from batchery.api.sigv4 import Verified, Verifier

ARN = "arn:aws:batch:us-east-1:123456789012:job-queue/q"
URL = "http://127.0.0.1:8642"
MISMATCH = "The request signature we calculated does not match the signature you provided."


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


@pytest.fixture
def key(keys: Keys) -> Key:
    return keys.add("123456789012", "ann")


@pytest.fixture
def verifier(keys: Keys, key: Key) -> Verifier:
    return Verifier(keys, required=True)


def incoming(method: str, url: str, headers: list[tuple[str, str]], body: bytes = b"") -> Incoming:
    parts = urlsplit(url)
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    return Incoming(method, parts.path.encode(), parts.query.encode(), dict(pairs), pairs, body)


def signed(
    key: Key | tuple[str, str],
    path: str = "/v1/submitjob",
    method: str = "POST",
    body: bytes = b'{"jobName":"a"}',
    service: str = "batch",
    region: str = "us-east-1",
    headers: dict[str, str] | None = None,
    presign: int = 0,
) -> Incoming:
    """A request as botocore would send it; ``presign``: seconds a presigned one is good for."""
    names = (key.id, key.secret) if isinstance(key, Key) else key
    body = b"" if presign else body  # botocore would move it into the query
    request = AWSRequest(method, URL + path, headers={"Content-Type": "application/json", **(headers or {})}, data=body)
    if presign:
        SigV4QueryAuth(Credentials(*names), service, region, expires=presign).add_auth(request)
    else:
        SigV4Auth(Credentials(*names), service, region).add_auth(request)
    prepared = request.prepare()
    sent = [(name, value if isinstance(value, str) else value.decode()) for name, value in prepared.headers.items()]
    return incoming(method, prepared.url, [*sent, ("host", "127.0.0.1:8642")], body)


def now() -> int:
    return int(time.time())


def refusal(verifier: Verifier, request: Incoming, service: str = "batch", at: int | None = None) -> tuple[str, str]:
    with pytest.raises(ApiError) as caught:
        verifier.verify(request, service, now() if at is None else at)
    assert (caught.value.status, caught.value.member) == (403, "message")
    return caught.value.code, caught.value.message


def with_header(request: Incoming, name: bytes, value: bytes | None) -> Incoming:
    request.pairs = [pair for pair in request.pairs if pair[0] != name]
    if value is not None:
        request.pairs.append((name, value))
    request.headers = dict(request.pairs)
    return request


def change(request: Incoming, old: bytes, new: bytes) -> Incoming:
    """The Authorization header with a part replaced."""
    authorization = request.headers[b"authorization"]
    assert old in authorization
    return with_header(request, b"authorization", authorization.replace(old, new))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/submitjob"),
        ("GET", "/v1/tags/" + quote(ARN, safe="")),
        ("GET", "/v1/tags/" + ARN),
        ("DELETE", "/v1/tags/" + quote(ARN, safe="") + "?tagKeys=b&tagKeys=a&tagKeys=x%20%2B~%C3%A9"),
        ("DELETE", "/v1/tags/" + quote("arn:ü/ x", safe="") + "?tagKeys=a%3Db&tagKeys="),
        ("POST", "/v1/./tags//a/../submitjob"),
        ("POST", "/v1/Some-Path_~x/"),
        ("POST", "/"),
    ],
)
def test_what_botocore_signs_is_verified(verifier: Verifier, key: Key, method: str, path: str) -> None:
    assert verifier.verify(signed(key, path, method), "batch", now()) == Verified(key.id, "us-east-1", key)


@pytest.mark.parametrize("path", ["/v1/submitjob", "/v1/tags/" + quote(ARN, safe="") + "?tagKeys=b&tagKeys=a"])
def test_what_botocore_presigns_is_verified(verifier: Verifier, key: Key, path: str) -> None:
    assert verifier.verify(signed(key, path, presign=900), "batch", now()).key == key


def test_a_second_request_takes_the_remembered_scope_and_key(verifier: Verifier, key: Key) -> None:
    for body in (b"{}", b'{"a":1}', b""):
        assert verifier.verify(signed(key, body=body), "batch", now()).key == key


def test_memory_of_scopes_is_bounded(verifier: Verifier, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sigv4, "REMEMBERED", 2)
    for region in ("eu-west-1", "eu-west-2", "eu-west-3", "eu-west-1"):
        assert verifier.verify(signed(key, region=region), "batch", now()).region == region
    assert len(verifier._scopes) <= 2
    assert len(verifier._signing) <= 2


def test_repeated_headers_and_blanks_are_folded(verifier: Verifier, key: Key) -> None:
    request = AWSRequest("POST", URL + "/v1/submitjob", data=b"{}")
    request.headers["X-Amz-Meta"] = "  one   two  "
    request.headers["X-Amz-Meta"] = "three"
    SigV4Auth(Credentials(key.id, key.secret), "batch", "us-east-1").add_auth(request)
    pairs = [*request.headers.items(), ("host", "127.0.0.1:8642")]
    assert verifier.verify(incoming("POST", request.url, pairs, b"{}"), "batch", now()).key == key


def test_folded_blanks_without_repetition(verifier: Verifier, key: Key) -> None:
    request = signed(key, headers={"X-Amz-Meta": "one    two"})
    assert verifier.verify(request, "batch", now()).key == key


@pytest.mark.parametrize("separator", [b",", b" , "])
def test_authorization_in_other_orders(verifier: Verifier, key: Key, separator: bytes) -> None:
    request = signed(key)
    algorithm, _, rest = request.headers[b"authorization"].partition(b" ")
    parts = reversed(rest.split(b", "))
    with_header(request, b"authorization", algorithm + b" " + separator.join(parts))
    assert verifier.verify(request, "batch", now()).key == key


@pytest.mark.parametrize("declared", ["UNSIGNED-PAYLOAD", sigv4.sha256(b"{}").hexdigest()])
def test_declared_payload_hash(verifier: Verifier, key: Key, declared: str) -> None:
    headers = {"host": "127.0.0.1:8642", "x-amz-content-sha256": declared}
    request = AWSRequest("POST", URL + "/v1/submitjob", headers=headers, data=b"{}")
    SigV4Auth(Credentials(key.id, key.secret), "batch", "us-east-1").add_auth(request)
    pairs = list(request.headers.items())
    assert verifier.verify(incoming("POST", request.url, pairs, b"{}"), "batch", now()).key == key


# ------------------------------------------------------------------------------------------------------- wrong


def test_no_credentials(verifier: Verifier) -> None:
    request = incoming("POST", "/v1/submitjob", [("host", "x")])
    assert refusal(verifier, request) == ("MissingAuthenticationTokenException", "Missing Authentication Token")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda request: setattr(request, "body", b'{"jobName":"b"}'),
        lambda request: setattr(request, "method", "PUT"),
        lambda request: setattr(request, "path", b"/v1/canceljob"),
        lambda request: setattr(request, "query", b"a=b"),
        lambda request: with_header(request, b"content-type", b"text/plain"),
        lambda request: with_header(request, b"content-type", None),
        lambda request: change(request, b"Signature=", b"Signature=0"),
        lambda request: with_header(request, b"authorization", request.headers[b"authorization"][:-1] + b"g"),
        lambda request: with_header(request, b"authorization", request.headers[b"authorization"][:-64] + b"0" * 64),
        lambda request: with_header(request, b"x-amz-content-sha256", b"0" * 64),
        lambda request: with_header(request, b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD"),
    ],
    ids=["body", "method", "path", "query", "header", "no header", "longer", "no hex", "zeros", "hash", "unsigned"],
)
@pytest.mark.parametrize("before", [False, True], ids=["cold", "warm"])
def test_anything_changed_after_signing(
    verifier: Verifier, key: Key, spoil: Callable[[Incoming], object], before: bool
) -> None:
    request = signed(key)
    if before:
        verifier.verify(request, "batch", now())
    spoil(request)
    code, message = refusal(verifier, request)
    assert code == "InvalidSignatureException"
    assert message.startswith(MISMATCH)


def test_another_secret(verifier: Verifier, key: Key) -> None:
    assert refusal(verifier, signed((key.id, "wrong")))[1].startswith(MISMATCH)


def test_unknown_key(verifier: Verifier) -> None:
    code, message = refusal(verifier, signed(("AKIAUNKNOWN", "x")))
    assert (code, message) == ("UnrecognizedClientException", "The security token included in the request is invalid.")


@pytest.mark.parametrize("required", [True, False])
def test_revoked_key(keys: Keys, key: Key, required: bool) -> None:
    verifier = Verifier(keys, required)
    request = signed(key)
    assert verifier.verify(request, "batch", now()).key == key
    Keys(keys.path).revoke(key.id)
    assert refusal(verifier, request)[0] == "UnrecognizedClientException"


def test_clock_skew(verifier: Verifier, key: Key) -> None:
    request = signed(key)
    at = sigv4.parse_stamp(request.headers[b"x-amz-date"])
    assert verifier.verify(request, "batch", at + 300).key == key
    assert verifier.verify(request, "batch", at - 300).key == key
    stamp, iso = request.headers[b"x-amz-date"].decode(), sigv4.iso
    assert refusal(verifier, request, at=at + 301) == (
        "InvalidSignatureException",
        f"Signature expired: {stamp} is now earlier than {iso(at + 1)} ({iso(at + 301)} - 5 min.)",
    )
    assert refusal(verifier, request, at=at - 301) == (
        "InvalidSignatureException",
        f"Signature not yet current: {stamp} is still later than {iso(at - 1)} ({iso(at - 301)} + 5 min.)",
    )


@pytest.mark.parametrize(
    ("service", "asked"), [("s3", "batch"), ("logs", "batch"), ("batch", "logs"), ("batch", "cloudtrail")]
)
def test_scope_of_another_service(verifier: Verifier, key: Key, service: str, asked: str) -> None:
    code, message = refusal(verifier, signed(key, service=service), asked)
    assert code == "InvalidSignatureException"
    assert message == f"Credential should be scoped to correct service: '{asked}'. "


@pytest.mark.parametrize("region", ["", "US-EAST-1", "..", "a" * 33, "eu west"])
def test_scope_of_no_region(verifier: Verifier, key: Key, region: str) -> None:
    code, message = refusal(verifier, change(signed(key), b"/us-east-1/", f"/{region}/".encode()))
    assert (code, message) == ("InvalidSignatureException", "Credential should be scoped to a valid region. ")


def test_scope_of_another_day(verifier: Verifier, key: Key) -> None:
    request = signed(key)
    day = request.headers[b"x-amz-date"][:8]
    code, message = refusal(verifier, change(request, b"/" + day, b"/20010101"))
    assert code == "InvalidSignatureException"
    assert message.startswith(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP"
    )


def test_scope_with_another_terminator(verifier: Verifier, key: Key) -> None:
    code, message = refusal(verifier, change(signed(key), b"aws4_request", b"aws5_request"))
    assert code == "InvalidSignatureException"
    assert "valid terminator: 'aws4_request', not 'aws5_request'" in message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"AWS4-HMAC-SHA256 nonsense", "'nonsense' not a valid key=value pair (missing equal-sign)"),
        (b"Bearer abc", "'Bearer abc' not a valid key=value pair (missing equal-sign)"),
        (b"AWS4-HMAC-SHA1 Credential=a/b/c/d/aws4_request", "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'."),
        (b"AWS4-HMAC-SHA256", "Authorization header requires 'Credential' parameter."),
        (b"AWS4-HMAC-SHA256 Credential=a/b/c/d/e, Signature=x", "requires 'SignedHeaders' parameter."),
        (b"AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=x", "exactly 5 slash-delimited elements"),
        (b"AWS4-HMAC-SHA256 Credential=/b/c/d/e, SignedHeaders=host, Signature=x", "exactly 5 slash-delimited"),
        (b"\xff\xfe", "not a valid key=value pair"),
    ],
)
def test_malformed_authorization(verifier: Verifier, value: bytes, text: str) -> None:
    request = incoming("POST", "/v1/submitjob", [("host", "127.0.0.1"), ("x-amz-date", "20260101T000000Z")])
    code, message = refusal(verifier, with_header(request, b"authorization", value))
    assert code == "IncompleteSignatureException"
    assert text in message


def test_no_date(verifier: Verifier, key: Key) -> None:
    code, message = refusal(verifier, with_header(signed(key), b"x-amz-date", None))
    assert code == "IncompleteSignatureException"
    assert "existence of either a 'X-Amz-Date' or a 'Date' header" in message


@pytest.mark.parametrize("date", [b"yesterday", b"2026-01-01T00:00:00Z", b"20261301T000000Z", b"\xff" * 16, b""])
@pytest.mark.parametrize("name", [b"x-amz-date", b"date"])
def test_bad_dates(verifier: Verifier, key: Key, name: bytes, date: bytes) -> None:
    request = with_header(with_header(signed(key), b"x-amz-date", None), name, date)
    assert refusal(verifier, request)[0] in ("IncompleteSignatureException", "InvalidSignatureException")


@pytest.mark.parametrize("names", [b"SignedHeaders=x-amz-date,", b"SignedHeaders=Host;x-amz-date,"])
def test_host_has_to_be_signed(verifier: Verifier, key: Key, names: bytes) -> None:
    request = signed(key)
    sent = request.headers[b"authorization"].split(b" ")[2]
    code, message = refusal(verifier, change(request, sent, names))
    assert code == "InvalidSignatureException"
    assert message == "'Host' must be a 'SignedHeader' in the AWS Authorization."


def test_the_target_has_to_be_signed(verifier: Verifier, key: Key) -> None:
    request = with_header(signed(key, "/", service="logs"), b"x-amz-target", b"Logs_20140328.DeleteLogGroup")
    code, message = refusal(verifier, request, "logs")
    assert code == "InvalidSignatureException"
    assert "'X-Amz-Target' must be a 'SignedHeader'" in message


# ---------------------------------------------------------------------------------------------------- presigned


def test_presigned_expires(verifier: Verifier, key: Key) -> None:
    request = signed(key, presign=60)
    at = now()
    assert verifier.verify(request, "batch", at + 55).key == key
    code, message = refusal(verifier, request, at=at + 70)
    assert (code, "Signature expired" in message, "60 sec." in message) == ("InvalidSignatureException", True, True)
    assert "not yet current" in refusal(verifier, request, at=at - 400)[1]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"X-Amz-Expires=60", b"X-Amz-Expires=0", "X-Amz-Expires must be between"),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=604801", "X-Amz-Expires must be between"),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=x", "X-Amz-Expires must be between"),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=", "must include 'X-Amz-Expires'"),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=61", MISMATCH),
        (b"X-Amz-SignedHeaders=", b"X-Amz-Other=", "must include 'X-Amz-SignedHeaders'"),
        (b"AWS4-HMAC-SHA256", b"AWS4-HMAC-SHA1", "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'"),
        (b"X-Amz-Algorithm=", b"Not-X-Amz-Algorithm=", "Unsupported AWS 'algorithm': ''"),
    ],
)
def test_spoiled_presigned(verifier: Verifier, key: Key, old: bytes, new: bytes, text: str) -> None:
    request = signed(key, presign=60)
    assert old in request.query
    request.query = request.query.replace(old, new)
    assert text in refusal(verifier, request)[1]


# ------------------------------------------------------------------------------------------------- without keys


def test_open_takes_any_key_pair_that_is_well_formed(keys: Keys) -> None:
    verifier = Verifier(keys, required=False)
    assert verifier.verify(signed(("test", "test")), "batch", now()) == Verified("test", "us-east-1", None)
    assert verifier.verify(signed(("test", "test"), presign=60), "batch", now()).key is None


def test_open_still_verifies_a_key_of_the_store(keys: Keys, key: Key) -> None:
    verifier = Verifier(keys, required=False)
    assert verifier.verify(signed(key), "batch", now()).key == key
    assert refusal(verifier, signed((key.id, "wrong")))[0] == "InvalidSignatureException"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda request: with_header(request, b"authorization", request.headers[b"authorization"][:-1]),
        lambda request: with_header(request, b"authorization", request.headers[b"authorization"][:-1] + b"G"),
        lambda request: with_header(request, b"x-amz-date", b"20010101T000000Z"),
        lambda request: with_header(request, b"content-type", None),
        lambda request: change(request, b"/batch/", b"/s3/"),
        lambda request: with_header(request, b"x-amz-content-sha256", b"0" * 64),
    ],
    ids=["short", "no hex", "old", "header gone", "service", "hash"],
)
def test_open_refuses_what_is_not_well_formed(keys: Keys, spoil: Callable[[Incoming], object]) -> None:
    request = signed(("test", "test"))
    spoil(request)
    assert refusal(Verifier(keys, required=False), request)[0] == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"origin", b"http://evil.example"),
        (b"sec-fetch-site", b"cross-site"),
        (b"host", b"evil.example:8642"),
        (b"host", b"evil.example"),
        (b"host", b"127.0.0.1.evil.example:80"),
        (b"host", b""),
    ],
)
def test_open_refuses_web_pages(keys: Keys, name: bytes, value: bytes) -> None:
    request = with_header(signed(("test", "test")), name, value)
    code, message = refusal(Verifier(keys, required=False), request)
    assert code == "UnrecognizedClientException"
    assert "batchery keys add" in message


@pytest.mark.parametrize("host", [b"localhost:8642", b"localhost", b"127.0.0.1", b"[::1]:8642", b"batch.localhost:1"])
def test_open_takes_names_of_this_machine(keys: Keys, host: bytes) -> None:
    request = with_header(signed(("test", "test")), b"host", host)
    assert Verifier(keys, required=False).verify(request, "batch", now()).key is None
