"""consumableResourceProperties: their form, and what a job asks for in the end. Pure; raises Refused.

An override replaces the whole list, as AWS's other lists of a job do; one without a list is none. Whether the resources
exist is the handler's to ask (api/consumables.py). Sources: API_ConsumableResourceRequirement; user guide, "Specify the
resources needed to run a job" (five of them). Texts were seen in answers of AWS, but for those marked "ours".
"""

from collections.abc import Iterable
from typing import Final

from batchery.api.shapes import ConsumableResourceProperties
from batchery.config import Limits
from batchery.core.messages import Refused

TWICE: Final = "Cannot have duplicate consumableResource in consumableResourceProperties"


def check_consumables(properties: ConsumableResourceProperties | None, limits: Limits) -> None:
    """Each names a resource and a quantity of at least 1, and there are not too many."""
    wanted = (properties.consumable_resource_list if properties else None) or []
    if len(wanted) > limits.consumables_per_job:
        most = limits.consumables_per_job
        raise Refused(f"Each ConsumableResourceProperty can have at most {most} consumableResources", True)
    for one in wanted:
        if not one.consumable_resource:
            raise Refused("consumableResource must be given for each entry of consumableResourceList", True)  # ours
        if one.quantity is None or one.quantity < 1:
            name = one.consumable_resource
            raise Refused(f"The quantity of consumable resource {name} must be at least 1", True)  # ours


def in_effect(
    given: ConsumableResourceProperties | None, override: ConsumableResourceProperties | None
) -> ConsumableResourceProperties | None:
    """The properties of a definition, or of a range of its nodes, under those of a SubmitJob."""
    if override is not None and override.consumable_resource_list is not None:
        return override
    return given


def asked_for(groups: Iterable[tuple[int, ConsumableResourceProperties | None]]) -> list[tuple[str, int]]:
    """What a job asks for as a whole: names or ARNs as sent, each once, and units. ``groups``: how many nodes have
    which properties in effect; a job of one node is one group. A resource named twice in one list is Refused."""
    sums: dict[str, int] = {}
    for nodes, properties in groups:
        wanted = (properties.consumable_resource_list if properties else None) or []
        refs = [one.consumable_resource or "" for one in wanted]
        for ref in refs:
            if refs.count(ref) > 1:
                raise Refused(TWICE, True)
        for ref, one in zip(refs, wanted, strict=True):
            sums[ref] = sums.get(ref, 0) + nodes * (one.quantity or 0)
    return list(sums.items())
