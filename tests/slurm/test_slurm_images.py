"""Jobs in containers of the nodes: the settings say how, the job says which image."""

import shutil

import pytest_asyncio

from batchery.core.model import EXIT, START_FAILED, TERMINATED


@pytest_asyncio.fixture
async def in_podman(make_rig, runtimes):
    """Podman as the nodes have it, with an image "busybox"."""
    settings = [
        f"CONTAINERS_CONF={runtimes.folder}/containers.conf",
        f"CONTAINERS_STORAGE_CONF={runtimes.folder}/storage.conf",
    ]
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]  # root of a container may not raise any
    run = [shutil.which("podman"), "run", "--rm", "--init", "--network=host", *limits, "{environment}", "{image}"]
    rig = make_rig(container=["/usr/bin/env", *settings, *run])
    await rig.connect()
    try:
        yield rig
    finally:
        await rig.tear_down()


IMAGE = "docker.io/library/busybox:latest"


async def test_a_job_runs_in_its_image_with_its_environment(in_podman):
    rig = in_podman
    order = rig.order("sh", "-c", 'echo "$MINE"; ls /; exit 4', environment={"MINE": "1\n2"}, image=IMAGE)
    await rig.launch(order)
    end = await rig.ended(order)
    lines = rig.log(order).splitlines()
    assert (end.cause, end.containers[0].exit_code, lines[:2]) == (EXIT, 4, ["1", "2"]), lines
    assert "boot" not in lines  # as the node has


async def test_it_is_ended_with_its_container(in_podman):
    rig = in_podman
    script = 'trap "echo told; exit 9" TERM; echo ready; while :; do sleep 0.1; done'
    order = rig.order("sh", "-c", script, image=IMAGE)
    await rig.launch(order)
    await rig.started(order)
    await rig.truth(lambda: "ready" in rig.log(order), "it runs")
    await rig.engine.kill([order.key], 20_000)
    end = await rig.ended(order)
    assert end.cause == TERMINATED
    assert rig.log(order).splitlines() == ["ready", "told"]


async def test_a_program_that_the_nodes_do_not_have_cannot_be_started(make_rig):
    rig = make_rig(container=["no-such-program", "exec", "docker://{image}"])
    await rig.connect()
    try:
        end = await rig.run("true", image="a/b:1")
        assert end.cause == START_FAILED
        assert 'exec: "no-such-program"' in end.containers[0].reason
    finally:
        await rig.tear_down()
