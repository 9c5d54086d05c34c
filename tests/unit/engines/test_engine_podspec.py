"""Several containers as requests to a runtime: names, shared volumes and namespaces."""

from typing import Any

from batchery.config import Container as Settings
from batchery.core.model import AttemptKey, Resources
from batchery.core.pod import START
from batchery.engines.containerspec import Facts, PodFacts, create_request, properties
from batchery.engines.engine import Container, Extras, Order, Sharing
from batchery.engines.podspec import extend, owner_of, parts_of, single, volumes_of

SCRATCH = '{"volumes":[{"name":"v"},{"name":"h","host":{"sourcePath":"/h"}}],"mountPoints":[%s]}'
MOUNT = '{"sourceVolume":"v","containerPath":"/v"%s}'


def one(name: str, **members: Any) -> Container:
    return Container(name, "busybox", ("true",), {}, f"/logs/{name}.log", Resources(500, 32), **members)


def order(*containers: Container, **members: Any) -> Order:
    key = AttemptKey("job", 0, 1)
    return Order(key, "task", containers, Resources(1000, 64), "pool", 4000, "ce", several=True, **members)


def request(given: Order, name: str) -> dict[str, Any]:
    container = next(one for one in given.containers if one.name == name)
    pod = PodFacts(parts_of(given), given.timeout, tuple(volumes_of(given)), given.sharing.group)
    facts = Facts(name, container.log_path, 0, 0, "pool", 0, 0, (), pod=pod)
    alone = single(given, container)
    made = create_request(alone, properties(container.spec), Settings(), "owner", facts, 0)
    extend(made, alone, facts, "batchery-task")
    return made


def test_scratch_space_that_two_mount_has_a_name_and_other_has_none() -> None:
    shared = SCRATCH % (MOUNT % "")
    given = order(one("a", spec=shared), one("b", spec=SCRATCH % (MOUNT % ',"readOnly":true')), one("c"))
    assert volumes_of(given) == {"v": None}
    assert "batchery-task-v:/v" in request(given, "a")["HostConfig"]["Binds"]
    assert "batchery-task-v:/v:ro" in request(given, "b")["HostConfig"]["Binds"]
    assert not request(given, "a").get("Volumes")
    alone = order(one("a", spec=shared), one("c"))
    assert volumes_of(alone) == {}
    assert request(alone, "a")["Volumes"] == {"/v": {}}


def test_a_volume_in_memory_has_a_name_whoever_mounts_it() -> None:
    given = order(one("a", spec=SCRATCH % (MOUNT % ""), extras=Extras(in_memory={"v": 4096})))
    assert volumes_of(given) == {"v": 4096}


def test_those_that_share_namespaces_begin_after_their_owner_and_join_it() -> None:
    given = order(
        one("setup", essential=False),
        one("main", after=(("setup", START),)),
        one("side", essential=False),
        sharing=Sharing(ipc="task", pid="task"),
    )
    parts = parts_of(given)
    assert owner_of(parts) == "main"
    assert [part.after for part in parts] == [(), (("setup", START),), (("main", START),)]
    joined = request(given, "side")["HostConfig"]
    assert joined["PidMode"] == joined["IpcMode"] == "container:batchery-task-1"
    assert not joined["Init"]
    assert request(given, "main")["HostConfig"]["IpcMode"] == "shareable"
    apart = request(given, "setup")["HostConfig"]
    assert apart["IpcMode"] == "private"
    assert "PidMode" not in apart


def test_the_owner_is_any_container_where_none_is_essential() -> None:
    assert owner_of(parts_of(order(one("a", essential=False), one("b", essential=False)))) == "a"


def test_what_a_pod_of_kubernetes_asks_for() -> None:
    extras = Extras(add=("SYS_TIME",), drop=("CHOWN",), unconfined=True, no_new_privileges=True, labels={"team": "x"})
    given = order(
        one("a", extras=extras, entrypoint=("sh", "-c"), limit_vcpus=500), sharing=Sharing(network=False, group=7)
    )
    made = request(given, "a")
    host = made["HostConfig"]
    assert made["Entrypoint"] == ["sh", "-c"]
    assert (host["CapAdd"], host["CapDrop"]) == (["SYS_TIME"], ["CHOWN"])
    assert host["SecurityOpt"] == ["seccomp=unconfined", "no-new-privileges"]
    assert (host["NanoCpus"], host["GroupAdd"], host["NetworkMode"]) == (500_000_000, ["7"], "bridge")
    assert made["Labels"]["team"] == "x"
