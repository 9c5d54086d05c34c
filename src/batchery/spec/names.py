"""Names and ARNs of everything AWS Batch and the ECS below it would name.

Sources: Service Authorization Reference, "Actions, resources, and condition keys for AWS Batch" (resource types);
AWS Batch user guide, "Using CloudWatch Logs with AWS Batch". The identifiers of ECS things (cluster, task, container
instance) are functions of ours: nothing of them is stored. Decision 050.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from batchery.core.model import AttemptKey, Realm, task_id

COMPUTE_ENVIRONMENT: Final = "compute-environment"
JOB_QUEUE: Final = "job-queue"
JOB_DEFINITION: Final = "job-definition"
JOB: Final = "job"
CONSUMABLE_RESOURCE: Final = "consumable-resource"
SCHEDULING_POLICY: Final = "scheduling-policy"
SERVICE_ENVIRONMENT: Final = "service-environment"
SERVICE_JOB: Final = "service-job"

#: Job queues, compute environments, job definitions, consumable resources.
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: API_SubmitJob: "The first character must be alphanumeric".
JOB_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")

_SPACE: Final = UUID("6f1d1c2c-54a7-5a3f-9f0e-5f7c4a1e9b10")
_FILE_CHARS: Final = 100  #: of a container's name in that of its log file
_ARN: Final = re.compile(r"arn:([a-z0-9-]+):([a-z0-9-]+):([a-z0-9-]*):([0-9]*):([a-z-]+)/(.+)", re.DOTALL)


@lru_cache(maxsize=256)
def partition(region: str) -> str:
    """``aws``, ``aws-cn`` or ``aws-us-gov``."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def batch_arn(realm: Realm, kind: str, name: str) -> str:
    """``arn:aws:batch:<region>:<account>:<kind>/<name>``."""
    return f"arn:{partition(realm.region)}:batch:{realm.region}:{realm.account}:{kind}/{name}"


def queue_arn(realm: Realm, name: str) -> str:
    return batch_arn(realm, JOB_QUEUE, name)


def environment_arn(realm: Realm, name: str) -> str:
    return batch_arn(realm, COMPUTE_ENVIRONMENT, name)


def consumable_arn(realm: Realm, name: str) -> str:
    return batch_arn(realm, CONSUMABLE_RESOURCE, name)


def definition_arn(realm: Realm, name: str, revision: int | None = None) -> str:
    """Without a revision: what policies and `messages.Register` name."""
    return batch_arn(realm, JOB_DEFINITION, name if revision is None else f"{name}:{revision}")


def job_arn(realm: Realm, ref: str) -> str:
    """``ref``: a job id, with ``:index`` for a child of an array."""
    return batch_arn(realm, JOB, ref)


def service_job_arn(realm: Realm, job: str) -> str:
    return batch_arn(realm, SERVICE_JOB, job)


def training_job(name: str, task: str) -> str:
    """The name of the training job that an attempt is, unique as SageMaker wants it and no longer: ``AWSBatch<name>``
    and the task id, 63 characters (user guide, "Service job state change events")."""
    return f"AWSBatch{name}"[:31] + task


def training_job_arn(realm: Realm, name: str, task: str) -> str:
    where = f"{partition(realm.region)}:sagemaker:{realm.region}:{realm.account}"
    return f"arn:{where}:training-job/{training_job(name, task)}"


class Arn(NamedTuple):
    """An ARN taken apart: ``arn:<partition>:<service>:<region>:<account>:<kind>/<name>``."""

    partition: str
    service: str
    realm: Realm
    kind: str
    name: str


def parse_arn(text: str) -> Arn | None:
    """None if the text is no ARN of the form above."""
    match = _ARN.fullmatch(text)
    if match is None:
        return None
    part, service, region, account, kind, name = match.groups()
    return Arn(part, service, Realm(account, region), kind, name)


def name_of(arn: str) -> str:
    """The resource's name: what follows the first slash (a definition's without its revision)."""
    return arn.partition("/")[2].partition(":")[0]


class DefinitionRef(NamedTuple):
    """A reference to a job definition. ``revision`` None: the highest ACTIVE one. ``realm`` None: the caller's."""

    name: str
    revision: int | None
    realm: Realm | None = None


@lru_cache(maxsize=1024)
def definition_ref(text: str) -> DefinitionRef | None:
    """``name``, ``name:revision``, or an ARN with or without a revision; None if it is none of these.

    Source: API_SubmitJob, ``jobDefinition``.
    """
    realm = None
    if text.startswith("arn:"):
        arn = parse_arn(text)
        if arn is None or arn.service != "batch" or arn.kind != JOB_DEFINITION:
            return None
        realm, text = arn.realm, arn.name
    name, colon, digits = text.partition(":")
    if NAME.fullmatch(name) is None:
        return None
    if not colon:
        return DefinitionRef(name, None, realm)
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        return None
    return DefinitionRef(name, int(digits), realm)


# ------------------------------------------------------------------------------------------------ ECS-like names


@lru_cache(maxsize=1024)
def _cluster(environment: str) -> tuple[str, str]:
    """The ARN's head (``arn:aws:ecs:R:A``) and the cluster's name."""
    arn = parse_arn(environment)
    if arn is None:
        raise ValueError(f"not the ARN of a compute environment: {environment}")
    head = f"arn:{arn.partition}:ecs:{arn.realm.region}:{arn.realm.account}"
    return head, f"AWSBatch-{arn.name}-{uuid5(_SPACE, environment)}"


def cluster_arn(environment: str) -> str:
    """ecsClusterArn of a compute environment (its ARN): ``arn:aws:ecs:R:A:cluster/AWSBatch-<name>-<uuid>``."""
    head, cluster = _cluster(environment)
    return f"{head}:cluster/{cluster}"


def task_arn(environment: str, task: str) -> str:
    """``arn:aws:ecs:R:A:task/AWSBatch-<name>-<uuid>/<task id>``."""
    head, cluster = _cluster(environment)
    return f"{head}:task/{cluster}/{task}"


def container_instance_arn(environment: str) -> str:
    """The one container instance of an environment: the host that jobs run on."""
    head, cluster = _cluster(environment)
    return f"{head}:container-instance/{cluster}/{uuid5(_SPACE, environment + '#instance').hex}"


def node_uid(environment: str) -> str:
    """The UID of the Kubernetes node that an environment on EKS would have: this host's."""
    return str(uuid5(_SPACE, environment + "#node"))


def node_name(environment: str) -> str:
    """The name of that node."""
    return f"node-{uuid5(_SPACE, environment + '#node').hex[:12]}"


def pod_name(task: str) -> str:
    """The name of an attempt's pod: ``aws-batch.`` and the task's id."""
    return f"aws-batch.{UUID(task)}"


# ------------------------------------------------------------------------------------------------------------ logs


def log_stream(log_prefix: str, key: AttemptKey) -> str:
    """``<prefix>/default/<task id>``; ``log_prefix`` is `Shape.log_prefix`."""
    return f"{log_prefix}/{task_id(key)}"


def log_path(logs_dir: Path, task: str, container: str = "default") -> Path:
    """Where the output of one container of an attempt is: ``<logs>/<2 digits>/<task id>.<container>.log``.

    The digits are the task id's last two: the first ones are of a time. Decision 103.
    """
    if len(container) > _FILE_CHARS:
        container = f"{container[:_FILE_CHARS]}-{uuid5(_SPACE, container).hex}"
    return logs_dir / f"{task[-2:]}/{task}.{container}.log"
