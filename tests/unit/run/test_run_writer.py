"""The writer's thread."""

import asyncio
import threading

import pytest

from batchery.run.writer import Writer


async def test_work_is_done_in_order_and_answered() -> None:
    writer = Writer()
    seen: list[int] = []
    assert await asyncio.gather(*(writer.do(lambda n: seen.append(n) or n, n) for n in range(50))) == list(range(50))
    assert seen == list(range(50))
    writer.close()


async def test_it_is_one_thread_beside_the_loop() -> None:
    writer = Writer()
    threads = {await writer.do(threading.get_ident) for _ in range(5)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    writer.close()


async def test_an_error_is_whose_work_it_was() -> None:
    writer = Writer()
    failing, fine = writer.do(int, "x"), writer.do(int, "1")
    with pytest.raises(ValueError, match="invalid literal"):
        await failing
    assert await fine == 1
    writer.close()


async def test_work_goes_on_when_nobody_waits() -> None:
    writer = Writer()
    gate, done = threading.Event(), threading.Event()
    waiting = [writer.do(gate.wait), writer.do(done.set)]
    for future in waiting:
        future.cancel()
    gate.set()
    writer.close()  # returns when all is done
    assert done.is_set()


def test_a_loop_that_is_gone_needs_no_answer() -> None:
    gate = threading.Event()

    async def leave() -> Writer:
        writer = Writer()
        writer.do(gate.wait)
        return writer

    writer = asyncio.run(leave())
    gate.set()
    writer.close()
