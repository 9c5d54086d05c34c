"""`batchery sim`: the simulator, which lives with the tests in the source tree."""

import os
import sys
from pathlib import Path

import click

import batchery
from batchery.cli.problem import Problem


@click.command(
    "sim", short_help="Run the simulator.", context_settings={"ignore_unknown_options": True, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run the simulator: the real scheduler and store under crashes, lost messages and clock jumps.

    It comes with the source tree, not with the installed package. Its own options: batchery sim --help.

    \b
    Examples:
      batchery sim --seeds 500
      batchery sim --seed 7
    """
    tree = Path(batchery.__file__).parents[2]
    if not (tree / "tests" / "sim" / "__main__.py").is_file():
        raise Problem("The simulator comes with the source tree: clone it, and run `make sim` there.")
    os.chdir(tree)
    os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *arguments])
