"""The session in the README, its commands unchanged, where jobs run in containers."""

import re
from collections.abc import Callable
from pathlib import Path

from test_clients import pip_cli
from test_readme import README, like, session, shell
from wire_pipeline import Server

#: The first process of a container that has no handler ignores SIGTERM, as on AWS (docs/containers.md).
ENDED_IN_A_CONTAINER = (("exit code 143, killed by SIGTERM", "exit code 137, killed by SIGKILL"), (" 143 ", " 137 "))


def test_the_session_of_the_readme_in_containers(own_server: Callable[..., Server], tmp_path: Path) -> None:
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL)
    server = own_server()
    for command, printed, now in session(blocks, shell(server, tmp_path, pip_cli())):
        for here, there in ENDED_IN_A_CONTAINER:
            printed = printed.replace(here, there)
        assert like(now) == like(printed), command
