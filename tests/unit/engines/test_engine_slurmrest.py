"""The driver of slurmrestd, against a server that is a script."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from batchery.config import Slurm
from batchery.engines import slurmrest
from batchery.engines.slurmdriver import Options, Refused, Unreachable
from batchery.engines.slurmrest import RestDriver

OPTIONS = Options(cpus=2, memory=100, gpus=1, minutes=7, partition="main")
SCRIPT = "#!/bin/sh\nexec true\n"
SILENT = 0  #: the status of no answer
Handler = Callable[[str, str, dict[str, str], Any], tuple[int, Any]]


def document(*versions: str) -> bytes:
    return json.dumps({"paths": {f"/slurm/{name}/job/submit": {} for name in versions}}).replace("/", "\\/").encode()


def jwt(**said: Any) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    return f"e30.{middle}.c2ln"


@contextlib.asynccontextmanager
async def slurmrestd(handler: Handler, path: Path | None = None) -> AsyncIterator[str]:
    """Answers what the handler says to method, path, headers and document; bytes are an answer that is no JSON."""

    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        try:
            while True:
                head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers["Content-Length"]))
                method, target, _ = head.split(" ")
                status, answer = handler(method, target, headers, json.loads(body) if body else None)
                if status == SILENT:
                    await asyncio.sleep(3600)
                text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text))
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    if path is None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        place = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server, place = await asyncio.start_unix_server(serve, str(path)), f"unix:{path}"
    try:
        yield place
    finally:
        server.close()
        for task in filter(None, serving):
            task.cancel()
        await asyncio.gather(*filter(None, serving))


class Script:
    """A slurmrestd of these versions: answers by path, the rest {}. What was asked is in ``heard``."""

    def __init__(self, *versions: str, **answers: Any) -> None:
        self.versions = versions
        self.answers = {f"/{name}": answer for name, answer in answers.items()}
        self.heard: list[tuple[str, str, Any]] = []
        self.headers: dict[str, str] = {}

    def __call__(self, method: str, path: str, headers: dict[str, str], asked: Any) -> tuple[int, Any]:
        self.headers = headers
        if path.endswith("/openapi/v3"):
            return 200, document(*self.versions)
        _, _, rest = path.partition("/slurm/")
        version, slash, rest = rest.partition("/")
        if version not in self.versions:
            return 404, b"Unable find requested URL."
        self.heard.append((method, slash + rest, asked))
        found = self.answers.get(slash + rest.partition("?")[0].rstrip("/"), {})
        return found if isinstance(found, tuple) else (200, found)


async def test_a_new_server_is_told_everything_in_lists(tmp_path: Path) -> None:
    array: dict[str, Any] = {"name": "bt-a", "array_job_id": {"set": True, "number": 7}}
    jobs = [
        {**array, "job_id": 7, "array_task_string": "2-3", "job_state": ["PENDING"]},
        {**array, "job_id": 8, "array_task_id": {"set": True, "number": 1}, "job_state": ["RUNNING"]},
    ]
    meta = {"slurm": {"release": "24.11.1", "cluster": "c"}}
    script = Script("v0.0.41", "v0.0.42", jobs={"jobs": jobs}, ping={"meta": meta})
    script.answers["/job/submit"] = {"job_id": 7, "errors": [], "warnings": [{"description": "held"}]}
    async with slurmrestd(script, tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        assert await driver.config() == {
            "SLURM_VERSION": "24.11.1",
            "ClusterName": "c",
            "AccountingStorageType": "none",
        }
        assert driver.name == "slurmrestd v0.0.42"
        await driver.submit("bt-a", "c", OPTIONS, 2, SCRIPT)
        for _ in range(2):
            assert sorted(await driver.listing("bt-")) == [("bt-a", 1), ("bt-a", 2), ("bt-a", 3)]
        await driver.signal(["7"])
        await driver.cancel(["7_1", "7_2"])
        await driver.cancel(["7_1"], waiting=False)
        await driver.close()
    assert script.heard[1][2]["job"]["array"] == "0-1"
    assert script.heard[2:] == [
        ("GET", "/jobs", None),
        ("GET", "/jobs", None),
        ("DELETE", "/jobs/", {"jobs": ["7"], "signal": "URG", "flags": ["BATCH_JOB"]}),
        ("DELETE", "/jobs/", {"jobs": ["7_2"], "signal": "KILL"}),  # 7_1 runs; and never by state
        ("DELETE", "/jobs/", {"jobs": ["7_1"], "signal": "KILL"}),
    ]


async def test_an_old_server_cancels_what_waits_by_name_and_says_when_nothing_changed(tmp_path: Path) -> None:
    jobs = [
        {"name": "bt-a", "job_id": 7, "array_job_id": 7, "array_task_string": "1-4", "job_state": "PENDING"},
        {"name": "bt-a", "job_id": 8, "array_job_id": 7, "array_task_id": 0, "job_state": "RUNNING"},
    ]
    script = Script("v0.0.38", jobs={"jobs": jobs})
    async with slurmrestd(script, tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        await driver.listing("bt-")
        script.answers["/jobs"] = (304, b"")
        assert len(await driver.listing("bt-")) == 5
        await driver.cancel(["7_0", "7_1", "7_2", "7_4", "99"])
        await driver.signal(["7_0"])
        await driver.close()
    asked = [path for _, path, _ in script.heard]
    assert asked[0] == "/jobs"
    assert asked[1].startswith("/jobs?update_time=")
    assert asked[2:] == ["/job/7_%5B1-2%2C4%5D?signal=KILL", "/job/7_0?signal=URG"]


async def test_an_old_listing_is_made_anew_before_anything_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurmrest, "FRESH_S", -1.0)
    job = {"name": "bt-a", "job_id": 7, "job_state": "PENDING"}
    script = Script("v0.0.37", jobs={"jobs": [job]})
    async with slurmrestd(script, tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        await driver.listing("bt-")
        script.answers["/jobs"] = {"jobs": [{**job, "job_state": "RUNNING"}]}
        await driver.cancel(["7"])
        assert [method for method, _, _ in script.heard] == ["GET", "GET"]
        await driver.close()


async def test_where_no_element_can_be_cancelled_there_are_no_arrays(tmp_path: Path) -> None:
    conf = tmp_path / "slurm.conf"
    conf.write_text("# MaxJobCount=1\nclustername = mine # ours\nMaxArraySize=500\nMaxJobCount=20\n")
    for version, size in (("v0.0.40", "1"), ("v0.0.38", "500")):
        async with slurmrestd(Script(version), tmp_path / "s") as place:
            driver = RestDriver(Slurm(rest=place, conf=str(conf)))
            config = await driver.config()
            assert config.pop("AccountingStorageType") == "none"
            assert config == {"ClusterName": "mine", "MaxJobCount": "20", "MaxArraySize": size}
            await driver.close()
    with pytest.raises(Unreachable, match="No such file"):
        slurmrest._from_conf(str(tmp_path / "nowhere"))


def errors(*problems: dict[str, Any]) -> tuple[int, Any]:
    return 500, {"meta": {}, "errors": list(problems)}


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (errors({"error_number": 2000, "error": "Invalid partition"}), Refused, "Invalid partition"),
        (errors({"error_number": 2000, "description": "long"}, {"error": "short"}), Refused, "long; short"),
        (errors({"error_number": -1, "error": "Unspecified error"}), Unreachable, "Unspecified error"),
        (errors({"error_code": 1800, "error": "Unable to contact slurm controller (x)"}), Unreachable, "contact"),
        ((401, b"Authentication failure"), Unreachable, "Authentication failure"),
        ((403, {"errors": [{"error_number": 1, "error": "no"}]}), Unreachable, "no"),
        ((502, b""), Unreachable, "HTTP status 502"),
        ((200, b"<html>"), Unreachable, "cannot be read"),
        ((200, {"errors": [{"error_number": 2000, "error": "all the same"}]}), Refused, "all the same"),
    ],
)
async def test_errors_are_told_apart(tmp_path: Path, answer: Any, kind: type[Exception], words: str) -> None:
    async with slurmrestd(Script("v0.0.38", jobs=answer), tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        with pytest.raises(kind, match=words):
            await driver.listing("bt-")
        await driver.close()


@pytest.mark.parametrize(
    ("options", "answer", "kind", "words"),
    [
        (OPTIONS, errors({"error": "Invalid job array"}), Refused, "Batch job submission failed: Invalid job array"),
        (OPTIONS, errors({"error_code": 9001, "error": "Failure during parsing"}), Refused, "generic resource"),
        (
            OPTIONS._replace(gpus=0),
            errors({"error_code": 9001, "error": "Failure during parsing"}),
            Refused,
            "Failure during parsing",
        ),
        (OPTIONS, (200, {"job_id": 0}), Unreachable, "no number"),
        (OPTIONS._replace(extra=("--prefer=x",)), (200, {"job_id": 1}), Refused, "--prefer"),
    ],
)
async def test_a_job_that_is_not_taken(
    tmp_path: Path, options: Options, answer: Any, kind: type[Exception], words: str
) -> None:
    script = Script("v0.0.38")
    script.answers["/job/submit"] = answer
    async with slurmrestd(script, tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        with pytest.raises(kind, match=words):
            await driver.submit("bt-a", "c", options, 1, SCRIPT)
        await driver.close()


async def test_a_held_job_is_a_job(tmp_path: Path) -> None:
    script = Script("v0.0.38")
    script.answers["/job/submit"] = {"job_id": 3, "errors": [{"error_code": 2042, "error": "Job is in held state"}]}
    async with slurmrestd(script, tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        await driver.submit("bt-a", "c", OPTIONS, 1, SCRIPT)
        await driver.close()


async def test_what_is_no_job_any_more_is_no_error_of_a_cancel(tmp_path: Path) -> None:
    script = Script("v0.0.38")
    script.answers["/job/7"] = errors({"error_number": 2017, "error": "Invalid job id specified"})
    async with slurmrestd(script, tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        await driver.cancel(["7", "8"], waiting=False)
        assert [path for _, path, _ in script.heard] == ["/job/7?signal=KILL", "/job/8?signal=KILL"]
        await driver.close()


async def test_an_upgraded_server_is_asked_anew_what_it_speaks(tmp_path: Path) -> None:
    script = Script("v0.0.38", jobs={"jobs": []})
    async with slurmrestd(script, tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        await driver.listing("bt-")
        script.versions = ("v0.0.42",)
        with pytest.raises(Unreachable, match="Unable find"):
            await driver.listing("bt-")
        assert await driver.listing("bt-") == {}
        script.versions = ("v0.0.99",)
        with pytest.raises(Unreachable):
            await driver.listing("bt-")
        with pytest.raises(Refused, match=r"slurmrestd speaks v0\.0\.99; we know v0\.0\.37"):
            await driver.listing("bt-")
        await driver.close()


async def test_over_tcp_behind_a_path_with_a_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(jwt(sun="ann", exp=1))
    script = Script("v0.0.38", jobs={"jobs": []})
    async with slurmrestd(script) as place:
        driver = RestDriver(Slurm(rest=f"{place}/behind/", rest_token=str(file)))
        await driver.listing("bt-")
        assert script.headers["X-SLURM-USER-NAME"] == "ann"
        assert script.headers["X-SLURM-USER-TOKEN"] == jwt(sun="ann", exp=1)
        assert script.headers["Host"] == place.removeprefix("http://")
        script.answers["/jobs"] = errors({"error_number": -1, "error": "Unspecified error"})
        with pytest.raises(Unreachable, match="has expired") as caught:
            await driver.listing("bt-")
        assert jwt(sun="ann", exp=1) not in str(caught.value) + repr(vars(caught.value))
        await driver.close()


async def test_nobody_there_and_nobody_who_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (f"unix:{tmp_path}/nothing", "http://127.0.0.1:1"):
        with pytest.raises(Unreachable, match="slurmrestd: "):
            await RestDriver(Slurm(rest=place)).listing("bt-")
    monkeypatch.setattr(slurmrest, "ANSWER_SECONDS", 0.2)
    async with slurmrestd(lambda *_: (SILENT, b""), tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        with pytest.raises(Unreachable, match="no answer"):
            await driver.listing("bt-")
        await driver.close()


async def test_a_document_that_is_elsewhere_is_found(tmp_path: Path) -> None:
    def handler(method: str, path: str, headers: dict[str, str], asked: Any) -> tuple[int, Any]:
        if path == "/openapi.json":
            return 200, document("v0.0.38")
        return (200, {"jobs": []}) if path.startswith("/slurm/") else (404, b"no")

    async with slurmrestd(handler, tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        assert await driver.listing("bt-") == {}
        await driver.close()


async def test_a_large_answer_is_read_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurmrest, "BIG", 10)
    job = {"name": "bt-a", "job_id": 7, "job_state": "RUNNING", "unknown": {"of": ["it"]}}
    async with slurmrestd(Script("v0.0.38", jobs={"jobs": [job]}), tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        assert list(await driver.listing("bt-")) == [("bt-a", 0)]
        await driver.close()


@pytest.mark.parametrize("version", ["v0.0.38", "v0.0.42"])
async def test_what_accounting_remembers_is_asked_for_where_it_is(tmp_path: Path, version: str) -> None:
    old = version == "v0.0.38"
    jobs: list[dict[str, Any]] = [
        {"name": "bt-a", "job_id": 9, "array": {"job_id": 7, "task_id": 1}, "state": {"current": "NODE_FAIL"}},
        {"name": "bt-a", "job_id": 7, "array": {"job_id": 7, "task": "2-3"}, "state": {"current": "CANCELLED"}},
        {"name": "bt-b", "job_id": 8, "array": {"job_id": 0}, "state": {"current": "FAILED"}, "nodes": "n1"},
    ]
    for job, task in zip(jobs, (1, None, None), strict=True):
        if not old:
            job["state"] = {"current": [job["state"]["current"]]}
            job["array"]["task_id"] = {"set": task is not None, "infinite": False, "number": task or 0}
        elif task is None:
            job["array"]["task_id"] = 0xFFFF_FFFE
    asked = []
    answer: tuple[int, Any] = 200, {"jobs": jobs}

    def handler(method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        if path.startswith("/openapi"):
            return 200, document(version).replace(b"}}}", b'}, "/slurmdb/%s/jobs/": {}}}' % version.encode())
        asked.append(path)
        return answer

    async with slurmrestd(handler, tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        rows = await driver.history(["bt-a", "bt-b"])
        assert {where: (row.id, row.state, row.node) for where, row in rows.items()} == {
            ("bt-a", 1): ("7_1", "NODE_FAIL", ""),
            ("bt-a", 2): ("7_2", "CANCELLED", ""),
            ("bt-a", 3): ("7_3", "CANCELLED", ""),
            ("bt-b", 0): ("8", "FAILED", "n1"),
        }
        await driver.close()
    assert len(asked) == 1
    assert asked[0].startswith(f"/slurmdb/{version}/jobs?skip_steps=true&start_time={'now-60days' if old else ''}")
    assert asked[0].endswith("&job_name=bt-a%2Cbt-b")
    jobs[:] = [{"name": 1}]
    async with slurmrestd(handler, tmp_path / "u") as place:
        driver = RestDriver(Slurm(rest=place))
        with pytest.raises(Unreachable, match="cannot be read"):
            await driver.history(["bt-a"])
        answer = errors({"error_number": 7000, "error": "Unable to connect to database"})
        if old:
            with pytest.raises(Unreachable, match="slurmdbd"):
                await driver.history(["bt-a"])
        else:
            assert await driver.history(["bt-a"]) == {}
        await driver.close()


async def test_without_accounting_nothing_is_remembered(tmp_path: Path) -> None:
    async with slurmrestd(Script("v0.0.38"), tmp_path / "s") as place:
        driver = RestDriver(Slurm(rest=place))
        assert await driver.history(["bt-a"]) == {}
        await driver.close()
