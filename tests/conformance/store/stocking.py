"""Things to put into a store by hand: what the core would have made dirty, without the core.

stock = Stock(store)
job = stock.submit(name="first", size=10)
stock.ends(job, SUCCEEDED, span=(0, 3))
stock.commit()
"""

from typing import Any

from batchery.core.changes import Change, Submitted
from batchery.core.model import (
    Asked,
    Attempt,
    AttemptKey,
    Closed,
    Definition,
    Dirty,
    Environment,
    Job,
    Need,
    Queue,
    Realm,
    Resources,
    Shape,
    Task,
    task_id,
)
from batchery.core.status import OFFERED, ONE, SUBMITTED
from batchery.store.store import Activity, Aside, Store, encode

REALM = Realm("123456789012", "us-east-1")
BATCH = "arn:aws:batch:us-east-1:123456789012:"
QUEUE = BATCH + "job-queue/default"
WORK = BATCH + "job-definition/work:1"
PLACE = BATCH + "compute-environment/here"
SMALL = Shape(Resources(1000, 512))
NOW = 1_764_000_000_000


def job_id(number: int) -> str:
    """Ids that sort by time, as the service makes them."""
    return f"{0x19AB0000 + number:08x}-0000-7000-8000-{number:012x}"


class Stock:
    """Collects what is dirty, and commits it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seq = 0
        self.dirty = Dirty()
        self.changes: list[Change] = []

    def submit(
        self,
        *,
        name: str = "work",
        size: int = 0,
        needs: tuple[Need, ...] = (),
        queue: str = QUEUE,
        definition: str = WORK,
        shape: Shape = SMALL,
        share: str = "",
        created: int = 0,
        spec: str = "{}",
        tags: dict[str, str] | None = None,
    ) -> Job:
        self.seq += 1
        status = bytearray(ONE[SUBMITTED] * size) if size else ONE[SUBMITTED]
        job = Job(
            *(
                job_id(self.seq),
                self.seq,
                REALM,
                queue,
                name,
                definition,
                shape,
                created or NOW + self.seq,
                size,
                share,
            ),
            needs=needs,
            status=status,
        )
        self.dirty.jobs[job.seq] = job
        self.dirty.specs.append((job.seq, spec))
        self.changes.append(Submitted(job, spec, tags or {}))
        return job

    def evaluates(self, job: Job) -> None:
        """The scheduler has looked at everything up to this job."""
        self.dirty.evaluated = job.seq

    def asks(self, job: Job, kind: int, reason: str, *, index: int | None = None, at: int = NOW) -> None:
        asked = Asked(kind, reason, at)
        if index is None:
            job.asked = asked
            self.dirty.jobs[job.seq] = job
            return
        task = job.tasks.setdefault(index, Task(index))
        task.asked = asked
        self.dirty.tasks[job.seq, index] = (job, task)

    def ends(self, job: Job, code: int, reason: str = "", *, span: tuple[int, int], at: int = NOW) -> None:
        """Some tasks of an array."""
        self.dirty.ended.append((job.seq, *span, code, reason, at))

    def closes(self, job: Job, code: int, reason: str = "", *, at: int = NOW) -> None:
        """The job as a whole; of a plain one its task too."""
        job.closed = Closed(code, reason, at)
        self.dirty.jobs[job.seq] = job

    def attempt(self, job: Job, index: int = 0, serial: int = 1, **fields: Any) -> Attempt:
        key = AttemptKey(job.id, index, serial)
        given: dict[str, Any] = {
            "used": serial - 1,
            "environment": PLACE,
            "resources": Resources(1000, 512, 1),
            "code": OFFERED,
            "placed": NOW,
            "log_group": job.shape.log_group,
            "log_stream": f"work/default/{task_id(key)}",
        }
        attempt = Attempt(key, **given | fields)
        self.dirty.attempts[key] = (job, attempt)
        return attempt

    def place(self) -> Environment:
        """The environment of every attempt."""
        made = Environment(PLACE, "here", REALM, "EC2", 4000, PLACE, "{}")
        self.dirty.environments[PLACE] = made
        return made

    def commit(self, *activity: Activity, aside: list[Aside] | None = None) -> None:
        rows = encode(self.dirty, self.changes)
        self.dirty, self.changes = Dirty(), []
        self.store.commit(rows, activity, aside or [])


def queue(name: str, **fields: Any) -> Queue:
    return Queue(f"{BATCH}job-queue/{name}", name, REALM, 1, ((1, PLACE), (2, PLACE + "2")), **fields)


def definition(name: str, revision: int, **fields: Any) -> Definition:
    return Definition(
        f"{BATCH}job-definition/{name}:{revision}", name, REALM, revision, '{"type":"container"}', **fields
    )


def record(at: int, text: str = "{}", region: str = "us-east-1") -> Activity:
    return Activity(at, REALM.account, region, text)
