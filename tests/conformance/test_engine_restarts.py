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


async def test_jobs_go_on_without_a_server_and_the_next_one_learns_how_they_ended(own_host):
    ended, running = own_host.gated(3), own_host.gated(4)
    await own_host.launch(ended, running)
    await own_host.started(running)
    agent = own_host.agent
    await own_host.disconnect()
    own_host.reports.clear()
    own_host.release(ended)
    await until(lambda: "over" in (own_host.data / "agent/journal").read_text())
    await own_host.connect()
    assert own_host.agent == agent
    states = await own_host.engine.survey()
    assert {k: s.state for k, s in states.items()} == {ended.key: "ended", running.key: "running"}
    assert states[ended.key].end.containers[0].exit_code == 3
    own_host.release(running)
    assert (await own_host.ended(running)).containers[0].exit_code == 4
    assert own_host.times_begun(ended) == own_host.times_begun(running) == 1


async def test_a_killed_agent_is_replaced_and_jobs_end_with_their_true_codes(own_host):
    orders = [own_host.gated(code) for code in (0, 7, 9)]
    await own_host.launch(*orders)
    for order in orders:
        await own_host.started(order)
    before = own_host.kill_agent()
    own_host.release(orders[1])  # may end before there is a new agent
    await own_host.another_agent(before)
    assert {s.state for s in (await own_host.engine.survey()).values()} <= {"running", "ended"}
    own_host.release(orders[0])
    os.kill(pid_of(orders[2]), signal.SIGKILL)
    for order, code in zip(orders, (0, 7, 137), strict=True):
        end = await own_host.ended(order)
        assert (end.cause, end.containers[0].exit_code) == (EXIT, code)
        assert end.started == own_host.of(order)[0].at
    assert [own_host.times_begun(o) for o in orders] == [1, 1, 1]


async def test_ends_not_acknowledged_outlive_the_agent_and_acknowledged_ones_do_not(own_host):
    kept, forgotten = own_host.quick(3), own_host.quick(4)
    await own_host.launch(kept, forgotten)
    await own_host.ended(kept)
    await own_host.ended(forgotten)
    await own_host.engine.ack([forgotten.key])
    await own_host.engine.survey()
    before = own_host.kill_agent()
    await own_host.another_agent(before)
    assert (await own_host.until(kept, Exited, 2)).containers[0].exit_code == 3
    assert set(await own_host.engine.survey()) == {kept.key}


async def test_orders_held_by_a_killed_agent_run_once_all_the_same(own_host):
    first, second = own_host.gated(vcpus=4000), own_host.quick(5, vcpus=4000)
    await own_host.launch(first, second)
    await own_host.started(first)
    before = own_host.kill_agent()
    await own_host.another_agent(before)
    assert (await own_host.engine.survey())[second.key].state == "held"
    own_host.release(first)
    assert (await own_host.ended(second)).containers[0].exit_code == 5
    assert (own_host.times_begun(first), own_host.times_begun(second)) == (1, 1)


async def test_a_kill_survives_the_agent_that_was_at_it(own_host, is_alive):
    out = own_host.tmp / "pid"
    order = own_host.order("sh", "-c", f"trap '' TERM; echo $$ >{out}; while :; do sleep .02; done")
    await own_host.engine.launch([order])
    pid = int(await own_host.file(out))
    await own_host.engine.kill([order.key], 500)
    await own_host.engine.survey()
    before = own_host.kill_agent()
    await own_host.another_agent(before)
    end = await own_host.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (TERMINATED, 137)
    assert not is_alive(pid)


async def test_a_time_limit_survives_the_agent(own_host):
    order = own_host.order("sleep", "600", timeout=1000)
    await own_host.engine.launch([order])
    await own_host.started(order)
    before = own_host.kill_agent()
    await own_host.another_agent(before)
    end = await own_host.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (TIMEOUT, 143)
    assert 900 <= end.at - end.started < 15_000


async def test_what_an_adopted_job_leaves_behind_is_killed_too(own_host, is_alive):
    out, gate = own_host.tmp / "pid", own_host.tmp / "gate"
    daemon = f"trap '' TERM HUP; echo $$ >{out}; while :; do sleep .02; done"
    order = own_host.order("sh", "-c", f'(setsid sh -c "{daemon}" &); until [ -e {gate} ]; do sleep .02; done; exit 8')
    await own_host.engine.launch([order])
    pid = int(await own_host.file(out))
    before = own_host.kill_agent()
    await own_host.another_agent(before)
    gate.touch()
    assert (await own_host.ended(order)).containers[0].exit_code == 8
    assert not is_alive(pid)


async def test_a_noted_key_without_a_process_is_lost_and_never_run_again(own_host):
    order = own_host.quick()
    await own_host.engine.survey()
    await own_host.disconnect()
    await stop_without_noting(own_host)
    append(own_host, noted(order))
    await own_host.connect()
    end = await own_host.ended(order)
    assert isinstance(end, Lost)
    assert end.host
    await own_host.launch(order)
    await own_host.until(order, Lost, 2)
    await own_host.engine.ack([order.key])
    await own_host.launch(order)
    assert await own_host.engine.survey() == {}
    assert own_host.times_begun(order) == 0


async def test_a_process_that_was_noted_too_late_is_found_by_its_key(own_host):
    order = own_host.gated(6)
    await own_host.launch(order)
    await own_host.started(order)
    journal = own_host.data / "agent/journal"
    before = own_host.agent
    os.kill(before, signal.SIGSTOP)  # nobody writes while we forge
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if "begun" not in line))
    os.kill(before, signal.SIGKILL)
    await own_host.another_agent(before)
    own_host.release(order)
    end = await own_host.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (EXIT, 6)
    assert abs(end.started - own_host.of(order)[0].at) < 1000
    assert own_host.times_begun(order) == 1


async def test_what_is_alive_of_a_lost_attempt_is_killed_before_it_is_told(own_host, is_alive):
    out = own_host.tmp / "pid"
    daemon = f"trap '' TERM HUP; echo $$ >{out}; while :; do sleep .02; done"
    order = own_host.order(
        "sh", "-c", f'(setsid sh -c "{daemon}" &); until [ -s {out} ]; do sleep .02; done; exec sleep 600'
    )
    await own_host.engine.launch([order])
    pid = int(await own_host.file(out))
    main = pid_of(order)
    before = own_host.agent
    os.kill(reaper_of(before), signal.SIGKILL)
    os.kill(before, signal.SIGKILL)
    os.kill(main, signal.SIGKILL)  # its code goes to nobody
    await own_host.another_agent(before)
    assert isinstance(await own_host.ended(order), Lost)
    assert not is_alive(pid)


async def test_without_its_reaper_an_agent_goes_on(own_host):
    order = own_host.gated(5)
    await own_host.launch(order)
    await own_host.started(order)
    before = own_host.agent
    os.kill(reaper_of(before), signal.SIGKILL)
    own_host.release(order)
    assert (await own_host.ended(order)).containers[0].exit_code == 5
    await own_host.engine.ack([order.key])
    await own_host.another_agent(before)  # idle, it makes way for one with a reaper


async def test_a_torn_last_line_of_the_journal_is_no_harm(own_host):
    order = own_host.quick(2)
    await own_host.launch(order)
    await own_host.ended(order)
    before = own_host.agent
    os.kill(before, signal.SIGSTOP)
    with (own_host.data / "agent/journal").open("a") as journal:
        journal.write('{"type":"over","news":["exi')
    os.kill(before, signal.SIGKILL)
    await own_host.another_agent(before)
    assert (await own_host.until(order, Exited, 2)).containers[0].exit_code == 2


@pytest.mark.parametrize("settings", [{"agent_linger": 0}])
async def test_an_agent_that_is_left_alone_ends_after_its_last_job_and_forgets_nothing(own_host, settings, is_alive):
    order = own_host.gated(4)
    await own_host.launch(order)
    await own_host.started(order)
    agent, reaper = own_host.agent, reaper_of(own_host.agent)
    await own_host.disconnect()
    own_host.reports.clear()
    assert is_alive(agent)
    own_host.release(order)
    await own_host.gone(agent)
    await own_host.gone(reaper)
    await own_host.connect()
    assert own_host.agent != agent
    assert (await own_host.ended(order)).containers[0].exit_code == 4


async def test_stopping_the_agent_ends_every_job_and_leaves_no_process(own_host, is_alive):
    out = own_host.tmp / "pid"
    order = own_host.order("sh", "-c", f"trap '' TERM; echo $$ >{out}; while :; do sleep .02; done")
    await own_host.engine.launch([order])
    pid, agent = int(await own_host.file(out)), own_host.agent
    reaper = reaper_of(agent)
    await own_host.engine.stop_agent()
    assert not any(is_alive(p) for p in (pid, agent, reaper))
    assert not Path((own_host.data / "agent/socket").read_text()).exists()
    await own_host.connect()
    assert (await own_host.ended(order)).cause == TERMINATED


async def test_two_engines_that_start_at_once_share_one_agent(own_host):
    await own_host.engine.stop_agent()
    engines = [LocalEngine(own_host.data, Process(), logs_dir=own_host.tmp / "logs") for _ in range(2)]
    await asyncio.gather(*(e.start() for e in engines))
    assert engines[0].facts()["agent"] == engines[1].facts()["agent"]
    for engine in engines:
        await engine.close()
    await own_host.connect()


async def test_an_agent_of_another_version_is_replaced_when_its_jobs_are_done(own_host, monkeypatch):
    order = own_host.gated(3)
    await own_host.launch(order)
    await own_host.started(order)
    agent = own_host.agent
    await own_host.disconnect()
    own_host.reports.clear()
    monkeypatch.setattr("batchery.__version__", "99.0")
    await own_host.connect()
    assert own_host.agent == agent
    own_host.release(order)
    assert (await own_host.ended(order)).containers[0].exit_code == 3
    await own_host.engine.ack([order.key])
    await own_host.gone(agent)
    assert own_host.engine.facts()["engine"] == "process"


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.fixture
def children_before() -> set[str]:
    """Other tests of this process may have servers of their own."""
    return children()


async def test_no_child_of_the_server_is_left_to_wait_for(children_before, own_host):
    names = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children() - children_before]
    assert not [name for name in names if not name or b"batchery" in name]


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


async def stop_without_noting(own_host) -> None:
    engine = own_host.make_engine()
    await engine.stop_agent()


def noted(order) -> dict:
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


def append(own_host, line: dict) -> None:
    with (own_host.data / "agent/journal").open("a") as journal:
        journal.write(json.dumps(line) + "\n")
