"""Fixtures of the tests over the wire."""

from collections.abc import Callable, Iterator
from pathlib import Path

import judging
import pytest
from wire_pipeline import PROLOG, Pipeline, Server

judging.install()


@pytest.fixture(autouse=True)
def judged() -> Iterator[None]:
    """No test passes with an answer that was not as the model says, wherever it was asked."""
    before = len(judging.PROBLEMS)
    yield
    assert not judging.PROBLEMS[before:], "\n".join(dict.fromkeys(judging.PROBLEMS[before:]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a file."""
    made = Server(tmp_path_factory.mktemp("server"), "kill_grace = 2", PROLOG)
    try:
        yield made.start()
    finally:
        made.end()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers for one test: they may be killed."""
    made: list[Server] = []

    def make(settings: str = "kill_grace = 2", process: str = "", before: Callable[[Server], object] = bool) -> Server:
        folder = tmp_path / f"server-{len(made)}"
        folder.mkdir()
        made.append(Server(folder, settings, process))
        before(made[-1])
        return made[-1].start()

    try:
        yield make
    finally:
        for one in made:
            one.end()


@pytest.fixture
def pipeline(server: Server, tmp_path: Path) -> Pipeline:
    return Pipeline(server, tmp_path)
