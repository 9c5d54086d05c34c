"""The pipeline of `batchery demo`: what is submitted, what is done to it, and what has to become of each job.

fetch ── split[100] ══ map[100] ── report        ══ is N_TO_N: child i waits for child i
flaky                                            fails once, tried again
train ─┬─ evaluate                               train is terminated; evaluate was cancelled before that, and
       └─ deploy                                 waits, as a PENDING job does; deploy fails with train
sweep[20]                                        on a queue of 4 vCPUs, cancelled while its first children run
"""

import time
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from batchery.client import Client

Json = dict[str, Any]

BETTER: Final = "A better model was found."
NOT_NEEDED: Final = "Nothing to evaluate."
ENOUGH: Final = "Enough points."
TRAIN: Final = 'trap "echo saving a checkpoint; exit 143" TERM; echo training; sleep 600 & wait'
DEADLINE_SECONDS: Final = 50.0
ENDED: Final = ("SUCCEEDED", "FAILED")
#: What train runs before it is terminated, so that one can see evaluate wait.
LET_TRAIN_RUN_SECONDS: Final = 2.0


class Step(Struct, frozen=True):
    """One job. ``expect`` looks at its last DescribeJobs item; ``expected`` says the same in words."""

    name: str
    what: str
    script: str
    expected: str
    expect: Callable[[Json], bool]
    size: int = 0
    after: str = ""
    kind: str = ""
    attempts: int = 1
    queue: str = "wide"


def _ended(status: str, reason: str, **members: Any) -> Callable[[Json], bool]:
    def check(job: Json) -> bool:
        same = all(job.get(name) == value for name, value in members.items())
        return bool(job["status"] == status and job.get("statusReason") == reason and same)

    return check


def _all_children(job: Json) -> bool:
    return bool(job["status"] == "SUCCEEDED" and summary(job).get("SUCCEEDED") == job["arrayProperties"]["size"])


def _flaky(job: Json) -> bool:
    codes = [attempt["container"].get("exitCode") for attempt in job["attempts"]]
    return bool(job["status"] == "SUCCEEDED" and codes == [1, 0])


def _train(job: Json) -> bool:
    return _ended("FAILED", BETTER, isTerminated=True)(job) and job["container"].get("exitCode") == 143


def _sweep(job: Json) -> bool:
    counts = summary(job)
    some = counts.get("SUCCEEDED", 0) > 0 and counts.get("FAILED", 0) > 0
    return some and _ended("FAILED", ENOUGH, isCancelled=True)(job)


DONE: Final = _ended("SUCCEEDED", "Essential container in task exited")
STEPS: Final = (
    Step("fetch", "a job", "echo fetching; sleep 1; echo fetched", "succeeds", DONE),
    Step(
        "split",
        "100 children, after fetch",
        "echo part $AWS_BATCH_JOB_ARRAY_INDEX; sleep 0.$((AWS_BATCH_JOB_ARRAY_INDEX % 9))",
        "all children succeed",
        _all_children,
        size=100,
        after="fetch",
    ),
    Step(
        "map",
        "child i after split's i",
        "echo part $AWS_BATCH_JOB_ARRAY_INDEX done; sleep 0.1",
        "all children succeed",
        _all_children,
        size=100,
        after="split",
        kind="N_TO_N",
    ),
    Step("report", "after map", "echo 100 parts done", "succeeds", DONE, after="map"),
    Step("flaky", "up to 2 attempts", "test $AWS_BATCH_JOB_ATTEMPT = 2", "succeeds, 2nd attempt", _flaky, attempts=2),
    Step("train", "terminated while it runs", TRAIN, "FAILED, exit code 143", _train),
    Step(
        "evaluate",
        "after train; cancelled",
        "echo evaluating",
        "waits for train, then FAILED as cancelled",
        _ended("FAILED", NOT_NEEDED, isCancelled=True, attempts=[]),
        after="train",
    ),
    Step(
        "deploy",
        "after train",
        "echo deploying",
        "FAILED with train",
        _ended("FAILED", "Dependent Job failed", attempts=[]),
        after="train",
    ),
    Step(
        "sweep",
        "20 children, then cancelled",
        "echo point $AWS_BATCH_JOB_ARRAY_INDEX; sleep 2",
        "what runs goes on, the rest FAILED",
        _sweep,
        size=20,
        queue="narrow",
    ),
)


def summary(job: Json) -> dict[str, int]:
    """An array's children by status; {} of another job."""
    counts: dict[str, int] = job.get("arrayProperties", {}).get("statusSummary", {})
    return counts


class Pipeline:
    """Submits the steps to a server and drives them to their end. `tick` until `over`."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ids: dict[str, str] = {}  # step -> job id
        self.jobs: dict[str, Json] = {}  # step -> last DescribeJobs item
        self.events: list[str] = []  # what was done, in sentences
        self.waited = False  # evaluate was seen PENDING after its cancel
        self._began = time.monotonic()
        self._terminate_at = 0.0
        self._swept = False

    def prepare(self) -> None:
        """Two queues, one of 16 vCPUs and one of 4, and a job definition."""
        for name, vcpus in (("wide", 16), ("narrow", 4)):
            resources = {
                "type": "EC2", "minvCpus": 0, "maxvCpus": vcpus, "instanceTypes": ["optimal"],
                "subnets": ["subnet-demo"], "securityGroupIds": ["sg-demo"], "instanceRole": "ecsInstanceRole",
            }  # fmt: skip
            self.client.batch(
                "CreateComputeEnvironment", computeEnvironmentName=name, type="MANAGED", computeResources=resources
            )
            self._until_valid("DescribeComputeEnvironments", "computeEnvironments", name)
            order = [{"order": 1, "computeEnvironment": name}]
            self.client.batch("CreateJobQueue", jobQueueName=name, priority=1, computeEnvironmentOrder=order)
            self._until_valid("DescribeJobQueues", "jobQueues", name)
        container = {
            "image": "busybox",
            "command": ["true"],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
        }
        self.client.batch(
            "RegisterJobDefinition", jobDefinitionName="shell", type="container", containerProperties=container
        )

    def submit(self) -> None:
        for step in STEPS:
            after = {"jobId": self.ids[step.after]} if step.after else None
            if after and step.kind:
                after["type"] = step.kind
            self.ids[step.name] = self.client.batch(
                "SubmitJob",
                jobName=step.name,
                jobQueue=step.queue,
                jobDefinition="shell",
                containerOverrides={"command": ["/bin/sh", "-c", step.script]},
                arrayProperties={"size": step.size} if step.size else None,
                dependsOn=[after] if after else None,
                retryStrategy={"attempts": step.attempts} if step.attempts > 1 else None,
            )["jobId"]

    def tick(self) -> None:
        """Look at every job once, and do what is next."""
        found = self.client.batch("DescribeJobs", jobs=list(self.ids.values()))["jobs"]
        by_id = {job["jobId"]: job for job in found}
        self.jobs = {name: by_id[ref] for name, ref in self.ids.items()}
        now = time.monotonic()
        if self.jobs["train"]["status"] == "RUNNING":
            if not self._terminate_at:
                self._terminate_at = now + LET_TRAIN_RUN_SECONDS
                self._end("CancelJob", "evaluate", NOT_NEEDED, "it waits for train, as every PENDING job does")
            elif self.jobs["evaluate"]["status"] == "PENDING" and self.jobs["evaluate"].get("isCancelled"):
                self.waited = True
                if now >= self._terminate_at:
                    self._terminate_at = now + DEADLINE_SECONDS
                    self._end("TerminateJob", "train", BETTER, "SIGTERM now, SIGKILL 30 s later if it is needed")
        if not self._swept and summary(self.jobs["sweep"]).get("RUNNING"):
            self._swept = True
            self._end("CancelJob", "sweep", ENOUGH, "running children go on, the others end")

    @property
    def over(self) -> bool:
        """Every job has ended, or it took too long."""
        ended = all(job["status"] in ENDED for job in self.jobs.values())
        return ended or self.seconds > DEADLINE_SECONDS

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def surprises(self) -> list[str]:
        """What did not go as expected, in sentences."""
        found = [
            f"{step.name} was expected to end so: {step.expected}. It is {self.jobs[step.name]['status']}."
            for step in STEPS
            if not step.expect(self.jobs[step.name])
        ]
        return found if self.waited else [*found, "evaluate was not seen waiting after its cancel."]

    def _end(self, operation: str, name: str, reason: str, consequence: str) -> None:
        self.client.batch(operation, jobId=self.ids[name], reason=reason)
        self.events.append(f"{operation} {name}: {consequence}.")

    def _until_valid(self, operation: str, member: str, name: str) -> None:
        deadline = time.monotonic() + 10
        while self.client.batch(operation, **{member: [name]})[member][0]["status"] != "VALID":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} did not become VALID.")
            time.sleep(0.02)
