"""Quantities as Kubernetes writes them ("250m", "512Mi"), in our units.

Source: API_EksContainerResourceRequirements; Kubernetes documentation, "Quantity".
"""

import re
from typing import Final

_NUMBER: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(m?)")
_BYTES: Final = re.compile(r"([0-9]{1,15})(Ki|Mi|Gi|Ti|k|M|G|T|)")
_UNITS: Final = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}


def thousandths(text: str) -> int | None:
    """Of CPUs: "1" is 1000, "0.25" and "250m" are 250. None for what is no such quantity."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    value = float(match[1]) * (1 if match[2] else 1000)
    return int(value) if value == int(value) else None


def mebibytes(text: str) -> int | None:
    """Of memory: whole "Mi" or "Gi" and no other unit, as AWS Batch asks for it. None for anything else."""
    match = _BYTES.fullmatch(text)
    if match is None or match[2] not in ("Mi", "Gi"):
        return None
    return int(match[1]) * _UNITS[match[2]] // _UNITS["Mi"]


def size(text: str) -> int | None:
    """Bytes, in any unit. None for what is no quantity."""
    match = _BYTES.fullmatch(text)
    return int(match[1]) * _UNITS[match[2]] if match is not None else None


def whole(text: str) -> int | None:
    """A whole number, as GPUs are counted."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
