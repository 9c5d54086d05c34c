"""Why a job waits."""

from collections.abc import Callable
from typing import Any

from tests.unit.core.building import HOME, Batch, arn

from batchery.core.explain import Why, why
from batchery.core.messages import UpdateQueue
from batchery.core.model import Realm
from batchery.core.schedule import SHORT

Make = Callable[..., Batch]


def ask(batch: Batch, ref: str) -> Why:
    found = why(batch.world, HOME, ref)
    assert found is not None
    return found


def test_nothing_is_said_of_what_is_not_open(batch: Batch) -> None:
    array, gone = batch.submit(size=2), batch.submit()
    batch.exits(gone)
    for ref in (gone, "nobody", f"{array}:2", f"{array}:x"):
        assert why(batch.world, HOME, ref) is None
    assert why(batch.world, Realm("1", "r"), array) is None


def test_a_job_nobody_has_looked_at(batches: Make) -> None:
    batch = batches(submitted_for=1_000)
    assert ask(batch, batch.submit()).lines == ["The scheduler has not looked at it yet."]


def test_a_job_that_waits_for_others(batch: Batch) -> None:
    array = batch.submit("array", size=2)
    left = batch.submit("left", size=2, n_to_n=array, after=[f"{array}:0", array])
    batch.submit("chain", size=3, sequential=True)
    assert ask(batch, f"{left}:1").waits_for == ["array:0", "array", "array:1"]
    assert ask(batch, left).waits_for == ["array:0", "array"]
    assert ask(batch, "chain:2").lines == ["It waits for chain:1."]
    batch.exits("array:0")
    assert ask(batch, f"{left}:0").lines == ["It waits for array."]
    batch.cancel(f"{left}:0", "mine")
    assert ask(batch, f"{left}:0").lines == [
        "It was asked to end: mine",
        "It waits for array.",
        "It is cancelled once all its dependency jobs have ended.",
    ]
    assert (ask(batch, left).status, ask(batch, left).place) == ("PENDING", 0)
    batch.exits("array:1")
    assert ask(batch, f"{left}:1").waits_for == []


def test_what_has_ended_before_is_not_waited_for(batch: Batch) -> None:
    done, array, slow = batch.submit(), batch.submit(size=2), batch.submit()
    batch.exits(done)
    batch.exits(f"{array}:0")
    then = batch.submit(size=2, after=[done, f"{array}:0", slow], n_to_n=array, sequential=True)
    assert ask(batch, f"{then}:0").waits_for == [slow]
    assert ask(batch, f"{then}:1").waits_for == [slow, f"{array}:1", f"{then}:0"]
    assert ask(batch, f"{array}:0") == Why(f"{array}:0", "SUCCEEDED", [])


def test_the_place_of_a_job_in_its_queue(batches: Make) -> None:
    batch = batches(vcpus=1)
    runs = batch.submit()
    array = batch.submit(size=3)
    last = batch.submit(attempts=2)
    assert ask(batch, runs).lines == ["The engine of main has it and begins it as soon as there is room."]
    assert ask(batch, f"{array}:1").place == 2
    assert ask(batch, last).place == 4
    head = ask(batch, f"{array}:0")
    assert head.lines == [
        "It is number 1 of those ready in queue main (priority 1).",
        "It is at the head: nothing behind it in its queue passes it where it could run.",
    ]
    assert head.lacks == {"main": "not enough vCPU free: 0 of 1 vCPU, 65280 MiB, 0 GPU free"}
    whole = ask(batch, array)
    assert whole.lines[:2] == ["3 of its 3 children have not ended.", f"Its next child is {array}:0:"]
    assert whole.place == 1


def test_an_array_all_of_which_runs(batch: Batch) -> None:
    array = batch.submit(size=2)
    batch.runs(f"{array}:0", f"{array}:1")
    batch.cancel(array, "no more")
    assert ask(batch, array).lines == ["2 of its 2 children have not ended.", "It was asked to end: no more"]
    assert ask(batch, f"{array}:0").lines == [
        "It was asked to end: no more",
        "It is RUNNING in main, attempt 1 of 1.",
    ]


def test_an_array_that_waits_as_a_whole(batch: Batch) -> None:
    first = batch.submit()
    array = batch.submit(size=2, after=[first])
    assert ask(batch, array).lines[1] == f"It waits for {first}."


def test_attempts_that_were_used_and_a_recall(batches: Make) -> None:
    batch = batches(vcpus=1)
    job = batch.submit(attempts=3)
    batch.exits(job, 1)
    batch.cancel(job, "mine")
    assert ask(batch, job).lines[-1] == "The engine was asked to give it back: mine"
    batch.runs(job)
    assert ask(batch, job).lines == ["It is RUNNING in main, attempt 2 of 3."]
    batch.close()
    batch.exits(job, 1)
    assert "2 of its 3 attempts are used." in ask(batch, job).lines
    assert ask(batch, job).lacks == {"main": "takes no new jobs: DISABLED"}


def test_a_job_that_is_being_ended(batch: Batch) -> None:
    job = batch.submit(timeout=60_000)
    batch.runs(job)
    batch.tick(61_000)
    assert ask(batch, job).lines[-1] == "It is being ended: TIMEOUT."


def test_a_job_that_can_never_run(batches: Make) -> None:
    batch = batches(vcpus=2)
    job = batch.submit(vcpus=3, gpus=1)
    found = ask(batch, job)
    assert found.lines[1].startswith("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE")
    assert found.lines[-1] == "Jobs behind it pass it."
    assert found.lacks == {"main": "too small: 3 vCPU, 256 MiB, 1 GPU asked, 2 vCPU at most"}


def test_with_strict_head_it_blocks_the_rest(batches: Make) -> None:
    batch = batches(vcpus=2, strict_head=True)
    job = batch.submit(vcpus=3)
    assert ask(batch, job).lines[-1] == "It blocks those behind it."


def test_a_job_cut_to_the_host(batches: Make) -> None:
    batch = batches(memory=1_000)
    first, large = batch.submit(), batch.submit(memory=4_000)
    cut = "It asks for more than this host has (1 vCPU, 4000 MiB): it runs alone, cut to 1 vCPU, 1000 MiB."
    assert cut in ask(batch, large).lines
    assert ask(batch, large).lacks["main"].startswith("not enough memory free")
    batch.exits(first)
    assert cut in ask(batch, large).lines
    both = batch.queue("both", arn("compute-environment", "main"), batch.environment("other"))
    assert ask(batch, batch.submit(memory=4_000, queue=both)).lines.count(cut) == 1, "told once for both"


def test_room_that_others_ahead_will_take(batch: Batch) -> None:
    batch.close()
    batch.submit()
    second = batch.submit()
    batch.world.environments[arn("compute-environment", "main")].state = "ENABLED"
    assert ask(batch, second).lacks == {"main": "has room; others are ahead"}
    assert ask(batch, "job1").lacks == {"main": "has room"}


def test_a_queue_without_environments(batch: Batch) -> None:
    bare = batch.queue("bare")
    job = batch.submit(queue=bare)
    assert ask(batch, job).lacks == {}
    assert ask(batch, job).lines[-1] == "Jobs behind it pass it."
    batch.send(UpdateQueue(bare, order=((1, arn("compute-environment", "main")),)))
    assert batch.code(job) == "OFFERED"


# -------------------------------------------------------------------------------------------------------- fair share


def shared(batch: Batch, **policy: Any) -> str:
    """A fair-share queue on four vCPUs of its own."""
    return batch.queue("shared", batch.environment("small", 4), policy=batch.policy(weights={"b": 2.0}, **policy))


def test_of_a_share_its_usage_and_weight_are_told_and_the_place_is_by_policy(batch: Batch) -> None:
    queue = shared(batch, window=700_000)
    runs = batch.submit(queue=queue, share="a", vcpus=4)
    batch.runs(runs)
    batch.tick(10_000)
    old, other = batch.submit(queue=queue, share="a"), batch.submit(queue=queue, share="b")
    found = why(batch.world, HOME, other, batch.now)
    assert found is not None
    assert found.place == 1
    assert found.lines[0] == "It is number 1 of those ready in queue shared (priority 1)."
    assert found.lines[1] == (
        "Its share b has used 0.0 vCPU-seconds, fading over 700 s, and holds 0 vCPU; its weight is 2 among 2 active "
        "shares."
    )
    behind = why(batch.world, HOME, old, batch.now)
    assert behind is not None
    assert behind.place == 2
    assert behind.lines[1].startswith("Its share a has used 39.7 vCPU-seconds, fading over 700 s, and holds 4 vCPU;")


def test_what_the_reservation_keeps_is_told(batch: Batch) -> None:
    queue = shared(batch, reservation=50)
    jobs = [batch.submit(queue=queue, share="a") for _ in range(3)]
    found = why(batch.world, HOME, jobs[2], batch.now)
    assert found is not None
    assert "2 vCPU are in use, and of all that there are 2 are for active shares" in found.lines[2]


def test_far_behind_is_far_behind(batch: Batch) -> None:
    queue = shared(batch)
    batch.submit(queue=queue, share="a", size=1_100)
    last = batch.submit(queue=queue, share="a")
    found = why(batch.world, HOME, last, batch.now)
    assert found is not None
    assert found.place == 1_001
    assert found.lines[0].startswith("It is behind the first 1000 of those ready")


def test_the_head_that_waits_for_the_machines_is_told_so(batches: Any) -> None:
    batch = batches(memory=1_000)
    batch.submit(memory=900)
    head = batch.submit(memory=200)
    found = why(batch.world, HOME, head)
    assert found is not None
    assert SHORT in found.lines
