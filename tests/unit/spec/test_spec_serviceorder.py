"""One attempt of a service job as an engine gets it, and the files that it finds."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.spec.test_spec_service import LARGE, asked, body, channel

from batchery.config import Config, Service, Services, Slurm, SlurmTarget
from batchery.config import Container as Settings
from batchery.core.instances import SERVICE
from batchery.core.model import Attempt, AttemptKey, Environment, Job, Realm, Resources, task_id
from batchery.core.status import OFFERED
from batchery.engines.containerspec import mounted, properties
from batchery.engines.engine import Container, Order
from batchery.spec.service import payload_of, shape_of, template_of
from batchery.spec.servicefiles import Files
from batchery.spec.serviceorder import service_order

HOME = Realm("123456789012", "us-east-1")
KEY = AttemptKey("00000000-0000-4000-8000-000000000001", 0, 2)
TASK = task_id(KEY)
ROOT = Path("/services/ab") / TASK
CHANNELS = [channel("training", "s3://b/in")]


def composed(config: Config, count: int = 1, granted: Resources | None = None, **members: Any) -> tuple[Order, Files]:
    payload = body(ResourceConfig={"InstanceType": LARGE, "InstanceCount": count}, **members)
    arn = "arn:aws:batch:us-east-1:123456789012:service-environment/training"
    environment = Environment(arn, "training", HOME, SERVICE, 9000, "the pool", "[]")
    ask = asked(payload)
    shape = shape_of(ask, payload_of(json.dumps(payload), config.limits), template_of(config, "training"))
    job = Job(KEY.job, 1, HOME, "q", "j", "", shape, 0)
    return service_order(
        attempt=Attempt(KEY, 1, arn, granted or shape.resources, OFFERED, 5),
        job=job,
        spec=msgspec.json.encode(ask).decode(),
        queue_name="fast",
        environment=environment,
        config=config,
        root=ROOT,
        addresses=tuple(f"127.1.0.{number}" for number in range(len(shape.streams) or 1)),
        logs_dir=Path("/logs"),
        given={"AWS_REGION": "us-east-1", "COLOUR": "given"},
    )


def engine(name: str, template: Service | None = None, **members: Any) -> Config:
    services = Services(data={"s3://b": "/data"}, environments={"*": template} if template else {})
    return Config(engine=name, services=services, **members)


def binds(container: Container) -> list[tuple[str, str, bool]]:
    return mounted(properties(container.spec))


def test_a_process_of_the_host_finds_all_by_variables() -> None:
    order, files = composed(engine("process"), InputDataConfig=CHANNELS, HyperParameters={"learning-rate": "1"})
    (container,) = order.containers
    assert (order.engine, order.several, order.pool, order.pool_vcpus) == ("process", False, "the pool", 9000)
    assert (container.name, container.entrypoint, container.command) == ("default", (), ("train",))
    assert (container.on_host, container.spec, container.stop_timeout) == (None, "{}", 120_000)
    found = container.environment
    assert found["SM_MODEL_DIR"] == f"{ROOT}/ml/model"
    assert found["SM_CHANNEL_TRAINING"] == f"{ROOT}/ml/input/data/training"
    assert (found["SM_HP_LEARNING_RATE"], found["SM_CURRENT_HOST"], found["SM_HOSTS"]) == ("1", "algo-1", '["algo-1"]')
    assert found["BATCHERY_SERVICE_REQUEST"] == f"{ROOT}/ml/request.json"
    assert (found["AWS_BATCH_JOB_ATTEMPT"], found["AWS_BATCH_CE_NAME"]) == ("2", "training")
    assert "BATCHERY_HOSTS_FILE" not in found
    assert files.root == ROOT
    assert files.links == {"ml/input/data/training": "/data/in"}
    assert files.open == ()
    assert json.loads(files.texts["ml/input/config/hyperparameters.json"]) == {"learning-rate": "1"}


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_a_container_finds_all_below_opt_ml_and_so_would_a_process_in_its_place(name: str) -> None:
    order, files = composed(engine(name), InputDataConfig=CHANNELS)
    (container,) = order.containers
    assert binds(container) == [
        (f"{ROOT}/ml", "/opt/ml", False),
        (f"{ROOT}/channels", "/opt/ml/input/data", False),
        ("/data/in", "/opt/ml/input/data/training", True),
    ]
    assert container.environment["SM_MODEL_DIR"] == "/opt/ml/model"
    assert container.environment["BATCHERY_SERVICE_REQUEST"] == "/opt/ml/request.json"
    assert "channels/training" in files.folders
    assert "ml/model" in files.open
    assert container.on_host is not None
    assert container.on_host.environment["SM_MODEL_DIR"] == f"{ROOT}/ml/model"
    assert container.on_host.log_path == container.log_path
    assert order.engine == name


def test_nodes_of_slurm_have_containers_where_its_settings_mount_what_they_are_given() -> None:
    def boxed(**members: Any) -> bool:
        order, _ = composed(engine("slurm", slurm=Slurm(**members)))
        return order.containers[0].environment["SM_MODEL_DIR"] == "/opt/ml/model"

    words = ["apptainer", "run", "{mounts}", "docker://{image}"]
    assert boxed(container=words)
    assert not boxed(container=["apptainer", "run", "docker://{image}"])
    assert boxed(environments={"train*": SlurmTarget(container=words)})
    assert not boxed(container=words, environments={"train*": SlurmTarget()})


def test_entry_points_are_the_requests_or_the_settings() -> None:
    def argv(template: Service | None = None, **algorithm: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        order, _ = composed(
            engine("docker", template), AlgorithmSpecification={"TrainingImage": "t", **algorithm}, TrainingJobName="n"
        )
        return order.containers[0].entrypoint, order.containers[0].command

    assert argv(ContainerArguments=["a"]) == ((), ("a",))
    assert argv(ContainerEntrypoint=["e"]) == (("e",), ())
    assert argv(ContainerEntrypoint=["e"], ContainerArguments=["a"]) == (("e",), ("a",))
    own = Service(command=["run", "{request}", "{directory}/x", "--name={name}"])
    assert argv(own) == (("run", "/opt/ml/request.json", "/opt/ml/x", f"--name=AWSBatchn{TASK}"), ())


def test_variables_of_the_job_stand_above_the_settings_and_below_the_services() -> None:
    template = Service(environment={"COLOUR": "template", "A": "template"})
    order, _ = composed(engine("process", template), Environment={"COLOUR": "job", "AWS_BATCH_JOB_ID": "mine"})
    found = order.containers[0].environment
    assert (found["COLOUR"], found["A"], found["AWS_BATCH_JOB_ID"]) == ("job", "template", KEY.job)


def test_every_instance_is_a_host_with_files_and_an_address_of_its_own() -> None:
    template = Service(memory=100, gpus=1, stop_timeout=7)
    order, files = composed(engine("docker", template), 3, Resources(3000, 250, 2), InputDataConfig=CHANNELS)
    assert (order.several, order.address, order.sharing.net) == (True, "127.1.0.0", "")
    names = [one.name for one in order.containers]
    assert names == ["algo-1", "algo-2", "algo-3"]
    assert [(one.essential, one.forgiving, one.decides, one.on_host) for one in order.containers] == [
        (True, True, True, None)
    ] * 3
    second = order.containers[1]
    assert second.resources == Resources(1000, 83, 0)  # the host has less than they ask for: each has its part
    assert second.stop_timeout == 7000
    assert second.hosts == tuple(zip(names, ("127.1.0.0", "127.1.0.1", "127.1.0.2"), strict=True))
    assert second.environment["BATCHERY_NODE_IPV4_ADDRESS"] == "127.1.0.1"
    assert second.environment["BATCHERY_HOSTS_FILE"] == "/opt/ml/input/config/hosts"
    assert second.log_path.endswith(f"{TASK}.algo-2.log")
    assert binds(second)[0] == (f"{ROOT}/algo-2/ml", "/opt/ml", False)
    assert binds(order.containers[0])[0] == (f"{ROOT}/ml", "/opt/ml", False)
    assert files.texts["algo-3/ml/input/config/hosts"].splitlines()[2] == "127.1.0.2 algo-3"
    config = json.loads(files.texts["algo-2/ml/input/config/resourceconfig.json"])
    assert (config["current_host"], config["hosts"], config["network_interface_name"]) == ("algo-2", names, "lo")
    assert files.links["algo-2/ml/input/data/training"] == "/data/in"


def test_hosts_that_are_not_on_the_hosts_network_share_one() -> None:
    apart = engine("podman", container=Settings(network="bridge"))
    assert composed(apart, 2)[0].sharing.net == "task"
    one, files = composed(apart)
    assert one.sharing.net == ""
    assert json.loads(files.texts["ml/input/config/resourceconfig.json"])["network_interface_name"] == "eth0"
    assert composed(engine("process", container=Settings(network="bridge")), 2)[0].sharing.net == ""


def test_on_a_cluster_hosts_are_anywhere_and_say_where_when_they_run() -> None:
    words = ["podman", "run", "{environment}", "{mounts}", "{image}"]
    config = engine("slurm", Service(memory=100, gpus=1), slurm=Slurm(container=words))
    order, files = composed(config, 2, Resources(2000, 150, 1))
    second = order.containers[1]
    assert (order.address, second.hosts) == ("", ())
    assert second.hosts_file == f"{ROOT}/algo-2/ml/input/config/hosts"
    assert second.environment["BATCHERY_HOSTS_FILE"] == "/opt/ml/input/config/hosts"
    assert second.environment["BATCHERY_NODE_IPV4_ADDRESS"] == ""
    assert second.resources == Resources(1000, 100, 1)  # as much as the largest node has, not as all of them together
    assert not any(name.endswith("/hosts") for name in files.texts)
    assert json.loads(files.texts["ml/input/config/resourceconfig.json"])["network_interface_name"] == "eth0"
    alone, _ = composed(config)
    assert (alone.address, alone.containers[0].hosts_file) == ("", "")


def test_an_environment_that_says_single_has_one_host_whatever_the_count() -> None:
    order, files = composed(engine("process", Service(single=True)), 3)
    (container,) = order.containers
    assert (container.name, container.resources.vcpus, order.several) == ("default", 3000, False)
    assert (container.environment["SM_INSTANCE_COUNT"], container.environment["SM_HOSTS"]) == ("3", '["algo-1"]')
    assert not any(name.startswith("algo") for name in files.folders)
