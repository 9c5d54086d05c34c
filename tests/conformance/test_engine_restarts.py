"""The process engine when the server, the agent or the reaper goes away."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from batchery.config import Process
from batchery.core.messages import Exited, Lost
from batchery.core.model import EXIT, TERMINATED, TIMEOUT
from batchery.engines.engine import EngineError
from batchery.engines.local import LocalEngine


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_jobs_go_on_without_a_server_and_the_next_one_learns_how_they_ended(host):
    ended, running = host.gated(3), host.gated(4)
    await host.launch(ended, running)
    await host.started(running)
    agent = host.agent
    await host.disconnect()
    host.reports.clear()
    host.release(ended)
    await until(lambda: "over" in (host.tmp / "data/agent/journal").read_text())
    await host.connect()
    assert host.agent == agent
    states = await host.engine.survey()
    assert {k: s.state for k, s in states.items()} == {ended.key: "ended", running.key: "running"}
    assert states[ended.key].end.containers[0].exit_code == 3
    host.release(running)
    assert (await host.ended(running)).containers[0].exit_code == 4
    assert host.times_begun(ended) == host.times_begun(running) == 1


async def test_a_killed_agent_is_replaced_and_jobs_end_with_their_true_codes(host):
    orders = [host.gated(code) for code in (0, 7, 9)]
    await host.launch(*orders)
    for order in orders:
        await host.started(order)
    before = host.kill_agent()
    host.release(orders[1])  # may end before there is a new agent
    await host.another_agent(before)
    assert {s.state for s in (await host.engine.survey()).values()} <= {"running", "ended"}
    host.release(orders[0])
    os.kill(pid_of(orders[2]), signal.SIGKILL)
    for order, code in zip(orders, (0, 7, 137), strict=True):
        end = await host.ended(order)
        assert (end.cause, end.containers[0].exit_code) == (EXIT, code)
        assert end.started == host.of(order)[0].at
    assert [host.times_begun(o) for o in orders] == [1, 1, 1]


async def test_ends_not_acknowledged_outlive_the_agent_and_acknowledged_ones_do_not(host):
    kept, forgotten = host.quick(3), host.quick(4)
    await host.launch(kept, forgotten)
    await host.ended(kept)
    await host.ended(forgotten)
    await host.engine.ack([forgotten.key])
    await host.engine.survey()
    before = host.kill_agent()
    await host.another_agent(before)
    assert (await host.until(kept, Exited, 2)).containers[0].exit_code == 3
    assert set(await host.engine.survey()) == {kept.key}


async def test_orders_held_by_a_killed_agent_run_once_all_the_same(host):
    first, second = host.gated(vcpus=4000), host.quick(5, vcpus=4000)
    await host.launch(first, second)
    await host.started(first)
    before = host.kill_agent()
    await host.another_agent(before)
    assert (await host.engine.survey())[second.key].state == "held"
    host.release(first)
    assert (await host.ended(second)).containers[0].exit_code == 5
    assert (host.times_begun(first), host.times_begun(second)) == (1, 1)


async def test_a_kill_survives_the_agent_that_was_at_it(host, is_alive):
    out = host.tmp / "pid"
    order = host.order("sh", "-c", f"trap '' TERM; echo $$ >{out}; while :; do sleep .02; done")
    await host.engine.launch([order])
    pid = int(await host.file(out))
    await host.engine.kill([order.key], 500)
    await host.engine.survey()
    before = host.kill_agent()
    await host.another_agent(before)
    end = await host.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (TERMINATED, 137)
    assert not is_alive(pid)


async def test_a_time_limit_survives_the_agent(host):
    order = host.order("sleep", "600", timeout=1000)
    await host.engine.launch([order])
    await host.started(order)
    before = host.kill_agent()
    await host.another_agent(before)
    end = await host.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (TIMEOUT, 143)
    assert 900 <= end.at - end.started < 15_000


async def test_what_an_adopted_job_leaves_behind_is_killed_too(host, is_alive):
    out, gate = host.tmp / "pid", host.tmp / "gate"
    daemon = f"trap '' TERM HUP; echo $$ >{out}; while :; do sleep .02; done"
    order = host.order("sh", "-c", f'(setsid sh -c "{daemon}" &); until [ -e {gate} ]; do sleep .02; done; exit 8')
    await host.engine.launch([order])
    pid = int(await host.file(out))
    before = host.kill_agent()
    await host.another_agent(before)
    gate.touch()
    assert (await host.ended(order)).containers[0].exit_code == 8
    assert not is_alive(pid)


async def test_a_noted_key_without_a_process_is_lost_and_never_run_again(host):
    order = host.quick()
    await host.engine.survey()
    await host.disconnect()
    await stop_without_noting(host)
    append(host, noted(host, order))
    await host.connect()
    end = await host.ended(order)
    assert isinstance(end, Lost)
    assert end.host
    await host.launch(order)
    await host.until(order, Lost, 2)
    await host.engine.ack([order.key])
    await host.launch(order)
    assert await host.engine.survey() == {}
    assert host.times_begun(order) == 0


async def test_a_process_that_was_noted_too_late_is_found_by_its_key(host):
    order = host.gated(6)
    await host.launch(order)
    await host.started(order)
    journal = host.tmp / "data/agent/journal"
    before = host.agent
    os.kill(before, signal.SIGSTOP)  # nobody writes while we forge
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if "begun" not in line))
    os.kill(before, signal.SIGKILL)
    await host.another_agent(before)
    host.release(order)
    end = await host.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (EXIT, 6)
    assert abs(end.started - host.of(order)[0].at) < 1000
    assert host.times_begun(order) == 1


async def test_what_is_alive_of_a_lost_attempt_is_killed_before_it_is_told(host, is_alive):
    out = host.tmp / "pid"
    daemon = f"trap '' TERM HUP; echo $$ >{out}; while :; do sleep .02; done"
    order = host.order(
        "sh", "-c", f'(setsid sh -c "{daemon}" &); until [ -s {out} ]; do sleep .02; done; exec sleep 600'
    )
    await host.engine.launch([order])
    pid = int(await host.file(out))
    main = pid_of(order)
    before = host.agent
    os.kill(reaper_of(before), signal.SIGKILL)
    os.kill(before, signal.SIGKILL)
    os.kill(main, signal.SIGKILL)  # its code goes to nobody
    await host.another_agent(before)
    assert isinstance(await host.ended(order), Lost)
    assert not is_alive(pid)


async def test_without_its_reaper_an_agent_goes_on(host):
    order = host.gated(5)
    await host.launch(order)
    await host.started(order)
    before = host.agent
    os.kill(reaper_of(before), signal.SIGKILL)
    host.release(order)
    assert (await host.ended(order)).containers[0].exit_code == 5
    await host.engine.ack([order.key])
    await host.another_agent(before)  # idle, it makes way for one with a reaper


async def test_a_torn_last_line_of_the_journal_is_no_harm(host):
    order = host.quick(2)
    await host.launch(order)
    await host.ended(order)
    before = host.agent
    os.kill(before, signal.SIGSTOP)
    with (host.tmp / "data/agent/journal").open("a") as journal:
        journal.write('{"type":"over","news":["exi')
    os.kill(before, signal.SIGKILL)
    await host.another_agent(before)
    assert (await host.until(order, Exited, 2)).containers[0].exit_code == 2


@pytest.mark.parametrize("settings", [{"agent_linger": 0}])
async def test_an_agent_that_is_left_alone_ends_after_its_last_job_and_forgets_nothing(host, settings, is_alive):
    order = host.gated(4)
    await host.launch(order)
    await host.started(order)
    agent, reaper = host.agent, reaper_of(host.agent)
    await host.disconnect()
    host.reports.clear()
    assert is_alive(agent)
    host.release(order)
    await host.gone(agent)
    await host.gone(reaper)
    await host.connect()
    assert host.agent != agent
    assert (await host.ended(order)).containers[0].exit_code == 4


async def test_stopping_the_agent_ends_every_job_and_leaves_no_process(host, is_alive):
    out = host.tmp / "pid"
    order = host.order("sh", "-c", f"trap '' TERM; echo $$ >{out}; while :; do sleep .02; done")
    await host.engine.launch([order])
    pid, agent = int(await host.file(out)), host.agent
    reaper = reaper_of(agent)
    await host.engine.stop_agent()
    assert not any(is_alive(p) for p in (pid, agent, reaper))
    assert not Path((host.tmp / "data/agent/socket").read_text()).exists()
    await host.connect()
    assert (await host.ended(order)).cause == TERMINATED


async def test_two_engines_that_start_at_once_share_one_agent(host):
    await host.engine.stop_agent()
    engines = [LocalEngine(host.tmp / "data", Process(), logs_dir=host.tmp / "logs") for _ in range(2)]
    await asyncio.gather(*(e.start() for e in engines))
    assert engines[0].facts()["agent"] == engines[1].facts()["agent"]
    for engine in engines:
        await engine.close()
    await host.connect()


async def test_an_agent_of_another_version_is_replaced_when_its_jobs_are_done(host, monkeypatch):
    order = host.gated(3)
    await host.launch(order)
    await host.started(order)
    agent = host.agent
    await host.disconnect()
    host.reports.clear()
    monkeypatch.setattr("batchery.__version__", "99.0")
    await host.connect()
    assert host.agent == agent
    host.release(order)
    assert (await host.ended(order)).containers[0].exit_code == 3
    await host.engine.ack([order.key])
    await host.gone(agent)
    assert host.engine.facts()["engine"] == "process"


async def test_no_child_of_the_server_is_left_to_wait_for(host):
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("name", ["no-such-user", "4294967294"])
async def test_a_user_that_is_not_there_is_said_at_the_start(tmp_path, name):
    engine = LocalEngine(tmp_path, Process(user=name), logs_dir=tmp_path)
    with pytest.raises(EngineError, match=f'no user "{name}"'):
        await engine.start()


def pid_of(order) -> int:
    """The main process of an attempt, by its environment."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found = f"BATCHERY_ATTEMPT={order.key}\0".encode() in (entry / "environ").read_bytes()
            except OSError:
                continue
            if found and os.getsid(int(entry.name)) == int(entry.name):
                return int(entry.name)
    raise AssertionError("no such process")


def reaper_of(agent: int) -> int:
    return int(Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[1])


async def stop_without_noting(host) -> None:
    engine = host.make_engine()
    await engine.stop_agent()


def noted(host, order) -> dict:
    container = order.containers[0]
    slip = {
        "key": list(order.key),
        "name": container.name,
        "log_path": container.log_path,
        "timeout": 0,
        "grace": 1000,
        "share": ["pool", 1000, 64, []],
    }
    return {"type": "noted", "slip": slip}


def append(host, line: dict) -> None:
    with (host.tmp / "data/agent/journal").open("a") as journal:
        journal.write(json.dumps(line) + "\n")
