"""Our own signer, and the canonical forms that it shares with the verifier."""

import time
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest

from batchery.api.keys import Key, Keys
from batchery.api.signing import (
    Incoming,
    canonical_path,
    canonical_query,
    canonical_request,
    sign,
    sign_text,
    signing_key,
)
from batchery.api.sigv4 import Verified, Verifier

ARN = "arn:aws:batch:us-east-1:123456789012:job-queue/q"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


@pytest.fixture
def key(keys: Keys) -> Key:
    return keys.add("123456789012", "ann")


def incoming(path: str, headers: dict[str, str], body: bytes = b"{}") -> Incoming:
    raw, _, query = path.partition("?")
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Incoming("POST", raw.encode(), query.encode(), dict(pairs), pairs, body)


@pytest.mark.parametrize(
    "path", ["/v1/submitjob", "/batchery/why?x=1&a=%20b", "/v1/tags/" + quote(ARN, safe=""), "/v1/tags/" + ARN]
)
def test_what_we_sign_is_verified(keys: Keys, key: Key, path: str) -> None:
    headers = {"host": "127.0.0.1:8642", "content-type": "application/json", "x-amz-meta": " a   b "}
    sent = sign("POST", path, headers, b"{}", key.id, key.secret, "eu-west-1", "batch", time.time())
    assert sent.items() >= headers.items()
    found = Verifier(keys, required=True).verify(incoming(path, sent), "batch", int(time.time()))
    assert found == Verified(key.id, "eu-west-1", key)


def test_date_header_in_place_of_x_amz_date(keys: Keys, key: Key) -> None:
    at = int(time.time())
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    scope = f"{stamp[:8]}/us-east-1/batch/aws4_request"
    request = incoming("/v1/submitjob", {"host": "localhost"})
    payload = sha256(b"{}").hexdigest().encode()
    canonical = canonical_request(request, b"", b"host:localhost\n", b"host", payload)
    signing = signing_key(key.secret, stamp[:8], "us-east-1", "batch")
    signature = sign_text(signing, stamp.encode(), scope.encode(), canonical)
    authorization = f"AWS4-HMAC-SHA256 Credential={key.id}/{scope}, SignedHeaders=host, Signature={signature}"
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(at))
    request = incoming("/v1/submitjob", {"host": "localhost", "date": date, "authorization": authorization})
    assert Verifier(keys, required=True).verify(request, "batch", at).key == key


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        (b"/", b"/"),
        (b"/v1/canceljob", b"/v1/canceljob"),
        (b"/v1/tags/arn%3Aaws", b"/v1/tags/arn%253Aaws"),
        (b"/v1/tags/arn:aws", b"/v1/tags/arn%3Aaws"),
        (b"//a/./b/../c/", b"/a/c/"),
        (b"/..", b"/"),
    ],
)
def test_canonical_paths(path: bytes, canonical: bytes) -> None:
    assert canonical_path(path) == canonical


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        (b"", b""),
        (b"b=2&a=1&a=0", b"a=0&a=1&b=2"),
        (b"flag&x=%7e%2B+", b"flag=&x=~%2B%2B"),
        (b"a=b=c&&", b"a=b%3Dc"),
    ],
)
def test_canonical_queries(query: bytes, canonical: bytes) -> None:
    assert canonical_query(query) == canonical
