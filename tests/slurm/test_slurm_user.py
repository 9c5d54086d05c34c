"""An ordinary user runs the server on the login node: jobs run as that user, over HTTP as always."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from wire_pipeline import Pipeline, Server, until

NAME = "batchery-test"
CODE = (Path(__file__).parents[2] / "src", Path(sys.executable), Path(os.__file__))


def may_read(path: Path) -> bool:
    """Whether everybody can: each folder on the way may be passed."""
    places = {path, path.resolve()}
    return all(os.stat(part).st_mode & 0o001 for place in places for part in place.parents)


class UsersServer(Server):
    """Started by an ordinary user. Code that only root can read is made readable to the server by the one capability
    that does nothing else; nothing else of root's is left to it, and nothing at all to its jobs."""

    def start(self, *options: str) -> "UsersServer":
        user = pwd.getpwnam(NAME)
        become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        if not all(map(may_read, CODE)):
            become += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        command = [sys.executable, "-m", "batchery", "serve", "--config", str(self.config), "--port", str(self.port)]
        environment = {**os.environ, "HOME": str(self.folder), "USER": NAME, "LOGNAME": NAME}
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [*become, *command, "--data", str(self.folder / "data")],
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
            )
        until(self._healthy, "the server answers", 30)
        return self


def for_others(path: Path, place: Path) -> bool:
    """Whether others can read it, once they are in ``place``."""
    way = [part for part in path.parents if part.is_relative_to(place) and part != place]
    return bool(path.stat().st_mode & 0o044) and all(part.stat().st_mode & 0o011 for part in way)


@pytest.fixture(scope="module")
def place(slurm):
    """A user, with a folder of its own."""
    subprocess.run(["userdel", NAME], capture_output=True, check=False)
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", NAME], check=True)
    folder = Path(tempfile.mkdtemp(prefix="bt-user-"))
    os.chown(folder, pwd.getpwnam(NAME).pw_uid, pwd.getpwnam(NAME).pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["userdel", NAME], check=False)


@pytest.fixture(scope="module")
def server(slurm, place):
    slurm.repair()
    made = UsersServer(place, "kill_grace = 2", "", f"engine = 'slurm'\n[slurm]\nconf = '{slurm.conf}'")
    try:
        yield made.start()
    finally:
        made.end()


@pytest.fixture
def pipeline(server, place, request):
    folder = place / request.node.name  # gates
    folder.mkdir()
    os.chown(folder, pwd.getpwnam(NAME).pw_uid, -1)
    return Pipeline(server, folder)


@pytest.fixture
def queue(pipeline):
    return pipeline.queue(vcpus=96)


def test_jobs_run_as_the_user_and_their_environment_is_for_the_user_alone(pipeline, queue, place):
    variables = {"environment": [{"name": "SECRET", "value": "of nobody else"}]}
    gate = pipeline.gate()
    definition = pipeline.waiting(gate, "id -un; pwd; touch made; echo $SECRET")
    job = pipeline.submit(queue, definition, containerOverrides=variables)
    pipeline.wait(job, "RUNNING")
    until(gate.with_name(f"{gate.name}.{job}.started").exists, "it runs")
    holders = [path for path in place.rglob("*") if path.is_file() and b"of nobody else" in path.read_bytes()]
    orders = [path for path in holders if path.name == "order"]
    assert orders
    user = pwd.getpwnam(NAME)
    for path in orders:
        assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o600, user.pw_uid)
    assert not [path for path in holders if for_others(path, place)], "nobody else can read it"
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")
    name, folder, secret = pipeline.output(job)
    assert (name, secret) == (NAME, "of nobody else")
    assert folder.endswith("/work")


def test_the_secret_is_in_nothing_that_slurm_tells(pipeline, queue, slurm):
    variables = {"environment": [{"name": "SECRET", "value": "of-nobody-else"}]}
    gate = pipeline.gate()
    job = pipeline.submit(queue, pipeline.waiting(gate), containerOverrides=variables)
    pipeline.wait(job, "RUNNING")
    number = slurm.say("squeue", "-h", f"--user={NAME}", "-o", "%A").split()[0]
    told = slurm.say("scontrol", "show", "job", "-dd", number) + slurm.say(
        "scontrol", "write", "batch_script", number, "-"
    )
    assert f"UserId={NAME}" in told
    assert "of-nobody-else" not in told
    gate.touch()
    pipeline.wait(job, "SUCCEEDED")


def test_waiting_jobs_can_be_cancelled_and_running_ones_terminated(pipeline, queue, slurm):
    gate = pipeline.gate()
    whole = {"resourceRequirements": [{"type": "VCPU", "value": "16"}, {"type": "MEMORY", "value": "16"}]}
    definition = pipeline.waiting(gate)
    running = [pipeline.submit(queue, definition, containerOverrides=whole) for _ in range(3)]

    def is_full():
        slurm.resume()  # slurmctld may hear late of what tests before these did to a node
        return all(pipeline.status(job) == "RUNNING" for job in running)

    until(is_full, "the cluster is full")
    waiting = pipeline.submit(queue, definition)
    until(lambda: "Slurm: " in pipeline.job(waiting).get("statusReason", ""), "it waits in Slurm")
    assert pipeline.status(waiting) == "RUNNABLE"
    pipeline.batch.cancel_job(jobId=waiting, reason="not now")
    assert pipeline.wait(waiting, "FAILED")["statusReason"] == "not now"
    pipeline.batch.terminate_job(jobId=running[0], reason="enough")
    ended = pipeline.wait(running[0], "FAILED")
    assert (ended["statusReason"], ended["container"]["exitCode"]) == ("enough", 143)
    gate.touch()
    for job in running[1:]:
        pipeline.wait(job, "SUCCEEDED")
    until(lambda: not slurm.say("squeue", "-h", f"--user={NAME}"), "Slurm has nothing left")


def test_nothing_is_lost_when_the_users_server_is_killed(pipeline, queue, server):
    gate = pipeline.gate()
    job = pipeline.submit(queue, pipeline.waiting(gate, "exit 7"))
    pipeline.wait(job, "RUNNING")
    server.kill()
    gate.touch()
    time.sleep(1)  # it ends while nobody looks
    server.start()
    ended = pipeline.wait(job, "FAILED")
    assert ended["container"]["exitCode"] == 7
    assert len(ended["attempts"]) == 1
