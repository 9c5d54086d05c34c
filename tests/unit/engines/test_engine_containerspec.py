"""Orders as requests to a runtime."""

import json
from typing import Any

import pytest

from batchery.config import Container, Registry
from batchery.core.model import AttemptKey, Resources
from batchery.engines.container import facts_of, key_of
from batchery.engines.containerspec import Facts, create_request, platform, properties, reachable
from batchery.engines.engine import Container as OneContainer
from batchery.engines.engine import Order
from batchery.engines.registries import credentials, registry_of

FACTS = Facts("default", "/logs/x", 0, 30_000, "pool", 2500, 64, ())


def request(spec: dict[str, Any], settings: Container | None = None, **how: Any) -> dict[str, Any]:
    resources = Resources(2500, 64, 0)
    container = OneContainer(
        "default", "me/mine:1", ("run", "it"), {"A": "b"}, "/logs/x", resources, spec=json.dumps(spec)
    )
    order = Order(AttemptKey("job", 3, 1), "0" * 32, (container,), resources, "pool", 4000, "ce")
    facts = how.get("facts", FACTS)
    return create_request(
        order, properties(json.dumps(spec)), settings or Container(), "me", facts, how.get("total", 0)
    )


def test_the_least() -> None:
    made = request({})
    assert made["Image"] == "me/mine:1"
    assert made["Cmd"] == ["run", "it"]
    assert made["Env"] == ["A=b", "BATCHERY_ATTEMPT=job:3:1"]
    assert key_of(made["Labels"]["batchery.attempt"]) == AttemptKey("job", 3, 1)
    assert facts_of(made["Labels"]["batchery.facts"]) == FACTS
    host = made["HostConfig"]
    assert (host["NetworkMode"], host["CpuShares"], host["Memory"]) == ("host", 2560, 64 << 20)
    assert not {"MemorySwap", "ShmSize", "DeviceRequests", "ExtraHosts"} & set(host)


def test_linux_parameters() -> None:
    linux = {
        "maxSwap": 16,
        "swappiness": 10,
        "sharedMemorySize": 8,
        "initProcessEnabled": True,
        "tmpfs": [{"containerPath": "/t", "size": 3, "mountOptions": ["defaults", "noexec"]}],
        "devices": [{"hostPath": "/dev/a"}, {"hostPath": "/dev/b", "containerPath": "/dev/c", "permissions": ["READ"]}],
    }
    host = request({"linuxParameters": linux})["HostConfig"]
    assert (host["MemorySwap"], host["MemorySwappiness"], host["ShmSize"]) == (80 << 20, 10, 8 << 20)
    assert host["Init"] is True
    assert host["Tmpfs"] == {"/t": "size=3m,noexec"}
    assert [tuple(device.values()) for device in host["Devices"]] == [
        ("/dev/a", "/dev/a", "rwm"),
        ("/dev/b", "/dev/c", "r"),
    ]


def test_volumes_of_the_definition_and_of_the_operator() -> None:
    spec = {
        "volumes": [{"name": "a", "host": {"sourcePath": "/data/x/"}}, {"name": "b", "host": {}}, {"name": "unused"}],
        "mountPoints": [
            {"sourceVolume": "a", "containerPath": "/in", "readOnly": True},
            {"sourceVolume": "b", "containerPath": "/scratch"},
        ],
    }
    made = request(spec, Container(volumes=["/ref", "/h:/i:ro"]))
    assert made["HostConfig"]["Binds"] == ["/ref:/ref", "/h:/i:ro", "/data/x:/in:ro"]
    assert made["Volumes"] == {"/scratch": {}}


def test_a_colon_cannot_be_bound() -> None:
    spec = {
        "volumes": [{"name": "a", "host": {"sourcePath": "/a:b"}}],
        "mountPoints": [{"sourceVolume": "a", "containerPath": "/in"}],
    }
    with pytest.raises(ValueError, match="colon"):
        request(spec)


def test_ulimits_of_the_job_come_before_the_operators() -> None:
    spec = {"ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}]}
    host = request(spec, Container(ulimits={"nofile": "5:6", "nproc": "7"}))["HostConfig"]
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 1, "Hard": 2}, {"Name": "nproc", "Soft": 7, "Hard": 7}]


def test_gpus() -> None:
    facts = Facts("default", "/logs/x", 0, 0, "pool", 1000, 64, (1, 3))
    made = request({}, facts=facts, total=4)
    assert made["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["1", "3"]
    assert "NVIDIA_VISIBLE_DEVICES=1,3" in made["Env"]
    assert "NVIDIA_VISIBLE_DEVICES=void" in request({}, total=4)["Env"]


def test_platforms() -> None:
    def of(**members: str) -> str:
        return platform(properties(json.dumps({"runtimePlatform": members})))

    assert platform(properties("")) == ""
    assert of(cpuArchitecture="ARM64") == "linux/arm64"
    assert of(operatingSystemFamily="LINUX") == ""
    assert of(operatingSystemFamily="WINDOWS_SERVER_2022_CORE") == "windows/amd64"


def test_endpoints_on_a_bridge() -> None:
    given = {
        "AWS_ENDPOINT_URL_BATCH": "http://127.0.0.1:8642",
        "AWS_ENDPOINT_URL": "https://s3.example.com/x",
        "OTHER": "http://127.0.0.1:1",
    }
    assert reachable(given, "host", "the.host") == given
    changed = reachable(given, "bridge", "the.host")
    assert changed["AWS_ENDPOINT_URL_BATCH"] == "http://the.host:8642"
    assert {name: changed[name] for name in ("AWS_ENDPOINT_URL", "OTHER")} == {
        name: given[name] for name in ("AWS_ENDPOINT_URL", "OTHER")
    }


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("busybox", "docker.io"),
        ("me/mine:1", "docker.io"),
        ("localhost/x", "localhost"),
        ("localhost:5000/x", "localhost:5000"),
        ("registry.example.com/a/b@sha256:1", "registry.example.com"),
    ],
)
def test_registries(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def test_credentials(tmp_path: Any) -> None:
    (tmp_path / "password").write_text("secret\n")
    known = {"registry.example.com": Registry("ci", password_file=str(tmp_path / "password"))}
    assert credentials("busybox", known) is None
    found = credentials("registry.example.com/a", known)
    assert found == {"username": "ci", "password": "secret", "serveraddress": "registry.example.com"}


@pytest.mark.parametrize("text", ["", "a", "a:b:c", "a:1", ":1:2"])
def test_labels_that_are_not_ours(text: str) -> None:
    assert key_of(text) is None
    assert facts_of(text) is None
