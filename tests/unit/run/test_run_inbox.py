"""When the loop turns, and with what."""

import asyncio
from collections.abc import Callable

import pytest

from batchery.core.messages import Capacities, Command
from batchery.core.model import Capacity
from batchery.run import inbox as module
from batchery.run.inbox import Inbox, Pending


def report(number: int) -> Command:
    return Capacities(Capacity(memory=number))


def command(number: int) -> Pending:
    return Pending(report(number), asyncio.get_running_loop().create_future(), None)


def numbers(batch: list[Pending]) -> list[int]:
    return [pending.command.capacity.memory for pending in batch if isinstance(pending.command, Capacities)]


def never() -> None:
    return None


async def turns(inbox: Inbox, rest: Callable[[], float | None] = never) -> bool:
    """Whether it is time to turn now, or as soon as everything that is ready has run."""
    task = asyncio.create_task(inbox.gather(rest))
    for _ in range(5):
        await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return done


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports wait as long as a test may take."""
    monkeypatch.setattr(module, "REPORTS_S", 3600.0)


async def test_a_command_makes_it_turn_at_once() -> None:
    inbox = Inbox()
    assert not await turns(inbox)
    inbox.put(command(1))
    assert await turns(inbox)
    assert numbers(inbox.take(10)) == [1]
    assert not await turns(inbox)


async def test_a_report_after_a_rest_makes_it_turn_at_once() -> None:
    inbox = Inbox()
    inbox.report([report(1)])
    assert await turns(inbox)


async def test_reports_right_after_a_turn_wait_and_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORTS_S", 0.02)
    inbox = Inbox()
    inbox.take(10)
    inbox.report([report(1)])
    inbox.report([report(2), report(3)])
    assert not await turns(inbox)
    await asyncio.wait_for(inbox.gather(never), 5)
    assert numbers(inbox.take(10)) == [1, 2, 3]


@pytest.mark.usefixtures("slow")
async def test_a_command_takes_waiting_reports_along() -> None:
    inbox = Inbox()
    inbox.take(10)
    inbox.report([report(1)])
    inbox.put(command(9))
    inbox.report([report(2)])
    assert await turns(inbox)
    assert numbers(inbox.take(10)) == [1, 2, 9]
    assert not inbox


@pytest.mark.usefixtures("slow")
async def test_a_knock_is_heard_though_nobody_listens_yet() -> None:
    inbox = Inbox()
    inbox.knock()
    assert await turns(inbox)
    inbox.take(10)
    assert not await turns(inbox)


@pytest.mark.usefixtures("slow")
async def test_what_is_too_much_for_one_turn_stays() -> None:
    inbox = Inbox()
    inbox.report([report(1), report(2), report(3)])
    for number in (7, 8):
        inbox.put(command(number))
    assert len(inbox) == 2
    assert numbers(inbox.take(2)) == [1, 2]
    assert await turns(inbox)
    assert numbers(inbox.take(2)) == [3, 7]
    assert await turns(inbox)
    assert numbers(inbox.take(2)) == [8]
    assert not await turns(inbox)


@pytest.mark.usefixtures("slow")
async def test_reports_beyond_one_turn_do_not_wait() -> None:
    inbox = Inbox()
    inbox.report([report(1), report(2), report(3)])
    assert numbers(inbox.take(2)) == [1, 2]
    assert await turns(inbox)
    assert numbers(inbox.take(2)) == [3]


async def test_an_alarm_makes_it_turn() -> None:
    inbox = Inbox()
    assert await turns(inbox, lambda: 0)
    rests = iter((0.005, 0))
    await asyncio.wait_for(inbox.gather(lambda: next(rests)), 5)


@pytest.mark.usefixtures("slow")
async def test_emptied_it_gives_the_commands_that_somebody_waits_for() -> None:
    inbox = Inbox()
    inbox.report([report(1)])
    inbox.put(command(2))
    assert numbers(inbox.empty()) == [2]
    assert not inbox
