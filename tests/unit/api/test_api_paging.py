"""nextToken: what goes in comes out, and nothing else does."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchery.api.call import ApiError
from batchery.api.paging import decode_token, encode_token


@pytest.mark.parametrize("cursor", [0, -1, "name", ["a", 3], None, {"a": 1}])
def test_there_and_back(cursor: object) -> None:
    token = encode_token("ListJobs", ["queue", None], cursor)
    assert decode_token("ListJobs", ["queue", None], token) == cursor
    assert token.isascii()
    assert "=" not in token


def refused(token: str, kind: str = "ListJobs", params: object = "p") -> None:
    with pytest.raises(ApiError) as caught:
        decode_token(kind, params, token)
    assert (caught.value.status, caught.value.code) == (400, "ClientException")


def test_only_for_the_same_operation_and_parameters() -> None:
    token = encode_token("ListJobs", "p", 7)
    assert decode_token("ListJobs", "p", token) == 7
    refused(token, kind="DescribeJobQueues")
    refused(token, params="q")


def test_a_changed_token_is_refused() -> None:
    token = encode_token("ListJobs", "p", 7)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        refused(base64.urlsafe_b64encode(changed).decode())


@given(st.text())
def test_garbage_is_refused(text: str) -> None:
    refused(text)


def test_too_long_a_token_is_not_even_read() -> None:
    refused("A" * 4096)
    refused("")
