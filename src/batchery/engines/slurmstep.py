"""A job of several tasks on a Slurm cluster: the batch script that is one step, and passes on what its tasks are told.

Tasks are told by SIGURG (slurmgang.py). scancel sends it to them, and slurmrestd to the batch script alone, which then
does as scancel does. SIGTERM, of Slurm's own, is srun's to pass on. Pure.
"""

from batchery.engines.slurmscript import quote


def step_script(task: str, kill_on_bad_exit: int) -> str:
    """What sbatch is given. ``task``: a line of sh, run once for each task of the job; ``kill_on_bad_exit``: srun's,
    whether a task that fails ends the others."""
    return (
        "#!/bin/sh\n"
        f"srun --kill-on-bad-exit={kill_on_bad_exit} --wait=0 --mpi=none --cpu-bind=none "
        '--cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" '  # slurmrestd's jobs have it only above 1
        f"--export=ALL --input=none --output=/dev/null --error=/dev/null /bin/sh -c {quote(task)} &\n"
        "step=$!\n"
        "trap 'scancel --quiet --signal=URG \"$SLURM_JOB_ID\"' URG\n"
        "trap 'kill -TERM \"$step\"' TERM\n"
        'while kill -0 "$step" 2>/dev/null; do wait "$step"; code=$?; done\n'
        'exit "$code"\n'
    )
