"""SIGKILL of the server in the middle of a preemption, and of changes of quota shares: nothing acknowledged is lost,
nothing runs twice, the preempted job comes back and is counted once."""

import threading
from collections.abc import Callable
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from test_quota_shares_live import LARGE, managed, share, shown
from wire_pipeline import Server, until
from wire_training import Training

#: Says each time that it runs, and when it is told to end; then it takes its time.
SLOW = """#!/bin/sh
echo "$AWS_BATCH_JOB_ID" >> "$SM_HP_GATE.runs"
told() {
  : > "$SM_HP_GATE.$AWS_BATCH_JOB_ID.told"
  while [ ! -e "$SM_HP_GATE.enough" ]; do sleep 0.02; done
  : > "$SM_HP_GATE.$AWS_BATCH_JOB_ID.gone"
  exit 143
}
trap told TERM
while [ ! -e "$SM_HP_GATE" ]; do sleep 0.02; done
"""


def slow_server(own_server: Callable[..., Server], folder: Path) -> Server:
    def before(server: Server) -> None:
        (folder / "train.sh").write_text(SLOW)

    entry = f'[process.images."trainer:*"]\nentrypoint = ["sh", "{folder}/train.sh"]\n'
    return own_server("kill_grace = 120", entry, before)


def test_sigkill_in_the_middle_of_a_preemption(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = slow_server(own_server, tmp_path)
    training, gate = Training(server, tmp_path), tmp_path / "gate"
    queue = managed(training, 2)
    for name in ("blue", "red"):
        share(training, queue, name, 1)
    stays, gives_way = (
        training.waiting_job(queue, gate, quotaShareName="blue", schedulingPriority=priority) for priority in (5, 1)
    )
    for job in (stays, gives_way):
        training.until(job, "RUNNING")
    claims = training.waiting_job(queue, gate, quotaShareName="red")
    until((tmp_path / f"gate.{gives_way}.told").exists, "the borrower is told to end")

    server.kill()
    server.start()
    going = training.seen(gives_way)
    assert going["status"] == "RUNNING"
    assert going["statusReason"].startswith("PREEMPTION_IN_PROGRESS: Cross-share")
    assert [training.seen(job)["status"] for job in (stays, claims)] == ["RUNNING", "RUNNABLE"]

    server.kill()
    (tmp_path / "gate.enough").touch()
    until((tmp_path / f"gate.{gives_way}.gone").exists, "it ends while the server is away")
    server.start()
    training.until(claims, "RUNNING")
    back = training.until(gives_way, "RUNNABLE")
    assert (back["preemptionSummary"]["preemptedAttemptCount"], back["attempts"]) == (1, [])

    server.kill()
    gate.touch()
    server.start()
    for job in (stays, claims, gives_way):
        seen = training.until(job, "SUCCEEDED")
        assert len(seen["attempts"]) == 1
        count = seen.get("preemptionSummary", {}).get("preemptedAttemptCount", 0)
        assert count == (job == gives_way)
    runs = (tmp_path / "gate.runs").read_text().split()
    assert sorted(runs) == sorted([stays, claims, gives_way, gives_way]), "who gave way ran again, and nobody else"


class Administrator:
    """Changes quota shares until the server is gone, and keeps what was acknowledged."""

    def __init__(self, training: Training, queue: str) -> None:
        self.training, self.queue = training, queue
        self.changed = share(training, queue, "changed", 1)
        self.tried, self.acknowledged = 1, 1  # limits
        self.made: list[str] = []
        self.deleted: list[str] = []

    def update(self) -> None:
        batch = self.training.server.client()
        while True:
            self.tried += 1
            limits = [{"maxCapacity": self.tried, "capacityUnit": LARGE}]
            try:
                batch.update_quota_share(quotaShareArn=self.changed, capacityLimits=limits)
            except (BotoCoreError, ClientError) as error:
                if "being modified" not in str(error):
                    return
            else:
                self.acknowledged = self.tried

    def create_and_delete(self) -> None:
        batch = self.training.server.client()
        while True:
            try:
                reply = batch.create_quota_share(
                    quotaShareName=f"share{len(self.made)}",
                    jobQueue=self.queue,
                    capacityLimits=[{"maxCapacity": 1, "capacityUnit": LARGE}],
                    resourceSharingConfiguration={"strategy": "LEND"},
                    preemptionConfiguration={"inSharePreemption": "DISABLED"},
                    state="DISABLED",
                )
                self.made.append(reply["quotaShareArn"])
                if len(self.made) % 2:
                    batch.delete_quota_share(quotaShareArn=self.made[-1])
                    self.deleted.append(self.made[-1])
            except (BotoCoreError, ClientError) as error:
                if "more than" not in str(error) and "being modified" not in str(error):
                    return


def test_sigkill_in_the_middle_of_changes_of_quota_shares(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = slow_server(own_server, tmp_path)
    training = Training(server, tmp_path)
    queue = managed(training, 2)
    works = Administrator(training, queue)
    threads = [threading.Thread(target=work) for work in (works.update, works.create_and_delete)]
    for thread in threads:
        thread.start()
    until(lambda: works.acknowledged > 20 and len(works.made) > 6, "changes are under way")
    server.kill()
    for thread in threads:
        thread.join()
    server.start()

    until(lambda: shown(training, works.changed)["status"] == "VALID", "its transition ends")
    (limit,) = shown(training, works.changed)["capacityLimits"]
    assert limit["maxCapacity"] in range(works.acknowledged, works.tried + 1), "the last acknowledged, or newer"
    left = {one["quotaShareArn"] for one in training.batch.list_quota_shares(jobQueue=queue)["quotaShares"]}
    assert not left & set(works.deleted), "what was deleted is gone"
    kept = {arn for number, arn in enumerate(works.made, 1) if number % 2 == 0}
    assert kept <= left, "every acknowledged quota share is there"
