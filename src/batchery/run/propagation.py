"""propagateTags: the tags of a job and of its definition become labels of its containers, the job's own go first.

On AWS they become tags of the ECS task, when it is made (API_SubmitJob). Host processes and Slurm jobs have no labels.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from batchery.core.model import Job
from batchery.spec.effective import effective
from batchery.spec.names import job_arn
from batchery.store.store import Reads

#: Engines whose jobs can have labels.
LABELLED: Final = ("docker", "podman")
_MARK: Final = '"propagateTags":true'


async def labels_of(jobs: Iterable[tuple[Job, str, str]], reads: Reads) -> Mapping[str, dict[str, str]]:
    """By job id, of those that propagate their tags. ``jobs``: with the texts of their definition and submit."""
    found = [
        (job, job_arn(job.realm, job.id))
        for job, definition, sent in jobs
        if (_MARK in definition or _MARK in sent) and effective(definition, sent).propagate_tags
    ]
    if not found:
        return {}
    tags = await reads.tags([arn for job, own in found for arn in (job.definition, own)])
    return {job.id: {**tags[job.definition], **tags[own]} for job, own in found}
