"""Slurm by its command line: sbatch, squeue, scancel, scontrol, sinfo; sacct where there is accounting.

Every command runs in a thread, with an environment of its own (nothing of the server's gets into jobs) and a limit of
time.
"""

import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from batchery.engines import slurmstate
from batchery.engines.engine import EngineError
from batchery.engines.slurmdriver import Options, Refused, Unreachable
from batchery.engines.slurmstate import Listing, Node

COMMAND_SECONDS: Final = 40.0
#: sbatch waits up to two minutes for room under MaxJobCount: we wait ourselves, and say why.
SUBMIT_SECONDS: Final = 10.0
IDS_AT_ONCE: Final = 100
ELEMENTS_AT_ONCE: Final = 1000  #: of one array
NAMES_AT_ONCE: Final = 100
#: How far back accounting is asked: sacct begins with today.
REMEMBERED_SINCE: Final = "now-60days"
_PASSED_ON: Final = ("HOME", "USER", "LOGNAME", "LD_LIBRARY_PATH", "KRB5CCNAME")


class CommandLine:
    """The driver that needs nothing but Slurm's client commands. ``conf``: "" is the machine's own slurm.conf."""

    name = "sbatch and squeue"

    def __init__(self, conf: str = "") -> None:
        self._environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C", "SLURM_BITSTR_LEN": "0"}
        self._environment |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        conf = conf or os.environ.get("SLURM_CONF", "")
        if conf:
            self._environment["SLURM_CONF"] = conf
        me = pwd.getpwuid(os.geteuid())
        self._user = me.pw_name
        self._environment.setdefault("HOME", me.pw_dir)
        self._threads = ThreadPoolExecutor(4, "slurm")

    def check(self) -> None:
        """Raises EngineError if a command is not there."""
        missing = [name for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo") if not shutil.which(name)]
        if missing:
            raise EngineError(
                f"Slurm's commands are not on the PATH ({', '.join(missing)}): start the server on a login node of "
                "the cluster, or install slurm-client and the cluster's slurm.conf."
            )

    async def close(self) -> None:
        self._threads.shutdown(wait=False)

    async def config(self) -> dict[str, str]:
        return slurmstate.settings(await self._run(["scontrol", "show", "config"]))

    async def nodes(self) -> list[Node]:
        return slurmstate.nodes(await self._run(["sinfo", "-h", "-N", "-o", slurmstate.NODES_FORMAT]))

    async def submit(self, name: str, comment: str, options: Options, size: int, script: str) -> None:
        await self._run(["sbatch", *sbatch_options(name, comment, options, size)], script, SUBMIT_SECONDS)

    async def listing(self, prefix: str, ended: bool = False) -> Listing:
        command = ["squeue", "-h", "-u", self._user, "-o", slurmstate.LISTING_FORMAT]
        return slurmstate.listing(await self._run([*command, "-t", "all"] if ended else command), prefix)

    async def history(self, names: Sequence[str]) -> Listing:
        if not shutil.which("sacct"):
            return {}
        found: Listing = {}
        for start in range(0, len(names), NAMES_AT_ONCE):
            some = ",".join(names[start : start + NAMES_AT_ONCE])
            options = ["-n", "-P", "-X", "-S", REMEMBERED_SINCE, "-o", slurmstate.HISTORY_FORMAT, f"--name={some}"]
            found |= slurmstate.history(await self._run(["sacct", *options]))
        return found

    async def signal(self, ids: Sequence[str], tasks: bool = False) -> None:
        how = ["--signal=URG"] if tasks else ["--signal=TERM", "--batch"]
        await self._over(ids, ["scancel", "--quiet", *how])

    async def cancel(self, ids: Sequence[str], waiting: bool = True) -> None:
        """Never by state: scancel --state=PENDING of one element takes all elements that wait."""
        await self._over(ids, ["scancel", "--quiet"])

    async def _over(self, ids: Sequence[str], command: list[str]) -> None:
        """scancel of many; that one of them has just ended is no error."""
        words = list(slurmstate.together(ids, ELEMENTS_AT_ONCE))
        for start in range(0, len(words), IDS_AT_ONCE):
            try:
                await self._run([*command, *words[start : start + IDS_AT_ONCE]])
            except Refused:
                pass  # the next listing tells what became of them

    async def _run(self, command: list[str], given: str = "", seconds: float = COMMAND_SECONDS) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, command, given, seconds)

    def _call(self, command: list[str], given: str, seconds: float) -> str:
        try:
            done = subprocess.run(
                command,
                input=given.encode(),
                capture_output=True,
                env=self._environment,
                cwd="/",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            words = (late.stderr or b"").decode(errors="replace")
            if slurmstate.is_limit(words):
                raise Refused(slurmstate.refusal(words)) from None
            raise Unreachable(f"{command[0]} got no answer in {seconds:.0f} s") from None
        except OSError as error:
            raise Unreachable(f"{command[0]}: {error.strerror}") from None
        if done.returncode:
            words = done.stderr.decode(errors="replace")
            kind = Unreachable if slurmstate.is_unreachable(words) else Refused
            raise kind(slurmstate.refusal(words))
        return done.stdout.decode(errors="replace")


def sbatch_options(name: str, comment: str, options: Options, size: int) -> list[str]:
    """Options of sbatch. The user's own come last, so they win."""
    found = [
        *("--parsable", "--no-requeue", "--export=ALL", "--chdir=/", "--output=/dev/null", "--error=/dev/null"),
        *(f"--job-name={name}", f"--comment={comment}", f"--cpus-per-task={options.cpus}"),
    ]
    if options.tasks > 1:
        found += [f"--ntasks={options.tasks}", f"--mem-per-cpu={-(-options.memory // options.cpus)}M"]
    else:
        found += ["--nodes=1", "--ntasks=1", f"--mem={options.memory}M"]
    if size > 1:
        found.append(f"--array=0-{size - 1}")
    if options.gpus:
        found.append(f"--gpus-per-task={options.gpus}" if options.tasks > 1 else f"--gres=gpu:{options.gpus}")
    if options.minutes:
        found.append(f"--time={options.minutes}")
    for option in ("partition", "account", "qos", "constraint"):
        if value := getattr(options, option):
            found.append(f"--{option}={value}")
    return found + list(options.extra)
