"""How the process engine stands in for images: patterns of the settings, and what to say when nothing can be started.

Images are not used here: the command is run as given, on the host. ``[process.images."PATTERN"]`` maps images (shell
wildcards, the first pattern that matches) to an entry point, a PATH and environment variables.
"""

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from batchery.config import ImageRule

#: PATH of a job that has no other, as in most images.
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Entry(NamedTuple):
    """What to run for one container."""

    argv: tuple[str, ...]
    environment: dict[str, str]


def rule_for(rules: Mapping[str, ImageRule], image: str) -> ImageRule | None:
    """The rule of the first pattern that matches this image."""
    for pattern, rule in rules.items():
        if fnmatchcase(image, pattern):
            return rule
    return None


def entry(
    rules: Mapping[str, ImageRule],
    image: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    entrypoint: Sequence[str] = (),
) -> Entry:
    """Entry point and command, and the environment with what the rule adds; the job's own variables win.

    ``entrypoint``: the container's own, in place of the image's.
    """
    rule = rule_for(rules, image)
    if rule is None:
        return Entry((*entrypoint, *command), {"PATH": DEFAULT_PATH, **environment})
    given = {"PATH": rule.path or DEFAULT_PATH, **rule.environment}
    return Entry((*(entrypoint or rule.entrypoint), *command), {**given, **environment})


def cannot_start(argv: Sequence[str], image: str, error: int) -> str:
    """container.reason of a container that never ran. ``error`` is an errno, 0 when there is nothing to run."""
    if not argv or not argv[0]:
        return (
            "CannotStartContainerError: no command specified. This engine runs host processes and does not read the "
            f'command out of the image "{image}": give one, or an entrypoint in [process.images."{image}"].'
        )
    text = os.strerror(error).lower()
    return (
        f'CannotStartContainerError: exec: "{argv[0]}": {text}. This engine runs host processes and does not use the '
        f'image "{image}": install the program on this host, or map the image in [process.images."{image}"].'
    )
