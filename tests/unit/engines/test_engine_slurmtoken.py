"""The token for slurmrestd, and the settings that name it."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from batchery.config import ConfigError, load
from batchery.engines.slurmdriver import Unreachable
from batchery.engines.slurmtoken import Token, claims


def jwt(**said: Any) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    return f"e30.{middle}.c2ln"


def test_a_token_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token = Token(str(file))
    with pytest.raises(Unreachable, match="No such file"):
        token.headers("me")
    file.write_text(f"SLURM_JWT={jwt(sun='ann', exp=100)}\n")
    assert token.headers("me") == {"X-SLURM-USER-NAME": "ann", "X-SLURM-USER-TOKEN": jwt(sun="ann", exp=100)}
    assert (token.ended(99), token.ended(100)) == (False, True)
    file.write_text("opaque")
    assert token.headers("me") == {"X-SLURM-USER-NAME": "me", "X-SLURM-USER-TOKEN": "opaque"}
    assert not token.ended(1e12)
    for bad in ("", "two words", "a\nb", "ü"):
        file.write_text(bad)
        os.utime(file, ns=(1, len(bad)))
        with pytest.raises(Unreachable, match="no token"):
            token.headers("me")


@pytest.mark.parametrize("text", ["", "a.b", "a.!.c", "a.bm8.c", f"a.{base64.b64encode(b'[1]').decode()}.c"])
def test_claims_that_cannot_be_read_are_none(text: str) -> None:
    assert claims(text) == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('rest = "localhost:6820"', "slurm.rest"),
        ('rest = "unix:s"', "slurm.rest"),
        ('rest = "https://"', "slurm.rest"),
        ('rest_token = "/a"', "slurm.rest_token"),
    ],
)
def test_addresses_that_cannot_be_used(tmp_path: Path, settings: str, words: str) -> None:
    file = tmp_path / "b.toml"
    file.write_text(f"[slurm]\n{settings}\n")
    with pytest.raises(ConfigError, match=words):
        load(str(file), {})
