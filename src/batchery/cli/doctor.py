"""`batchery doctor`: what this machine offers Batchery, measured where it can be."""

import asyncio
import ctypes
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final

import click
from msgspec import Struct
from msgspec.structs import asdict, replace

from batchery import __version__
from batchery.cli.clients import Found, find_aws, find_boto3
from batchery.cli.problem import FAILED, told
from batchery.cli.screen import progress
from batchery.cli.target import Target, find
from batchery.client import NoServer
from batchery.config import Config, load
from batchery.store.directory import NETWORK, file_system

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "FAIL"

SYNCS: Final = 20
SLOW_SYNC_MS: Final = 20.0
LOW_DISK_GIB: Final = 1.0
_TIME_ERROR: Final = 5  # of adjtimex: the clock is not synchronised


class Check(Struct, frozen=True):
    """One line: ``state`` is ok, warn (works, with less) or FAIL (does not work)."""

    name: str
    state: str
    text: str


@click.command("doctor", short_help="Look at this machine.")
@click.option("--data", metavar="DIR", help="The data directory to look at (BATCHERY_DATA).")
@click.option("--config", "path", default="", metavar="FILE", help="A TOML file (BATCHERY_CONFIG).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(options: tuple[str, str], data: str | None, path: str, as_json: bool) -> None:
    """Look at this machine: engine, cgroups, memory limits, clock, disk, AWS clients.

    Each line is ok, warn (it works, with less) or FAIL (it does not). The exit code is 1 if there is a FAIL.
    """
    with told():
        config = load(path, options={"data": data})
        target = find(url=options[0], region=options[1])
    found = []
    for check in checks(config, target):
        found.append(check)
        if not as_json:
            progress("")
            click.echo(f"{check.state:<5} {check.name:<16} {check.text}")
            progress("Looking ...")
    progress("")
    if as_json:
        click.echo(json.dumps([asdict(check) for check in found], indent=2))
    if any(check.state == FAIL for check in found):
        sys.exit(FAILED)


def checks(config: Config, target: Target) -> Iterator[Check]:
    """All of them, one by one: some take a moment."""
    kernel = f"{platform.system()} {platform.release()}"
    yield Check("batchery", OK, f"{__version__} on Python {platform.python_version()}, {kernel}")
    yield server(target)
    yield from disk(Path(config.data))
    yield from engine(config)
    yield clock()
    yield clients("aws", find_aws, "not found; `pip install awscli` or `apt-get install awscli`")
    yield clients("boto3", find_boto3, "the `python3` on the PATH has not got it")


def server(target: Target) -> Check:
    """Whether one runs."""
    try:
        health = target.health()
    except NoServer:
        return Check("server", OK, f"none runs at {target.url}")
    return Check("server", OK, f"{health.get('version', '?')} at {target.url}")


def disk(data: Path) -> Iterator[Check]:
    """The data directory, or the nearest directory above it that is there: file system, room, fsync."""
    there = next(path for path in (data, *data.parents) if path.exists())
    kind = file_system(there)
    if kind in NETWORK:
        yield Check(
            "data", FAIL, f"{data} is on a network file system ({kind}): give --data a directory on a local disk"
        )
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield Check("data", FAIL, f"{there} cannot be written: give --data a directory that can")
        return
    free = shutil.disk_usage(there).free / 2**30
    state = WARN if free < LOW_DISK_GIB else OK
    yield Check("data", state, f"{data} on {kind or 'an unknown file system'}, {free:.1f} GiB free")
    took = fsync_ms(there)
    state = WARN if took > SLOW_SYNC_MS else OK
    memory = "; in memory: nothing survives a restart of the machine" if kind in ("tmpfs", "ramfs") else ""
    yield Check(
        "fsync", WARN if memory else state, f"{took:.2f} ms (median of {SYNCS}); every change waits for one{memory}"
    )


def fsync_ms(folder: Path) -> float:
    """How long it takes until 4 KiB are on the disk."""
    with tempfile.TemporaryFile(dir=folder) as file:
        times = []
        for _ in range(SYNCS):
            file.write(os.urandom(4096))
            began = time.perf_counter()
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return median(times) * 1000


def engine(config: Config) -> Iterator[Check]:
    """Start the configured engine in a temporary place, with its agent, and ask what it can enforce."""
    with tempfile.TemporaryDirectory(prefix="batchery-") as folder:
        data = Path(folder, "data")
        trial = replace(
            config, data=str(data), logs=str(data / "logs"), process=replace(config.process, agent_linger=0)
        )
        try:
            facts = asyncio.run(_engine_facts(trial))
        except Exception as error:  # whatever it is, it is what the user has to know
            yield Check("engine", FAIL, f"{config.engine}: {error}")
            return
    yield Check("engine", OK, f"{config.engine} starts")
    for name, text in facts.items():
        if name in ("engine", "agent"):
            continue  # of the trial, which is gone
        lacking = text.startswith(("no", "not ", "without"))
        yield Check(name, WARN if lacking else OK, text)


async def _engine_facts(config: Config) -> dict[str, str]:
    from batchery.app import choose_engine

    os.makedirs(config.data)
    chosen = choose_engine(config)
    await chosen.start()
    try:
        return chosen.facts()
    finally:
        await chosen.close()


def clock() -> Check:
    """Signatures are good for five minutes, so the clocks of clients and server must agree."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    synchronised = _synchronised()
    if synchronised is None:
        return Check("clock", OK, f"{now}; the system does not say whether it is synchronised")
    if not synchronised:
        return Check("clock", WARN, f"{now}, not synchronised; matters for clients on other machines only (5 minutes)")
    return Check("clock", OK, f"{now}, synchronised")


def _synchronised() -> bool | None:
    """What the kernel says; None where it cannot be asked."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))  # all zero: change nothing
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def clients(name: str, look: Callable[[], Found | None], absent: str) -> Check:
    """One kind of AWS client."""
    found = look()
    if found is None:
        return Check(name, OK, absent)
    return Check(name, WARN if found.warning() else OK, found.warning() or found.name)
