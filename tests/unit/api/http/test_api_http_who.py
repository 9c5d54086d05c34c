"""Who calls, in which realm, and what their policy lets them do."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from batchery.api.call import Call
from batchery.api.http import make_app
from batchery.api.keys import Key, Keys
from batchery.config import Config
from batchery.core.messages import Cancel
from batchery.core.model import Realm
from batchery.run.port import Unavailable

CANCEL = b'{"jobId":"a1","reason":"No more"}'
SUBMIT = b'{"jobName":"n","jobQueue":"q","jobDefinition":"d"}'


def test_the_realm_is_the_keys_account_and_the_signatures_region(client: Any, service: Any, keys: Keys) -> None:
    key = keys.add("999999999999", "ann")
    client.send("/v1/canceljob", CANCEL)
    client.region = "eu-west-1"
    client.send("/v1/canceljob", CANCEL)
    client.send("/v1/canceljob", CANCEL)
    client.keys = (key.id, key.secret)
    client.send("/v1/canceljob", CANCEL)
    wanted = [
        Realm("123456789012", "us-east-1"),
        Realm("123456789012", "eu-west-1"),
        Realm("999999999999", "eu-west-1"),
    ]
    assert service.realms == wanted
    assert [command.realm for command in service.commands if isinstance(command, Cancel)] == [*wanted[:2], *wanted[1:]]
    identity = service.records[-1]["userIdentity"]
    assert identity == {
        "type": "IAMUser",
        "principalId": key.id,
        "arn": "arn:aws:iam::999999999999:user/ann",
        "accountId": "999999999999",
        "accessKeyId": key.id,
        "userName": "ann",
    }


def test_a_realm_that_could_not_be_made_is_tried_again(
    client: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(realm: Realm) -> None:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(service, "ensure_realm", fails)
        assert client.send("/v1/canceljob", CANCEL).status == 500
    assert client.send("/v1/canceljob", CANCEL).status == 200
    assert len(service.realms) == 1


def test_keys_required(service: Any, keys: Keys, new_client: Any) -> None:
    key = keys.add("123456789012")
    client = new_client(make_app(service, keys, Config(require_keys=True)))
    assert client.send("/v1/canceljob", CANCEL).error[1] == "UnrecognizedClientException"
    client.keys = (key.id, key.secret)
    assert client.send("/v1/canceljob", CANCEL).status == 200
    client.keys = (key.id, "wrong")
    assert client.send("/v1/canceljob", CANCEL).error[1] == "InvalidSignatureException"
    assert [record.get("errorCode") for record in service.records] == [
        None,
        "UnrecognizedClientException",
        "InvalidSignatureException",
    ]
    assert service.records[1]["userIdentity"] == {"type": "Unknown", "accountId": "123456789012"}
    assert service.records[1]["requestParameters"] is None


def allowing(keys: Keys, action: str, resource: str = "*") -> Key:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return keys.add("123456789012", "bob", {"Version": "2012-10-17", "Statement": [statement]})


def test_a_denial(client: Any, service: Any, keys: Keys) -> None:
    key = allowing(keys, "batch:CancelJob", "arn:aws:batch:*:*:job/b*")
    client.keys = (key.id, key.secret)
    assert client.send("/v1/canceljob", b'{"jobId":"b1","reason":"r"}').status == 200
    answer = client.send("/v1/canceljob", CANCEL)
    text = (
        "User: arn:aws:iam::123456789012:user/bob is not authorized to perform: batch:CancelJob on resource: "
        "arn:aws:batch:us-east-1:123456789012:job/a1 because no identity-based policy allows the batch:CancelJob action"
    )
    assert answer.error == (403, "AccessDeniedException", text)
    assert json.loads(answer.body) == {"Message": text}
    record = service.records[-1]
    assert (record["errorCode"], record["errorMessage"]) == ("AccessDenied", text)
    assert record["requestParameters"] == {"jobId": "a1", "reason": "No more"}
    assert len(service.commands) == 1


def test_an_explicit_denial(client: Any, keys: Keys) -> None:
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "*", "Resource": "*"},
    ]
    key = keys.add("123456789012", "bob", {"Statement": statements})
    client.keys = (key.id, key.secret)
    assert client.send("/v1/canceljob", CANCEL).error[2].endswith("with an explicit deny in an identity-based policy")


def test_operations_on_everything_are_checked_before_the_body_is_read(client: Any, keys: Keys) -> None:
    key = allowing(keys, "batch:CancelJob")
    client.keys = (key.id, key.secret)
    assert client.send("/v1/describejobs", b"{}").error[1] == "AccessDeniedException"


def test_a_change_by_a_handler_that_asks_nothing_is_checked(client: Any, service: Any, keys: Keys) -> None:
    key = allowing(keys, "batch:CancelJob")
    client.keys = (key.id, key.secret)
    assert client.send("/v1/submitjob", SUBMIT).error[1] == "AccessDeniedException"
    assert service.commands == []
    other = allowing(keys, "batch:SubmitJob")
    client.keys = (other.id, other.secret)
    assert client.send("/v1/submitjob", SUBMIT).status == 200


def test_a_read_by_a_handler_that_asks_nothing_is_checked(client: Any, keys: Keys, serve: Callable[..., None]) -> None:
    async def snapshot(call: Call, ask: Any) -> None:
        return None

    serve(GetJobQueueSnapshot=snapshot)
    key = allowing(keys, "batch:CancelJob")
    client.keys = (key.id, key.secret)
    body = b'{"jobQueue":"q"}'
    assert client.send("/v1/getjobqueuesnapshot", body).error[1] == "AccessDeniedException"
