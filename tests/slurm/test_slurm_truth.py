"""What Slurm does to jobs is told as it is: requeue, memory, nodes that are made ready or cannot launch."""

import asyncio
from pathlib import Path

import pytest

from batchery.core.messages import Exited, Started, Starting
from batchery.core.model import EXIT, HOST, TERMINATED, TIMEOUT
from batchery.engines.slurmstate import OUT_OF_MEMORY


@pytest.fixture
def reconfigured(cluster):
    """Lines of slurm.conf for one test."""
    yield cluster.reconfigure
    cluster.reconfigure()


def script(tmp_path: Path, name: str, text: str) -> str:
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_a_job_beyond_its_memory_is_told_as_out_of_memory(rig, cluster):
    if "task/cgroup" not in Path(cluster.conf).read_text():
        pytest.skip("not run: no memory cgroup (version 1) can be written here")
    end = await rig.run("dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1", memory=32)
    assert (end.cause, end.containers[0].exit_code, end.containers[0].reason) == (EXIT, 137, OUT_OF_MEMORY)
    assert 24 <= end.peak_mib <= 32
    child = await rig.run("sh", "-c", "dd if=/dev/zero of=/dev/null bs=100M count=1 || exit 4", memory=32)
    assert (child.containers[0].exit_code, child.containers[0].reason) == (4, OUT_OF_MEMORY)
    mended = await rig.run("sh", "-c", "dd if=/dev/zero of=/dev/null bs=100M count=1; true", memory=32)
    assert (mended.containers[0].exit_code, mended.containers[0].reason) == (0, "")


async def test_a_job_that_slurm_requeues_has_lost_its_host_and_does_not_begin_again(make_rig, cluster):
    """As after a preemption, with an option of the user's that asks for it."""
    rig = make_rig(options=["--requeue"])
    await rig.connect()
    try:
        order = rig.gated()
        await rig.launch(order)
        await rig.started(order)
        node, number = rig.node_of(order), rig.slurm_id(order)
        cluster.say("scontrol", "requeue", number)
        (end,) = await rig.ends(order)
        assert (end.cause, end.host, rig.times_begun(order)) == (HOST, node, 1)
        assert not rig.alive_of(order)
        await rig.truth(lambda: not cluster.say("squeue", "-h", "-j", number).strip(), "nothing of it waits in Slurm")
        assert rig.times_begun(order) == 1
    finally:
        await rig.tear_down()


async def test_slurms_own_time_limit_is_told_as_a_timeout(make_rig, cluster):
    """A limit of the partition or the user's options that is below the job's."""
    rig = make_rig()
    await rig.connect()
    try:
        order = rig.gated()
        await rig.launch(order)
        await rig.started(order)
        cluster.say("scontrol", "update", f"JobId={rig.slurm_id(order)}", "EndTime=now+1")
        (end,) = await rig.ends(order)
        assert (end.cause, end.containers[0].exit_code) == (TIMEOUT, 143)
    finally:
        await rig.tear_down()


@pytest.fixture
def configuring(reconfigured, tmp_path):
    """Jobs are CONFIGURING as long as the program of the controller runs that makes their nodes ready."""
    gate = tmp_path / "ready"
    wait = f"i=0; while [ ! -e {gate} ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i + 1)); done"
    reconfigured(f"PrologSlurmctld={script(tmp_path, 'prolog', wait)}", restart=True)
    yield gate
    gate.touch()


async def test_configuring_is_starting(rig, configuring):
    order = rig.quick(3)
    await rig.launch(order)
    await rig.until(order, Starting)
    assert (await rig.engine.survey())[order.key].state == "starting"
    await rig.engine.withdraw([order.key])
    await rig.until(order, Starting, 2)  # it has begun: it is not given back
    configuring.touch()
    (end,) = await rig.ends(order)
    assert (end.cause, end.containers[0].exit_code, rig.times_begun(order)) == (EXIT, 3, 1)
    assert rig.of(order, Starting)[0].at <= rig.of(order, Started)[0].at


async def test_what_is_terminated_while_its_node_is_made_ready_never_runs(rig, configuring, cluster):
    order = rig.quick(3)
    await rig.launch(order)
    await rig.until(order, Starting)
    await rig.engine.kill([order.key], 1000)
    (end,) = await rig.ends(order)
    assert (end.cause, end.started) == (TERMINATED, 0)
    configuring.touch()
    await rig.truth(lambda: not cluster.say("squeue", "-h"), "Slurm has nothing of it")
    assert rig.times_begun(order) == 0


async def test_a_node_that_cannot_launch_is_named_and_the_job_runs_elsewhere(rig, reconfigured, tmp_path, cluster):
    prolog = script(tmp_path, "prolog", "case $SLURMD_NODENAME in n1) exit 1 ;; *) exit 0 ;; esac")
    reconfigured(f"Prolog={prolog}", "PrologFlags=Alloc")
    orders = [rig.quick(5, vcpus=16_000, pool_vcpus=99_000) for _ in range(3)]
    await rig.launch(*orders)
    ends = await rig.ends(*orders)
    assert [end.containers[0].exit_code for end in ends] == [5, 5, 5]
    assert {end.host for end in ends} == {"n2", "n3"}
    assert {rig.times_begun(order) for order in orders} == {1}
    await rig.truth(lambda: "n1 drain" in rig.engine.words.notice, "the node is named")
    assert "n1 drain" in rig.engine.facts()["nodes in trouble"]


async def test_a_node_drained_for_a_duplicate_jobid_is_reported_until_it_is_back(rig, cluster):
    cluster.say("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=Duplicate jobid")
    rig.engine.desk.look_at_nodes()
    await rig.truth(lambda: "n2 drained: Duplicate jobid" in rig.engine.words.notice, "it is named")
    assert (await rig.run("true")).cause == EXIT
    cluster.say("scontrol", "update", "NodeName=n2", "State=RESUME")
    rig.engine.desk.look_at_nodes()
    await rig.truth(lambda: rig.engine.words.notice == "", "it is back")


MANY = 3000  #: ten thousand were tried by hand


@pytest.mark.parametrize("how", ["commands"])
async def test_one_listing_is_all_that_thousands_of_waiting_jobs_cost(make_rig, cluster):
    """And they go as one array, which is taken back at once."""
    rig = make_rig()
    rig.said = []
    await rig.connect()
    try:
        call = rig.engine.desk.driver._call

        def noted(command, *rest):
            rig.said.append(command[0])
            return call(command, *rest)

        rig.engine.desk.driver._call = noted
        full = [rig.gated(vcpus=16_000, pool_vcpus=10**9) for _ in range(3)]
        await rig.launch(*full)

        def is_full():
            cluster.resume()  # slurmctld may hear late of what a test before this one did to a node
            return all(rig.of(order, Started) for order in full)

        await rig.truth(is_full, "the cluster is full")
        many = [rig.order("true", pool_vcpus=10**9) for _ in range(MANY)]
        rig.said.clear()
        await rig.launch(*many)
        await rig.truth(lambda: len(rig.engine.words.attempts) == MANY, "Slurm says why all of them wait")
        assert rig.said.count("sbatch") == 1
        rig.said.clear()
        await asyncio.sleep(3)  # what it costs while nothing happens
        assert set(rig.said) <= {"squeue", "sinfo"}
        assert rig.said.count("squeue") <= 3
        assert rig.said.count("sinfo") <= 1
        rig.said.clear()
        await rig.engine.withdraw([order.key for order in many])
        for order in full:
            rig.release(order)
        await rig.ends(*full)
        assert len([r for r in rig.reports if isinstance(r, Exited)]) == MANY + 3
        await rig.truth(lambda: not cluster.say("squeue", "-h"), "Slurm has nothing of them")
        assert rig.said.count("scancel") <= 10
    finally:
        await rig.tear_down()
