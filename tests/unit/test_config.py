"""Where settings come from, and which wins."""

from pathlib import Path

import msgspec
import pytest

from batchery.config import Config, ConfigError, Container, Engines, Limits, Process, Slurm, engine_for, load

HOME = {"HOME": "/home/ada"}


def test_nothing_has_to_be_configured() -> None:
    config = load(environ=HOME)
    assert (config.host, config.port, config.engine) == ("127.0.0.1", 8642, "process")
    assert config.data == "/home/ada/.local/share/batchery"
    assert config.logs == config.data + "/logs"
    assert config.limits == Config().limits


def test_data_follow_xdg() -> None:
    assert load(environ={**HOME, "XDG_DATA_HOME": "/srv/xdg"}).data == "/srv/xdg/batchery"
    assert load(environ={**HOME, "XDG_DATA_HOME": "relative"}).data == "/home/ada/.local/share/batchery"


def test_file_then_environment_then_options(tmp_path: Path) -> None:
    file = tmp_path / "batchery.toml"
    file.write_text('host = "10.0.0.1"\nport = 1\nregion = "eu-west-1"\n[process]\nuser = "nobody"\ngpus = 2\n')
    environ = {**HOME, "BATCHERY_PORT": "2", "BATCHERY_HOST": "10.0.0.2", "BATCHERY_PROCESS_GPUS": "3"}
    config = load(str(file), environ, {"port": 3, "host": None})
    assert (config.host, config.port, config.region) == ("10.0.0.2", 3, "eu-west-1")
    assert (config.process.user, config.process.gpus) == ("nobody", 3)


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "batchery.toml"
    file.write_text('data = "state"\n[process.images."python:*"]\nentrypoint = ["/usr/bin/python3"]\n')
    config = load(environ={**HOME, "BATCHERY_CONFIG": str(file)})
    assert config.data == str(tmp_path / "state")  # beside the file
    assert config.process.images["python:*"].entrypoint == ["/usr/bin/python3"]


def test_variables_are_read_by_their_kind() -> None:
    environ = {
        **HOME,
        "BATCHERY_STRICT_HEAD": "true",
        "BATCHERY_REQUIRE_KEYS": "0",
        "BATCHERY_ACCOUNT": "000000000001",
        "BATCHERY_LIMITS_TIMEOUT_SECONDS": "1",
        "BATCHERY_URL": "http://localhost:1",  # a variable of the clients, not a setting
        "BATCHERY_HOST": "",  # empty is unset
    }
    config = load(environ=environ)
    assert config.strict_head is True
    assert config.require_keys is False
    assert config.account == "000000000001"
    assert config.limits.timeout_seconds == 1
    assert config.host == "127.0.0.1"


def test_secrets_and_volumes(tmp_path: Path) -> None:
    file = tmp_path / "batchery.toml"
    file.write_text('[secrets]\nfile = "secrets.toml"\nallow = ["/a/*"]\n[volumes.efs]\nfs-1 = "/mnt/efs"\n')
    config = load(str(file), {**HOME, "BATCHERY_SECRETS_TRIES": "5"})
    assert config.secrets.file == str(tmp_path / "secrets.toml")
    assert (config.secrets.tries, config.secrets.allow) == (5, ("/a/*",))
    assert config.volumes.efs == {"fs-1": "/mnt/efs"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[secrets]\ntries = 0", "secrets.tries is 0, and must be at least 1."),
        ("[secrets]\ntimeout = 0", "secrets.timeout is 0, and must be at least 1."),
        ('[volumes.s3files]\na = "mnt"', r"Every directory under .volumes. and .services.data. must be absolute"),
    ],
)
def test_sections_of_data_that_cannot_be_used(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "batchery.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        load(str(file), HOME)


def test_data_and_logs_are_absolute() -> None:
    config = load(environ={**HOME, "BATCHERY_LOGS": "~/logs"}, options={"data": "here"})
    assert config.data == str(Path.cwd() / "here")
    assert config.logs == str(Path("~/logs").expanduser())


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"BATCHERY_PORT": "http"}, "BATCHERY_PORT is 'http', and must be a whole number."),
        ({"BATCHERY_STRICT_HEAD": "perhaps"}, "BATCHERY_STRICT_HEAD is 'perhaps', and must be true or false."),
        ({"BATCHERY_PORT": "65536"}, "port is 65536, and must be between 0 and 65535."),
        ({"BATCHERY_ACCOUNT": "12"}, "account is '12', and must be 12 digits."),
        ({"BATCHERY_KILL_GRACE": "-1"}, "kill_grace is -1, and must not be negative."),
        ({"BATCHERY_PROCESS_OVERSIZE": "big"}, 'process.oversize is \'big\', and must be "clamp" or "wait".'),
        ({"BATCHERY_LIMITS_PAGE": "0"}, "Every number under [limits] must be at least 1."),
        ({"BATCHERY_CONFIG": "/nowhere.toml"}, "Cannot read the configuration file /nowhere.toml: No such file"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={**HOME, **environ})
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("prot = 8642", "unknown field `prot`"),
        ('port = "8642"', "Expected `int`, got `str` - at `$.port`"),
        ("[process]\nusr = 1", "unknown field `usr`"),
        ("port = ", "is not TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(file), HOME)
    assert str(file) in str(caught.value)
    assert part in str(caught.value)


def test_every_setting_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    tables = {
        Engines: "engines",
        Process: "process",
        Slurm: "slurm",
        Container: "container",
        Limits: "limits",
        Config: "",
    }
    for struct, name in tables.items():
        own = text.partition(f"## `[{name}]`")[2].partition("\n## ")[0] if name else text
        for field in msgspec.structs.fields(struct):
            if not isinstance(field.default, msgspec.Struct):
                row = next((line for line in own.splitlines() if f"`{field.name}`" in line.partition("|")[2]), "")
                assert row, f"{field.name} is not in docs/configuration.md"
                if isinstance(field.default, int) and not isinstance(field.default, bool) and field.default >= 10:
                    assert str(field.default) in row, f"the default of {field.name}"


def test_engines_by_name_then_by_kind(tmp_path: Path) -> None:
    file = tmp_path / "batchery.toml"
    names = '[engines.names]\n"hpc-*" = "slurm"\n"*-1" = "process"\n'
    file.write_text(f'engine = "podman"\n{names}[engines.kinds]\nFARGATE = "docker"\n')
    config = load(str(file), HOME)
    assert config.engines.all() == {"slurm", "process", "docker"}
    chosen = [
        engine_for(config, *one) for one in (("hpc-1", "FARGATE"), ("a-1", "EC2"), ("a", "FARGATE"), ("a", "EC2"))
    ]
    assert chosen == ["slurm", "process", "docker", "podman"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('[engines.kinds]\nLAMBDA = "docker"', "names LAMBDA, and knows EC2, SPOT"),
        ('[engines.names]\n"a" = "auto"', "names 'auto', and knows process"),
        ('engine = "auto"\n[engines.names]\n"a" = "docker"', "can name slurm alone"),
        ("[rates]\nSubmitJob = 0", "must be more than 0"),
    ],
)
def test_engines_and_rates_that_are_refused(tmp_path: Path, lines: str, words: str) -> None:
    file = tmp_path / "batchery.toml"
    file.write_text(lines)
    with pytest.raises(ConfigError, match=words):
        load(str(file), HOME)
