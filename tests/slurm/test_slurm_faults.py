"""The Slurm engine on a real cluster that breaks: nothing is lost, nothing runs twice, and the truth is told."""

import asyncio
import subprocess

import pytest

from batchery.core.messages import Started
from batchery.core.model import EXIT, HOST, TERMINATED, WITHDRAWN
from batchery.engines.slurmscript import TAKEN, batch_script


@pytest.mark.parametrize("seconds", [8.0, 0.5])
async def test_a_slurmctld_that_is_killed_loses_nothing_and_runs_nothing_twice(rig, cluster, seconds):
    """Killed soon after a submit it forgets jobs, launches them again, and gives their ids to others."""
    full = [rig.gated(3, vcpus=16_000, pool_vcpus=99_000) for _ in range(3)]
    waiting = [rig.quick(5, vcpus=16_000, pool_vcpus=999_000) for _ in range(3)]
    await rig.launch(*full)
    for order in full[:1]:
        await rig.truth(lambda order=order: rig.of(order, Started), "it runs")
    await rig.launch(*waiting)
    await asyncio.sleep(seconds)  # the length of the fault, not a wait
    cluster.kill("slurmctld")
    late = rig.quick(6, pool_vcpus=999_000)
    await rig.launch(late)
    await rig.truth(lambda: rig.engine.words.trouble, "the engine says that the controller is away")
    cluster.up_daemons()
    for order in full:
        rig.release(order)
    ends = await rig.ends(*full, *waiting, late)
    # What ran may have been ended by Slurm, which knew nothing of it any more; that is told as the loss of a host.
    told = [end.containers[0].exit_code if end.cause == EXIT else end.cause for end in ends]
    assert told[3:] == [5, 5, 5, 6]
    assert set(told[:3]) == {3} if seconds > 5 else set(told[:3]) <= {3, HOST}
    assert not [order.key for order in full if rig.alive_of(order)]
    assert {rig.times_begun(order) for order in (*full, *waiting, late)} == {1}
    assert rig.engine.words.trouble == ""


async def test_a_node_that_dies_takes_its_jobs_with_it_and_is_named(rig, cluster):
    order = rig.gated(3)
    await rig.launch(order)
    await rig.started(order)
    node = rig.node_of(order)
    cluster.kill_node(node)
    (end,) = await rig.ends(order)
    assert (end.cause, end.host, rig.times_begun(order)) == (HOST, node, 1)
    assert end.started > 0


async def test_a_server_killed_between_submission_and_reply_runs_its_jobs_once(rig, monkeypatch):
    """Slurm has heard; the server has not, and never will."""
    heard = asyncio.Event()
    submit = rig.engine.desk.driver.submit

    async def deaf(*arguments):
        await submit(*arguments)
        heard.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(rig.engine.desk.driver, "submit", deaf)
    orders = [rig.quick(4) for _ in range(3)]
    await rig.launch(*orders)
    await asyncio.wait_for(heard.wait(), 20)
    await rig.disconnect()
    rig.reports.clear()
    await rig.connect()
    await rig.launch(*orders)  # as a server does that does not know
    ends = await rig.ends(*orders)
    assert [end.containers[0].exit_code for end in ends] == [4, 4, 4]
    assert {rig.times_begun(order) for order in orders} == {1}


async def test_a_server_killed_before_slurm_heard_sends_again(rig, monkeypatch):
    spoken = asyncio.Event()

    async def mute(*arguments):
        spoken.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(rig.engine.desk.driver, "submit", mute)
    order = rig.quick(4)
    await rig.launch(order)
    await asyncio.wait_for(spoken.wait(), 20)
    await rig.disconnect()
    await rig.connect()
    (end,) = await rig.ends(order)
    assert (end.containers[0].exit_code, rig.times_begun(order)) == (4, 1)


async def test_a_submission_that_slurm_has_twice_runs_once(rig, cluster):
    order = rig.gated(2)
    await rig.launch(order)
    await rig.started(order)
    submission = next(iter(rig.engine.desk.sent))[0]
    script = batch_script(str(rig.engine._spool.root), submission)
    environment = {"PATH": "/usr/bin:/bin", "SLURM_CONF": cluster.conf}
    again = ["sbatch", "--parsable", "--output=/dev/null", f"--job-name={submission}"]

    def submit(*options):
        return subprocess.Popen([*again, *options], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    node = rig.node_of(order)
    with submit("--wait", f"--exclude={node}") as elsewhere:
        elsewhere.stdin.write(script.encode())
        elsewhere.stdin.close()
        assert await asyncio.to_thread(elsewhere.wait, 60) == TAKEN
    with submit(f"--nodelist={node}") as beside:  # Slurm is not to think that the node is free
        number = (await asyncio.to_thread(beside.communicate, script.encode()))[0].decode().strip()
    state = ["squeue", "-h", "-o", "%T", "-j", number]
    await rig.truth(lambda: cluster.say(*state).strip() == "RUNNING", "the second runs beside the first")
    assert rig.of(order)[-1] == rig.of(order, Started)[0]
    rig.release(order)
    (end,) = await rig.ends(order)
    assert (end.containers[0].exit_code, rig.times_begun(order)) == (2, 1)
    await rig.truth(lambda: not cluster.say("squeue", "-h", "--name", submission), "the second has left")


async def test_fifty_waiting_jobs_cancelled_while_slots_free_up(rig):
    """Each either never ran, or ran whole."""
    full = [rig.gated(vcpus=16_000, pool_vcpus=9_999_000) for _ in range(3)]
    await rig.launch(*full)
    for order in full:
        await rig.truth(lambda order=order: rig.of(order, Started), "the cluster is full")
    waiting = [rig.quick(7, vcpus=4000, pool_vcpus=9_999_000) for _ in range(50)]
    await rig.launch(*waiting)
    await rig.truth(lambda: len(rig.engine.words.attempts) == 50, "Slurm says why they wait")
    assert {words.split(":")[0] for words in rig.engine.words.attempts.values()} == {"Slurm"}
    for order in full:
        rig.release(order)
    for start in range(0, 50, 5):
        await rig.engine.withdraw([order.key for order in waiting[start : start + 5]])
        await asyncio.sleep(0.15)  # so that slots free up between
    ends = await rig.ends(*waiting)
    ran = [(end.cause, rig.times_begun(order)) for order, end in zip(waiting, ends, strict=True)]
    assert set(ran) <= {(WITHDRAWN, 0), (EXIT, 1)}
    assert (WITHDRAWN, 0) in ran
    for end in ends:
        assert end.cause != EXIT or end.containers[0].exit_code == 7
    assert rig.engine.words.attempts == {}


async def test_an_operators_scancel_is_final_whether_it_runs_or_waits(rig, cluster):
    running, waiting = rig.gated(vcpus=16_000, pool_vcpus=99_000), rig.order("true", pool_vcpus=99_000)
    others = [rig.gated(vcpus=16_000, pool_vcpus=99_000) for _ in range(2)]
    await rig.launch(running, *others)
    await rig.truth(lambda: all(rig.of(o, Started) for o in (running, *others)), "the cluster is full")
    await rig.launch(waiting)
    await rig.truth(lambda: waiting.key in rig.engine.words.attempts, "it waits in Slurm")
    array = [rig.order("true", vcpus=2000, pool_vcpus=99_000) for _ in range(3)]
    await rig.launch(*array)
    await rig.truth(lambda: array[2].key in rig.engine.words.attempts, "the array waits, too")
    number, *_ = cluster.say("squeue", "-h", "-t", "PENDING", "-o", "%F", "--array-unique", "--sort=-i").split()
    cluster.say("scancel", f"{number}_1")  # which leaves no record
    (element,) = await rig.ends(array[1])
    assert (element.cause, element.started) == (TERMINATED, 0)
    cluster.say("scancel", "--user=root")
    ends = await rig.ends(running, waiting, *others, array[0], array[2])
    assert {end.cause for end in ends} == {TERMINATED}
    assert ends[1].started == ends[-1].started == 0
    assert "CANCELLED" in ends[0].containers[0].reason


async def test_what_slurm_refuses_waits_with_slurms_words(rig):
    order = rig.order("true", gpus=1)  # there are none
    await rig.launch(order)
    await rig.truth(lambda: order.key in rig.engine.words.attempts, "refused")
    assert "Invalid generic resource" in rig.engine.words.attempts[order.key]
    assert (await rig.engine.survey())[order.key].state == "held"
    await rig.engine.withdraw([order.key])
    assert (await rig.ended(order)).cause == WITHDRAWN
