"""What is named in a realm beside queues, environments and definitions."""

from typing import Final

from msgspec import Struct

from batchery.core.keys import Realm

# resourceType of consumable resources, as AWS spells it.
REPLENISHABLE: Final = "REPLENISHABLE"
NON_REPLENISHABLE: Final = "NON_REPLENISHABLE"


class Shelf(Struct):
    """Job definitions of one realm and status as they are listed (catalog.py)."""

    names: list[str] = []  #: ascending
    numbers: dict[str, list[int]] = {}  #: revisions of each name, ascending


class Consumable(Struct):
    """A consumable resource. ``total``: of REPLENISHABLE all there are, of NON_REPLENISHABLE what no attempt has used
    up; what attempts hold is derived from them. Decision 150."""

    arn: str
    name: str
    realm: Realm
    kind: str  #: resourceType
    total: int
    created: int = 0
