"""What this host has and allows, in the words of `facts`."""

import ctypes
import os
import re
from pathlib import Path
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36
_GPU: Final = re.compile(r"nvidia\d+")


def count_gpus(dev: Path = Path("/dev")) -> int:
    """NVIDIA devices of this host."""
    try:
        return sum(1 for name in os.listdir(dev) if _GPU.fullmatch(name))
    except OSError:
        return 0


def become_subreaper() -> str:
    """Orphans of our descendants become our children. Returns "", or why they do not."""
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (AttributeError, OSError):
        return "this system has no PR_SET_CHILD_SUBREAPER"
    if prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        return os.strerror(ctypes.get_errno())
    return ""
