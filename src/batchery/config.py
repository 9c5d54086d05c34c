"""Every setting and every limit, in one struct, with its source.

`load` reads a TOML file, then environment variables, then command-line options; later ones win. A setting is spelled
`port` in the file and BATCHERY_PORT in the environment; one in a section, `[limits] timeout_seconds`, is
BATCHERY_LIMITS_TIMEOUT_SECONDS. Lists and tables (`[process.images]`) have no variable. docs/configuration.md.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec
from msgspec import Struct

T = TypeVar("T")


class ConfigError(Exception):
    """A setting cannot be used; the text is one sentence for the user."""


class ImageRule(Struct, frozen=True, forbid_unknown_fields=True):
    """[process.images."PATTERN"]: how the process engine stands in for an image."""

    entrypoint: list[str] = []
    path: str = ""
    environment: dict[str, str] = {}


class Process(Struct, frozen=True, forbid_unknown_fields=True):
    """[process]: host processes."""

    user: str = ""  # host user that jobs run as; "" is the server's own
    environment: dict[str, str] = {}  # given to every job
    images: dict[str, ImageRule] = {}  # image pattern (shell wildcards) -> how to run it
    prolog: list[str] = []  # run before each job, in its working directory and environment; STARTING meanwhile
    oversize: str = "clamp"  # clamp | wait
    memory: int = 0  # MiB to hand out; 0 is the host's
    gpus: int = -1  # -1: count them
    keep_workdirs: bool = False
    agent_linger: int = 60  # s the agent stays after its last job when no server is there


class SlurmTarget(Struct, frozen=True, forbid_unknown_fields=True):
    """[slurm.environments."PATTERN"]: how jobs of these compute environments are sent to Slurm."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    options: list[str] = []  # further options of sbatch
    container: list[str] = []  # put before the command: see slurm.md, "Images". Empty: processes of the node


class Slurm(SlurmTarget, frozen=True, forbid_unknown_fields=True):
    """[slurm]: a Slurm cluster. Its own members are for environments that no pattern fits."""

    conf: str = ""  # slurm.conf; "" is what Slurm's commands find by themselves
    rest: str = ""  # slurmrestd: unix:/path, http://host:port or https://host; "" is Slurm's commands
    rest_token: str = ""  # file with the JSON Web Token for it; read again when it changes
    environments: dict[str, SlurmTarget] = {}  # pattern of names (shell wildcards) -> target


class Registry(Struct, frozen=True, forbid_unknown_fields=True):
    """[container.registries."HOST"]: who we are to a registry of images."""

    username: str = ""
    password: str = ""
    password_file: str = ""  # read at every pull; wins over `password`


class Container(Struct, frozen=True, forbid_unknown_fields=True):
    """[container]: jobs in containers of Docker or Podman."""

    socket: str = ""  # of the runtime's API; "" looks where they usually are
    network: str = "host"  # host | bridge | none
    pull: str = "missing"  # missing | always | never
    registries: dict[str, Registry] = {}
    volumes: list[str] = []  # given to every job: "/data" or "/host:/inside" or "/host:/inside:ro"
    ulimits: dict[str, str] = {}  # of jobs that name none: {nofile = "1024:20000"}
    prolog: list[str] = []  # run on the host before each container, in the job's environment; STARTING meanwhile
    oversize: str = "clamp"  # clamp | wait
    memory: int = 0  # MiB to hand out; 0 is the host's
    gpus: int = -1  # -1: count them

    def volumes_given(self) -> list[str]:
        """``volumes`` as binds."""
        return [one if ":" in one else f"{one}:{one}" for one in self.volumes]


class Volumes(Struct, frozen=True, forbid_unknown_fields=True):
    """[volumes]: where file systems of AWS that definitions name are mounted on this host."""

    efs: dict[str, str] = {}  # file system or access point id -> directory
    s3files: dict[str, str] = {}  # file system or access point ARN -> directory


class Secrets(Struct, frozen=True, forbid_unknown_fields=True):
    """[secrets]: where the values of a definition's secrets come from, when its job starts."""

    file: str = ""  # TOML: names or ARNs to values; asked first
    aws: bool = False  # ask AWS Secrets Manager and the Parameter Store, with boto3's own credentials
    endpoint: str = ""  # what speaks like them, instead of AWS
    profile: str = ""  # of boto3's credentials
    tries: int = 3
    timeout: int = 5  # s, of one try
    allow: tuple[str, ...] = ("*",)  # patterns (shell wildcards) of references that jobs may have


class Engines(Struct, frozen=True, forbid_unknown_fields=True):
    """[engines]: which engine runs the jobs of an environment, where it is not `engine`. Names win over kinds."""

    names: dict[str, str] = {}  # pattern of names (shell wildcards; the first that fits) -> engine
    kinds: dict[str, str] = {}  # EC2, SPOT, FARGATE, FARGATE_SPOT, UNMANAGED, ECS_MANAGED_INSTANCES, EKS, EKS_SPOT

    def all(self) -> set[str]:
        """Every engine that is named."""
        return {*self.names.values(), *self.kinds.values()}


class Service(Struct, frozen=True, forbid_unknown_fields=True):
    """[services.environments."PATTERN"]: how jobs of these service environments run."""

    command: list[str] = []  # in place of the image's and "train"; {request}, {directory}, {name} are filled in
    memory: int = 1024  # MiB that each instance of a job holds, and may use
    gpus: int = 0  # of each instance
    environment: dict[str, str] = {}
    stop_timeout: int = 120  # s between SIGTERM and SIGKILL: what SageMaker gives
    single: bool = False  # one container or process, whatever InstanceCount


class Services(Struct, frozen=True, forbid_unknown_fields=True):
    """[services]: service jobs, which AWS hands to SageMaker."""

    directory: str = ""  # what attempts find below /opt/ml, and leave there; "" is DATA/services
    data: dict[str, str] = {}  # prefix of an S3 URI -> the directory that has the same data
    environments: dict[str, Service] = {}  # pattern of names (shell wildcards) -> how its jobs run


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """[limits]: AWS's numbers. Source: userguide/service_limits.html unless noted."""

    reason_chars: int = 1024  # API_CancelJob
    describe_jobs: int = 100
    bulk_ids: int = 50  # API_CancelJobs
    dependencies: int = 20
    array_size: int = 10_000
    nodes: int = 1000  # of a multi-node job
    node_ranges: int = 5
    submit_bytes: int = 30 * 1024
    definition_bytes: int = 24 * 1024
    override_bytes: int = 8192  # found after the submit, as in AWS
    timeout_seconds: int = 60  # the least; tests lower it
    attempts: int = 10  # API_RetryStrategy
    evaluate_on_exit: int = 6  # model says 5, the user guide 6
    tags: int = 50
    queues: int = 50
    environments: int = 50
    environments_per_queue: int = 3
    state_seconds: int = 600  # the least maxTimeSeconds of jobStateTimeLimitActions; tests lower it
    submitted: int = 1_000_000  # jobs in SUBMITTED
    share_identifiers: int = 500  # of a policy, and active in a queue: API_ShareAttributes
    environments_per_cluster: int = 5  # on one EKS cluster
    service_environments: int = 50
    services_per_queue: int = 1  # service environments of a queue
    service_bytes: int = 10 * 1024  # of a serviceRequestPayload
    service_evaluate_on_exit: int = 5  # API_ServiceJobRetryStrategy
    quota_shares: int = 20  # of a queue
    consumables: int = 50_000
    consumables_per_job: int = 5  # userguide/resource-aware-scheduling-how-to-for-jobs.html
    body_bytes: int = 1024 * 1024
    inbox: int = 20_000  # commands waiting; beyond it 429
    page: int = 100
    page_jobs: int = 1000
    job_days: int = 7  # ended jobs are kept at least this long
    inactive_days: int = 180  # API_DeregisterJobDefinition: then a definition that no job refers to goes
    activity_days: int = 90  # CloudTrail's event history
    feed_rows: int = 100_000


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    host: str = "127.0.0.1"
    port: int = 8642
    data: str = ""  # "" is $XDG_DATA_HOME/batchery
    logs: str = ""  # "" is DATA/logs
    engine: str = "process"
    engines: Engines = Engines()
    account: str = "123456789012"
    region: str = "us-east-1"  # of `batchery env`; a request's region is its signature's
    strict_head: bool = False  # AWS's blocking: a job that can never fit blocks its queue
    kill_grace: int = 30  # s between SIGTERM and SIGKILL
    submitted_for: int = 0  # ms that every job stays SUBMITTED at least: AWS takes seconds, some clients count on it
    update_minute: int = 60  # s that a minute of updatePolicy.jobExecutionTimeoutMinutes lasts; tests shorten it
    activity_log: str = ""  # also write activity records as JSON lines to this file
    require_keys: bool | None = None  # None: not on loopback, always elsewhere
    process: Process = Process()
    slurm: Slurm = Slurm()
    container: Container = Container()
    secrets: Secrets = Secrets()
    volumes: Volumes = Volumes()
    services: Services = Services()
    limits: Limits = Limits()
    rates: dict[str, float] = {}  # [rates]: operation or "*" -> calls per second of an account; none by default


_REST = re.compile(r"|unix:/.+|https?://[^/]+.*")
_ULIMIT = re.compile(r"-?\d+(:-?\d+)?")
#: Settings that are paths: `~` is expanded, a relative one in a file is beside that file.
PATHS = ("data", "logs", "activity_log", "secrets.file", "services.directory")


def default_data(environ: Mapping[str, str]) -> str:
    """$XDG_DATA_HOME/batchery, or ~/.local/share/batchery where it is not set (or not absolute, as XDG asks)."""
    base = environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "share")
    return os.path.join(base, "batchery")


def load(
    path: str = "", environ: Mapping[str, str] | None = None, options: Mapping[str, object] | None = None
) -> Config:
    """Defaults, then the file ``path`` (or $BATCHERY_CONFIG), then ``environ``, then what is not None in ``options``.

    ``data`` and ``logs`` of what it returns are absolute paths. Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    path = path or environ.get("BATCHERY_CONFIG", "")
    settings = _from_file(path) if path else {}
    _merge(settings, _from_environment(environ))
    _merge(settings, {name: value for name, value in (options or {}).items() if value is not None})
    settings["data"] = os.path.abspath(os.path.expanduser(settings.get("data") or default_data(environ)))
    settings["logs"] = os.path.abspath(
        os.path.expanduser(settings.get("logs") or os.path.join(settings["data"], "logs"))
    )
    try:
        config = msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path or 'The configuration'}: {error}") from None
    _check(config)
    return config


def _from_file(path: str) -> dict[str, Any]:
    try:
        settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration file {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    folder = os.path.dirname(os.path.abspath(path))
    for name in PATHS:
        section, _, inner = name.rpartition(".")
        table = settings.get(section) if section else settings
        if isinstance(table, dict) and isinstance(table.get(inner), str) and table[inner]:
            table[inner] = os.path.join(folder, os.path.expanduser(table[inner]))
    return settings


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, kind in get_type_hints(Config).items():
        if isinstance(kind, type) and issubclass(kind, Struct):
            section = {
                inner: _value(environ, f"BATCHERY_{name}_{inner}", inner_kind)
                for inner, inner_kind in get_type_hints(kind).items()
                if inner_kind in (str, int, bool)
            }
            settings[name] = {inner: value for inner, value in section.items() if value is not None}
        elif (value := _value(environ, f"BATCHERY_{name}", kind)) is not None:
            settings[name] = value
    return settings


def _value(environ: Mapping[str, str], name: str, kind: Any) -> Any:
    text = environ.get(name.upper())
    if not text:
        return None
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        wanted = {int: "a whole number", bool: "true or false", bool | None: "true or false"}.get(kind, "a text")
        raise ConfigError(f"{name.upper()} is {text!r}, and must be {wanted}.") from None


def _merge(settings: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(settings.get(name), dict):
            _merge(settings[name], value)
        elif value != {}:
            settings[name] = value


def _check(config: Config) -> None:
    rules = (
        (0 <= config.port <= 65535, f"port is {config.port}, and must be between 0 and 65535."),
        (bool(re.fullmatch(r"\d{12}", config.account)), f"account is {config.account!r}, and must be 12 digits."),
        (config.kill_grace >= 0, f"kill_grace is {config.kill_grace}, and must not be negative."),
        (
            config.process.oversize in ("clamp", "wait"),
            f'process.oversize is {config.process.oversize!r}, and must be "clamp" or "wait".',
        ),
        (
            _REST.fullmatch(config.slurm.rest) is not None,
            f'slurm.rest is {config.slurm.rest!r}, and must be "unix:/path", "http://host:port" or "https://host".',
        ),
        (
            bool(config.slurm.rest) or not config.slurm.rest_token,
            "slurm.rest_token is set, and slurm.rest, which it is for, is not.",
        ),
        (
            config.container.oversize in ("clamp", "wait"),
            f'container.oversize is {config.container.oversize!r}, and must be "clamp" or "wait".',
        ),
        (
            config.container.network in ("host", "bridge", "none"),
            f'container.network is {config.container.network!r}, and must be "host", "bridge" or "none".',
        ),
        (
            config.container.pull in ("missing", "always", "never"),
            f'container.pull is {config.container.pull!r}, and must be "missing", "always" or "never".',
        ),
        (
            all(_ULIMIT.fullmatch(text) for text in config.container.ulimits.values()),
            'Every value under [container.ulimits] must be "SOFT:HARD" or one number.',
        ),
        (
            all(one.startswith("/") for one in config.container.volumes),
            "Every entry of container.volumes must begin with a path of the host.",
        ),
        *_of_data(config),
        *_numbers(config),
        *_routes(config),
    )
    for holds, sentence in rules:
        if not holds:
            raise ConfigError(sentence)


def _of_data(config: Config) -> list[tuple[bool, str]]:
    """Rules of [volumes], [services] and [secrets]."""
    volumes, services = config.volumes, config.services
    return [
        (
            all(map(os.path.isabs, (*volumes.efs.values(), *volumes.s3files.values(), *services.data.values()))),
            "Every directory under [volumes] and [services.data] must be absolute.",
        ),
        (
            all(one.memory >= 1 and min(one.gpus, one.stop_timeout) >= 0 for one in services.environments.values()),
            "Every memory under [services.environments] must be at least 1, gpus and stop_timeout not negative.",
        ),
        (config.secrets.tries >= 1, f"secrets.tries is {config.secrets.tries}, and must be at least 1."),
        (config.secrets.timeout >= 1, f"secrets.timeout is {config.secrets.timeout}, and must be at least 1."),
    ]


SERVICE = "SAGEMAKER_TRAINING"
KINDS = ("EC2", "SPOT", "FARGATE", "FARGATE_SPOT", "UNMANAGED", "ECS_MANAGED_INSTANCES", "EKS", "EKS_SPOT", SERVICE)


def engine_for(config: Config, name: str, kind: str) -> str:
    """The engine that the settings choose for a compute environment, by its name and kind."""
    return first_fit(config.engines.names, name) or config.engines.kinds.get(kind, config.engine)


def first_fit(patterns: Mapping[str, T], name: str) -> T | None:
    """What the first pattern (shell wildcards) that fits a name stands for."""
    return next((found for pattern, found in patterns.items() if fnmatchcase(name, pattern)), None)


def _routes(config: Config) -> Iterator[tuple[bool, str]]:
    named = config.engines.all()
    for kind in config.engines.kinds:
        yield kind in KINDS, f"[engines.kinds] names {kind}, and knows {', '.join(KINDS)}."
    for engine in sorted(named):
        yield (
            engine in ("process", "docker", "podman", "slurm"),
            f"[engines] names {engine!r}, and knows process, docker, podman and slurm.",
        )
    yield (
        config.engine != "auto" or named <= {"slurm"},
        'With engine = "auto" [engines] can name slurm alone: name process, docker or podman instead of auto.',
    )


def _numbers(config: Config) -> Iterator[tuple[bool, str]]:
    yield (
        all(rate > 0 for rate in config.rates.values()),
        "Every number under [rates] must be more than 0: leave an operation out to not limit it.",
    )
    yield (
        all(value > 0 for value in msgspec.structs.asdict(config.limits).values()),
        "Every number under [limits] must be at least 1.",
    )
