"""`python -m batchery`: the same as the `batchery` command."""

from batchery.cli import main

if __name__ == "__main__":
    main(prog_name="batchery")
