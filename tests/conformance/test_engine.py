"""What every engine does. A new engine is one more rig in conftest.py."""

import re

from batchery.core.messages import Exited, Started
from batchery.core.model import EXIT, START_FAILED, TERMINATED, WITHDRAWN


async def test_an_attempt_is_started_and_exits_with_its_code(rig):
    order = rig.quick(3)
    await rig.launch(order)
    end = await rig.ended(order)
    assert (end.cause, end.containers[0].name, end.containers[0].exit_code) == (EXIT, "default", 3)
    started, exited = rig.of(order, (Started, Exited))  # whatever it was while it was STARTING
    assert 0 < started.at == end.started <= end.at
    assert exited is end


async def test_launching_a_key_twice_runs_it_once(rig):
    order = rig.gated()
    await rig.launch(order, order)
    await rig.started(order)
    await rig.launch(order)
    await rig.until(order, Started, 2)  # it is told again, that is all
    rig.release(order)
    await rig.ended(order)
    await rig.launch(order)
    await rig.until(order, Exited, 2)
    await rig.engine.ack([order.key])
    await rig.launch(order)
    assert order.key not in await rig.engine.survey()
    assert rig.times_begun(order) == 1


async def test_what_was_killed_before_it_came_never_runs(rig):
    order = rig.quick()
    await rig.engine.kill([order.key], 1000)
    await rig.launch(order)
    end = await rig.ended(order)
    assert (end.cause, end.started, rig.times_begun(order)) == (WITHDRAWN, 0, 0)


async def test_what_was_withdrawn_before_it_came_is_handed_back_and_never_runs(rig):
    order = rig.quick()
    await rig.engine.withdraw([order.key])
    end = await rig.ended(order)
    await rig.launch(order)
    await rig.until(order, Exited, 2)
    assert (end.cause, rig.times_begun(order)) == (WITHDRAWN, 0)


async def test_a_held_order_can_be_asked_back(rig):
    first, second = rig.gated(vcpus=4000), rig.quick(vcpus=4000)
    await rig.launch(first, second)
    await rig.started(first)
    await rig.engine.withdraw([second.key])
    assert (await rig.ended(second)).cause == WITHDRAWN
    rig.release(first)
    await rig.ended(first)
    assert rig.times_begun(second) == 0


async def test_a_held_order_that_is_killed_never_runs(rig):
    first, second = rig.gated(vcpus=4000), rig.quick(vcpus=4000)
    await rig.launch(first, second)
    await rig.engine.kill([second.key], 1000)
    assert (await rig.ended(second)).cause == WITHDRAWN
    rig.release(first)
    await rig.ended(first)
    assert rig.times_begun(second) == 0


async def test_asking_back_what_runs_is_answered_by_its_start(rig):
    order = rig.gated()
    await rig.launch(order)
    await rig.started(order)
    await rig.engine.withdraw([order.key])
    await rig.until(order, Started, 2)
    rig.release(order)
    assert (await rig.ended(order)).cause == EXIT


async def test_orders_beyond_the_pool_are_held_and_begin_in_order(rig):
    orders = [rig.gated(vcpus=2000) for _ in range(5)]
    await rig.launch(*orders)
    await rig.started(orders[0])
    await rig.started(orders[1])
    states = await rig.engine.survey()
    assert [states[o.key].state for o in orders] == ["running", "running", "held", "held", "held"]
    rig.release(orders[1])
    await rig.started(orders[2])
    states = await rig.engine.survey()
    assert [states[o.key].state for o in orders] == ["running", "ended", "running", "held", "held"]
    for order, next_one in ((orders[0], orders[3]), (orders[2], orders[4])):
        rig.release(order)
        await rig.ended(order)
        await rig.started(next_one)
    for order in orders[3:]:
        rig.release(order)
        await rig.ended(order)
    begun = [r.key for r in rig.reports if isinstance(r, Started)]
    if not rig.starts_in_order:  # two that begin together start as quickly as the runtime makes them
        begun.sort(key=[o.key for o in orders].index)
    assert {*begun[:2]} == {o.key for o in orders[:2]}  # on a cluster, these begin at the same time
    assert begun[2:] == [o.key for o in orders[2:]]


async def test_orders_beyond_the_memory_are_held_whatever_their_pool(rig):
    large, larger = rig.gated(memory=600, pool="a"), rig.gated(memory=500, pool="b")
    small = rig.gated(memory=100, pool="c")
    await rig.launch(large, larger, small)
    await rig.started(large)
    states = await rig.engine.survey()
    assert [states[o.key].state for o in (large, larger, small)] == ["running", "held", "held"]
    rig.release(large)
    for order in (larger, small):
        await rig.started(order)
        rig.release(order)
        await rig.ended(order)


async def test_a_full_pool_does_not_hold_back_another(rig):
    first, second = rig.gated(vcpus=4000, pool="a"), rig.quick(pool="a")
    other = rig.quick(pool="b")
    await rig.launch(first, second, other)
    await rig.ended(other)
    assert not rig.of(second)
    rig.release(first)
    await rig.ended(second)


async def test_an_order_larger_than_host_and_pool_runs_alone(rig):
    small, huge, after = rig.gated(), rig.gated(memory=10_000, vcpus=64_000), rig.quick()
    await rig.launch(small, huge, after)
    await rig.started(small)
    assert not rig.of(huge)
    rig.release(small)
    await rig.started(huge)
    assert not rig.of(after)
    rig.release(huge)
    await rig.ended(huge)
    await rig.ended(after)


async def test_a_kill_ends_what_runs(rig):
    order = rig.gated()
    await rig.launch(order)
    await rig.started(order)
    await rig.engine.kill([order.key], 10_000)
    end = await rig.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (TERMINATED, 143)


async def test_a_kill_of_what_has_ended_tells_the_end_again(rig):
    order = rig.quick(4)
    await rig.launch(order)
    first = await rig.ended(order)
    await rig.engine.kill([order.key], 0)
    assert await rig.until(order, Exited, 2) == first


async def test_what_cannot_be_started_says_why(rig):
    order = rig.order()
    await rig.launch(order)
    end = await rig.ended(order)
    assert (end.cause, end.started, end.containers[0].exit_code) == (START_FAILED, 0, None)
    assert re.match("Cannot(Start|Create)ContainerError: .*no command", end.containers[0].reason, re.I)
    assert not rig.of(order, Started)


async def test_a_survey_knows_what_is_held_what_runs_and_what_ended_until_it_is_acknowledged(rig):
    ended, running, held = rig.quick(5), rig.gated(vcpus=3000), rig.gated(vcpus=3000)
    await rig.launch(ended)
    end = await rig.ended(ended)
    await rig.launch(running, held)
    await rig.started(running)
    states = await rig.engine.survey()
    assert {k: s.state for k, s in states.items()} == {ended.key: "ended", running.key: "running", held.key: "held"}
    assert states[ended.key].end == end
    await rig.engine.ack([ended.key])
    assert set(await rig.engine.survey()) == {running.key, held.key}


async def test_a_new_server_hears_again_of_what_is_not_acknowledged(rig):
    acknowledged, ended, running = rig.quick(1), rig.quick(2), rig.gated(3)
    await rig.launch(acknowledged, ended, running)
    await rig.ended(acknowledged)
    await rig.ended(ended)
    await rig.started(running)
    await rig.engine.ack([acknowledged.key])
    await rig.engine.survey()  # what was sent before it has arrived
    await rig.disconnect()
    rig.reports.clear()
    await rig.connect()
    assert (await rig.ended(ended)).containers[0].exit_code == 2
    await rig.started(running)
    rig.release(running)
    assert (await rig.ended(running)).containers[0].exit_code == 3
    assert not rig.of(acknowledged)


async def test_capacity_and_facts_can_be_told(rig):
    assert rig.engine.capacity().memory == 1000
    assert rig.engine.capacity().clamp
    assert rig.engine.facts()["engine"] == rig.engine.name
