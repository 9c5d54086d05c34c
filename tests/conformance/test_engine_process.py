"""The process engine: what only host processes do."""

import os
import stat
import struct
import time
from pathlib import Path

import pytest

from batchery.config import ImageRule
from batchery.core.messages import Exited, Started, Starting
from batchery.core.model import EXIT, NO_CAPACITY, START_FAILED, TERMINATED, TIMEOUT

IGNORES_TERM = "trap '' TERM; echo $$ >{out}; while :; do sleep .02; done"


async def test_the_log_has_both_streams_in_order_and_its_index_times_them(host):
    before = time.time() * 1000
    order = host.order("sh", "-c", "echo one; echo two >&2; echo three")
    await host.engine.launch([order])
    await host.ended(order)
    assert host.log(order) == "one\ntwo\nthree\n"
    index = Path(order.containers[0].log_path + ".idx").read_bytes()
    offset, at = struct.unpack("<qq", index[-16:])
    assert offset == len("one\ntwo\nthree\n")
    assert before - 1 <= at <= time.time() * 1000 + 1


async def test_the_index_follows_a_log_that_grows(host):
    gate = host.tmp / "more"
    order = host.order("sh", "-c", f"echo first; until [ -e {gate} ]; do sleep .02; done; echo second")
    await host.engine.launch([order])
    index = Path(order.containers[0].log_path + ".idx")
    deadline = time.monotonic() + 20
    while not index.exists():
        assert time.monotonic() < deadline
        await host.engine.survey()
    gate.touch()
    await host.ended(order)
    assert [pair[0] for pair in struct.iter_unpack("<qq", index.read_bytes())] == [6, 13]


async def test_the_environment_is_the_jobs_own_and_nothing_of_the_servers(host, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the server")
    order = host.order("env", environment={"AWS_BATCH_JOB_ID": "j", "WITH": "two\nlines"})
    await host.engine.launch([order])
    await host.ended(order)
    text = host.log(order).replace("two\nlines", "two lines")
    environment = dict(line.split("=", 1) for line in text.splitlines())
    assert environment.pop("BATCHERY_ATTEMPT") == str(order.key)
    assert environment.pop("AWS_BATCH_JOB_ID") == "j"
    assert environment.pop("WITH") == "two lines"
    assert set(environment) == {"PATH", "HOME", "TMPDIR", "LANG"}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="not run: this system has no /proc")
async def test_a_job_finds_no_credentials_at_the_agent_either(own_host, monkeypatch):
    host = own_host
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the server")
    await host.engine.stop_agent()
    await host.connect()
    assert b"AWS_" not in Path(f"/proc/{host.agent}/environ").read_bytes()


async def test_it_has_a_session_no_input_and_only_its_own_descriptors(host):
    order = host.order(
        "python3", "-c", "import os; print(os.getsid(0) == os.getpid(), os.read(0, 1), os.listdir('/proc/self/fd'))"
    )
    await host.engine.launch([order])
    assert (await host.ended(order)).containers[0].exit_code == 0
    session, read, descriptors = host.log(order).strip().split(" ", 2)
    assert (session, read) == ("True", "b''")
    assert eval(descriptors) == ["0", "1", "2", "3"]  # 3 is the listing itself


async def test_signals_that_python_ignores_are_not_ignored_in_jobs(host):
    order = host.order("sh", "-c", "kill -PIPE $$; sleep 5")
    await host.engine.launch([order])
    assert (await host.ended(order)).containers[0].exit_code == 141


async def test_each_attempt_has_an_empty_directory_that_is_removed(host):
    orders = [host.order("sh", "-c", "pwd; ls -A; touch left .hidden; mkdir -p a/b; chmod 500 a") for _ in range(3)]
    for order in orders:
        await host.engine.launch([order])
        await host.ended(order)
        (directory,) = host.log(order).splitlines()  # and nothing that ls found
        assert directory.startswith(str(host.data / "work"))
        assert not Path(directory).exists()


@pytest.mark.parametrize("settings", [{"keep_workdirs": True}])
async def test_directories_can_be_kept(host, settings):
    order = host.order("sh", "-c", "pwd; echo kept >it")
    await host.engine.launch([order])
    await host.ended(order)
    assert (Path(host.log(order).strip()) / "it").read_text() == "kept\n"


async def test_cpu_time_and_peak_memory_are_measured(host):
    end = await host.run("python3", "-c", "x = bytearray(40 << 20); [i for i in range(10 ** 6)]", memory=500)
    assert end.cpu_ms > 10
    assert 40 <= end.peak_mib < 500


# ------------------------------------------------------------------------------------------------- what cannot start


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("no-such-program", "x"), 'exec: "no-such-program": no such file or directory'),
        (("/etc/passwd",), 'exec: "/etc/passwd": permission denied'),
        (("/nowhere/at/all",), 'exec: "/nowhere/at/all": no such file or directory'),
        (("",), "no command specified"),
        (("sh", "a\0b"), 'exec: "sh": invalid argument'),
    ],
)
async def test_what_cannot_be_started_fails_with_the_reason_and_a_hint(host, command, why):
    end = await host.run(*command, image="me/mine:1")
    assert end.cause == START_FAILED
    reason = end.containers[0].reason
    assert reason.startswith("CannotStartContainerError: ")
    assert why in reason
    assert '[process.images."me/mine:1"]' in reason


async def test_a_program_that_moves_is_found_again(host):
    places = [host.tmp / "a", host.tmp / "b"]
    for place in places:
        place.mkdir()
    path = {"PATH": f"{places[0]}:{places[1]}:/usr/bin:/bin"}
    program = places[0] / "tool"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    assert (await host.run("tool", environment=path)).containers[0].exit_code == 7
    program.rename(places[1] / "tool")
    assert (await host.run("tool", environment=path)).containers[0].exit_code == 7


@pytest.mark.parametrize(
    "settings",
    [
        {
            "images": {
                "my/*": ImageRule(entrypoint=["sh", "-c"], path="/usr/bin:/bin", environment={"A": "rule", "B": "rule"})
            }
        }
    ],
)
async def test_an_image_can_stand_for_an_entry_point_a_path_and_variables(host, settings):
    order = host.order('echo "$PATH $A $B $0"', "arg", image="my/image:2", environment={"A": "job"})
    await host.engine.launch([order])
    await host.ended(order)
    assert host.log(order) == "/usr/bin:/bin job rule arg\n"


@pytest.mark.parametrize("settings", [{"prolog": ["sh", "-c", "echo prolog; test -e $READY && touch here"]}])
async def test_a_prolog_runs_first_and_the_attempt_is_starting_meanwhile(host, settings):
    ready = host.tmp / "ready"
    ready.touch()
    order = host.order("sh", "-c", "ls; exit 4", environment={"READY": str(ready)})
    await host.engine.launch([order])
    assert (await host.ended(order)).containers[0].exit_code == 4
    assert [type(r) for r in host.of(order)] == [Starting, Started, Exited]
    assert host.log(order) == "prolog\nhere\n"


@pytest.mark.parametrize("settings", [{"prolog": ["sh", "-c", "exit 9"]}])
async def test_a_prolog_that_fails_is_a_failed_start(host, settings):
    order = host.quick()
    await host.launch(order)
    end = await host.ended(order)
    assert (end.cause, end.started) == (START_FAILED, 0)
    assert end.containers[0].reason == "CannotStartContainerError: prolog exited with 9"
    assert host.times_begun(order) == 0


@pytest.mark.parametrize("settings", [{"prolog": ["sleep", "600"]}])
async def test_a_kill_during_the_prolog_ends_it(host, settings):
    order = host.quick()
    await host.launch(order)
    await host.until(order, Starting)
    assert (await host.engine.survey())[order.key].state == "starting"
    await host.engine.kill([order.key], 10_000)
    end = await host.ended(order)
    assert (end.cause, end.started, end.containers[0].exit_code) == (TERMINATED, 0, None)
    assert host.times_begun(order) == 0


# ------------------------------------------------------------------------------------------------- kills


async def test_who_ignores_sigterm_gets_sigkill_after_the_grace(host):
    out = host.tmp / "pid"
    order = host.order("sh", "-c", IGNORES_TERM.format(out=out))
    await host.engine.launch([order])
    await host.file(out)
    began = time.monotonic()
    await host.engine.kill([order.key], 300)
    end = await host.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (TERMINATED, 137)
    assert time.monotonic() - began >= 0.3


async def test_a_second_kill_may_be_more_impatient(host):
    out = host.tmp / "pid"
    order = host.order("sh", "-c", IGNORES_TERM.format(out=out))
    await host.engine.launch([order])
    await host.file(out)
    await host.engine.kill([order.key], 600_000)
    await host.engine.kill([order.key], 0)
    assert (await host.ended(order)).containers[0].exit_code == 137


async def test_its_own_exit_code_counts_if_it_ends_within_the_grace(host):
    out = host.tmp / "pid"
    script = f"trap 'exit 5' TERM; echo $$ >{out}; while :; do sleep .02; done"
    order = host.order("sh", "-c", script)
    await host.engine.launch([order])
    await host.file(out)
    await host.engine.kill([order.key], 10_000)
    end = await host.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (TERMINATED, 5)


async def test_a_kill_ends_the_whole_tree_and_only_then_is_the_end_told(host, is_alive):
    out = host.tmp / "pids"
    inner = f"trap '' TERM; echo $$ >>{out}.tmp; while :; do sleep .02; done"
    script = (
        f'setsid sh -c "{inner}" & (setsid sh -c "{inner}" &) ; sh -c "{inner}" & '
        f"while [ $(wc -l <{out}.tmp || echo 0) -lt 3 ]; do sleep .02; done; mv {out}.tmp {out}; wait"
    )
    order = host.order("sh", "-c", script)
    await host.engine.launch([order])
    pids = [int(line) for line in (await host.file(out)).split()]
    assert len(pids) == 3
    assert all(is_alive(pid) for pid in pids)
    await host.engine.kill([order.key], 200)
    assert (await host.ended(order)).cause == TERMINATED
    assert not any(is_alive(pid) for pid in pids)


async def test_what_a_job_leaves_behind_is_killed_before_its_end_is_told(host, is_alive):
    out = host.tmp / "pids"
    daemon = f"trap '' TERM HUP; echo $$ >>{out}.tmp; while :; do sleep .02; done"
    script = (
        f'(setsid sh -c "{daemon}" >/dev/null 2>&1 &); sh -c "{daemon}" & '
        f"while [ $(wc -l <{out}.tmp || echo 0) -lt 2 ]; do sleep .02; done; mv {out}.tmp {out}; exit 6"
    )
    order = host.order("sh", "-c", script)
    await host.engine.launch([order])
    end = await host.ended(order)
    assert (end.cause, end.containers[0].exit_code) == (EXIT, 6)
    assert not any(is_alive(int(pid)) for pid in out.read_text().split())


async def test_what_takes_its_key_out_of_its_environment_is_found_by_its_session(host, is_alive):
    out = host.tmp / "pid"
    write = f"echo $$ >{out}.tmp; /bin/mv {out}.tmp {out}; exec /bin/sleep 600"
    script = f"env -i /bin/sh -c '{write}' & until [ -e {out} ]; do sleep .02; done"
    order = host.order("bash", "-c", f"set -m; {script}")  # job control: a group of its own
    await host.engine.launch([order])
    await host.ended(order)
    assert not is_alive(int(out.read_text()))


async def test_a_time_limit_is_kept(host):
    began = time.monotonic()
    end = await host.run("sleep", "600", timeout=300)
    assert (end.cause, end.containers[0].exit_code) == (TIMEOUT, 143)
    assert time.monotonic() - began >= 0.3


async def test_a_time_limit_has_its_own_grace(host):
    end = await host.run("sh", "-c", IGNORES_TERM.format(out="/dev/null"), timeout=100, stop_timeout=100)
    assert (end.cause, end.containers[0].exit_code) == (TIMEOUT, 137)


async def test_the_first_cause_stands(host):
    out = host.tmp / "pid"
    order = host.order("sh", "-c", IGNORES_TERM.format(out=out), timeout=200, stop_timeout=300)
    await host.engine.launch([order])
    await host.file(out)
    await host.engine.kill([order.key], 600)
    assert (await host.ended(order)).cause == TERMINATED


# ------------------------------------------------------------------------------------------------- what the host gives


@pytest.mark.parametrize("settings", [{"gpus": 3}])
async def test_gpus_are_handed_out_by_index(host, settings):
    show = ("sh", "-c", "echo $CUDA_VISIBLE_DEVICES/$NVIDIA_VISIBLE_DEVICES")
    gate = host.tmp / "gate"
    holder = host.order("sh", "-c", f"{show[2]}; until [ -e {gate} ]; do sleep .02; done", gpus=1)
    pair, none, triple = host.order(*show, gpus=2), host.order(*show), host.order(*show, gpus=3)
    assert host.engine.capacity().gpus == 3
    await host.engine.launch([holder, pair, none])
    await host.ended(pair)
    await host.ended(none)
    await host.engine.launch([triple])
    assert (await host.engine.survey())[triple.key].state == "held"
    gate.touch()
    await host.ended(triple)
    assert [host.log(o).strip() for o in (holder, pair, none, triple)] == ["0/0", "1,2/1,2", "/void", "0,1,2/0,1,2"]


async def test_ulimits_are_set(host):
    spec = '{"ulimits":[{"name":"nofile","softLimit":64,"hardLimit":128}]}'
    order = host.order("sh", "-c", "ulimit -n; ulimit -Hn; exit 3", spec=spec)
    await host.engine.launch([order])
    assert (await host.ended(order)).containers[0].exit_code == 3
    assert host.log(order) == "64\n128\n"


async def test_with_ulimits_too_a_program_that_is_not_there_is_a_failed_start(host):
    spec = '{"ulimits":[{"name":"nofile","softLimit":64,"hardLimit":128}]}'
    end = await host.run("no-such-program", spec=spec)
    assert end.cause == START_FAILED
    assert 'exec: "no-such-program": no such file or directory' in end.containers[0].reason


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can start processes of other users")


@needs_root
@pytest.mark.parametrize("settings", [{"user": "nobody"}])
async def test_jobs_can_run_as_another_user(host, settings):
    script = "id -un; id -Gn; touch mine && stat -c %U mine; pwd; ulimit -c; exit 2"
    order = host.order("sh", "-c", script, environment={"LD_PRELOAD": "", "PYTHONPATH": "/tmp"})
    await host.engine.launch([order])
    assert (await host.ended(order)).containers[0].exit_code == 2
    lines = host.log(order).splitlines()
    assert lines[:3] == ["nobody", "nogroup", "nobody"]
    assert [type(r) for r in host.of(order)] == [Started, Exited]
    failed = await host.run("no-such-program")
    assert failed.cause == START_FAILED
    assert (await host.run("sh", "-c", "echo x >/etc/batchery-test")).containers[0].exit_code != 0


@needs_root
@pytest.mark.parametrize("settings", [{"user": "nobody"}])
async def test_jobs_of_another_user_are_killed_and_timed_out_like_any(host, settings):
    assert (await host.run("sleep", "600", timeout=200)).cause == TIMEOUT
    out = host.tmp / "pid"
    host.tmp.chmod(0o777)
    order = host.order("sh", "-c", f"echo $$ >{out}; exec sleep 600")
    await host.engine.launch([order])
    await host.started(order)
    await host.engine.kill([order.key], 10_000)
    assert (await host.ended(order)).containers[0].exit_code == 143


async def test_a_memory_limit_kills_and_is_told_as_aws_does(host):
    facts = host.engine.facts()["memory limits"]
    if not facts.startswith("enforced"):
        if host.cgroups:
            pytest.skip(f"not run: {facts}")
        assert facts == "not enforced: cgroups are switched off"
        return
    end = await host.run("python3", "-c", "x = bytearray(300 << 20)", memory=64)
    assert end.cause == EXIT
    assert (end.containers[0].exit_code, end.containers[0].reason) == (
        137,
        "OutOfMemoryError: Container killed due to memory usage",
    )
    assert end.peak_mib <= 64
    after = await host.run("true", memory=64)  # in the same cgroup, perhaps
    assert (after.containers[0].exit_code, after.containers[0].reason) == (0, "")


async def test_the_socket_is_for_its_owner_only(host):
    path = Path((host.data / "agent" / "socket").read_text())
    assert len(os.fsencode(path)) <= 103
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_what_is_held_in_vain_is_handed_back(host):
    """Another environment may have room; that is the server's to know."""
    first, second = host.gated(vcpus=4000), host.quick(vcpus=4000)
    await host.launch(first, second)
    end = await host.ended(second)
    assert (end.cause, end.started, host.times_begun(second)) == (NO_CAPACITY, 0, 0)
    host.release(first)
    assert (await host.ended(first)).cause == EXIT
    await host.launch(second)
    assert (await host.until(second, Exited, 2)).cause == NO_CAPACITY, "the first answer may have been lost"
    assert host.times_begun(second) == 0, "that key never runs"
