"""What the warden reads of containers: by place, in labels that the engine writes."""

from typing import Any

from msgspec import json

from batchery.core.pod import Part
from batchery.engines import warden
from batchery.engines.containerspec import ATTEMPT, FACTS, OWNER, Facts, PodFacts


def listed(facts: Facts) -> dict[str, Any]:
    return {"Id": "box", "Labels": {ATTEMPT: "job:0:1", FACTS: json.encode(facts).decode()}}


def facts(timeout: int, pod: PodFacts | None = None) -> Facts:
    return Facts("main", "/log", timeout, 30_000, "pool", 1000, 64, (), pod=pod)


def test_the_limit_of_one_container_and_of_several_is_where_it_is_looked_for() -> None:
    assert (warden.ATTEMPT, warden.FACTS, warden.OWNER) == (ATTEMPT, FACTS, OWNER)
    assert warden.limited(listed(facts(6_000))) == ("box", "job:0:1", 6.0, 30.0)
    both = PodFacts((Part("main"), Part("other")), 7_000)
    assert warden.limited(listed(facts(0, both))) == ("box", "job:0:1", 7.0, 30.0)
    assert warden.limited(listed(facts(0))) is None
    assert warden.limited(listed(facts(0, PodFacts((), 0)))) is None
    assert warden.limited({"Id": "box", "Labels": {}}) is None


def test_several_have_no_limit_before_all_have_begun(monkeypatch) -> None:
    both = PodFacts((Part("main"), Part("other")), 1)
    boxes = [{**listed(facts(0, both)), "Id": str(number), "State": "running"} for number in range(2)]
    asked = []

    def ask(path: str, method: str, url: str) -> Any:
        asked.append((method, url.partition("?")[0]))
        if url.startswith("/containers/json"):
            return boxes
        return {"State": {"StartedAt": "2026-01-01T00:00:00.5Z"}} if method == "GET" else None

    monkeypatch.setattr(warden, "ask", ask)
    guard = warden.Guard("socket", "owner")
    boxes[1]["State"] = "created"
    assert guard.look()
    assert asked == [("GET", "/containers/json")]
    boxes[1]["State"] = "running"
    assert guard.look()
    assert asked[-2:] == [("POST", "/containers/0/kill"), ("POST", "/containers/1/kill")]


def test_nobody_is_ended_before_the_limit_to_the_fraction() -> None:
    assert warden.seconds("2026-01-01T00:00:00.5004Z") == warden.seconds("2026-01-01T01:00:00+01:00") + 0.5004
