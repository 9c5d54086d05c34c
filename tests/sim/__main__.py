"""`python -m tests.sim`: many histories, one a seed. A seed that fails is printed; the same seed fails again."""

import argparse
import tempfile
import time
import traceback
from pathlib import Path

from tests.sim.simulation import Simulation
from tests.sim.stores import MemoryStore, RealStore, SimStore


def main() -> int:
    parser = argparse.ArgumentParser("sim", description="Run the simulator: crashes, lost messages, clock jumps.")
    parser.add_argument("--seed", type=int, help="this seed alone, with its traceback")
    parser.add_argument("--seeds", type=int, default=500, help="how many seeds (500)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--sqlite", type=int, default=10, help="every how many seeds on SQLite too, 0 for none (10)")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    began, failed = time.monotonic(), []
    total: dict[str, int] = {}
    for seed in seeds:
        try:
            real = options.sqlite and (len(seeds) == 1 or seed % options.sqlite == 0)
            for counts in [run(seed, False)] + ([run(seed, True)] if real else []):
                total = {what: total.get(what, 0) + counts.get(what, 0) for what in total | counts}
        except Exception:
            failed.append(seed)
            if len(failed) == 1:
                traceback.print_exc()
            print(f"seed {seed} fails: python -m tests.sim --seed {seed}", flush=True)
    took = time.monotonic() - began
    print(f"{len(seeds)} seeds in {took:.1f} s, {len(failed)} failed")
    print(", ".join(f"{number} {what}" for what, number in sorted(total.items())))
    return 1 if failed else 0


def run(seed: int, sqlite: bool) -> dict[str, int]:
    """One history; what happened in it."""
    with tempfile.TemporaryDirectory() as directory:
        store: SimStore = RealStore(Path(directory)) if sqlite else MemoryStore()
        try:
            return Simulation(seed, store).run()
        finally:
            store.close()


if __name__ == "__main__":
    raise SystemExit(main())
