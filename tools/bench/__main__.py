"""`make bench`: ratios against peers and limits, each of figures measured in turns in one run.

    python -m tools.bench [--quick] [--only submit,arrays,jobs,...] [--dir DIR] [--json FILE] [--moto-python PYTHON]

Loopback only. Everything it starts ends with it. Nobody else should use the machine meanwhile: compare ratios, and
read the fdatasync figure before any absolute rate.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tools.bench import arrays, containers, jobs, reads, submit
from tools.bench.disk import fdatasync_us, file_system
from tools.bench.report import Report
from tools.bench.servers import Batchery, Moto, has_moto, interpreter

PARTS: Final = ("submit", "arrays", "jobs", "reads", "containers")
MEMORY_ONLY: Final = ("tmpfs", "ramfs")


def main() -> int:
    options = parse()
    where = Path(options.dir or tempfile.gettempdir())
    if not options.dir and file_system(where) in MEMORY_ONLY:
        where = Path.cwd()  # a file system in memory syncs nothing
    tempfile.tempdir = str(where.resolve())
    report = Report()
    report.facts = {
        "machine": f"{os.cpu_count()} × {cpu()}, {platform.system()} {platform.release()}, {file_system(where)}",
        "interpreter": interpreter(),
    }
    start = time.monotonic()
    for part in PARTS:
        if part in options.only:
            say(f"{part} ...")
            RUN[part](report, options, lambda: report.fsync.append(fdatasync_us(where)))
    report.facts["load average at the end, and the time it took"] = (
        f"{os.getloadavg()[0]:.1f}, {time.monotonic() - start:.0f} s"
    )
    print(report.text())
    if options.json:
        report.save(Path(options.json))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description="Ratios against peers and limits.")
    parser.add_argument("--quick", action="store_true", help="one short round of each: less than a minute")
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated parts: " + ", ".join(PARTS))
    parser.add_argument("--dir", default="", help="where data is kept meanwhile; its disk is measured as well")
    parser.add_argument("--json", default="", help="also write all samples to this file")
    parser.add_argument("--moto-python", default=sys.executable, help="an interpreter that has moto[server,batch]")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def run_submit(report: Report, options: argparse.Namespace, sync: Callable[[], None]) -> None:
    rounds, seconds = (1, 1.0) if options.quick else (5, 2.0)
    moto = Moto(options.moto_python) if has_moto(options.moto_python) else None
    if moto is None:
        report.notes.append("moto is not installed here (pip extra `bench`): SubmitJob was not compared.")
    with Batchery() as ours:
        ours.make_waiting_queue()
        if moto is None:
            submit.submit_jobs(report, ours, None, rounds, seconds, sync)
        else:
            with moto:
                submit.submit_jobs(report, ours, moto, rounds, seconds, sync)
        submit.cancel_jobs(report, ours, 1 if options.quick else 3)


def run_arrays(report: Report, options: argparse.Namespace, sync: Callable[[], None]) -> None:
    with Batchery() as ours:
        ours.make_waiting_queue()
        sync()
        arrays.array_jobs(report, ours, 50 if options.quick else 300)
        sync()
        arrays.mass_cancel(report, ours, 100, 0.5)


def run_jobs(report: Report, options: argparse.Namespace, sync: Callable[[], None]) -> None:
    with Batchery() as ours:
        sync()
        jobs.noop_jobs(report, ours, 1 if options.quick else 3, 1_000 if options.quick else 5_000)


def run_reads(report: Report, options: argparse.Namespace, sync: Callable[[], None]) -> None:
    with Batchery() as ours:
        ours.make_waiting_queue()
        sync()
        many = reads.QUICK if options.quick else reads.MANY
        reads.few_and_many(report, ours, 1 if options.quick else 3, 0.5 if options.quick else 1.5, many)


def run_containers(report: Report, options: argparse.Namespace, sync: Callable[[], None]) -> None:
    left = os.environ.get("BATCHERY_TEST_CONTAINERS", "")
    if not left:
        report.notes.append("BATCHERY_TEST_CONTAINERS is not set (tools/containers up): containers were not compared.")
        return
    for runtime in containers.RUNTIMES:
        sync()
        containers.container_jobs(report, runtime, Path(left), *((1, 20) if options.quick else (3, 40)))


RUN: Final = {
    "submit": run_submit,
    "arrays": run_arrays,
    "jobs": run_jobs,
    "reads": run_reads,
    "containers": run_containers,
}


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error or 'interrupted'}")
