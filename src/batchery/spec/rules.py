"""Rules that RegisterJobDefinition and SubmitJob share. Each raises Refused with AWS's text, or nothing.

Texts marked "ours" are for cases whose AWS text is not known. ``wrapped`` is the style of AWS's validation layer.
Sources: API_RetryStrategy, API_EvaluateOnExit, API_JobTimeout, API_ResourceRequirement, user guide "Job definition
parameters".
"""

import re
from collections.abc import Iterable
from typing import Final

from batchery.api.shapes import (
    ContainerProperties,
    JobTimeout,
    KeyValuePair,
    ResourceRequirement,
    RetryStrategy,
)
from batchery.config import Limits
from batchery.core.messages import Refused

RESERVED: Final = "AWS_BATCH"  #: names of variables that start like this are the service's
PATTERN_CHARS: Final = 512  #: API_EvaluateOnExit
MEMORY_LEAST: Final = 4  #: MiB, API_ResourceRequirement
MOST_PRIORITY: Final = 9999  #: schedulingPriority
_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")

#: API_ResourceRequirement: vCPU -> memory in MiB that Fargate offers with it.
FARGATE: Final[dict[float, Iterable[int]]] = {
    0.25: (512, 1024, 2048),
    0.5: range(1024, 4096 + 1, 1024),
    1: range(2048, 8192 + 1, 1024),
    2: range(4096, 16384 + 1, 1024),
    4: range(8192, 30720 + 1, 1024),
    8: range(16384, 61440 + 1, 4096),
    16: range(32768, 122880 + 1, 8192),
}


def check_retry(retry: RetryStrategy | None, limits: Limits) -> None:
    """API_RetryStrategy."""
    if retry is None:
        return
    if retry.attempts is None:
        raise Refused("RetryAttempts must be provided with retry strategy", True)
    if not 1 <= retry.attempts <= limits.attempts:
        raise Refused(f"RetryAttempts must be between 1 and {limits.attempts}.", True)
    entries = retry.evaluate_on_exit or []
    if len(entries) > limits.evaluate_on_exit:
        raise Refused(f"evaluateOnExit must have at most {limits.evaluate_on_exit} entries", True)  # ours
    for entry in entries:
        if entry.on_exit_code is not None and re.fullmatch(r"[0-9]*\*?", entry.on_exit_code) is None:
            raise Refused("onExitCode must be digits, and may end with an asterisk", True)  # ours
        for pattern in (entry.on_status_reason, entry.on_reason, entry.on_exit_code):
            if pattern is not None and len(pattern) > PATTERN_CHARS:
                raise Refused(f"Patterns of evaluateOnExit must be at most {PATTERN_CHARS} characters", True)  # ours


def check_priority(priority: int | None) -> None:
    """Of jobs within a share (API_RegisterJobDefinition, API_SubmitJob)."""
    if priority is not None and not 0 <= priority <= MOST_PRIORITY:
        raise Refused(f"Scheduling priority must be between 0 and {MOST_PRIORITY}.", True)


def check_timeout(timeout: JobTimeout | None, limits: Limits) -> None:
    """API_JobTimeout: at least 60 seconds."""
    seconds = timeout.attempt_duration_seconds if timeout else None
    if seconds is not None and seconds < limits.timeout_seconds:
        least = limits.timeout_seconds
        raise Refused(f"AttemptDurationSeconds in Timeout must be at least {least} seconds.", True)


def check_environment(pairs: list[KeyValuePair] | None) -> None:
    """Every variable has a name, and none of the service's."""
    for pair in pairs or ():
        if not pair.name:
            raise Refused("Environment variable name is required.", True)
        if "=" in pair.name or "\0" in pair.name or "\0" in (pair.value or ""):
            raise Refused("Environment variables must have a name without '='", True)  # ours
        if pair.name.startswith(RESERVED):
            raise Refused(f"Environment variable names must not start with {RESERVED}: {pair.name}", True)  # ours


def check_command(command: list[str] | None) -> None:
    """What no process can be given."""
    if any("\0" in argument for argument in command or ()):
        raise Refused("command must not contain null characters", True)  # ours


def check_requirements(requirements: list[ResourceRequirement] | None, fargate: bool) -> None:
    """API_ResourceRequirement: the form of each value, and each type once."""
    seen: set[str] = set()
    for requirement in requirements or ():
        kind, value = requirement.type, requirement.value
        if kind in seen:
            raise Refused("Cannot provide duplicates in resourceRequirements.", True)
        seen.add(kind)
        form = _NUMBER if fargate and kind == "VCPU" else _WHOLE
        if form.fullmatch(value) is None or float(value) == 0:
            raise Refused(
                f"Value {value} for type {kind} in resourceRequirement is not valid. Please provide a numeric value."
            )
        if kind == "MEMORY" and int(value) < MEMORY_LEAST:
            raise Refused(too_little(int(value)), True)
        if kind == "GPU" and fargate:
            raise Refused("GPU is not applicable for Fargate.", True)


def check_needed(container: ContainerProperties, fargate: bool) -> None:
    """A vCPU and a memory value, each from one place, and on Fargate a pair that it offers."""
    said = {requirement.type: requirement.value for requirement in container.resource_requirements or ()}
    for kind, name, legacy in (("VCPU", "vCPU", container.vcpus), ("MEMORY", "Memory", container.memory)):
        if kind not in said and legacy is None:
            raise Refused(f"{name} is not provided.", True)
        if kind in said and legacy is not None:
            both = f"{'vcpus' if kind == 'VCPU' else 'memory'} and resourceRequirement {kind}"
            raise Refused(f"Cannot use both ECS containerProperties {both}", True)
    if container.vcpus is not None and container.vcpus < 1:
        raise Refused(f"vCPU must be at least 1, got {container.vcpus}.", True)
    if container.memory is not None and container.memory < MEMORY_LEAST:
        raise Refused(too_little(container.memory), True)
    if fargate:
        check_pair([container.resource_requirements or []])


def too_little(memory: int) -> str:
    """Of so many MiB, in AWS's words."""
    return f"Memory must be at least {MEMORY_LEAST} Mib, got {memory} Mib."


def check_pair(containers: Iterable[Iterable[ResourceRequirement]]) -> None:
    """What these take together is something that Fargate offers."""
    said = [requirement for requirements in containers for requirement in requirements]
    vcpus = sum(float(one.value) for one in said if one.type == "VCPU")
    memory = sum(int(one.value) for one in said if one.type == "MEMORY")
    if memory not in FARGATE.get(vcpus, ()):
        raise Refused(f"Fargate resource requirements ({vcpus:g} vCPU, {memory} MiB) not valid.", True)


def check_legacy(vcpus: int | None, memory: int | None, fargate: bool) -> None:
    """The deprecated members do not exist on Fargate."""
    if not fargate:
        return
    for name, value in (("vcpus", vcpus), ("memory", memory)):
        if value is not None:
            raise Refused(f"{name} is not applicable for Fargate. Use resource requirements instead.")
