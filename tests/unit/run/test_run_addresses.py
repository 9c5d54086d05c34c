"""Each gang has a row of addresses of its own; where it begins is fixed by its main node's."""

from ipaddress import IPv4Address

from msgspec.structs import replace
from tests.unit.core.building import Batch
from tests.unit.core.test_core_services import service_queue, train

from batchery.core.messages import Started
from batchery.run.addresses import FIRST, Addresses


def test_nodes_stand_in_a_row_from_their_main_nodes_address() -> None:
    batch, addresses = Batch(), Addresses()
    job = batch.submit(nodes=3, main=1)
    main = addresses.node_of(batch.world, batch.jobs[job], batch.key(job))
    assert (main.index, main.main, main.count, main.main_address) == (1, 1, 3, "")
    assert IPv4Address(main.address).is_loopback
    batch.send(Started(batch.key(job), batch.now, main.address))
    others = [Addresses().node_of(batch.world, batch.jobs[job], batch.key(f"{job}#{index}")) for index in (0, 2)]
    assert [int(IPv4Address(one.address)) - int(IPv4Address(main.address)) for one in others] == [-1, 1]
    assert {one.main_address for one in others} == {main.address}


def test_an_address_that_is_not_ours_gives_the_others_none() -> None:
    batch = Batch()
    job = batch.submit(nodes=2)
    batch.send(Started(batch.key(job), batch.now, "10.0.0.7"))
    node = Addresses().node_of(batch.world, batch.jobs[job], batch.key(f"{job}#1"))
    assert (node.address, node.main_address) == ("", "10.0.0.7")
    unnamed = batch.submit(nodes=2)
    batch.send(Started(batch.key(unnamed), batch.now, "node-7"))
    assert Addresses().node_of(batch.world, batch.jobs[unnamed], batch.key(f"{unnamed}#1")).address == ""


def test_no_two_gangs_have_one_address(monkeypatch) -> None:
    monkeypatch.setattr("batchery.run.addresses.task_id", lambda key: f"{7:032x}")  # they all want the same row
    batch, addresses = Batch(), Addresses()
    jobs = [batch.submit(nodes=4) for _ in range(3)]
    rows = [int(IPv4Address(addresses.node_of(batch.world, batch.jobs[job], batch.key(job)).address)) for job in jobs]
    assert rows == [FIRST + 7, FIRST + 11, FIRST + 15]
    batch.runs(jobs[1])
    batch.exits(jobs[1])
    late = batch.submit(nodes=2)
    assert int(IPv4Address(addresses.node_of(batch.world, batch.jobs[late], batch.key(late)).address)) == FIRST + 11


def test_hosts_of_a_training_job_stand_in_a_row_that_no_gang_has(monkeypatch) -> None:
    monkeypatch.setattr("batchery.run.addresses.task_id", lambda key: f"{7:032x}")
    batch, addresses = Batch(), Addresses()
    gang, queue = batch.submit(nodes=4), service_queue(batch)
    addresses.node_of(batch.world, batch.jobs[gang], batch.key(gang))
    jobs = [train(batch, queue, 2), train(batch, queue, 1)]
    batch.jobs[jobs[0]].shape = replace(batch.jobs[jobs[0]].shape, streams=(("algo-1", "", ""), ("algo-2", "", "")))
    rows = [addresses.hosts_of(batch.world, batch.jobs[job], batch.key(job)) for job in jobs]
    first = [str(IPv4Address(FIRST + 11 + number)) for number in range(3)]
    assert rows == [(first[0], first[1]), (first[2],)]
    batch.send(Started(batch.key(jobs[0]), batch.now, "127.9.9.9"))
    again = Addresses().hosts_of(batch.world, batch.jobs[jobs[0]], batch.key(jobs[0]))
    assert again == ("127.9.9.9", "127.9.9.10")
