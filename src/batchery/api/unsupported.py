"""The one text for what AWS Batch has and this version does not: it names the member. See docs/compatibility.md."""

from batchery.api.call import ApiError, Call


def unsupported(call: Call, member: str) -> ApiError:
    """A ClientException to raise; better than accepting a member and not doing what it says."""
    return call.refuse(f"This is not supported by this version of Batchery: {member}", wrapped=False)
