"""What cannot be committed is refused with ServerException, and nothing has changed."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until


def _readable(pipeline: Pipeline, job: str) -> dict[str, Any] | None:
    """The job, or None in the moment in which the store is being read again: ServerException, which SDKs retry."""
    try:
        return pipeline.job(job)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ServerException":
            raise
        return None


def test_a_disk_that_takes_no_more(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    pipeline = Pipeline(server, tmp_path)
    queue = pipeline.queue(state="DISABLED")
    definition = pipeline.definition(["true"])
    job = pipeline.submit(queue, definition)
    pipeline.wait(job, "RUNNABLE")
    assert server.process is not None
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, hard))  # as a full disk: no file may grow
    try:
        for _ in range(2):
            with pytest.raises(ClientError) as caught:
                pipeline.batch.cancel_job(jobId=job, reason="cannot be written")
            assert caught.value.response["Error"]["Code"] == "ServerException"
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        with pytest.raises(ClientError, match="ServerException"):
            pipeline.submit(queue, definition)
        seen = until(lambda: _readable(pipeline, job), "the store is read again")
        assert seen["status"] == "RUNNABLE"
        assert "isCancelled" not in seen
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def cancelled() -> bool:
        try:
            pipeline.batch.cancel_job(jobId=job, reason="written at last")
        except ClientError:
            return False
        return True

    until(cancelled, "the store takes changes again", 20)
    assert pipeline.wait(job, "FAILED")["statusReason"] == "written at last"
    listed = pipeline.batch.list_jobs(jobQueue=queue, jobStatus="FAILED")["jobSummaryList"]
    assert [found["jobId"] for found in listed] == [job]


def test_a_data_directory_in_use_is_one_sentence(own_server: Callable[..., Server], tmp_path: Path) -> None:
    import subprocess
    import sys

    server = own_server()
    command = [sys.executable, "-m", "batchery", "serve", "--data", str(server.folder / "data"), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "another Batchery server is using" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_busy_port_is_one_sentence(own_server: Callable[..., Server], tmp_path: Path) -> None:
    import subprocess
    import sys

    server = own_server()
    command = [sys.executable, "-m", "batchery", "serve", "--data", str(tmp_path / "other"), "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert f"Port {server.port} is in use" in done.stderr
    assert "Traceback" not in done.stderr
