"""What SubmitJob refuses before anything else is asked, and what it comes to."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from batchery.api.shapes import SubmitJobRequest
from batchery.config import Limits
from batchery.core.messages import Refused
from batchery.core.model import N_TO_N, SEQUENTIAL, WHOLE, Need
from batchery.spec.effective import effective
from batchery.spec.place import Place, placed
from batchery.spec.submission import (
    array_size,
    check_form,
    checked_shape,
    combined_tags_fault,
    job_shape,
    needs_of,
    overrides_text,
    runs_on,
)

Text = Callable[..., str]
LIMITS = Limits()


def asked(**members: Any) -> SubmitJobRequest:
    return msgspec.convert({"jobName": "j", "jobQueue": "q", "jobDefinition": "d", **members}, SubmitJobRequest)


def shape(doc: str, limit: int = 8192, host: bool = True, **members: Any) -> Any:
    """By both ways, which must agree: with everything, and with what the Shape needs."""
    ask = asked(**members)
    whole = outcome(checked_shape, doc, "d", overrides_text(ask), limit, Place(host))
    found = outcome(job_shape, ask, doc, "d", len(msgspec.json.encode(members)), limit, Place(host))
    assert str(found) == str(whole)
    if isinstance(found, Refused):
        raise found
    return found


def outcome(question: Callable[..., Any], *args: Any) -> Any:
    try:
        return question(*args)
    except Refused as refused:
        return refused


def refusal(question: Callable[..., Any], *args: Any, **kwargs: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        question(*args, **kwargs)
    return caught.value


def form(size: int = 100, **members: Any) -> Refused:
    return refusal(check_form, asked(**members), size, LIMITS)


@pytest.mark.parametrize("name", ["_x", "-x", "a b", "x" * 129, "a.b", "ä", "a\n"])
def test_names_that_do_not_match(name: str) -> None:
    found = form(jobName=name)
    assert (found.message, found.wrapped) == ("Job name should match valid pattern", True)


@pytest.mark.parametrize("name", ["a", "0", "a-b_c", "x" * 128])
def test_names_that_do(name: str) -> None:
    check_form(asked(jobName=name), 100, LIMITS)


def test_a_request_too_big() -> None:
    found = form(size=47 * 1024)
    assert (found.message, found.wrapped) == ("Job size must be less than 30 KiB, got 47 KiB", True)
    check_form(asked(), 30 * 1024, LIMITS)


def test_too_many_dependencies() -> None:
    found = form(dependsOn=[{"jobId": str(i)} for i in range(21)])
    assert (found.message, found.wrapped) == ("Job cannot have more than 20 dependencies", True)


@pytest.mark.parametrize("size", [-1, 0, 1, 10_001])
def test_array_sizes_out_of_range(size: int) -> None:
    assert form(arrayProperties={"size": size}).message == "Array size must be between 2 and 10000"


@pytest.mark.parametrize(("properties", "size"), [(None, 0), ({}, 0), ({"size": 2}, 2), ({"size": 10_000}, 10_000)])
def test_array_sizes(properties: Any, size: int) -> None:
    members = {} if properties is None else {"arrayProperties": properties}
    assert array_size(asked(**members), LIMITS) == size


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"retryStrategy": {}}, "RetryAttempts must be provided with retry strategy"),
        ({"retryStrategy": {"attempts": 11}}, "RetryAttempts must be between 1 and 10."),
        ({"timeout": {"attemptDurationSeconds": 1}}, "Timeout must be at least 60 seconds"),
        (
            {"consumableResourcePropertiesOverride": {"consumableResourceList": [{"consumableResource": "a"}]}},
            "The quantity of consumable resource a must be at least 1",
        ),
    ],
)
def test_other_members(members: dict[str, Any], words: str) -> None:
    assert words in form(**members).message


def test_deprecated_members_against_requirements(definition: Text) -> None:
    for member in ("vcpus", "memory"):
        found = refusal(shape, definition(), containerOverrides={member: 256})
        assert found.message == (
            "This value was submitted in a deprecated key and may conflict with the value provided by the job "
            "definition's resource requirements."
        )
        assert not found.wrapped


FARGATE: dict[str, Any] = {
    "executionRoleArn": "x",
    "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "2048"}],
}


def test_deprecated_members_on_fargate(definition: Text) -> None:
    doc = definition(FARGATE, platformCapabilities=["FARGATE"])
    found = refusal(shape, doc, containerOverrides={"vcpus": 2})
    assert found.message == "vcpus is not applicable for Fargate. Use resource requirements instead."


def test_overrides_must_leave_a_pair_that_fargate_offers(definition: Text) -> None:
    doc = definition(FARGATE, platformCapabilities=["FARGATE"])
    more = {"resourceRequirements": [{"type": "MEMORY", "value": "3072"}]}
    assert shape(doc, containerOverrides=more).resources.memory == 3072
    odd = {"resourceRequirements": [{"type": "MEMORY", "value": "3000"}]}
    assert (
        "Fargate resource requirements (1 vCPU, 3000 MiB) not valid."
        in refusal(shape, doc, containerOverrides=odd).message
    )


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"command": ["a", ""]}, "Command cannot be empty"),
        ({"command": ["a\0"]}, "null characters"),
        ({"environment": [{"name": "AWS_BATCH_X", "value": "1"}]}, "AWS_BATCH"),
        ({"resourceRequirements": [{"type": "VCPU", "value": "half"}]}, "Value half for type VCPU"),
        ({"resourceRequirements": [{"type": "VCPU", "value": "0.5"}]}, "Value 0.5 for type VCPU"),
    ],
)
def test_malformed_overrides(definition: Text, overrides: dict[str, Any], words: str) -> None:
    assert words in refusal(shape, definition(), containerOverrides=overrides).message


def test_one_resource_twice_in_an_override(definition: Text) -> None:
    doc = definition({"resourceRequirements": None, "vcpus": 1, "memory": 64})
    twice = {"vcpus": 2, "resourceRequirements": [{"type": "VCPU", "value": "2"}]}
    assert "both in a deprecated key" in refusal(shape, doc, containerOverrides=twice).message
    assert shape(doc, containerOverrides={"vcpus": 2}).resources.vcpus == 2000


def test_a_missing_parameter(definition: Text) -> None:
    doc = definition({"command": ["Ref::a"]})
    assert refusal(shape, doc).message == "Unable to substitute value. No parameter found for reference a"
    assert shape(doc, parameters={"a": "1"}).fault == ""


def test_overrides_too_long_are_a_fault_found_later(definition: Text) -> None:
    long = {"environment": [{"name": "A", "value": "x" * 8192}]}
    assert shape(definition(), containerOverrides=long).fault == "Container Overrides length must be at most 8192"
    assert shape(definition(), limit=100).fault == "Container Overrides length must be at most 100"
    assert shape(definition(), containerOverrides={"command": ["ls"]}).fault == ""


MOUNTED: dict[str, Any] = {"volumes": [{"name": "v", "host": {"sourcePath": "/mnt/data/"}}]}


def test_a_mount_under_its_own_name_is_true_for_a_host_process(definition: Text) -> None:
    same = definition({**MOUNTED, "mountPoints": [{"sourceVolume": "v", "containerPath": "/mnt/data"}]})
    assert shape(same).attempts == 1
    scratch = definition({"volumes": [{"name": "v"}], "mountPoints": [{"sourceVolume": "v", "containerPath": "/s"}]})
    assert shape(scratch).attempts == 1


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({**MOUNTED, "mountPoints": [{"sourceVolume": "v", "containerPath": "/data"}]}, "mountPoints /data"),
        ({"linuxParameters": {"devices": [{"hostPath": "/dev/a", "containerPath": "/dev/b"}]}}, "devices /dev/b"),
        ({"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}}, "operatingSystemFamily"),
    ],
)
def test_jobs_that_would_see_other_data_are_refused_for_host_processes_only(
    definition: Text, container: dict[str, Any], words: str
) -> None:
    found = refusal(shape, definition(container))
    assert found.message.startswith("Jobs run as host processes, which cannot have ")
    assert words in found.message
    assert shape(definition(container), host=False).attempts == 1


EFS = {"fileSystemId": "fs-1", "rootDirectory": "/in/../jobs"}
POINT = {
    "fileSystemId": "fs-1",
    "transitEncryption": "ENABLED",
    "authorizationConfig": {"accessPointId": "fsap-1"},
}
FILES = {"fileSystemArn": "arn:aws:s3files:us-east-1:123456789012:file-system/fs-2"}


def mounted(**volume: Any) -> dict[str, Any]:
    return {
        "volumes": [{"name": "v", **volume}, {"name": "w", "host": {}}],
        "mountPoints": [{"sourceVolume": "v", "containerPath": "/data"}],
    }


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ({"efsVolumeConfiguration": EFS}, "efsVolumeConfiguration of volume v: fs-1 is not mounted here"),
        ({"efsVolumeConfiguration": POINT}, "efsVolumeConfiguration of volume v: fsap-1 is not mounted here"),
        ({"s3filesVolumeConfiguration": FILES}, "s3filesVolumeConfiguration of volume v: arn:aws:s3files"),
    ],
)
def test_file_systems_of_aws_are_refused_where_they_are_not_mounted(
    definition: Text, volume: dict[str, Any], words: str
) -> None:
    for host in (True, False):
        found = refusal(lambda text, host=host: shape(text, host=host), definition(mounted(**volume)))
        assert words in found.message
    not_mounted = {**mounted(**volume), "mountPoints": []}
    assert shape(definition(not_mounted)).attempts == 1


@pytest.mark.parametrize(
    ("volume", "directory"),
    [
        ({"efsVolumeConfiguration": EFS}, "/mnt/efs/jobs"),
        ({"efsVolumeConfiguration": {**EFS, "rootDirectory": "/"}}, "/mnt/efs"),
        ({"efsVolumeConfiguration": {**EFS, "rootDirectory": "/../../etc"}}, "/mnt/efs/etc"),
        ({"efsVolumeConfiguration": POINT}, "/mnt/efs/app"),
        ({"s3filesVolumeConfiguration": {**FILES, "rootDirectory": "a"}}, "/mnt/files/a"),
    ],
)
def test_file_systems_of_aws_are_directories_of_the_host(
    definition: Text, volume: dict[str, Any], directory: str
) -> None:
    place = Place(True, (("fs-1", "/mnt/efs"), ("fsap-1", "/mnt/efs/app")), ((FILES["fileSystemArn"], "/mnt/files"),))
    given = effective(definition(mounted(**volume)), "{}").container
    first, second = placed(given, place).volumes or []
    assert first.host is not None
    assert first.host.source_path == directory
    assert first.efs_volume_configuration is first.s3files_volume_configuration is None
    assert second.name == "w"
    with pytest.raises(Refused, match="mountPoints /data, whose volume is the host's"):
        checked_shape(definition(mounted(**volume)), "d", "{}", 8192, place)
    assert checked_shape(definition(mounted(**volume)), "d", "{}", 8192, place._replace(host_process=False))


def test_jobs_alike_share_a_shape_whatever_their_names(definition: Text) -> None:
    doc = definition()
    one = checked_shape(doc, "d", overrides_text(asked(jobName="a", tags={"x": "1"})), 8192, Place(True))
    assert checked_shape(doc, "d", overrides_text(asked(jobName="b")), 8192, Place(True)) is one
    assert overrides_text(asked(jobName="b")) == "{}"


def test_jobs_alike_but_for_command_and_variables_share_a_shape(definition: Text) -> None:
    doc = definition()
    own = [{"command": ["run", f"--part={n}"], "environment": [{"name": "N", "value": str(n)}]} for n in range(3)]
    shapes = [shape(doc, containerOverrides=each) for each in own]
    assert shapes[0] is shapes[1] is shapes[2]
    assert shape(doc, containerOverrides={"resourceRequirements": [{"type": "VCPU", "value": "2"}]}) != shapes[0]


@pytest.mark.parametrize("length", [7000, 7600, 7680, 7700, 8000, 9000])
def test_a_long_command_is_found_out_however_it_is_shared(definition: Text, length: int) -> None:
    found = shape(definition(), containerOverrides={"command": ["x" * length]})
    assert bool(found.fault) == (length + len('{"command":[""]}') + 500 > 8192)


def test_a_command_of_its_own_may_refer_to_parameters_or_not(definition: Text) -> None:
    doc = definition({"command": ["echo", "Ref::missing"]})
    assert not shape(doc, containerOverrides={"command": ["echo", "fine"]}).fault
    assert "missing" in refusal(shape, doc, containerOverrides={"environment": [{"name": "A", "value": "b"}]}).message
    assert "gone" in refusal(shape, doc, containerOverrides={"command": ["echo", "Ref::gone"]}).message
    assert not shape(doc, containerOverrides={"command": ["Ref::there"]}, parameters={"there": "x"}).fault


def needs(size: int = 0, *entries: dict[str, str]) -> tuple[Need, ...]:
    return needs_of(asked(dependsOn=list(entries)), size)


def test_dependencies() -> None:
    assert needs_of(asked(), 0) == ()
    assert needs(0, {"jobId": "a"}, {"jobId": "b:3"}) == (Need("a"), Need("b", 3, WHOLE))
    assert needs(4, {"type": "SEQUENTIAL"}, {"jobId": "a", "type": "N_TO_N"}) == (
        Need("", -1, SEQUENTIAL),
        Need("a", -1, N_TO_N),
    )
    # seen reported for a plain dependency
    assert needs(0, {"jobId": "a", "type": "SEQUENTIAL"}) == (Need("a", -1, WHOLE),)
    assert needs(0, {"jobId": "a"}, {"jobId": "a"}) == (Need("a"),)


@pytest.mark.parametrize(
    ("size", "entry", "words"),
    [
        (0, {}, "must have a jobId"),
        (0, {"type": "N_TO_N"}, "must have a jobId"),
        (0, {"type": "SEQUENTIAL"}, "Only array jobs"),
        (0, {"jobId": "a", "type": "N_TO_N"}, "array job on an array job"),
        (4, {"jobId": "a:1", "type": "N_TO_N"}, "array job on an array job"),
        (0, {"jobId": "a:x"}, "does not exist"),
    ],
)
def test_dependencies_that_mean_nothing(size: int, entry: dict[str, str], words: str) -> None:
    assert words in refusal(needs, size, entry).message


@pytest.mark.parametrize(
    ("platforms", "kinds", "missing"),
    [
        (None, {"EC2"}, ""),
        ([], {"SPOT"}, ""),
        (["EC2"], {"UNMANAGED"}, ""),
        (["FARGATE"], {"FARGATE_SPOT"}, ""),
        (["EC2", "FARGATE"], {"FARGATE"}, ""),
        (None, {"FARGATE"}, "EC2"),
        (["FARGATE"], {"EC2", "SPOT"}, "FARGATE"),
        (["FARGATE"], set(), ""),
        (["MANAGED_INSTANCES"], {"ECS_MANAGED_INSTANCES"}, ""),
        (None, {"ECS_MANAGED_INSTANCES"}, ""),
        (["MANAGED_INSTANCES"], {"EC2"}, "MANAGED_INSTANCES"),
    ],
)
def test_where_a_definition_can_run(platforms: list[str] | None, kinds: set[str], missing: str) -> None:
    assert runs_on(platforms, kinds) == missing


def test_too_many_tags_together_are_a_fault_only_where_they_propagate(definition: Text, request_text: Text) -> None:
    own, registered = {f"a{i}": "" for i in range(30)}, {f"b{i}": "" for i in range(21)}
    on = effective(definition(propagateTags=True), request_text())
    off = effective(definition(), request_text())
    assert "at most 50 together" in combined_tags_fault(on, own, registered, 50)
    assert combined_tags_fault(off, own, registered, 50) == ""
    assert combined_tags_fault(on, own, dict(list(registered.items())[:20]), 50) == ""
