"""References to secrets, as ``valueFrom`` spells them: their form, and what of an AWS service they name.

* ``arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-abcdef``, after which ``:JSON-KEY:VERSION-STAGE:VERSION-ID`` may
  follow; each of the three may be empty, and what is left out at the end needs no colons.
* ``arn:aws:ssm:REGION:ACCOUNT:parameter/NAME``, or the bare name of a parameter of the job's own region.

Sources: API_Secret, user guide "Specifying sensitive data"; ECS developer guide, the same chapter.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from batchery.api.shapes import KeyValuePair, LogConfiguration, RepositoryCredentials, Secret
from batchery.core.messages import Refused
from batchery.spec.rules import RESERVED

SECRETS_MANAGER: Final = "secretsmanager"
PARAMETER_STORE: Final = "ssm"
_SECRET: Final = re.compile(
    r"(arn:(?:aws|aws-cn|aws-us-gov):secretsmanager:([a-z0-9-]+):[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]{1,520})"
    r"(?::([^:]*)(?::([^:]*)(?::([^:]*))?)?)?"
)
_PARAMETER: Final = re.compile(
    r"arn:(?:aws|aws-cn|aws-us-gov):ssm:([a-z0-9-]+):[0-9]{12}:parameter(/[A-Za-z0-9_./-]{1,2000})"
)
_SECRET_NAME: Final = re.compile(r"[A-Za-z0-9/_+=.@-]{1,520}")
_NAME: Final = re.compile(r"[A-Za-z0-9_./-]{1,2000}")


class SecretRef(NamedTuple):
    """One reference, taken apart. ``id``: the secret's ARN, or the parameter's ARN or name; ``region`` "" is the job's.

    ``key``, ``stage`` and ``version`` are of Secrets Manager, "" where not given.
    """

    service: str
    id: str
    region: str = ""
    key: str = ""
    stage: str = ""
    version: str = ""

    @property
    def name(self) -> str:
        """Without the ARN around it: of a secret with the six characters that AWS put at its end."""
        if not self.id.startswith("arn:"):
            return self.id
        return self.id.partition(":secret:")[2] or self.id.partition(":parameter")[2]


def secret_ref(text: str) -> SecretRef | None:
    """None for what is no reference."""
    if match := _SECRET.fullmatch(text):
        arn, region, *selected = match.groups(default="")
        return SecretRef(SECRETS_MANAGER, arn, region, *selected)
    if match := _PARAMETER.fullmatch(text):
        return SecretRef(PARAMETER_STORE, text, match[1])
    if not text.startswith("arn:") and _NAME.fullmatch(text):
        return SecretRef(PARAMETER_STORE, text)
    return None


class Holder(Protocol):
    """Whatever has secrets: a container of any kind."""

    @property
    def environment(self) -> list[KeyValuePair] | None: ...
    @property
    def log_configuration(self) -> LogConfiguration | None: ...
    @property
    def secrets(self) -> list[Secret] | None: ...


def check_secrets(container: Holder, execution_role: str) -> None:
    """Names and references of ``secrets`` and of logConfiguration.secretOptions. Raises Refused."""
    of_logs = container.log_configuration.secret_options if container.log_configuration else None
    _check(container.secrets or (), "secrets", execution_role)
    _check(of_logs or (), "secretOptions", execution_role)
    given = {pair.name for pair in container.environment or ()}
    for secret in container.secrets or ():
        if "=" in secret.name or "\0" in secret.name:
            raise Refused("secrets must have a name without '='", True)  # ours
        if secret.name.startswith(RESERVED):
            raise Refused(f"Names of secrets must not start with {RESERVED}: {secret.name}", True)  # ours
        if secret.name in given:
            raise Refused(
                f"The secret name must be unique and not shared with any environment variable: {secret.name}", True
            )


def _check(secrets: Iterable[Secret], member: str, execution_role: str) -> None:
    seen = set()
    for secret in secrets:
        if not secret.name:
            raise Refused(f"{member} must have a name", True)  # ours
        if secret.name in seen:
            raise Refused(f"{member} has more than one entry named {secret.name}", True)  # ours
        seen.add(secret.name)
        if secret_ref(secret.value_from) is None:
            raise Refused(
                f"valueFrom of {secret.name} in {member} must be the ARN of a Secrets Manager secret, or the ARN or "
                "name of a Systems Manager parameter",
                True,
            )  # ours
        if not execution_role:
            raise Refused("executionRoleArn cannot be empty when using secrets or secretOptions", True)


def login_ref(text: str) -> SecretRef | None:
    """repositoryCredentials.credentialsParameter: the ARN of a secret, or its name in the job's own region."""
    if not text.startswith("arn:"):
        return SecretRef(SECRETS_MANAGER, text) if _SECRET_NAME.fullmatch(text) else None
    ref = secret_ref(text)
    return ref if ref is not None and ref.service == SECRETS_MANAGER and ref.id == text else None


def check_login(credentials: RepositoryCredentials | None) -> None:
    """API_RepositoryCredentials. Raises Refused."""
    if credentials is not None and login_ref(credentials.credentials_parameter) is None:
        raise Refused("credentialsParameter of repositoryCredentials must be the ARN of a secret", True)  # ours
