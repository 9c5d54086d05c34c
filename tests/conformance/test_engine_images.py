"""Images from a registry that asks for a password, on real runtimes."""

import asyncio
import itertools

import pytest
from msgspec.structs import replace
from tests.outside.registry import PASSWORD, USER

from batchery.config import Registry
from batchery.core.messages import Exited, Started, Starting
from batchery.core.model import EXIT, START_FAILED, TERMINATED

_tags = itertools.count(1)
PULL_ERROR = "CannotPullContainerError: Error response from daemon: "


@pytest.fixture
def image(box, registry):
    """A new image, and the settings know who may have it."""
    known(box, registry, PASSWORD)
    name = f"team/{box.kind}:{next(_tags)}"
    return registry.push(name, f"this is {name}")


def known(box, registry, password: str) -> None:
    box.engine.pulls._registries = {registry.host: Registry(username=USER, password=password)}


async def test_a_private_image_is_pulled_with_what_the_settings_say(box, image):
    order = box.order(image=image)
    await box.launch(order)
    end = await box.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (EXIT, 0), end
    assert box.log(order).startswith("this is team/")
    assert [type(r) for r in box.of(order)] == [Starting, Started, Exited]
    again = box.order(image=image)
    known_to_nobody = replace(again, containers=(replace(again.containers[0], login=("nobody", "")),))
    await box.launch(known_to_nobody)
    assert (await box.ended(again)).cause == EXIT  # it is here: nothing is pulled, and nothing is told
    assert [type(r) for r in box.of(again)] == [Started, Exited]


async def test_what_a_definition_brings_wins_over_the_settings(box, image, registry):
    known(box, registry, "wrong")
    order = box.order(image=image)
    order = replace(order, containers=(replace(order.containers[0], login=(USER, PASSWORD)),))
    await box.launch(order)
    assert (await box.ended(order)).cause == EXIT


async def test_a_wrong_password_and_none(box, image, registry):
    known(box, registry, "wrong")
    end = await box.run(image=image)
    assert (end.cause, end.started, end.containers[0].exit_code) == (START_FAILED, 0, None)
    assert end.containers[0].reason.startswith(PULL_ERROR)
    assert "unauthorized: authentication required" in end.containers[0].reason
    box.engine.pulls._registries = {}
    reason = (await box.run(image=image)).containers[0].reason
    assert reason.startswith(PULL_ERROR)
    assert "no basic auth credentials" in reason or "unauthorized: authentication required" in reason


async def test_an_image_and_a_tag_that_are_not_in_the_registry(box, image):
    for missing in (image.replace("/team/", "/nobody/"), image + "0"):
        end = await box.run(image=missing)
        assert end.cause == START_FAILED
        assert end.containers[0].reason.startswith(PULL_ERROR)
        assert "manifest unknown" in end.containers[0].reason


@pytest.mark.parametrize("settings", [{"pull": "always"}, {"pull": "missing"}])
async def test_a_tag_that_moved_is_seen_by_who_always_pulls(box, image, registry, settings):
    await box.run(image=image)
    registry.push(image.partition("/")[2], "the second")
    order = box.order(image=image)
    await box.launch(order)
    await box.ended(order)
    assert (box.log(order) == "the second\n") == (settings["pull"] == "always")


async def test_a_slow_pull_is_starting_and_is_one_for_all_who_wait_for_it(box, image, registry):
    registry.door.clear()
    try:
        first, second = box.order(image=image), box.order(image=image)
        await box.launch(first, second)
        await box.until(first, Starting)
        await box.until(second, Starting)
        await asyncio.to_thread(registry.knocked.acquire, timeout=20)
        assert len(box.engine.pulls._going) == 1
        states = await box.engine.survey()
        assert {states[order.key].state for order in (first, second)} == {"starting"}
    finally:
        registry.door.set()
    for order in (first, second):
        assert (await box.ended(order)).containers[0].exit_code == 0


async def test_a_slow_pull_can_be_terminated_and_then_goes_on_no_more(box, image, registry):
    registry.door.clear()
    try:
        order = box.order(image=image)
        await box.launch(order)
        await asyncio.to_thread(registry.knocked.acquire, timeout=20)
        await box.engine.kill([order.key], 10_000)
        end = await box.ended(order)
    finally:
        registry.door.set()
    assert (end.cause, end.started, end.containers[0].exit_code) == (TERMINATED, 0, None)
    assert box.engine.pulls._going == {}
    assert (await box.run(image=image)).containers[0].exit_code == 0
