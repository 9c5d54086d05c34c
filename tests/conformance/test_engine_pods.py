"""Attempts of several containers, on every engine that runs some."""

import pytest

from batchery.core.messages import Exited, Started, Starting
from batchery.core.model import EXIT, START_FAILED, TERMINATED, TIMEOUT
from batchery.core.pod import COMPLETE, START, SUCCESS

FIRST = {"main": [("setup", SUCCESS)]}


def codes(end: Exited) -> dict[str, int | None]:
    return {one.name: one.exit_code for one in end.containers}


async def test_all_containers_run_and_each_has_its_own_code_and_log(pods):
    order = pods.pod({"a": "echo of a; exit 0", "b": "echo of b; exit 3"}, aside=["b"])
    await pods.engine.launch([order])
    end = await pods.ended(order)
    assert end.cause == EXIT
    assert codes(end)["a"] == 0
    assert {one.name: one.decides for one in end.containers} == {"a": True, "b": False}
    assert "of a" in pods.log_of(order, "a")
    assert [type(r) for r in pods.of(order)][-1] is Exited


async def test_a_pod_is_starting_until_all_have_begun(pods):
    order = pods.pod({"setup": pods.wait("gate"), "main": "exit 0"}, aside=["setup"], after=FIRST)
    await pods.engine.launch([order])
    await pods.until(order, Starting)
    await pods.begun(order, "setup")
    assert not pods.of(order, Started)
    pods.open("gate")
    await pods.started(order)
    end = await pods.ended(order)
    assert codes(end) == {"setup": 0, "main": 0}
    assert end.started


async def test_the_end_of_an_essential_one_stops_the_others(pods):
    script = f"trap 'echo stopped; exit 5' TERM; {pods.mark('side')}; while :; do sleep .05; done"
    order = pods.pod({"side": script, "main": pods.wait("gate")}, aside=["side"])
    await pods.engine.launch([order])
    await pods.begun(order, "side")
    await pods.started(order)
    pods.open("gate")
    end = await pods.ended(order)
    assert (end.cause, codes(end)) == (EXIT, {"main": 0, "side": 5})
    assert "stopped" in pods.log_of(order, "side")


async def test_one_that_does_not_stop_is_killed_after_its_own_time(pods):
    script = f"trap '' TERM; {pods.mark('side')}; while :; do sleep .05; done"
    order = pods.pod({"side": script, "main": pods.wait("gate")}, aside=["side"], stop={"side": 300})
    await pods.engine.launch([order])
    await pods.begun(order, "side")
    pods.open("gate")
    assert codes(await pods.ended(order)) == {"main": 0, "side": 137}


async def test_dependencies_decide_the_order(pods):
    order = pods.pod(
        {"c": "echo c >>{order}; exit 0", "a": "echo a >>{order}; exit 2", "b": "echo b >>{order}; exit 0"},
        aside=["a", "b"],
        after={"b": [("a", COMPLETE)], "c": [("b", SUCCESS)]},
    )
    await pods.engine.launch([order])
    end = await pods.ended(order)
    assert (pods.tmp / f"{order.key.job}.order").read_text().split() == ["a", "b", "c"]
    assert codes(end) == {"a": 2, "b": 0, "c": 0}


async def test_a_dependency_that_fails_is_a_failure_to_start(pods):
    order = pods.pod({"main": "exit 0", "setup": "exit 3"}, aside=["setup"], after=FIRST)
    await pods.engine.launch([order])
    end = await pods.ended(order)
    assert (end.cause, end.started, codes(end)) == (START_FAILED, 0, {"setup": 3, "main": None})
    reason = next(one.reason for one in end.containers if one.name == "main")
    assert reason == "CannotStartContainerError: dependency setup exited with 3"


async def test_nobody_waits_longer_than_the_start_timeout(pods):
    order = pods.pod(
        {"main": "exit 0", "setup": pods.wait("never")},
        aside=["setup"],
        after={"main": [("setup", COMPLETE)]},
        start={"setup": 500},
    )
    await pods.engine.launch([order])
    end = await pods.ended(order)
    assert end.cause == START_FAILED
    assert codes(end)["main"] is None
    assert codes(end)["setup"] in (137, 143)


async def test_what_cannot_be_started_is_told_and_stops_the_rest(pods):
    order = pods.pod({"side": pods.wait("never"), "main": None}, aside=["side"], after={"main": [("side", START)]})
    await pods.engine.launch([order])
    end = await pods.ended(order)
    assert end.cause == START_FAILED
    assert codes(end)["main"] is None
    assert "Cannot" in next(one.reason for one in end.containers if one.name == "main")


async def test_a_kill_ends_all_of_it(pods):
    order = pods.pod({"a": pods.wait("never"), "b": pods.wait("never")})
    await pods.engine.launch([order])
    await pods.started(order)
    await pods.begun(order, "a")
    await pods.begun(order, "b")
    await pods.engine.kill([order.key], 10_000)
    end = await pods.ended(order)
    assert (end.cause, codes(end)) == (TERMINATED, {"a": 143, "b": 143})


async def test_a_kill_in_a_hurry(pods):
    script = f"trap '' TERM; {pods.mark('a')}; while :; do sleep .05; done"
    order = pods.pod({"a": script})
    await pods.engine.launch([order])
    await pods.begun(order, "a")
    await pods.engine.kill([order.key], 0)
    end = await pods.ended(order)
    assert (end.cause, codes(end)) == (TERMINATED, {"a": 137})


async def test_a_kill_while_it_is_starting(pods):
    order = pods.pod({"setup": pods.wait("never"), "main": "exit 0"}, aside=["setup"], after=FIRST)
    await pods.engine.launch([order])
    await pods.begun(order, "setup")
    await pods.engine.kill([order.key], 10_000)
    end = await pods.ended(order)
    assert (end.cause, codes(end)) == (TERMINATED, {"setup": 143, "main": None})


async def test_the_time_limit_is_the_pod_s(pods):
    order = pods.pod({"a": pods.wait("never"), "b": pods.wait("never")}, timeout=1000)
    await pods.engine.launch([order])
    end = await pods.ended(order)
    assert (end.cause, codes(end)) == (TIMEOUT, {"a": 143, "b": 143})


async def test_a_pod_of_kubernetes_ends_with_its_last_container(pods):
    order = pods.kubernetes(
        {"one": "echo 1 >>{order}", "two": "echo 2 >>{order}"}, {"a": "exit 0", "b": pods.wait("gate") + "; exit 4"}
    )
    await pods.engine.launch([order])
    await pods.started(order)
    pods.open("gate")
    end = await pods.ended(order)
    assert (pods.tmp / f"{order.key.job}.order").read_text().split() == ["1", "2"]
    assert (end.cause, codes(end)) == (EXIT, {"one": 0, "two": 0, "a": 0, "b": 4})


@pytest.mark.parametrize("when", ["starting", "running"])
async def test_a_new_server_finds_it(pods, when):
    order = pods.pod(
        {"setup": pods.wait("first"), "main": pods.wait("second") + "; exit 6"},
        aside=["setup"],
        after=FIRST,
    )
    await pods.engine.launch([order])
    await pods.begun(order, "setup")
    if when == "running":
        pods.open("first")
        await pods.started(order)
        await pods.begun(order, "main")
    await pods.disconnect()
    pods.reports.clear()
    await pods.connect()
    pods.open("first")
    await pods.started(order)
    pods.open("second")
    end = await pods.ended(order)
    assert (end.cause, codes(end)) == (EXIT, {"setup": 0, "main": 6})
