"""The container engine on real runtimes: what only containers do."""

import asyncio
import json
import os
import time

import pytest

from batchery.core.messages import Exited, Started, Starting
from batchery.core.model import EXIT, START_FAILED, TERMINATED, TIMEOUT, WITHDRAWN

OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
IGNORES_TERM = "trap '' TERM; echo $$ >{out}; while :; do sleep .02; done"


async def said(box, *command, **how) -> list[str]:
    """What a job that succeeds prints."""
    order = box.order(*command, **how)
    await box.launch(order)
    end = await box.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (EXIT, 0), (end, box.log(order))
    return box.log(order).splitlines()


async def test_output_of_both_streams_and_its_index(box):
    order = box.order("sh", "-c", "echo one; echo two >&2; printf three")
    await box.launch(order)
    await box.ended(order)
    assert sorted(box.log(order)) == sorted("one\ntwo\nthree")
    assert os.path.getsize(order.containers[0].log_path + ".idx") >= 16


async def test_output_is_there_while_the_job_runs(box):
    order = box.order("sh", "-c", f"echo first; until [ -e {box.tmp}/more ]; do sleep .02; done; echo second")
    await box.launch(order)
    await box.started(order)
    async with asyncio.timeout(20):
        while box.log(order) != "first\n":
            await asyncio.sleep(0.02)
    (box.tmp / "more").touch()
    await box.ended(order)
    assert box.log(order) == "first\nsecond\n"


async def test_the_environment_is_the_jobs_own(box, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the server")
    lines = await said(box, "env", environment={"AWS_BATCH_JOB_ID": "j", "X": "a b"})
    assert {"AWS_BATCH_JOB_ID=j", "X=a b"} <= set(lines)
    assert not [line for line in lines if "of the server" in line]


async def test_the_limits_of_the_definition_hold(box):
    spec = {
        "user": "nobody",
        "readonlyRootFilesystem": True,
        "ulimits": [{"name": "nofile", "softLimit": 64, "hardLimit": 128}],
        "linuxParameters": {
            "sharedMemorySize": 7,
            "tmpfs": [{"containerPath": "/scratch", "size": 5, "mountOptions": ["mode=1777"]}],
            "devices": [{"hostPath": "/dev/zero", "containerPath": "/dev/nought", "permissions": ["READ"]}],
        },
    }
    script = (
        "id -un; ulimit -n; ulimit -Hn; touch /x 2>/dev/null || echo read-only; touch /scratch/y && echo scratch; "
        "df -m /dev/shm /scratch | awk 'NR > 1 {print $2}'; head -c 1 /dev/nought | wc -c"
    )
    lines = await said(box, "sh", "-c", script, spec=json.dumps(spec))
    assert lines == ["nobody", "64", "128", "read-only", "scratch", "7", "5", "1"]


async def test_mount_points(box):
    (box.tmp / "in").mkdir()
    (box.tmp / "in" / "data").write_text("of the host\n")
    spec = {
        "volumes": [{"name": "v", "host": {"sourcePath": str(box.tmp / "in")}}, {"name": "w"}],
        "mountPoints": [
            {"sourceVolume": "v", "containerPath": "/other/name", "readOnly": True},
            {"sourceVolume": "w", "containerPath": "/empty"},
        ],
    }
    script = "cat /other/name/data; touch /other/name/x 2>/dev/null || echo read-only; ls -A /empty | wc -l"
    lines = await said(box, "sh", "-c", script, spec=json.dumps(spec))
    assert lines == ["of the host", "read-only", "0"]


async def test_the_memory_limit_kills_and_is_told_as_aws_does(box):
    script = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"
    end = await box.run("sh", "-c", script, memory=32, spec='{"linuxParameters":{"maxSwap":0}}')
    assert (end.cause, end.containers[0].exit_code, end.containers[0].reason) == (EXIT, 137, OUT_OF_MEMORY)


async def test_cpu_shares_and_the_hosts_network(box):
    lines = await said(box, "sh", "-c", "readlink /proc/self/ns/net")
    assert lines == [os.readlink("/proc/self/ns/net")]


async def test_cpu_time_and_peak_memory_are_measured(box):
    script = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; head -c 20000000 /dev/zero | tail | wc -c; sleep .6"
    end = await box.run("sh", "-c", script, memory=200)
    assert end.cpu_ms > 50
    assert 15 <= end.peak_mib <= 200


@pytest.mark.parametrize("settings", [{"network": "none"}])
async def test_a_job_can_be_without_a_network(box, settings):
    lines = await said(box, "sh", "-c", "ls /sys/class/net")
    assert lines == ["lo"]


# ------------------------------------------------------------------------------------------------- what cannot start


async def test_a_program_that_is_not_there(box):
    end = await box.run("no-such-program", spec="{}")  # an init would be started, and exit with 127
    assert (end.cause, end.started) == (START_FAILED, 0)
    assert end.containers[0].reason.startswith("CannotStartContainerError: Error response from daemon: ")
    assert "no-such-program" in end.containers[0].reason


async def test_an_image_that_cannot_be_pulled(box):
    order = box.order("true", image="localhost:1/no/such:image")
    await box.launch(order)
    end = await box.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (START_FAILED, None)
    assert end.containers[0].reason.startswith("CannotPullContainerError: Error response from daemon: ")
    assert [type(r) for r in box.of(order)] == [Starting, Exited]


@pytest.mark.parametrize("settings", [{"pull": "never"}])
async def test_an_image_that_must_not_be_pulled(box, settings):
    end = await box.run("true", image="localhost:1/no/such:image")
    assert end.cause == START_FAILED
    assert end.containers[0].reason.startswith("CannotPullContainerError: image localhost:1/no/such:image is not here")


@pytest.mark.parametrize("settings", [{"prolog": ["sh", "-c", "echo prolog; until [ -e $READY ]; do sleep .02; done"]}])
async def test_a_prolog_is_starting(box, settings):
    ready = box.tmp / "ready"
    order = box.order("echo", "job", environment={"READY": str(ready), "PATH": "/usr/bin:/bin"})
    await box.launch(order)
    await box.until(order, Starting)
    assert (await box.engine.survey())[order.key].state == "starting"
    ready.touch()
    await box.ended(order)
    assert [type(r) for r in box.of(order)] == [Starting, Started, Exited]
    assert box.log(order) == "prolog\njob\n"


@pytest.mark.parametrize("settings", [{"prolog": ["sleep", "600"]}])
async def test_a_kill_while_it_starts(box, settings):
    order = box.quick()
    await box.launch(order)
    await box.until(order, Starting)
    await box.engine.kill([order.key], 10_000)
    end = await box.ended(order)
    assert (end.cause, end.started, end.containers[0].exit_code) == (TERMINATED, 0, None)
    assert box.times_begun(order) == 0


async def test_what_was_not_started_yet_can_be_asked_back(box):
    order = box.quick()
    await box.engine.launch([order])  # it is being made: nothing has been awaited since
    await box.engine.withdraw([order.key])
    assert (await box.ended(order)).cause == WITHDRAWN
    assert box.times_begun(order) == 0
    assert order.key not in await box.engine.survey()


# ------------------------------------------------------------------------------------------------- kills


async def test_who_ignores_sigterm_gets_sigkill_after_the_grace(box):
    out = box.tmp / "pid"
    order = box.order("sh", "-c", IGNORES_TERM.format(out=out))
    await box.launch(order)
    await box.file(out)
    began = time.monotonic()
    await box.engine.kill([order.key], 600_000)
    await box.engine.kill([order.key], 400)
    end = await box.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (TERMINATED, 137)
    assert time.monotonic() - began >= 0.4


async def test_its_own_exit_code_counts_if_it_ends_within_the_grace(box):
    out = box.tmp / "pid"
    order = box.order("sh", "-c", f"trap 'exit 5' TERM; echo $$ >{out}; while :; do sleep .02; done")
    await box.launch(order)
    await box.file(out)
    await box.engine.kill([order.key], 10_000)
    assert (await box.ended(order)).containers[0].exit_code == 5


async def test_a_time_limit_is_kept(box):
    end = await box.run("sleep", "600", timeout=300)
    assert (end.cause, end.containers[0].exit_code) == (TIMEOUT, 143)


# ------------------------------------------------------------------------------------------------- crashes


async def crash(box) -> None:
    """As SIGKILL of the server: nothing is told to anybody."""
    box.collector.cancel()
    engine = box.engine
    tasks = [*(boxed.task for boxed in engine._attempts.values()), engine._ticker]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await engine.runtime.close()
    engine.serving.end()
    box.reports.clear()
    await box.connect()


async def test_a_server_that_was_killed_finds_its_containers(box):
    ended, running = box.quick(5), box.gated(6)
    await box.launch(ended, running)
    await box.ended(ended)
    await box.started(running)
    await crash(box)
    states = await box.engine.survey()
    assert {key: survey.state for key, survey in states.items()} == {ended.key: "ended", running.key: "running"}
    assert states[ended.key].end.containers[0].exit_code == 5
    await box.launch(ended, running)  # as a server does that is not sure
    box.release(running)
    assert (await box.ended(running)).containers[0].exit_code == 6
    assert (box.times_begun(ended), box.times_begun(running)) == (1, 1)


async def test_output_goes_on_where_it_was_after_a_crash(box):
    loop = f"i=0; until [ -e {box.tmp}/stop ]; do i=$((i+1)); echo line $i; sleep .01; done"
    order = box.order("sh", "-c", loop)
    await box.launch(order)
    await box.started(order)
    async with asyncio.timeout(20):
        while "line 20" not in box.log(order):
            await asyncio.sleep(0.02)
    await crash(box)
    (box.tmp / "stop").touch()
    await box.ended(order)
    lines = box.log(order).splitlines()
    assert lines == [f"line {number}" for number in range(1, len(lines) + 1)]


async def test_what_was_made_and_not_started_is_removed(box):
    order = box.quick(3)
    name = f"batchery-{order.task_id}"
    labels = {"batchery.attempt": str(order.key), "batchery.owner": box.engine.owner}
    await box.engine.runtime.create(name, {"Image": "busybox", "Cmd": ["true"], "Labels": labels})
    await crash(box)
    assert order.key not in await box.engine.survey()
    await box.launch(order)
    assert (await box.ended(order)).containers[0].exit_code == 3


async def test_a_container_that_somebody_removed_is_lost(box):
    order = box.gated()
    await box.launch(order)
    await box.started(order)
    await box.engine.runtime.remove(f"batchery-{order.task_id}")
    assert type(await box.ended(order)).__name__ in ("Lost", "Exited")


async def test_nothing_is_left_when_the_end_is_acknowledged(box):
    order = box.quick()
    await box.launch(order)
    await box.ended(order)
    await box.engine.ack([order.key])
    async with asyncio.timeout(20):
        while await box.engine.runtime.labelled(f"batchery.attempt={order.key}"):
            await asyncio.sleep(0.02)
