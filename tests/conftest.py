"""What all tests share: a record of the request members that boto3 sent, test by test, held to docs/members.

Things outside of the project that tests need have a file each in tests/outside. With several workers (pytest-xdist)
each records what its own tests sent; the whole is judged when all have ended.
"""

import os
from collections.abc import Iterator
from typing import Any

import botocore.client
import pytest
from tests.outside.registry import registry
from tests.outside.runtimes import runtimes
from tests.outside.slurm import slurm
from tests.outside.user import user
from tests.workers import ByWhatTheyShare
from tools.members import plain, sent, unshown

__all__ = ["registry", "runtimes", "slurm", "user"]

SENT = pytest.StashKey[dict[str, set[str]]]()
PASSED = pytest.StashKey[set[str]]()
NOT_RUN = pytest.StashKey[set[str]]()


def _now() -> str:
    """The node id of the test that runs, fixtures of it included."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]


@pytest.fixture(scope="session", autouse=True)
def members_sent(pytestconfig: pytest.Config) -> Iterator[None]:
    """Record the members of every successful call to AWS Batch."""
    record = pytestconfig.stash.setdefault(SENT, {})
    call = botocore.client.BaseClient._make_api_call

    def recording(self: Any, operation_name: str, api_params: dict[str, Any]) -> Any:
        answer = call(self, operation_name, api_params)
        service = self.meta.service_model
        if service.service_name == "batch" and (shape := service.operation_model(operation_name).input_shape):
            record.setdefault(_now(), set()).update(sent(shape, api_params))
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", recording)
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = (yield).get_result()  # type: ignore[attr-defined]
    if report.skipped:
        item.config.stash.setdefault(NOT_RUN, set()).add(item.nodeid)
    if report.when == "call" and report.passed:
        item.config.stash.setdefault(PASSED, set()).add(item.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByWhatTheyShare:
    return ByWhatTheyShare(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """What a worker has seen; nothing of one that crashed, which fails the run anyway."""
    seen = getattr(node, "workeroutput", {})
    record = node.config.stash.setdefault(SENT, {})
    for test, members in seen.get("sent", {}).items():
        record.setdefault(test, set()).update(members)
    node.config.stash.setdefault(PASSED, set()).update(seen.get("passed", ()))
    node.config.stash.setdefault(NOT_RUN, set()).update(seen.get("not run", ()))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A row of docs/members whose test ran and did not send its member fails the run."""
    config = session.config
    if (told := getattr(config, "workeroutput", None)) is not None:
        told["sent"] = config.stash.get(SENT, {})
        told["passed"], told["not run"] = config.stash.get(PASSED, set()), config.stash.get(NOT_RUN, set())
        return
    record, passed = config.stash.get(SENT, {}), config.stash.get(PASSED, set())
    chosen = config.option.keyword or config.option.markexpr or config.option.file_or_dir
    whole = not chosen and not config.option.collectonly and exitstatus == 0
    faults = unshown({node: record.get(node, set()) for node in passed}, whole, config.stash.get(NOT_RUN, set()))
    if config.option.file_or_dir and any("::" in name for name in config.option.file_or_dir):
        faults = []  # single tests, perhaps one of several parameters of a test
    if faults and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        assert reporter is not None
        reporter.write_line("")
        for fault in faults:
            reporter.write_line(f"docs/members: {fault}", red=True)
        reporter.write_line(f"docs/members: {len(faults)} of the rows are not shown by the test they name", red=True)
    if target := os.environ.get("BATCHERY_MEMBERS_SENT"):  # for those who fill the tables: who sends what
        with open(target, "w", encoding="utf-8") as out:
            for node in sorted(passed):
                out.writelines(f"{name}\t{plain(node)}\n" for name in sorted(record.get(node, ())))
