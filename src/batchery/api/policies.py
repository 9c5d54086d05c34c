"""CreateSchedulingPolicy, UpdateSchedulingPolicy, DeleteSchedulingPolicy, Describe- and ListSchedulingPolicies.

Form is judged here; names, kinds and use by queues are `core.policies`'s. What a fairsharePolicy does is in
`core.fairshare`. Sources: API_CreateSchedulingPolicy, API_FairsharePolicy, API_ShareAttributes. Texts were seen in
answers of AWS, but for those marked "ours".
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from batchery.api.call import Call, operation
from batchery.api.describing import select
from batchery.api.shapes import (
    CreateSchedulingPolicyRequest,
    CreateSchedulingPolicyResponse,
    DeleteSchedulingPolicyRequest,
    DescribeSchedulingPoliciesRequest,
    DescribeSchedulingPoliciesResponse,
    FairsharePolicy,
    ListSchedulingPoliciesRequest,
    ListSchedulingPoliciesResponse,
    QuotaSharePolicy,
    SchedulingPolicyDetail,
    SchedulingPolicyListingDetail,
    Structure,
    UpdateSchedulingPolicyRequest,
)
from batchery.api.tags import check_tags
from batchery.core import query
from batchery.core.messages import CreatePolicy, DeletePolicy, UpdatePolicy
from batchery.core.shares import FAIR, LEAST_WINDOW, QUOTA, SchedulingPolicy
from batchery.spec.names import NAME, SCHEDULING_POLICY, batch_arn

LONGEST_WINDOW: Final = 604_800  #: s
MOST_RESERVED: Final = 99  #: percent
LEAST_WEIGHT: Final = 0.0001
MOST_WEIGHT: Final = 999.9999
#: Of a policy's entries; SubmitJob's may end in an asterisk too. The reference says letters and digits; AWS takes
#: hyphens and underscores as well.
SHARE: Final = re.compile(r"[A-Za-z0-9_-]{1,255}\*?|\*")


class Sent(Structure, kw_only=True):
    """A policy as it was sent: one of the two, or neither."""

    quota_share_policy: QuotaSharePolicy | None = None
    fairshare_policy: FairsharePolicy | None = None


@operation
async def create_scheduling_policy(call: Call, ask: CreateSchedulingPolicyRequest) -> CreateSchedulingPolicyResponse:
    """With neither kind of policy it is one of fair share, with its defaults."""
    arn = batch_arn(call.realm, SCHEDULING_POLICY, ask.name)
    call.allow_making("batch:CreateSchedulingPolicy", arn, ask.tags)
    if NAME.fullmatch(ask.name) is None:
        raise call.refuse("Scheduling policy name should match a valid pattern.")
    check_tags(call, ask.tags)
    policy = _policy(call, arn, ask.name, _sent(ask))
    response = CreateSchedulingPolicyResponse(name=ask.name, arn=arn)
    await call.submit(CreatePolicy(policy, tags=ask.tags or {}), lambda _: response)
    return response


@operation
async def update_scheduling_policy(call: Call, ask: UpdateSchedulingPolicyRequest) -> None:
    """What is given replaces the policy as a whole; nothing given changes nothing."""
    call.allow("batch:UpdateSchedulingPolicy", ask.arn)
    held = await call.service.ask(query.resolve_policy, call.realm, ask.arn)
    if held is None:
        raise call.refuse(f"{ask.arn} does not exist", wrapped=False)
    if ask.fairshare_policy is None and ask.quota_share_policy is None:
        policy = held
    else:
        policy = _policy(call, held.arn, held.name, _sent(ask))
    await call.submit(UpdatePolicy(policy))


@operation
async def delete_scheduling_policy(call: Call, ask: DeleteSchedulingPolicyRequest) -> None:
    """Unknown is a success."""
    call.allow("batch:DeleteSchedulingPolicy", ask.arn)
    if call.service.look(query.resolve_policy, call.realm, ask.arn) is not None:
        await call.submit(DeletePolicy(ask.arn))


@operation
async def describe_scheduling_policies(
    call: Call, ask: DescribeSchedulingPoliciesRequest
) -> DescribeSchedulingPoliciesResponse:
    """In the order asked for, each once; unknown ones are left out."""
    call.allow("batch:DescribeSchedulingPolicies")
    most = call.service.config.limits.page
    if len(ask.arns) > most:
        raise call.refuse(f"Maximum number of SchedulingPolicies supported is {most}")
    held = {policy.arn: policy for policy in await call.service.ask(query.policies, call.realm)}
    found = [held[arn] for arn in dict.fromkeys(ask.arns) if arn in held]
    tags = await call.service.reads.tags([policy.arn for policy in found])
    return DescribeSchedulingPoliciesResponse(
        scheduling_policies=[_detail(policy, tags.get(policy.arn, {})) for policy in found]
    )


@operation
async def list_scheduling_policies(call: Call, ask: ListSchedulingPoliciesRequest) -> ListSchedulingPoliciesResponse:
    """By name."""
    call.allow("batch:ListSchedulingPolicies")
    policies = await call.service.ask(query.policies, call.realm)
    page, token = select(call, "SchedulingPolicies", policies, None, ask.max_results, ask.next_token)
    return ListSchedulingPoliciesResponse(
        scheduling_policies=[SchedulingPolicyListingDetail(arn=policy.arn) for policy in page], next_token=token
    )


def _detail(policy: SchedulingPolicy, tags: dict[str, str]) -> SchedulingPolicyDetail:
    sent = msgspec.json.decode(policy.doc, type=Sent)
    return SchedulingPolicyDetail(
        name=policy.name,
        arn=policy.arn,
        fairshare_policy=sent.fairshare_policy,
        quota_share_policy=sent.quota_share_policy,
        tags=tags,
    )


# ------------------------------------------------------------------------------------------------------------ form


def _sent(ask: CreateSchedulingPolicyRequest | UpdateSchedulingPolicyRequest) -> Sent:
    return Sent(fairshare_policy=ask.fairshare_policy, quota_share_policy=ask.quota_share_policy)


def _policy(call: Call, arn: str, name: str, sent: Sent) -> SchedulingPolicy:
    """What the request says, checked."""
    fair, doc = sent.fairshare_policy or FairsharePolicy(), msgspec.json.encode(sent).decode()
    if sent.quota_share_policy is not None:
        if sent.fairshare_policy is not None:
            raise call.refuse("A scheduling policy can have either fairsharePolicy or quotaSharePolicy, but not both.")
        return SchedulingPolicy(arn, name, call.realm, QUOTA, doc)
    most = call.service.config.limits.share_identifiers
    for text in _problems(fair, most):
        raise call.refuse(text)
    return SchedulingPolicy(
        arn,
        name,
        call.realm,
        FAIR,
        doc,
        window=max(1000 * (fair.share_decay_seconds or 0), LEAST_WINDOW),
        reservation=fair.compute_reservation or 0,
        weights=tuple(
            (entry.share_identifier, 1.0 if entry.weight_factor is None else entry.weight_factor)
            for entry in fair.share_distribution or ()
        ),
    )


def _problems(fair: FairsharePolicy, most: int) -> Iterator[str]:
    if not 0 <= (fair.share_decay_seconds or 0) <= LONGEST_WINDOW:
        yield f"shareDecaySeconds must be between 0 and {LONGEST_WINDOW}"  # ours
    if not 0 <= (fair.compute_reservation or 0) <= MOST_RESERVED:
        yield f"computeReservation must be between 0 and {MOST_RESERVED}"  # ours
    entries = fair.share_distribution or []
    if len(entries) > most:
        yield f"ShareDistribution size cannot be greater than {most}."
    for entry in entries:
        if SHARE.fullmatch(entry.share_identifier) is None:
            yield "ShareIdentifier name should match a valid pattern."
        if entry.weight_factor is not None and not LEAST_WEIGHT <= entry.weight_factor <= MOST_WEIGHT:
            yield f"Weight factor should be between {LEAST_WEIGHT} and {MOST_WEIGHT}."
    before: str | None = None
    for name in sorted((entry.share_identifier for entry in entries), key=_by_stem):
        if name == before:
            yield "Cannot have two or more identical shareIdentifiers."
        elif before is not None and before.endswith("*") and name.startswith(before[:-1]):
            yield f"Share identifier {name} matches another share identifier {before}."
        before = name


def _by_stem(name: str) -> tuple[str, bool]:
    """In this order whatever a prefix covers comes right behind it."""
    return name.removesuffix("*"), not name.endswith("*")
