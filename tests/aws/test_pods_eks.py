"""Pods (eksProperties) over the wire, on real processes or containers.

Sources: API_EksPodProperties, API_EksContainer, API_EksContainerResourceRequirements, API_EksContainerOverride,
API_EksAttemptDetail; AWS Batch user guide, "Amazon EKS jobs".
"""

import os
from typing import Any

import pytest
from botocore.exceptions import ClientError
from wire_pipeline import Pipeline, Server, until
from wire_pods import CLUSTER, SMALL, ended, on_eks, output, pod_of, register_pod, waits
from wire_pods import in_pod as container


@pytest.fixture(scope="module")
def queue(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return on_eks(Pipeline(server, tmp_path_factory.mktemp("queue")), f"eks-{os.getpid()}")


# ------------------------------------------------------------------------------------------------------------- life


def test_a_pod_runs_and_says_so(pipeline: Pipeline, queue: str) -> None:
    definition = register_pod(pipeline, container("echo hello; echo $AWS_BATCH_JOB_KUBERNETES_NODE_UID"))
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert (seen["status"], seen["attempts"]) == ("SUCCEEDED", [])
    assert "container" not in seen
    pod = pod_of(seen)
    assert pod["podName"].startswith("aws-batch.")
    (shown,) = pod["containers"]
    assert (shown["name"], shown["exitCode"], shown["reason"]) == ("Default", 0, "Completed")
    assert "dnsPolicy" not in pod
    (attempt,) = seen["eksAttempts"]
    assert (attempt["eksClusterArn"], attempt["podNamespace"]) == (CLUSTER, "batch")
    assert (attempt["podName"], attempt["nodeName"]) == (pod["podName"], pod["nodeName"])
    assert attempt["startedAt"] <= attempt["stoppedAt"]
    (told,) = attempt["containers"]
    assert (told["name"], told["exitCode"], attempt["initContainers"]) == ("Default", 0, [])
    hello, uid = output(pipeline, seen, "Default")
    assert hello == "hello"
    assert len(uid) == 36
    described = pipeline.batch.describe_job_definitions(jobDefinitions=[definition])["jobDefinitions"][0]
    assert described["containerOrchestrationType"] == "EKS"
    assert described["eksProperties"]["podProperties"]["containers"][0]["resources"] == SMALL


def test_init_containers_run_one_after_the_other_before_the_containers(pipeline: Pipeline, queue: str) -> None:
    record = pipeline.gate()
    definition = register_pod(
        pipeline,
        container(f"echo main >>{record}", "main"),
        first=[container(f"sleep 0.2; echo one >>{record}", "one"), container(f"echo two >>{record}", "two")],
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert seen["status"] == "SUCCEEDED"
    assert record.read_text().split() == ["one", "two", "main"]
    (attempt,) = seen["eksAttempts"]
    assert [(one["name"], one["exitCode"]) for one in attempt["initContainers"]] == [("one", 0), ("two", 0)]
    assert [one["exitCode"] for one in pod_of(seen)["initContainers"]] == [0, 0]


def test_a_pod_is_starting_while_init_containers_run(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    definition = register_pod(pipeline, container(name="main"), first=[container(waits(gate), "setup")])
    job = pipeline.submit(queue, definition)
    pipeline.wait(job, "STARTING")
    gate.touch()
    assert ended(pipeline, job)["status"] == "SUCCEEDED"


def test_a_failed_init_container_fails_the_attempt_and_retries_see_it(pipeline: Pipeline, queue: str) -> None:
    definition = register_pod(
        pipeline,
        container("exit 0", "main"),
        first=[container("exit 3", "one"), container("exit 0", "two")],
        retryStrategy={"attempts": 3, "evaluateOnExit": [{"onExitCode": "3", "action": "RETRY"}]},
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert seen["status"] == "FAILED"
    assert len(seen["eksAttempts"]) == 3
    attempt = seen["eksAttempts"][-1]
    assert attempt["statusReason"] == seen["statusReason"]
    one, two = attempt["initContainers"]
    assert (one["exitCode"], one["reason"]) == (3, "Error")
    assert "exitCode" not in two
    assert "exitCode" not in attempt["containers"][0]


def test_every_container_must_end_with_0_and_none_stops_another(pipeline: Pipeline, queue: str) -> None:
    gate, record = pipeline.gate(), pipeline.gate()
    definition = register_pod(pipeline, container("exit 4", "a"), container(waits(gate, f"echo b >>{record}"), "b"))
    job = pipeline.submit(queue, definition)
    pipeline.wait(job, "RUNNING")
    gate.touch()
    seen = ended(pipeline, job)
    assert seen["status"] == "FAILED"
    assert record.read_text() == "b\n"
    assert {one["name"]: one["exitCode"] for one in pod_of(seen)["containers"]} == {"a": 4, "b": 0}


def test_a_termination_and_a_time_limit_end_a_pod(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    definition = register_pod(pipeline, container(waits(gate), "a"), container(waits(gate), "b"))
    job = pipeline.submit(queue, definition)
    pipeline.wait(job, "RUNNING")
    pipeline.batch.terminate_job(jobId=job, reason="enough")
    seen = ended(pipeline, job)
    assert (seen["status"], seen["statusReason"], seen["isTerminated"]) == ("FAILED", "enough", True)
    late = ended(pipeline, pipeline.submit(queue, definition, timeout={"attemptDurationSeconds": 1}))
    assert late["statusReason"] == "Job attempt duration exceeded timeout"


# -------------------------------------------------------------------------------------------------- what it is given


def test_references_to_variables_are_expanded(pipeline: Pipeline, queue: str) -> None:
    definition = register_pod(
        pipeline,
        {
            "image": "busybox",
            "command": ["printf", "%s\\n", "$(WORD)"],
            "args": ["$(TWICE)", "$(NOT_THERE)", "$$(WORD)", "$(AWS_BATCH_JOB_ATTEMPT)"],
            "env": [{"name": "WORD", "value": "word"}, {"name": "TWICE", "value": "$(WORD) $(WORD)"}],
            "resources": SMALL,
        },
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert output(pipeline, seen, "Default") == ["word", "word word", "$(NOT_THERE)", "$(WORD)", "1"]


def test_overrides_reach_containers_by_name(pipeline: Pipeline, queue: str) -> None:
    definition = register_pod(
        pipeline,
        container('echo "$A $B"', "main", env=[{"name": "A", "value": "a"}, {"name": "B", "value": "b"}]),
        container("exit 0", "other"),
        first=[container("echo setup", "setup")],
        pod={"metadata": {"labels": {"team": "x", "kind": "y"}, "annotations": {"note": "1"}}},
    )
    override = {
        "containers": [
            {
                "name": "main",
                "image": "busybox:1",
                "env": [{"name": "B", "value": "changed"}],
                "resources": {"requests": {"memory": "48Mi"}},
            }
        ],
        "initContainers": [{"name": "setup", "args": ["echo changed"], "command": ["sh", "-c"]}],
        "metadata": {"labels": {"team": "z"}, "annotations": {"more": "2"}, "namespace": "elsewhere"},
    }
    job = pipeline.submit(queue, definition, eksPropertiesOverride={"podProperties": override})
    seen = ended(pipeline, job)
    pod = pod_of(seen)
    main = pod["containers"][0]
    assert main["image"] == "busybox:1"
    assert main["resources"] == {"limits": {"cpu": "1"}, "requests": {"memory": "48Mi"}}
    assert pod["metadata"]["labels"] == {"team": "z", "kind": "y"}
    assert pod["metadata"]["annotations"] == {"note": "1", "more": "2"}
    assert seen["eksAttempts"][0]["podNamespace"] == "elsewhere"
    if seen["status"] == "SUCCEEDED":  # with containers, that tag may not be there
        assert output(pipeline, seen, "main") == ["a changed"]
        assert output(pipeline, seen, "setup") == ["changed"]


def test_the_only_container_need_not_be_named_in_an_override(pipeline: Pipeline, queue: str) -> None:
    definition = register_pod(pipeline, container("echo before", "main"))
    override = {"podProperties": {"containers": [{"args": ["echo after"]}]}}
    seen = ended(pipeline, pipeline.submit(queue, definition, eksPropertiesOverride=override))
    assert output(pipeline, seen, "main") == ["after"]


def test_quarters_of_a_cpu_and_what_init_containers_take_decide_what_fits(pipeline: Pipeline, queue: str) -> None:
    gates = [pipeline.gate() for _ in range(2)]
    half = {"requests": {"cpu": "500m", "memory": "16Mi"}, "limits": {"cpu": "0.5", "memory": "16Mi"}}
    large = {"requests": {"cpu": "15.75", "memory": "16Mi"}}
    blocker = register_pod(pipeline, container(waits(gates[0]), resources=half))
    wide = register_pod(
        pipeline, container(waits(gates[1]), resources=half), first=[container("true", "i", resources=large)]
    )
    held = pipeline.submit(queue, blocker)
    pipeline.wait(held, "RUNNING")
    waiting = pipeline.submit(queue, wide)
    until(lambda: pipeline.status(waiting) == "RUNNABLE", "it waits for 15.75 vCPUs of 15.5")
    gates[0].touch()
    pipeline.wait(waiting, "RUNNING")
    gates[1].touch()
    assert ended(pipeline, waiting)["status"] == "SUCCEEDED"


def test_a_directory_of_the_host_is_seen_by_all(pipeline: Pipeline, queue: str) -> None:
    shared = pipeline.folder / "shared"
    (shared / "sub").mkdir(parents=True)
    volumes = [{"name": "data", "hostPath": {"path": str(shared)}}]
    whole = [{"name": "data", "mountPath": str(shared), "readOnly": False}]
    part = [{"name": "data", "mountPath": str(shared / "sub"), "subPath": "sub"}]
    definition = register_pod(
        pipeline,
        container(f"cat {shared}/sub/file", "read", volumeMounts=part),
        first=[container(f"echo hello >{shared}/sub/file", "write", volumeMounts=whole)],
        pod={"volumes": volumes},
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert output(pipeline, seen, "read") == ["hello"]


# -------------------------------------------------------------------------------------------- what is not run at all


def test_pods_and_container_jobs_need_queues_of_their_kind(pipeline: Pipeline, queue: str) -> None:
    with pytest.raises(ClientError, match="capability EKS"):
        pipeline.submit(pipeline.queue(), register_pod(pipeline, container()))
    with pytest.raises(ClientError, match="capability EC2"):
        pipeline.submit(queue, pipeline.definition(["true"]))


CLAIM = {"name": "v", "persistentVolumeClaim": {"claimName": "c", "readOnly": True}}
MOUNT = [{"name": "v", "mountPath": "/v"}]


@pytest.mark.parametrize(
    ("members", "pod", "words"),
    [
        ({"volumeMounts": MOUNT}, {"volumes": [CLAIM]}, "persistentVolumeClaim of volume v"),
        (
            {"volumeMounts": MOUNT},
            {"volumes": [{"name": "v", "secret": {"secretName": "s", "optional": True}}]},
            "secret of volume v",
        ),
        ({"securityContext": {"runAsNonRoot": True, "runAsUser": 0}}, {}, "runAsNonRoot, and runAsUser 0"),
        ({"securityContext": {"runAsNonRoot": True}}, {}, "needs runAsUser here"),
        ({}, {"securityContext": {"runAsNonRoot": True, "runAsUser": 0}}, "runAsNonRoot, and runAsUser 0"),
        (
            {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}}},
            {},
            "seccompProfile p.json",
        ),
        (
            {},
            {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "q"}}},
            "seccompProfile q",
        ),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}]},
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            "subPath of volume v",
        ),
    ],
)
def test_what_needs_a_cluster_is_registered_and_refused_when_a_job_asks_for_it(
    pipeline: Pipeline, queue: str, members: dict[str, Any], pod: dict[str, Any], words: str
) -> None:
    definition = register_pod(pipeline, container(**members), pod=pod)
    with pytest.raises(ClientError, match=words):
        pipeline.submit(queue, definition)


def test_what_has_no_meaning_here_is_kept_and_shown(pipeline: Pipeline, queue: str) -> None:
    pod = {
        "serviceAccountName": "account",
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "imagePullSecrets": [{"name": "secret"}],
        "metadata": {"namespace": "mine"},
    }
    definition = register_pod(pipeline, container(imagePullPolicy="IfNotPresent"), pod=pod)
    shown = pod_of(ended(pipeline, pipeline.submit(queue, definition)))
    assert {name: shown[name] for name in pod} == pod
    assert shown["containers"][0]["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"eksPropertiesOverride": {"podProperties": {"containers": [{"name": "other"}]}}}, "other"),
        ({"eksPropertiesOverride": {"podProperties": {"initContainers": [{"name": "other"}]}}}, "other"),
        ({"containerOverrides": {"command": ["true"]}}, "containerOverrides"),
        ({"ecsPropertiesOverride": {}}, "ecsPropertiesOverride"),
        (
            {"eksPropertiesOverride": {"podProperties": {"containers": [{"resources": {"limits": {"cpu": "0.1"}}}]}}},
            "Value 0.1 for type cpu",
        ),
    ],
)
def test_overrides_that_do_not_fit_are_refused(
    pipeline: Pipeline, queue: str, override: dict[str, Any], words: str
) -> None:
    definition = register_pod(pipeline, container(name="main"))
    with pytest.raises(ClientError, match=words):
        pipeline.submit(queue, definition, **override)


def test_containers_of_a_pod_may_see_each_other_s_processes(pipeline: Pipeline, queue: str) -> None:
    gate = pipeline.gate()
    look = f"until pgrep -f 'marker {gate}' >/dev/null; do sleep 0.05; done; : >{gate}; echo found"
    other = f": 'marker' ; sh -c '{waits(gate)}' 'marker {gate}'"
    definition = register_pod(
        pipeline, container(look, "one"), container(other, "two"), pod={"shareProcessNamespace": True}
    )
    seen = ended(pipeline, pipeline.submit(queue, definition))
    assert seen["status"] == "SUCCEEDED"
    assert output(pipeline, seen, "one") == ["found"]
    assert pod_of(seen)["shareProcessNamespace"] is True
