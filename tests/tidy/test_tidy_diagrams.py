"""docs/states.md is what the core says."""

from tools.diagrams import PAGE, main, page

from batchery.core.status import CODE_NAMES, MOVES


def test_the_diagram_is_fresh() -> None:
    assert main(["--check"]) == 0, "run make diagrams"
    assert PAGE.read_text() == page()


def test_every_move_is_drawn() -> None:
    for old, new in MOVES:
        assert f"    {CODE_NAMES[old]} --> {CODE_NAMES[new]}: " in page()
