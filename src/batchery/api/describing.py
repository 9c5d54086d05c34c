"""Which queues or environments a Describe answers: those named, or a page of all, by name.

Source: API_DescribeJobQueues, API_DescribeComputeEnvironments: up to 100 names or ARNs, unknown ones are left out; or
pages of 1 to 100, and the next token is the name that the page ended with. Names and maxResults exclude each other.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from batchery.api.call import Call
from batchery.api.paging import decode_token, encode_token


class Named(Protocol):
    """A queue or an environment."""

    @property
    def arn(self) -> str: ...

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def select(
    call: Call, member: str, items: Sequence[N], refs: list[str] | None, size: int | None, token: str | None
) -> tuple[list[N], str | None]:
    """A page and the token of the next.

    ``member``: what AWS calls the list of names in its texts. ``items``: all there are, by name. Raises ApiError.
    """
    most = call.service.config.limits.page
    if refs:
        for name, value in (("MaxResults", size), ("NextToken", token)):
            if value is not None:
                raise call.refuse(f"{member} and {name} cannot both be set")
        if len(refs) > most:
            raise call.refuse(f"Maximum number of {member} supported is {most}")  # ours
        by_ref = {ref: item for item in items for ref in (item.arn, item.name)}
        return list({item.arn: item for ref in refs if (item := by_ref.get(ref)) is not None}.values()), None
    if size is not None and not 1 <= size <= most:
        raise call.refuse(f"maxResults must be between 1 and {most}")  # ours
    realm = list(call.realm)
    after = decode_token(call.operation, realm, token) if token else ""
    rest = [item for item in items if item.name > after]
    page = rest[: size or most]
    return page, encode_token(call.operation, realm, page[-1].name) if len(rest) > len(page) else None
