"""Array jobs over the wire, on real processes: children, their order, their pairs, and what the parent tells.

Source: AWS Batch user guide, "Array jobs"; API_ArrayPropertiesDetail.
"""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until

SEQUENTIAL: dict[str, Any] = {"dependsOn": [{"type": "SEQUENTIAL"}]}
STATUSES = {"SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"}


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for the tests of this file; each leaves it empty."""
    return Pipeline(server, tmp_path_factory.mktemp("queue")).queue(vcpus=8)


def array(size: int) -> dict[str, Any]:
    return {"arrayProperties": {"size": size}}


def n_to_n(job: str) -> dict[str, Any]:
    return {"dependsOn": [{"jobId": job, "type": "N_TO_N"}]}


def gated_by_index(pipeline: Pipeline, then: str = "exit 0") -> tuple[str, list[Path]]:
    """A definition whose child i waits for the i-th gate, then does ``then``, where $i is its index."""
    script = f'i=$AWS_BATCH_JOB_ARRAY_INDEX; while [ ! -e "{pipeline.folder}/index-$i" ]; do sleep 0.02; done; {then}'
    return pipeline.definition(["sh", "-c", script]), [pipeline.folder / f"index-{index}" for index in range(4)]


def test_children_know_their_index_and_the_size(pipeline: Pipeline, queue: str) -> None:
    script = 'echo "$AWS_BATCH_JOB_ID $AWS_BATCH_JOB_ARRAY_INDEX $AWS_BATCH_JOB_ARRAY_SIZE"'
    job = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]), **array(3))
    pipeline.wait(job, "SUCCEEDED")
    for index in range(3):
        assert pipeline.output(f"{job}:{index}") == [f"{job}:{index} {index} 3"]


def test_what_a_parent_and_a_child_show(pipeline: Pipeline, queue: str) -> None:
    job = pipeline.submit(queue, pipeline.definition(["true"]), tags={"of": "the parent"}, **array(2))
    parent = pipeline.wait(job, "SUCCEEDED")
    shown = parent["arrayProperties"]
    assert set(shown) == {"size", "statusSummary", "statusSummaryLastUpdatedAt"}
    assert shown["size"] == 2
    assert shown["statusSummary"] == {**dict.fromkeys(STATUSES, 0), "SUCCEEDED": 2}
    assert parent["createdAt"] <= shown["statusSummaryLastUpdatedAt"] <= parent["stoppedAt"]
    assert parent["attempts"] == []
    assert parent["tags"] == {"of": "the parent"}
    assert not {"exitCode", "logStreamName", "taskArn", "reason"} & set(parent["container"])
    assert "startedAt" not in parent  # it never runs itself
    child = pipeline.job(f"{job}:1")
    assert child["jobId"] == f"{job}:1"
    assert child["jobArn"] == parent["jobArn"] + ":1"
    assert child["arrayProperties"] == {"index": 1, "statusSummary": {}}
    assert (child["jobName"], child["jobDefinition"]) == (parent["jobName"], parent["jobDefinition"])
    assert child["tags"] == {}
    assert child["container"]["exitCode"] == 0
    assert len(child["attempts"]) == 1
    assert child["createdAt"] <= child["startedAt"] <= child["stoppedAt"] <= parent["stoppedAt"]


def test_the_summary_is_exact_at_every_step_and_a_failed_child_stops_no_other(pipeline: Pipeline) -> None:
    definition, gates = gated_by_index(pipeline, 'test "$i" != 1')
    job = pipeline.submit(pipeline.queue(vcpus=2), definition, **array(4))
    until(lambda: pipeline.counts(job) == {"RUNNING": 2, "RUNNABLE": 2}, "two run")
    assert pipeline.status(job) == "PENDING"
    gates[1].touch()
    until(lambda: pipeline.counts(job) == {"FAILED": 1, "RUNNING": 2, "RUNNABLE": 1}, "one failed, the next runs")
    assert pipeline.status(job) == "PENDING"
    for gate in gates:
        gate.touch()
    seen = pipeline.wait(job, "FAILED")
    assert seen["statusReason"] == "Array Child Job failed"
    assert pipeline.counts(job) == {"FAILED": 1, "SUCCEEDED": 3}
    child = pipeline.job(f"{job}:1")
    assert (child["statusReason"], child["container"]["exitCode"]) == ("Essential container in task exited", 1)


def test_children_of_an_array_run_at_the_same_time(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    job = pipeline.submit(queue, pipeline.waiting(gate), **array(5))
    until(lambda: pipeline.counts(job) == {"RUNNING": 5}, "all five run")
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")


def test_sequential_children_run_one_after_the_other(pipeline: Pipeline, queue: str) -> None:
    trace = pipeline.folder / "trace"
    script = f'echo "begin $AWS_BATCH_JOB_ARRAY_INDEX" >>{trace}; echo "end $AWS_BATCH_JOB_ARRAY_INDEX" >>{trace}'
    job = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]), **array(4), **SEQUENTIAL)
    pipeline.wait(job, "SUCCEEDED")
    assert trace.read_text().splitlines() == [f"{what} {index}" for index in range(4) for what in ("begin", "end")]


def test_sequential_children_behind_a_failed_one_never_run(pipeline: Pipeline, queue: str) -> None:
    trace = pipeline.folder / "trace"
    script = f'echo "$AWS_BATCH_JOB_ARRAY_INDEX" >>{trace}; test "$AWS_BATCH_JOB_ARRAY_INDEX" != 1'
    job = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]), **array(4), **SEQUENTIAL)
    assert pipeline.wait(job, "FAILED")["statusReason"] == "Array Child Job failed"
    assert trace.read_text().split() == ["0", "1"]
    assert pipeline.counts(job) == {"SUCCEEDED": 1, "FAILED": 3}
    for index in (2, 3):
        child = pipeline.job(f"{job}:{index}")
        assert (child["statusReason"], child["attempts"]) == ("Dependent Job failed", [])


def test_a_sequential_child_waits_while_the_one_before_runs(pipeline: Pipeline, queue: str) -> None:
    definition, gates = gated_by_index(pipeline)
    job = pipeline.submit(queue, definition, **array(3), **SEQUENTIAL)
    until(lambda: pipeline.counts(job) == {"RUNNING": 1, "PENDING": 2}, "the first runs")
    gates[0].touch()
    until(lambda: pipeline.counts(job) == {"SUCCEEDED": 1, "RUNNING": 1, "PENDING": 1}, "the second runs")
    gates[1].touch()
    gates[2].touch()
    pipeline.wait(job, "SUCCEEDED")


def test_n_to_n_pairs_go_on_by_themselves(pipeline: Pipeline, queue: str) -> None:
    definition, gates = gated_by_index(pipeline)
    first = pipeline.submit(queue, definition, **array(3))
    second = pipeline.submit(queue, pipeline.definition(["true"]), **array(3), **n_to_n(first))
    until(lambda: pipeline.counts(first) == {"RUNNING": 3}, "the first array runs")
    assert pipeline.counts(second) == {"PENDING": 3}
    gates[1].touch()
    pipeline.wait(f"{second}:1", "SUCCEEDED")
    assert pipeline.counts(first) == {"SUCCEEDED": 1, "RUNNING": 2}
    assert pipeline.counts(second) == {"SUCCEEDED": 1, "PENDING": 2}
    for gate in gates:
        gate.touch()
    pipeline.wait(second, "SUCCEEDED")
    assert pipeline.job(second)["dependsOn"] == [{"jobId": first, "type": "N_TO_N"}]
    assert pipeline.job(first)["stoppedAt"] <= pipeline.job(second)["stoppedAt"]


def test_one_failing_pair_fails_only_its_partner(pipeline: Pipeline, queue: str) -> None:
    script = 'test "$AWS_BATCH_JOB_ARRAY_INDEX" != 1'
    first = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]), **array(3))
    second = pipeline.submit(queue, pipeline.definition(["true"]), **array(3), **n_to_n(first))
    assert pipeline.wait(second, "FAILED")["statusReason"] == "Array Child Job failed"
    assert pipeline.wait(first, "FAILED")["statusReason"] == "Array Child Job failed"
    assert pipeline.counts(second) == {"SUCCEEDED": 2, "FAILED": 1}
    partner = pipeline.job(f"{second}:1")
    assert (partner["status"], partner["statusReason"]) == ("FAILED", "Dependent Job failed")
    assert partner["attempts"] == []


def test_pairs_need_arrays_of_one_size(pipeline: Pipeline, queue: str) -> None:
    definition = pipeline.definition(["true"])
    first = pipeline.submit(queue, definition, **array(3))
    plain = pipeline.submit(queue, definition)
    for members in ({**array(2), **n_to_n(first)}, {**array(3), **n_to_n(plain)}, n_to_n(first)):
        with pytest.raises(ClientError, match="N_TO_N"):
            pipeline.submit(queue, definition, **members)
    pipeline.wait(first, "SUCCEEDED")
    pipeline.wait(plain, "SUCCEEDED")


def test_an_array_waits_as_a_whole_for_a_plain_job(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    first = pipeline.submit(queue, pipeline.waiting(gate, "exit 4"))
    job = pipeline.submit(queue, pipeline.definition(["true"]), dependsOn=[{"jobId": first}], **array(3))
    pipeline.wait(first, "RUNNING")
    assert pipeline.counts(job) == {"PENDING": 3}
    gate.touch()
    # the parent was not asked for anything of its own: it fails as its children do
    seen = pipeline.wait(job, "FAILED")
    assert seen["statusReason"] in ("Dependent Job failed", "Array Child Job failed")
    assert pipeline.counts(job) == {"FAILED": 3}
    assert pipeline.job(f"{job}:2")["statusReason"] == "Dependent Job failed"


def test_each_child_has_attempts_of_its_own(pipeline: Pipeline, queue: str) -> None:
    script = 'echo "$AWS_BATCH_JOB_ATTEMPT"; test "$AWS_BATCH_JOB_ARRAY_INDEX" = 0 || test "$AWS_BATCH_JOB_ATTEMPT" = 3'
    definition = pipeline.definition(["sh", "-c", script], retryStrategy={"attempts": 3})
    job = pipeline.submit(queue, definition, **array(2))
    pipeline.wait(job, "SUCCEEDED")
    assert [len(pipeline.job(f"{job}:{index}")["attempts"]) for index in (0, 1)] == [1, 3]
    assert pipeline.output(f"{job}:0") == ["1"]
    assert pipeline.output(f"{job}:1") == ["3"]


def test_children_share_the_overrides(pipeline: Pipeline, queue: str) -> None:
    overrides = {"environment": [{"name": "SHARED", "value": "by all"}]}
    definition = pipeline.definition(["sh", "-c", 'echo "$SHARED"'])
    job = pipeline.submit(queue, definition, containerOverrides=overrides, **array(2))
    pipeline.wait(job, "SUCCEEDED")
    assert [pipeline.output(f"{job}:{index}") for index in (0, 1)] == [["by all"], ["by all"]]
