"""What a definition and a SubmitJob request come to."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from batchery.core.messages import Refused
from batchery.core.model import Resources
from batchery.spec.effective import INJECTED_BYTES, effective, substitute

Text = Callable[..., str]


def pairs(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def shown(spec: Any) -> dict[str, str]:
    return {pair.name: pair.value for pair in spec.container.environment}


def test_without_overrides_it_is_the_definition(definition: Text, request_text: Text) -> None:
    spec = effective(definition({"command": ["echo", "hi"]}), request_text())
    assert spec.container.command == ["echo", "hi"]
    assert spec.resources == Resources(1000, 128, 0)
    assert (spec.parameters, spec.retry, spec.timeout, spec.propagate_tags) == ({}, None, None, False)
    assert (spec.platforms, spec.depends_on) == ([], [])


def test_a_command_replaces_the_whole_command(definition: Text, request_text: Text) -> None:
    doc = definition({"command": ["echo", "hi", "there"]})
    assert effective(doc, request_text({"command": ["ls"]})).container.command == ["ls"]
    assert effective(doc, request_text({"command": []})).container.command == ["echo", "hi", "there"]


def test_environments_are_united_by_name_the_override_wins_in_the_definitions_place(
    definition: Text, request_text: Text
) -> None:
    spec = effective(
        definition({"environment": pairs(A="1", B="2")}), request_text({"environment": pairs(C="3", A="9")})
    )
    assert list(shown(spec).items()) == [("A", "9"), ("B", "2"), ("C", "3")]


def test_requirements_are_merged_by_type(definition: Text, request_text: Text) -> None:
    doc = definition(
        {
            "resourceRequirements": [
                {"type": "VCPU", "value": "2"},
                {"type": "MEMORY", "value": "512"},
                {"type": "GPU", "value": "1"},
            ]
        }
    )
    spec = effective(doc, request_text({"resourceRequirements": [{"type": "MEMORY", "value": "1024"}]}))
    assert spec.resources == Resources(2000, 1024, 1)
    assert [(r.type, r.value) for r in spec.container.resource_requirements] == [
        ("VCPU", "2"),
        ("MEMORY", "1024"),
        ("GPU", "1"),
    ]


def test_fractions_of_a_vcpu(definition: Text, request_text: Text) -> None:
    doc = definition({"resourceRequirements": [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "512"}]})
    assert effective(doc, request_text()).resources.vcpus == 250


LEGACY: dict[str, Any] = {"resourceRequirements": None, "vcpus": 2, "memory": 256}


def test_the_deprecated_members_override_their_own_kind(definition: Text, request_text: Text) -> None:
    spec = effective(definition(LEGACY), request_text({"vcpus": 4}))
    assert (spec.container.vcpus, spec.container.memory) == (4, 256)
    assert spec.resources == Resources(4000, 256, 0)


def test_a_deprecated_override_does_nothing_where_requirements_speak(definition: Text, request_text: Text) -> None:
    spec = effective(definition(), request_text({"vcpus": 8, "memory": 9999}))
    assert spec.resources == Resources(1000, 128, 0)
    assert (spec.container.vcpus, spec.container.memory) == (None, None)


def test_requirements_of_the_override_stand_above_deprecated_members(definition: Text, request_text: Text) -> None:
    spec = effective(definition(LEGACY), request_text({"resourceRequirements": [{"type": "VCPU", "value": "8"}]}))
    assert spec.resources == Resources(8000, 256, 0)
    assert (spec.container.vcpus, spec.container.memory) == (None, 256)


def test_retry_strategy_and_timeout_are_replaced_whole(definition: Text, request_text: Text) -> None:
    doc = definition(
        retryStrategy={"attempts": 5, "evaluateOnExit": [{"action": "Exit", "onExitCode": "1"}]},
        timeout={"attemptDurationSeconds": 90},
    )
    kept = effective(doc, request_text())
    assert kept.retry is not None
    assert kept.retry.evaluate_on_exit is not None
    assert [entry.action for entry in kept.retry.evaluate_on_exit] == ["exit"]  # AWS shows actions in lower case
    assert kept.timeout is not None
    assert kept.timeout.attempt_duration_seconds == 90
    new = effective(doc, request_text(retryStrategy={"attempts": 2}, timeout={"attemptDurationSeconds": 60}))
    assert new.retry is not None
    assert (new.retry.attempts, new.retry.evaluate_on_exit) == (2, [])
    assert new.timeout is not None
    assert new.timeout.attempt_duration_seconds == 60


def test_an_empty_timeout_sets_no_limit(definition: Text, request_text: Text) -> None:
    doc = definition(timeout={"attemptDurationSeconds": 90})
    kept = effective(doc, request_text(timeout={})).timeout
    assert kept is not None
    assert kept.attempt_duration_seconds == 90
    assert effective(definition(timeout={}), request_text()).timeout is None


@pytest.mark.parametrize(
    ("registered", "sent", "result"),
    [(None, None, False), (True, None, True), (True, False, False), (False, True, True)],
)
def test_propagate_tags_is_replaced(
    definition: Text, request_text: Text, registered: bool | None, sent: bool | None, result: bool
) -> None:
    doc = definition(**({} if registered is None else {"propagateTags": registered}))
    text = request_text(**({} if sent is None else {"propagateTags": sent}))
    assert effective(doc, text).propagate_tags is result


def test_references_take_the_requests_parameters_before_the_definitions(definition: Text, request_text: Text) -> None:
    doc = definition(
        {"command": ["cp", "Ref::from", "--to=Ref::to", "Ref::from-Ref::to_2", "Ref:x"]},
        parameters={"from": "a", "to": "b", "from-Ref": "no", "unused": "u"},
    )
    spec = effective(doc, request_text(parameters={"to": "c", "from-Ref": "f", "to_2": "z"}))
    # names take all letters, digits, - and _: "Ref::from-Ref::to_2" refers to "from-Ref" and goes on with "::to_2"
    assert spec.container.command == ["cp", "a", "--to=c", "f::to_2", "Ref:x"]
    assert spec.parameters == {"from": "a", "to": "c", "from-Ref": "f", "unused": "u", "to_2": "z"}


def test_values_are_not_looked_at_again() -> None:
    assert substitute(["Ref::a"], {"a": "Ref::b", "b": "no"}) == ["Ref::b"]


def test_only_the_command_has_references(definition: Text, request_text: Text) -> None:
    spec = effective(definition({"environment": pairs(A="Ref::x"), "image": "Ref::x"}), request_text())
    assert shown(spec) == {"A": "Ref::x"}
    assert spec.container.image == "Ref::x"


def test_a_reference_without_a_value_is_refused_in_aws_words(definition: Text, request_text: Text) -> None:
    with pytest.raises(Refused) as caught:
        effective(definition({"command": ["echo", "Ref::job_id"]}), request_text())
    assert caught.value.message == "Unable to substitute value. No parameter found for reference job_id"
    assert not caught.value.wrapped


def test_null_and_unknown_members_mean_nothing(definition: Text) -> None:
    body = json.dumps({"jobName": "j", "containerOverrides": None, "parameters": None, "whatever": [1]})
    assert effective(definition(), body).container.command == ["true"]


def test_the_length_of_what_ecs_would_be_handed(definition: Text, request_text: Text) -> None:
    plain = effective(definition(), request_text()).override_bytes
    assert INJECTED_BYTES <= plain < INJECTED_BYTES + 10
    sent = effective(definition(), request_text({"environment": pairs(A="x" * 8000)})).override_bytes
    assert sent > 8000 + INJECTED_BYTES
    # a substituted command is an override too
    doc = definition({"command": ["Ref::a"]}, parameters={"a": "x" * 5000})
    assert effective(doc, request_text()).override_bytes > 5000 + INJECTED_BYTES


def test_equal_texts_share_one_spec(definition: Text, request_text: Text) -> None:
    assert effective(definition(), request_text()) is effective(definition(), request_text())


def test_the_spec_is_there_as_json_for_engines(definition: Text, request_text: Text) -> None:
    spec = effective(definition({"privileged": True}), request_text({"command": ["ls"]}))
    decoded = json.loads(spec.spec)
    assert (decoded["command"], decoded["privileged"], decoded["image"]) == (["ls"], True, "busybox")
