"""JSON 1.1 operations called as the wire calls them: botocore writes the request, judges and reads the answer.

The service is a stand-in whose rows are lists; logs are real files.
"""

import asyncio
import os
import struct
import time
from pathlib import Path
from typing import Any

import botocore.parsers
import botocore.serialize
import botocore.session
import botocore.validate
import msgspec

from batchery.api import logs, trail, wire  # noqa: F401  the handlers register themselves
from batchery.api.call import ApiError, Call, Caller
from batchery.api.policy import Policy, parse
from batchery.config import Config
from batchery.core.model import AttemptKey, Realm, World, task_id
from batchery.spec.names import log_path
from batchery.store.store import Aside, GroupRow, StreamRow

HOME = Realm("123456789012", "eu-west-1")
MODELS = {name: botocore.session.Session().get_service_model(name) for name in ("logs", "cloudtrail")}
JOB_GROUP = "/aws/batch/job"


class Rows:
    """The reads that these handlers do."""

    def __init__(self) -> None:
        self.group_rows: dict[tuple[str, str, str], GroupRow] = {}
        self.stream_rows: dict[tuple[str, str, str], dict[str, StreamRow]] = {}
        self.records: list[tuple[int, Realm, str]] = []  # (at, realm, doc)
        self.reads = 0

    async def groups(self, account: str, region: str) -> list[GroupRow]:
        return [row for (a, r, _), row in sorted(self.group_rows.items()) if (a, r) == (account, region)]

    async def streams(
        self, account: str, region: str, group: str, prefix: str, after: str, limit: int
    ) -> list[StreamRow]:
        rows = self.stream_rows.get((account, region, group), {})
        return [rows[name] for name in sorted(rows) if name.startswith(prefix) and name > after][:limit]

    async def stream(self, account: str, region: str, group: str, name: str) -> StreamRow | None:
        return self.stream_rows.get((account, region, group), {}).get(name)

    async def activity(
        self, account: str, region: str, start: int, end: int, before: int, limit: int
    ) -> list[tuple[int, str]]:
        self.reads += 1
        found = [
            (cursor, doc)
            for cursor, (at, realm, doc) in enumerate(self.records)
            if realm == (account, region) and start <= at <= end and cursor < before
        ]
        return found[::-1][:limit]


class StandIn:
    """The service behind the handlers."""

    def __init__(self, logs_dir: Path) -> None:
        self.config = Config(logs=str(logs_dir))
        self.reads = Rows()
        self.world = World()
        self.waited = 0

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def ask(self, question: Any, *args: Any) -> Any:
        return question(self.world, *args)

    async def barrier(self) -> None:
        self.waited += 1

    async def write_aside(self, aside: Aside) -> None:
        kind, values = aside
        match kind, values:
            case "put_group", (str(account), str(region), str(name), int(created), int(retention)):
                self.reads.group_rows[account, region, name] = GroupRow(name, created, retention)
            case "delete_group", (str(account), str(region), str(name)):
                self.reads.group_rows.pop((account, region, name), None)
                self.reads.stream_rows.pop((account, region, name), None)
            case "delete_stream", (str(account), str(region), str(group), str(name)):
                del self.reads.stream_rows[account, region, group][name]
            case _:
                raise AssertionError(aside)


class LoggingDesk:
    """`desk.logs("GetLogEvents", logGroupName=…)` gives what boto3 would give."""

    def __init__(self, logs_dir: Path) -> None:
        self.service = StandIn(logs_dir)
        self.logs_dir = logs_dir
        self.policy: Policy | None = None
        self.resources: list[str] = []
        self._serial = 0

    def allow_only(self, *resources: str) -> None:
        statement = {"Effect": "Allow", "Action": "logs:*", "Resource": list(resources)}
        self.policy = parse({"Version": "2012-10-17", "Statement": statement})

    def logs(self, name: str, realm: Realm = HOME, **members: Any) -> dict[str, Any]:
        return self.call("logs", name, realm, members)

    def trail(self, name: str, realm: Realm = HOME, **members: Any) -> dict[str, Any]:
        return self.call("cloudtrail", name, realm, members)

    def call(self, service: str, name: str, realm: Realm, members: dict[str, Any]) -> dict[str, Any]:
        """The parsed answer. Raises ApiError."""
        model = MODELS[service].operation_model(name)
        request = botocore.serialize.create_serializer("json", False).serialize_to_request(members, model)
        headers = {key.lower().encode(): value.encode() for key, value in request["headers"].items()}
        route = wire.find_route("POST", b"/", headers)
        assert route is not None
        assert (route.service, route.action) == (service, f"{service}:{name}")
        caller = Caller(realm.account, "AKIA", f"arn:aws:iam::{realm.account}:user/u", "u", policy=self.policy)
        made = Call(self.service, realm, caller, "req-1", name, request["body"], action=route.action)
        ask = wire.decode(route, request["body"], {}, "req-1")
        answer = asyncio.run(wire.find_handler(route)(made, ask))  # type: ignore[arg-type]
        assert made.checked
        self.resources = made.resources
        body = wire.encode(answer)
        output = model.output_shape
        if output is None:
            assert body == b"{}"
            return {}
        parser = botocore.parsers.create_parser("json")
        parsed = parser.parse({"status_code": 200, "headers": {}, "body": body}, output)
        del parsed["ResponseMetadata"]
        report = botocore.validate.ParamValidator().validate(parsed, output)
        assert not report.has_errors(), report.generate_report()
        unknown = set(msgspec.json.decode(body)) - set(output.members)
        assert not unknown
        return parsed

    def refused(self, service: str, name: str, realm: Realm = HOME, **members: Any) -> tuple[str, str]:
        """Code and text of the error, as botocore reads it."""
        try:
            self.call(service, name, realm, members)
        except ApiError as error:
            status, body = wire.encode_error(wire.JSON, error)
            parser = botocore.parsers.create_parser("json")
            parsed = parser.parse({"status_code": status, "headers": {}, "body": body}, None)
            assert status == 400
            return parsed["Error"]["Code"], parsed["Error"]["Message"]
        raise AssertionError("not refused")

    def stream(
        self,
        name: str,
        *batches: tuple[int, list[str]],
        group: str = JOB_GROUP,
        live: bool = False,
        realm: Realm = HOME,
    ) -> Path:
        """A stream with lines at times (ms). Returns the path of its log."""
        self._serial += 1
        key = AttemptKey("job", 0, self._serial)
        created = batches[0][0] if batches else self.service.now()
        row = StreamRow(group, name, task_id(key), "default", created, key)
        self.service.reads.stream_rows.setdefault((*realm, group), {})[name] = row
        self.service.reads.group_rows.setdefault((*realm, group), GroupRow(group, created, 0))
        if live:
            self.service.world.live[key] = None  # type: ignore[assignment]
        path = log_path(self.logs_dir, row.task_id)
        for at, lines in batches:
            append(path, at, "".join(f"{line}\n" for line in lines).encode())
        return path

    def end(self, name: str, group: str = JOB_GROUP) -> None:
        """The attempt of that stream has ended."""
        del self.service.world.live[self.service.reads.stream_rows[(*HOME, group)][name].key]


def append(path: Path, at: int, data: bytes) -> None:
    """As a job appends to its log, and its agent samples it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)
    os.utime(path, ns=(at * 1_000_000, at * 1_000_000))
    with Path(f"{path}.idx").open("ab") as index:
        index.write(struct.pack("<qq", path.stat().st_size, at))
    os.utime(f"{path}.idx", ns=(at * 1_000_000, at * 1_000_000))
