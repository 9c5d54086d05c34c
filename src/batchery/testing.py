"""A pytest plugin: a private Batchery for a test session, and a clean one for each test.

Installed with Batchery; nothing starts until a test asks for it.

    def test_pipeline(batchery, batchery_reset):
        batch = batchery.client("batch")                  # a boto3 client; any AWS client works with `environment`
        batch.submit_job(jobName="a", jobQueue="default", jobDefinition="...")

    def test_program(batchery, batchery_reset):
        subprocess.run(["./my-pipeline"], env={**os.environ, **batchery.environment})

`batchery` is a server for the whole session in a process of its own, as `batchery exec` makes it: a free port, its data
in a temporary place, jobs ended with it. Under `batchery exec -- pytest` that server is used instead of another one.
`batchery_reset` ends and forgets all jobs and deletes queues, environments, quota shares, policies, job definitions and
consumable resources, before and after the test.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from batchery.cli.target import Target


class Batchery:
    """What the `batchery` fixture gives."""

    def __init__(self, target: "Target") -> None:
        self._target = target

    @property
    def url(self) -> str:
        """Where the server answers, e.g. http://127.0.0.1:40123."""
        return self._target.url

    @property
    def region(self) -> str:
        return self._target.region

    @property
    def environment(self) -> dict[str, str]:
        """Variables that point AWS clients at the server: endpoints, region, keys, NO_PROXY."""
        return self._target.environment()

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set `environment` for this test's own process, and unset what would stand in its way (AWS_PROFILE, ...)."""
        from batchery.cli.target import UNSET

        for name in UNSET:
            monkeypatch.delenv(name, raising=False)
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)

    def client(self, service: str = "batch", **options: Any) -> Any:
        """A boto3 client of "batch", "logs" or "cloudtrail"; ``options`` go to boto3. Raises ImportError without it."""
        import boto3

        session = boto3.session.Session(
            aws_access_key_id=self._target.access_key,
            aws_secret_access_key=self._target.secret_key,
            region_name=options.pop("region_name", self.region),
        )
        return session.client(service, endpoint_url=self.url, **options)

    def reset(self, timeout: float = 60) -> None:
        """End and forget all jobs, then delete every queue, environment, quota share, policy, job definition and
        consumable resource that was made, and have the ready-made queue and environment as they were at first.

        Raises TimeoutError if a job has not ended after ``timeout`` seconds.
        """
        from batchery.cli.reset import reset

        with self._target.client() as client:
            reset(client, timeout)


@pytest.fixture(scope="session")
def batchery() -> Iterator[Batchery]:
    """A private Batchery for the session."""
    from batchery.cli.private import PrivateServer, inherited

    target = inherited()
    if target is not None:
        yield Batchery(target)
        return
    with PrivateServer() as server:
        yield Batchery(server.target)


@pytest.fixture
def batchery_reset(batchery: Batchery) -> Iterator[None]:
    """An empty Batchery for this test, and again after it."""
    batchery.reset()
    yield
    batchery.reset()
