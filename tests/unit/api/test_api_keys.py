"""The key store: made, listed, revoked, read again when another process changed it."""

import json
import os
import re
import stat
from pathlib import Path

import pytest

from batchery.api.keys import Keys, KeysError, check_can_serve, is_loopback, keys_required
from batchery.api.policy import PolicyError
from batchery.config import Config

ACCOUNT = "123456789012"
POLICY = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "batch:*", "Resource": "*"}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.json"


def test_a_made_key(path: Path) -> None:
    key = Keys(path).add(ACCOUNT, "ann", POLICY)
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", key.id)
    assert re.fullmatch(r"[A-Za-z0-9+/]{40}", key.secret)
    assert (key.account, key.name, key.policy, key.revoked) == (ACCOUNT, "ann", POLICY, 0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Keys(path)
    assert again.find(key.id) == key
    policy = again.policy(key)
    assert policy is not None
    assert policy.decide("batch:SubmitJob", "*") == "allow"


def test_a_key_without_name_and_policy(path: Path) -> None:
    keys = Keys(path)
    key = keys.add(ACCOUNT)
    assert key.name == key.id
    assert keys.policy(key) is None


def test_an_unknown_key(path: Path) -> None:
    assert Keys(path).find("AKIA") is None


def test_changes_of_another_process_are_seen(path: Path) -> None:
    server, command = Keys(path), Keys(path)
    key = command.add(ACCOUNT)
    assert server.find(key.id) == key
    other = server.add(ACCOUNT)
    assert [found.id for found in command.list()] == [key.id, other.id]
    command.revoke(key.id)
    found = server.find(key.id)
    assert found is not None
    assert found.revoked > 0
    path.unlink()
    assert server.find(other.id) is None


def test_revoke_twice(path: Path) -> None:
    keys = Keys(path)
    key = keys.add(ACCOUNT)
    keys.revoke(key.id)
    with pytest.raises(KeysError, match="no active key"):
        keys.revoke(key.id)
    with pytest.raises(KeysError, match="no active key"):
        keys.revoke("AKIA")


@pytest.mark.parametrize(
    ("account", "name"), [("1234", "ann"), ("12345678901x", "ann"), (ACCOUNT, "a b"), (ACCOUNT, "ü")]
)
def test_bad_names(path: Path, account: str, name: str) -> None:
    with pytest.raises(KeysError):
        Keys(path).add(account, name)
    assert not path.exists()


def test_a_policy_that_is_not_understood_makes_no_key(path: Path) -> None:
    with pytest.raises(PolicyError):
        Keys(path).add(ACCOUNT, "ann", {"Statement": {"Effect": "Allow", "Condition": {}}})
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version":1,"keys":[{}]}', '{"version":1,"keys":[{"id":1}]}'])
def test_a_broken_file(path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    running = Keys(path)
    key = running.add(ACCOUNT)
    path.write_text(content)
    with pytest.raises(KeysError, match="cannot be read"):
        Keys(path)
    assert running.find(key.id) == key
    assert "stay in force" in caplog.text


def test_a_policy_broken_by_hand(path: Path) -> None:
    Keys(path).add(ACCOUNT, "ann", POLICY)
    document = json.loads(path.read_text())
    document["keys"][0]["policy"]["Statement"]["Condition"] = {}
    path.write_text(json.dumps(document))
    with pytest.raises(KeysError, match="Condition"):
        Keys(path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeysError, match="cannot be"):
        Keys(tmp_path / "file" / "keys.json").add(ACCOUNT)


def test_nobody_else_may_read_a_file_made_with_any_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        Keys(path).add(ACCOUNT)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("a.localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.com", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_who_needs_keys(path: Path) -> None:
    assert not keys_required(Config())
    assert keys_required(Config(require_keys=True))
    assert keys_required(Config(host="0.0.0.0"))


def test_who_may_serve(path: Path) -> None:
    keys = Keys(path)
    assert check_can_serve(Config(), keys) is None
    assert "keys add" in str(check_can_serve(Config(require_keys=True), keys))
    assert "keys add" in str(check_can_serve(Config(host="0.0.0.0"), keys))
    assert "loopback" in str(check_can_serve(Config(host="0.0.0.0", require_keys=False), keys))
    key = keys.add(ACCOUNT)
    assert check_can_serve(Config(host="0.0.0.0"), keys) is None
    keys.revoke(key.id)
    assert "keys add" in str(check_can_serve(Config(host="0.0.0.0"), keys))
