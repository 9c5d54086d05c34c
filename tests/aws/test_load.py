"""Large arrays, bursts, and many cancels at once: exact counts, and nobody waits long for anybody."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wire_pipeline import Pipeline, Server, until

BIG = {"arrayProperties": {"size": 10_000}}


def test_status_summary_of_a_large_array_is_exact_at_every_moment(server: Server, pipeline: Pipeline) -> None:
    gate = pipeline.gate()
    job = pipeline.submit(pipeline.queue(vcpus=2), pipeline.waiting(gate), **BIG)
    until(lambda: pipeline.job(job)["arrayProperties"]["statusSummary"]["RUNNING"] == 2, "two run")
    for kind in ("job", "list"):
        if kind == "job":
            counts = pipeline.job(job)["arrayProperties"]["statusSummary"]
        else:
            reply = pipeline.batch.describe_jobs(jobs=[job, f"{job}:0", f"{job}:9999"])
            counts = reply["jobs"][0]["arrayProperties"]["statusSummary"]
        assert sum(counts.values()) == 10_000
    pipeline.batch.cancel_job(jobId=job, reason="too many")
    counts = pipeline.job(job)["arrayProperties"]["statusSummary"]
    assert sum(counts.values()) == 10_000
    gate.touch()
    pipeline.wait(job, "FAILED")
    counts = pipeline.job(job)["arrayProperties"]["statusSummary"]
    assert counts["SUCCEEDED"] + counts["FAILED"] == 10_000
    assert counts["FAILED"] >= 9_900
    assert pipeline.job(f"{job}:9999")["statusReason"] == "too many"


def test_a_hundred_large_arrays_cancelled_at_once_stall_nobody(
    own_server: Callable[..., Server], tmp_path: Path
) -> None:
    """While 100 arrays of 10,000 children are cancelled, other requests are answered as before.

    No figure in seconds is asserted but one far above any noise: a request that had to wait for all hundred would
    take longer than the whole cancelling.
    """
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    queue = pipeline.queue(state="DISABLED")
    definition = pipeline.definition(["true"])
    arrays = [pipeline.submit(queue, definition, **BIG) for _ in range(100)]
    single = pipeline.submit(queue, definition)
    pipeline.wait(single, "RUNNABLE")
    took: list[float] = []
    done = threading.Event()

    def look() -> None:
        batch = server.client()
        while not done.is_set():
            start = time.perf_counter()
            batch.describe_jobs(jobs=[single])
            took.append(time.perf_counter() - start)

    looking = threading.Thread(target=look)
    looking.start()
    until(lambda: len(took) > 5, "requests are answered")
    before = sorted(took)[len(took) // 2]
    took.clear()
    start = time.perf_counter()
    client = server.client()
    for at in range(0, 100, 50):
        client.cancel_jobs(jobs=arrays[at : at + 50], reason="all of them")
    until(lambda: {pipeline.status(job) for job in arrays} == {"FAILED"}, "all have ended")
    whole = time.perf_counter() - start
    done.set()
    looking.join()
    assert pipeline.status(single) == "RUNNABLE"
    assert max(took) < max(1.0, 20 * before), f"{max(took):.3f} s, {before:.3f} s before, {whole:.3f} s in all"
    for job in (arrays[0], arrays[99]):
        counts = pipeline.job(job)["arrayProperties"]["statusSummary"]
        assert counts["FAILED"] == 10_000


def test_cancel_right_after_a_burst_of_submits(own_server: Callable[..., Server], tmp_path: Path) -> None:
    """A burst is acknowledged before it is evaluated; a cancel in that window works like any other."""
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    gate = pipeline.gate()
    queue = pipeline.queue(vcpus=1)
    definition = pipeline.waiting(gate)
    first = pipeline.submit(queue, definition)
    pipeline.wait(first, "RUNNING")

    def submit_and_cancel(_: int) -> str:
        batch = server.client()
        job = str(batch.submit_job(jobName="j", jobQueue=queue, jobDefinition=definition)["jobId"])
        batch.cancel_job(jobId=job, reason="at once")
        return job

    with ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(submit_and_cancel, range(200)))
    assert len(set(jobs)) == 200
    for at in range(0, 200, 100):
        for seen in pipeline.batch.describe_jobs(jobs=jobs[at : at + 100])["jobs"]:
            assert (seen["status"], seen["statusReason"], seen["isCancelled"]) == ("FAILED", "at once", True)
    gate.touch()
    pipeline.wait(first, "SUCCEEDED")
    assert len(list(tmp_path.glob(f"{gate.name}.*.started"))) == 1
