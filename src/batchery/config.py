"""Every setting and every limit, in one struct, with its source.

Read from a TOML file, then environment variables (BATCHERY_HOST, ...), then command-line options.
"""

from msgspec import Struct


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


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """[limits]: AWS's numbers. Source: userguide/service_limits.html unless noted."""

    reason_chars: int = 1024  # API_CancelJob
    describe_jobs: int = 100
    bulk_ids: int = 50  # API_CancelJobs
    dependencies: int = 20
    array_size: int = 10_000
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
    body_bytes: int = 1024 * 1024
    inbox: int = 20_000  # commands waiting; beyond it 429
    page: int = 100
    page_jobs: int = 1000
    job_days: int = 7  # ended jobs are kept at least this long
    activity_days: int = 90  # CloudTrail's event history
    feed_rows: int = 100_000


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    host: str = "127.0.0.1"
    port: int = 8642
    data: str = ""  # "" is $XDG_DATA_HOME/batchery
    logs: str = ""  # "" is DATA/logs
    engine: str = "process"
    account: str = "123456789012"
    region: str = "us-east-1"  # of `batchery env`; a request's region is its signature's
    strict_head: bool = False  # AWS's blocking: a job that can never fit blocks its queue
    kill_grace: int = 30  # s between SIGTERM and SIGKILL
    activity_log: str = ""  # also write activity records as JSON lines to this file
    require_keys: bool | None = None  # None: not on loopback, always elsewhere
    process: Process = Process()
    limits: Limits = Limits()
