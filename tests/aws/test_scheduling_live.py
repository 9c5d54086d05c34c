"""Who runs next, and where, over the wire, on real processes; and what `batchery why` says of those that wait.

Sources: API_CreateJobQueue (priority, order of environments); AWS Batch user guide, "Job queues".
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wire_pipeline import Pipeline, Server, until

from batchery.client import Client

TOO_MANY = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - "
    "CE(s) associated with the job queue cannot meet the CPU requirement of the job."
)
TOO_LARGE = (
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU/memory/GPU) is higher than "
    "that can be met by the CE(s) attached to the job queue."
)


def asking(**resources: int) -> dict[str, Any]:
    """containerOverrides for so much VCPU, MEMORY, GPU."""
    requirements = [{"type": kind, "value": str(value)} for kind, value in resources.items()]
    return {"containerOverrides": {"resourceRequirements": requirements}}


def why(pipeline: Pipeline, job: str) -> dict[str, Any]:
    """What `batchery why JOB --json` prints."""
    with Client(pipeline.server.url) as client:
        return dict(client.own("why", job=job))


def a_look_later(pipeline: Pipeline) -> None:
    """Somebody else's job runs from its submission to its end: the scheduler has looked at everything meanwhile."""
    pipeline.wait(pipeline.submit("default", pipeline.definition(["true"])), "SUCCEEDED")


def tracing(pipeline: Pipeline) -> tuple[str, Path]:
    """A definition whose jobs write the name of their queue."""
    trace = pipeline.folder / "trace"
    return pipeline.definition(["sh", "-c", f'echo "$AWS_BATCH_JQ_NAME" >>{trace}']), trace


def test_the_queue_of_higher_priority_goes_first(pipeline: Pipeline) -> None:
    """On one environment, that takes nothing until all have been submitted."""
    environment = pipeline.new_environment(vcpus=1, state="DISABLED")
    low, high, middle = (pipeline.queue_on(environment, priority=priority) for priority in (1, 100, 10))
    definition, trace = tracing(pipeline)
    jobs = [pipeline.submit(queue, definition) for queue in (low, middle, high) for _ in range(2)]
    for job in jobs:
        pipeline.wait(job, "RUNNABLE")
    pipeline.set_environment(environment, state="ENABLED")
    for job in jobs:
        pipeline.wait(job, "SUCCEEDED")
    assert trace.read_text().split() == [high, high, middle, middle, low, low]


def test_a_queue_s_priority_can_be_changed(pipeline: Pipeline) -> None:
    environment = pipeline.new_environment(vcpus=1, state="DISABLED")
    first, second = (pipeline.queue_on(environment, priority=priority) for priority in (5, 1))
    definition, trace = tracing(pipeline)
    jobs = [pipeline.submit(queue, definition) for queue in (first, second)]
    pipeline.batch.update_job_queue(jobQueue=second, priority=9)
    pipeline.set_environment(environment, state="ENABLED")
    for job in jobs:
        pipeline.wait(job, "SUCCEEDED")
    assert trace.read_text().split() == [second, first]


def test_environments_are_taken_in_the_queue_s_order(pipeline: Pipeline) -> None:
    """Spill-over: the first until it is full, then the second; the third job waits for either."""
    first, second = pipeline.new_environment(vcpus=1), pipeline.new_environment(vcpus=1)
    queue = pipeline.queue_on(second, first)
    gate = pipeline.gate()
    definition = pipeline.waiting(gate, 'echo "$AWS_BATCH_CE_NAME"')
    jobs = [pipeline.submit(queue, definition) for _ in range(3)]
    for job, environment in zip(jobs, (second, first), strict=False):
        seen = pipeline.wait(job, "RUNNING")
        assert f":task/AWSBatch-{environment}-" in seen["container"]["taskArn"]
    # the engine may hold the third one for a moment, ready to begin, since jobs of its kind were quick so far
    answer = until(lambda: (found := why(pipeline, jobs[2]))["place"] and found, "it is back in its place")
    assert pipeline.status(jobs[2]) == "RUNNABLE"
    assert (answer["place"], list(answer["lacks"])) == (1, [second, first])
    assert all(text.startswith("not enough vCPU free: 0 of 1 vCPU") for text in answer["lacks"].values())
    gate.touch()
    for job in jobs:
        pipeline.wait(job, "SUCCEEDED")
    assert [pipeline.output(job) for job in jobs[:2]] == [[second], [first]]


def test_an_environment_that_takes_nothing_is_passed_over(pipeline: Pipeline) -> None:
    first, second = pipeline.new_environment(vcpus=1, state="DISABLED"), pipeline.new_environment(vcpus=1)
    job = pipeline.submit(
        pipeline.queue_on(first, second), pipeline.definition(["sh", "-c", "echo $AWS_BATCH_CE_NAME"])
    )
    pipeline.wait(job, "SUCCEEDED")
    assert pipeline.output(job) == [second]


def test_what_the_engine_holds_for_one_environment_goes_to_another_that_has_room(pipeline: Pipeline) -> None:
    """Quick jobs are held beyond capacity; if what runs is slow after all, they are not stuck behind it."""
    busy, free = pipeline.new_environment(vcpus=1), pipeline.new_environment(vcpus=1)
    kind = asking(MEMORY=17)
    queue, other = pipeline.queue_on(busy, free), pipeline.queue_on(free)
    pipeline.wait(pipeline.submit(queue, pipeline.definition(["true"]), **kind), "SUCCEEDED")  # its kind is quick
    gate, free_gate = pipeline.gate(), pipeline.gate()
    slow = pipeline.submit(queue, pipeline.waiting(gate), **kind)
    in_the_way = pipeline.submit(other, pipeline.waiting(free_gate), **kind)
    pipeline.wait(slow, "RUNNING")
    pipeline.wait(in_the_way, "RUNNING")
    job = pipeline.submit(queue, pipeline.definition(["sh", "-c", "echo $AWS_BATCH_CE_NAME"]), **kind)
    until(lambda: why(pipeline, job)["place"] == 0, "the engine holds it")
    free_gate.touch()
    done = pipeline.wait(job, "SUCCEEDED")
    assert pipeline.output(job) == [free]
    assert len(done["attempts"]) == 1
    assert pipeline.status(slow) == "RUNNING"
    gate.touch()
    pipeline.wait(slow, "SUCCEEDED")


def test_nothing_begins_in_an_environment_that_was_disabled(pipeline: Pipeline) -> None:
    """What runs goes on; also what the engine holds ready for it is taken back."""
    queue, kind = pipeline.queue(vcpus=1), asking(MEMORY=18)
    pipeline.wait(pipeline.submit(queue, pipeline.definition(["true"]), **kind), "SUCCEEDED")  # its kind is quick
    gate = pipeline.gate()
    running = pipeline.submit(queue, pipeline.waiting(gate), **kind)
    pipeline.wait(running, "RUNNING")
    waiting = pipeline.submit(queue, pipeline.definition(["true"]), **kind)
    until(lambda: why(pipeline, waiting)["place"] == 0, "the engine holds it")
    pipeline.set_environment(queue, state="DISABLED")
    until(lambda: why(pipeline, waiting)["lacks"] == {queue: "takes no new jobs: DISABLED"}, "it is back in its place")
    gate.touch()
    pipeline.wait(running, "SUCCEEDED")
    a_look_later(pipeline)
    assert pipeline.status(waiting) == "RUNNABLE"
    pipeline.set_environment(queue, state="ENABLED")
    assert len(pipeline.wait(waiting, "SUCCEEDED")["attempts"]) == 1


def test_the_head_waits_and_nothing_younger_passes_it(pipeline: Pipeline) -> None:
    queue = pipeline.queue(vcpus=2)
    gate, large_gate = pipeline.gate(), pipeline.gate()
    running = pipeline.submit(queue, pipeline.waiting(gate))
    pipeline.wait(running, "RUNNING")
    large = pipeline.submit(queue, pipeline.waiting(large_gate), **asking(VCPU=2))
    small = pipeline.submit(queue, pipeline.definition(["true"]))  # it would fit
    a_look_later(pipeline)
    assert (pipeline.status(large), pipeline.status(small)) == ("RUNNABLE", "RUNNABLE")
    head, behind = why(pipeline, large), why(pipeline, small)
    assert (head["place"], behind["place"]) == (1, 2)
    assert head["lacks"][queue].startswith("not enough vCPU free: 1 of 2 vCPU")
    assert any("at the head" in line for line in head["lines"])
    gate.touch()
    pipeline.wait(large, "RUNNING")
    assert pipeline.status(small) == "RUNNABLE"
    large_gate.touch()
    done = pipeline.wait(small, "SUCCEEDED")
    assert done["startedAt"] >= pipeline.job(large)["stoppedAt"]


def test_what_can_never_fit_stands_aside_and_says_so(pipeline: Pipeline) -> None:
    queue = pipeline.queue(vcpus=2)
    definition = pipeline.definition(["true"])
    large = pipeline.submit(queue, definition, **asking(VCPU=3))
    pipeline.wait(pipeline.submit(queue, definition), "SUCCEEDED")
    seen = pipeline.job(large)
    assert (seen["status"], seen["statusReason"]) == ("RUNNABLE", TOO_MANY)
    listed = pipeline.batch.list_jobs(jobQueue=queue, jobStatus="RUNNABLE")["jobSummaryList"]
    assert [(job["jobId"], job["statusReason"]) for job in listed] == [(large, TOO_MANY)]
    answer = json.loads(pipeline.server.cli("why", large, "--json"))
    assert answer == why(pipeline, large)
    assert TOO_MANY in answer["lines"]
    assert TOO_MANY in pipeline.server.cli("why", large)
    assert "Jobs behind it pass it." in answer["lines"]
    assert answer["lacks"][queue].startswith("too small: 3 vCPU, 16 MiB asked, 2 vCPU at most")
    pipeline.set_environment(queue, computeResources={"maxvCpus": 3})
    done = pipeline.wait(large, "SUCCEEDED")
    assert done["statusReason"] == "Essential container in task exited"


def test_children_that_can_never_fit_say_so_too(pipeline: Pipeline) -> None:
    queue = pipeline.queue(vcpus=1)
    array = pipeline.submit(queue, pipeline.definition(["true"]), arrayProperties={"size": 2}, **asking(VCPU=2))
    pipeline.wait(pipeline.submit(queue, pipeline.definition(["true"])), "SUCCEEDED")
    assert pipeline.counts(array) == {"RUNNABLE": 2}
    assert pipeline.job(f"{array}:1")["statusReason"] == TOO_MANY
    pipeline.batch.terminate_job(jobId=array, reason="never mind")
    assert pipeline.wait(array, "FAILED")["statusReason"] == "never mind"


def test_a_strict_head_blocks(own_server: Callable[..., Server], tmp_path: Path) -> None:
    """As AWS does, by a setting: also what can never fit holds back those behind it, in its queue alone."""
    pipeline = Pipeline(own_server("kill_grace = 2\nstrict_head = true"), tmp_path)
    queue = pipeline.queue(vcpus=2)
    definition = pipeline.definition(["true"])
    large = pipeline.submit(queue, definition, **asking(VCPU=3))
    small = pipeline.submit(queue, definition)
    a_look_later(pipeline)
    assert pipeline.job(large)["statusReason"] == TOO_MANY
    assert pipeline.status(small) == "RUNNABLE"
    assert "It blocks those behind it." in why(pipeline, large)["lines"]
    pipeline.batch.cancel_job(jobId=large, reason="make way")
    pipeline.wait(small, "SUCCEEDED")


def test_no_more_runs_than_an_environment_has_vcpus(pipeline: Pipeline) -> None:
    """Counted by the processes themselves. In each three children the first two wait until the third is there."""
    queue = pipeline.queue(vcpus=3)
    folder = pipeline.folder
    (folder / "now").mkdir()
    (folder / "all").mkdir()
    script = f"""cd {folder}; i=$AWS_BATCH_JOB_ARRAY_INDEX; : >now/$i; : >all/$i; ls now | wc -l >>counts
                 while [ "$(ls all | wc -l)" -lt $((i / 3 * 3 + 3)) ]; do sleep 0.01; done; ls now | wc -l >>counts
                 rm now/$i"""
    array = pipeline.submit(queue, pipeline.definition(["sh", "-c", script]), arrayProperties={"size": 30})
    pipeline.wait(array, "SUCCEEDED")
    counts = [int(line) for line in (folder / "counts").read_text().split()]
    assert len(counts) == 60
    assert max(counts) == 3


def test_jobs_of_several_sizes_share_an_environment(pipeline: Pipeline) -> None:
    queue = pipeline.queue(vcpus=3)
    gate = pipeline.gate()
    definition = pipeline.waiting(gate)
    two, one, waits = (pipeline.submit(queue, definition, **asking(VCPU=count)) for count in (2, 1, 1))
    pipeline.wait(two, "RUNNING")
    pipeline.wait(one, "RUNNING")
    a_look_later(pipeline)
    assert pipeline.status(waits) == "RUNNABLE"
    gate.touch()
    for job in (two, one, waits):
        pipeline.wait(job, "SUCCEEDED")


def test_a_job_too_large_for_the_host_runs_alone_cut_to_it(own_server: Callable[..., Server], tmp_path: Path) -> None:
    """The default, `oversize = "clamp"`. The host has so many GPUs as the setting says."""
    pipeline = Pipeline(own_server("kill_grace = 2", "memory = 64\ngpus = 2"), tmp_path)
    queue, other = pipeline.queue(vcpus=8), pipeline.queue(vcpus=8)
    gate = pipeline.gate()
    definition = pipeline.waiting(gate, 'echo "gpus $CUDA_VISIBLE_DEVICES"')
    large = pipeline.submit(queue, definition, **asking(MEMORY=1 << 20))
    pipeline.wait(large, "RUNNING")
    small = pipeline.submit(other, pipeline.definition(["true"]))
    a_short = pipeline.submit(queue, pipeline.definition(["true"]))
    until(lambda: pipeline.status(small) == pipeline.status(a_short) == "RUNNABLE", "they wait for memory")
    assert why(pipeline, small)["lacks"][other] == "not enough memory free: 8 of 8 vCPU, 0 MiB, 2 GPU free"
    words = "It asks for more than this host has (1 vCPU, 1048576 MiB): it runs alone, cut to 1 vCPU, 64 MiB."
    assert words in why(pipeline, large)["lines"]
    requirements = pipeline.job(large)["container"]["resourceRequirements"]
    assert {"type": "MEMORY", "value": str(1 << 20)} in requirements  # shown as asked
    gate.touch()
    for job in (large, small, a_short):
        pipeline.wait(job, "SUCCEEDED")
    assert pipeline.output(large) == ["gpus "]
    gpus = [pipeline.submit(queue, definition, **asking(GPU=1)) for _ in range(2)]
    gpus.append(pipeline.submit(queue, definition, **asking(GPU=5)))
    for job in gpus:
        pipeline.wait(job, "SUCCEEDED")
    assert pipeline.output(gpus[2]) == ["gpus 0,1"]
    assert {line for job in gpus[:2] for line in pipeline.output(job)} <= {"gpus 0", "gpus 1"}


def test_gpus_are_handed_out_once(own_server: Callable[..., Server], tmp_path: Path) -> None:
    """And with `oversize = "wait"`, what is too large for the host waits with AWS's words and is passed."""
    pipeline = Pipeline(own_server("kill_grace = 2", 'memory = 64\ngpus = 2\noversize = "wait"'), tmp_path)
    queue = pipeline.queue(vcpus=8)
    gate = pipeline.gate()
    definition = pipeline.waiting(gate, 'echo "$CUDA_VISIBLE_DEVICES"')
    large = pipeline.submit(queue, definition, **asking(MEMORY=1 << 20))
    many = pipeline.submit(queue, definition, **asking(GPU=3))
    one, two, three = (pipeline.submit(queue, definition, **asking(GPU=1)) for _ in range(3))
    pipeline.wait(one, "RUNNING")
    pipeline.wait(two, "RUNNING")
    for job in (large, many):
        assert (pipeline.status(job), pipeline.job(job)["statusReason"]) == ("RUNNABLE", TOO_LARGE)
    assert why(pipeline, three)["lacks"][queue] == "not enough GPU free: 6 of 8 vCPU, 32 MiB, 0 GPU free"
    gate.touch()
    for job in (one, two, three):
        pipeline.wait(job, "SUCCEEDED")
    assert {pipeline.output(one)[0], pipeline.output(two)[0]} == {"0", "1"}
