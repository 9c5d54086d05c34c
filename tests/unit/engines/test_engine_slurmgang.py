"""A multi-node job on a Slurm cluster: one job with a task for each node."""

import subprocess
from pathlib import Path
from typing import Any

from batchery.core.model import HOST, AttemptKey, Resources
from batchery.engines import slurmgang
from batchery.engines.engine import Node
from batchery.engines.slurmcli import sbatch_options
from batchery.engines.slurmdriver import Options
from batchery.engines.slurmgang import Riders, gang_script, rank_of
from batchery.engines.slurmjobs import Attempt
from batchery.engines.slurmscript import WRAPPER_NAME
from batchery.engines.slurmstate import nodes

SIZE = (Resources(1000, 10),)


def test_the_main_node_is_the_first_task_and_the_others_follow() -> None:
    ranks = [rank_of(Node(index, 2, SIZE * 4, AttemptKey("j", 2, 1))) for index in range(4)]
    assert ranks == [1, 2, 0, 3]


def test_several_tasks_are_on_any_nodes_with_memory_by_the_cpu() -> None:
    words = sbatch_options("n", "c", Options(2, 501, 1, 0, tasks=3), 1)
    assert {"--ntasks=3", "--cpus-per-task=2", "--mem-per-cpu=251M", "--gpus-per-task=1"} <= set(words)
    assert not [word for word in words if word.startswith(("--nodes", "--mem=", "--gres"))]


def test_a_task_waits_for_its_attempt_and_goes_when_nobody_wants_it(tmp_path: Path) -> None:
    shared = tmp_path / "a 'shared' one"
    (shared / "sent" / "s1").mkdir(parents=True)
    (shared / "news").mkdir()
    (shared / WRAPPER_NAME).write_text('echo "$@"')
    script = gang_script(str(shared), "s1")
    task = tmp_path / "srun"
    task.write_text('#!/bin/sh\nfor word; do last=$word; done\nexec /bin/sh -c "$last"\n')
    task.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_PROCID": "1", "SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}
    place = shared / "sent" / "s1" / "1"
    place.mkdir()
    done = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, env=env, timeout=30, check=True)
    assert done.stdout == f"{place} {shared}/news 7 n1 \n"
    place.rmdir()
    place.parent.rmdir()
    gone = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, env=env, timeout=30, check=True)
    assert gone.stdout == ""


def test_a_node_whose_job_is_gone_for_a_while_is_lost(tmp_path: Path, monkeypatch) -> None:
    meta: dict[str, Any] = {
        "key": ["j", 1, 1],
        "task": "ab",
        "log": str(tmp_path / "log"),
        "name": "default",
        "options": list(Options(1, 1, 0, 0)),
        "gang": True,
        "rider": True,
    }
    attempt, riders = Attempt(meta), Riders()
    attempt.submission, attempt.element = "s1", 1
    assert attempt.row == ("s1", 0)
    assert riders.lost([attempt], {}) == []
    monkeypatch.setattr(slurmgang, "GONE_S", -1.0)
    [(found, end)] = riders.lost([attempt], {})
    assert found is attempt
    assert (end.key, end.cause) == (attempt.key, HOST)  # type: ignore[attr-defined]


def test_a_nodes_address_is_slurms() -> None:
    [node] = nodes("n1|16|8000|gpu:2|idle|main*|10.0.0.7|none")
    assert (node.name, node.address, node.gpus, node.trouble) == ("n1", "10.0.0.7", 2, "")
