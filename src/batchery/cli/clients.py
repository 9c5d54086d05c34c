"""Which AWS clients are on this machine, and whether they read AWS_ENDPOINT_URL_BATCH.

Versions are asked of the Python that a client runs on where its first line names one (50 ms), since `aws --version`
takes up to a second. Source for the first versions that read endpoint variables: AWS SDKs and Tools Reference Guide,
"Service-specific endpoints".
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from msgspec import Struct

#: (at least, below, needed): of versions from ``at least`` to below ``below``, those under ``needed`` are too old.
FIRST: Final = {
    "aws": (((0,), (2,), (1, 29)), ((2,), (99,), (2, 13))),
    "boto3": (((0,), (99,), (1, 28)),),
}


class Found(Struct, frozen=True):
    """A client: ``kind`` is aws or boto3. ``version`` is () if it could not be learned."""

    kind: str
    path: str
    version: tuple[int, ...]

    @property
    def name(self) -> str:
        number = ".".join(map(str, self.version)) or "of unknown version"
        return f"{'The AWS CLI' if self.kind == 'aws' else 'boto3'} {number} ({self.path})"

    @property
    def needed(self) -> tuple[int, ...]:
        """The first version of its line that reads endpoint variables, if it is older than that; else ()."""
        for at_least, below, needed in FIRST[self.kind]:
            if self.version and at_least <= self.version < below and self.version < needed:
                return needed
        return ()

    def warning(self) -> str:
        """A sentence if endpoint variables mean nothing to it, else ""."""
        if not self.needed:
            return ""
        number = ".".join(map(str, self.needed))
        remedy = "use `batchery aws` or --endpoint-url" if self.kind == "aws" else "pass endpoint_url to client()"
        return f"{self.name} is older than {number} and does not read AWS_ENDPOINT_URL_BATCH: {remedy}."


def aws_command() -> str:
    """The `aws` on the PATH, else the one beside this Python, else ""."""
    return shutil.which("aws") or shutil.which("aws", path=str(Path(sys.executable).parent)) or ""


def find_aws() -> Found | None:
    """The AWS CLI that `batchery aws` runs."""
    path = aws_command()
    if not path:
        return None
    version = _of_package(_interpreter(path), "awscli")
    if not version:
        match = re.search(r"aws-cli/(\d+(?:\.\d+)*)", _output([path, "--version"]))
        version = _numbers(match[1]) if match else ()
    return Found("aws", path, version)


def find_boto3() -> Found | None:
    """boto3 of the `python3` on the PATH."""
    python = shutil.which("python3") or sys.executable
    version = _of_package(python, "boto3")
    return Found("boto3", f"of {python}", version) if version else None


def _interpreter(script: str) -> str:
    try:
        with open(script, "rb") as file:
            first = file.readline(300)
    except OSError:
        return ""
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    if words and os.path.basename(words[0]) == "env":
        words = [shutil.which(words[-1]) or ""]
    return words[0] if words and "python" in os.path.basename(words[0]) else ""


def _of_package(python: str, package: str) -> tuple[int, ...]:
    """The version of a package as that Python sees it; () if it has not got it."""
    if not python:
        return ()
    return _numbers(_output([python, "-c", f"from importlib.metadata import version; print(version({package!r}))"]))


def _output(arguments: list[str]) -> str:
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=20, text=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr if done.returncode == 0 else ""


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", text.strip())
    return tuple(map(int, match[0].split("."))) if match else ()
