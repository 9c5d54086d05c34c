"""vcpus and memory, the deprecated members of containerOverrides, decide what a job takes (API_ContainerOverrides)."""

from collections.abc import Callable
from pathlib import Path

from wire_pipeline import Pipeline, Server, until


def test_deprecated_overrides_decide_what_a_job_takes(own_server: Callable[..., Server], tmp_path: Path) -> None:
    pipeline = Pipeline(own_server(process="memory = 100"), tmp_path)
    queue, gate = pipeline.queue(vcpus=4), pipeline.gate()
    container = {
        "image": "busybox",
        "command": ["sh", "-c", f'until [ -e "{gate}" ]; do sleep 0.02; done'],
        "vcpus": 1,
        "memory": 10,
    }
    definition, deeper = (
        pipeline.batch.register_job_definition(
            jobDefinitionName=f"legacy-{tmp_path.name}", type="container", containerProperties={**container, **own}
        )["jobDefinitionArn"]
        for own in ({}, {"memory": 50})
    )
    large = pipeline.submit(queue, definition, containerOverrides={"vcpus": 2, "memory": 60})
    shown = pipeline.wait(large, "RUNNING")["container"]
    assert (shown["vcpus"], shown["memory"]) == (2, 60)
    wide = pipeline.submit(queue, definition, containerOverrides={"vcpus": 3})
    until(lambda: "not enough vCPU free" in pipeline.server.cli("why", wide), "there are two of four vCPUs")
    pipeline.batch.terminate_job(jobId=wide, reason="seen")
    pipeline.wait(wide, "FAILED")
    for deep in (
        pipeline.submit(queue, deeper),
        pipeline.submit(queue, definition, containerOverrides={"memory": 50}),
    ):
        until(lambda deep=deep: "not enough memory free" in pipeline.server.cli("why", deep), "there are 40 of 100 MiB")
        pipeline.batch.terminate_job(jobId=deep, reason="seen")
        pipeline.wait(deep, "FAILED")
    gate.touch()
    pipeline.wait(large, "SUCCEEDED")
