"""Limits of accounts and the memory of Slurm's accounting, on a cluster with slurmdbd."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.outside.slurm import TOOL, Cluster, lacking

from batchery.core.messages import Exited, Started
from batchery.core.model import EXIT, HOST, TERMINATED

DATABASE = ("slurmdbd:slurmdbd", "mariadbd:mariadb-server")


@pytest.fixture(scope="module")
def accounted():
    """A cluster that remembers."""
    if why := lacking():
        pytest.skip(f"not run: {why}")
    install = subprocess.run([TOOL, "install", *DATABASE], capture_output=True, check=False)
    assert install.returncode == 0, install.stderr.decode(errors="replace")
    folder = Path(tempfile.mkdtemp(prefix="bt-slurm-"))
    made = Cluster(folder, "--mem", "1000", "--accounting", "--set", "MinJobAge=2")
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def how():
    """This cluster has no slurmrestd."""
    return "commands"


@pytest.fixture
def cluster(accounted):
    """In place of the one of the other tests."""
    return accounted


@pytest.fixture
def limited(cluster):
    """At most four jobs of account lab in Slurm."""
    modify = ("sacctmgr", "-i", "modify", "user", "root", "where", "account=lab", "set")
    cluster.say(*modify, "MaxSubmitJobs=4")
    yield 4
    cluster.say(*modify, "MaxSubmitJobs=-1")


async def test_what_is_beyond_maxsubmitjobs_waits_with_slurms_words_and_runs_later(make_rig, limited):
    rig = make_rig(account="lab")
    await rig.connect()
    try:
        orders = [rig.gated(pool_vcpus=99_000) for _ in range(10)]
        await rig.launch(*orders)
        await rig.truth(lambda: len([o for o in orders if rig.of(o, Started)]) == limited, "as many run as may")
        await rig.truth(lambda: len(rig.engine.words.attempts) == 6, "the others wait")
        assert all("job submit limit" in words for words in rig.engine.words.attempts.values())
        states = await rig.engine.survey()
        assert sorted(survey.state for survey in states.values()) == ["held"] * 6 + ["running"] * 4
        for order in orders:
            rig.release(order)
        ends = await rig.ends(*orders)
        assert {(end.cause, end.containers[0].exit_code) for end in ends} == {(EXIT, 0)}
        assert {rig.times_begun(order) for order in orders} == {1}
        assert rig.engine.words.attempts == {}
    finally:
        await rig.tear_down()


async def test_an_account_that_may_not_submit_waits_with_slurms_words(make_rig):
    rig = make_rig(account="others")
    await rig.connect()
    try:
        order = rig.quick()
        await rig.launch(order)
        await rig.truth(lambda: order.key in rig.engine.words.attempts, "refused")
        assert "Invalid account" in rig.engine.words.attempts[order.key]
        await rig.engine.withdraw([order.key])
        await rig.ends(order)
    finally:
        await rig.tear_down()


async def test_what_happened_while_no_server_ran_is_asked_of_sacct(make_rig, cluster):
    """The controller has forgotten both: the one waited and was cancelled by an operator, the other was killed."""
    rig = make_rig(account="lab")
    await rig.connect()
    try:
        full = [rig.gated(vcpus=16_000, pool_vcpus=999_000) for _ in range(3)]
        await rig.launch(*full)
        await rig.truth(lambda: all(rig.of(order, Started) for order in full), "the cluster is full")
        waits = rig.quick(pool_vcpus=999_000)
        await rig.launch(waits)
        await rig.truth(lambda: waits.key in rig.engine.words.attempts, "it waits in Slurm")
        await rig.disconnect()
        cluster.say("scancel", "--state=PENDING", "--user=root")
        os.kill(rig.wrapper_of(full[0]), signal.SIGKILL)
        forgotten = ("squeue", "-h", "-t", "COMPLETED,FAILED,CANCELLED,NODE_FAIL")
        cluster.say("scontrol", "update", "JobId=" + rig.slurm_id(full[1]), "Comment=stirs the controller")
        await rig.truth(lambda: not cluster.say(*forgotten), "Slurm has forgotten them")
        rig.reports.clear()
        await rig.connect()
        ends = await rig.ends(waits, full[0])
        assert (ends[0].cause, ends[0].started, rig.times_begun(waits)) == (TERMINATED, 0, 0)
        assert ends[0].containers[0].reason == "Slurm: CANCELLED"
        assert (ends[1].cause, ends[1].started > 0) == (HOST, True)
        assert not rig.of(full[1], Exited)
        for order in full[1:]:
            rig.release(order)
        await rig.ends(*full[1:])
    finally:
        await rig.tear_down()
