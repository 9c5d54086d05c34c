"""What is described, as what would make it: pure.

A description says more than a request (ARNs, states of a moment, empty lists) and says it in another account's ARNs.
`Kind.request` takes that away, so two requests that are equal make the same thing, wherever each was read. Things refer
to each other by name in them; `addressed` puts ARNs of the account to be written where AWS wants one.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from msgspec.structs import fields

from batchery.api import shapes
from batchery.cli.bring import account
from batchery.cli.bring.account import Call, Json

#: Members that have no effect off AWS, wherever in a request they are (docs/compatibility.md).
IDLE: Final = frozenset(
    (
        *("minvCpus", "allocationStrategy", "bidPercentage", "instanceTypes", "imageId", "ec2Configuration"),
        *("ec2KeyPair", "launchTemplate", "placementGroup", "scalingPolicy", "spotIamFleetRole", "instanceRole"),
        *("subnets", "securityGroupIds", "serviceRole", "ecsSettings", "context", "executionRoleArn", "propagateTags"),
        *("networkConfiguration", "fargatePlatformConfiguration", "platformVersion", "ephemeralStorage"),
        *("enableExecuteCommand", "managedInstancesProvider"),
    )
)
#: Members that want a setting here.
WANTING: Final = {
    "secrets": "its secrets are looked for where [secrets] says",
    "efsVolumeConfiguration": "its EFS volumes are where [volumes.efs] says",
    "s3filesVolumeConfiguration": "its S3 Files volumes are where [volumes.s3files] says",
}
_ON_FARGATE: Final = ("type", "maxvCpus", "subnets", "securityGroupIds")
_GOING: Final = ("DELETING", "DELETED")


class Kind(NamedTuple):
    """A kind of resource: how it is read, what would make it, what would change it."""

    title: str
    read: Callable[[Call], list[Json]]
    create: str  # operation
    shape: type  # of its request
    name: str  # member, in descriptions and requests
    arn: str  # member of descriptions
    adapt: Callable[[Json], None]  # what is special, in place
    update: Callable[[Json], tuple[str, Json]] | None  # request -> operation and members that change it to that
    settles: bool = False  # it is CREATING or UPDATING for a while
    by_arn: str = ""  # member of the update that wants the ARN, where a name will not do
    later: Callable[[Json], Json] | None = (
        None  # request -> what of it only an update can set; taken out of the request
    )

    def request(self, item: Json) -> tuple[Json, list[str]]:
        """What makes this, and what was changed on the way."""
        known = {field.encode_name for field in fields(self.shape)}
        more = ("updatePolicy",) if self.later else ()
        made = {name: value for name, value in item.items() if name in known or name in more}
        notes = []
        reserved = sorted(tag for tag in made.get("tags") or () if tag.startswith("aws:"))
        if reserved:
            made["tags"] = {tag: value for tag, value in made["tags"].items() if tag not in reserved}
            notes.append(f"reserved tags left out: {', '.join(reserved)}")
        made = pruned(made)
        self.adapt(made)
        return made, notes


def pruned(value: Any) -> Any:
    """Without members that are absent or empty: descriptions show lists that were never given."""
    if isinstance(value, Mapping):
        kept = {name: pruned(inner) for name, inner in value.items() if inner is not None}
        return {name: inner for name, inner in kept.items() if inner != {} and inner != []}
    if isinstance(value, list):
        return [pruned(inner) for inner in value]
    return value


def bare(arn: str) -> str:
    """The name in an ARN; a name is its own."""
    return arn.partition("/")[2] if arn.startswith("arn:") else arn


def going(item: Json) -> bool:
    """On its way out: not worth importing."""
    return item.get("status") in _GOING


def names(value: Any) -> Iterator[str]:
    """Every member within a request."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)


def remarks(request: Json) -> list[str]:
    """What has no effect here, and what wants a setting."""
    there = set(names({name: value for name, value in request.items() if name != "tags"}))
    idle = sorted(there & IDLE)
    said = [f"without effect here: {', '.join(idle)}"] if idle else []
    return said + [words for name, words in WANTING.items() if name in there]


def addressed(request: Json, arns: Mapping[str, str]) -> Json:
    """``arns``: scheduling policies of the account to be written, by name."""
    policy = request.get("schedulingPolicyArn")
    return {**request, "schedulingPolicyArn": arns.get(policy, policy)} if policy else request


# ----------------------------------------------------------------------------------------------------- what is special


def _nothing(request: Json) -> None:
    pass


def _environment(request: Json) -> None:
    resources = request.get("computeResources")
    if request["type"] != "MANAGED":
        request.pop("computeResources", None)
    elif resources is not None:
        request.pop("unmanagedvCpus", None)
        resources.pop("desiredvCpus", None)  # how many there are right now
        if str(resources.get("type", "")).startswith("FARGATE"):
            request["computeResources"] = {name: resources[name] for name in _ON_FARGATE if name in resources}
    if not request.get("unmanagedvCpus"):
        request.pop("unmanagedvCpus", None)
    for image in (resources or {}).get("ec2Configuration", ()):
        image.pop("batchImageStatus", None)
    request.get("eksConfiguration", {}).get("accessEntry", {}).pop("status", None)


def _queue(request: Json) -> None:
    for member, inner in (
        ("computeEnvironmentOrder", "computeEnvironment"),
        ("serviceEnvironmentOrder", "serviceEnvironment"),
    ):
        if member in request:
            places = [{**place, inner: bare(place[inner])} for place in request[member]]
            request[member] = sorted(places, key=lambda place: int(place["order"]))
    if "schedulingPolicyArn" in request:
        request["schedulingPolicyArn"] = bare(request["schedulingPolicyArn"])


def _definition(request: Json) -> None:
    for entry in request.get("retryStrategy", {}).get("evaluateOnExit", ()):
        entry["action"] = entry["action"].upper()
    for entry in _requirements(request):
        entry["consumableResource"] = bare(entry["consumableResource"])


def _requirements(value: Any) -> Iterator[Json]:
    """Entries of consumableResourceList, of the definition and of its node ranges."""
    if isinstance(value, Mapping):
        yield from value.get("consumableResourceList", ())
        for inner in value.values():
            yield from _requirements(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _requirements(inner)


# ------------------------------------------------------------------------------------------------------------- changes


def _change_policy(request: Json) -> tuple[str, Json]:
    return "UpdateSchedulingPolicy", _only(request, shapes.UpdateSchedulingPolicyRequest)


def _change_consumable(request: Json) -> tuple[str, Json]:
    name, quantity = request["consumableResourceName"], request.get("totalQuantity", 0)
    return "UpdateConsumableResource", {"consumableResource": name, "operation": "SET", "quantity": quantity}


def _change_environment(request: Json) -> tuple[str, Json]:
    name = request["computeEnvironmentName"]
    asked = _only(request, shapes.UpdateComputeEnvironmentRequest, computeEnvironment=name)
    if "computeResources" in asked:
        asked["computeResources"] = _only(asked["computeResources"], shapes.ComputeResourceUpdate)
    return "UpdateComputeEnvironment", asked


def _later_of_environment(request: Json) -> Json:
    """AWS makes no environment that is DISABLED, nor one with an updatePolicy."""
    later = {"updatePolicy": request.pop("updatePolicy")} if "updatePolicy" in request else {}
    return later | ({"state": request.pop("state")} if request.get("state") == "DISABLED" else {})


def _change_service_environment(request: Json) -> tuple[str, Json]:
    name = request["serviceEnvironmentName"]
    return "UpdateServiceEnvironment", _only(request, shapes.UpdateServiceEnvironmentRequest, serviceEnvironment=name)


def _change_queue(request: Json) -> tuple[str, Json]:
    return "UpdateJobQueue", _only(request, shapes.UpdateJobQueueRequest, jobQueue=request["jobQueueName"])


def _change_quota_share(request: Json) -> tuple[str, Json]:
    return "UpdateQuotaShare", _only(request, shapes.UpdateQuotaShareRequest)


def _only(request: Json, shape: type, **more: str) -> Json:
    known = {field.encode_name for field in fields(shape)}
    return {**{name: value for name, value in request.items() if name in known}, **more}


def _kind(title: str, read: Callable[[Call], list[Json]], noun: str, **more: Any) -> Kind:
    """One whose operation, shape and members are named after ``noun``."""
    low = noun[0].lower() + noun[1:]
    given: dict[str, Any] = {
        "create": f"Create{noun}",
        "shape": getattr(shapes, f"Create{noun}Request", None),
        "name": f"{low}Name",
        "arn": f"{low}Arn",
        "adapt": _nothing,
    }
    return Kind(title=title, read=read, **(given | more))


#: In the order in which they need each other.
KINDS: Final = (
    _kind(
        "scheduling policy",
        account.policies,
        "SchedulingPolicy",
        name="name",
        arn="arn",
        update=_change_policy,
        by_arn="arn",
    ),
    _kind("consumable resource", account.consumables, "ConsumableResource", update=_change_consumable),
    _kind(
        "compute environment",
        account.environments,
        "ComputeEnvironment",
        adapt=_environment,
        update=_change_environment,
        settles=True,
        later=_later_of_environment,
    ),
    _kind(
        "service environment",
        account.service_environments,
        "ServiceEnvironment",
        update=_change_service_environment,
        settles=True,
    ),
    _kind("job queue", account.queues, "JobQueue", adapt=_queue, update=_change_queue, settles=True),
    _kind(
        "quota share",
        account.quota_shares,
        "QuotaShare",
        name="quotaShare",
        update=_change_quota_share,
        settles=True,
        by_arn="quotaShareArn",
    ),
    _kind(
        "job definition",
        account.definitions,
        "JobDefinition",
        create="RegisterJobDefinition",
        shape=shapes.RegisterJobDefinitionRequest,
        adapt=_definition,
        update=None,
    ),
)
