"""What a definition says of its container is what a job finds in it, on Docker and on Podman."""

import os
from pathlib import Path
from typing import Any

from tests.outside.runtimes import Runtimes
from wire_pipeline import Pipeline, until

from batchery.engines.warden import ask

NEEDS = [{"type": "VCPU", "value": "2"}, {"type": "MEMORY", "value": "64"}]


def defined(pipeline: Pipeline, script: str, **container: Any) -> str:
    """A definition of a shell script in a container like that."""
    properties = {"image": "busybox", "command": ["sh", "-c", script], "resourceRequirements": NEEDS, **container}
    reply = pipeline.batch.register_job_definition(
        jobDefinitionName=f"{pipeline.folder.name}", type="container", containerProperties=properties
    )
    return str(reply["jobDefinitionArn"])


def said(pipeline: Pipeline, script: str, **container: Any) -> list[str]:
    """What a script prints in a container like that."""
    job = pipeline.submit("default", defined(pipeline, script, **container))
    pipeline.wait(job, "SUCCEEDED")
    return pipeline.output(job)


def test_the_host_s_directories_and_scratch_space(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("of the host\n")
    lines = said(
        pipeline,
        "cat /in/data; (echo x >/in/new) 2>/dev/null || echo read-only; echo made >/out/file; ls -A /empty; "
        "echo y >/empty/file && stat -f -c %T /empty >/dev/null && echo scratch",
        volumes=[
            {"name": "host", "host": {"sourcePath": str(tmp_path)}},
            {"name": "made", "host": {"sourcePath": str(tmp_path / "not" / "there" / "yet")}},
            {"name": "scratch"},
        ],
        mountPoints=[
            {"sourceVolume": "host", "containerPath": "/in", "readOnly": True},
            {"sourceVolume": "made", "containerPath": "/out", "readOnly": False},
            {"sourceVolume": "scratch", "containerPath": "/empty"},
        ],
    )
    assert lines == ["of the host", "read-only", "scratch"]
    assert (tmp_path / "not" / "there" / "yet" / "file").read_text() == "made\n"


def test_an_anonymous_volume_goes_with_its_job(pipeline: Pipeline, tmp_path: Path) -> None:
    [source] = said(
        pipeline,
        "awk '$5 == \"/empty\" {print $4}' /proc/self/mountinfo",
        volumes=[{"name": "scratch"}],
        mountPoints=[{"sourceVolume": "scratch", "containerPath": "/empty"}],
    )
    assert "/volumes/" in source
    place = Path(source)
    until(lambda: not place.exists() and not place.parent.exists(), f"{place} is removed")


def test_a_root_file_system_that_cannot_be_written(pipeline: Pipeline) -> None:
    script = "touch /x 2>/dev/null && echo written || echo not"
    assert said(pipeline, script, readonlyRootFilesystem=True) == ["not"]
    assert said(pipeline, script) == ["written"]


def test_privileged(pipeline: Pipeline) -> None:
    script = "grep CapEff /proc/self/status | cut -f 2; ls /dev | wc -l"
    few, only = said(pipeline, script, privileged=False)
    job = pipeline.submit("default", defined(pipeline, script, privileged=True))
    seen = pipeline.wait(job, "SUCCEEDED", "FAILED")
    if seen["status"] == "SUCCEEDED":
        capabilities, devices = pipeline.output(job)
        assert int(few, 16) & int(capabilities, 16) == int(few, 16) != int(capabilities, 16)
        assert int(devices) > int(only)
    else:  # Docker asks for all capabilities that there are, and this machine's root does not have all
        bounds = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
        highest = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
        assert int(bounds.split()[1], 16) != (2 << highest) - 1
        assert "unable to apply caps" in seen["container"]["reason"]


def test_tags_become_labels_of_the_container_if_they_are_propagated(
    pipeline: Pipeline, engine: str, runtimes: Runtimes
) -> None:
    gate = pipeline.gate()
    definition = pipeline.waiting(gate, propagateTags=True, tags={"team": "blue", "of": "the definition"})
    jobs = [
        pipeline.submit("default", definition, tags={"team": "red"}),
        pipeline.submit("default", definition, propagateTags=False),
    ]
    for job in jobs:
        pipeline.wait(job, "RUNNING")
    socket = str(runtimes.socket(engine.split("'")[1]))
    labels = [
        next(one["Labels"] for one in ask(socket, "GET", "/containers/json") if job in str(one["Labels"]))
        for job in jobs
    ]
    gate.touch()
    assert [(each.get("team"), each.get("of")) for each in labels] == [("red", "the definition"), (None, None)]
    for job in jobs:
        pipeline.wait(job, "SUCCEEDED")


def test_user(pipeline: Pipeline) -> None:
    script = "id -un; id -u; id -g"
    assert said(pipeline, script, user="nobody") == ["nobody", "65534", "65534"]
    assert said(pipeline, "id -u; id -g", user="1234:56") == ["1234", "56"]


def test_ulimits(pipeline: Pipeline) -> None:
    limits = [
        {"name": "nofile", "softLimit": 64, "hardLimit": 128},
        {"name": "core", "softLimit": 0, "hardLimit": 0},
    ]
    assert said(pipeline, "ulimit -n; ulimit -Hn; ulimit -c", ulimits=limits) == ["64", "128", "0"]


def test_devices(pipeline: Pipeline) -> None:
    script = "test -c /dev/{0} && echo there; (: >>/dev/{0}) 2>/dev/null && echo written || echo not written"
    renamed = {"hostPath": "/dev/kmsg", "containerPath": "/dev/said", "permissions": ["READ"]}
    lines = said(pipeline, script.format("said"), linuxParameters={"devices": [renamed]})
    assert lines == ["there", "not written"]
    lines = said(pipeline, script.format("kmsg"), linuxParameters={"devices": [{"hostPath": "/dev/kmsg"}]})
    assert lines == ["there", "written"]


def test_shared_memory_and_tmpfs(pipeline: Pipeline) -> None:
    tmpfs = [{"containerPath": "/scratch", "size": 5, "mountOptions": ["noexec", "mode=0700"]}]
    script = (
        "df -m /dev/shm /scratch | awk 'NR > 1 {print $2}'; stat -c %a /scratch; "
        "cp /bin/busybox /scratch/sh; /scratch/sh true 2>/dev/null || echo not to be run"
    )
    lines = said(pipeline, script, linuxParameters={"sharedMemorySize": 7, "tmpfs": tmpfs})
    assert lines == ["7", "5", "700", "not to be run"]


def test_an_init_process_reaps(pipeline: Pipeline) -> None:
    script = "cat /proc/1/comm"
    [comm] = said(pipeline, script, linuxParameters={"initProcessEnabled": True})
    assert comm not in ("sh", "cat")
    assert said(pipeline, script, linuxParameters={"initProcessEnabled": False})[0] in ("sh", "cat")


def test_shares_memory_and_swap(pipeline: Pipeline) -> None:
    """As the kernel has them: of version 1 of cgroups, or of version 2, which knows no swappiness."""
    first = "cd /sys/fs/cgroup/memory && cat ../cpu/cpu.shares memory.limit_in_bytes memory.memsw.limit_in_bytes "
    first += "memory.swappiness"
    second = "cd /sys/fs/cgroup && cat cpu.weight memory.max memory.swap.max"
    script = f"if [ -e /sys/fs/cgroup/memory.max ]; then {second}; else {first}; fi"
    lines = said(pipeline, script, linuxParameters={"maxSwap": 32, "swappiness": 10})
    mib = 1024 * 1024
    if len(lines) == 4:
        assert lines == ["2048", str(64 * mib), str(96 * mib), "10"]
    else:
        assert lines[1:] == [str(64 * mib), str(32 * mib)]
    none = said(pipeline, script, linuxParameters={"maxSwap": 0})
    assert none[2] == (str(64 * mib) if len(none) == 4 else "0")


def test_too_much_memory_ends_a_job_and_retries_see_why(pipeline: Pipeline) -> None:
    script = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"
    definition = defined(pipeline, script, linuxParameters={"maxSwap": 0})
    rules = [{"onReason": "OutOfMemory*", "action": "RETRY"}, {"onExitCode": "*", "action": "EXIT"}]
    job = pipeline.submit("default", definition, retryStrategy={"attempts": 2, "evaluateOnExit": rules})
    seen = pipeline.wait(job, "FAILED")
    assert len(seen["attempts"]) == 2
    assert seen["statusReason"] == "Essential container in task exited"
    assert seen["container"]["exitCode"] == 137
    assert seen["container"]["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def test_another_platform_is_refused_by_the_runtime(pipeline: Pipeline) -> None:
    platform = {"operatingSystemFamily": "LINUX", "cpuArchitecture": "ARM64"}
    own = {"operatingSystemFamily": "LINUX", "cpuArchitecture": "X86_64"}
    if os.uname().machine != "x86_64":
        platform, own = own, platform
    assert said(pipeline, "echo own", runtimePlatform=own) == ["own"]
    job = pipeline.submit("default", defined(pipeline, "true", runtimePlatform=platform))
    seen = pipeline.wait(job, "FAILED")
    assert seen["statusReason"] == "Task failed to start"
    assert seen["container"]["reason"].startswith("CannotPullContainerError: ")
