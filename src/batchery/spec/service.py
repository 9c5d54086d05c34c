"""What a service job asks for: the request to SageMaker, as far as it means something here.

serviceRequestPayload is a CreateTrainingJob request. Its resources are what the job takes of its service environment,
and how many containers or processes it is; its name, image, entry point, arguments, hyperparameters, environment,
channels and stopping condition reach the job (serviceorder.py). The rest, about AWS's roles, networks, disks and
stores, is handed to the job in the request's file and means nothing else here. Sources: API_SubmitServiceJob,
SageMaker's API_CreateTrainingJob. Texts are ours.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import Struct

from batchery.api.shapes import ServiceJobRetryStrategy, ServiceJobTimeout, SubmitServiceJobRequest
from batchery.config import Config, Limits, Service, first_fit
from batchery.core.messages import Refused
from batchery.core.model import Resources, Rule, Shape

LOG_GROUP: Final = "/aws/sagemaker/TrainingJobs"
DAY: Final = 86_400  #: s; StoppingCondition.MaxRuntimeInSeconds where there is none
MOST_PRIORITY: Final = 9_999
MOST_ATTEMPTS: Final = 10
PATTERN_CHARS: Final = 512
_NAME: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_TYPE: Final = re.compile(r"[a-z0-9.-]{1,64}")
_CHANNEL: Final = re.compile(r"[A-Za-z0-9.\-_]{1,64}")


class _Pascal(Struct, rename="pascal", kw_only=True):
    pass


class Algorithm(_Pascal):
    """AlgorithmSpecification."""

    training_image: str = ""
    training_input_mode: str = "File"
    container_entrypoint: list[str] = []
    container_arguments: list[str] = []


class Group(_Pascal):
    """One of ResourceConfig.InstanceGroups."""

    instance_type: str
    instance_count: int
    instance_group_name: str = "homogeneousCluster"


class Resource(_Pascal):
    """ResourceConfig: one type, or groups."""

    instance_type: str = ""
    instance_count: int = 1
    instance_groups: list[Group] = []


class S3(_Pascal):
    s3_uri: str = ""
    s3_data_distribution_type: str = "FullyReplicated"


class Source(_Pascal):
    s3_data_source: S3 | None = None


class Channel(_Pascal):
    """One of InputDataConfig."""

    channel_name: str
    data_source: Source = msgspec.field(default_factory=Source)
    content_type: str | None = None
    input_mode: str | None = None
    record_wrapper_type: str = "None"


class Stopping(_Pascal):
    max_runtime_in_seconds: int = DAY


class Payload(_Pascal):
    """A CreateTrainingJob request; members that are not here are not read."""

    resource_config: Resource
    training_job_name: str = ""
    hyper_parameters: dict[str, str] = {}
    algorithm_specification: Algorithm = msgspec.field(default_factory=Algorithm)
    input_data_config: list[Channel] = []
    stopping_condition: Stopping = msgspec.field(default_factory=Stopping)
    environment: dict[str, str] = {}

    @property
    def groups(self) -> list[Group]:
        one = self.resource_config
        return one.instance_groups or [Group(instance_type=one.instance_type, instance_count=one.instance_count)]

    @property
    def instances(self) -> int:
        """How many, of all groups."""
        return sum(group.instance_count for group in self.groups)


_payload: Final = msgspec.json.Decoder(Payload)
_request: Final = msgspec.json.Decoder(SubmitServiceJobRequest)


def request_of(doc: str) -> SubmitServiceJobRequest:
    """The request as it was sent."""
    return _request.decode(doc)


def template_of(config: Config, environment: str) -> Service:
    """How jobs of a service environment (its name) run."""
    return first_fit(config.services.environments, environment) or Service()


def directory_of(uri: str, data: dict[str, str]) -> str:
    """The directory with the data of an S3 URI, or of a file:// one; "" if none is known."""
    if uri.startswith("file:///"):
        return uri.removeprefix("file://")
    for prefix in sorted(data, key=len, reverse=True):
        if uri == prefix or uri.startswith(prefix.rstrip("/") + "/"):
            inside = uri[len(prefix.rstrip("/")) :].strip("/")
            return f"{data[prefix].rstrip('/')}/{inside}".rstrip("/")
    return ""


def payload_of(text: str, limits: Limits) -> Payload:
    """Raises Refused for what is no CreateTrainingJob request, or could never run."""
    if len(text.encode()) > limits.service_bytes:
        raise Refused(f"serviceRequestPayload must be at most {limits.service_bytes} bytes", True)
    try:
        payload = _payload.decode(text)
    except msgspec.ValidationError as error:
        raise Refused(f"serviceRequestPayload: {error}", True) from None
    except msgspec.DecodeError:
        raise Refused("serviceRequestPayload must be a JSON object", True) from None
    if payload.training_job_name and _NAME.fullmatch(payload.training_job_name) is None:
        raise Refused("TrainingJobName must be 1 to 63 letters, digits and hyphens, and begin with none", True)
    for group in payload.groups:
        if _TYPE.fullmatch(group.instance_type) is None:
            raise Refused("ResourceConfig of serviceRequestPayload needs an InstanceType and an InstanceCount", True)
        if not 1 <= group.instance_count <= limits.nodes:
            raise Refused(f"InstanceCount must be between 1 and {limits.nodes}", True)
    if payload.stopping_condition.max_runtime_in_seconds < 1:
        raise Refused("MaxRuntimeInSeconds must be at least 1", True)
    return payload


def check_runs(payload: Payload, template: Service, data: dict[str, str]) -> None:
    """Whether there is something to run and, where it is run as SageMaker runs it, its data. Raises Refused."""
    if template.command:
        return
    algorithm = payload.algorithm_specification
    several = not template.single and payload.instances > 1
    if not algorithm.training_image and not algorithm.container_entrypoint:
        raise Refused("AlgorithmSpecification needs a TrainingImage: algorithms of AWS's own are not here", True)
    seen: set[str] = set()
    for channel in payload.input_data_config:
        name = channel.channel_name
        if _CHANNEL.fullmatch(name) is None or name in (".", "..") or name in seen:
            raise Refused(f"ChannelName {name} must be 1 to 64 letters, digits and . _ -, and there once", True)
        seen.add(name)
        source = channel.data_source.s3_data_source
        if source is None or not directory_of(source.s3_uri, data):
            where = source.s3_uri if source is not None else "what is not in Amazon S3"
            raise Refused(
                f"InputDataConfig: the data of channel {name}, {where}, is not here. Name a directory that has it in "
                "the setting services.data",
                True,
            )
        if several and source.s3_data_distribution_type != "FullyReplicated":
            raise Refused(
                f"S3DataDistributionType of channel {name} must be FullyReplicated: every instance sees all of it",
                True,
            )


def check_form(ask: SubmitServiceJobRequest, limits: Limits) -> None:
    """Of what is beside the payload. Raises Refused."""
    if ask.scheduling_priority is not None and not 0 <= ask.scheduling_priority <= MOST_PRIORITY:
        raise Refused(f"schedulingPriority must be between 0 and {MOST_PRIORITY}", True)
    seconds = ask.timeout_config.attempt_duration_seconds if ask.timeout_config else None
    if seconds is not None and seconds < limits.timeout_seconds:
        raise Refused(f"attemptDurationSeconds must be at least {limits.timeout_seconds}", True)
    _check_retry(ask.retry_strategy, limits)
    preemption = ask.preemption_configuration
    retries = preemption.preemption_retries_before_termination if preemption else None
    if retries is not None and retries < 0:
        raise Refused("preemptionRetriesBeforeTermination must not be negative", True)


def _check_retry(retry: ServiceJobRetryStrategy | None, limits: Limits) -> None:
    if retry is None:
        return
    if not 1 <= retry.attempts <= MOST_ATTEMPTS:
        raise Refused(f"attempts must be between 1 and {MOST_ATTEMPTS}", True)
    entries = retry.evaluate_on_exit or []
    if len(entries) > limits.service_evaluate_on_exit:
        raise Refused(f"evaluateOnExit can have at most {limits.service_evaluate_on_exit} entries", True)
    for entry in entries:
        if entry.action is None:
            raise Refused("Every entry of evaluateOnExit needs an action", True)
        pattern = entry.on_status_reason
        if pattern is not None and (not pattern or len(pattern) > PATTERN_CHARS or "*" in pattern[:-1]):
            raise Refused(
                f"onStatusReason must be 1 to {PATTERN_CHARS} characters, with an asterisk at its end only", True
            )


def shape_of(ask: SubmitServiceJobRequest, payload: Payload, template: Service) -> Shape:
    """What the core needs to know. Instances are counted where vCPUs are (core/capacity.py)."""
    counts: dict[str, int] = {}
    for group in payload.groups:
        counts[group.instance_type] = counts.get(group.instance_type, 0) + group.instance_count
    retry, preemption = ask.retry_strategy, ask.preemption_configuration
    retries = preemption.preemption_retries_before_termination if preemption else None
    name, count = payload.training_job_name or ask.job_name, payload.instances
    hosts = 1 if template.single else count
    return Shape(
        resources=Resources(1000 * count, template.memory * hosts, template.gpus * hosts),
        attempts=retry.attempts if retry else 1,
        rules=_rules(retry),
        timeout=1000 * _seconds(ask.timeout_config, payload),
        priority=ask.scheduling_priority or 0,
        log_group=LOG_GROUP,
        log_prefix=f"{name}/{host_name(1)}",
        streams=tuple((host, LOG_GROUP, f"{name}/{host}") for host in map(host_name, range(1, hosts + 1)))
        if hosts > 1
        else (),
        instances=tuple(counts.items()),
        preemptions=-1 if retries is None else retries,
    )


def host_name(number: int) -> str:
    """As SageMaker names the instances of a training job, from 1."""
    return f"algo-{number}"


def _rules(retry: ServiceJobRetryStrategy | None) -> tuple[Rule, ...]:
    entries: list[Any] = (retry.evaluate_on_exit if retry else None) or []
    return tuple(Rule(entry.action.upper(), entry.on_status_reason) for entry in entries)


def _seconds(timeout: ServiceJobTimeout | None, payload: Payload) -> int:
    """Whichever comes first: Batch's limit of an attempt, or SageMaker's own of the training job."""
    asked = timeout.attempt_duration_seconds if timeout else None
    return min(asked or DAY * 366, payload.stopping_condition.max_runtime_in_seconds)
