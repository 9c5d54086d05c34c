"""The part of an effective spec that scheduling, retrying and log streams need: the core's Shape."""

from typing import Final

from batchery.api.shapes import ContainerProperties, RetryStrategy
from batchery.core.model import Rule, Shape
from batchery.spec.ecs import ALONE
from batchery.spec.effective import Effective
from batchery.spec.pod import SharedPod

#: Of a log stream's name (user guide, "Using CloudWatch Logs with AWS Batch").
PREFIX_CHARS: Final = 200
LOG_GROUP: Final = "/aws/batch/job"


def shape_of(effective: Effective, definition_name: str) -> Shape:
    """``definition_name`` is the bare name: it begins the log streams unless awslogs-stream-prefix does."""
    retry, timeout = effective.retry, effective.timeout
    group, prefix = _streams(effective.container)
    head = f"{prefix or definition_name[:PREFIX_CHARS]}/{ALONE}"
    several: tuple[tuple[str, str, str], ...] = ()
    if effective.pod is not None:
        several = streams(effective.pod, definition_name)
        _, group, head = next((one for one in several if one[0] == ALONE), several[0])
    return Shape(
        resources=effective.resources,
        attempts=(retry.attempts if retry else None) or 1,
        rules=_rules(retry),
        priority=effective.priority or 0,
        timeout=1000 * ((timeout.attempt_duration_seconds if timeout else None) or 0),
        log_group=group,
        log_prefix=head,
        streams=several,
    )


def streams(pod: SharedPod, definition_name: str) -> tuple[tuple[str, str, str], ...]:
    """Of several containers each: its name, log group and the stream's name without the task's id."""
    found = []
    for part in pod.containers:
        group, prefix = _streams(part.container)
        found.append((part.name, group, f"{prefix or definition_name[:PREFIX_CHARS]}/{part.name}"))
    return tuple(found)


def _rules(retry: RetryStrategy | None) -> tuple[Rule, ...]:
    entries = (retry.evaluate_on_exit if retry else None) or []
    return tuple(
        Rule(entry.action.upper(), entry.on_status_reason, entry.on_reason, entry.on_exit_code) for entry in entries
    )


def _streams(container: ContainerProperties) -> tuple[str, str]:
    """Log group and stream prefix ("" for none): the two awslogs options that say where output is found."""
    config = container.log_configuration
    options = (config.options if config and config.log_driver == "awslogs" else None) or {}
    return options.get("awslogs-group") or LOG_GROUP, options.get("awslogs-stream-prefix", "")
