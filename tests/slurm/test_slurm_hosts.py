"""Hosts of a training job on a cluster: what becomes of them when a server comes and goes, and when a node dies."""

from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from batchery.core.messages import Started
from batchery.core.model import HOST, TERMINATED, Resources
from batchery.engines.engine import Order


@dataclass
class Hosts:
    """An order, and the files in which each host says where it is."""

    order: Order
    places: list[Path]


def hosts_of(rig, script: str, count: int = 2) -> Hosts:
    order = rig.order("sh")
    first = order.containers[0]
    places = [rig.tmp / f"{order.key.job}.{number}" for number in range(count)]
    containers = tuple(
        replace(
            first,
            name=f"algo-{number + 1}",
            command=("sh", "-c", f'echo "$SLURMD_NODENAME" >"{place}"; {script}'),
            log_path=f"{place}.log",
            resources=Resources(1000, 600),  # more than half of a node: each has one to itself
            stop_timeout=10_000,
            forgiving=True,
            hosts_file=f"{place}.hosts",
        )
        for number, place in enumerate(places)
    )
    return Hosts(replace(order, containers=containers, several=True), places)


async def test_hosts_go_on_without_a_server_and_are_ended_by_the_next(rig):
    hosts = hosts_of(rig, 'trap "echo told; exit 0" TERM; while :; do sleep 0.05; done')
    await rig.launch(hosts.order)
    await rig.started(hosts.order)
    await rig.disconnect()
    await rig.connect()
    await rig.truth(lambda: len(rig.of(hosts.order, Started)) > 1, "it is told again")
    assert rig.of(hosts.order, Started)[-1].address == "127.0.0.1"  # of the first one's node
    assert len({place.read_text() for place in hosts.places}) == 2  # a node for each
    await rig.engine.kill([hosts.order.key], 10_000)
    (end,) = await rig.ends(hosts.order)
    assert end.cause == TERMINATED
    assert [Path(f"{place}.log").read_text().splitlines()[-1] for place in hosts.places] == ["told"] * 2


async def test_a_node_that_dies_takes_all_hosts_with_it(rig, cluster):
    hosts = hosts_of(rig, "sleep 600")
    await rig.launch(hosts.order)
    await rig.started(hosts.order)
    cluster.kill_node(hosts.places[1].read_text().strip())
    (end,) = await rig.ends(hosts.order)
    assert (end.cause, rig.alive_of(hosts.order)) == (HOST, [])
