"""What is due comes once, work on jobs by age, other work in its order, by turns."""

from tests.unit.core.building import Batch

from batchery.core.agenda import Agenda, Due


def test_jobs_by_age_and_the_rest_in_order_by_turns() -> None:
    agenda = Agenda()
    for seq in (5, 3, 9, 3):
        agenda.add("settle", f"j{seq}", seq)
    for name in ("x", "y", "x"):
        agenda.add("other", name)
    assert len(agenda) == 5
    assert Due("settle", "j9") in agenda
    assert Due("other", "y") in agenda
    assert [agenda.take().ref for _ in range(5)] == ["j3", "x", "j5", "y", "j9"]
    assert not agenda
    agenda.add("other", "z")
    assert agenda.take() == Due("other", "z")


def test_two_agendas_with_the_same_work_are_equal() -> None:
    one, two = Agenda(), Agenda()
    for agenda, seqs in ((one, (1, 2)), (two, (2, 1))):
        for seq in seqs:
            agenda.add("settle", str(seq), seq)
    assert one == two
    two.add("other", "x")
    assert one != two
    assert one != [Due("settle", "1"), Due("settle", "2")]


def test_the_reason_of_an_array_does_not_depend_on_how_its_cascade_came_about(batch: Batch) -> None:
    """The last fails by its children first, but what it needs as a whole is bound to fail in the same cascade."""
    root = batch.submit(size=2)
    middle = batch.submit(size=2, n_to_n=root)
    deep = batch.submit(size=2, after=[middle])
    last = batch.submit(size=2, n_to_n=root, after=[deep])
    batch.cancel(f"{root}:0", "x")
    batch.terminate(root, "stop")
    batch.gives_back(f"{root}:0")
    batch.killed(f"{root}:1", ran=False)
    assert batch.end(deep) == batch.end(last) == ("FAILED", "Dependent Job failed")
