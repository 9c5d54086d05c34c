"""What must be true of the history as a whole, judged from what was committed and from what really ran.

The oracle shares no code with the core's rules: it sees commands, committed changes and the engine's truth.
"""

from tests.sim.engine import Truth

from batchery.core.changes import Began, Change, Ended, Evaluated, JobClosed, Placed, Submitted, WasAsked
from batchery.core.messages import Lost, Report, Submit, SubmitService
from batchery.core.model import EXIT, N_TO_N, SEQUENTIAL, VOID, AttemptKey, Job
from batchery.core.retry import EXITED
from batchery.core.status import FAILED, SUCCEEDED


class Oracle:
    """``note`` takes in commits; ``judge_*`` raise AssertionError."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}  # as submitted and committed
        self.ends: dict[tuple[str, int], tuple[int, str]] = {}  # of tasks
        self.closed: dict[str, tuple[int, str]] = {}  # of jobs
        self.words: dict[str, str] = {}  # the first request to end a whole job
        self.voided: set[str] = set()  # their queue was deleted
        self.frozen: dict[tuple[str, int], int] = {}  # asked to end: no later placement may run
        self.serials: dict[tuple[str, int], int] = {}  # of the newest placement
        self.promised: set[str] = set()  # acknowledged submits
        self.seen: set[str] = set()  # evaluated
        self.waiting: set[tuple[str, int]] = set()  # asked to end while a dependency was outstanding
        self.judged = 0  # of the engine's beginnings
        self.mains: set[str] = set()  # gangs whose main node has begun

    def promise(self, command: Submit | SubmitService) -> None:
        """The client was told that its job is accepted."""
        self.promised.add(command.id)

    def note(self, changes: list[Change]) -> None:
        """These are committed."""
        self._whole_gangs(changes)
        for change in changes:
            if isinstance(change, Submitted):
                assert change.job.id not in self.jobs, "a job is made once"
                self.jobs[change.job.id] = change.job
            elif isinstance(change, Evaluated):
                self.seen.add(change.job)
            elif isinstance(change, Placed):
                assert change.key.serial == self.serials.get(change.key[:2], 0) + 1, f"{change.key}: the next serial"
                self.serials[change.key[:2]] = change.key.serial
            elif isinstance(change, WasAsked):
                self._asked(change)
            elif isinstance(change, Ended):
                self._ended(change)
            elif isinstance(change, JobClosed):
                assert change.job not in self.closed, f"{change.job} ended twice"
                self.closed[change.job] = (change.code, change.reason)
            elif isinstance(change, Began):
                assert change.key[:2] not in self.ends, f"{change.key} began after its task had ended"

    def _whole_gangs(self, changes: list[Change]) -> None:
        made = {change.job.id: change.job for change in changes if isinstance(change, Submitted)}
        placed: dict[str, list[int]] = {}
        for change in changes:
            if isinstance(change, Placed):
                placed.setdefault(change.key.job, []).append(change.key.index)
        for name, nodes in placed.items():
            job = made.get(name) or self.jobs[name]
            if job.gang and job.shape.main in nodes:
                assert set(nodes) == set(range(job.size)), f"{name}: all of its nodes are placed, or none is"

    def _ended(self, change: Ended) -> None:
        for index in (i for span in change.spans for i in range(*span)):
            name = f"{change.job}:{index}"
            assert (change.job, index) not in self.ends, f"{name} ended twice"
            if (change.job, index) in self.waiting and change.job not in self.voided:
                looks = self._looks(self.jobs[change.job], index)
                assert None not in looks, f"{name}: cancelled, it waits until all its dependencies have ended"
            self.ends[change.job, index] = (change.code, change.reason)

    def _looks(self, job: Job, index: int, ever: bool = False) -> list[int | None]:
        """The code of each thing that a task needs, None while it has not ended. ``ever``: or needed, until its array
        was asked to end."""
        looks: list[int | None] = []
        for need in job.needs:
            if need.kind == SEQUENTIAL:
                if index and (ever or job.id not in self.words):
                    looks.append(self.ends.get((job.id, index - 1), (None,))[0])
            elif need.kind == N_TO_N or need.index >= 0:
                number = index if need.kind == N_TO_N else need.index
                looks.append(self.ends.get((need.job, number), (None,))[0])
            else:
                looks.append(self.closed.get(need.job, (None,))[0])
        return looks

    def _asked(self, change: WasAsked) -> None:
        job = self.jobs[change.job]
        indexes = range(job.width) if change.index is None else (change.index,)
        if change.index is None:
            self.words.setdefault(change.job, change.reason)
            if change.kind == VOID:
                self.voided.add(change.job)
        for index in indexes:
            begun = (change.job, index) in self.serials or (change.job, index) in self.ends
            if not begun and change.job in self.seen and None in self._looks(job, index):
                self.waiting.add((change.job, index))
            self.frozen.setdefault((change.job, index), self.serials.get((change.job, index), 0))

    # ------------------------------------------------------------------------------------------------- judging

    def judge(self, truth: Truth) -> None:
        """Everything that the engine has begun since the last time."""
        begun = list(truth.begun)
        for key in begun[self.judged :]:
            self._may_begin(key)
        self.judged = len(begun)

    def _may_begin(self, key: AttemptKey) -> None:
        job = self.jobs.get(key.job)
        assert job is not None, f"{key}: only what is committed runs"
        assert key.serial <= self.frozen.get(key[:2], key.serial), f"{key}: asked to end, it is placed again"
        looks = self._looks(job, key.index)
        if job.gang and key.index == job.shape.main:
            self.mains.add(job.id)
        assert not job.gang or job.id in self.mains, f"{key} begins before the main node"
        assert set(looks) <= {SUCCEEDED}, f"{key} runs before what it needs has succeeded: {job.needs}"

    def judge_end(self, truth: Truth, stored: dict[str, tuple[int, str] | None]) -> None:
        """When all is over: every promise was kept, every job has ended, and as it should."""
        assert self.promised <= set(self.jobs), "every acknowledged submit is there"
        assert set(stored) == set(self.jobs), "what is stored is what was committed"
        last: dict[tuple[str, int], tuple[AttemptKey, Report]] = {}
        exits: dict[tuple[str, int], int] = {}
        for key, report in truth.ended.items():
            if key in truth.begun and key >= last.get(key[:2], (key,))[0]:
                last[key[:2]] = (key, report)
            exits[key[:2]] = exits.get(key[:2], 0) + (getattr(report, "cause", "") == EXIT)
        for name, job in self.jobs.items():
            assert name in self.closed, f"{name}: every job has ended"
            assert stored[name] == self.closed[name], f"{name}: its end is stored as it was"
            self._judge_job(job)
            for index in range(job.width):
                task = (name, index)
                self._judge_task(job, index, last.get(task))
                assert exits.get(task, 0) <= job.shape.attempts, f"{task}: no more attempts than it may have"

    def _judge_job(self, job: Job) -> None:
        code, reason = self.closed[job.id]
        codes = {self.ends[job.id, index][0] for index in range(job.width)}
        if job.gang:
            assert (code, reason) == self.ends[job.id, job.shape.main], f"{job.id}: its end is its main node's"
        elif job.size and job.id in self.words:
            assert (code, reason) == (FAILED, self.words[job.id]), f"{job.id}: a parent asked to end is FAILED"
        else:
            assert code == (FAILED if FAILED in codes else SUCCEEDED), f"{job.id}: it succeeds if all of it does"

    def _judge_task(self, job: Job, index: int, last: tuple[AttemptKey, Report] | None) -> None:
        code, reason = self.ends[job.id, index]
        name = f"{job.id}:{index}"
        if code == SUCCEEDED:
            assert last is not None, f"{name}: what succeeded ran"
            assert _exit_code(last[1]) == 0, f"{name}: and its last attempt exited 0"
        elif reason == EXITED:
            assert last is not None, f"{name}: what exited ran"
            assert _exit_code(last[1]) != 0, f"{name}: and its last attempt did not exit 0"
        elif reason == "Dependent Job failed":
            assert FAILED in self._looks(job, index, ever=True), f"{name}: some dependency of it has failed"
            assert last is None, f"{name}: it never ran"


def _exit_code(report: Report) -> int | None:
    if isinstance(report, Lost):
        return None
    return report.containers[0].exit_code if report.containers else None  # type: ignore[attr-defined]
