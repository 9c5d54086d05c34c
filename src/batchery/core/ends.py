"""How containers end."""

from msgspec import Struct


class ContainerEnd(Struct, frozen=True):
    """How one container of an attempt ended. ``exit_code`` is None if it never ran.

    ``decides``: whether the attempt ends as it does; a container that is not essential says nothing.
    """

    name: str
    exit_code: int | None = None
    reason: str = ""
    decides: bool = True
