"""What is said to slurmrestd and what it says, by the published shapes of its API."""

import json
from typing import Any

import pytest

from batchery.config import Slurm, SlurmTarget
from batchery.engines import slurmshapes
from batchery.engines.engine import EngineError
from batchery.engines.slurmdriver import Options
from batchery.engines.slurmoptions import CannotSay, minutes, properties
from batchery.engines.slurmrest import RestDriver
from batchery.engines.slurmshapes import VERSIONS, Host, Job, Number, Partition

OPTIONS = Options(cpus=2, memory=100, gpus=1, minutes=7, partition="main", account="lab", constraint="big")
BY_NAME = {version.name: version for version in VERSIONS}
SCRIPT = "#!/bin/sh\nexec true\n"


def said(version: str, options: Options = OPTIONS, size: int = 1) -> dict[str, Any]:
    document = slurmshapes.submission(BY_NAME[version], "bt-1", "a comment", options, size, SCRIPT)
    assert document["script"].startswith("#!/bin/sh\n")
    assert document["script"].endswith("exec true\n")
    job: dict[str, Any] = document["job"]
    return job


def test_a_job_for_old_servers_is_described_as_to_sbatch() -> None:
    assert said("v0.0.38", size=3) == {
        "name": "bt-1",
        "comment": "a comment",
        "tasks": 1,
        "nodes": [1, 1],
        "cpus_per_task": 2,
        "memory_per_node": 100,
        "gres": "gpu:1",
        "time_limit": 7,
        "no_requeue": True,
        "array": "0-2",
        "partition": "main",
        "account": "lab",
        "constraints": "big",
        "environment": {"PATH": "/usr/local/bin:/usr/bin:/bin"},
        "current_working_directory": "/",
        "standard_output": "/dev/null",
        "standard_error": "/dev/null",
    }


def test_a_job_for_new_servers_has_their_types() -> None:
    job = said("v0.0.42")
    assert job["memory_per_node"] == {"set": True, "infinite": False, "number": 100}
    assert job["time_limit"] == {"set": True, "infinite": False, "number": 7}
    assert (job["minimum_nodes"], job["maximum_nodes"], job["requeue"]) == (1, 1, False)
    assert job["environment"] == ["PATH=/usr/local/bin:/usr/bin:/bin"]
    assert job["tres_per_node"] == "gres/gpu:1"
    assert said("v0.0.39")["tres_per_node"] == "gres:gpu:1"
    assert "array" not in job
    assert not {"gres", "nodes", "no_requeue"} & set(job)


def test_no_limit_and_no_gpu_are_not_said() -> None:
    for version in ("v0.0.37", "v0.0.41"):
        job = said(version, Options(1, 1, 0, 0))
        assert not {"gres", "tres_per_node", "time_limit", "partition", "qos"} & set(job)


@pytest.mark.parametrize(
    ("options", "old", "new"),
    [
        (["--exclusive"], {"exclusive": "exclusive"}, {"shared": ["none"]}),
        (["--exclusive=user"], {"exclusive": "user"}, {"shared": ["user"]}),
        (["-s"], {"exclusive": "oversubscribe"}, {"shared": ["oversubscribe"]}),
        (["--nice"], {"nice": "100"}, {"nice": 100}),
        (["--nice=-5", "--qos", "low"], {"nice": "-5", "qos": "low"}, {"nice": -5, "qos": "low"}),
        (["-x", "n[1,3],m2"], {"exclude_nodes": "n[1,3],m2"}, {"excluded_nodes": ["n[1,3]", "m2"]}),
        (["-pone", "--partition=two"], {"partition": "two"}, {"partition": "two"}),
        (["--gres=gpu:2,gres:disk:1"], {"gres": "gpu:2,gres:disk:1"}, {"tres_per_node": "gres/gpu:2,gres/disk:1"}),
        (["--mail-type=end,fail"], {"mail_type": "end,fail"}, {"mail_type": ["END", "FAIL"]}),
        (
            ["--time=1-2:03"],
            {"time_limit": "1-2:03"},
            {"time_limit": {"set": True, "infinite": False, "number": 1563}},
        ),
    ],
)
def test_options_of_sbatch_become_properties(options: list[str], old: dict[str, Any], new: dict[str, Any]) -> None:
    assert properties(options, new=False) == old
    assert properties(options, new=True) == new


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--signal=USR1@10"], "--signal"),
        (["-N", "2"], "'-N'"),
        (["main"], "'main'"),
        (["--qos"], "--qos needs a value"),
        (["--time=soon"], "--time cannot be 'soon'"),
        (["--job-name=mine"], "--job-name"),
    ],
)
def test_what_slurmrestd_cannot_be_given_is_named(options: list[str], words: str) -> None:
    with pytest.raises(CannotSay, match=words):
        properties(options, new=True)
    with pytest.raises(EngineError, match=words):
        RestDriver(Slurm(rest="unix:/s", environments={"x": SlurmTarget(options=options)})).check()


def test_what_a_version_lacks_is_refused_by_name() -> None:
    assert properties(["--prefer=fast"], new=True) == {"prefer": "fast"}
    with pytest.raises(CannotSay, match="--prefer"):
        properties(["--prefer=fast"], new=False)


def test_notations_of_a_time_limit() -> None:
    texts = ("90", "1:30", "2:00:00", "1-0", "1-1:1", "1-0:0:30")
    assert [minutes(text) for text in texts] == [90, 2, 120, 1440, 1501, 1441]
    for text in ("x", "1:2:3:4", "-1", "1:-1"):
        with pytest.raises(CannotSay, match="--time cannot be"):
            properties([f"--time={text}"], new=True)


def test_elements_of_an_array_are_named_together() -> None:
    ids = ["7_3", "7_1", "8", "7_2", "7_9", "9_0"]
    assert list(slurmshapes.together(ids)) == ["8", "7_[1-3,9]", "9_0"]


# ------------------------------------------------------------------------------------------------------- what it says


def document(*versions: str) -> bytes:
    return json.dumps({"paths": {f"/slurm/{name}/job/submit": {} for name in versions}}).replace("/", "\\/").encode()


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (["v0.0.36", "v0.0.37", "v0.0.38"], "v0.0.38"),  # Slurm 22.05
        (["v0.0.38", "v0.0.39", "v0.0.40"], "v0.0.38"),  # 23.11: in the others no element can be cancelled alone
        (["v0.0.39", "v0.0.40", "v0.0.41"], "v0.0.41"),
        (["v0.0.40"], "v0.0.40"),
        (["v0.0.45", "v0.0.99"], "v0.0.45"),
        (["v0.0.36"], None),
        ([], None),
    ],
)
def test_the_version_is_agreed_on(there: list[str], chosen: str | None) -> None:
    assert slurmshapes.spoken(document(*there)) == (BY_NAME[chosen] if chosen else None)


def rows(jobs: list[Job], limit: int = 10) -> dict[tuple[str, int], tuple[str, str]]:
    return {where: (row.id, row.state) for where, row in slurmshapes.listing(jobs, "bt-", limit).items()}


def test_a_listing_of_either_family_is_read_the_same() -> None:
    old = [
        Job("bt-a", 7, 7, None, "1-2", "PENDING"),
        Job("bt-a", 8, 7, 0, "", "RUNNING", "n1"),
        Job("bt-b", 9, 0, None, "", "CONFIGURING"),
        Job("mine", 10, 0, None, "", "RUNNING"),
    ]
    unset, none = Number(set=False), Number(number=0)
    new = [
        Job("bt-a", 7, Number(number=7), unset, "1-2", ["PENDING"]),
        Job("bt-a", 8, Number(number=7), none, "", ["RUNNING"], "n1"),
        Job("bt-b", 9, none, unset, "", ["RUNNING", "CONFIGURING"]),
        Job("mine", 10, none, unset, "", ["RUNNING"]),
    ]
    found = rows(old)
    assert found == rows(new)
    assert found == {
        ("bt-a", 0): ("7_0", "RUNNING"),
        ("bt-a", 1): ("7_1", "PENDING"),
        ("bt-a", 2): ("7_2", "PENDING"),
        ("bt-b", 0): ("9", "CONFIGURING"),
    }


def test_in_a_shortened_array_nothing_is_missing() -> None:
    """slurmrestd shortens without SLURM_BITSTR_LEN=0: what is not shown, and not listed by itself, may wait."""
    jobs = [Job("bt-a", 7, 7, None, "1,3,...", "PENDING"), Job("bt-a", 8, 7, 4, "", "RUNNING")]
    states = {index: state for (_, index), (_, state) in rows(jobs, limit=7).items()}
    assert states == {1: "PENDING", 3: "PENDING", 4: "RUNNING", 5: "PENDING", 6: "PENDING"}


@pytest.mark.parametrize(
    ("states", "trouble"),
    [
        (["IDLE"], ""),
        (["MIXED", "PLANNED"], ""),
        (["IDLE", "POWERED_DOWN"], ""),
        (["IDLE", "DRAIN"], "drained"),
        (["ALLOCATED", "DRAIN"], "draining"),
        (["DOWN", "NOT_RESPONDING"], "down*"),
        (["IDLE", "NOT_RESPONDING"], "idle*"),
        (["MIXED", "FAIL"], "failing"),
        (["IDLE", "INVALID_REG"], "invalid_reg"),
    ],
)
def test_nodes_and_what_ails_them(states: list[str], trouble: str) -> None:
    partitions = [Partition("main", ["default"]), Partition("gpu")]
    why = f"{trouble}: because" if trouble else ""
    new = Host("n1", 8, 100, "gpu:a:2(S:0)", states, [], ["main", "gpu"], "because")
    old = Host("n1", 8, 100, "gpu:2", states[0].lower(), states[1:], ["main", "gpu"], "because")
    for host in (new, old):
        found = slurmshapes.nodes([host], partitions)
        assert [(n.partition, n.default, n.gpus, n.trouble) for n in found] == [
            ("main", True, 2, why),
            ("gpu", False, 2, why),
        ]
