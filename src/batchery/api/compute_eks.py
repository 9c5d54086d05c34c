"""Form of what an environment on Amazon EKS needs besides its `computeResources`. There is no cluster: jobs run on the
engine like all others, as pods (decision 064).

Sources: API_EksConfiguration, API_EksAccessEntry, API_ComputeResource ("required for Amazon EKS"), user guide "Amazon
EKS compute environments". All texts are ours.
"""

import re
from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from batchery.api.shapes import ComputeResource, EksConfiguration

_CLUSTER: Final = re.compile(r"arn:aws[a-z-]*:eks:[a-z0-9-]+:\d{12}:cluster/[0-9A-Za-z][A-Za-z0-9_-]{0,99}")
#: What becomes of the wish for an access entry; what the cluster has is not known.
_ENTRIES: Final = {"ENABLED": "ACTIVE", "DISABLED": "INACTIVE"}
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def eks_problems(eks: EksConfiguration) -> Iterator[str]:
    """Of the configuration itself."""
    name = eks.kubernetes_namespace
    if _CLUSTER.fullmatch(eks.eks_cluster_arn) is None:
        yield "eksClusterArn must be the ARN of an Amazon EKS cluster."
    if len(name) >= 64 or _NAMESPACE.fullmatch(name) is None:
        yield "kubernetesNamespace must be less than 64 lower-case letters, digits or hyphens, no hyphen at its ends."
    if name == "default" or name.startswith("kube-"):
        yield f"kubernetesNamespace {name} can't be used: it must not be default nor start with kube-."


def resources_on_eks(resources: ComputeResource) -> Iterator[str]:
    """What EKS asks of the resources more than ECS does."""
    if resources.type not in ("EC2", "SPOT"):
        yield f"{resources.type} is not applicable for EKS."
    if resources.allocation_strategy is None:
        yield "allocationStrategy is required for EKS compute environments."
    if resources.allocation_strategy == "BEST_FIT":
        yield "BEST_FIT is not supported for EKS compute environments."
    if resources.desired_vcpus is not None:
        yield "desiredvCpus is not applicable for EKS."


def shown(eks: EksConfiguration | None) -> EksConfiguration | None:
    """As Describe answers it: an access entry tells what has become of the wish."""
    entry = eks.access_entry if eks is not None else None
    if eks is None or entry is None:
        return eks
    return replace(eks, access_entry=replace(entry, status=_ENTRIES.get(entry.desired_state)))
