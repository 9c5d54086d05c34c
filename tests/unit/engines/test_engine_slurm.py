"""The pure parts of the Slurm engine: what is said to the nodes, and what Slurm says."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from batchery.core.model import EXIT, HOST, TERMINATED, TIMEOUT
from batchery.engines import slurmstate
from batchery.engines.slurmcli import sbatch_options
from batchery.engines.slurmdriver import Options
from batchery.engines.slurmfiles import Spool
from batchery.engines.slurmscript import AWAY, TAKEN, WRAPPER, WRAPPER_NAME, cannot_be_said, meta_of, order_text, quote


@pytest.mark.parametrize("text", ["plain", "a'b", "two\nlines", "$HOME `x` \\", "", "é"])
def test_a_quoted_word_comes_through_sh(text):
    done = subprocess.run(["sh", "-c", f"printf %s {quote(text)}"], capture_output=True, check=True)
    assert done.stdout.decode() == text


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("N/A", [0]), ("7", [7]), ("0-3,9", [0, 1, 2, 3, 9]), ("[1-5:2%4]", [1, 3, 5]), ("0-2%1", [0, 1, 2])],
)
def test_elements_of_arrays(text, numbers):
    assert list(slurmstate.indices(text)) == numbers


def test_a_listing_has_our_jobs_by_name_and_index():
    text = "12|0-1|PENDING||bt-a-x|Resources\n12|2|RUNNING|n1|bt-a-x|None\n9|N/A|RUNNING|n2|mine|None\n"
    rows = slurmstate.listing(text, "bt-a-")
    assert {where: (row.id, row.phase) for where, row in rows.items()} == {
        ("bt-a-x", 0): ("12_0", "waiting"),
        ("bt-a-x", 1): ("12_1", "waiting"),
        ("bt-a-x", 2): ("12_2", "running"),
    }
    assert slurmstate.waiting_words(rows["bt-a-x", 0]) == "Slurm: Resources"
    assert slurmstate.waiting_words(rows["bt-a-x", 2]) == ""


def test_ids_of_one_array_are_one_word():
    assert list(slurmstate.together(["7_1", "9", "7_2", "8_0", "7_5"], 2)) == ["7_[1,2]", "7_[5]", "9", "8_[0]"]


def test_what_accounting_remembers():
    rows = slurmstate.history("7_1|CANCELLED by 0|n1|bt-a-x\n8|COMPLETED|n2|bt-a-y\n7_[2-3]|PENDING||bt-a-x\nodd\n")
    assert {where: (row.state, row.node) for where, row in rows.items()} == {
        ("bt-a-x", 1): ("CANCELLED", "n1"),
        ("bt-a-x", 2): ("PENDING", ""),
        ("bt-a-x", 3): ("PENDING", ""),
        ("bt-a-y", 0): ("COMPLETED", "n2"),
    }


def test_of_two_jobs_for_one_element_the_one_that_is_further_counts():
    text = "12|N/A|RUNNING|n1|bt-a-x|None\n13|N/A|PENDING||bt-a-x|Priority\n14|N/A|FAILED|n1|bt-a-x|None\n"
    assert slurmstate.listing(text, "bt-a-")["bt-a-x", 0].id == "12"


def test_nodes_and_what_ails_them():
    text = "n1|16|1000|(null)|idle|main*|n1|none\nn2|8|2000|gpu:a100:2(S:0),gpu:1|drained|gpu|n2|Duplicate jobid\n"
    first, second = slurmstate.nodes(text)
    assert (first.default, first.gpus, first.trouble) == (True, 0, "")
    assert (second.partition, second.gpus, second.trouble) == ("gpu", 3, "drained: Duplicate jobid")


@pytest.mark.parametrize(
    ("code", "ended_by", "state", "told"),
    [
        (3, "EXIT", "", (EXIT, 3)),
        (137, "EXIT", "COMPLETED", (EXIT, 137)),
        (137, "EXIT", "NODE_FAIL", (HOST, None)),
        (143, "TERMINATED", "", (TERMINATED, 143)),
        (143, "TIMEOUT", "", (TIMEOUT, 143)),
        (143, "SLURM", "CANCELLED", (TERMINATED, 143)),
        (143, "SLURM", "TIMEOUT", (TIMEOUT, 143)),
        (143, "SLURM", "PREEMPTED", (HOST, None)),
        (143, "SLURM", "FAILED", (EXIT, 143)),
        (9, "EXIT", "OUT_OF_MEMORY", (EXIT, 9)),
        (137, "OOM", "", (EXIT, 137)),
    ],
)
def test_ends_with_an_exit_code(code, ended_by, state, told):
    said = slurmstate.verdict(code, ended_by, state)
    assert (said.cause, said.code) == told
    assert (said.reason == slurmstate.OUT_OF_MEMORY) == (state == "OUT_OF_MEMORY" or ended_by == "OOM")


@pytest.mark.parametrize(
    ("state", "cause"),
    [("FAILED", HOST), ("", HOST), ("CANCELLED", TERMINATED), ("DEADLINE", TIMEOUT), ("OUT_OF_MEMORY", EXIT)],
)
def test_ends_without_one(state, cause):
    assert slurmstate.ended_by_slurm(state, None).cause == cause


def test_refusals_are_told_apart():
    assert slurmstate.is_limit("sbatch: error: QOSMaxSubmitJobPerUserLimit")
    assert slurmstate.is_limit("Job violates accounting/QOS policy (job submit limit, user's size)")
    assert not slurmstate.is_limit("Invalid partition name specified")
    assert slurmstate.is_unreachable("Unable to contact slurm controller (connect failure)")
    words = "sbatch: error: invalid partition\nsbatch: error: Batch job submission failed: Invalid partition name\n"
    assert slurmstate.refusal(words) == "invalid partition; Batch job submission failed: Invalid partition name"


def test_options_of_sbatch_have_no_secret_and_end_with_the_users_own():
    options = Options(2, 500, 1, 10, partition="p", qos="q", extra=("--nice=5",))
    words = sbatch_options("name", "comment", options, 3)
    assert {"--no-requeue", "--array=0-2", "--gres=gpu:1", "--time=10", "--partition=p", "--qos=q"} <= set(words)
    assert words[-1] == "--nice=5"
    assert not [word for word in sbatch_options("n", "c", Options(1, 1, 0, 0), 1) if "array" in word or "time" in word]


def test_what_cannot_be_said():
    assert "no command specified" in cannot_be_said((), {}, "image")
    assert "invalid argument" in cannot_be_said(("sh", "a\0"), {}, "image")
    assert cannot_be_said(("true",), {}, "image") == ""


def made(tmp_path, *argv, **environment):
    """An attempt's directory, its order written; and the command that runs its wrapper."""
    spool = Spool(tmp_path / "shared")
    spool.open()
    meta = {"task": "t1", "limit": 0, "grace": 1, "log": str(tmp_path / "a log")}
    text = order_text(meta, argv, {"PATH": "/usr/bin:/bin", **environment})
    assert meta_of(text) == meta
    spool.write_order("t1", text, meta["log"])
    wrapper = f"{spool.root}/{WRAPPER_NAME}"
    return spool, ["sh", wrapper, spool.place("t1"), spool.news_dir, "7", "n1", ""]


def test_the_wrapper_runs_an_order_and_leaves_word(tmp_path):
    spool, command = made(tmp_path, "sh", "-c", 'echo "$WITH"; exit 3', WITH="it's\ntwo")
    assert subprocess.run(command, check=False).returncode == 3
    assert (tmp_path / "a log").read_text() == "it's\ntwo\n"
    assert spool.news() == {"t1": {"began", "over"}}
    assert spool.news() == {}
    found = spool.look("t1")
    assert (found.claimed, found.node, found.exit.code, found.exit.ended_by) == (True, "n1", 3, "EXIT")
    assert 0 < found.started <= found.exit.at


def test_only_one_has_an_attempt(tmp_path):
    spool, command = made(tmp_path, "true")
    assert spool.claim("t1")
    assert not spool.claim("t1")
    assert subprocess.run(command, check=False).returncode == TAKEN
    spool.retire(["t1"])
    assert spool.left() == []
    spool.remove(["t1"])
    assert subprocess.run(command, check=False).returncode == AWAY


def test_an_order_is_for_its_owner_alone_and_the_wrapper_knows_the_numbers(tmp_path):
    made(tmp_path, "true")
    (order,) = tmp_path.glob("shared/run/*/*/order")
    assert order.stat().st_mode & 0o777 == 0o600
    assert f"exit {AWAY}\n" in WRAPPER
    assert f"exit {TAKEN}\n" in WRAPPER


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGURG])
def test_told_again_and_again_it_ends_the_job_after_its_grace(tmp_path, number):
    """The second time is no new beginning of the grace, and the job is told once."""
    script = 'trap "echo told >>told" TERM; : >ready; while :; do sleep 0.05; done'
    spool, command = made(tmp_path, "sh", "-c", script)
    work = Path(spool.place("t1"), "work")
    wrapper = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not (work / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    spool.order_kill("t1", "TERMINATED", 1)
    while wrapper.poll() is None:
        assert time.monotonic() < deadline
        wrapper.send_signal(number)
        time.sleep(0.1)
    found = spool.look("t1")
    assert (found.exit.code, found.exit.ended_by) == (137, "TERMINATED")
    assert (work / "told").read_text() == "told\n"
