"""A small signed client of a Batchery server, for our own command line: no boto3 needed to run Batchery.

    with Client("http://127.0.0.1:8642") as client:
        client.batch("SubmitJob", jobName="a", jobQueue="default", jobDefinition="hello")["jobId"]
        client.logs("GetLogEvents", logGroupName="/aws/batch/job", logStreamName="hello/default/...")["events"]
        client.own("jobs")["jobs"]

Members are spelled as AWS spells them. One connection, kept open; not for use by several threads at once.
"""

import http.client
import json
import time
from typing import Any
from urllib.parse import quote, urlsplit

from batchery.api.sigv4 import sign

Json = dict[str, Any]


class ServiceError(Exception):
    """The server refused: HTTP ``status``, AWS's error ``code``, and the message as text."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message or code)
        self.status, self.code, self.message = status, code, message


class NoServer(Exception):
    """Nothing answers there, or what answers is not Batchery; the text says which."""


class Client:
    """``url``: http://host:port. ``timeout``: seconds to wait for one answer."""

    def __init__(
        self,
        url: str,
        region: str = "us-east-1",
        access_key: str = "batchery",
        secret_key: str = "batchery",
        timeout: float = 60,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NoServer(f"{url!r} is not the URL of a server, like http://127.0.0.1:8642")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.url, self._region, self._keys = url, region, (access_key, secret_key)
        self._host = parts.netloc
        self._connection = kind(parts.hostname, parts.port, timeout=timeout)

    def batch(self, operation: str, /, **members: Any) -> Json:
        """An operation of AWS Batch that is a POST, by its name ("SubmitJob"). Raises ServiceError, NoServer."""
        return self._call("batch", f"/v1/{operation.lower()}", members, "application/json")

    def tag(self, arn: str, tags: dict[str, str]) -> Json:
        """TagResource. Raises ServiceError, NoServer."""
        return self._call("batch", f"/v1/tags/{quote(arn, safe='')}", {"tags": tags}, "application/json")

    def logs(self, operation: str, /, **members: Any) -> Json:
        """An operation of CloudWatch Logs ("GetLogEvents"). Raises ServiceError, NoServer."""
        return self._call("logs", "/", members, "application/x-amz-json-1.1", f"Logs_20140328.{operation}")

    def own(self, name: str, /, **members: Any) -> Json:
        """An endpoint of Batchery's own: jobs, why, stop, forget. Raises ServiceError, NoServer."""
        return self._call("batch", f"/batchery/{name}", members, "application/json")

    def health(self) -> Json:
        """What /health says; not signed. Raises NoServer."""
        status, _, body = self._send("GET", "/health", {}, b"")
        document = _document(body)
        if status != 200 or not isinstance(document, dict):
            raise NoServer(f"{self.url} does not answer as Batchery does (HTTP {status}).")
        return document

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, service: str, path: str, members: Json, content_type: str, target: str = "") -> Json:
        body = json.dumps({name: value for name, value in members.items() if value is not None}).encode()
        headers = {"host": self._host, "content-type": content_type}
        if target:
            headers["x-amz-target"] = target
        access_key, secret_key = self._keys
        signed = sign("POST", path, headers, body, access_key, secret_key, self._region, service, time.time())
        status, answer, text = self._send("POST", path, signed, body)
        document = _document(text)
        if not isinstance(document, dict):
            raise NoServer(f"{self.url} does not answer as Batchery does (HTTP {status}).")
        if status != 200:
            code = answer.get("x-amzn-errortype") or str(document.get("__type", ""))
            message = document.get("message") or document.get("Message") or ""
            raise ServiceError(status, code.split(":")[0], str(message))
        return document

    def _send(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Once more on a new connection if the kept one turns out to be closed."""
        for again in (self._connection.sock is not None, False):
            try:
                self._connection.request(method, path, body, headers)
                response = self._connection.getresponse()
                return response.status, response.headers, response.read()
            except (ConnectionError, http.client.BadStatusLine, http.client.CannotSendRequest) as error:
                self._connection.close()
                if not again:
                    raise NoServer(f"No Batchery answers at {self.url}.") from error
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                raise NoServer(f"No Batchery answers at {self.url}: {error}.") from error
        raise AssertionError("unreachable")


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
