"""Texts of definitions and requests, as the store has them."""

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def definition() -> Callable[..., str]:
    """A definition's doc: ``definition(container={...}, retryStrategy=...)``; a runnable container if none is given."""

    def make(container: dict[str, Any] | None = None, **members: Any) -> str:
        given = {
            "image": "busybox",
            "command": ["true"],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "128"}],
        }
        properties = given | (container or {})
        kept = {name: value for name, value in properties.items() if value is not None}
        return json.dumps({"jobDefinitionName": "d", "type": "container", "containerProperties": kept, **members})

    return make


@pytest.fixture
def request_text() -> Callable[..., str]:
    """A SubmitJob body: ``request_text(overrides={...}, parameters=...)``."""

    def make(overrides: dict[str, Any] | None = None, **members: Any) -> str:
        body = {"jobName": "j", "jobQueue": "q", "jobDefinition": "d", **members}
        if overrides is not None:
            body["containerOverrides"] = overrides
        return json.dumps(body)

    return make
