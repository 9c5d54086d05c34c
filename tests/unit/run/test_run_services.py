"""The files of service jobs on this host: written, read, swept, and how long a job has to end."""

import logging
import os
import pwd
import stat
from pathlib import Path

import pytest
from tests.unit.core.building import Batch
from tests.unit.core.test_core_services import service_queue, train

from batchery.config import Config, Process, Service, Services
from batchery.core.messages import Exited
from batchery.core.model import EXIT, TIMEOUT, ContainerEnd, task_id
from batchery.run import services
from batchery.spec.servicefiles import Files

TASK = f"{7:032x}"


def files(root: Path, *opened: str) -> Files:
    return Files(root, ("ml/model", "ml/input/data"), {"ml/request.json": "{}"}, {"ml/input/data/x": "/data"}, opened)


def test_files_are_made_and_made_again(tmp_path: Path) -> None:
    root = tmp_path / "07" / TASK
    for target in ("/data", "/other"):
        made = files(root)
        made.links["ml/input/data/x"] = target
        services.write(tmp_path, made, "")
        assert os.readlink(root / "ml/input/data/x") == target
    (root / "ml/model/result").write_text("kept")
    services.write(tmp_path, files(root), "")
    assert (root / "ml/model/result").read_text() == "kept"
    assert (root / "ml/request.json").read_text() == "{}"


def test_folders_for_containers_take_any_user_and_are_nobodys_to_come_to(tmp_path: Path) -> None:
    root = tmp_path / "07" / TASK
    services.write(tmp_path, files(root, "ml/model"), "")
    assert stat.S_IMODE((root / "ml/model").stat().st_mode) == 0o777
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root gives files away")
def test_files_belong_to_the_user_that_jobs_run_as(tmp_path: Path) -> None:
    root, nobody = tmp_path / "07" / TASK, pwd.getpwnam("nobody")
    services.write(tmp_path, files(root), "nobody")
    for path in (root, *root.rglob("*")):
        assert path.lstat().st_uid == nobody.pw_uid


def test_a_directory_for_another_user_is_not_in_the_data_directory(tmp_path: Path) -> None:
    data = str(tmp_path)
    assert services.root_of(Config(data=data)) == tmp_path / "services"
    assert services.root_of(Config(data=data, services=Services(directory="/big"))) == Path("/big")
    other = services.root_of(Config(data=data, process=Process(user="nobody")))
    assert other.parent == Path("/var/tmp")
    assert other != services.root_of(Config(data=data + "/x", process=Process(user="nobody")))
    assert services.folder_of(Config(data=data), TASK) == tmp_path / "services" / TASK[-2:] / TASK


def test_a_directory_of_somebody_elses_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = services.root_of(Config(data=str(tmp_path), process=Process(user="nobody")))
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    try:
        with pytest.raises(PermissionError, match=r"services\.directory"):
            services.write(root, files(root / "07" / TASK), "")
    finally:
        root.rmdir()


def config_of(tmp_path: Path, **environments: Service) -> Config:
    return Config(data=str(tmp_path), kill_grace=5, services=Services(environments=environments))


def test_the_end_of_a_job_has_what_its_script_wrote_of_its_failure(tmp_path: Path) -> None:
    batch, config = Batch(), config_of(tmp_path)
    job = train(batch, service_queue(batch))
    batch.runs(job)
    key = batch.key(job)
    folder = services.folder_of(config, task_id(key))

    def told(cause: str = EXIT, *ends: ContainerEnd) -> list[str]:
        found = services.told(batch.world, config, Exited(key, batch.now, cause, batch.now, ends))
        assert isinstance(found, Exited)
        return [end.reason for end in found.containers]

    assert told(EXIT, ContainerEnd("default", 3, "")) == [""]  # there is no such file
    for base, words in (("", " no rows \n"), ("algo-2", "x" * 2000), ("algo-3", " ")):
        (folder / base / "ml/output").mkdir(parents=True)
        (folder / base / "ml/output/failure").write_text(words)
    assert told(EXIT, ContainerEnd("default", 3, "")) == ["no rows"]
    assert told(EXIT, ContainerEnd("default", 0, "")) == [""]
    assert told(TIMEOUT, ContainerEnd("default", 3, "")) == [""]
    several = [
        ContainerEnd("algo-2", 1),
        ContainerEnd("algo-1", 143),
        ContainerEnd("algo-3", 1),
        ContainerEnd("algo-4", 0),
    ]
    assert told(EXIT, *several) == ["x" * 1024, "no rows", "", ""]


def test_ends_of_other_jobs_and_of_attempts_that_are_over_are_left_alone(tmp_path: Path) -> None:
    batch, config = Batch(), config_of(tmp_path)
    plain = batch.submit()
    end = Exited(batch.key(plain), batch.now, EXIT, 0, (ContainerEnd("default", 3),))
    assert services.told(batch.world, config, end) is end
    gone = Exited(batch.key(plain)._replace(serial=9), batch.now, EXIT, 0, (ContainerEnd("default", 3),))
    assert services.told(batch.world, config, gone) is gone


def test_a_service_job_has_the_time_of_its_environment_to_end(tmp_path: Path) -> None:
    batch, config = Batch(), config_of(tmp_path, training=Service(stop_timeout=50))
    assert services.longest_grace(batch.world, config) == 5
    job, plain = train(batch, service_queue(batch)), batch.submit()
    keys = [batch.key(job), batch.key(plain)]
    gone = keys[0]._replace(serial=9)
    assert services.by_grace(batch.world, config, [*keys, gone]) == {50: [keys[0]], 5: [keys[1], gone]}
    assert services.longest_grace(batch.world, config) == 50


def test_what_is_old_and_forgotten_goes_and_what_cannot_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def made(name: str, age: int) -> Path:
        path = tmp_path / name[-2:] / name
        (path / "ml").mkdir(parents=True)
        os.utime(path, (1000 - age, 1000 - age))
        return path

    old, young, alive = made("aa01", 500), made("aa02", 10), made("bb02", 500)
    sweeper = services.Sweeper(tmp_path)
    monkeypatch.setattr("batchery.run.services.shutil.rmtree", lambda path, ignore_errors: None)
    with caplog.at_level(logging.WARNING, "batchery.services"):
        for _ in range(2):
            assert sweeper.sweep(800_000, lambda name: name == "bb02") == 0
    assert [str(old) in record.getMessage() for record in caplog.records] == [True]
    monkeypatch.undo()
    assert sweeper.sweep(800_000, lambda name: name == "bb02") == 1
    assert [path.exists() for path in (old, young, alive)] == [False, True, True]
    assert services.Sweeper(tmp_path / "nowhere").sweep(800_000, lambda name: False) == 0
