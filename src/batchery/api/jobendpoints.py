"""The addresses that AWS's SDKs look for inside a job: credentials of its role, and what it is.

    GET /job/credentials               Authorization: the token that the job was given
    GET /job/metadata/TOKEN            of its container
    GET /job/metadata/TOKEN/task       of its task

Sources: ECS developer guide, "Task metadata endpoint version 4"; SDK reference guide, "Container credential provider".
"""

from typing import Any, Final

from batchery.api.jobkeys import Claim, JobKeys, role_name
from batchery.api.wire import encode
from batchery.core.model import AttemptKey, Realm, task_id

CREDENTIALS: Final = "/job/credentials"
METADATA: Final = "/job/metadata/"
#: Of keys that a job on a bridge gets in its environment: SDKs ask only loopback and link-local addresses.
STATIC_LIFE_S: Final = 7 * 86_400


class JobEndpoints:
    """``url`` of this server as the host's own programs reach it; ``network`` of jobs ("" for host processes)."""

    def __init__(self, keys: JobKeys, url: str, network: str) -> None:
        self.keys, self.url, self.network = keys, url, network

    def variables(self, key: AttemptKey, realm: Realm, role_arn: str, now: float) -> dict[str, str]:
        """What the environment of an attempt says of them."""
        if self.network == "none":
            return {}
        role = role_name(role_arn)
        claim = Claim(key, realm.account, role)
        given = {}
        if self.network:
            given["ECS_CONTAINER_METADATA_URI_V4"] = self.url + METADATA + self.keys.token(claim)
        if not role or not self.keys.policy_of(role)[0]:
            return given
        for service in ("BATCH", "CLOUDWATCH_LOGS", "CLOUDTRAIL"):
            given[f"AWS_ENDPOINT_URL_{service}"] = self.url
        given["AWS_REGION"] = given["AWS_DEFAULT_REGION"] = realm.region
        if self.network == "bridge":
            issued = self.keys.issue(claim, now, STATIC_LIFE_S)
            given["AWS_ACCESS_KEY_ID"] = issued["AccessKeyId"]
            given["AWS_SECRET_ACCESS_KEY"] = issued["SecretAccessKey"]
            given["AWS_SESSION_TOKEN"] = issued["Token"]
        else:
            given["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = self.url + CREDENTIALS
            given["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = self.keys.token(claim)
        return given

    def answer(self, path: str, authorization: str, now: float) -> tuple[int, bytes] | None:
        """Status and body of a GET, None for a path that is not ours."""
        if path == CREDENTIALS:
            claim = self.keys.claim(authorization, now)
            if claim is None or not claim.role or not self.keys.policy_of(claim.role)[0]:
                return 403, encode({"code": "AccessDenied", "message": "The token is not of a job that has a role."})
            return 200, encode(self.keys.issue(claim, now))
        if path.startswith(METADATA):
            token, _, rest = path.removeprefix(METADATA).partition("/")
            claim = self.keys.claim(token, now)
            if claim is None or rest not in ("", "task"):
                return 404, encode({"message": "There is no such job, or it has ended."})
            return 200, encode(_task(claim) if rest else _container(claim))
        return None


def _container(claim: Claim) -> dict[str, Any]:
    name = f"batchery-{task_id(claim.key)}"
    labels = {"com.amazonaws.ecs.container-name": "default", "com.amazonaws.ecs.task-arn": _arn(claim)}
    return {"DockerId": name, "Name": "default", "DockerName": name, "KnownStatus": "RUNNING", "Type": "NORMAL",
            "Labels": labels}  # fmt: skip


def _task(claim: Claim) -> dict[str, Any]:
    return {"Cluster": "batchery", "TaskARN": _arn(claim), "Family": claim.key.job, "Revision": "1",
            "KnownStatus": "RUNNING", "LaunchType": "EC2", "Containers": [_container(claim)]}  # fmt: skip


def _arn(claim: Claim) -> str:
    return f"arn:aws:ecs:us-east-1:{claim.account}:task/batchery/{task_id(claim.key)}"
