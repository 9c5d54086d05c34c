"""Slurm by slurmrestd: over a Unix socket as its owner, or over HTTP with a JSON Web Token.

Theory of operation
-------------------
The version of the API is agreed on once and again after it is not found any more. Every listing is of all jobs of the
cluster, since the API has no other; it is asked for no more often than the desk asks squeue, with the time of the last
one: where nothing has changed the answer is empty, and the last one stands.

A signal goes to all processes of a job, not to its batch script alone. So it is SIGURG, which nothing but our wrapper
takes for anything. Cancelling what waits looks at the states anew and then names jobs and elements. The state is no
part of the request: of an array, elements that wait are one job to Slurm until they begin (decision 134).

slurmrestd gives no reason when it does not reach slurmctld, nor when slurmctld does not take the token: both are
`Unreachable`, and jobs wait.
"""

import asyncio
import os
import pwd
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from batchery.config import Slurm
from batchery.engines import slurmpast, slurmshapes, slurmstate
from batchery.engines.engine import EngineError
from batchery.engines.slurmdriver import Options, Refused, Unreachable
from batchery.engines.slurmoptions import CannotSay, properties
from batchery.engines.slurmshapes import Job, Version
from batchery.engines.slurmstate import Listing, Node
from batchery.engines.slurmtoken import Token
from batchery.engines.tcphttp import TcpHttp
from batchery.engines.unixhttp import Answer, Hangup, UnixHttp

T = TypeVar("T")

ANSWER_SECONDS: Final = 40.0
FRESH_S: Final = 1.0  #: a listing so young says what waits
STANDS_S: Final = 30.0  #: a listing is asked for whole after so long, whatever the clocks say
CLOCKS_S: Final = 2  #: between the controller's clock and ours
IDS_AT_ONCE: Final = 400
NAMES_AT_ONCE: Final = 100
AT_ONCE: Final = 8  #: requests that do not fit into one
BIG: Final = 100_000  #: bytes of an answer that is read beside the loop
_CONF: Final = ("ClusterName", "MaxArraySize", "MaxJobCount", "TaskPlugin")
#: OpenAPI documents of servers old and new.
_DOCUMENTS: Final = ("/openapi/v3", "/openapi.json", "/openapi")


class RestDriver:
    """The driver that needs nothing of Slurm on this machine. ``settings.rest``: unix:/path, http:// or https://."""

    name = "slurmrestd"

    def __init__(self, settings: Slurm) -> None:
        self._settings = settings
        self._token = Token(settings.rest_token) if settings.rest_token else None
        self._user = pwd.getpwuid(os.geteuid()).pw_name
        scheme, _, place = settings.rest.partition(":")
        self._http = UnixHttp(place) if scheme == "unix" else TcpHttp(settings.rest)
        self._root = "" if scheme == "unix" else urlsplit(settings.rest).path.rstrip("/")
        self._version: Version | None = None
        self._accounting = False
        self._jobs: list[Job] = []
        self._jobs_at = 0.0  # of the loop's clock; 0 for never
        self._whole_at = 0.0
        self._since = 0  # seconds since the epoch
        self._limit = 1001

    def check(self) -> None:
        """Raises EngineError for an option that no version can be given."""
        for target in (self._settings, *self._settings.environments.values()):
            try:
                properties(target.options, new=True)
            except CannotSay as error:
                raise EngineError(f"[slurm] options: {error}. Without `rest` all options of sbatch work.") from None

    async def close(self) -> None:
        await self._http.close()

    # ---------------------------------------------------------------------------------------------------- the cluster

    async def config(self) -> dict[str, str]:
        """What the server tells, and slurm.conf where the settings name one: the API does not have it."""
        version = await self._speak()
        found = slurmshapes.config(_read(await self._ask("GET", "/ping"), slurmshapes.Reply).meta)
        if self._settings.conf:
            found |= await asyncio.to_thread(_from_conf, self._settings.conf)
        if not version.elements:
            found["MaxArraySize"] = "1"
        found["AccountingStorageType"] = "accounting_storage/slurmdbd" if self._accounting else "none"
        size = found.get("MaxArraySize", "")
        self._limit = int(size) if size.isdigit() else 1001
        self.name = f"slurmrestd {version.name}"
        return found

    async def nodes(self) -> list[Node]:
        hosts = await self._read(await self._ask("GET", "/nodes"), slurmshapes.Hosts)
        partitions = await self._read(await self._ask("GET", "/partitions"), slurmshapes.Partitions)
        return slurmshapes.nodes(hosts.nodes, partitions.partitions)

    # ---------------------------------------------------------------------------------------------------- jobs

    async def submit(self, name: str, comment: str, options: Options, size: int, script: str) -> None:
        version = await self._speak()
        try:
            document = slurmshapes.submission(version, name, comment, options, size, script)
        except CannotSay as error:
            raise Refused(str(error)) from None
        try:
            body = await self._ask("POST", "/job/submit", document, once=True)
        except Refused as error:
            if options.gpus and str(error) == "Failure during parsing":  # what becomes of an unknown gres
                raise Refused("Invalid generic resource (gres) specification") from None
            raise Refused(f"Batch job submission failed: {error}") from None
        if not slurmshapes.value(_read(body, slurmshapes.Reply).job_id):
            raise Unreachable("slurmrestd took a job and gave it no number")

    async def listing(self, prefix: str, ended: bool = False) -> Listing:
        await self._load()
        rows = slurmshapes.listing(self._jobs, prefix, self._limit)
        return rows if ended else {w: row for w, row in rows.items() if row.phase != slurmstate.OVER}

    async def _load(self) -> None:
        """All jobs of the cluster, unless nothing changed."""
        version = await self._speak()
        began, clock = time.monotonic(), int(time.time())
        stands = self._jobs_at and not version.new and began - self._whole_at < STANDS_S
        answer = await self._send("GET", f"/jobs?update_time={self._since}" if stands else "/jobs")
        self._jobs_at = began
        if answer.status == 304 and stands:
            return
        self._jobs = (await self._read(self._judged(answer), slurmshapes.Jobs)).jobs
        self._whole_at, self._since = began, clock - CLOCKS_S

    async def history(self, names: Sequence[str]) -> Listing:
        """By slurmdbd's API, where the server has it."""
        version = await self._speak()
        found: Listing = {}
        for start in range(0, len(names) if self._accounting else 0, NAMES_AT_ONCE):
            path = slurmpast.query(version, names[start : start + NAMES_AT_ONCE], time.time())
            try:
                body = self._judged(await self._call("GET", self._root + path))
            except Refused as error:
                if version.new:  # these serve it without slurmdbd too
                    return found
                raise Unreachable(f"slurmdbd, through slurmrestd: {error}") from None
            found |= slurmpast.history((await self._read(body, slurmpast.Pasts)).jobs)
        return found

    async def signal(self, ids: Sequence[str], tasks: bool = False) -> None:
        await self._kill(ids, "URG", {} if tasks else {"flags": ["BATCH_JOB"]})

    async def cancel(self, ids: Sequence[str], waiting: bool = True) -> None:
        if waiting:
            if time.monotonic() - self._jobs_at > FRESH_S:
                await self._load()
            rows = slurmshapes.listing(self._jobs, "", self._limit).values()
            known = {row.id for row in rows if row.phase == slurmstate.WAITING}
            ids = [one for one in ids if one in known]
        await self._kill(ids, "KILL", {})

    async def _kill(self, ids: Sequence[str], signal: str, how: dict[str, list[str]]) -> None:
        """That one of them has just ended is no error: the next listing tells what became of them."""
        version = await self._speak()
        for start in range(0, len(ids), IDS_AT_ONCE):
            part = ids[start : start + IDS_AT_ONCE]
            calls: list[tuple[str, object]]
            if version.many:
                calls = [("/jobs/", {"jobs": part, "signal": signal, **how})]
            else:
                # Without ``elements`` the name of one would be taken for the whole array.
                names = slurmshapes.together(one for one in part if version.elements or "_" not in one)
                calls = [(f"/job/{quote(name)}?signal={signal}", None) for name in names]
            for first in range(0, len(calls), AT_ONCE):
                some = [self._ask("DELETE", path, document) for path, document in calls[first : first + AT_ONCE]]
                for outcome in await asyncio.gather(*some, return_exceptions=True):
                    if isinstance(outcome, BaseException) and not isinstance(outcome, Refused):
                        raise outcome

    # ---------------------------------------------------------------------------------------------------- requests

    async def _speak(self) -> Version:
        """The version of the API that both know."""
        if self._version is None:
            for path in _DOCUMENTS:
                answer = await self._call("GET", self._root + path)
                if answer.status != 404:
                    break
            self._judged(answer)
            self._version = slurmshapes.spoken(answer.body)
            if self._version is None:
                theirs = ", ".join(slurmshapes.names_spoken(answer.body)) or "no version of the API"
                ours = ", ".join(sorted(version.name for version in slurmshapes.VERSIONS))
                raise Refused(f"slurmrestd speaks {theirs}; we know {ours}")
            self._accounting = slurmpast.remembers(answer.body, self._version)
        return self._version

    async def _ask(self, method: str, path: str, document: object = None, once: bool = False) -> bytes:
        return self._judged(await self._send(method, path, document, once))

    async def _send(self, method: str, path: str, document: object = None, once: bool = False) -> Answer:
        version = await self._speak()
        return await self._call(method, f"{self._root}/slurm/{version.name}{path}", document, once)

    async def _call(self, method: str, path: str, document: object = None, once: bool = False) -> Answer:
        headers = self._token.headers(self._user) if self._token else {}
        try:
            return await self._http.request(method, path, document, headers, ANSWER_SECONDS, once)
        except TimeoutError:
            raise Unreachable(f"slurmrestd gave no answer in {ANSWER_SECONDS:.0f} s") from None
        except Hangup as error:
            raise Unreachable(f"slurmrestd: {error}") from None

    def _judged(self, answer: Answer) -> bytes:
        """The body of an answer that is none of an error. Raises Refused or Unreachable."""
        found = slurmshapes.problem(answer.body)
        if answer.status == 200 and (found is None or not found[1]):
            return answer.body
        if found is None:
            if answer.status == 404:
                self._version = None  # another slurmrestd than before
            said = answer.body[:200].decode(errors="replace").strip()
            words = f"slurmrestd: {said or f'HTTP status {answer.status}'}"
            raise Unreachable(words + self._of_the_token())
        words, numbers = found
        if answer.status in (401, 403) or slurmshapes.UNSPECIFIED in numbers or slurmstate.is_unreachable(words):
            raise Unreachable(f"slurmrestd: {words}{self._of_the_token()}")
        raise Refused(words or "no reason given")

    def _of_the_token(self) -> str:
        if self._token is not None and self._token.ended(time.time()):
            return f" (the token in {self._token.path} has expired)"
        return ""

    async def _read(self, body: bytes, kind: type[T]) -> T:
        return await asyncio.to_thread(_read, body, kind) if len(body) > BIG else _read(body, kind)


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise Unreachable(f"slurmrestd's answer cannot be read: {error}") from None


def _from_conf(path: str) -> dict[str, str]:
    """The limits of a slurm.conf. Raises Unreachable."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror}") from None
    found = {}
    for line in lines:
        name, _, text = line.partition("#")[0].partition("=")
        for wanted in _CONF:
            if name.strip().lower() == wanted.lower():
                found[wanted] = text.strip()
    return found
