"""What several containers of a job have together, and what pods ask of a runtime, on Docker and on Podman.

Sources: API_EcsTaskProperties, API_EksVolume, API_EksEmptyDir, API_EksContainerSecurityContext,
API_EksPodSecurityContext, API_EksContainerLinuxCapabilities.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from wire_pipeline import Pipeline, Server, until
from wire_pods import (
    by_name,
    container,
    ended,
    in_pod,
    lines,
    on_eks,
    output,
    pod_of,
    register,
    register_pod,
    task_of,
    waits,
)

SIZE, OF_IT = "df -m", "| tail -1 | tr -s ' ' | cut -d ' ' -f 2"


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return Pipeline(server, tmp_path_factory.mktemp("queue")).queue(vcpus=16)


@pytest.fixture(scope="module")
def eks(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return on_eks(Pipeline(server, tmp_path_factory.mktemp("eks")), f"eks-{os.getpid()}")


def said(pipeline: Pipeline, eks: str, script: str, pod: dict[str, Any] | None = None, **members: Any) -> list[str]:
    """What a script prints in the only container of a pod."""
    seen = ended(pipeline, pipeline.submit(eks, register_pod(pipeline, in_pod(script, **members), pod=pod)))
    assert seen["status"] == "SUCCEEDED", pod_of(seen)["containers"]
    return output(pipeline, seen, "Default")


def test_scratch_space_is_shared_and_goes_with_the_job(pipeline: Pipeline, queue: str) -> None:
    mounts = [{"sourceVolume": "scratch", "containerPath": "/shared"}]
    where = "awk '$5 == \"/shared\" {print $4}' /proc/self/mountinfo"
    definition = register(
        pipeline,
        container("write", "echo hello >/shared/file", essential=False, mountPoints=mounts),
        container(
            "read",
            f"cat /shared/file; {where}",
            mountPoints=[{**mounts[0], "readOnly": True}],
            dependsOn=[{"containerName": "write", "condition": "SUCCESS"}],
        ),
        task={"volumes": [{"name": "scratch"}]},
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert seen["status"] == "SUCCEEDED", seen
    hello, source = lines(pipeline, by_name(task_of(seen)["containers"])["read"]["logStreamName"])
    assert hello == "hello"
    until(lambda: not Path(source).exists(), f"{source} is removed")


def test_namespaces_that_the_containers_of_a_task_share(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    look = "readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid"
    definition = register(
        pipeline,
        container("other", look, essential=False),
        container("main", f"{look}; {waits(gate)}"),
        task={"ipcMode": "task", "pidMode": "task"},
    )
    job = pipeline.submit(queue, definition)
    pipeline.wait(job, "RUNNING")
    shown = by_name(task_of(pipeline.job(job))["containers"])
    until(lambda: len(lines(pipeline, shown["other"]["logStreamName"])) == 2, "both have told")
    gate.touch()
    seen = ended(pipeline, job)
    assert seen["status"] == "SUCCEEDED", seen
    shown = by_name(task_of(seen)["containers"])
    mine = lines(pipeline, shown["main"]["logStreamName"])
    assert mine == lines(pipeline, shown["other"]["logStreamName"])
    assert mine != [os.readlink("/proc/self/ns/ipc"), os.readlink("/proc/self/ns/pid")]


def test_namespaces_of_the_host(pipeline: Pipeline, queue: str) -> None:
    definition = register(
        pipeline,
        container("main", "readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid"),
        task={"ipcMode": "host", "pidMode": "host"},
    )
    shown = task_of(ended(pipeline, pipeline.submit(queue, definition)))["containers"][0]
    assert shown.get("exitCode") == 0, shown.get("reason")
    own = [os.readlink("/proc/self/ns/ipc"), os.readlink("/proc/self/ns/pid")]
    assert lines(pipeline, shown["logStreamName"]) == own


def test_each_container_has_an_image_user_and_limits_of_its_own(pipeline: Pipeline, queue: str) -> None:
    definition = register(
        pipeline,
        container(
            "main",
            f"id -u; (: >/new) 2>/dev/null || echo read-only; {SIZE} /dev/shm {OF_IT}",
            user="65534",
            readonlyRootFilesystem=True,
            linuxParameters={"sharedMemorySize": 7, "initProcessEnabled": True},
            dependsOn=[{"containerName": "side", "condition": "COMPLETE"}],
        ),
        container("side", "id -u", essential=False),
        task={"runtimePlatform": {"operatingSystemFamily": "LINUX"}},
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    shown = by_name(task_of(seen)["containers"])
    assert seen["status"] == "SUCCEEDED", shown
    assert lines(pipeline, shown["main"]["logStreamName"]) == ["65534", "read-only", "7"]
    assert lines(pipeline, shown["side"]["logStreamName"]) == ["0"]


def test_privileges(pipeline: Pipeline, queue: str, eks: str) -> None:
    """Docker asks for all capabilities that there are, and the root of this machine may not have all."""
    look = "grep CapEff /proc/self/status"
    [few] = said(pipeline, eks, look)
    seen = ended(pipeline, pipeline.submit(queue, register(pipeline, container("main", look, privileged=True))))
    shown = task_of(seen)["containers"][0]
    pod = register_pod(pipeline, in_pod(look, securityContext={"privileged": True}))
    same = ended(pipeline, pipeline.submit(eks, pod))
    assert same["status"] == seen["status"]
    if seen["status"] == "SUCCEEDED":
        for found in (lines(pipeline, shown["logStreamName"]), output(pipeline, same, "Default")):
            assert int(few.split()[1], 16) < int(found[0].split()[1], 16)
    else:
        assert "unable to apply caps" in shown["reason"]
        assert "unable to apply caps" in pod_of(same)["containers"][0]["reason"]


def test_an_image_that_cannot_be_had_is_a_failure_to_start(pipeline: Pipeline, queue: str) -> None:
    definition = register(
        pipeline, container("side", essential=False), {**container("main"), "image": "127.0.0.1:1/no/such:image"}
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert seen["statusReason"] == "Task failed to start"
    shown = by_name(task_of(seen)["containers"])
    assert shown["main"]["reason"].startswith("CannotPullContainerError")
    assert "exitCode" not in shown["side"]


# ------------------------------------------------------------------------------------------------------------- pods


def test_an_empty_directory_is_shared_by_all_containers_of_a_pod(pipeline: Pipeline, eks: str) -> None:
    mounts = [{"name": "scratch", "mountPath": "/shared"}, {"name": "fast", "mountPath": "/fast"}]
    definition = register_pod(
        pipeline,
        in_pod(
            "cat /shared/a /shared/b; df -m /fast | tail -1 | tr -s ' ' | cut -d ' ' -f 2", "main", volumeMounts=mounts
        ),
        first=[
            in_pod("echo 1 >/shared/a", "one", volumeMounts=mounts[:1]),
            in_pod("echo 2 >/shared/b", "two", volumeMounts=[{**mounts[0], "readOnly": False}]),
        ],
        pod={
            "volumes": [
                {"name": "scratch", "emptyDir": {}},
                {"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "9Mi"}},
            ]
        },
    )
    seen = ended(pipeline, pipeline.submit(eks, definition))
    assert seen["status"] == "SUCCEEDED", pod_of(seen)["containers"][0].get("reason")
    assert output(pipeline, seen, "main") == ["1", "2", "9"], pod_of(seen)


def test_a_read_only_mount(pipeline: Pipeline, eks: str, tmp_path: Path) -> None:
    said_by = said(
        pipeline,
        eks,
        "(: >/in/new) 2>/dev/null || echo read-only",
        pod={"volumes": [{"name": "data", "hostPath": {"path": str(tmp_path)}}]},
        volumeMounts=[{"name": "data", "mountPath": "/in", "readOnly": True}],
    )
    assert said_by == ["read-only"]


def test_the_security_context_of_a_container(pipeline: Pipeline, eks: str) -> None:
    look = "id -u; id -g; (: >/new) 2>/dev/null || echo read-only; grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"
    context = {
        "runAsUser": 1234,
        "runAsGroup": 4321,
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "seccompProfile": {"type": "Unconfined"},
    }
    assert said(pipeline, eks, look, securityContext=context) == [
        *("1234", "4321", "read-only", "NoNewPrivs:\t1", "Seccomp:\t0")
    ]


def test_capabilities(pipeline: Pipeline, eks: str) -> None:
    look = "grep CapEff /proc/self/status"
    context = {"capabilities": {"add": ["SYS_TIME"], "drop": ["CHOWN"]}}
    [changed] = said(pipeline, eks, look, securityContext=context)
    bits = int(changed.split()[1], 16)
    assert (bits >> 25 & 1, bits & 1) == (1, 0)


def test_the_security_context_of_a_pod(pipeline: Pipeline, eks: str) -> None:
    pod = {
        "securityContext": {
            "runAsUser": 1000,
            "runAsGroup": 2000,
            "runAsNonRoot": True,
            "fsGroup": 3000,
            "seccompProfile": {"type": "Unconfined"},
        },
        "volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory"}}],
    }
    look = "id -u; id -g; id -G; grep -E '^Seccomp:' /proc/self/status"
    user, group, groups, seccomp = said(pipeline, eks, look, pod)
    assert (user, group, seccomp) == ("1000", "2000", "Seccomp:\t0")
    assert "3000" in groups.split()


def test_a_policy_of_never_pulls_nothing(pipeline: Pipeline, eks: str) -> None:
    definition = register_pod(pipeline, {**in_pod(), "image": "not/here:1", "imagePullPolicy": "Never"})
    seen = ended(pipeline, pipeline.submit(eks, definition))
    assert seen["statusReason"] == "Task failed to start"
    [shown] = pod_of(seen)["containers"]
    assert shown["reason"].startswith("CannotPullContainerError")


def test_a_limit_of_cpus_is_one_of_time(pipeline: Pipeline, eks: str) -> None:
    look = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null; true"
    found = said(
        pipeline, eks, look, resources={"requests": {"cpu": "0.25", "memory": "32Mi"}, "limits": {"cpu": "0.5"}}
    )
    assert found[0].split()[0] == "50000"


def test_containers_that_would_need_a_network_of_their_own_are_refused(pipeline: Pipeline, eks: str) -> None:
    two = (in_pod(name="a"), in_pod(name="b"))
    for member in ({"hostNetwork": False}, {"shareProcessNamespace": True}):
        with pytest.raises(pipeline.batch.exceptions.ClientException, match=r"hostNetwork|shareProcessNamespace"):
            pipeline.submit(eks, register_pod(pipeline, *two, pod=member))


def test_a_network_of_its_own(pipeline: Pipeline, eks: str) -> None:
    [own] = said(pipeline, eks, "readlink /proc/self/ns/net", pod={"hostNetwork": False})
    [shared] = said(pipeline, eks, "readlink /proc/self/ns/net", pod={"hostNetwork": True})
    assert shared == os.readlink("/proc/self/ns/net") != own


def test_credentials_of_a_registry_are_looked_up_before_anything_begins(pipeline: Pipeline, queue: str) -> None:
    secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf"
    definition = register(pipeline, container("main", repositoryCredentials={"credentialsParameter": secret}))
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert seen["statusReason"] == "Task failed to start"
    assert task_of(seen)["containers"][0]["reason"].startswith("ResourceInitializationError")
