"""The changes of one commit as one blob, and back.

A blob is MessagePack ``[kinds, changes]``. A change is ``[name, field, ...]`` in the order of its fields. A job that
came to be is lean: ``["Submitted", kind, id, seq, name, created, size, share, needs, tags]``, where ``kinds[kind]`` is
``[realm, queue, definition, shape]``, shared by all jobs alike; its spec and ghosts are in the rows.

Readers of the feed make events from it at their leisure, at least once each. `VERSION` goes with each blob: a reader
that finds another one knows that the vocabulary was different.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec import convert, msgpack
from msgspec.structs import astuple

from batchery.core.changes import (
    Change,
    ConsumableSet,
    DefinitionSet,
    EnvironmentSet,
    PolicySet,
    QueueSet,
    QuotaSet,
    Submitted,
)
from batchery.core.model import Job, Need, Realm, Shape
from batchery.core.status import ONE, SUBMITTED

VERSION: Final = 1

_encoder: Final = msgpack.Encoder()
_decoder: Final = msgpack.Decoder()
_CHANGES: Final = {kind.__name__: kind for kind in Change.__subclasses__()}


def encode(changes: list[Change]) -> bytes:
    """The blob; b"" for no change."""
    if not changes:
        return b""
    kinds: list[Any] = []
    numbers: dict[tuple[Any, ...], int] = {}
    out: list[tuple[Any, ...]] = []
    for change in changes:
        if isinstance(change, Submitted):
            job = change.job
            kind = (job.realm, job.queue, job.definition, id(job.shape))
            number = numbers.get(kind)
            if number is None:
                number = numbers[kind] = len(kinds)
                kinds.append((job.realm, job.queue, job.definition, job.shape))
            head = ("Submitted", number, job.id, job.seq, job.name, job.created)
            out.append((*head, job.size, job.share, job.needs, change.tags))
        else:
            out.append((type(change).__name__, *astuple(change)))
    return _encoder.encode((kinds, out))


def decode(blob: bytes) -> list[Change]:
    """The changes, with Submitted as far as it was kept."""
    if not blob:
        return []
    kinds, changes = _decoder.decode(blob)
    shapes = [
        (convert(realm, Realm), queue, definition, convert(shape, Shape)) for realm, queue, definition, shape in kinds
    ]
    return [_change(shapes, name, fields) for name, *fields in changes]


def _change(kinds: list[tuple[Realm, str, str, Shape]], name: str, fields: list[Any]) -> Change:
    if name != "Submitted":
        kind = _CHANGES[name]
        return convert(dict(zip(kind.__struct_fields__, fields, strict=True)) | {"type": name}, kind)
    number, job, seq, title, created, size, share, needs, tags = fields
    realm, queue, definition, shape = kinds[number]
    status = bytearray(ONE[SUBMITTED] * size) if size else ONE[SUBMITTED]
    made = Job(job, seq, realm, queue, title, definition, shape, created, size, share, convert(needs, tuple[Need, ...]))
    made.status = status
    return Submitted(made, "", tags)


#: Where a change keeps its time, for those that have one.
_STAMP: Final[dict[type[Change], Callable[[Any], int]]] = {
    **{kind: (lambda change: change.at) for kind in _CHANGES.values() if "at" in kind.__struct_fields__},
    Submitted: lambda change: change.job.created,
    QueueSet: lambda change: change.queue.created,
    EnvironmentSet: lambda change: change.environment.created,
    ConsumableSet: lambda change: change.consumable.created,
    PolicySet: lambda change: change.policy.created,
    QuotaSet: lambda change: change.quota.created,
    DefinitionSet: lambda change: max(change.definition.created, change.definition.deregistered),
}


def newest(changes: list[Change]) -> int:
    """The newest stamp among the changes, ms; 0 if none has one."""
    return max((_STAMP[type(change)](change) for change in changes if type(change) in _STAMP), default=0)
