"""`auto`: what has an image runs in it, what has none runs on the host, and both hold the same room."""

import asyncio
import json

import pytest

from batchery.core.messages import Started
from batchery.core.model import EXIT, START_FAILED

pytestmark = pytest.mark.parametrize("rig", ["auto"], indirect=True)
NO_IMAGE = "localhost:1/no/such:image"


def where(mark):
    """A job that writes down whether it is in a container: the host's busybox image has nothing but busybox."""
    return ("sh", "-c", f"if [ -e /var/lib/dpkg ]; then echo host; else echo container; fi >{mark}; sleep .01")


async def test_the_image_decides_and_it_is_said(rig, caplog):
    inside, outside = rig.tmp / "inside", rig.tmp / "outside"
    assert (await rig.run(*where(inside), image="busybox")).cause == EXIT
    for _ in range(2):
        assert (await rig.run(*where(outside), image=NO_IMAGE)).cause == EXIT
    assert (inside.read_text(), outside.read_text()) == ("container\n", "host\n")
    assert rig.engine.facts()["images"] == f"host processes instead of {NO_IMAGE}"
    warnings = [line for line in caplog.messages if NO_IMAGE in line]
    assert len(warnings) == 1
    assert "cannot be had, so its jobs run as processes of this host: CannotPullContainerError: " in warnings[0]


async def test_what_cannot_run_on_the_host_either_says_so(rig):
    end = await rig.run("no-such-program", image=NO_IMAGE)
    assert end.cause == START_FAILED
    assert "does not use the image" in end.containers[0].reason


async def test_what_would_find_other_data_on_the_host_fails_as_without_auto(rig):
    spec = {
        "volumes": [{"name": "v", "host": {"sourcePath": str(rig.tmp)}}],
        "mountPoints": [{"sourceVolume": "v", "containerPath": "/data"}],
    }
    end = await rig.run("true", image=NO_IMAGE, spec=json.dumps(spec))
    assert end.cause == START_FAILED
    assert end.containers[0].reason.startswith("CannotPullContainerError: ")
    spec["mountPoints"][0]["containerPath"] = f"{rig.tmp}/"
    assert (await rig.run("true", image=NO_IMAGE, spec=json.dumps(spec))).cause == EXIT


async def test_both_kinds_share_the_room(rig):
    first = rig.gated(image=NO_IMAGE, pool_vcpus=1000)
    second = rig.gated(image="busybox", pool_vcpus=1000)
    await rig.launch(first, second)
    await rig.started(first)
    await asyncio.sleep(0.3)
    assert not rig.of(second)
    rig.release(first)
    await rig.started(second)
    rig.release(second)
    await rig.ended(second)


async def test_a_later_server_finds_both_kinds_and_counts_them(rig):
    first = rig.gated(6, image=NO_IMAGE, pool_vcpus=2000)
    second = rig.gated(7, image="busybox", pool_vcpus=2000)
    third = rig.quick(image="busybox", pool_vcpus=2000)
    await rig.launch(first, second)
    await rig.started(first)
    await rig.started(second)
    await rig.disconnect()
    rig.reports.clear()
    await rig.connect()
    states = await rig.engine.survey()
    assert {key: one.state for key, one in states.items()} == {first.key: "running", second.key: "running"}
    await rig.launch(first, second, third)
    await rig.until(first, Started)
    await asyncio.sleep(0.3)
    assert not rig.of(third)
    rig.release(first)
    assert (await rig.ended(first)).containers[0].exit_code == 6
    await rig.ended(third)
    rig.release(second)
    assert (await rig.ended(second)).containers[0].exit_code == 7
    await rig.engine.ack([first.key, second.key, third.key])
    async with asyncio.timeout(20):
        while list((rig.data / "hosted").iterdir()) or await rig.engine.survey():
            await asyncio.sleep(0.02)
