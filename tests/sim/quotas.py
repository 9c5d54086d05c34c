"""What must be true of service jobs and quota shares in a history, judged from what was committed.

A share never has more than its limits but by borrowing, and no more by borrowing than it may; what is reserved stays
idle; who is entitled goes before who borrows. Only who borrows, or has less priority in the same share, is preempted,
and nobody in vain: somebody waits who then has all the room, and who would not have it without each of them. A
preempted job comes back, has used no attempt, and is counted. CancelJob and TerminateJob do nothing to service jobs.
"""

from tests.sim.trainers import FOREIGN, MANAGED, WHERE

from batchery.core.changes import (
    AttemptEnded,
    Change,
    Doomed,
    Ended,
    EnvironmentSet,
    JobClosed,
    Placed,
    QuotaGone,
    QuotaSet,
    Readied,
    Reprioritized,
    Submitted,
    WasAsked,
)
from batchery.core.model import (
    CANCEL,
    DELETING,
    ENABLED,
    EXIT,
    NO_CAPACITY,
    PREEMPTED,
    TERMINATED,
    WITHDRAWN,
    AttemptKey,
    Job,
)
from batchery.core.shares import BORROW, RESERVE, QuotaShare
from batchery.core.status import RUNNABLE

CROSS, IN_SHARE = "PREEMPTION_IN_PROGRESS: Cross-share", "PREEMPTION_IN_PROGRESS: In-share"


class Quotas:
    """``note`` takes in commits; all raise AssertionError. ``strict``: who can never run blocks its share."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.jobs: dict[str, Job] = {}  # service jobs
        self.priority: dict[str, int] = {}
        self.open: set[str] = set()
        self.ready: set[str] = set()
        self.asked: set[str] = set()
        self.shares: dict[str, QuotaShare] = {}  # by name
        self.most: dict[str, int] = {}  # instances of the managed environment, by type
        self.usable = False
        self.live: set[AttemptKey] = set()
        self.going: set[AttemptKey] = set()  # of these, what is being ended
        self.victims: dict[AttemptKey, str] = {}  # of these, who makes room for others, and the words
        self.preempted: dict[str, int] = {}
        self.used: dict[str, int] = {}  # attempts that count

    def note(self, changes: list[Change]) -> None:
        """These are committed, in this order."""
        dooms: list[Doomed] = []
        for change in changes:
            if isinstance(change, Doomed) and change.cause == PREEMPTED:
                self._doomed(change)
                dooms.append(change)
                continue
            self._judge(dooms)
            dooms = []
            self._note(change)
        self._judge(dooms)

    def _note(self, change: Change) -> None:
        if isinstance(change, Submitted) and change.job.service:
            self._submitted(change.job)
        elif isinstance(change, QuotaSet):
            self.shares[change.quota.name] = change.quota
        elif isinstance(change, QuotaGone):
            name = change.arn.rpartition("/")[2]
            mine = [job for job in self.open if self.jobs[job].queue == MANAGED and self.jobs[job].share == name]
            assert not mine, f"{name}: a quota share goes after its jobs, not before {mine}"
            del self.shares[name]
        elif isinstance(change, EnvironmentSet) and change.environment.arn == WHERE["managed"]:
            self.most, self.usable = dict(change.environment.units), change.environment.state == ENABLED
        elif isinstance(change, Doomed):
            self.going.add(change.key)
        elif isinstance(change, Placed) and change.key.job in self.jobs:
            self._placed(change)
        elif isinstance(change, AttemptEnded) and change.key in self.live:
            self._attempt_ended(change)
        else:
            self._of_jobs(change)

    def _of_jobs(self, change: Change) -> None:
        if isinstance(change, Reprioritized):
            self.priority[change.job] = change.priority
        elif isinstance(change, Readied) and change.job in self.jobs:
            self.ready.add(change.job)
        elif isinstance(change, WasAsked) and change.job in self.jobs:
            assert not change.kind & CANCEL, f"{change.job}: CancelJob does nothing to service jobs"
            assert not change.reason.startswith(FOREIGN), f"{change.job}: nor does TerminateJob"
            self.asked.add(change.job)
            self.going |= {key for key in self.live if key.job == change.job}
        elif isinstance(change, Ended) and change.job in self.jobs:
            self.ready.discard(change.job)
            if change.reason.startswith((CROSS, IN_SHARE)):
                budget, count = self.jobs[change.job].shape.preemptions, self.preempted.get(change.job, 0)
                assert 0 <= budget < count, f"{change.job}: it ends by a preemption only if that was one too many"
        elif isinstance(change, JobClosed):
            self.open.discard(change.job)

    def _submitted(self, job: Job) -> None:
        self.jobs[job.id], self.priority[job.id] = job, job.shape.priority
        self.open.add(job.id)
        if job.queue == MANAGED:
            share = self.shares.get(job.share)
            assert share is not None, f"{job.id}: a job belongs to a quota share that is there"
            taking = share.state == ENABLED and share.status != DELETING
            assert taking, f"{job.id}: a share that is DISABLED or goes takes no jobs"

    # ------------------------------------------------------------------------------------------------ room and limits

    def _size(self, job: str) -> int:
        return self.jobs[job].shape.resources.vcpus

    def _in_use(self, unit: str, share: str | None = None, without: set[AttemptKey] | None = None) -> int:
        """Of the managed queue. ``without``: as if these had ended."""
        mine = (self.jobs[key.job] for key in self.live - (without or set()))
        return sum(
            job.shape.resources.vcpus
            for job in mine
            if job.queue == MANAGED and job.shape.unit == unit and share in (None, job.share)
        )

    def _limit(self, share: str, unit: str) -> int:
        return dict(self.shares[share].limits).get(unit, 0)

    def _ever(self, job: str) -> bool:
        """Whether its share could ever have room for it."""
        share, unit, size = self.jobs[job].share, self.jobs[job].shape.unit, self._size(job)
        quota, limit, most = self.shares[share], self._limit(share, unit), self.most.get(unit, 0)
        if size > most or size <= limit:
            return size <= most
        others = [name for name, one in self.shares.items() if one.strategy == RESERVE and name != share]
        borrowable = most - sum(self._limit(name, unit) for name in others)
        allowed = quota.borrow < 0 or size <= limit + limit * quota.borrow // 100
        return quota.strategy == BORROW and allowed and size <= borrowable

    def _front(self, share: str, unit: str) -> str | None:
        """Who is next of a share and type."""
        mine = [job for job in self.ready if self._is_of(job, share, unit)]
        for job in sorted(mine, key=lambda job: (-self.priority[job], self.jobs[job].seq)):
            if self._ever(job) or self.strict:
                return job if self._ever(job) else None
        return None

    def _is_of(self, name: str, share: str, unit: str) -> bool:
        job = self.jobs[name]
        return (job.queue, job.share, job.shape.unit) == (MANAGED, share, unit)

    def _placed(self, change: Placed) -> None:
        job, key = self.jobs[change.key.job], change.key
        self.live.add(key)
        self.ready.discard(job.id)
        if job.queue != MANAGED:
            return
        share, unit = job.share, job.shape.unit
        quota, limit, used = self.shares[share], self._limit(share, unit), self._in_use(unit, share)
        assert self._in_use(unit) <= self.most.get(unit, 0), f"{key}: instances are given out once"
        if used <= limit:
            return
        assert quota.strategy == BORROW, f"{key}: {share} has more than its limit and does not borrow"
        if quota.borrow >= 0:
            assert used <= limit + limit * quota.borrow // 100, f"{key}: {share} borrows more than it may"
        kept = sum(
            max(self._limit(name, unit) - self._in_use(unit, name), 0)
            for name, one in self.shares.items()
            if one.strategy == RESERVE and name != share
        )
        assert self.most[unit] - self._in_use(unit) >= kept, f"{key}: what is reserved stays idle"
        for name in self.shares:
            first = self._front(name, unit)
            entitled = first is not None and self._in_use(unit, name) + self._size(first) <= self._limit(name, unit)
            assert not entitled, f"{key} borrows, and {first} of {name} is entitled and waits"

    # ---------------------------------------------------------------------------------------------------- preemption

    def _doomed(self, change: Doomed) -> None:
        assert change.key in self.live, f"{change.key}: only service jobs that live are preempted"
        assert change.key not in self.going, f"{change.key}: what is being ended is not preempted too"
        self.going.add(change.key)
        self.victims[change.key] = change.words

    def _judge(self, dooms: list[Doomed]) -> None:
        """Those who were preempted in one turn."""
        for unit in sorted({self.jobs[doom.key.job].shape.unit for doom in dooms}):
            mine = [doom.key for doom in dooms if self.jobs[doom.key.job].shape.unit == unit]
            assert self.usable, f"{mine}: preempted where nothing begins"
            fronts = {name: front for name in self.shares if (front := self._front(name, unit)) is not None}
            coming = self.most.get(unit, 0) - self._in_use(unit, without=self.going)
            entitled = {
                name: job
                for name, job in fronts.items()
                if self._in_use(unit, name, self.going) + self._size(job) <= self._limit(name, unit)
            }
            served = {name for name, job in entitled.items() if self._size(job) <= coming}
            wanted = sum(self._size(job) for job in entitled.values())
            for key in mine:
                same = [
                    self._size(other.job) for other in mine if self.jobs[other.job].share == self.jobs[key.job].share
                ]
                self._judge_one(key, fronts, served, wanted > coming - self._size(key.job), sum(same))

    def _judge_one(
        self, key: AttemptKey, fronts: dict[str, str], served: set[str], scarce: bool, together: int
    ) -> None:
        """``served``: shares whose entitled fronts have room now. ``scarce``: without this victim some had none.
        ``together``: what this turn's victims of its share hold."""
        job = self.jobs[key.job]
        share, unit, words = job.share, job.shape.unit, self.victims[key]
        limit, first = self._limit(share, unit), fronts.get(share)
        left = self._in_use(unit, share, self.going) + self._size(job.id)
        own = share in served and first is not None and left + self._size(first) > limit
        assert scarce or own, f"{key}: need not have been preempted"
        if words.startswith(IN_SHARE):
            assert self.shares[share].in_share, f"{key}: {share} has no in-share preemption"
            assert first is not None, f"{key}: preempted by nobody in {share}"
            assert self.priority[first] > self.priority[job.id], f"{key}: preempted by no higher priority"
            assert share in served, f"{key}: preempted in vain"
        else:
            assert words.startswith(CROSS), f"{key}: {words}"
            before = self._in_use(unit, share, self.going) + together
            assert before > limit, f"{key}: {share} has borrowed nothing"
            assert served - {share}, f"{key}: preempted in vain"

    def _attempt_ended(self, change: AttemptEnded) -> None:
        key, job = change.key, self.jobs[change.key.job]
        self.live.discard(key)
        self.going.discard(key)
        victim = self.victims.pop(key, None) is not None
        if victim:
            own = {PREEMPTED, EXIT, WITHDRAWN, NO_CAPACITY}  # it never began, or was faster
            own |= {TERMINATED} if job.id in self.asked else set()
            assert change.cause in own, f"{key}: preempted, it ended as {change.cause}"
        self.used[job.id] = self.used.get(job.id, 0) + change.counts
        assert self.used[job.id] <= job.shape.attempts, f"{job.id}: no more attempts than it may have"
        if change.cause == PREEMPTED:
            assert victim, f"{key}: nobody preempted it"
            assert not change.counts, f"{key}: a preemption uses no attempt"
            count = self.preempted[job.id] = self.preempted.get(job.id, 0) + 1
            back = job.id not in self.asked and not 0 <= job.shape.preemptions < count
            assert (change.code == RUNNABLE) == back, f"{key}: a preempted job comes back, unless once too often"
        if change.code == RUNNABLE:
            self.ready.add(job.id)

    def judge_end(self, counted: dict[str, int]) -> None:
        """When all is over. ``counted``: preempted attempts of each job, as they are stored."""
        assert counted == self.preempted, "every preemption is counted once"
        assert not self.live, "everything has ended"
