"""Secrets of AWS Secrets Manager and the Systems Manager Parameter Store, or of what speaks like them elsewhere.

boto3 finds credentials as it always does (environment, profile, instance role). It comes with ``pip install
batchery[aws]`` and is imported when the first secret is read. Sources: GetSecretValue, GetParameter.
"""

import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from batchery.config import Secrets
from batchery.run.secrets import SecretError
from batchery.spec.secretrefs import SECRETS_MANAGER, SecretRef

if TYPE_CHECKING:
    from boto3.session import Session

#: For an endpoint that is not AWS's, where there are no credentials: emulators take any.
_ANY: Final = "batchery"
#: What names nothing, rather than being out of order.
_UNKNOWN: Final = frozenset({"ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound"})


def boto3_is_here() -> bool:
    return find_spec("boto3") is not None


class AwsSource:
    """``settings.tries`` calls at most, with botocore's pauses between them, each of ``settings.timeout`` seconds."""

    def __init__(self, settings: Secrets) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._clients: dict[tuple[str, str], Any] = {}

    def read(self, ref: SecretRef) -> str | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self._secret(ref) if ref.service == SECRETS_MANAGER else self._parameter(ref)
        except ClientError as error:
            about = error.response.get("Error", {})
            tries = 1 + error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)
            if about.get("Code") in _UNKNOWN and ref.service != SECRETS_MANAGER:
                raise SecretError(f"invalid ssm parameters: {ref.name}", tries) from None
            raise SecretError(f"{about.get('Code', '')}: {about.get('Message', '')}", tries) from None
        except BotoCoreError as error:
            raise SecretError(f"{type(error).__name__}: {error}", self._settings.tries) from None

    def _secret(self, ref: SecretRef) -> str:
        asked = {"SecretId": ref.id}
        if ref.stage:
            asked["VersionStage"] = ref.stage
        if ref.version:
            asked["VersionId"] = ref.version
        found = self._client(ref).get_secret_value(**asked)
        text: str | None = found.get("SecretString")
        if text is None:
            raise SecretError("it is binary, and only texts can be given to jobs")
        return text

    def _parameter(self, ref: SecretRef) -> str:
        """A parameter ``x`` at the top has the ARN ``...:parameter/x``, like ``/x``: both names are tried."""
        from botocore.exceptions import ClientError

        names = [ref.name]
        if ref.id != ref.name and ref.name.count("/") == 1:
            names.insert(0, ref.name[1:])
        for name in names[:-1]:
            try:
                return self._value(ref, name)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in _UNKNOWN:
                    raise
        return self._value(ref, names[-1])

    def _value(self, ref: SecretRef, name: str) -> str:
        return str(self._client(ref).get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])

    def _client(self, ref: SecretRef) -> Any:
        """Clients may be used by several threads, sessions may not."""
        with self._lock:
            client = self._clients.get((ref.service, ref.region))
            if client is None:
                client = self._clients[ref.service, ref.region] = self._new_client(ref)
            return client

    def _new_client(self, ref: SecretRef) -> Any:
        import boto3
        from botocore.config import Config

        if self._session is None:
            self._session = boto3.session.Session(profile_name=self._settings.profile or None)
        keys = {}
        if self._settings.endpoint and self._session.get_credentials() is None:
            keys = {"aws_access_key_id": _ANY, "aws_secret_access_key": _ANY}
        return self._session.client(
            ref.service,
            region_name=ref.region,
            endpoint_url=self._settings.endpoint or None,
            config=Config(
                connect_timeout=self._settings.timeout,
                read_timeout=self._settings.timeout,
                retries={"mode": "standard", "total_max_attempts": self._settings.tries},
            ),
            **keys,
        )
