"""slurmrestd on a real cluster: it goes away, its tokens end, its versions differ."""

import asyncio
import logging
import os
import time
from pathlib import Path

import pytest
import pytest_asyncio
from tests.slurm.conftest import ClusterRig

from batchery.config import Slurm
from batchery.core.model import TERMINATED
from batchery.engines import slurmshapes
from batchery.engines.slurmdriver import Options
from batchery.engines.slurmrest import RestDriver
from batchery.engines.slurmtoken import claims


@pytest_asyncio.fixture(params=["rest", "token"])
async def away(request, cluster, tmp_path):
    """A rig, and the name of the slurmrestd that it speaks to."""
    one = ClusterRig(tmp_path)
    one.how, one.cluster = request.param, cluster
    await one.connect()
    try:
        yield one, {"rest": "rest", "token": "rest-jwt"}[one.how]
    finally:
        await one.tear_down()


async def test_while_slurmrestd_is_away_jobs_run_on_and_wait_and_nothing_is_lost(away, cluster):
    rig, daemon = away
    running, ended = rig.gated(3, pool_vcpus=99_000), rig.gated(4, pool_vcpus=99_000)
    await rig.launch(running, ended)
    await rig.started(running)
    await rig.started(ended)
    cluster.kill(daemon)
    late = [rig.quick(5, pool_vcpus=99_000) for _ in range(5)]
    await rig.launch(*late)
    await rig.truth(lambda: "slurmrestd" in rig.engine.words.trouble, "the engine says who is away")
    rig.release(running)
    assert (await rig.ends(running))[0].containers[0].exit_code == 3
    await rig.engine.kill([ended.key], 1000)
    assert not any(rig.of(order) for order in late)
    cluster.up_daemons()
    ends = await rig.ends(ended, *late)
    assert ends[0].cause == TERMINATED
    assert [end.containers[0].exit_code for end in ends[1:]] == [5] * 5
    assert {rig.times_begun(order) for order in (running, ended, *late)} == {1}
    await rig.truth(lambda: not rig.engine.words.trouble, "all is well again")


async def test_a_token_that_ended_is_told_and_a_new_one_is_taken_without_a_restart(cluster, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    rig = ClusterRig(tmp_path)
    rig.how, rig.cluster = "token", cluster
    good = (cluster.folder / "token").read_text()
    short = cluster.say("scontrol", "token", "lifespan=1")
    await rig.connect()
    try:
        while time.time() < claims(short.strip())["exp"] + 1:
            await asyncio.sleep(0.1)
        replace(cluster.folder / "token", short)
        order = rig.quick(6)
        await rig.launch(order)
        await rig.truth(lambda: "has expired" in rig.engine.words.trouble, "the engine says why")
        replace(cluster.folder / "token", good)
        (end,) = await rig.ends(order)
        assert (end.containers[0].exit_code, rig.times_begun(order)) == (6, 1)
    finally:
        replace(cluster.folder / "token", good)
        await rig.tear_down()
    for text in (good, short):
        assert text.strip().removeprefix("SLURM_JWT=") not in caplog.text


def replace(path: Path, text: str) -> None:
    """As something does that renews tokens."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


@pytest.mark.parametrize("version", ["v0.0.37", "v0.0.38"])
async def test_every_version_that_is_here_takes_back_only_what_has_not_begun(cluster, tmp_path, monkeypatch, version):
    chosen = tuple(known for known in slurmshapes.VERSIONS if known.name == version)
    monkeypatch.setattr(slurmshapes, "VERSIONS", chosen)
    driver = RestDriver(Slurm(**cluster.spoken("token"), conf=cluster.conf))
    assert (await driver.config())["MaxArraySize"] == "10001"
    assert driver.name == f"slurmrestd {version}"
    nodes = await driver.nodes()
    assert {(node.name, node.cpus, node.memory, node.trouble) for node in nodes if node.default} == {
        (name, 16, 1000, "") for name in ("n1", "n2", "n3")
    }
    name, gate = f"bt-{version}-{tmp_path.name}", tmp_path / "gate"
    script = f"#!/bin/sh\necho $HOME >{tmp_path}/home\nuntil [ -e {gate} ]; do sleep 0.05; done\n"
    options = Options(16, 100, 0, 5, partition="one", extra=("--nice=1",))
    await driver.submit(name, "a comment", options, 5, script)

    async def states() -> dict[int, str]:
        return {index: row.state for (_, index), row in (await driver.listing(name)).items()}

    home = tmp_path / "home"
    async with asyncio.timeout(60):
        while (await states()).get(0) != "RUNNING" or not (home.exists() and home.read_text()):
            await asyncio.sleep(0.1)
    rows = await driver.listing(name)
    assert [rows[name, index].phase for index in range(5)] == ["running"] + ["waiting"] * 4
    await driver.cancel([row.id for row in rows.values()])
    async with asyncio.timeout(60):
        while len(await states()) > 1:
            await asyncio.sleep(0.1)
    assert await states() == {0: "RUNNING"}
    await driver.cancel([rows[name, 0].id], waiting=False)
    async with asyncio.timeout(60):
        while await states():
            await asyncio.sleep(0.1)
    assert (await driver.listing(name, ended=True))[name, 0].state == "CANCELLED"
    assert home.read_text().strip() == os.path.expanduser("~root")
    await driver.close()
